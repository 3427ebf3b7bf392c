//! A section of the configuration: its struct, defaults, keys and comments,
//! all from one declaration.
//!
//! The doc comment of a field is also the comment of its key in
//! `default-config`, so that the two cannot drift.

use std::any::Any;
use std::fmt::Debug;
use std::io;
use std::path::Path;

use super::alias::AliasForm;
use super::error::Problem;
use super::kind::Kind;
use super::mode::Mode;
use super::raw::RawValue;

/// One key of a section.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// The key as written in the file.
    pub name: &'static str,
    /// Its comment, line by line, each with the space that follows `///`.
    pub about: &'static [&'static str],
    /// Environment variables of other gateways that set it, and how their values are written.
    pub aliases: &'static [(&'static str, AliasForm)],
}

/// Why a value was not set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyRefusal {
    /// The section has no such key.
    UnknownKey,
    /// The key does not accept the value.
    Value(WrongValue),
}

/// A value that is not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongValue {
    /// The value; hidden for secrets.
    pub given: String,
    /// The accepted values.
    pub accepted: String,
}

impl From<WrongValue> for KeyRefusal {
    fn from(value: WrongValue) -> Self {
        Self::Value(value)
    }
}

/// How the content of a file is read.
pub type ReadFile<'a> = &'a mut dyn FnMut(&Path) -> io::Result<Vec<u8>>;

/// What a section says of its keys together.
pub trait SectionRules {
    /// The settings that give access to clients without credentials in `mode`, by key and value.
    fn open_endpoints(&self, mode: Mode) -> Vec<&'static str> {
        let _ = mode;
        Vec::new()
    }

    /// Replaces keys that name a file with a secret by what `read` finds there.
    ///
    /// # Errors
    /// The file does not hold a secret, or the secret is given twice.
    fn read_secrets(&mut self, read: ReadFile<'_>) -> Result<(), Problem> {
        let _ = read;
        Ok(())
    }

    /// Every rule between its keys that it breaks.
    fn broken_rules(&self) -> Vec<Problem> {
        Vec::new()
    }
}

/// The interface of a section for the layers and the printed documents. [`section!`](crate::section) implements it.
pub trait Section: SectionRules + Any + Debug + Send + Sync {
    /// The section as `mode` leaves it when nothing is set.
    fn for_mode(mode: Mode) -> Self
    where
        Self: Sized;
    /// The same, as a protocol registers it.
    fn make(mode: Mode) -> Box<dyn Section>
    where
        Self: Sized,
    {
        Box::new(Self::for_mode(mode))
    }
    /// The same of this section's type.
    fn defaults(&self, mode: Mode) -> Box<dyn Section>;
    /// A copy.
    fn boxed(&self) -> Box<dyn Section>;
    /// Whether `other` is the same section with the same values.
    fn equals(&self, other: &dyn Section) -> bool;
    /// Its name in the file.
    fn name(&self) -> &'static str;
    /// Its comment, line by line.
    fn about(&self) -> &'static [&'static str];
    /// Its keys in the order of the file.
    fn keys(&self) -> &'static [Key];
    /// Sets one key.
    fn set(&mut self, key: &str, raw: RawValue<'_>) -> Result<(), KeyRefusal>;
    /// The value of one key as TOML, secrets hidden; `None` when it is not set.
    fn show(&self, key: &str) -> Option<String>;
    /// Whether the value of one key is a secret.
    fn is_secret(&self, key: &str) -> bool;
    /// The files that hold secrets, each with its key.
    fn secret_files(&self) -> Vec<(&'static str, &Path)>;
}

/// Makes a section that a protocol registers, as `mode` leaves it when nothing is set.
pub type MakeSection = fn(Mode) -> Box<dyn Section>;

impl Clone for Box<dyn Section> {
    fn clone(&self) -> Self {
        (**self).boxed()
    }
}

impl PartialEq for dyn Section {
    fn eq(&self, other: &Self) -> bool {
        self.equals(other)
    }
}

/// Declares a [`Section`] by its name in the file and a line for each key: `name: type = default, kind;`. The default
/// may depend on the mode, which the header binds to a name. Behind the kind may stand an environment variable of other
/// gateways with the form of its values: `Seconds "NAME"`.
#[macro_export]
macro_rules! section {
    (
        $(#[doc = $about:literal])*
        $vis:vis struct $name:ident($section:literal, $mode:ident) {
            $(
                $(#[doc = $doc:literal])*
                $key:ident: $type:ty = $default:expr, $kind:expr $(, $form:ident $alias:literal)?;
            )*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone, PartialEq)]
        $vis struct $name {
            $(
                $(#[doc = $doc])*
                $vis $key: $type,
            )*
        }

        impl $crate::config::section::Section for $name {
            fn for_mode($mode: $crate::config::Mode) -> Self {
                let _ = $mode;
                Self { $($key: $default),* }
            }

            fn defaults(&self, mode: $crate::config::Mode) -> Box<dyn $crate::config::section::Section> {
                Self::make(mode)
            }

            fn boxed(&self) -> Box<dyn $crate::config::section::Section> {
                Box::new(self.clone())
            }

            fn equals(&self, other: &dyn $crate::config::section::Section) -> bool {
                (other as &dyn ::std::any::Any).downcast_ref() == Some(self)
            }

            fn name(&self) -> &'static str {
                $section
            }

            fn about(&self) -> &'static [&'static str] {
                &[$($about),*]
            }

            fn keys(&self) -> &'static [$crate::config::section::Key] {
                &[$($crate::config::section::Key {
                    name: stringify!($key),
                    about: &[$($doc),*],
                    aliases: &[$(($alias, $crate::config::AliasForm::$form))?],
                }),*]
            }

            fn set(
                &mut self,
                key: &str,
                raw: $crate::config::RawValue<'_>,
            ) -> Result<(), $crate::config::section::KeyRefusal> {
                match key {
                    $(stringify!($key) => {
                        self.$key = $crate::config::section::read(&$kind, raw)?;
                        Ok(())
                    })*
                    _ => Err($crate::config::section::KeyRefusal::UnknownKey),
                }
            }

            fn show(&self, key: &str) -> Option<String> {
                use $crate::config::kind::Kind;
                match key {
                    $(stringify!($key) => $kind.show(&self.$key),)*
                    _ => None,
                }
            }

            fn is_secret(&self, key: &str) -> bool {
                use $crate::config::kind::Kind;
                match key {
                    $(stringify!($key) => Kind::<$type>::is_secret(&$kind),)*
                    _ => false,
                }
            }

            fn secret_files(&self) -> Vec<(&'static str, &::std::path::Path)> {
                use $crate::config::kind::Kind;
                let mut files = Vec::new();
                $(files.extend(
                    $kind.secret_files(&self.$key).into_iter().map(|file| (stringify!($key), file)),
                );)*
                files
            }
        }
    };
}
pub use section;

/// Reads a value of `kind`. An error states the value and the accepted ones.
pub fn read<T>(kind: &impl Kind<T>, raw: RawValue<'_>) -> Result<T, WrongValue> {
    kind.read(raw).ok_or_else(|| WrongValue {
        given: kind.describe(raw),
        accepted: kind.accepts(),
    })
}
