//! The address of a client behind proxies: forwarding headers count only as far as each proxy is trusted
//! (docs/hostile-inputs.md, H17).

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use http::header::{FORWARDED, HeaderName};
use ipnet::IpNet;

use crate::config::{ForwardedHeader, Server};

/// Where a client connects from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Source {
    /// Its address.
    pub address: IpAddr,
    /// A trusted proxy has told the address (`server.forwarded_from`, `server.proxy_protocol_from`).
    pub is_forwarded: bool,
}

/// The address of the client that a request from `peer` comes from. `is_proxy`: the peer is a proxy by its socket, as on
/// a unix socket, whatever its address.
///
/// Each proxy adds the address that it was talked to from at the end, so the list is read from there: trusted proxies
/// are skipped, and the first untrusted address is the client's. Entries before it may be forged. A malformed entry
/// ends the list.
///
/// Cost: one comparison if no proxy is trusted, otherwise linear in the header.
#[must_use]
pub fn client_of(server: &Server, (peer, is_proxy): (Source, bool), headers: &HeaderMap) -> Source {
    let trusted = |address: IpAddr| is_in(&server.forwarded_from, address);
    let proxy = Source {
        address: peer.address.to_canonical(),
        ..peer
    };
    let mut client = proxy.address;
    if !is_proxy && (server.forwarded_from.is_empty() || !trusted(client)) {
        return proxy;
    }
    let (name, read): (_, fn(&str) -> Option<IpAddr>) = match server.forwarded_header {
        ForwardedHeader::XForwardedFor => (X_FORWARDED_FOR, node),
        ForwardedHeader::Forwarded => (FORWARDED, forwarded_for),
    };
    let lines = headers.get_all(name).into_iter().rev();
    // Bytes, since a client may have begun the line with something that is no text.
    for entry in lines.flat_map(|line| line.as_bytes().rsplit(|&byte| byte == b',')) {
        let Some(address) = str::from_utf8(entry.trim_ascii()).ok().and_then(read) else {
            break;
        };
        client = address;
        if !trusted(client) {
            break;
        }
    }
    Source {
        address: client,
        is_forwarded: peer.is_forwarded || client != proxy.address,
    }
}

/// Whether a request has forwarding headers although no proxy is trusted: all clients behind that proxy then count as
/// one address.
#[must_use]
pub fn has_untrusted_forwarding(server: &Server, headers: &HeaderMap) -> bool {
    server.forwarded_from.is_empty()
        && server.proxy_protocol_from.is_empty()
        && (headers.contains_key(X_FORWARDED_FOR) || headers.contains_key(FORWARDED))
}

/// Whether one of `networks` has `address` in it.
pub(super) fn is_in(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&address))
}

/// The `for` of one element of `Forwarded` (RFC 7239 4). Splitting at commas and
/// semicolons without regard to quotes is right for elements that hold an
/// address, for such have neither; the others are not read.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let mut values = element.split(';').filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then_some(value)
    });
    let value = values.next()?.trim();
    let is_quoted = value.len() >= 2 && value.starts_with('"') && value.ends_with('"');
    let value = if is_quoted {
        &value[1..value.len() - 1]
    } else {
        value
    };
    // An element with two of them is malformed.
    node(value).filter(|_| values.next().is_none())
}

