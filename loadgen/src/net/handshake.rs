//! The opening handshake (RFC 6455 section 4.1).

use std::net::{SocketAddr, ToSocketAddrs};

use memchr::memmem;
use tokio_tungstenite::tungstenite::handshake::{client::generate_key, derive_accept_key};
use tokio_tungstenite::tungstenite::http::Uri;

use super::end::End;
use super::tls::{TlsClient, TlsSettings};

/// Largest response head and body of a refusal that is read, in bytes.
const RESPONSE_BYTES_MAX: usize = 64 * 1024;

/// Where to connect to and what to ask for.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// The whole URL, for messages and for other clients.
    pub(crate) url: String,
    /// For URLs of TLS.
    pub(super) tls: Option<TlsClient>,
    host: String,
    path: String,
    headers: Vec<String>,
}

impl Target {
    /// Parses a URL. `ws://` and `http://` mean the same, and so do `wss://` and `https://`, which
    /// are TLS by these `settings`. `path` is used if the URL has none; `headers` are whole lines of
    /// every request.
    pub(crate) fn new(
        url: &str,
        path: &str,
        headers: Vec<String>,
        settings: &TlsSettings,
    ) -> Result<Self, String> {
        let uri: Uri = url
            .parse()
            .map_err(|error| format!("{url} is not a URL: {error}"))?;
        let (scheme, usual_port) = match uri.scheme_str() {
            Some("ws" | "http") => ("ws", 80),
            Some("wss" | "https") => ("wss", 443),
            _ => {
                return Err(format!(
                    "{url}: a URL has to begin with ws://, wss://, http:// or https://"
                ));
            }
        };
        let host = uri.host().unwrap_or_default();
        let port = uri.port_u16().unwrap_or(usual_port);
        let name = host.trim_matches(['[', ']']);
        let tls = (scheme == "wss").then(|| TlsClient::new(name, settings));
        let address = (name, port)
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
            url: format!("{scheme}://{host}:{port}{path}"),
            tls: tls.transpose()?,
            host: format!("{host}:{port}"),
            path,
            headers,
        })
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Adds `name=value` to the query.
    pub(crate) fn add_parameter(&mut self, pair: &str) {
        let separator = if self.path.contains('?') { '&' } else { '?' };
        for text in [&mut self.path, &mut self.url] {
            text.push(separator);
            text.push_str(pair);
        }
    }

    /// The same server on `path` with `query`. Other `headers` are in place of those of this target and of
    /// its query, which may carry credentials, too.
    pub(crate) fn at(&self, path: &str, query: &str, headers: &[String]) -> Self {
        let mut target = self.clone();
        let own_query = match self.path.split_once('?') {
            Some((_, own)) if headers.is_empty() => format!("&{own}"),
            _ => String::new(),
        };
        let origin = self.url.len() - self.path.len();
        target.path = format!("{path}?{query}{own_query}");
        target.url.replace_range(origin.., &target.path);
        if !headers.is_empty() {
            target.headers = headers.to_vec();
        }
        target
    }

    /// The upgrade request.
    pub(crate) fn request(&self, key: &str) -> Vec<u8> {
        self.request_on(&self.path, key)
    }

    /// As [`Self::request`], on another path.
    pub(crate) fn request_on(&self, path: &str, key: &str) -> Vec<u8> {
        let host = &self.host;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
        );
        self.finish_head(request)
    }

    /// The request for an event stream of these topics, resumed after `last_event_id`.
    pub(crate) fn stream_request<'a>(
        &self,
        topics: impl Iterator<Item = &'a str>,
        last_event_id: Option<&str>,
    ) -> Vec<u8> {
        let query = self.path.split_once('?').map_or("", |(_, query)| query);
        let join = if query.is_empty() { "" } else { "&" };
        let topics: Vec<&str> = topics.collect();
        let (topics, host) = (topics.join(","), &self.host);
        let mut request = format!(
            "GET /api/v1/sse?{query}{join}topics={topics} HTTP/1.1\r\nHost: {host}\r\n\
             Accept: text/event-stream\r\n"
        );
        if let Some(id) = last_event_id {
            request.push_str(&format!("Last-Event-ID: {id}\r\n"));
        }
        self.finish_head(request)
    }

    /// The head of a POST of a JSON body of `length` bytes.
    pub(crate) fn post(&self, path: &str, length: usize) -> Vec<u8> {
        self.json_request("POST", path, length)
    }

    /// The head of a request with a JSON body of `length` bytes.
    pub(crate) fn json_request(&self, method: &str, path: &str, length: usize) -> Vec<u8> {
        let host = &self.host;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n"
        );
        self.finish_head(request)
    }

    /// A GET request.
    pub(crate) fn get(&self, path: &str) -> Vec<u8> {
        let host = &self.host;
        self.finish_head(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n"))
    }

    /// Adds the headers of every request and the end of the head.
    fn finish_head(&self, mut head: String) -> Vec<u8> {
        for header in &self.headers {
            head.push_str(header);
            head.push_str("\r\n");
        }
        head.push_str("\r\n");
        head.into_bytes()
    }

    pub(crate) fn headers(&self) -> &[String] {
        &self.headers
    }
}

