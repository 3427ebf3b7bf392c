//! The wse protocol as the gateway speaks it: what clients say first, the server's answers to it, and
//! the forms of frames. Topic messages are in [`crate::foreign`], as far as a fan-out needs them.

mod encoding;
mod unpack;

use memchr::memmem;
use serde::Deserialize;
use serde_json::{Value, json};

pub(crate) use encoding::{Encoding, MSGPACK};
pub(crate) use unpack::Unpacker;

/// The path of the upgrade.
pub(crate) const PATH: &str = "/wse";

/// Bytes from which the gateway compresses a message.
pub(crate) const COMPRESSED_BYTES_MIN: usize = 1024;

/// The answer to a heartbeat.
pub(crate) const PONG: &[u8] = br#"{"c":"WSE","t":"PONG","p":{},"v":1}"#;

/// Whether `text` is a heartbeat, which [`PONG`] answers.
#[inline]
pub(crate) fn is_ping(text: &[u8]) -> bool {
    text.starts_with(br#"{"c":"WSE","t":"PING""#)
}

/// What to do about a frame that says that a client sends too much, or soon will: what is over is
/// dropped, and a load that the server holds back is not what was asked for.
pub(crate) fn rate_hint(text: &[u8]) -> &'static str {
    let says = |what: &[u8]| memmem::find(text, what).is_some();
    if says(b"rate_limit_warning") || says(b"Rate limit exceeded") {
        ". With FANFARE_WSE__RATE_CAPACITY=0 the server has no such limit"
    } else {
        ""
    }
}

/// A frame of the server that is no topic message.
#[derive(Debug, Deserialize)]
pub(crate) struct ServerFrame {
    pub(crate) c: String,
    pub(crate) t: String,
    #[serde(default)]
    pub(crate) p: Value,
    seq: Option<Value>,
}

impl ServerFrame {
    /// Parses the text of a frame.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, String> {
        let shown = String::from_utf8_lossy(text);
        let frame: Self = serde_json::from_slice(text)
            .map_err(|error| format!("not a frame of the wse protocol ({error}): {shown:.200}"))?;
        if frame.seq.is_some() {
            // They wait for number 0, and then lose what follows.
            return Err(format!(
                "a seq stalls WSE's clients up to 2.3.2: {shown:.200}"
            ));
        }
        Ok(frame)
    }

    /// Whether this is an answer of the server itself with this type.
    pub(crate) fn is(&self, kind: &str) -> bool {
        self.c == "WSE" && self.t == kind
    }
}

/// What a client does next while it is set up.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Greeting {
    Send(Vec<u8>),
    /// The server has answered the hello.
    Done,
}

/// The step after a frame of the greeting: `server_ready`, which a hello answers, and `server_hello`.
pub(crate) fn greet(frame: &ServerFrame, encoding: Encoding) -> Result<Greeting, String> {
    let compression = encoding == Encoding::Zlib;
    if frame.is("server_ready") && frame.p["details"]["connection_id"].is_string() {
        let features = json!({"compression": compression, "encryption": false});
        let hello = json!({
            "client_version": "loadgen",
            "protocol_version": 1,
            "features": features,
        });
        return Ok(Greeting::Send(request("client_hello", &hello)));
    }
    if frame.is("server_hello") && frame.p["protocol_version"] == 1 {
        if compression && frame.p["features"]["compression"] != true {
            return Err("the server does not compress: see --compression".into());
        }
        return Ok(Greeting::Done);
    }
    if frame.is("PING") {
        return Ok(Greeting::Send(PONG.to_vec()));
    }
    Err(format!(
        "unexpected frame while setting up: {} {}",
        frame.t, frame.p
    ))
}

/// The text of a request to the server itself.
pub(crate) fn request(kind: &str, payload: &Value) -> Vec<u8> {
    // The category comes first, as clients since 2.1 write it.
    format!(r#"{{"c":"WSE","t":"{kind}","p":{payload},"v":1}}"#).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn greet_with(text: &str, encoding: Encoding) -> Result<Greeting, String> {
        greet(&ServerFrame::parse(text.as_bytes())?, encoding)
    }

    #[test]
    fn the_hello_answers_the_greeting_and_says_what_is_understood() {
        let ready = r#"{"c":"WSE","t":"server_ready","p":{"details":{"connection_id":"x"}},"id":"1","v":1}"#;
        for (encoding, compression) in [(Encoding::Json, false), (Encoding::Zlib, true)] {
            let Ok(Greeting::Send(hello)) = greet_with(ready, encoding) else {
                panic!("no hello");
            };
            let hello: Value = serde_json::from_slice(&hello).unwrap();
            assert_eq!(hello["t"], "client_hello");
            assert_eq!(hello["p"]["features"]["compression"], compression);
        }
        let hello = r#"{"c":"WSE","t":"server_hello","p":{"protocol_version":1,"features":{"compression":true}},"v":1}"#;
        assert_eq!(greet_with(hello, Encoding::Zlib), Ok(Greeting::Done));
    }

    #[test]
    fn a_greeting_that_clients_cannot_use_is_refused() {
        for text in [
            "x",
            r#"{"c":"WSE","t":"server_ready","p":{"details":{"connection_id":"x"}},"seq":1,"v":1}"#,
            r#"{"c":"WSE","t":"server_ready","p":{},"v":1}"#,
            r#"{"c":"U","t":"server_hello","p":{"protocol_version":1},"v":1}"#,
            r#"{"c":"WSE","t":"server_hello","p":{"protocol_version":2},"v":1}"#,
            r#"{"c":"WSE","t":"server_hello","p":{"protocol_version":1,"features":{}},"v":1}"#,
            r#"{"c":"WSE","t":"error","p":{"code":"AUTH_REQUIRED"},"v":1}"#,
        ] {
            assert!(greet_with(text, Encoding::Zlib).is_err(), "{text}");
        }
    }
}