/// An address with or without a port, that of IPv6 with or without brackets.
fn node(text: &str) -> Option<IpAddr> {
    let bracketed = || {
        text.strip_prefix('[')?
            .strip_suffix(']')?
            .parse()
            .ok()
            .map(IpAddr::V6)
    };
    let with_port = || text.parse().ok().map(|address: SocketAddr| address.ip());
    let address = text.parse().ok().or_else(bracketed).or_else(with_port)?;
    Some(address.to_canonical())
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const TRUSTED: &str =
        "[server]\nforwarded_from = [\"10.0.0.0/8\", \"fd00::/8\", \"127.0.0.1\"]\n";

    #[track_caller]
    fn check_with(more: &str, peer: &str, lines: &[(&'static str, &str)], expected: &str) {
        let config = Config::from_toml(&format!("mode = \"demo\"\n{TRUSTED}{more}")).unwrap();
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        let peer = Source {
            address: peer.parse().unwrap(),
            is_forwarded: false,
        };
        let client = client_of(&config.server, (peer, false), &headers);
        let expected: IpAddr = expected.parse().unwrap();
        assert_eq!(client.address, expected, "{lines:?}");
        let proxy = peer.address.to_canonical();
        assert_eq!(client.is_forwarded, expected != proxy, "{lines:?}");
    }

    #[track_caller]
    fn check(peer: &str, lines: &[&str], expected: &str) {
        let lines: Vec<_> = lines
            .iter()
            .map(|line| ("x-forwarded-for", *line))
            .collect();
        check_with("", peer, &lines, expected);
    }

    #[track_caller]
    fn check_forwarded(lines: &[&str], expected: &str) {
        let lines: Vec<_> = lines.iter().map(|line| ("forwarded", *line)).collect();
        check_with(
            "forwarded_header = \"forwarded\"",
            "10.0.0.1",
            &lines,
            expected,
        );
    }

    #[test]
    fn h17_a_stranger_is_not_believed() {
        check("192.0.2.1", &["198.51.100.7"], "192.0.2.1");
        check("192.0.2.1", &["10.0.0.9"], "192.0.2.1");
        check("::ffff:192.0.2.1", &["10.0.0.9"], "192.0.2.1");
        check("10.0.0.1", &[], "10.0.0.1");
    }

    #[test]
    fn h17_the_last_address_that_is_no_proxys_is_the_clients() {
        check("10.0.0.1", &["198.51.100.7"], "198.51.100.7");
        check("::ffff:10.0.0.1", &["198.51.100.7:4711"], "198.51.100.7");
        check(
            "10.0.0.1",
            &["1.1.1.1, 198.51.100.7, 10.0.0.2 ,10.0.0.3"],
            "198.51.100.7",
        );
        check(
            "10.0.0.1",
            &["1.1.1.1, 198.51.100.7", "fd00::1", "[fd00::2]:80"],
            "198.51.100.7",
        );
        check("10.0.0.1", &["2001:db8::1, [fd00::2]"], "2001:db8::1");
        check(
            "10.0.0.1",
            &["1.1.1.1", "10.0.0.2,::ffff:198.51.100.7"],
            "198.51.100.7",
        );
        // All of them are proxies: the first one is where it began.
        check("10.0.0.1", &["10.0.0.3,10.0.0.2"], "10.0.0.3");
    }

    #[test]
    fn h17_the_peer_of_a_unix_socket_is_a_proxy() {
        for (keys, line, expected) in [
            ("", "1.1.1.1, 198.51.100.7", "198.51.100.7"),
            ("", "", "127.0.0.1"),
            (
                "[server]\nforwarded_from = [\"10.0.0.0/8\"]",
                "198.51.100.7, 10.0.0.1",
                "198.51.100.7",
            ),
        ] {
            let config = Config::from_toml(&format!("mode = \"demo\"\n{keys}")).unwrap();
            let mut headers = HeaderMap::new();
            if !line.is_empty() {
                headers.append("x-forwarded-for", line.parse().unwrap());
            }
            let peer = Source {
                address: [127, 0, 0, 1].into(),
                is_forwarded: false,
            };
            let client = client_of(&config.server, (peer, true), &headers);
            let expected: IpAddr = expected.parse().unwrap();
            assert_eq!(client.address, expected, "{line}");
            assert_eq!(client.is_forwarded, expected != peer.address, "{line}");
        }
    }

    #[test]
    fn h17_what_cannot_be_read_ends_the_list() {
        for nonsense in [
            "",
            "unknown",
            "1.2.3",
            "1.2.3.4:",
            "1.2.3.4.5",
            "[::1",
            "010.0.0.1",
            "\"1.2.3.4\"",
            "a\u{80}",
        ] {
            check("10.0.0.1", &[&format!("9.9.9.9, {nonsense}")], "10.0.0.1");
            check(
                "10.0.0.1",
                &[&format!("9.9.9.9, {nonsense}, 10.0.0.2")],
                "10.0.0.2",
            );
            check(
                "10.0.0.1",
                &[&format!("{nonsense}, 198.51.100.7")],
                "198.51.100.7",
            );
        }
    }

    #[test]
    fn h17_only_the_configured_header_counts() {
        let both = [
            ("x-forwarded-for", "192.0.2.1"),
            ("forwarded", "for=198.51.100.7"),
        ];
        check_with("", "10.0.0.1", &both, "192.0.2.1");
        check_with(
            "forwarded_header = \"forwarded\"",
            "10.0.0.1",
            &both,
            "198.51.100.7",
        );
    }

    #[test]
    fn h17_forwarded_is_read_from_its_end() {
        check_forwarded(&["for=198.51.100.7"], "198.51.100.7");
        check_forwarded(
            &["For=\"198.51.100.7:80\";proto=http;by=10.0.0.1"],
            "198.51.100.7",
        );
        check_forwarded(&["proto=http; for=\"[2001:db8::1]:4711\""], "2001:db8::1");
        check_forwarded(
            &["for=1.1.1.1, for=198.51.100.7, for=10.0.0.2"],
            "198.51.100.7",
        );
        for nonsense in [
            "for=_hidden",
            "for=unknown",
            "proto=http",
            "for=1.1.1.1;for=2.2.2.2",
            "for=\"",
            "",
        ] {
            check_forwarded(&[&format!("for=9.9.9.9, {nonsense}")], "10.0.0.1");
        }
        // A quote that the client left open takes nothing in.
        check_forwarded(&["for=\"9.9.9.9, for=198.51.100.7"], "198.51.100.7");
    }
}
