//! The layers of a configuration, later ones over earlier: defaults of the
//! mode, environment file, file, environment, flags.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::Path;

use super::env::{self, Given, Layer};
use super::env_file;
use super::error::{ConfigError, Problem};
use super::file;
use super::kind::OneOf;
use super::namespace::{Namespaces, Overrides};
use super::raw::RawValue;
use super::section::{self, KeyRefusal, Section, WrongValue};
use super::{Config, Mode};

/// What a configuration is made from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// Name and text of the environment file.
    pub env_file: Option<(String, String)>,
    /// Name and text of the TOML file.
    pub file: Option<(String, String)>,
    /// The environment, foreign variables included.
    pub env: Vec<(OsString, OsString)>,
    /// Values given on the command line.
    pub flags: Vec<Flag>,
}

/// A value given on the command line.
#[derive(Debug, Clone)]
pub struct Flag {
    /// The flag for messages, as `--listen`.
    pub name: &'static str,
    /// The section of its key.
    pub section: Option<&'static str>,
    /// The key.
    pub key: &'static str,
    /// The value, as in the environment: lists are separated by commas.
    pub value: String,
}

/// One value on its way to its key.
#[derive(Debug)]
pub(super) struct Setting<'a> {
    /// For messages: file and line, variable or flag.
    pub origin: String,
    /// Where it goes.
    pub target: Target<'a>,
    /// The value.
    pub raw: RawValue<'a>,
    /// How it was written, if that differs.
    pub spelling: Option<Spelling<'a>>,
}

/// How a value was written that had to be translated for its key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spelling<'a> {
    /// What was written.
    pub given: &'a str,
    /// What is accepted besides what the key accepts, in front of it.
    pub accepts_also: &'static str,
}

/// A configuration whose values have been read, and that has not been checked as a whole.
#[derive(Debug)]
pub(super) struct Draft {
    /// The configuration.
    pub config: Config,
    /// Where the keys come from that were given, by their paths.
    pub origins: BTreeMap<String, String>,
    /// What is wrong with single values.
    pub problems: Vec<Problem>,
}

/// Where a value goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target<'a> {
    /// A key before the first section.
    Top(&'a str),
    /// A key of a section.
    Key(&'a str, &'a str),
    /// A key of the namespace with this prefix.
    Namespace(&'a str, &'a str),
}

impl Config {
    /// The configuration that `sources` describe, or everything that is wrong with it.
    ///
    /// `read` fetches the file named by `auth.jwt_secret_file`; nothing else is read.
    pub fn from_sources(
        sources: &Sources,
        read: impl FnOnce(&Path) -> io::Result<Vec<u8>>,
    ) -> Result<Self, ConfigError> {
        let Draft {
            mut config,
            mut problems,
            ..
        } = sources.draft();
        config
            .resolve_secret(read)
            .unwrap_or_else(|problem| problems.push(problem));
        // The rules speak of the whole; of a part they would say what is not so.
        if problems.is_empty() {
            problems = config.broken_rules();
        }
        if problems.is_empty() {
            Ok(config)
        } else {
            Err(ConfigError { problems })
        }
    }
    /// Gives one value to its key.
    fn apply(
        &mut self,
        setting: &Setting<'_>,
        namespaces: &mut Vec<(String, Overrides)>,
    ) -> Result<(), Problem> {
        let result = match setting.target {
            // Read before the others, for they start from it.
            Target::Top("mode") => Ok(()),
            Target::Top(_) => Err(KeyRefusal::UnknownKey),
            Target::Key(name, key) => match self.section_mut(name) {
                Some(section) => section.set(key, setting.raw),
                None => Err(KeyRefusal::UnknownKey),
            },
            Target::Namespace(prefix, key) => {
                namespace(namespaces, prefix, self.mode).set(key, setting.raw)
            }
        };
        result.map_err(|refusal| match refusal {
            KeyRefusal::Value(wrong) => setting.refused(wrong),
            KeyRefusal::UnknownKey => Problem::Unknown {
                origin: setting.origin.clone(),
                what: "key",
                name: setting.target.path(),
                nearest: self.nearest(setting.target),
            },
        })
    }

    /// The path of the known key most like that of `target`.
    fn nearest(&self, target: Target<'_>) -> Option<String> {
        let given = target.path();
        let mut known = vec!["mode".to_owned()];
        if let Target::Namespace(prefix, _) = target {
            let keys = Overrides::for_mode(self.mode).keys();
            known = keys
                .iter()
                .map(|key| Target::Namespace(prefix, key.name).path())
                .collect();
        } else {
            for (name, section) in self.sections() {
                known.extend(
                    section
                        .keys()
                        .iter()
                        .map(|key| Target::Key(name, key.name).path()),
                );
            }
        }
        nearest(&given, known)
    }
}

