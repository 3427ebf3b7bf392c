//! Negotiation: from a client's offers to what both sides do (RFC 7692 section 7.1).

use std::fmt::Write;
use std::ops::RangeInclusive;

use super::super::syntax::Scanner;

/// Offers looked at, of any extension, over all header lines. A client makes one or two.
pub const OFFERS_MAX: usize = 8;

const EXTENSION: &str = "permessage-deflate";

/// The windows DEFLATE streams can have, as powers of two (RFC 7692 section 7.1.2).
const WINDOW_BITS: RangeInclusive<u8> = 8..=15;

/// The smallest window the compressor can be held to: zlib has no raw stream with 8 bits.
const SERVER_WINDOW_BITS_MIN: u8 = 9;

/// What this server does.
#[derive(Clone, Copy, Debug)]
pub struct DeflateOptions {
    /// The largest window messages to clients are compressed with, as a power of two, 9 to 15.
    /// A client may ask for a smaller one.
    pub server_window_bits: u8,
    /// Lets a client keep its compression context from message to message. It compresses better
    /// and costs this process about 50 KiB for each such connection that has sent a message.
    pub client_context: bool,
}

impl Default for DeflateOptions {
    fn default() -> Self {
        Self {
            server_window_bits: 15,
            client_context: false,
        }
    }
}

/// The extension as negotiated for one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    server_window_bits: u8,
    /// The client asked for a window, or gets a smaller one than the default.
    states_window: bool,
    client_context: bool,
}

impl Agreed {
    /// The window of messages to this client, as a power of two, 9 to 15.
    #[must_use]
    pub const fn server_window_bits(&self) -> u8 {
        self.server_window_bits
    }

    /// Whether the client may refer to its earlier messages.
    #[must_use]
    pub const fn client_context(&self) -> bool {
        self.client_context
    }

    /// The value of the answer's `Sec-WebSocket-Extensions`.
    ///
    /// It never holds `client_max_window_bits`: the inflater takes every window, so there is
    /// nothing to ask for, whether the client offered to be asked or not.
    #[must_use]
    pub fn response(&self) -> String {
        let mut response = format!("{EXTENSION}; server_no_context_takeover");
        if !self.client_context {
            response.push_str("; client_no_context_takeover");
        }
        if self.states_window {
            let bits = self.server_window_bits;
            write!(response, "; server_max_window_bits={bits}").expect("a string takes everything");
        }
        response
    }
}

/// Answers the values of a request's `Sec-WebSocket-Extensions` headers, in order: with the first
/// offer that is valid and can be met, or with `None`, which leaves the connection uncompressed.
///
/// An offer is declined for an unknown, repeated or malformed parameter (RFC 7692 section 7.1), and
/// for `server_max_window_bits=8`, which the compressor cannot be held to. A value may be a quoted
/// string (RFC 6455 section 9.1). Where a header breaks the grammar nothing more is read; at most
/// [`OFFERS_MAX`] offers are looked at.
pub fn negotiate<'h>(
    headers: impl IntoIterator<Item = &'h str>,
    options: &DeflateOptions,
) -> Option<Agreed> {
    let mut offers = 0;
    for header in headers {
        let mut scanner = Scanner::new(header);
        loop {
            while scanner.eat(',') {}
            if scanner.is_at_end() {
                break;
            }
            if offers == OFFERS_MAX {
                return None;
            }
            offers += 1;
            let offer = Offer::read(&mut scanner)?;
            if let Some(agreed) = offer.answer(options) {
                return Some(agreed);
            }
        }
    }
    None
}

/// One offer.
#[derive(Debug, Default)]
struct Offer {
    /// Another extension, or parameters that make the offer invalid.
    is_declined: bool,
    server_no_context: bool,
    client_no_context: bool,
    server_window_bits: Option<u8>,
    client_window_bits: Option<u8>,
}

impl Offer {
    /// Reads one element of the list, up to the comma or the end; `None` if it breaks the grammar.
    fn read(scanner: &mut Scanner<'_>) -> Option<Self> {
        let mut offer = Self {
            is_declined: !scanner.token()?.eq_ignore_ascii_case(EXTENSION),
            ..Self::default()
        };
        while scanner.eat(';') {
            let name = scanner.token()?;
            let value = if scanner.eat('=') {
                Some(scanner.token_or_quoted()?)
            } else {
                None
            };
            if !offer.is_declined && !offer.take(name, value) {
                offer.is_declined = true;
            }
        }
        scanner.skip_space();
        (scanner.is_at_end() || scanner.eat(',')).then_some(offer)
    }

