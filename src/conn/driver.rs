//! The task of a WebSocket connection: reads, decodes, passes messages to the session and closes the connection. It
//! writes nothing; the shard's flush does.

use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::claim::{Received, WebSocketClaim};
use super::connection::{Connection, ConnectionPhase};
use super::quota::Rate;
use super::record::Record;
use super::records::Records;
use super::session::Flow;
use crate::id::{PeerId, Priority};
use crate::metrics::Limited;
use crate::net::Stream;
use crate::process::{RateLimited, Reservation};
use crate::shard::{Disconnect, Shard, Unfinished};
use crate::ws::deflate::{Agreed, Inflater};
use crate::ws::{CloseCode, Decoder, DecoderLimits, Event, Input, OpCode, Payload, ProtocolError};

/// Starts the connection that `claim` describes.
pub(super) fn start(
    shard: &Rc<Shard>,
    records: Rc<Records>,
    claim: WebSocketClaim,
    stream: Stream,
    Received { announcement, rest }: Received,
) {
    shard.clock.refresh();
    let (reader, writer) = stream.into_split();
    let window_bits = claim.agreed.as_ref().map(Agreed::server_window_bits);
    let Record { format, user, .. } = claim.record;
    let peer = shard.join(format, user, window_bits, writer);
    if !claim.head.is_empty() {
        shard.send_raw(peer, Priority::Critical, &claim.head);
    }
    let limits = DecoderLimits {
        message_bytes_max: claim.message_bytes_max,
    };
    let record = Box::new(claim.record);
    let is_polled = record.session.is_polled();
    let mut driver = WebSocketDriver {
        connection: Connection::new(shard, records, (peer, reader), record),
        decoder: Decoder::new(limits, claim.agreed.as_ref()),
        kept: (!rest.is_empty()).then(|| {
            Box::new(KeptInput {
                message: None,
                rest,
                from: 0,
            })
        }),
        turn_over: false,
        unfinished: shard.process.unfinished.hold(),
        control: ControlBudget::default(),
        discarded: 0,
        is_polled,
    };
    // Before the task is polled, so that the upgrade response and the greeting go out in one write.
    driver.begin(&announcement);
    tokio::task::spawn_local(driver);
}

struct WebSocketDriver {
    connection: Connection,
    decoder: Decoder,
    /// Input that was read and not processed, because of backpressure or the end of the turn.
    kept: Option<Box<KeptInput>>,
    /// `kept` can be processed as soon as other tasks have had their turn.
    turn_over: bool,
    /// Bytes of unfinished messages in the decoder, as last reported to the process's budget.
    unfinished: Reservation,
    control: ControlBudget,
    /// Bytes received, and discarded, since the close began.
    discarded: usize,
    /// The session has futures to poll.
    is_polled: bool,
}

/// A decoded message, and the rate limit that it exceeds, if any.
type WaitingMessage = (OpCode, Vec<u8>, Option<RateLimited>);

struct KeptInput {
    /// A message that the session answered with [`Flow::Wait`].
    message: Option<WaitingMessage>,
    /// Bytes as received; those not decoded yet begin at `from`.
    rest: Vec<u8>,
    from: usize,
}

/// Why decoding stopped before the end of the input.
enum Stop {
    /// The connection ends.
    End(Disconnect),
    /// Backpressure: the outbox, or the destination of a message, is full.
    Full(Unprocessed),
    /// The connection's turn is over.
    TurnOver(Unprocessed),
}

/// The part of the input that was not processed.
struct Unprocessed {
    /// As in [`KeptInput`].
    message: Option<WaitingMessage>,
    /// The length of the input after that message.
    bytes: usize,
}

impl Unprocessed {
    fn behind(input: &Input<'_>) -> Self {
        Self {
            message: None,
            bytes: input.rest().len(),
        }
    }
}

/// What a connection may still do in this turn. Work is counted, not bytes received: a few compressed bytes may inflate
/// to megabytes, and a frame may take two bytes.
struct TurnBudget {
    frames: usize,
    bytes: usize,
    steps: usize,
}

