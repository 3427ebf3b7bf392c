//! Environment variables of other gateways, and the key that each one sets.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};

/// How the values of a variable are written, where that differs from its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AliasForm {
    /// As those of the key.
    AsKey,
    /// A flag in any of Python's spellings.
    Flag,
    /// A number of seconds, which may have a fraction; or as those of the key.
    Seconds,
    /// A number of bytes, or as those of the key.
    Bytes,
    /// A level by any of its usual names.
    Level,
    /// A format, or a template.
    Format,
    /// As those of the key. One that the key refuses is passed over with a warning, as the gateways did that have made
    /// the variable common.
    Lenient,
    /// As those of the key; an address may be a port alone, as `:443`: of every IPv4 address of this machine.
    Listen,
}

impl AliasForm {
    /// `value` converted for its key; an error states what is accepted.
    pub(super) fn translate(self, value: &str) -> Result<Cow<'_, str>, &'static str> {
        let translated = match self {
            Self::AsKey | Self::Lenient => None,
            Self::Listen => Some(listen(value).into()),
            Self::Flag => Some(flag(value).ok_or("true or false")?.to_string().into()),
            // Whatever is no number is for the key to judge.
            Self::Seconds => micros(value).map(|micros| format!("{micros}us").into()),
            Self::Bytes => is_digits(value).then(|| format!("{value}B").into()),
            Self::Level => Some(level(value).ok_or(LEVELS)?.into()),
            Self::Format => Some(format(value).ok_or(FORMATS)?.into()),
        };
        Ok(translated.unwrap_or(Cow::Borrowed(value)))
    }

    /// What `--help` says of the values, behind the name of the key.
    pub(super) fn help(self) -> &'static str {
        match self {
            Self::AsKey | Self::Flag | Self::Lenient | Self::Listen => "",
            Self::Seconds => ", in seconds",
            Self::Bytes => ", in bytes",
            Self::Level => ": TRACE, DEBUG, INFO, WARN(ING), ERROR, FATAL or CRITICAL",
            Self::Format => {
                ": json, text, or a template with {message} or %(message)s,\nwhich means text"
            }
        }
    }

    /// Accepted values in addition to those of the key, written before them.
    pub(super) fn accepts_also(self) -> &'static str {
        match self {
            Self::Seconds => "seconds, as 30 or 0.5, or ",
            Self::Bytes => "a number of bytes, or ",
            Self::AsKey
            | Self::Flag
            | Self::Level
            | Self::Format
            | Self::Lenient
            | Self::Listen => "",
        }
    }

    /// Whether messages show a value as it was written, rather than as its key reads it.
    pub(super) fn has_spelling(self) -> bool {
        !matches!(self, Self::AsKey | Self::Listen)
    }

    /// Whether a value that the key refuses is passed over.
    pub(super) fn is_lenient(self) -> bool {
        self == Self::Lenient
    }
}

/// A flag as Python programs read it (pydantic).
pub(super) fn flag(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" | "t" | "y" => Some(true),
        "false" | "0" | "no" | "off" | "f" | "n" => Some(false),
        _ => None,
    }
}

/// The address that `HOST` names, if it names one. Shells set `HOST` to the machine's name, which
/// says nothing about where to listen.
pub(super) fn host(value: &str) -> Option<IpAddr> {
    if value.eq_ignore_ascii_case("localhost") {
        return Some(Ipv4Addr::LOCALHOST.into());
    }
    let inner = value.strip_prefix('[').and_then(|v| v.strip_suffix(']'));
    match inner {
        Some(inner) => inner.parse().ok().map(IpAddr::V6),
        None => value.parse().ok(),
    }
}

/// The port that `PORT` names.
pub(super) fn port(value: &str) -> Option<u16> {
    let number = value.parse().ok().filter(|port| *port != 0);
    number.filter(|_| is_digits(value))
}

/// Seconds as a decimal number without sign and exponent, in microseconds.
fn micros(value: &str) -> Option<u64> {
    let (whole, fraction) = value.split_once('.').unwrap_or((value, "0"));
    if !is_digits(whole) || !is_digits(fraction) || fraction.len() > 6 {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let fraction: u64 = format!("{fraction:0<6}").parse().ok()?;
    whole.checked_mul(1_000_000)?.checked_add(fraction)
}

/// Addresses, ports alone completed.
fn listen(value: &str) -> String {
    let complete = |address: &str| match address.strip_prefix(':') {
        Some(port) if is_digits(port) => format!("0.0.0.0:{port}"),
        _ => address.to_owned(),
    };
    let addresses: Vec<_> = value.split(',').map(str::trim).map(complete).collect();
    addresses.join(",")
}

fn level(value: &str) -> Option<&'static str> {
    match value.to_ascii_uppercase().as_str() {
        "TRACE" => Some("trace"),
        "DEBUG" => Some("debug"),
        "INFO" => Some("info"),
        "WARN" | "WARNING" => Some("warn"),
        "ERROR" | "CRITICAL" | "FATAL" => Some("error"),
        _ => None,
    }
}

