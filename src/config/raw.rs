//! A value before validation by its key: from TOML, where it has a type, or from the environment and the command line,
//! where it is a string.

use std::borrow::Cow;

use toml::Spanned;
use toml::de::DeValue;

/// A value as it was given.
#[derive(Debug, Clone, Copy)]
pub enum RawValue<'a> {
    /// A typed value of a TOML document.
    Toml(&'a DeValue<'a>),
    /// A word without quotes: an environment variable, a flag, a list's part. White space around it does
    /// not count.
    Word(&'a str),
}

impl<'a> RawValue<'a> {
    /// A whole number of at most 64 bits.
    pub fn integer(self) -> Option<u64> {
        match self {
            Self::Toml(DeValue::Integer(number)) => {
                u64::from_str_radix(&number.as_str().replace('_', ""), number.radix()).ok()
            }
            Self::Toml(_) => None,
            Self::Word(word) => word.trim().parse().ok(),
        }
    }

    /// A finite number, whole or with a fraction.
    pub fn number(self) -> Option<f64> {
        let number: f64 = match self {
            Self::Toml(DeValue::Integer(_)) => {
                return Some(u32::try_from(self.integer()?).ok()?.into());
            }
            Self::Toml(DeValue::Float(number)) => number.as_str().replace('_', "").parse().ok()?,
            Self::Toml(_) => return None,
            Self::Word(word) => word.trim().parse().ok()?,
        };
        number.is_finite().then_some(number)
    }

    /// `true` or `false`; the environment may also say `1` or `0`.
    pub fn boolean(self) -> Option<bool> {
        match self {
            Self::Toml(value) => value.as_bool(),
            Self::Word(word) => match word.trim() {
                "true" | "1" => Some(true),
                "false" | "0" => Some(false),
                _ => None,
            },
        }
    }

    /// A quoted text, or the word itself.
    pub fn text(self) -> Option<&'a str> {
        match self {
            Self::Toml(value) => value.as_str(),
            Self::Word(word) => Some(word.trim()),
        }
    }

    /// The parts of a list: a TOML array, or words separated by commas, of which empty ones do not count.
    pub fn list(self) -> Option<Vec<Self>> {
        match self {
            Self::Toml(value) => Some(
                value
                    .as_array()?
                    .iter()
                    .map(|item| RawValue::Toml(item.get_ref()))
                    .collect(),
            ),
            Self::Word(word) => {
                let parts = word.split(',').map(str::trim);
                Some(
                    parts
                        .filter(|part| !part.is_empty())
                        .map(RawValue::Word)
                        .collect(),
                )
            }
        }
    }

    /// The pairs of a table: of TOML, or words with `=` between, separated by commas.
    pub fn pairs(self) -> Option<Vec<(Self, Self)>> {
        match self {
            Self::Toml(value) => {
                let pairs = value.as_table()?.iter();
                let read = |(key, value): (&'a Spanned<Cow<'a, str>>, &'a Spanned<DeValue<'a>>)| {
                    (Self::Word(key.get_ref()), Self::Toml(value.get_ref()))
                };
                Some(pairs.map(read).collect())
            }
            Self::Word(_) => {
                let pairs = self.list()?.into_iter();
                let read = |pair: Self| {
                    let (key, value) = pair.text()?.split_once('=')?;
                    Some((Self::Word(key), Self::Word(value)))
                };
                pairs.map(read).collect()
            }
        }
    }

    /// The value for a message: short, on one line, without control characters.
    pub fn show(self) -> String {
        let whole = match self {
            Self::Word(word) => format!("{word:?}"),
            Self::Toml(DeValue::String(text)) => format!("{text:?}"),
            Self::Toml(DeValue::Integer(number)) => number.as_str().to_owned(),
            Self::Toml(DeValue::Float(number)) => number.as_str().to_owned(),
            Self::Toml(DeValue::Boolean(flag)) => flag.to_string(),
            Self::Toml(DeValue::Datetime(time)) => format!("the date {time}"),
            Self::Toml(DeValue::Array(list)) if list.is_empty() => "an empty list".to_owned(),
            Self::Toml(DeValue::Array(_)) => "a list".to_owned(),
            Self::Toml(DeValue::Table(_)) => "a section".to_owned(),
        };
        match whole.char_indices().nth(SHOWN_CHARS_MAX) {
            Some((end, _)) => format!("{}...", &whole[..end]),
            None => whole,
        }
    }
}

/// A message quotes at most this much of a value.
const SHOWN_CHARS_MAX: usize = 80;