impl TurnBudget {
    const NEW: Self = Self {
        frames: FRAMES_PER_TURN,
        bytes: BYTES_PER_TURN,
        steps: STEPS_PER_TURN,
    };

    /// Takes `frames`, and the inflated `bytes` of the message that they complete. Each further message of a batch
    /// counts as a frame. Returns whether the turn is over.
    fn take(&mut self, frames: usize, bytes: usize) -> bool {
        self.frames = self.frames.saturating_sub(frames);
        self.bytes = self.bytes.saturating_sub(bytes);
        self.frames == 0 || self.bytes == 0
    }

    /// Takes the engine's `steps` for patterns. Returns whether the turn is over.
    fn take_steps(&mut self, steps: usize) -> bool {
        self.steps = self.steps.saturating_sub(steps);
        self.steps == 0
    }
}

/// Frames of one connection in one turn, including fragments and control frames.
const FRAMES_PER_TURN: usize = 512;

/// Inflated bytes of messages in one turn. The message that reaches the limit is processed whole.
const BYTES_PER_TURN: usize = 256 * 1024;

/// Steps of the engine for patterns in one turn. The message that reaches the limit is processed whole.
const STEPS_PER_TURN: usize = 20_000;

/// Bytes discarded from a peer between our close frame and its answer. After that many it is not read from until the
/// close timeout: closing a socket with unread input resets the connection, and the close frame may be lost.
pub(super) const DISCARDED_BYTES_MAX: usize = 1024 * 1024;

/// A token bucket for control frames: `websocket.max_control_frames_per_second`, with a burst of twice as many.
#[derive(Default)]
struct ControlBudget {
    used: u32,
    refilled_ms: u64,
}

impl Future for WebSocketDriver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.connection.shard.clock.refresh();
        loop {
            let Connection { shard, peer, .. } = &this.connection;
            if let Some(why) = shard.take_disconnect(*peer, cx.waker()) {
                if why.close(&shard.process.registered).is_none() {
                    this.connection.note_end(why);
                    return Poll::Ready(());
                }
                this.begin_close(why);
            }
            if this.connection.poll_end(cx).is_ready() {
                return Poll::Ready(());
            }
            if this.connection.phase == ConnectionPhase::PeerHalfClosed {
                return Poll::Pending;
            }
            if this.connection.phase == ConnectionPhase::Open {
                // No input is processed before the upgrade response is sent.
                if this.connection.shard.is_opening(this.connection.peer) {
                    this.poll_session(cx);
                    if let Flow::End(why) = this
                        .connection
                        .with_session(|session, shard, peer| session.open_again(shard, peer))
                    {
                        this.begin_close(why);
                        continue;
                    }
                    this.connection.shard.wake_after_flush(cx.waker());
                    return Poll::Pending;
                }
                this.poll_session(cx);
                // Backpressure: a peer whose outbox is full is not read from. If its socket is full, that socket
                // wakes this task when it is writable.
                if this.connection.shard.is_outbox_full(this.connection.peer) {
                    if !this.connection.shard.is_blocked(this.connection.peer) {
                        this.connection.shard.wake_after_flush(cx.waker());
                    }
                    this.connection.shard.pause(this.connection.peer);
                    return Poll::Pending;
                }
                if std::mem::take(&mut this.turn_over) {
                    reschedule(cx);
                    return Poll::Pending;
                }
                if let Some(kept) = this.kept.take() {
                    this.resume(kept);
                    if this.kept.is_some() && !this.turn_over {
                        // What it waits for may have been begun just now.
                        this.poll_session(cx);
                        this.connection.shard.wake_after_flush(cx.waker());
                        this.connection.shard.pause(this.connection.peer);
                        return Poll::Pending;
                    }
                    continue;
                }
            }
            // No longer read, the peer is stopped by its TCP window.
            if this.discarded > DISCARDED_BYTES_MAX {
                return Poll::Pending;
            }
            match ready!(this.read(cx)) {
                ReadResult::BufferFull => {
                    // One buffer of input per turn.
                    reschedule(cx);
                    return Poll::Pending;
                }
                ReadResult::Drained => {}
                // A peer that has half-closed may still read our close frame.
                ReadResult::Eof if this.connection.phase == ConnectionPhase::Closing => {
                    this.connection.phase = ConnectionPhase::PeerHalfClosed;
                }
                ReadResult::Eof => {
                    this.connection.note_end(Disconnect::Gone);
                    return Poll::Ready(());
                }
            }
        }
    }
}

