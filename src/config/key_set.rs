//! Where the key set of an issuer is.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use ::http::Uri;

use super::kind::Kind;
use super::raw::RawValue;

/// The address of a key set (JWKS).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySetAddress {
    /// It is fetched: `https`, or `http` of this machine.
    Url(Uri),
    /// It is read, as key files are.
    File(PathBuf),
}

impl KeySetAddress {
    /// The address that `text` names, if it is one that keys may come from.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(path) = text.strip_prefix("file:") {
            // `file:/path` and `file:///path` are the same (RFC 8089 appendix B).
            let path = path.strip_prefix("//").unwrap_or(path);
            let is_absolute = path.starts_with('/') && !path.starts_with("//") && path.len() > 1;
            return is_absolute.then(|| Self::File(path.into()));
        }
        let url: Uri = text.parse().ok()?;
        let authority = url.authority()?;
        // A credential would stand in logs.
        if authority.as_str().contains('@') || authority.host().is_empty() {
            return None;
        }
        let fits = match url.scheme_str()? {
            "https" => true,
            "http" => is_loopback(authority.host()),
            _ => false,
        };
        fits.then_some(Self::Url(url))
    }
}

impl fmt::Display for KeySetAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => url.fmt(f),
            Self::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

/// The kind of the key that names a set.
#[derive(Debug)]
pub(super) struct KeySetKind;

impl Kind<KeySetAddress> for KeySetKind {
    fn read(&self, raw: RawValue<'_>) -> Option<KeySetAddress> {
        KeySetAddress::parse(raw.text()?)
    }

    fn show(&self, value: &KeySetAddress) -> Option<String> {
        Some(toml::Value::String(value.to_string()).to_string())
    }

    fn accepts(&self) -> String {
        "https://HOST/PATH without user and password, or file:/PATH; http:// only of this machine (127.0.0.1, [::1], \
         localhost), since on any other way keys could be exchanged"
            .to_owned()
    }

    fn describe(&self, raw: RawValue<'_>) -> String {
        // It may have a password in it.
        match raw.text() {
            Some(text) if text.contains('@') => "the value given (not shown)".to_owned(),
            _ => raw.show(),
        }
    }
}

/// Whether `host` is this machine, without asking anything for its address.
fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let address = bare.parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost")
        || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_fetched_over_tls_or_from_this_machine_or_is_a_file() {
        for (text, shown) in [
            ("https://a.example/keys?x=1", "https://a.example/keys?x=1"),
            ("https://a.example:8443", "https://a.example:8443/"),
            ("http://127.0.0.1:8080/keys", "http://127.0.0.1:8080/keys"),
            ("http://[::1]/keys", "http://[::1]/keys"),
            ("http://LocalHost/keys", "http://localhost/keys"),
            ("file:/etc/a b.json", "file:/etc/a b.json"),
            ("file:///etc/keys.json", "file:/etc/keys.json"),
        ] {
            let address = KeySetAddress::parse(text).map(|address| address.to_string());
            let same = address.is_some_and(|address| address.eq_ignore_ascii_case(shown));
            assert!(same, "{text}");
        }
        for text in [
            "",
            "https://",
            "https:///keys",
            "a.example/keys",
            "/etc/keys.json",
            "http://a.example/keys",
            "http://127.0.0.1.a.example/keys",
            "http://localhost.a.example/keys",
            "http://10.0.0.1/keys",
            "https://user:secret@a.example/keys",
            "https://a.example/ke ys",
            "ftp://127.0.0.1/keys",
            "file:keys.json",
            "file:",
            "file:/",
            "file://a.example/keys.json",
            "file:////keys.json",
        ] {
            assert_eq!(KeySetAddress::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_password_is_not_repeated() {
        let text = "https://user:secret@a.example/keys";
        assert!(!KeySetKind.describe(RawValue::Word(text)).contains("secret"));
    }
}
