//! The PROXY protocol, versions 1 and 2: the client's address, sent by a proxy before all other bytes of a connection.
//!
//! <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>. Of what a
//! header may hold only the source address is read. Anything that is not exactly
//! as specified is refused: a proxy does not make mistakes, others try.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::forwarded::is_in;
use crate::config::Server;

/// Bytes of a header. Version 1 ends within 107; version 2 is 16 bytes and what
/// they announce, of which more than this is refused before it is read. Senders
/// keep to 536 bytes, so that a header fits the smallest segment there is.
pub const PROXY_BYTES_MAX: usize = 536;

/// A header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProxyHeader {
    /// How many bytes it has. What follows is the connection.
    pub bytes: usize,
    /// Where the connection comes from; `None` if the proxy speaks for itself, as
    /// for health checks, or does not know: then it is the socket's address.
    pub source: Option<IpAddr>,
}

/// The bytes are not a PROXY header.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no PROXY protocol header")]
pub struct ProxyError;

/// Whether a connection from `address` must begin with a header. From other addresses a header is not accepted
/// (docs/hostile-inputs.md, H18).
#[must_use]
pub fn speaks_proxy(server: &Server, address: IpAddr) -> bool {
    is_in(&server.proxy_protocol_from, address.to_canonical())
}

/// Reads the header at the beginning of `bytes`; `None` if more bytes are needed.
///
/// Cost: linear in the header's length for each call; callers call once per read.
///
/// # Errors
/// No header begins like this.
pub fn parse_proxy(bytes: &[u8]) -> Result<Option<ProxyHeader>, ProxyError> {
    if begins_with(bytes, SIGNATURE) {
        version_2(bytes)
    } else if begins_with(bytes, b"PROXY ") {
        version_1(bytes)
    } else {
        Err(ProxyError)
    }
}

/// Whether `bytes` begin with `prefix`, or may do so when more have come.
fn begins_with(bytes: &[u8], prefix: &[u8]) -> bool {
    let len = bytes.len().min(prefix.len());
    bytes[..len] == prefix[..len]
}

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Section 2.1: `PROXY TCP4 <source> <destination> <port> <port>\r\n`.
fn version_1(bytes: &[u8]) -> Result<Option<ProxyHeader>, ProxyError> {
    let within = &bytes[..bytes.len().min(LINE_MAX)];
    let Some(end) = memchr::memchr(b'\n', within) else {
        return if bytes.len() < LINE_MAX {
            Ok(None)
        } else {
            Err(ProxyError)
        };
    };
    let line = within[..end].strip_suffix(b"\r").ok_or(ProxyError)?;
    let line = str::from_utf8(line).map_err(|_| ProxyError)?;
    let header = |source| {
        Some(ProxyHeader {
            bytes: end + 1,
            source,
        })
    };
    let mut words = line.split(' ').skip(1);
    let family = words.next();
    if family == Some("UNKNOWN") {
        // The rest of the line is ignored.
        return Ok(header(None));
    }
    let mut address = || {
        let address: IpAddr = words.next()?.parse().ok()?;
        let is_meant = match family? {
            "TCP4" => address.is_ipv4(),
            "TCP6" => address.is_ipv6(),
            _ => false,
        };
        is_meant.then(|| address.to_canonical())
    };
    let (source, destination) = (address(), address());
    let mut port = || {
        let digits = words.next()?;
        let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
        let is_canonical = digits == "0" || !digits.starts_with('0');
        digits
            .parse::<u16>()
            .ok()
            .filter(|_| is_number && is_canonical)
    };
    let is_whole = destination.is_some() && port().is_some() && port().is_some();
    match source.filter(|_| is_whole && words.next().is_none()) {
        Some(source) => Ok(header(Some(source))),
        None => Err(ProxyError),
    }
}

/// The longest line, its end included.
const LINE_MAX: usize = 107;