/// Reschedules this task behind all ready tasks and a poll of the sockets, so that a flooding peer does not delay input
/// that has arrived on other sockets.
pub(super) fn reschedule(cx: &mut Context<'_>) {
    let _ = pin!(tokio::task::yield_now()).poll(cx);
}

enum ReadResult {
    /// The buffer was filled; the socket may hold more.
    BufferFull,
    /// The socket was emptied.
    Drained,
    /// EOF, or the socket failed.
    Eof,
}

impl WebSocketDriver {
    fn begin(&mut self, announcement: &[u8]) {
        let (shard, peer) = (&self.connection.shard, self.connection.peer);
        let mut record = self.connection.take_record();
        let begun = match record.quota.limit_reached() {
            None => {
                self.connection.announce(announcement);
                record.session.begin(shard, peer)
            }
            Some(limit_reached) => {
                record.session.refuse(shard, peer, limit_reached);
                Flow::End(Disconnect::ConnectionLimit)
            }
        };
        self.connection.put_record(record);
        if let Flow::End(why) = begun {
            self.begin_close(why);
        }
    }

    fn poll_session(&self, cx: &mut Context<'_>) {
        if self.is_polled {
            self.connection
                .with_session(|session, shard, peer| session.poll(shard, peer, cx));
        }
    }

    fn read(&mut self, cx: &mut Context<'_>) -> Poll<ReadResult> {
        let shard = self.connection.shard.clone();
        shard.with_scratch(|scratch, inflater| {
            let read = match ready!(self.connection.poll_read(cx, scratch)) {
                0 => return Poll::Ready(ReadResult::Eof),
                read => read,
            };
            if self.connection.phase == ConnectionPhase::Open {
                shard.counters.bytes_in.add(read as u64);
                self.feed(&mut scratch[..read], inflater);
            } else {
                self.discarded += read;
            }
            Poll::Ready(if read == scratch.len() {
                ReadResult::BufferFull
            } else {
                ReadResult::Drained
            })
        })
    }

    /// Processes bytes that were read. What cannot be processed now is kept.
    fn feed(&mut self, bytes: &mut [u8], inflater: &mut Inflater) {
        let received = bytes.len();
        let (stop, unfinished) = self.decode(bytes, inflater);
        let (shard, peer) = (&self.connection.shard, self.connection.peer);
        shard.note_received(peer, received, unfinished);
        if let Some(left) = self.stop(stop) {
            self.kept = Some(Box::new(KeptInput {
                message: left.message,
                rest: bytes[bytes.len() - left.bytes..].to_vec(),
                from: 0,
            }));
        }
    }

    /// Acts on why decoding stopped. Returns the input to keep, if any.
    fn stop(&mut self, stop: Option<Stop>) -> Option<Unprocessed> {
        let has_room = self.unfinished.set(self.decoder.held_bytes());
        let (left, turn_over) = match stop {
            Some(Stop::End(why)) => {
                self.begin_close(why);
                return None;
            }
            _ if !has_room => {
                self.begin_close(Disconnect::Overloaded);
                return None;
            }
            None => return None,
            Some(Stop::Full(left)) => (left, false),
            Some(Stop::TurnOver(left)) => (left, true),
        };
        let is_left = left.message.is_some() || left.bytes > 0;
        self.turn_over = turn_over && is_left;
        is_left.then_some(left)
    }

