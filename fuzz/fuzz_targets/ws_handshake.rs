//! Any head is refused or answered, and the answer is one head with nothing of the client's in it
//! but a subprotocol. The input is lines of `name: value`; what a good head has is added.

use fanfare::ws::deflate::{DeflateOptions, negotiate};
use fanfare::ws::handshake::Upgrade;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};

const GOOD: &[(&str, &str)] = &[
    ("host", "a"),
    ("upgrade", "websocket"),
    ("connection", "Upgrade"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("sec-websocket-version", "13"),
];

pub fn run(input: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in input.split(|byte| *byte == b'\n') {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let (Some(name), Some(value)) = (parts.next(), parts.next()) else {
            continue;
        };
        let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
        else {
            continue;
        };
        if headers.len() < 100 {
            headers.append(name, value);
        }
    }
    for (name, value) in GOOD {
        headers
            .entry(*name)
            .or_insert(HeaderValue::from_static(value));
    }
    let Ok(upgrade) = Upgrade::check(&Method::GET, Version::HTTP_11, &headers) else {
        return;
    };
    let agreed = negotiate(upgrade.extensions(), &DeflateOptions::default());
    for protocol in upgrade.protocols().map(Some).chain([None]) {
        let head = String::from_utf8(upgrade.response(protocol, agreed.as_ref())).expect("text");
        let lines = 4 + usize::from(protocol.is_some()) + usize::from(agreed.is_some());
        assert_eq!(head.matches("\r\n").count(), lines + 1);
        assert!(head.ends_with("\r\n\r\n"));
    }
}
