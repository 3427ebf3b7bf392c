//! A host as certificates name it: a DNS name, perhaps with a wildcard, or an IP address.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A host that a certificate can be for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum HostName {
    /// In small letters; its first label may be `*`.
    Dns(String),
    /// As clients connect to it.
    Ip(IpAddr),
}

impl FromStr for HostName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Ip(address));
        }
        if !text.is_ascii() {
            return Err("a name with other letters is written as DNS has it (xn--...)");
        }
        if text.contains(['/', ':', '[']) {
            return Err("accepted: a host alone, without scheme, brackets and port");
        }
        let host = text.strip_prefix("*.").unwrap_or(text);
        if host.contains('*') {
            return Err("a wildcard is the first part of a name, and all of it, as *.example.com");
        }
        let is_wildcard = host.len() < text.len();
        if is_wildcard && !host.contains('.') {
            return Err("clients accept a wildcard before two parts or more, as *.example.com");
        }
        if text.len() > NAME_LEN_MAX || !host.split('.').all(is_label) || is_number(host) {
            return Err("accepted: a DNS name, as gateway.internal, or an IP address");
        }
        Ok(Self::Dns(text.to_ascii_lowercase()))
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(name),
            Self::Ip(address) => address.fmt(f),
        }
    }
}

/// RFC 1123 section 2.1, and the underscore, which names in container networks have.
fn is_label(label: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=LABEL_LEN_MAX).contains(&label.len())
        && label.bytes().all(is_part)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// Whether clients take the name for an IPv4 address, which it is not (WHATWG URL, "ends in a number").
fn is_number(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or_default();
    last.bytes().all(|byte| byte.is_ascii_digit())
}

/// Bytes of a name, RFC 1035 section 2.3.4, without the length bytes of its first and last label.
const NAME_LEN_MAX: usize = 253;

/// Bytes of a label.
const LABEL_LEN_MAX: usize = 63;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address() {
        let check = |text: &str, expected: &str| {
            assert_eq!(text.parse::<HostName>().unwrap().to_string(), expected);
        };
        check("localhost", "localhost");
        check("Gateway.Internal", "gateway.internal");
        check("*.example.com", "*.example.com");
        check("ws_gateway", "ws_gateway");
        check("xn--mnchen-3ya.de", "xn--mnchen-3ya.de");
        check("3com.com", "3com.com");
        check("127.0.0.1", "127.0.0.1");
        check("0:0:0:0:0:0:0:1", "::1");
        check(&["a"; 127].join("."), &["a"; 127].join("."));
    }

    #[test]
    fn what_no_client_would_ask_for_is_refused() {
        for text in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "-a",
            "a-",
            "a b",
            "a\n",
            "a,b",
            "münchen.de",
            "https://a",
            "a:8443",
            "[::1]",
            "*",
            "*.com",
            "a.*.com",
            "a*.example.com",
            "*.*.example.com",
            "127.0.0.256",
            "1",
            "a.1",
            "user@a",
        ] {
            assert!(text.parse::<HostName>().is_err(), "{text:?}");
        }
        assert!("a".repeat(64).parse::<HostName>().is_err());
        assert!(
            [&["a"; 127].join("."), "a"]
                .join(".")
                .parse::<HostName>()
                .is_err()
        );
    }
}