    /// Notes a parameter; `false` if it is not valid.
    fn take(&mut self, name: &str, value: Option<&str>) -> bool {
        match (name.to_ascii_lowercase().as_str(), value) {
            ("server_no_context_takeover", None) => {
                !std::mem::replace(&mut self.server_no_context, true)
            }
            ("client_no_context_takeover", None) => {
                !std::mem::replace(&mut self.client_no_context, true)
            }
            ("server_max_window_bits", Some(value)) => {
                let bits = window_bits(value);
                bits.is_some() && std::mem::replace(&mut self.server_window_bits, bits).is_none()
            }
            ("client_max_window_bits", value) => {
                let bits = value.map_or(Some(*WINDOW_BITS.end()), window_bits);
                bits.is_some() && std::mem::replace(&mut self.client_window_bits, bits).is_none()
            }
            _ => false,
        }
    }

    /// What both sides do if this offer is taken.
    fn answer(&self, options: &DeflateOptions) -> Option<Agreed> {
        let wanted = self.server_window_bits.unwrap_or(*WINDOW_BITS.end());
        if self.is_declined || wanted < SERVER_WINDOW_BITS_MIN {
            return None;
        }
        let server_window_bits = wanted
            .min(options.server_window_bits)
            .max(SERVER_WINDOW_BITS_MIN);
        Some(Agreed {
            server_window_bits,
            // RFC 7692 section 7.1.2.1: an offer with the parameter is accepted with the parameter.
            states_window: self.server_window_bits.is_some()
                || server_window_bits < *WINDOW_BITS.end(),
            client_context: options.client_context && !self.client_no_context,
        })
    }
}

/// A decimal number from 8 to 15 without leading zeros (RFC 7692 section 7.1.2).
fn window_bits(value: &str) -> Option<u8> {
    if value.starts_with('0') || !value.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    value.parse().ok().filter(|bits| WINDOW_BITS.contains(bits))
}

#[cfg(test)]
mod tests {
    use super::super::{Deflater, Inflater};
    use super::*;

    const WITH_CONTEXT: DeflateOptions = DeflateOptions {
        server_window_bits: 15,
        client_context: true,
    };

    /// The answer to `headers` less what every answer has.
    #[track_caller]
    fn check(headers: &[&str], options: &DeflateOptions, expected: Option<&str>) {
        let agreed = negotiate(headers.iter().copied(), options);
        let response = agreed.map(|agreed| agreed.response());
        let expected =
            expected.map(|more| format!("permessage-deflate; server_no_context_takeover{more}"));
        assert_eq!(response, expected, "{headers:?}");
    }

    #[track_caller]
    fn check_default(header: &str, expected: Option<&str>) {
        check(&[header], &DeflateOptions::default(), expected);
    }

    const PLAIN: Option<&str> = Some("; client_no_context_takeover");

    #[test]
    fn offers_of_browsers_are_taken() {
        check_default("permessage-deflate; client_max_window_bits", PLAIN);
        check_default("permessage-deflate", PLAIN);
        check_default("PerMessage-Deflate;Client_Max_Window_Bits=12 ", PLAIN);
        let all = "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
                   server_max_window_bits=10; client_max_window_bits=11";
        check_default(
            all,
            Some("; client_no_context_takeover; server_max_window_bits=10"),
        );
    }

    #[test]
    fn a_client_keeps_its_context_only_where_that_is_allowed() {
        check(&["permessage-deflate"], &WITH_CONTEXT, Some(""));
        check(
            &["permessage-deflate; client_no_context_takeover"],
            &WITH_CONTEXT,
            PLAIN,
        );
        check_default("permessage-deflate", PLAIN);
    }

    #[test]
    fn the_smaller_of_both_windows_is_used() {
        let small = DeflateOptions {
            server_window_bits: 11,
            client_context: true,
        };
        check(
            &["permessage-deflate"],
            &small,
            Some("; server_max_window_bits=11"),
        );
        let offer = "permessage-deflate; server_max_window_bits=9";
        check(&[offer], &small, Some("; server_max_window_bits=9"));
        let offer = "permessage-deflate; server_max_window_bits=15";
        check(&[offer], &WITH_CONTEXT, Some("; server_max_window_bits=15"));
    }

    #[test]
    fn h15_bad_window_bits_decline_the_offer() {
        for name in ["server_max_window_bits", "client_max_window_bits"] {
            for value in [
                "7",
                "16",
                "015",
                "08",
                "-1",
                "9.0",
                "+9",
                "0",
                "999999999999",
                "x",
                "1x",
            ] {
                check_default(&format!("permessage-deflate; {name}={value}"), None);
                let second = format!("permessage-deflate; {name}={value}, permessage-deflate");
                check_default(&second, PLAIN);
            }
            check_default(&format!("permessage-deflate; {name}="), None);
            check_default(&format!("permessage-deflate; {name}=\"\""), None);
            check_default(&format!("permessage-deflate; {name}=10; {name}=10"), None);
        }
        check_default("permessage-deflate; server_max_window_bits", None);
    }

    #[test]
    fn h15_quoted_values_are_values() {
        let answer = "; client_no_context_takeover; server_max_window_bits=10";
        check_default(
            "permessage-deflate; server_max_window_bits=\"10\"",
            Some(answer),
        );
        check_default("permessage-deflate; client_max_window_bits=\"10\"", PLAIN);
        check_default("permessage-deflate; server_max_window_bits=\"010\"", None);
    }