/// A new random handshake key.
pub(crate) fn key() -> String {
    generate_key()
}

/// The length of the response head at the front of `bytes`, once it is complete, if
/// the upgrade was accepted.
pub(crate) fn response(bytes: &[u8], key: &str) -> Result<Option<usize>, End> {
    let Some((head, length)) = accepted(bytes, 101)? else {
        return Ok(None);
    };
    if header(&head, "sec-websocket-accept") != Some(&derive_accept_key(key.as_bytes())) {
        return Err(End::Protocol("wrong Sec-WebSocket-Accept"));
    }
    if header(&head, "sec-websocket-extensions").is_some() {
        return Err(End::Protocol("an extension that was not offered"));
    }
    Ok(Some(length))
}

/// As [`response`], for an event stream, which must end with the connection.
pub(crate) fn stream_response(bytes: &[u8]) -> Result<Option<usize>, End> {
    let Some((head, length)) = accepted(bytes, 200)? else {
        return Ok(None);
    };
    if header(&head, "content-type") != Some("text/event-stream") {
        return Err(End::Protocol("not a stream of events"));
    }
    if header(&head, "content-length").is_some() || header(&head, "transfer-encoding").is_some() {
        return Err(End::Protocol("a stream of events in a frame of its own"));
    }
    Ok(Some(length))
}

