//! Negotiation of permessage-deflate (RFC 7692 section 7.1).

use std::fmt::Write;
use std::ops::RangeInclusive;

use super::super::syntax::Scanner;
use super::super::text::SHARED_WINDOW_BITS;

/// Offers read, of any extension, over all header lines. A client sends one or two.
pub const OFFERS_MAX: usize = 8;

const EXTENSION: &str = "permessage-deflate";

/// The windows DEFLATE streams can have, as powers of two (RFC 7692 section 7.1.2).
const WINDOW_BITS: RangeInclusive<u8> = 8..=15;

/// The smallest window the compressor supports: zlib has no raw stream with 8 bits.
const SERVER_WINDOW_BITS_MIN: u8 = 9;

/// The server's settings.
#[derive(Clone, Copy, Debug)]
pub struct DeflateOptions {
    /// The largest window messages to clients are compressed with, as a power of two, 9 to 15.
    /// A client may ask for a smaller one.
    pub server_window_bits: u8,
    /// Lets a client keep its compression context between messages. That compresses better, and costs about 50 KiB for
    /// each connection that has sent a message.
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
    /// The response states `server_max_window_bits`: the client asked for it, or the window is below the default.
    states_window: bool,
    client_context: bool,
}

impl Agreed {
    /// The window of messages to this client, as a power of two, 9 to 15.
    #[must_use]
    pub const fn server_window_bits(&self) -> u8 {
        self.server_window_bits
    }

    /// Whether the client can read the shared compressed frames, whose window is the largest.
    #[must_use]
    pub const fn is_shared(&self) -> bool {
        self.server_window_bits == SHARED_WINDOW_BITS
    }

    /// Whether the client may refer to its earlier messages.
    #[must_use]
    pub const fn client_context(&self) -> bool {
        self.client_context
    }

    /// The value of the response's `Sec-WebSocket-Extensions`.
    ///
    /// Never includes `client_max_window_bits`: the inflater supports every window, so there is nothing to restrict.
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

/// Selects from the values of a request's `Sec-WebSocket-Extensions` headers, in order, the first offer that is valid
/// and can be met; `None` leaves the connection uncompressed.
///
/// An offer is declined for an unknown, repeated or malformed parameter (RFC 7692 section 7.1), and for
/// `server_max_window_bits=8`, which the compressor does not support. A value may be a quoted string (RFC 6455
/// section 9.1). Reading ends at the first syntax error, and after [`OFFERS_MAX`] offers.
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
    /// It is for another extension, or has an invalid parameter.
    is_declined: bool,
    server_no_context: bool,
    client_no_context: bool,
    server_window_bits: Option<u8>,
    client_window_bits: Option<u8>,
}

impl Offer {
    /// Reads one element of the list, up to the comma or the end; `None` on a syntax error.
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

    /// Records a parameter; `false` if it is invalid.
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

    /// The agreement if this offer is accepted; `None` if it cannot be met.
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
mod tests;
