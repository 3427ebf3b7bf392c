//! The receiving side of a connection: bytes in, events out.

use std::ops::Range;

use super::close::{self, CloseCode};
use super::deflate::{Agreed, Inflater, compressed_bytes_max};
use super::error::ProtocolError;
use super::header::{Header, OpCode};
use super::input::Input;
use super::message::Message;
use super::utf8;
use partial::{Frame, Partial};
use small::Small;

mod partial;
mod small;

/// What a connection may make its decoder hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The largest message in bytes, all its fragments together, after inflating. A frame that
    /// would exceed it is refused by its header, before any of its payload is taken.
    pub message_bytes_max: usize,
}

/// What arrived. The payload is borrowed, from the read buffer whenever it lies there in one piece.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A complete message.
    Message {
        /// [`OpCode::Text`] or [`OpCode::Binary`].
        opcode: OpCode,
        /// Unmasked and inflated. Text has been checked to be UTF-8. Mutable, for parsers that
        /// work in place.
        payload: &'a mut [u8],
    },
    /// A ping, to be answered with a pong of the same payload (at most 125 bytes).
    Ping(&'a [u8]),
    /// A pong.
    Pong(&'a [u8]),
    /// The peer closes, with a code and a reason or without. Nothing comes after this.
    Close(Option<(CloseCode, &'a str)>),
}

/// The receiving side of one connection.
///
/// It holds only what is incomplete: a few words, and no heap memory between messages. A message
/// that arrives in pieces is collected in one buffer that grows by what arrived.
///
/// ```
/// use fanfare::ws::{Decoder, Event, Input, Limits, OpCode, deflate::Inflater};
///
/// let mut decoder = Decoder::new(Limits { message_bytes_max: 1024 }, None);
/// let mut inflater = Inflater::new(); // one for all connections of a thread
/// let mut read = *b"\x82\x85\0\0\0\0hello\x89\x80\0\0";
/// let mut input = Input::new(&mut read);
/// let mut messages = 0;
/// while let Some(event) = decoder.next(&mut input, &mut inflater)? {
///     match event {
///         Event::Message { opcode, payload } => {
///             assert_eq!((opcode, &*payload), (OpCode::Binary, &b"hello"[..]));
///             messages += 1;
///         }
///         Event::Ping(_) | Event::Pong(_) | Event::Close(_) => unreachable!("not sent above"),
///     }
/// }
/// assert_eq!(messages, 1);
/// assert!(input.is_empty() && decoder.is_mid_message()); // the ping lacks two bytes
/// # Ok::<(), fanfare::ws::ProtocolError>(())
/// ```
#[derive(Debug)]
pub struct Decoder {
    /// What is incomplete, or was lent out with the last event.
    partial: Option<Box<Partial>>,
    /// The peer's compression context, if it was agreed that the peer keeps one.
    context: Option<Box<Inflater>>,
    message_bytes_max: usize,
    compression: Compression,
    /// A close frame was received, or the peer broke the protocol: what follows is ignored.
    closed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compression {
    Off,
    PerMessage,
    WithContext,
}

/// An event before its payload is borrowed.
#[derive(Debug)]
struct Step {
    opcode: OpCode,
    payload: Place,
}

/// Where the payload of an event is.
#[derive(Debug)]
enum Place {
    Input(Range<usize>),
    Lent,
}

impl Decoder {
    /// A decoder for a connection that has just been upgraded. Allocates nothing.
    #[must_use]
    pub const fn new(limits: Limits, agreed: Option<&Agreed>) -> Self {
        Self {
            partial: None,
            context: None,
            message_bytes_max: limits.message_bytes_max,
            compression: match agreed {
                None => Compression::Off,
                Some(agreed) if agreed.client_context() => Compression::WithContext,
                Some(_) => Compression::PerMessage,
            },
            closed: false,
        }
    }

    /// The next event in `input`; `None` when all of it is consumed, an incomplete frame being kept
    /// here. To pause between two events, keep [`Input::rest`] and come back with it.
    ///
    /// After a [`Event::Close`], and after an error, everything else is consumed and ignored.
    ///
    /// Cost: a small whole message is unmasked and borrowed where it lies, without allocation or
    /// copy. `inflater` is only used for compressed messages.
    ///
    /// # Errors
    ///
    /// When the peer breaks the protocol or a limit; the connection is to be closed with
    /// [`ProtocolError::close_code`].
    #[inline]
    pub fn next<'a>(
        &'a mut self,
        input: &'a mut Input<'_>,
        inflater: &mut Inflater,
    ) -> Result<Option<Event<'a>>, ProtocolError> {
        if self.partial.is_none()
            && !self.closed
            && let Some(small) = Small::find(input.rest(), self.message_bytes_max)
        {
            input.advance(small.header_len);
            let range = input.payload(small.payload_len, small.key);
            let payload = input.at(range);
            if small.opcode == OpCode::Text && utf8::check(payload).is_err() {
                self.closed = true;
                return Err(ProtocolError::InvalidUtf8);
            }
            return Ok(Some(Event::Message {
                opcode: small.opcode,
                payload,
            }));
        }
        self.next_any(input, inflater)
    }

    /// Whether a message or a frame has begun and not ended: what a deadline is for.
    #[must_use]
    pub fn is_mid_message(&self) -> bool {
        self.partial.as_deref().is_some_and(Partial::is_open)
    }

    /// Bytes of heap memory held now, for an account over all connections.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        let partial = self.partial.as_deref().map_or(0, |partial| {
            let message = partial.message.as_ref();
            size_of::<Partial>()
                + partial.control.capacity()
                + partial.lent.capacity()
                + message.map_or(0, |message| message.bytes.capacity())
        });
        partial + self.context.as_deref().map_or(0, Inflater::held_bytes)
    }

    /// The general case of [`next`](Self::next).
    #[inline(never)]
    fn next_any<'a>(
        &'a mut self,
        input: &'a mut Input<'_>,
        inflater: &mut Inflater,
    ) -> Result<Option<Event<'a>>, ProtocolError> {
        let step = match self.step(input, inflater) {
            Ok(Some(step)) => step,
            Ok(None) => return Ok(None),
            Err(error) => {
                self.closed = true;
                self.partial = None;
                return Err(error);
            }
        };
        let payload: &mut [u8] = match (step.payload, &mut self.partial) {
            (Place::Input(range), _) => input.at(range),
            (Place::Lent, Some(partial)) => &mut partial.lent,
            (Place::Lent, None) => unreachable!("a payload is lent by a partial"),
        };
        Ok(Some(match step.opcode {
            OpCode::Ping => Event::Ping(payload),
            OpCode::Pong => Event::Pong(payload),
            OpCode::Close => {
                self.closed = true;
                Event::Close(close::parse(payload)?)
            }
            opcode => Event::Message { opcode, payload },
        }))
    }

    /// Consumes input up to the end of the next event's frame, or all of it.
    fn step(
        &mut self,
        input: &mut Input<'_>,
        inflater: &mut Inflater,
    ) -> Result<Option<Step>, ProtocolError> {
        self.release();
        if self.closed {
            input.clear();
            return Ok(None);
        }
        while let Some(frame) = self.frame(input)? {
            let step = if frame.opcode.is_control() {
                self.control(frame, input)
            } else if frame.fin && frame.opcode != OpCode::Continuation && frame.is_whole_in(input)
            {
                Some(self.whole_message(frame, input, inflater)?)
            } else {
                self.fragment(frame, input, inflater)?
            };
            if step.is_some() {
                return Ok(step);
            }
        }
        Ok(None)
    }

    /// Frees what the last event borrowed, and everything once nothing is open.
    fn release(&mut self) {
        if let Some(partial) = &mut self.partial {
            if partial.is_open() {
                partial.lent = Vec::new();
            } else {
                self.partial = None;
            }
        }
    }

    fn partial(&mut self) -> &mut Partial {
        self.partial.get_or_insert_default()
    }

    /// The frame whose payload comes next: the one in progress, or the next one.
    fn frame(&mut self, input: &mut Input<'_>) -> Result<Option<Frame>, ProtocolError> {
        if let Some(partial) = &mut self.partial {
            if partial.frame.is_some() {
                // Only asked for when there is something to add to it.
                return Ok(if input.is_empty() {
                    None
                } else {
                    partial.frame.take()
                });
            }
            if partial.header_len > 0 {
                return match partial.complete_header(input)? {
                    Some(header) => self.admit(&header).map(Some),
                    None => Ok(None),
                };
            }
        }
        if let Some(header) = Header::parse(input.rest())? {
            input.advance(header.len);
            return self.admit(&header).map(Some);
        }
        let cut = input.rest();
        if !cut.is_empty() {
            let partial = self.partial();
            partial.header[..cut.len()].copy_from_slice(cut);
            partial.header_len = cut.len();
            input.clear();
        }
        Ok(None)
    }

    /// Decides by its header alone whether a frame is allowed now.
    fn admit(&self, header: &Header) -> Result<Frame, ProtocolError> {
        let message = self
            .partial
            .as_deref()
            .and_then(|partial| partial.message.as_ref());
        let compressed = match (header.opcode, message) {
            (OpCode::Continuation, None) => return Err(ProtocolError::UnexpectedContinuation),
            (OpCode::Text | OpCode::Binary, Some(_)) => {
                return Err(ProtocolError::InterleavedMessage);
            }
            // RFC 7692 section 6: RSV1 is set on the first frame of a compressed message only.
            (OpCode::Text | OpCode::Binary, None) if self.compression != Compression::Off => {
                header.rsv1
            }
            _ if header.rsv1 => return Err(ProtocolError::ReservedBit),
            (OpCode::Continuation, Some(message)) => message.compressed,
            _ => false,
        };
        let room = if header.opcode.is_control() {
            usize::MAX // its length has been checked
        } else if compressed {
            compressed_bytes_max(self.message_bytes_max)
        } else {
            self.message_bytes_max
        };
        let room = room - message.map_or(0, |message| message.bytes.len()).min(room);
        match usize::try_from(header.payload_len) {
            Ok(remaining) if remaining <= room => Ok(Frame {
                opcode: header.opcode,
                fin: header.fin,
                compressed,
                key: header.key,
                remaining,
                begun: false,
            }),
            _ => Err(ProtocolError::MessageTooBig(self.message_bytes_max)),
        }
    }

    /// Takes what is there of a control frame.
    fn control(&mut self, mut frame: Frame, input: &mut Input<'_>) -> Option<Step> {
        let opcode = frame.opcode;
        if frame.is_whole_in(input) {
            let payload = Place::Input(frame.take(input));
            return Some(Step { opcode, payload });
        }
        let chunk = frame.take(input);
        let partial = self.partial();
        partial.control.extend_from_slice(input.at(chunk));
        if frame.remaining > 0 {
            partial.frame = Some(frame);
            return None;
        }
        partial.lent = std::mem::take(&mut partial.control);
        Some(Step {
            opcode,
            payload: Place::Lent,
        })
    }

    /// Takes an unfragmented message that lies in `input` in one piece.
    fn whole_message(
        &mut self,
        mut frame: Frame,
        input: &mut Input<'_>,
        inflater: &mut Inflater,
    ) -> Result<Step, ProtocolError> {
        let range = frame.take(input);
        let payload = if frame.compressed {
            let lent = self.inflate(frame.opcode, input.at(range), inflater)?;
            self.partial().lent = lent;
            Place::Lent
        } else {
            if frame.opcode == OpCode::Text {
                utf8::check(input.at(range.clone()))?;
            }
            Place::Input(range)
        };
        Ok(Step {
            opcode: frame.opcode,
            payload,
        })
    }

    /// Takes what is there of a data frame and appends it to its message.
    fn fragment(
        &mut self,
        mut frame: Frame,
        input: &mut Input<'_>,
        inflater: &mut Inflater,
    ) -> Result<Option<Step>, ProtocolError> {
        let message_bytes_max = self.message_bytes_max;
        let chunk = frame.take(input);
        let partial = self.partial();
        let message = partial
            .message
            .get_or_insert_with(|| Message::new(frame.opcode, frame.compressed));
        let len_max = if frame.fin {
            message.bytes.len() + chunk.len() + frame.remaining
        } else {
            message_bytes_max
        };
        message.append(input.at(chunk), len_max)?;
        if frame.remaining > 0 {
            partial.frame = Some(frame);
            return Ok(None);
        }
        let Some(message) = partial.message.take_if(|_| frame.fin) else {
            return Ok(None);
        };
        message.check_end()?;
        let opcode = message.opcode;
        let lent = if message.compressed {
            self.inflate(opcode, &message.bytes, inflater)?
        } else {
            message.bytes
        };
        self.partial().lent = lent;
        Ok(Some(Step {
            opcode,
            payload: Place::Lent,
        }))
    }

    /// Inflates a complete message and checks it if it is text.
    fn inflate(
        &mut self,
        opcode: OpCode,
        compressed: &[u8],
        shared: &mut Inflater,
    ) -> Result<Vec<u8>, ProtocolError> {
        let mut payload = Vec::new();
        let inflater = match self.compression {
            Compression::WithContext => self
                .context
                .get_or_insert_with(|| Box::new(Inflater::with_context())),
            Compression::Off | Compression::PerMessage => shared,
        };
        inflater.inflate(compressed, self.message_bytes_max, &mut payload)?;
        if opcode == OpCode::Text {
            utf8::check(&payload)?;
        }
        Ok(payload)
    }
}

#[cfg(test)]
mod tests;