/// A whole response head with the status `wanted`, and its length.
fn accepted(bytes: &[u8], wanted: u16) -> Result<Option<(String, usize)>, End> {
    let Some(end) = memmem::find(bytes, b"\r\n\r\n") else {
        return if bytes.len() > RESPONSE_BYTES_MAX {
            Err(End::Protocol("response head over 64 KiB"))
        } else {
            Ok(None)
        };
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let status = status(&head).ok_or(End::Protocol("not an HTTP response"))?;
    if status != wanted {
        let expected = header(&head, "content-length").and_then(|length| length.parse().ok());
        let body = &bytes[end + 4..];
        // Without a length the body ends with the connection; what was read suffices.
        return if body.len() < expected.unwrap_or(0).min(RESPONSE_BYTES_MAX) {
            Ok(None)
        } else {
            Err(End::Refused {
                status,
                body: String::from_utf8_lossy(body).into_owned(),
            })
        };
    }
    Ok(Some((head, end + 4)))
}

/// The refusal in a response that was cut short.
pub(super) fn refusal(bytes: &[u8]) -> Option<End> {
    let end = memmem::find(bytes, b"\r\n\r\n")?;
    Some(End::Refused {
        status: status(&String::from_utf8_lossy(&bytes[..end]))?,
        body: String::from_utf8_lossy(&bytes[end + 4..]).into_owned(),
    })
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
    use crate::net::tls::Trust;

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
    fn a_stream_of_events_is_accepted_by_its_type_and_ends_with_the_connection() {
        let head = |more: &str| {
            let text = format!("HTTP/1.1 200 OK\r\n{more}\r\n\r\nid: x");
            stream_response(text.as_bytes())
        };
        assert_eq!(head("Content-Type: text/event-stream"), Ok(Some(52)));
        assert!(head("content-type: text/html").is_err());
        assert!(head("content-type: text/event-stream\r\ntransfer-encoding: chunked").is_err());
        assert!(stream_response(b"HTTP/1.1 101 Switching Protocols\r\n\r\n").is_err());
    }

    #[test]
    fn the_request_for_a_stream_keeps_the_query() {
        let request = |url: &str| {
            let headers = vec!["A: b".into()];
            let target = Target::new(url, "/x", headers, &TlsSettings::default()).unwrap();
            String::from_utf8(target.stream_request(["t0", "t1"].into_iter(), None)).unwrap()
        };
        let plain = request("ws://127.0.0.1:80");
        assert!(
            plain.starts_with("GET /api/v1/sse?topics=t0,t1 HTTP/1.1\r\n"),
            "{plain}"
        );
        assert!(plain.ends_with("\r\nA: b\r\n\r\n"), "{plain}");
        let query = request("ws://127.0.0.1:80/?token=x");
        assert!(
            query.starts_with("GET /api/v1/sse?token=x&topics=t0,t1 "),
            "{query}"
        );
    }

    #[test]
    fn another_path_of_a_server_keeps_the_query_unless_it_has_headers_of_its_own() {
        let headers = vec!["A: b".into()];
        let url = "ws://127.0.0.1:80/?token=x";
        let target = Target::new(url, "/x", headers, &TlsSettings::default()).unwrap();
        let check = |headers: &[String], path: &str, header: &str| {
            let other = target.at("/y", "g=1", headers);
            assert_eq!(other.url, format!("ws://127.0.0.1:80{path}"));
            let request = String::from_utf8(other.request(KEY)).unwrap();
            assert!(request.starts_with(&format!("GET {path} ")), "{request}");
            assert!(
                request.ends_with(&format!("\r\n{header}\r\n\r\n")),
                "{request}"
            );
        };
        check(&[], "/y?g=1&token=x", "A: b");
        check(&["C: d".into()], "/y?g=1", "C: d");
    }

    #[test]
    fn urls_are_completed_with_the_scenario_path() {
        let path = |url: &str| {
            let settings = TlsSettings::default();
            Target::new(url, "/echo", Vec::new(), &settings).map(|target| target.path)
        };
        assert_eq!(path("ws://127.0.0.1:80"), Ok("/echo".into()));
        assert_eq!(
            path("ws://127.0.0.1:80/?token=x"),
            Ok("/echo?token=x".into())
        );
        assert_eq!(path("ws://127.0.0.1:80/own?a=b"), Ok("/own?a=b".into()));
        assert!(path("ftp://127.0.0.1").is_err());
        assert!(path("nonsense").is_err());
    }

    #[test]
    fn the_scheme_says_whether_it_is_tls_and_the_usual_port() {
        for (url, whole, is_tls) in [
            ("ws://127.0.0.1", "ws://127.0.0.1:80/x", false),
            ("http://127.0.0.1:8080", "ws://127.0.0.1:8080/x", false),
            ("wss://127.0.0.1", "wss://127.0.0.1:443/x", true),
            ("https://[::1]", "wss://[::1]:443/x", true),
            ("https://localhost:8443", "wss://localhost:8443/x", true),
        ] {
            let settings = TlsSettings {
                trust: Trust::Any,
                ..TlsSettings::default()
            };
            let target = Target::new(url, "/x", Vec::new(), &settings).unwrap();
            assert_eq!((&*target.url, target.is_tls()), (whole, is_tls), "{url}");
        }
    }
}