fn format(value: &str) -> Option<&'static str> {
    match value.to_ascii_lowercase().as_str() {
        "json" => Some("json"),
        "text" => Some("text"),
        // Of loguru, or of Python's `logging`.
        template if template.contains("{message}") || template.contains("%(message)s") => {
            Some("text")
        }
        _ => None,
    }
}

pub(super) fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The values of `LOG_LEVEL`.
const LEVELS: &str = "one of TRACE, DEBUG, INFO, WARN, WARNING, ERROR, FATAL, CRITICAL";

/// The values of `LOG_FORMAT`.
const FORMATS: &str =
    "\"json\", \"text\", or a template with {message} or %(message)s, which means \"text\"";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(form: AliasForm, value: &str, expected: &str) {
        assert_eq!(form.translate(value).as_deref(), Ok(expected), "{form:?}");
    }

    #[test]
    fn seconds_may_have_a_fraction() {
        check(AliasForm::Seconds, "30", "30000000us");
        check(AliasForm::Seconds, "0.5", "500000us");
        check(AliasForm::Seconds, "1.000001", "1000001us");
        for value in [
            "",
            ".",
            ".5",
            "1.",
            "-1",
            "+1",
            "1e3",
            "1.0000001",
            "1,5",
            "30s",
            " 30",
            "99999999999999999999",
        ] {
            check(AliasForm::Seconds, value, value);
        }
    }

    #[test]
    fn bytes_may_have_no_unit() {
        check(AliasForm::Bytes, "1048576", "1048576B");
        for value in ["", "1MiB", "-1", "+1", "1.5"] {
            check(AliasForm::Bytes, value, value);
        }
    }

    #[test]
    fn an_address_may_be_a_port_alone() {
        check(AliasForm::Listen, ":443", "0.0.0.0:443");
        check(AliasForm::Listen, ":80, [::1]:81", "0.0.0.0:80,[::1]:81");
        for value in ["", ":", ":http", "127.0.0.1:80", "https://[::]:443"] {
            check(AliasForm::Listen, value, value);
        }
    }

    #[test]
    fn levels_have_their_usual_names_in_any_case() {
        for (value, expected) in [
            ("DEBUG", "debug"),
            ("Info", "info"),
            ("warning", "warn"),
            ("ERROR", "error"),
            ("critical", "error"),
            ("fatal", "error"),
            ("warn", "warn"),
            ("trace", "trace"),
        ] {
            check(AliasForm::Level, value, expected);
        }
        for value in ["", "loud", "20"] {
            assert_eq!(AliasForm::Level.translate(value), Err(LEVELS), "{value:?}");
        }
    }

    #[test]
    fn a_template_means_text() {
        check(AliasForm::Format, "JSON", "json");
        check(AliasForm::Format, "text", "text");
        let template = "{time:YYYY-MM-DD HH:mm:ss} | {level} | {message}";
        check(AliasForm::Format, template, "text");
        check(AliasForm::Format, "%(asctime)s %(message)s", "text");
        for value in ["", "{level}", "xml", "message"] {
            assert_eq!(
                AliasForm::Format.translate(value),
                Err(FORMATS),
                "{value:?}"
            );
        }
    }

    #[test]
    fn flags_are_those_of_python() {
        for value in ["True", "TRUE", "1", "yes", "on"] {
            check(AliasForm::Flag, value, "true");
        }
        for value in ["False", "0", "No", "off"] {
            check(AliasForm::Flag, value, "false");
        }
        for value in ["", "2", "tru", "app:*"] {
            assert!(AliasForm::Flag.translate(value).is_err(), "{value:?}");
        }
    }

    #[test]
    fn a_host_is_an_address_or_localhost() {
        let check = |value: &str, expected: Option<&str>| {
            let expected = expected.map(|address| address.parse().unwrap());
            assert_eq!(host(value), expected, "{value:?}");
        };
        check("0.0.0.0", Some("0.0.0.0"));
        check("::1", Some("::1"));
        check("[::1]", Some("::1"));
        check("localhost", Some("127.0.0.1"));
        check("LOCALHOST", Some("127.0.0.1"));
        for value in [
            "",
            "my-laptop",
            "127.0.0.1:80",
            "[127.0.0.1]",
            "127.1",
            " ::1",
            "[::1",
        ] {
            check(value, None);
        }
    }

    #[test]
    fn a_port_is_a_number_from_1_to_65535() {
        assert_eq!(port("1"), Some(1));
        assert_eq!(port("65535"), Some(65_535));
        for value in [
            "", "0", "00", "65536", "70000", "abc", "+80", "-1", " 80", "80 ", "8e1",
        ] {
            assert_eq!(port(value), None, "{value:?}");
        }
    }

    proptest! {
        #[test]
        fn no_value_panics(value: String) {
            for form in [AliasForm::AsKey, AliasForm::Flag, AliasForm::Seconds, AliasForm::Bytes, AliasForm::Level, AliasForm::Format, AliasForm::Lenient, AliasForm::Listen] {
                let _ = form.translate(&value);
            }
            let _ = (flag(&value), host(&value), port(&value));
        }

        #[test]
        fn seconds_are_exact(micros in 0..u64::MAX) {
            let written = std::format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
            prop_assert_eq!(super::micros(&written), Some(micros));
        }
    }
}