/// Section 2.2: signature, version and command, family and protocol, length of
/// the rest, addresses, and other things that are passed over.
fn version_2(bytes: &[u8]) -> Result<Option<ProxyHeader>, ProxyError> {
    let command = bytes.get(12).copied();
    if command.is_some_and(|command| !matches!(command, LOCAL | PROXY)) {
        return Err(ProxyError);
    }
    let Some((fixed, _)) = bytes.split_first_chunk::<FIXED_BYTES>() else {
        return Ok(None);
    };
    let len = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if FIXED_BYTES + len > PROXY_BYTES_MAX {
        return Err(ProxyError);
    }
    let Some(rest) = bytes.get(FIXED_BYTES..FIXED_BYTES + len) else {
        return Ok(None);
    };
    let source = match fixed[13] {
        // LOCAL: the connection is the proxy's own, so addresses are ignored.
        _ if command == Some(LOCAL) => None,
        TCP4 if len >= 12 => rest
            .first_chunk()
            .map(|&source| Ipv4Addr::from_octets(source).into()),
        TCP6 if len >= 36 => rest
            .first_chunk()
            .map(|&source| IpAddr::from(Ipv6Addr::from_octets(source)).to_canonical()),
        // Too short for its family.
        TCP4 | TCP6 => return Err(ProxyError),
        UNSPECIFIED => None,
        // Datagrams and local sockets do not come here.
        _ => return Err(ProxyError),
    };
    Ok(Some(ProxyHeader {
        bytes: FIXED_BYTES + len,
        source,
    }))
}

