//! What a proxy says of its client, what an `Accept` asks for and where a page comes from are read or not,
//! whatever the headers are. The input is lines of `name: value`.

use std::net::{IpAddr, Ipv4Addr};

use fanfare::config::{Config, CorsOrigin, OriginPattern, Server};
use fanfare::http::{
    Source, allow_page, client_of, is_allowed_page, is_own_page, may_post, preferred, preflight,
};
use http::header::{ACCEPT, ACCESS_CONTROL_ALLOW_ORIGIN, ORIGIN};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

const OFFERS: [&str; 3] = [
    "application/json",
    "text/plain; version=0.0.4",
    "application/openmetrics-text",
];

pub fn run(input: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in input.split(|byte| *byte == b'\n').take(100) {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let (Some(name), Some(value)) = (parts.next(), parts.next()) else {
            continue;
        };
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
        {
            headers.append(name, value);
        }
    }
    forwarded(&headers);
    accepted(&mut headers.clone());
    origins(&headers);
}

/// The address of the client of a request that comes from a port of `peer`.
fn client(server: &Server, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
    let peer = Source {
        address: peer,
        is_forwarded: false,
    };
    client_of(server, (peer, false), headers).address
}

fn forwarded(headers: &HeaderMap) {
    let stranger = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    for header in ["x-forwarded-for", "forwarded"] {
        let text = format!(
            "mode = \"demo\"\n[server]\nforwarded_from = [\"10.0.0.0/8\"]\nforwarded_header = \"{header}\""
        );
        let server = Config::from_toml(&text).expect("valid").server;
        assert_eq!(client(&server, stranger, headers), stranger);
        let told = client(&server, PROXY, headers);
        let mut more = headers.clone();
        // The proxy writes behind what came, and its word counts.
        let says = if header == "forwarded" {
            "for=192.0.2.7"
        } else {
            "192.0.2.7"
        };
        more.append(
            HeaderName::from_static(header),
            HeaderValue::from_static(says),
        );
        assert_eq!(
            client(&server, PROXY, &more),
            IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7))
        );
        assert!(told == PROXY || headers.contains_key(header));
    }
}

fn accepted(headers: &mut HeaderMap) {
    if let Some(place) = preferred(headers, &OFFERS) {
        assert!(place < OFFERS.len());
    }
    headers.append(ACCEPT, HeaderValue::from_static("application/json;q=1"));
    assert!(preferred(headers, &OFFERS).is_some());
}

fn origins(headers: &HeaderMap) {
    let known = "https://*.example.com";
    let pattern = OriginPattern::parse(known).expect("a pattern");
    let _ = (
        is_own_page(&[], headers),
        may_post(&[CorsOrigin::Any], headers),
    );
    let listed = [CorsOrigin::Only(pattern.clone())];
    let mut answer = HeaderMap::new();
    allow_page(&listed, headers, &mut answer);
    // Only an origin that is listed is repeated, as it came.
    if let Some(origin) = answer.get(ACCESS_CONTROL_ALLOW_ORIGIN) {
        assert_eq!(headers.get(ORIGIN), Some(origin));
        let origin = origin.to_str().expect("an origin");
        let host = origin
            .strip_prefix("https://")
            .and_then(|rest| rest.strip_suffix(".example.com"));
        assert!(
            host.is_some_and(|label| !label.is_empty() && !label.contains(['.', '/', '@', ':']))
        );
        assert!(is_allowed_page(&[pattern], headers));
    }
    let _ = preflight(&listed, &Method::OPTIONS, headers);
}
