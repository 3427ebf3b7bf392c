//! The receiving side of a connection: bytes in, events out.

use std::ops::Range;

use super::close;
use super::close_code::CloseCode;
use super::deflate::{Agreed, Inflater, compressed_bytes_max};
use super::error::ProtocolError;
use super::header::{Header, OpCode};
use super::input::Input;
use super::message::Message;
use super::payload::Payload;
use partial::{Frame, Partial};
use small::Small;

mod partial;
mod small;

/// The limits of a decoder.
#[derive(Clone, Copy, Debug)]
pub struct DecoderLimits {
    /// The largest message in bytes, all fragments together, after inflating. A frame that would exceed it is
    /// refused by its header, before any of its payload is buffered.
    pub message_bytes_max: usize,
}

/// A received event. Its payload borrows the read buffer if it lies there in one piece.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A complete message.
    Message(Payload<'a>),
    /// A fragment of an unfinished message: no payload, but it counts as work done.
    Fragment,
    /// A complete compressed message. [`Decoder::inflate`] returns it, unless [`Decoder::next`] is called first: a
    /// message that is not needed is not inflated.
    Compressed,
    /// A ping, to be answered with a pong of the same payload (at most 125 bytes).
    Ping(&'a [u8]),
    /// A pong.
    Pong(&'a [u8]),
    /// A close frame, with its code and reason if it has them. No event follows.
    Close(Option<(CloseCode, &'a str)>),
}

/// The receiving side of one connection.
///
/// It holds only incomplete frames and messages: a few words, and no heap memory between messages. A message that
/// arrives in pieces is collected in one buffer that grows with what has arrived.
///
/// ```
/// use fanfare::ws::{Decoder, DecoderLimits, Event, Input, Payload};
///
/// let mut decoder = Decoder::new(DecoderLimits { message_bytes_max: 1024 }, None);
/// let mut read = *b"\x82\x85\0\0\0\0hello\x89\x80\0\0";
/// let mut input = Input::new(&mut read);
/// let mut messages = 0;
/// while let Some(event) = decoder.next(&mut input)? {
///     match event {
///         Event::Message(payload) => {
///             assert_eq!(payload, Payload::Binary(b"hello"));
///             messages += 1;
///         }
///         Event::Compressed => unreachable!("it was not agreed on"),
///         Event::Fragment | Event::Ping(_) | Event::Pong(_) | Event::Close(_) => unreachable!("not sent above"),
///     }
/// }
/// assert_eq!(messages, 1);
/// assert!(input.is_empty() && decoder.is_mid_message()); // the ping lacks two bytes
/// # Ok::<(), fanfare::ws::ProtocolError>(())
/// ```
#[derive(Debug)]
pub struct Decoder {
    /// The incomplete frame and message, and the payload borrowed by the last event.
    partial: Option<Box<Partial>>,
    /// The compression context of the client's messages, if it was negotiated.
    context: Option<Box<Inflater>>,
    message_bytes_max: usize,
    compression: Compression,
    /// A close frame or a protocol error was received: later input is ignored.
    closed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compression {
    Off,
    PerMessage,
    WithContext,
}

/// The result of one frame.
#[derive(Debug)]
enum Step {
    /// A fragment of an unfinished message.
    Fragment,
    Whole(Whole),
}

/// A complete event whose payload is not yet borrowed.
#[derive(Debug)]
struct Whole {
    opcode: OpCode,
    payload: PayloadPlace,
    /// The payload has not been inflated.
    compressed: bool,
}

/// Where an event's payload lies.
#[derive(Debug)]
enum PayloadPlace {
    Input(Range<usize>),
    Lent,
}

impl Decoder {
    /// A decoder for a connection that has just been upgraded. Allocates nothing.
    #[must_use]
    pub const fn new(limits: DecoderLimits, agreed: Option<&Agreed>) -> Self {
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

    /// The next event in `input`; `None` when all of it is consumed, with an incomplete frame kept in the decoder.
    /// To pause between two events, keep [`Input::rest`] and pass it again.
    ///
    /// After [`Event::Close`] or an error, all further input is consumed and ignored.
    ///
    /// Cost: a small whole message is unmasked and borrowed in place, without allocation or copy. Nothing is inflated.
    ///
    /// # Errors
    ///
    /// When the peer breaks the protocol or a limit; the connection is to be closed with
    /// [`ProtocolError::close_code`].
    #[inline]
    pub fn next<'a>(
        &'a mut self,
        input: &'a mut Input<'_>,
    ) -> Result<Option<Event<'a>>, ProtocolError> {
        if self.partial.is_none()
            && !self.closed
            && let Some(small) = Small::find(input.rest(), self.message_bytes_max)
        {
            input.advance(small.header_len);
            let range = input.payload(small.payload_len, small.key);
            let payload = Payload::new(small.opcode, input.at(range));
            self.closed = payload.is_err();
            return payload.map(|payload| Some(Event::Message(payload)));
        }
        self.next_any(input)
    }

    /// Inflates the message of the last [`Event::Compressed`], with the same `input`.
    ///
    /// `inflater` is shared by all connections of a thread; if a client keeps a context, its decoder has its own
    /// and uses that.
    ///
    /// Cost: some nanoseconds a byte, and one allocation that the next call of [`next`](Self::next) frees.
    ///
    /// # Errors
    ///
    /// As for [`next`](Self::next): the payload is no DEFLATE stream, no UTF-8, or too large.
    ///
    /// # Panics
    ///
    /// When the last event was another one.
    pub fn inflate<'a>(
        &'a mut self,
        input: &mut Input<'_>,
        inflater: &mut Inflater,
    ) -> Result<Payload<'a>, ProtocolError> {
        let whole = self.partial.as_mut().and_then(|it| it.compressed.take());
        let Whole {
            opcode, payload, ..
        } = whole.expect("the last event was a compressed message");
        let inflated = match payload {
            PayloadPlace::Input(range) => self.inflated(input.at(range), inflater),
            PayloadPlace::Lent => {
                let compressed = std::mem::take(&mut self.partial().lent);
                self.inflated(&compressed, inflater)
            }
        };
        match inflated {
            Ok(lent) => {
                let partial = self.partial.get_or_insert_default();
                partial.lent = lent;
                let payload = Payload::new(opcode, &partial.lent);
                self.closed = payload.is_err();
                payload
            }
            Err(error) => Err(self.fail(error)),
        }
    }

    /// Whether a compressed message may be left uninflated: not if the client keeps a context, since later messages may
    /// refer to it. If one is left all the same, [`next`](Self::next) fails.
    #[must_use]
    pub const fn may_pass_over(&self) -> bool {
        !matches!(self.compression, Compression::WithContext)
    }

    /// Whether a message or a frame is incomplete, so that a deadline applies.
    #[must_use]
    pub fn is_mid_message(&self) -> bool {
        self.partial.as_deref().is_some_and(Partial::is_open)
    }

    /// Bytes of heap memory held.
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
    ) -> Result<Option<Event<'a>>, ProtocolError> {
        let whole = match self.step(input) {
            Ok(Some(Step::Whole(whole))) => whole,
            Ok(Some(Step::Fragment)) => return Ok(Some(Event::Fragment)),
            Ok(None) => return Ok(None),
            Err(error) => return Err(self.fail(error)),
        };
        if whole.compressed {
            self.partial().compressed = Some(whole);
            return Ok(Some(Event::Compressed));
        }
        let payload: &mut [u8] = match (whole.payload, &mut self.partial) {
            (PayloadPlace::Input(range), _) => input.at(range),
            (PayloadPlace::Lent, Some(partial)) => &mut partial.lent,
            (PayloadPlace::Lent, None) => unreachable!("a payload is lent by a partial"),
        };
        Ok(Some(match whole.opcode {
            OpCode::Ping => Event::Ping(payload),
            OpCode::Pong => Event::Pong(payload),
            OpCode::Close => {
                self.closed = true;
                Event::Close(close::parse(payload)?)
            }
            opcode => {
                let payload = Payload::new(opcode, payload);
                self.closed = payload.is_err();
                Event::Message(payload?)
            }
        }))
    }

    /// Records that the connection has failed: no event follows.
    fn fail(&mut self, error: ProtocolError) -> ProtocolError {
        self.closed = true;
        self.partial = None;
        error
    }

    /// Consumes input up to the end of the next frame, or all of it.
    fn step(&mut self, input: &mut Input<'_>) -> Result<Option<Step>, ProtocolError> {
        self.release()?;
        if self.closed {
            input.clear();
            return Ok(None);
        }
        let Some(frame) = self.frame(input)? else {
            return Ok(None);
        };
        if frame.opcode.is_control() {
            Ok(self.control(frame, input).map(Step::Whole))
        } else if frame.fin && frame.opcode != OpCode::Continuation && frame.is_whole_in(input) {
            Ok(Some(Step::Whole(whole_message(frame, input))))
        } else {
            self.fragment(frame, input)
        }
    }

    /// Frees the payload of the last event, and all buffers once nothing is incomplete.
    fn release(&mut self) -> Result<(), ProtocolError> {
        if let Some(partial) = &mut self.partial {
            let was_passed_over = partial.compressed.take().is_some();
            if partial.is_open() {
                partial.lent = Vec::new();
            } else {
                self.partial = None;
            }
            if was_passed_over && !self.may_pass_over() {
                return Err(ProtocolError::CorruptDeflate);
            }
        }
        Ok(())
    }

    fn partial(&mut self) -> &mut Partial {
        self.partial.get_or_insert_default()
    }

    /// The frame whose payload comes next: the one in progress, or the next one.
    fn frame(&mut self, input: &mut Input<'_>) -> Result<Option<Frame>, ProtocolError> {
        if let Some(partial) = &mut self.partial {
            if partial.frame.is_some() {
                // Not called for an incomplete header without new bytes.
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

    /// Checks by its header alone whether a frame is allowed in this state.
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

    /// Takes the available payload of a control frame.
    fn control(&mut self, mut frame: Frame, input: &mut Input<'_>) -> Option<Whole> {
        let opcode = frame.opcode;
        if frame.is_whole_in(input) {
            let payload = PayloadPlace::Input(frame.take(input));
            return Some(Whole {
                opcode,
                payload,
                compressed: false,
            });
        }
        let chunk = frame.take(input);
        let partial = self.partial();
        partial.control.extend_from_slice(input.at(chunk));
        if frame.remaining > 0 {
            partial.frame = Some(frame);
            return None;
        }
        partial.lent = std::mem::take(&mut partial.control);
        Some(Whole {
            opcode,
            payload: PayloadPlace::Lent,
            compressed: false,
        })
    }

    /// Takes the available payload of a data frame and appends it to its message.
    fn fragment(
        &mut self,
        mut frame: Frame,
        input: &mut Input<'_>,
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
            return Ok(Some(Step::Fragment));
        };
        partial.lent = message.bytes.join();
        Ok(Some(Step::Whole(Whole {
            opcode: message.opcode,
            payload: PayloadPlace::Lent,
            compressed: message.compressed,
        })))
    }

    /// Inflates a complete message.
    fn inflated(
        &mut self,
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
        Ok(payload)
    }
}

/// Takes an unfragmented message that lies in `input` in one piece.
fn whole_message(mut frame: Frame, input: &mut Input<'_>) -> Whole {
    Whole {
        opcode: frame.opcode,
        payload: PayloadPlace::Input(frame.take(input)),
        compressed: frame.compressed,
    }
}

#[cfg(test)]
mod tests;