    #[test]
    fn h15_unknown_repeated_and_overloaded_parameters_decline_the_offer() {
        for parameters in [
            "unknown",
            "unknown=1",
            "server_no_context_takeover=1",
            "client_no_context_takeover=true",
            "server_no_context_takeover; server_no_context_takeover",
            "client_no_context_takeover; client_no_context_takeover",
            "client_max_window_bits; client_max_window_bits=10",
            "constructor",
            "__proto__=10",
        ] {
            check_default(&format!("permessage-deflate; {parameters}"), None);
            let second = format!(
                "permessage-deflate; {parameters}, permessage-deflate; server_max_window_bits=12"
            );
            let answer = "; client_no_context_takeover; server_max_window_bits=12";
            check_default(&second, Some(answer));
        }
    }

    #[test]
    fn h15_a_server_window_of_8_bits_declines_the_offer() {
        check_default("permessage-deflate; server_max_window_bits=8", None);
        check_default(
            "permessage-deflate; server_max_window_bits=8, permessage-deflate",
            PLAIN,
        );
        check_default("permessage-deflate; client_max_window_bits=8", PLAIN);
    }

    #[test]
    fn h15_client_max_window_bits_is_never_answered() {
        for offer in ["", "; client_max_window_bits", "; client_max_window_bits=9"] {
            let agreed = negotiate([&*format!("permessage-deflate{offer}")], &WITH_CONTEXT);
            assert!(
                !agreed
                    .unwrap()
                    .response()
                    .contains("client_max_window_bits")
            );
        }
    }

    #[test]
    fn offers_are_looked_at_in_order_over_all_headers() {
        let options = DeflateOptions::default();
        check(
            &[
                "x-webkit-deflate-frame",
                "permessage-bzip2, permessage-deflate",
            ],
            &options,
            PLAIN,
        );
        check(&["", " , ,", "permessage-deflate,"], &options, PLAIN);
        check(&[], &options, None);
        check(&["", ","], &options, None);
    }

    #[test]
    fn h14_headers_that_break_the_grammar_end_the_search() {
        for header in [
            "a;b=\"\\\\\\\\",
            "permessage-deflate; x=\"unclosed, permessage-deflate",
            "permessage-deflate;",
            "permessage-deflate; =1",
            "permessage-deflate client_max_window_bits",
            "permessage-deflate; server_max_window_bits = , permessage-deflate",
            ";",
            "\"permessage-deflate\"",
            "permessage-deflate\u{b}",
        ] {
            check_default(header, None);
        }
    }

    #[test]
    fn h14_eight_offers_are_looked_at() {
        let others = "constructor, ".repeat(OFFERS_MAX - 1);
        check_default(&format!("{others}permessage-deflate"), PLAIN);
        check_default(&format!("{others}one-more, permessage-deflate"), None);
        check_default(&"permessage-deflate; x, ".repeat(10_000), None);
        check_default(&",".repeat(100_000), None);
    }

    #[test]
    fn c05_every_combination_is_declined_or_works() {
        let windows = ["", "=8", "=9", "=10", "=11", "=12", "=13", "=14", "=15"];
        let mut taken = 0;
        for server in &windows {
            for client in &windows {
                for flags in 0..4 {
                    let mut offer = EXTENSION.to_owned();
                    let mut put = |name: &str, value: &str| {
                        write!(offer, "; {name}{value}").unwrap();
                    };
                    if !server.is_empty() {
                        put("server_max_window_bits", server);
                    }
                    put("client_max_window_bits", client);
                    if flags & 1 != 0 {
                        put("server_no_context_takeover", "");
                    }
                    if flags & 2 != 0 {
                        put("client_no_context_takeover", "");
                    }
                    let Some(agreed) = negotiate([&*offer], &DeflateOptions::default()) else {
                        assert_eq!(*server, "=8");
                        continue;
                    };
                    taken += 1;
                    let bits = agreed.server_window_bits();
                    let asked = server
                        .strip_prefix('=')
                        .map_or(15, |bits| bits.parse().unwrap());
                    assert_eq!(bits, asked);
                    assert_eq!(
                        agreed.response().contains("server_max_window_bits"),
                        !server.is_empty()
                    );
                    round_trip(bits);
                }
            }
        }
        assert_eq!(taken, 8 * 9 * 4);
    }

    fn round_trip(bits: u8) {
        let (mut deflater, mut inflater) = (Deflater::new(1), Inflater::new());
        for round in 0..4usize {
            let payload = "round and round ".repeat(round * 50);
            let (mut compressed, mut out) = (Vec::new(), Vec::new());
            deflater.compress(bits, payload.as_bytes(), &mut compressed);
            inflater
                .inflate(&compressed, payload.len(), &mut out)
                .unwrap();
            assert_eq!(out, payload.as_bytes());
        }
    }
}
