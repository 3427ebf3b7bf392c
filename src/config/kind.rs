//! The types of keys: how values are read, written and explained.
//!
//! Every key of a section names its kind, so a value out of range cannot get
//! past parsing, and the message that refuses it knows what would be accepted.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::raw::RawValue;
use super::{duration, size};

/// Reads and writes the values of one key.
pub trait Kind<T> {
    /// The value, or `None` when it is not accepted.
    fn read(&self, raw: RawValue<'_>) -> Option<T>;
    /// The value as TOML, or `None` when it is not set.
    fn show(&self, value: &T) -> Option<String>;
    /// What is accepted, to end the sentence "accepted: ..".
    fn accepts(&self) -> String;
    /// Whether messages may quote a refused value.
    fn is_secret(&self) -> bool {
        false
    }
    /// The files in `value` that hold secrets.
    fn secret_files<'v>(&self, value: &'v T) -> Vec<&'v Path> {
        let _ = value;
        Vec::new()
    }
    /// A refused value, to go on "cannot be ".
    fn describe(&self, raw: RawValue<'_>) -> String {
        if self.is_secret() {
            "the value given (not shown)".to_owned()
        } else {
            raw.show()
        }
    }
}

/// A whole number within a range.
#[derive(Debug)]
pub struct Count(pub RangeInclusive<u64>);

impl<T: TryFrom<u64> + ToString> Kind<T> for Count {
    fn read(&self, raw: RawValue<'_>) -> Option<T> {
        raw.integer()
            .filter(|number| self.0.contains(number))
            .and_then(|number| number.try_into().ok())
    }

    fn show(&self, value: &T) -> Option<String> {
        Some(value.to_string())
    }

    fn accepts(&self) -> String {
        format!("a whole number from {} to {}", self.0.start(), self.0.end())
    }
}

/// A number within a range, whole or with a fraction.
#[derive(Debug)]
pub struct Number(pub RangeInclusive<f64>);

impl Kind<f64> for Number {
    fn read(&self, raw: RawValue<'_>) -> Option<f64> {
        raw.number().filter(|number| self.0.contains(number))
    }

    fn show(&self, value: &f64) -> Option<String> {
        Some(format!("{value:?}"))
    }

    fn accepts(&self) -> String {
        format!("a number from {} to {}", self.0.start(), self.0.end())
    }
}

/// A size in bytes within a range.
#[derive(Debug)]
pub struct Size(pub RangeInclusive<usize>);

impl Kind<usize> for Size {
    fn read(&self, raw: RawValue<'_>) -> Option<usize> {
        size::parse(raw.text()?).filter(|bytes| self.0.contains(bytes))
    }

    fn show(&self, value: &usize) -> Option<String> {
        Some(format!("\"{}\"", size::show(*value)))
    }

    fn accepts(&self) -> String {
        let (low, high) = (size::show(*self.0.start()), size::show(*self.0.end()));
        format!("a size with its unit (B, KiB, MiB, GiB) from \"{low}\" to \"{high}\"")
    }
}

/// A duration within a range.
#[derive(Debug)]
pub struct Time(pub RangeInclusive<Duration>);

impl Kind<Duration> for Time {
    fn read(&self, raw: RawValue<'_>) -> Option<Duration> {
        duration::parse(raw.text()?).filter(|duration| self.0.contains(duration))
    }

    fn show(&self, value: &Duration) -> Option<String> {
        Some(format!("\"{}\"", duration::show(*value)))
    }

    fn accepts(&self) -> String {
        let (low, high) = (
            duration::show(*self.0.start()),
            duration::show(*self.0.end()),
        );
        format!("a duration with its unit (us, ms, s, m, h) from \"{low}\" to \"{high}\"")
    }
}

/// `true` or `false`.
#[derive(Debug)]
pub struct FlagKind;

impl Kind<bool> for FlagKind {
    fn read(&self, raw: RawValue<'_>) -> Option<bool> {
        raw.boolean()
    }

    fn show(&self, value: &bool) -> Option<String> {
        Some(value.to_string())
    }

    fn accepts(&self) -> String {
        "true or false".to_owned()
    }
}

/// A value that is one of a few, each with its name in the file.
pub trait Choice: Copy + PartialEq + 'static {
    /// Every value and its name.
    const NAMES: &'static [(&'static str, Self)];

    /// The name of this value.
    fn name(self) -> &'static str {
        let named = Self::NAMES.iter().find(|(_, value)| *value == self);
        named.expect("every value of a choice has a name").0
    }

    /// The value of that name.
    fn named(name: &str) -> Option<Self> {
        let named = Self::NAMES.iter().find(|(known, _)| *known == name);
        named.map(|(_, value)| *value)
    }
}

/// One of the names of a [`Choice`].
#[derive(Debug)]
pub struct OneOf;

impl<T: Choice> Kind<T> for OneOf {
    fn read(&self, raw: RawValue<'_>) -> Option<T> {
        T::named(raw.text()?)
    }