impl Sources {
    /// What the sources give.
    pub(super) fn draft(&self) -> Draft {
        let mut problems = Vec::new();
        let table = self
            .file
            .as_ref()
            .and_then(|(name, text)| file::parse(name, text, &mut problems));
        let env = env::given(&self.env);
        let env_file = self.env_file(&mut problems);
        let mut settings = Vec::new();

        let below = Layer {
            own: &env_file,
            below: &[],
            above: &env,
        };
        let below = below.variables(&mut problems);
        for variable in &below {
            variable.settle(&mut settings, &mut problems);
        }
        let prefixes = match (&table, &self.file) {
            (Some(table), Some((name, text))) => {
                file::settings(name, text, table.get_ref(), &mut settings, &mut problems)
            }
            _ => Vec::new(),
        };
        let above = Layer {
            own: &env,
            below: &env_file,
            above: &[],
        };
        let above = above.variables(&mut problems);
        for variable in &above {
            variable.settle(&mut settings, &mut problems);
        }
        settings.extend(self.flags.iter().map(Flag::setting));

        let mut config = Config::for_mode(mode(&settings, &mut problems));
        let mut namespaces = Vec::new();
        let mut origins = BTreeMap::new();
        for (prefix, origin) in prefixes {
            namespace(&mut namespaces, prefix, config.mode);
            origins.insert(namespace_path(prefix), origin);
        }
        for setting in &settings {
            origins.insert(setting.target.path(), setting.origin.clone());
            config
                .apply(setting, &mut namespaces)
                .unwrap_or_else(|problem| problems.push(problem));
        }
        config.namespaces = Namespaces::new(namespaces, &config.hub, &config.events);
        Draft {
            config,
            origins,
            problems,
        }
    }

    /// The configuration with every value read and the whole not judged: no rule that joins keys, no
    /// credential asked for, no key file read. Not for a gateway to start with.
    ///
    /// # Errors
    /// Everything that is wrong with single values.
    pub fn values(&self) -> Result<Config, ConfigError> {
        let Draft {
            config, problems, ..
        } = self.draft();
        if problems.is_empty() {
            Ok(config)
        } else {
            Err(ConfigError { problems })
        }
    }

    /// How many settings the environment file gives, those included that a later layer changes.
    pub fn settings_of_env_file(&self) -> usize {
        let (env, mut problems) = (env::given(&self.env), Vec::new());
        let layer = Layer {
            own: &self.env_file(&mut problems),
            below: &[],
            above: &env,
        };
        layer.variables(&mut problems).len()
    }

    fn env_file(&self, problems: &mut Vec<Problem>) -> Vec<Given> {
        let file = self.env_file.as_ref();
        file.map_or_else(Vec::new, |(name, text)| {
            env_file::parse(name, text, problems)
        })
    }
}

impl Setting<'_> {
    fn refused(&self, wrong: WrongValue) -> Problem {
        let WrongValue { given, accepted } = wrong;
        let (given, accepted) = match self.spelling {
            Some(spelling) => (
                RawValue::Word(spelling.given).show(),
                format!("{}{accepted}", spelling.accepts_also),
            ),
            None => (given, accepted),
        };
        Problem::Value {
            origin: self.origin.clone(),
            key: self.target.path(),
            given,
            accepted,
        }
    }
}

impl Target<'_> {
    /// The key as a person writes it.
    pub(super) fn path(self) -> String {
        match self {
            Self::Top(key) => key.to_owned(),
            Self::Key(section, key) => format!("{section}.{key}"),
            Self::Namespace(prefix, key) => format!("{}.{key}", namespace_path(prefix)),
        }
    }
}

/// The section of a namespace, as a person writes it.
pub(super) fn namespace_path(prefix: &str) -> String {
    format!("namespace.{}", toml_key(prefix))
}

impl Flag {
    fn setting(&self) -> Setting<'_> {
        Setting {
            origin: self.name.to_owned(),
            target: self.section.map_or(Target::Top(self.key), |section| {
                Target::Key(section, self.key)
            }),
            raw: RawValue::Word(&self.value),
            spelling: None,
        }
    }
}

/// The mode that the last layer asks for; production when none does.
fn mode(settings: &[Setting<'_>], problems: &mut Vec<Problem>) -> Mode {
    let mut mode = Mode::Prod;
    for setting in settings
        .iter()
        .filter(|setting| setting.target == Target::Top("mode"))
    {
        match section::read(&OneOf, setting.raw) {
            Ok(value) => mode = value,
            Err(wrong) => problems.push(setting.refused(wrong)),
        }
    }
    mode
}

/// The namespace called `prefix`, made when it is new.
fn namespace<'a>(
    all: &'a mut Vec<(String, Overrides)>,
    prefix: &str,
    mode: Mode,
) -> &'a mut Overrides {
    let at = all
        .iter()
        .position(|(known, _)| known == prefix)
        .unwrap_or_else(|| {
            all.push((prefix.to_owned(), Overrides::for_mode(mode)));
            all.len() - 1
        });
    &mut all[at].1
}

/// The known name most like `given`: the same key elsewhere, or a few letters away.
pub(super) fn nearest(given: &str, known: Vec<String>) -> Option<String> {
    let leaf = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
    let distance = |known: &String| match strsim::damerau_levenshtein(given, known) {
        // Somewhere else in the file is nearer than another word in the same place.
        _ if leaf(given) == leaf(known) => 0,
        distance => distance,
    };
    let near = known.into_iter().min_by_key(distance)?;
    (distance(&near) <= DISTANCE_MAX.min(given.len() / 2)).then_some(near)
}

/// `name` as a key of a TOML document, quoted where it must be.
pub(super) fn toml_key(name: &str) -> String {
    let bare = !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if bare {
        name.to_owned()
    } else {
        toml::Value::String(name.to_owned()).to_string()
    }
}

/// Names further apart than this many letters are not suggested for each other.
const DISTANCE_MAX: usize = 4;