    /// Decodes `bytes` and passes messages to the session. Returns why it stopped early, if it did, and whether a
    /// message is left unfinished.
    fn decode(&mut self, bytes: &mut [u8], inflater: &mut Inflater) -> (Option<Stop>, Unfinished) {
        let mut record = self.connection.take_record();
        let mut input = Input::new(bytes);
        let mut unfinished = Unfinished::Same;
        let mut turn = TurnBudget::NEW;
        let may_pass_over = self.decoder.may_pass_over();
        let stop = loop {
            let event = match self.decoder.next(&mut input) {
                Ok(Some(event)) => event,
                Ok(None) => break None,
                Err(error) => break Some(self.protocol_error(error)),
            };
            // Rate limits are checked before a message is inflated or parsed.
            let rate = match event {
                Event::Message(_) | Event::Compressed => {
                    unfinished = Unfinished::New;
                    self.connection.count_message();
                    record.quota.admit(&self.connection.shard)
                }
                _ => Rate::Allowed,
            };
            let over = match rate {
                Rate::Allowed => None,
                Rate::Dropped(over) | Rate::DroppedUnread(over) => Some(over),
                Rate::Exceeded => break Some(Stop::End(Disconnect::RateExceeded)),
            };
            let message = match event {
                Event::Compressed if matches!(rate, Rate::DroppedUnread(_)) && !may_pass_over => {
                    break Some(Stop::End(Disconnect::RateExceeded));
                }
                Event::Message(_) | Event::Compressed if matches!(rate, Rate::DroppedUnread(_)) => {
                    Some(Payload::Text(""))
                }
                Event::Message(payload) => Some(payload),
                Event::Compressed => match self.decoder.inflate(&mut input, inflater) {
                    Ok(message) => Some(message),
                    Err(error) => break Some(self.protocol_error(error)),
                },
                Event::Fragment => None,
                Event::Ping(payload) => {
                    self.connection
                        .shard
                        .send_pong(self.connection.peer, payload);
                    if !self.control.allows(&self.connection.shard) {
                        break Some(Stop::End(Disconnect::ControlFlood));
                    }
                    None
                }
                Event::Pong(_) => {
                    if !self.control.allows(&self.connection.shard) {
                        break Some(Stop::End(Disconnect::ControlFlood));
                    }
                    None
                }
                Event::Close(close) => {
                    let code = close.map(|(code, _)| code.0);
                    break Some(Stop::End(Disconnect::Closed(code)));
                }
            };
            let (mut frames, mut size) = (1, 0);
            if let Some(payload) = message {
                size = payload.bytes().len();
                self.connection
                    .shard
                    .counters
                    .message_sizes
                    .record(size as f64);
                let (shard, peer) = (&self.connection.shard, self.connection.peer);
                let (flow, more) = deliver(&mut record, shard, peer, (payload, over));
                frames += more as usize;
                match flow {
                    Flow::Continue => {}
                    Flow::End(why) => break Some(Stop::End(why)),
                    Flow::Wait => {
                        let message = Some((payload.opcode(), payload.bytes().to_vec(), over));
                        break Some(Stop::Full(Unprocessed {
                            message,
                            ..Unprocessed::behind(&input)
                        }));
                    }
                }
            }
            if self.connection.shard.is_outbox_full(self.connection.peer) {
                break Some(Stop::Full(Unprocessed::behind(&input)));
            }
            if turn.take(frames, size) || turn.take_steps(self.connection.shard.take_steps()) {
                break Some(Stop::TurnOver(Unprocessed::behind(&input)));
            }
        };
        self.connection.put_record(record);
        if !self.decoder.is_mid_message() {
            unfinished = Unfinished::Nothing;
        }
        (stop, unfinished)
    }

