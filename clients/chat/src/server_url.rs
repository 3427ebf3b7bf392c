//! Where the server is.

use hyper::Uri;

/// The address of a server, as `https://chat.example.com`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerUrl {
    /// Whether TLS is spoken.
    pub(crate) is_tls: bool,
    /// A name or an address; of IPv6 without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// What requests name as their host.
    authority: String,
    /// What it was given with, the option or its variable.
    pub(crate) option: &'static str,
    /// What paths begin with: empty, or a path without a slash at its end.
    prefix: String,
}

impl ServerUrl {
    /// Reads an address of scheme http, https, ws or wss.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let refused = |why: &str| format!("{text:?} is no address of a server: {why}");
        let url: Uri = text.parse().map_err(|_| refused("it cannot be read"))?;
        let is_tls = match url.scheme_str() {
            Some("https" | "wss") => true,
            Some("http" | "ws") => false,
            _ => return Err(refused("it begins with https://, http://, wss:// or ws://")),
        };
        let authority = url.authority().ok_or_else(|| refused("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(refused("a name and a password have no use in it"));
        }
        if url.query().is_some() {
            return Err(refused("it has a query"));
        }
        let host = authority.host().trim_matches(['[', ']']);
        if host.is_empty() {
            return Err(refused("it has no host"));
        }
        let port = match authority.port() {
            Some(port) => port.as_u16(),
            None if authority.as_str().ends_with(':') || is_bad_port(authority.as_str()) => {
                return Err(refused("its port is no port"));
            }
            None if is_tls => 443,
            None => 80,
        };
        Ok(Self {
            is_tls,
            host: host.to_owned(),
            port,
            authority: authority.to_string(),
            option: "--server",
            prefix: url.path().trim_end_matches('/').to_owned(),
        })
    }

    /// What requests name as their host.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// A path of the server, as a request names it; `path` begins with a slash.
    pub(crate) fn target(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }

    /// The same as an address of WebSocket.
    pub(crate) fn websocket(&self, path: &str) -> String {
        let scheme = if self.is_tls { "wss" } else { "ws" };
        format!("{scheme}://{}{}", self.authority, self.target(path))
    }

    /// The address, in one way of writing it.
    pub(crate) fn shown(&self) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        format!("{scheme}://{}{}", self.authority, self.prefix)
    }

    /// Whether what is sent can be read on its way: without TLS, to another machine.
    pub(crate) fn is_exposed(&self) -> bool {
        let is_loopback = self.host == "localhost"
            || self
                .host
                .parse()
                .is_ok_and(|it: std::net::IpAddr| it.is_loopback());
        !self.is_tls && !is_loopback
    }
}

/// Whether something that is no port is where it belongs.
fn is_bad_port(authority: &str) -> bool {
    let behind = authority.rsplit(']').next().unwrap_or(authority);
    behind.contains(':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let check = |text: &str, is_tls, host: &str, port, ws: &str| {
            let url = ServerUrl::parse(text).unwrap();
            assert_eq!((url.is_tls, &*url.host, url.port), (is_tls, host, port));
            assert_eq!(url.websocket("/ws"), ws);
        };
        check(
            "https://localhost:443",
            true,
            "localhost",
            443,
            "wss://localhost:443/ws",
        );
        check(
            "wss://chat.example.com/",
            true,
            "chat.example.com",
            443,
            "wss://chat.example.com/ws",
        );
        check(
            "http://[::1]:8080",
            false,
            "::1",
            8080,
            "ws://[::1]:8080/ws",
        );
        check(
            "ws://10.0.0.1/chat/",
            false,
            "10.0.0.1",
            80,
            "ws://10.0.0.1/chat/ws",
        );
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "localhost",
            "localhost:443",
            "ftp://x",
            "https://",
            "https://a:b@x",
            "https://x?y=1",
            "https://x:99999",
            "https://x:",
            "https://a b",
        ] {
            assert!(ServerUrl::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_plaintext_to_other_machines_is_exposed() {
        let check = |text: &str| ServerUrl::parse(text).unwrap().is_exposed();
        assert!(check("http://chat.example.com"));
        assert!(!check("https://chat.example.com"));
        assert!(
            !check("ws://127.0.0.2:80") && !check("http://[::1]") && !check("http://localhost")
        );
    }
}