const FIXED_BYTES: usize = 16;
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
const UNSPECIFIED: u8 = 0x00;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The source that `header` names, whole and cut at every byte, with bytes
    /// behind it and without.
    #[track_caller]
    fn check(header: &[u8], source: Option<&str>) {
        let source = source.map(|source| source.parse().unwrap());
        let expected = Ok(Some(ProxyHeader {
            bytes: header.len(),
            source,
        }));
        assert_eq!(parse_proxy(header), expected, "{header:?}");
        assert_eq!(
            parse_proxy(&[header, b"GET / HTTP/1.1\r\n"].concat()),
            expected,
            "{header:?}"
        );
        for cut in 0..header.len() {
            assert_eq!(
                parse_proxy(&header[..cut]),
                Ok(None),
                "{header:?} cut at {cut}"
            );
        }
    }

    #[track_caller]
    fn refused(bytes: &[u8]) {
        assert_eq!(parse_proxy(bytes), Err(ProxyError), "{bytes:?}");
    }

    /// A header of version 2.
    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let len = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[command, family], &len, rest].concat()
    }

    /// 12 bytes: 198.51.100.7 port 258 to 10.0.0.1 port 80.
    const V4: &[u8] = &[198, 51, 100, 7, 10, 0, 0, 1, 1, 2, 0, 80];

    #[test]
    fn version_1_names_the_source() {
        check(
            b"PROXY TCP4 198.51.100.7 10.0.0.1 56324 443\r\n",
            Some("198.51.100.7"),
        );
        check(
            b"PROXY TCP6 2001:db8::7 fd00::1 0 65535\r\n",
            Some("2001:db8::7"),
        );
        check(b"PROXY TCP6 ::ffff:1.2.3.4 ::1 1 2\r\n", Some("1.2.3.4"));
        check(b"PROXY UNKNOWN\r\n", None);
        check(b"PROXY UNKNOWN ffff:f...f:ffff whatever\r\n", None);
    }

    #[test]
    fn h18_version_1_is_exact() {
        for line in [
            "PROXY TCP4 198.51.100.7 10.0.0.1 56324 443\n",
            "PROXY TCP4 198.51.100.7 10.0.0.1 56324\r\n",
            "PROXY TCP4 198.51.100.7 10.0.0.1 56324 443 \r\n",
            "PROXY TCP4 198.51.100.7 10.0.0.1 56324 65536\r\n",
            "PROXY TCP4 198.51.100.7 10.0.0.1 56324 +443\r\n",
            "PROXY TCP4 198.51.100.7 10.0.0.1 056324 443\r\n",
            "PROXY TCP4 198.051.100.7 10.0.0.1 56324 443\r\n",
            "PROXY TCP4  198.51.100.7 10.0.0.1 56324 443\r\n",
            "PROXY TCP4 2001:db8::7 fd00::1 1 2\r\n",
            "PROXY TCP6 198.51.100.7 10.0.0.1 1 2\r\n",
            "PROXY UDP4 198.51.100.7 10.0.0.1 1 2\r\n",
            "PROXY tcp4 198.51.100.7 10.0.0.1 1 2\r\n",
            "PROXY \r\n",
            "PROXYTCP4",
            "proxy",
            "GET / HTTP/1.1\r\n",
            "\r\nPROXY",
        ] {
            refused(line.as_bytes());
        }
        refused(&[b"PROXY UNKNOWN ".as_slice(), &[b'x'; 93]].concat());
        check(
            &[b"PROXY UNKNOWN ".as_slice(), &[b'x'; 91], b"\r\n"].concat(),
            None,
        );
        refused(&[b"PROXY UNKNOWN ".as_slice(), &[b'x'; 92], b"\r\n"].concat());
        refused(b"PROXY TCP4 \xff\r\n");
    }

    #[test]
    fn version_2_names_the_source() {
        check(&v2(PROXY, TCP4, V4), Some("198.51.100.7"));
        check(
            &v2(PROXY, TCP4, &[V4, &[4, 0, 1, 0]].concat()),
            Some("198.51.100.7"),
        );
        let v6 = [
            &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7][..],
            &[0; 20],
        ]
        .concat();
        check(&v2(PROXY, TCP6, &v6), Some("2001:db8::7"));
        check(&v2(LOCAL, UNSPECIFIED, b""), None);
        check(&v2(LOCAL, TCP4, V4), None);
        check(&v2(PROXY, UNSPECIFIED, b"more"), None);
        check(
            &v2(PROXY, UNSPECIFIED, &[0; PROXY_BYTES_MAX - FIXED_BYTES]),
            None,
        );
    }

    #[test]
    fn h18_version_2_is_exact_and_bounded() {
        refused(&v2(PROXY, UNSPECIFIED, &[0; PROXY_BYTES_MAX - FIXED_BYTES + 1])[..FIXED_BYTES]);
        refused(&v2(PROXY, TCP4, &V4[..11]));
        refused(&v2(PROXY, TCP6, &[0; 35]));
        refused(&v2(PROXY, 0x12, V4));
        refused(&v2(PROXY, 0x31, &[0; 216]));
        refused(&v2(0x22, TCP4, V4)[..13]);
        refused(&v2(0x11, TCP4, V4)[..13]);
        refused(b"\r\n\r\n\0\r\nQUIT\r");
    }

    proptest! {
        #[test]
        fn whatever_comes_it_is_decided_within_the_limit(bytes in prop::collection::vec(any::<u8>(), 0..64), begin in 0_usize..3) {
            let begin: &[u8] = [b"".as_slice(), b"PROXY TCP4 1.2.3.4 ", SIGNATURE][begin];
            let mut all = [begin, &bytes].concat();
            all.resize(PROXY_BYTES_MAX, b'x');
            match parse_proxy(&all) {
                Ok(None) => prop_assert!(false, "undecided"),
                Ok(Some(header)) => {
                    prop_assert!(header.bytes <= PROXY_BYTES_MAX);
                    prop_assert_eq!(parse_proxy(&all[..header.bytes]), Ok(Some(header)));
                    prop_assert_eq!(parse_proxy(&all[..header.bytes - 1]), Ok(None));
                }
                Err(_) => {}
            }
        }
    }
}