    /// The peer violated the protocol or a size limit.
    fn protocol_error(&self, error: ProtocolError) -> Stop {
        let code = error.close_code();
        if code == CloseCode::MESSAGE_TOO_BIG {
            self.connection.shard.counters.limited(Limited::MessageSize);
        }
        let (shard, peer) = (&self.connection.shard, self.connection.peer);
        shard.note_detail(peer, &error.to_string());
        Stop::End(Disconnect::Protocol(code.0))
    }

    /// Processes input that was kept.
    fn resume(&mut self, mut kept: Box<KeptInput>) {
        if let Some((opcode, bytes, over)) = kept.message.take() {
            let payload = Payload::new(opcode, &bytes).expect("it was checked when it came");
            let mut record = self.connection.take_record();
            let (shard, peer) = (&self.connection.shard, self.connection.peer);
            let (flow, _) = deliver(&mut record, shard, peer, (payload, over));
            self.connection.put_record(record);
            match flow {
                Flow::Continue => {}
                Flow::End(why) => return self.begin_close(why),
                Flow::Wait => {
                    kept.message = Some((opcode, bytes, over));
                    self.kept = Some(kept);
                    return;
                }
            }
        }
        let shard = self.connection.shard.clone();
        let (stop, unfinished) = shard.with_scratch(|_, inflater| {
            let from = kept.from;
            self.decode(&mut kept.rest[from..], inflater)
        });
        shard.note_received(self.connection.peer, 0, unfinished);
        if let Some(left) = self.stop(stop) {
            kept.message = left.message;
            kept.from = kept.rest.len() - left.bytes;
            self.kept = Some(kept);
        }
    }

    /// Begins to close. No further input is decoded, so the decoder's buffers are freed.
    fn begin_close(&mut self, why: Disconnect) {
        if self.connection.begin_close(why) {
            self.kept = None;
            let limits = DecoderLimits {
                message_bytes_max: 0,
            };
            self.decoder = Decoder::new(limits, None);
            let _ = self.unfinished.set(0);
        }
    }
}

/// Passes a message to the session, which drops it if it exceeds a rate limit. Returns how many further messages were
/// batched in it.
///
/// Inlined: a call passes the payload through memory, where it is read wider than it was written, and the processor waits for
/// that; 5 of the 60 ns that a message takes.
#[inline(always)]
fn deliver(
    Record { session, quota, .. }: &mut Record,
    shard: &Shard,
    peer: PeerId,
    (payload, over): (Payload<'_>, Option<RateLimited>),
) -> (Flow, u32) {
    if let Some(over) = over {
        let flow = session.limited(shard, peer, payload, over);
        let more = session.take_uncharged();
        quota.charge_dropped(more, shard);
        return (flow, more);
    }
    let flow = session.message(shard, peer, payload);
    let more = session.take_uncharged();
    quota.charge(more, shard);
    (flow, more)
}

impl ControlBudget {
    /// Takes one control frame from the bucket. Returns whether it was within the limit.
    fn allows(&mut self, shard: &Shard) -> bool {
        let per_second = shard.config.websocket.max_control_frames_per_second;
        let now = shard.clock.now_ms();
        let refilled = (now - self.refilled_ms).saturating_mul(u64::from(per_second)) / 1000;
        if refilled > 0 {
            self.used = self
                .used
                .saturating_sub(u32::try_from(refilled).unwrap_or(u32::MAX));
            // The remaining fraction of a frame is kept for the next refill.
            self.refilled_ms += refilled * 1000 / u64::from(per_second);
        }
        self.used += 1;
        self.used <= per_second.saturating_mul(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_counts_what_is_done() {
        let mut turn = TurnBudget::NEW;
        assert!(!turn.take(FRAMES_PER_TURN - 1, 0));
        assert!(turn.take(1, 0), "as many messages as a turn has");
        let mut turn = TurnBudget::NEW;
        assert!(!turn.take(1, BYTES_PER_TURN - 1));
        assert!(turn.take(1, 10 * BYTES_PER_TURN), "inflated, whatever came");
    }
}