    fn show(&self, value: &T) -> Option<String> {
        Some(format!("\"{}\"", value.name()))
    }

    fn accepts(&self) -> String {
        let names: Vec<_> = T::NAMES
            .iter()
            .map(|(name, _)| format!("\"{name}\""))
            .collect();
        format!("one of {}", names.join(", "))
    }
}

/// One of the numbers of a [`Choice`] whose names are numbers.
#[derive(Debug)]
pub struct OneNumberOf;

impl<T: Choice> Kind<T> for OneNumberOf {
    fn read(&self, raw: RawValue<'_>) -> Option<T> {
        T::named(&raw.integer()?.to_string())
    }

    fn show(&self, value: &T) -> Option<String> {
        Some(value.name().to_owned())
    }

    fn accepts(&self) -> String {
        let names: Vec<_> = T::NAMES.iter().map(|(name, _)| *name).collect();
        format!("one of {}", names.join(", "))
    }
}

/// Some text that its type can read, such as a socket address.
#[derive(Debug)]
pub struct Parsed<T> {
    /// The value of a text.
    pub read: fn(&str) -> Option<T>,
    /// The text of a value.
    pub show: fn(&T) -> String,
    /// What is accepted.
    pub accepts: &'static str,
}

impl<T> Kind<T> for Parsed<T> {
    fn read(&self, raw: RawValue<'_>) -> Option<T> {
        (self.read)(raw.text()?)
    }

    fn show(&self, value: &T) -> Option<String> {
        Some(toml::Value::String((self.show)(value)).to_string())
    }

    fn accepts(&self) -> String {
        self.accepts.to_owned()
    }
}

/// The path of a file.
pub const FILE: Parsed<PathBuf> = Parsed {
    read: |text| (!text.is_empty()).then(|| PathBuf::from(text)),
    show: |path| path.display().to_string(),
    accepts: "the path of a file",
};

/// The path of a folder.
pub const FOLDER: Parsed<PathBuf> = Parsed {
    accepts: "the path of a folder",
    ..FILE
};

/// The path of a file that holds a secret, which others than the gateway may not read.
#[derive(Debug)]
pub struct SecretFile;

impl Kind<PathBuf> for SecretFile {
    fn read(&self, raw: RawValue<'_>) -> Option<PathBuf> {
        FILE.read(raw)
    }

    fn show(&self, value: &PathBuf) -> Option<String> {
        FILE.show(value)
    }

    fn accepts(&self) -> String {
        FILE.accepts()
    }

    fn secret_files<'v>(&self, value: &'v PathBuf) -> Vec<&'v Path> {
        vec![value]
    }
}

/// Bytes of a path.
const PATH_LEN_MAX: usize = 128;

/// A path that is compared byte for byte, so it has one spelling only.
pub const PATH: Parsed<String> = Parsed {
    read: |text| is_path(text).then(|| text.to_owned()),
    show: String::clone,
    accepts: "a path of 2 to 128 bytes, as \"/ws\": / and letters, digits or -._~, without an empty, . or .. part \
              and without / at its end",
};

fn is_path(text: &str) -> bool {
    let is_part = |part: &str| {
        !matches!(part, "" | "." | "..")
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
    };
    text.len() <= PATH_LEN_MAX
        && text
            .strip_prefix('/')
            .is_some_and(|parts| parts.split('/').all(is_part))
}

/// Paths that have a meaning already, or had one for clients of other gateways; with all that is below them.
pub const TAKEN_PATHS: [&str; 10] = [
    "/api",
    "/health",
    "/metrics",
    "/docs",
    "/openapi.json",
    "/debug",
    "/auth",
    "/wse",
    "/active-users",
    "/static",
];

/// Pairs of two other kinds, each key once, with a limit on their number.
#[derive(Debug)]
pub struct MapOf<K, V> {
    /// The kind of each key.
    pub key: K,
    /// The kind of each value.
    pub value: V,
    /// How many pairs are accepted.
    pub len: RangeInclusive<usize>,
}

impl<A: Ord, B, K: Kind<A>, V: Kind<B>> Kind<BTreeMap<A, B>> for MapOf<K, V> {
    fn read(&self, raw: RawValue<'_>) -> Option<BTreeMap<A, B>> {
        let pairs = raw.pairs()?;
        let (count, pairs) = (pairs.len(), pairs.into_iter());
        let read = pairs.map(|(key, value)| Some((self.key.read(key)?, self.value.read(value)?)));
        let map: BTreeMap<A, B> = read.collect::<Option<_>>()?;
        (self.len.contains(&count) && map.len() == count).then_some(map)
    }

    fn show(&self, value: &BTreeMap<A, B>) -> Option<String> {
        let pairs = value.iter().filter_map(|(key, value)| {
            Some(format!(
                "{} = {}",
                self.key.show(key)?,
                self.value.show(value)?
            ))
        });
        let pairs: Vec<_> = pairs.collect();
        Some(match pairs.is_empty() {
            true => "{}".to_owned(),
            false => format!("{{ {} }}", pairs.join(", ")),
        })
    }

