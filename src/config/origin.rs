//! Origins of web pages (RFC 6454), as browsers write them.

use super::kind::Parsed;

/// One origin, or all whose first label or whose port is any: `https://app.example.com`,
/// `http://localhost:3000`, `https://*.example.com`, `http://localhost:*`.
///
/// Compared byte for byte with what a browser sends, which has exactly one spelling for each
/// origin. Nothing is folded, decoded or cut, so that no other spelling can pass (hostile-inputs.md A14).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginPattern {
    /// Whether one label stands between scheme and `rest`.
    any_label: bool,
    /// Whether any port may stand behind `rest`, or none.
    any_port: bool,
    /// The scheme with `://`.
    scheme: String,
    /// Host and port, if that is not any; behind a wildcard with the dot in front.
    rest: String,
}

impl OriginPattern {
    /// Reads an origin in the spelling of browsers, or with `*` as its first label and at least two
    /// labels behind it, or with `*` as its port.
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let mut letters = scheme.bytes();
        if !letters.next()?.is_ascii_lowercase()
            || !letters.all(|byte| {
                byte.is_ascii_lowercase()
                    || byte.is_ascii_digit()
                    || matches!(byte, b'+' | b'-' | b'.')
            })
        {
            return None;
        }
        let (host, port) = split_port(authority)?;
        let any_port = port == Some("*");
        if let Some(port) = port.filter(|_| !any_port) {
            let number = port_of(port)?;
            let default = match scheme {
                "http" => Some(80),
                "https" => Some(443),
                _ => None,
            };
            // A browser leaves it out, so this would never match.
            if Some(number) == default {
                return None;
            }
        }
        let any_label = host.starts_with("*.");
        let name = host.strip_prefix("*.").unwrap_or(host);
        let is_name = is_ipv6(name) && !any_label
            || name.split('.').all(is_label) && (!any_label || name.contains('.'));
        is_name.then(|| Self {
            any_label,
            any_port,
            scheme: format!("{scheme}://"),
            rest: (if any_port { host } else { authority })[usize::from(any_label)..].to_owned(),
        })
    }

    /// Whether `origin`, the value of an `Origin` header, is meant.
    ///
    /// Cost: two comparisons.
    pub fn matches(&self, origin: &str) -> bool {
        let Some(mut authority) = origin.strip_prefix(self.scheme.as_str()) else {
            return false;
        };
        if self.any_port {
            match split_port(authority) {
                Some((host, port)) if port.is_none_or(|port| port_of(port).is_some()) => {
                    authority = host;
                }
                _ => return false,
            }
        }
        match authority.strip_suffix(self.rest.as_str()) {
            Some("") => !self.any_label,
            Some(label) => self.any_label && is_label(label),
            None => false,
        }
    }

    fn show(&self) -> String {
        let star = if self.any_label { "*" } else { "" };
        let port = if self.any_port { ":*" } else { "" };
        format!("{}{star}{}{port}", self.scheme, self.rest)
    }
}

/// Whose pages may use the HTTP API and streams of another host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CorsOrigin {
    /// Everybody's, without the cookies of their visitors: `*`.
    Any,
    /// Those of one origin, or of all that fit a pattern.
    Only(OriginPattern),
}

/// Host and port of an authority; the brackets of an IPv6 address stay.
fn split_port(authority: &str) -> Option<(&str, Option<&str>)> {
    let name_end = authority.rfind(']').map_or(0, |at| at + 1);
    match authority[name_end..].find(':') {
        None => Some((authority, None)),
        Some(at) => {
            let (host, port) = authority.split_at(name_end + at);
            Some((host, Some(&port[1..])))
        }
    }
}

/// The number of a port as browsers write it.
fn port_of(text: &str) -> Option<u16> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|_| is_number)
}

/// Lower-case letters, digits, `-` and `_`, not empty.
fn is_label(label: &str) -> bool {
    let is_letter = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_')
    };
    !label.is_empty() && label.len() <= 63 && label.bytes().all(is_letter)
}

/// An IPv6 address in brackets, in its canonical text.
fn is_ipv6(host: &str) -> bool {
    let address = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    address.is_some_and(|text| {
        text.parse::<std::net::Ipv6Addr>()
            .is_ok_and(|address| address.to_string() == text)
    })
}

