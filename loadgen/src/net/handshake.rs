//! The opening handshake (RFC 6455 section 4.1).

use std::net::{SocketAddr, ToSocketAddrs};

use tokio_tungstenite::tungstenite::handshake::{client::generate_key, derive_accept_key};
use tokio_tungstenite::tungstenite::http::Uri;

use super::End;

/// Largest response head and body of a refusal that is read, in bytes.
const RESPONSE_BYTES_MAX: usize = 64 * 1024;

/// Where to connect to and what to ask for.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// The whole URL, for messages and for other clients.
    pub(crate) url: String,
    host: String,
    path: String,
    headers: Vec<String>,
}

impl Target {
    /// Reads a `ws://` URL. `path` stands in when it has none of its own;
    /// `headers` are whole lines that go into the request.
    pub(crate) fn new(url: &str, path: &str, headers: Vec<String>) -> Result<Self, String> {
        let uri: Uri = url
            .parse()
            .map_err(|error| format!("{url} is not a URL: {error}"))?;
        if uri.scheme_str() != Some("ws") {
            return Err(format!("{url}: only ws:// URLs are supported"));
        }
        let host = uri.host().unwrap_or_default();
        let port = uri.port_u16().unwrap_or(80);
        let address = (host.trim_matches(['[', ']']), port)
            .to_socket_addrs()
            .ok()
            .and_then(|mut addresses| addresses.next())
            .ok_or_else(|| format!("{host} has no address"))?;
        let path = match uri.path_and_query().map_or("/", |path| path.as_str()) {
            "/" => path.to_owned(),
            query if query.starts_with("/?") => format!("{path}{}", &query[1..]),
            own => own.to_owned(),
        };
        Ok(Self {
            address,
            url: format!("ws://{host}:{port}{path}"),
            host: format!("{host}:{port}"),
            path,
            headers,
        })
    }

    /// Adds `name=value` to the query.
    pub(crate) fn add_parameter(&mut self, pair: &str) {
        let separator = if self.path.contains('?') { '&' } else { '?' };
        for text in [&mut self.path, &mut self.url] {
            text.push(separator);
            text.push_str(pair);
        }
    }

    /// The upgrade request.
    pub(super) fn request(&self, key: &str) -> Vec<u8> {
        let Self { host, path, .. } = self;
        let mut request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
        );
        for header in &self.headers {
            request.push_str(header);
            request.push_str("\r\n");
        }
        request.push_str("\r\n");
        request.into_bytes()
    }

    pub(crate) fn headers(&self) -> &[String] {
        &self.headers
    }
}

/// A new random handshake key.
pub(super) fn key() -> String {
    generate_key()
}

/// Looks for a whole response head at the front of `bytes`; returns its length
/// if the upgrade was accepted.
pub(super) fn response(bytes: &[u8], key: &str) -> Result<Option<usize>, End> {
    let Some(end) = find(bytes, b"\r\n\r\n") else {
        return if bytes.len() > RESPONSE_BYTES_MAX {
            Err(End::Protocol("response head over 64 KiB"))
        } else {
            Ok(None)
        };
    };
    let head = String::from_utf8_lossy(&bytes[..end]);
    let status = status(&head).ok_or(End::Protocol("not an HTTP response"))?;
    if status != 101 {
        let expected = header(&head, "content-length").and_then(|length| length.parse().ok());
        let body = &bytes[end + 4..];
        // Without a length the body ends with the stream; what came suffices.
        return if body.len() < expected.unwrap_or(0).min(RESPONSE_BYTES_MAX) {
            Ok(None)
        } else {
            Err(End::Refused {
                status,
                body: String::from_utf8_lossy(body).into_owned(),
            })
        };
    }
    if header(&head, "sec-websocket-accept") != Some(&derive_accept_key(key.as_bytes())) {
        return Err(End::Protocol("wrong Sec-WebSocket-Accept"));
    }
    if header(&head, "sec-websocket-extensions").is_some() {
        return Err(End::Protocol("an extension that was not offered"));
    }
    Ok(Some(end + 4))
}

/// The refusal in a response that was cut short.
pub(super) fn refusal(bytes: &[u8]) -> Option<End> {
    let end = find(bytes, b"\r\n\r\n")?;
    Some(End::Refused {
        status: status(&String::from_utf8_lossy(&bytes[..end]))?,
        body: String::from_utf8_lossy(&bytes[end + 4..]).into_owned(),
    })
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

fn status(head: &str) -> Option<u16> {
    head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    const ACCEPTED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

    #[test]
    fn an_accepted_upgrade_is_seen_however_it_is_cut() {
        for cut in 0..ACCEPTED.len() {
            assert_eq!(response(&ACCEPTED.as_bytes()[..cut], KEY), Ok(None));
        }
        let with_frame = format!("{ACCEPTED}\u{1}x");
        assert_eq!(
            response(with_frame.as_bytes(), KEY),
            Ok(Some(ACCEPTED.len()))
        );
    }

    #[test]
    fn a_wrong_answer_is_refused() {
        assert!(response(ACCEPTED.as_bytes(), "other").is_err());
        assert!(response(b"SMTP ready\r\n\r\n", KEY).is_err());
    }

    #[test]
    fn a_refusal_says_status_and_body() {
        let refusal = b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nfull";
        assert_eq!(response(&refusal[..refusal.len() - 1], KEY), Ok(None));
        let expected = End::Refused {
            status: 503,
            body: "full".into(),
        };
        assert_eq!(response(refusal, KEY), Err(expected));
    }

    #[test]
    fn urls_are_completed_with_the_scenario_path() {
        let path = |url: &str| Target::new(url, "/echo", Vec::new()).map(|target| target.path);
        assert_eq!(path("ws://127.0.0.1:80"), Ok("/echo".into()));
        assert_eq!(
            path("ws://127.0.0.1:80/?token=x"),
            Ok("/echo?token=x".into())
        );
        assert_eq!(path("ws://127.0.0.1:80/own?a=b"), Ok("/own?a=b".into()));
        assert!(path("wss://127.0.0.1").is_err());
        assert!(path("nonsense").is_err());
    }
}