    fn accepts(&self) -> String {
        format!(
            "at most {} pairs, as {{ \"a\" = \"b\" }}, each of: {}; and {}",
            self.len.end(),
            self.key.accepts(),
            self.value.accepts()
        )
    }
}

/// A list of another kind, with a limit on its length.
#[derive(Debug)]
pub struct ListOf<K> {
    /// The kind of each item.
    pub item: K,
    /// How many items are accepted.
    pub len: RangeInclusive<usize>,
}

impl<T: PartialEq, K: Kind<T>> Kind<Vec<T>> for ListOf<K> {
    fn read(&self, raw: RawValue<'_>) -> Option<Vec<T>> {
        let items: Vec<T> = raw
            .list()?
            .into_iter()
            .map(|item| self.item.read(item))
            .collect::<Option<_>>()?;
        (self.len.contains(&items.len()) && repeated(&items).is_none()).then_some(items)
    }

    fn show(&self, value: &Vec<T>) -> Option<String> {
        let items: Vec<_> = value
            .iter()
            .filter_map(|item| self.item.show(item))
            .collect();
        Some(format!("[{}]", items.join(", ")))
    }

    fn accepts(&self) -> String {
        format!(
            "a list of {} to {}, without repetition, of: {}",
            self.len.start(),
            self.len.end(),
            self.item.accepts()
        )
    }

    fn is_secret(&self) -> bool {
        self.item.is_secret()
    }

    fn secret_files<'v>(&self, value: &'v Vec<T>) -> Vec<&'v Path> {
        let files = value.iter();
        files.flat_map(|it| self.item.secret_files(it)).collect()
    }

    fn describe(&self, raw: RawValue<'_>) -> String {
        let parts = raw.list().unwrap_or_default();
        if let (RawValue::Word(_), ..=1) = (raw, parts.len()) {
            return self.item.describe(raw);
        }
        let items: Vec<_> = parts.iter().map(|part| self.item.read(*part)).collect();
        if let Some(at) = items.iter().position(Option::is_none) {
            let item = self.item.describe(parts[at]);
            match parts.len() {
                1 => format!("a list with {item}"),
                _ => format!("a list with {item} as item {}", at + 1),
            }
        } else if let Some(at) = repeated(&items) {
            let item = self.item.describe(parts[at]);
            let first = items.iter().position(|it| *it == items[at]).unwrap_or(at);
            let (first, second) = (first + 1, at + 1);
            format!("a list with {item} twice, as items {first} and {second}")
        } else if parts.is_empty() {
            raw.show()
        } else {
            format!("a list of {}", parts.len())
        }
    }
}

/// The first of `items` that is there before.
fn repeated<T: PartialEq>(items: &[T]) -> Option<usize> {
    (1..items.len()).find(|at| items[..*at].contains(&items[*at]))
}

/// Another kind, or nothing when the key is left out.
#[derive(Debug)]
pub struct Maybe<K>(pub K);

impl<T, K: Kind<T>> Kind<Option<T>> for Maybe<K> {
    fn read(&self, raw: RawValue<'_>) -> Option<Option<T>> {
        self.0.read(raw).map(Some)
    }

    fn show(&self, value: &Option<T>) -> Option<String> {
        self.0.show(value.as_ref()?)
    }

    fn accepts(&self) -> String {
        self.0.accepts()
    }

    fn is_secret(&self) -> bool {
        self.0.is_secret()
    }

    fn secret_files<'v>(&self, value: &'v Option<T>) -> Vec<&'v Path> {
        let file = value.as_ref();
        file.map_or_else(Vec::new, |it| self.0.secret_files(it))
    }

    fn describe(&self, raw: RawValue<'_>) -> String {
        self.0.describe(raw)
    }
}

/// A list, of which a single item may be written without brackets.
#[derive(Debug)]
pub struct OneOrList<K>(pub ListOf<K>);

impl<T: PartialEq, K: Kind<T>> Kind<Vec<T>> for OneOrList<K> {
    fn read(&self, raw: RawValue<'_>) -> Option<Vec<T>> {
        match raw.list() {
            Some(_) => self.0.read(raw),
            None => self.0.item.read(raw).map(|item| vec![item]),
        }
    }

    fn show(&self, value: &Vec<T>) -> Option<String> {
        self.0.show(value)
    }

    fn accepts(&self) -> String {
        format!("{}; or one alone", self.0.accepts())
    }

    fn is_secret(&self) -> bool {
        self.0.is_secret()
    }

    fn secret_files<'v>(&self, value: &'v Vec<T>) -> Vec<&'v Path> {
        self.0.secret_files(value)
    }

    fn describe(&self, raw: RawValue<'_>) -> String {
        match raw.list() {
            Some(_) => self.0.describe(raw),
            None => self.0.item.describe(raw),
        }
    }
}
