//! A section of the configuration: its struct, defaults, keys and comments,
//! all from one declaration.
//!
//! The doc comment of a field is also the comment of its key in
//! `default-config`, so that the two cannot drift.

use super::kind::Kind;
use super::mode::Mode;
use super::raw::RawValue;

/// One key of a section.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    /// The key as written in the file.
    pub name: &'static str,
    /// Its comment, line by line, each with the space that follows `///`.
    pub about: &'static [&'static str],
}

/// Why a value was not set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum KeyRefusal {
    /// The section has no such key.
    UnknownKey,
    /// The key does not accept the value.
    Value(WrongValue),
}

/// A value that is not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WrongValue {
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

/// The interface of a section for the layers and the printed documents.
pub(super) trait Section {
    /// The section as `mode` leaves it when nothing is set.
    fn for_mode(mode: Mode) -> Self
    where
        Self: Sized;
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
}

/// Declares a [`Section`]: `name: type = default, kind;` for each key. The
/// default may depend on the mode, which the header binds to a name.
macro_rules! section {
    (
        $(#[doc = $about:literal])*
        $vis:vis struct $name:ident($mode:ident) {
            $(
                $(#[doc = $doc:literal])*
                $key:ident: $type:ty = $default:expr, $kind:expr;
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

            fn about(&self) -> &'static [&'static str] {
                &[$($about),*]
            }

            fn keys(&self) -> &'static [$crate::config::section::Key] {
                &[$($crate::config::section::Key { name: stringify!($key), about: &[$($doc),*] }),*]
            }

            fn set(
                &mut self,
                key: &str,
                raw: $crate::config::raw::RawValue<'_>,
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
        }
    };
}
pub(super) use section;

/// Reads a value of `kind`. An error states the value and the accepted ones.
pub(super) fn read<T>(kind: &impl Kind<T>, raw: RawValue<'_>) -> Result<T, WrongValue> {
    kind.read(raw).ok_or_else(|| WrongValue {
        given: kind.describe(raw),
        accepted: kind.accepts(),
    })
}