/// The kind of an origin.
pub(super) const ORIGIN: Parsed<OriginPattern> = Parsed {
    read: OriginPattern::parse,
    show: OriginPattern::show,
    accepts: "an origin as browsers write it, in lower case without path and default port, as \
              \"https://app.example.com\" or \"http://localhost:3000\", or with any first label or port, as \
              \"https://*.example.com\" or \"http://localhost:*\"",
};

/// The kind of an origin that may use the HTTP API, or of all.
pub(super) const CORS_ORIGIN: Parsed<CorsOrigin> = Parsed {
    read: |text| match text {
        "*" => Some(CorsOrigin::Any),
        text => OriginPattern::parse(text).map(CorsOrigin::Only),
    },
    show: |origin| match origin {
        CorsOrigin::Any => "*".to_owned(),
        CorsOrigin::Only(pattern) => pattern.show(),
    },
    accepts: "\"*\" for all without cookies, or an origin as browsers write it, in lower case without path and \
              default port, as \"https://app.example.com\" or \"http://localhost:3000\", or with any first label or port, as \
              \"https://*.example.com\" or \"http://localhost:*\"",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, origin: &str, expected: bool) {
        let read = OriginPattern::parse(pattern).unwrap();
        assert_eq!(read.show(), pattern);
        assert_eq!(read.matches(origin), expected, "{pattern} on {origin:?}");
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        check("https://app.example.com", "https://app.example.com", true);
        check("https://app.example.com", "http://app.example.com", false);
        check(
            "https://app.example.com",
            "https://app.example.com:8443",
            false,
        );
        check("http://localhost:3000", "http://localhost:3000", true);
        check("http://localhost:3000", "http://localhost:30000", false);
        check("http://[::1]:3000", "http://[::1]:3000", true);
        check("http://127.0.0.1", "http://127.0.0.1", true);
        check("capacitor://localhost", "capacitor://localhost", true);
    }

    #[test]
    fn a_wildcard_stands_for_one_whole_label() {
        let pattern = "https://*.example.com:8443";
        check(pattern, "https://a.example.com:8443", true);
        for origin in [
            "https://example.com:8443",
            "https://.example.com:8443",
            "https://a.b.example.com:8443",
            "https://a.example.com",
            "https://a.example.com:84430",
            "https://evilexample.com:8443",
            "https://a@x.example.com:8443",
            "https://evil.com/.example.com:8443",
            "https://evil.com#.example.com:8443",
            "https://evil.com?.example.com:8443",
            "https://*.example.com:8443",
            "https://A.example.com:8443",
        ] {
            check(pattern, origin, false);
        }
    }

    #[test]
    fn case_h17_a_wildcard_stands_for_any_port_and_none() {
        for origin in [
            "http://localhost",
            "http://localhost:3000",
            "http://localhost:65535",
        ] {
            check("http://localhost:*", origin, true);
        }
        check("http://[::1]:*", "http://[::1]:5173", true);
        check("https://*.example.com:*", "https://a.example.com:1", true);
        for origin in [
            "https://localhost:3000",
            "http://localhost:",
            "http://localhost:0",
            "http://localhost:03000",
            "http://localhost:+80",
            "http://localhost:65536",
            "http://localhost:*",
            "http://localhost:3000.evil.example",
            "http://localhost:3000@evil.example",
            "http://localhost.evil.example:3000",
            "http://localhost:3000:3000",
            "http://localhost:3000/",
        ] {
            check("http://localhost:*", origin, false);
        }
    }

    #[test]
    fn what_no_browser_sends_is_no_origin() {
        for text in [
            "",
            "*",
            "null",
            "https://",
            "://a",
            "app.example.com",
            "https://app.example.com/",
            "https://app.example.com:443",
            "http://app.example.com:80",
            "http://a:080",
            "http://a:",
            "http://a:65536",
            "HTTPS://app.example.com",
            "https://App.example.com",
            "https://user@app.example.com",
            "https://*",
            "https://*.com",
            "https://*.*.example.com",
            "https://a.*.example.com",
            "https://*app.example.com",
            "https://app..example.com",
            "http://[::1",
            "http://[0:0::1]",
            "https://app.example.com ",
            "https://exämple.com",
        ] {
            assert_eq!(OriginPattern::parse(text), None, "{text:?}");
        }
    }
}
