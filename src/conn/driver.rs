//! A WebSocket connection's task: reads, decodes, hands messages to the session,
//! and sees the connection to its end. It writes nothing; the flusher does.

use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::claim::WebSocketClaim;
use super::quota::{Quota, Rate};
use super::record::Records;
use super::session::{Flow, Session};
use crate::id::{PeerId, Priority};
use crate::metrics::Limited;
use crate::net::{Reader, Stream};
use crate::process::{ConnectionSlot, Held, Over};
use crate::shard::{Disconnect, Shard, Unfinished};
use crate::ws::deflate::{Agreed, Inflater};
use crate::ws::{CloseCode, Decoder, DecoderLimits, Event, Input, OpCode, ProtocolError};

/// Begins the connection that `claim` describes. `rest` is what the peer sent
/// behind its request.
pub(super) fn start(
    shard: &Rc<Shard>,
    records: Rc<Records>,
    claim: WebSocketClaim,
    stream: Stream,
    rest: Vec<u8>,
) {
    shard.clock.refresh();
    let (reader, writer) = stream.into_split();
    let peer = shard.join(
        claim.format,
        claim.agreed.as_ref().map(Agreed::server_window_bits),
        writer,
    );
    if let Some(lease) = claim.lease {
        shard.lease(peer, lease);
    }
    if !claim.head.is_empty() {
        shard.send_raw(peer, Priority::Critical, &claim.head);
    }
    records.put(peer.slot, claim.session);
    let limits = DecoderLimits {
        message_bytes_max: claim.message_bytes_max,
    };
    let mut driver = WebSocketDriver {
        shard: shard.clone(),
        peer,
        reader,
        decoder: Decoder::new(limits, claim.agreed.as_ref()),
        records,
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
        phase: ConnectionPhase::Open,
        discarded: 0,
        closing: None,
        quota: claim.quota,
        _place: claim.place,
    };
    // At once, so that the answer to the upgrade and the greeting are one write.
    driver.begin();
    tokio::task::spawn_local(driver);
}

struct WebSocketDriver {
    shard: Rc<Shard>,
    peer: PeerId,
    reader: Reader,
    decoder: Decoder,
    /// Where the session is.
    records: Rc<Records>,
    /// What has been read and could not be dealt with yet.
    kept: Option<Box<KeptInput>>,
    /// What is kept can be dealt with; others get their turn first.
    turn_over: bool,
    /// What the decoder holds, as it was last reported to the process.
    unfinished: Held,
    control: ControlBudget,
    phase: ConnectionPhase,
    /// Bytes that came since the end began.
    discarded: usize,
    /// When the peer is not waited for any longer.
    closing: Option<Pin<Box<Sleep>>>,
    quota: Quota,
    _place: ConnectionSlot,
}

/// A decoded message, and the rate that it is beyond, if it is.
type WaitingMessage = (OpCode, Vec<u8>, Option<Over>);

struct KeptInput {
    /// A decoded message that has to wait, and the rate that it is beyond.
    message: Option<WaitingMessage>,
    /// Bytes as they were received, those behind the message from here on.
    rest: Vec<u8>,
    from: usize,
}

/// Why bytes are not dealt with to their end.
enum Stop {
    /// The connection ends.
    End(Disconnect),
    /// There is no room for what comes next.
    Full(Left),
    /// Others get their turn.
    TurnOver(Left),
}

/// What has not been dealt with.
struct Left {
    /// As in [`KeptInput`].
    message: Option<WaitingMessage>,
    /// Bytes behind it.
    bytes: usize,
}

impl Left {
    fn behind(input: &Input<'_>) -> Self {
        Self {
            message: None,
            bytes: input.rest().len(),
        }
    }
}

/// What is left of a connection's turn. It counts what is done and not what has come: a few
/// compressed bytes may be megabytes, and a few bytes a frame.
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

    /// Takes frames, and the bytes of a message that they complete, inflated. Each message of a batch is
    /// one more. Returns whether the turn is over.
    fn take(&mut self, frames: usize, bytes: usize) -> bool {
        self.frames = self.frames.saturating_sub(frames);
        self.bytes = self.bytes.saturating_sub(bytes);
        self.frames == 0 || self.bytes == 0
    }

    /// Takes what the engine has done for patterns. Returns whether the turn is over.
    fn take_steps(&mut self, steps: usize) -> bool {
        self.steps = self.steps.saturating_sub(steps);
        self.steps == 0
    }
}

/// Frames of one connection, fragments and control frames too, that are dealt with before others get their turn.
const FRAMES_PER_TURN: usize = 512;

/// Bytes of them, but for the last one.
const BYTES_PER_TURN: usize = 256 * 1024;

/// Steps that the engine takes for patterns because of them, but for those of the last one.
const STEPS_PER_TURN: usize = 20_000;

/// Bytes that are read and thrown away of a peer that is being closed, until it answers or its time is over:
/// closing on more would reset the connection, and the close frame with it.
const DISCARDED_BYTES_MAX: usize = 1024 * 1024;

#[derive(Clone, Copy, PartialEq, Eq)]
enum ConnectionPhase {
    Open,
    /// The close frame is queued; what arrives is thrown away.
    Closing,
    /// The close frame is queued; nothing more can arrive.
    PeerHalfClosed,
    /// The close frame has been written and our side is shut.
    Shut,
}

/// Control frames per second, with a second's worth in stock.
#[derive(Default)]
struct ControlBudget {
    used: u32,
    since_ms: u64,
}

impl Future for WebSocketDriver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.shard.clock.refresh();
        loop {
            if let Some(why) = this.shard.take_disconnect(this.peer, cx.waker()) {
                if why.close().is_none() {
                    this.note_end(why);
                    return Poll::Ready(());
                }
                this.begin_close(why);
            }
            match this.shard.poll_unblocked(this.peer, cx) {
                Poll::Ready(Err(_)) => {
                    this.note_end(Disconnect::Gone);
                    return Poll::Ready(());
                }
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
            if matches!(
                this.phase,
                ConnectionPhase::Closing | ConnectionPhase::PeerHalfClosed
            ) && this.shard.is_drained(this.peer)
            {
                this.shard.shut(this.peer);
                if this.phase == ConnectionPhase::PeerHalfClosed {
                    return Poll::Ready(());
                }
                this.phase = ConnectionPhase::Shut;
            }
            if let Some(sleep) = &mut this.closing
                && sleep.as_mut().poll(cx).is_ready()
            {
                return Poll::Ready(());
            }
            if this.phase == ConnectionPhase::PeerHalfClosed {
                return Poll::Pending;
            }
            if this.phase == ConnectionPhase::Open {
                // Nothing is answered before the upgrade request is.
                if this.shard.is_opening(this.peer) {
                    if let Flow::End(why) =
                        this.with_session(|session, shard, peer| session.open_again(shard, peer))
                    {
                        this.begin_close(why);
                        continue;
                    }
                    this.shard.wake_after_flush(cx.waker());
                    return Poll::Pending;
                }
                // Whoever does not take answers asks no more questions. A full
                // socket wakes this task itself when it takes bytes again.
                if this.shard.is_outbox_full(this.peer) {
                    if !this.shard.is_blocked(this.peer) {
                        this.shard.wake_after_flush(cx.waker());
                    }
                    this.shard.pause(this.peer);
                    return Poll::Pending;
                }
                if std::mem::take(&mut this.turn_over) {
                    give_way(cx);
                    return Poll::Pending;
                }
                if let Some(kept) = this.kept.take() {
                    this.resume(kept);
                    if this.kept.is_some() && !this.turn_over {
                        this.shard.wake_after_flush(cx.waker());
                        this.shard.pause(this.peer);
                        return Poll::Pending;
                    }
                    continue;
                }
            }
            // Who goes on sending, to no purpose, is stopped by its own socket.
            if this.discarded > DISCARDED_BYTES_MAX {
                return Poll::Pending;
            }
            match ready!(this.read(cx)) {
                Read::More => {
                    // A full buffer's worth at a time: others get their turn.
                    give_way(cx);
                    return Poll::Pending;
                }
                Read::Some => {}
                // A peer that has ended its side may still wait for the answer.
                Read::End if this.phase == ConnectionPhase::Closing => {
                    this.phase = ConnectionPhase::PeerHalfClosed;
                }
                Read::End => {
                    this.note_end(Disconnect::Gone);
                    return Poll::Ready(());
                }
            }
        }
    }
}

/// Has this task polled again when all that are ready have been, and the sockets have been looked at:
/// who floods the gateway does not come before a message that nobody has noticed yet.
fn give_way(cx: &mut Context<'_>) {
    let _ = pin!(tokio::task::yield_now()).poll(cx);
}

enum Read {
    /// As much as fits; there may be more.
    More,
    /// What there was.
    Some,
    /// There will be no more.
    End,
}

impl WebSocketDriver {
    fn begin(&mut self) {
        let crowd = self.quota.crowd();
        let begun = self.with_session(|session, shard, peer| match crowd {
            None => session.begin(shard, peer),
            Some(crowd) => {
                session.refuse(shard, peer, crowd);
                Flow::End(Disconnect::ConnectionLimit)
            }
        });
        if let Flow::End(why) = begun {
            self.begin_close(why);
        }
    }

    fn read(&mut self, cx: &mut Context<'_>) -> Poll<Read> {
        let shard = self.shard.clone();
        shard.with_scratch(|scratch, inflater| {
            let mut buffer = ReadBuf::new(scratch);
            if ready!(Pin::new(&mut self.reader).poll_read(cx, &mut buffer)).is_err() {
                return Poll::Ready(Read::End);
            }
            let read = buffer.filled().len();
            if read == 0 {
                return Poll::Ready(Read::End);
            }
            if self.phase == ConnectionPhase::Open {
                shard.counters.bytes_in.add(read as u64);
                self.feed(&mut scratch[..read], inflater);
            } else {
                self.discarded += read;
            }
            Poll::Ready(if read == scratch.len() {
                Read::More
            } else {
                Read::Some
            })
        })
    }

    /// Lends `act` the connection's session.
    fn with_session<T>(&self, act: impl FnOnce(&mut dyn Session, &Shard, PeerId) -> T) -> T {
        let mut session = self.take_session();
        let done = act(&mut *session, &self.shard, self.peer);
        self.records.put(self.peer.slot, session);
        done
    }

    fn take_session(&self) -> Box<dyn Session> {
        let session = self.records.take(self.peer.slot);
        session.expect("it is there as long as the connection")
    }

    /// Deals with bytes that were read. What has to wait is kept.
    fn feed(&mut self, bytes: &mut [u8], inflater: &mut Inflater) {
        let (stop, unfinished) = self.decode(bytes, inflater);
        if let Some(left) = self.stop(stop) {
            self.kept = Some(Box::new(KeptInput {
                message: left.message,
                rest: bytes[bytes.len() - left.bytes..].to_vec(),
                from: 0,
            }));
        }
        self.shard.heard(self.peer, unfinished);
    }

    /// Acts on why decoding stopped. Returns what is to be kept, if anything is.
    fn stop(&mut self, stop: Option<Stop>) -> Option<Left> {
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

    /// Decodes bytes and gives what they are to the session. Returns why it stopped before their end, if
    /// it did, and what they leave unfinished.
    fn decode(&mut self, bytes: &mut [u8], inflater: &mut Inflater) -> (Option<Stop>, Unfinished) {
        let mut session = self.take_session();
        let mut input = Input::new(bytes);
        let mut unfinished = Unfinished::Same;
        let mut turn = TurnBudget::NEW;
        let may_pass_over = self.decoder.may_pass_over();
        let stop = loop {
            let event = match self.decoder.next(&mut input) {
                Ok(Some(event)) => event,
                Ok(None) => break None,
                Err(error) => break Some(self.fault(error)),
            };
            // Whether a message is wanted is asked before anything is spent on it.
            let rate = match event {
                Event::Message { .. } | Event::Compressed => {
                    unfinished = Unfinished::New;
                    self.shard.counters.messages_in.add(1);
                    self.quota.admit(&self.shard)
                }
                _ => Rate::Within,
            };
            let over = match rate {
                Rate::Within => None,
                Rate::Beyond(over) | Rate::FarBeyond(over) => Some(over),
                Rate::Exceeded => break Some(Stop::End(Disconnect::RateExceeded)),
            };
            let message = match event {
                Event::Compressed if matches!(rate, Rate::FarBeyond(_)) && !may_pass_over => {
                    break Some(Stop::End(Disconnect::RateExceeded));
                }
                Event::Message { .. } | Event::Compressed if matches!(rate, Rate::FarBeyond(_)) => {
                    Some((OpCode::Text, &mut [][..]))
                }
                Event::Message { opcode, payload } => Some((opcode, payload)),
                Event::Compressed => match self.decoder.inflate(&mut input, inflater) {
                    Ok(message) => Some(message),
                    Err(error) => break Some(self.fault(error)),
                },
                Event::Fragment => None,
                Event::Ping(payload) => {
                    self.shard.send_pong(self.peer, payload);
                    if !self.control.allows(&self.shard) {
                        break Some(Stop::End(Disconnect::ControlFlood));
                    }
                    None
                }
                Event::Pong(_) => {
                    if !self.control.allows(&self.shard) {
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
            if let Some((opcode, payload)) = message {
                size = payload.len();
                self.shard.counters.message_sizes.record(size as f64);
                let (quota, shard) = (&mut self.quota, &self.shard);
                let given = (opcode, &*payload, over);
                let (flow, more) = deliver(&mut *session, shard, self.peer, quota, given);
                frames += more as usize;
                match flow {
                    Flow::Continue => {}
                    Flow::End(why) => break Some(Stop::End(why)),
                    Flow::Wait => {
                        let message = Some((opcode, payload.to_vec(), over));
                        break Some(Stop::Full(Left {
                            message,
                            ..Left::behind(&input)
                        }));
                    }
                }
            }
            if self.shard.is_outbox_full(self.peer) {
                break Some(Stop::Full(Left::behind(&input)));
            }
            if turn.take(frames, size) || turn.take_steps(self.shard.take_steps()) {
                break Some(Stop::TurnOver(Left::behind(&input)));
            }
        };
        self.records.put(self.peer.slot, session);
        if !self.decoder.is_mid_message() {
            unfinished = Unfinished::Nothing;
        }
        (stop, unfinished)
    }

    /// The peer broke the protocol or a size limit.
    fn fault(&self, error: ProtocolError) -> Stop {
        let code = error.close_code();
        if code == CloseCode::MESSAGE_TOO_BIG {
            self.shard.counters.limited(Limited::MessageSize);
        }
        Stop::End(Disconnect::Protocol(code.0))
    }

    /// Goes on with what was kept.
    fn resume(&mut self, mut kept: Box<KeptInput>) {
        if let Some((opcode, payload, over)) = kept.message.take() {
            let mut session = self.take_session();
            let (quota, shard) = (&mut self.quota, &self.shard);
            let given = (opcode, &payload[..], over);
            let (flow, _) = deliver(&mut *session, shard, self.peer, quota, given);
            self.records.put(self.peer.slot, session);
            match flow {
                Flow::Continue => {}
                Flow::End(why) => return self.begin_close(why),
                Flow::Wait => {
                    kept.message = Some((opcode, payload, over));
                    self.kept = Some(kept);
                    return;
                }
            }
        }
        let shard = self.shard.clone();
        let (stop, unfinished) = shard.with_scratch(|_, inflater| {
            let from = kept.from;
            self.decode(&mut kept.rest[from..], inflater)
        });
        if let Some(left) = self.stop(stop) {
            kept.message = left.message;
            kept.from = kept.rest.len() - left.bytes;
            self.kept = Some(kept);
        }
        shard.heard(self.peer, unfinished);
    }

    /// Begins the end: the close frame goes out, and the peer has a while to
    /// answer it.
    fn begin_close(&mut self, why: Disconnect) {
        if self.phase != ConnectionPhase::Open {
            return;
        }
        self.phase = ConnectionPhase::Closing;
        self.kept = None;
        // Nothing of the peer's is looked at any more; its memory is for others.
        self.decoder = Decoder::new(
            DecoderLimits {
                message_bytes_max: 0,
            },
            None,
        );
        let _ = self.unfinished.set(0);
        self.records.tell_peer(&self.shard, self.peer);
        // Its client may come again before this connection's socket has gone.
        self.quota = Quota::default();
        self.with_session(|session, shard, peer| session.end(shard, peer));
        self.shard.begin_close(self.peer, why);
        let deadline = Instant::now() + self.shard.config.websocket.close_timeout;
        self.closing = Some(Box::pin(sleep_until(deadline)));
    }

    /// The socket has ended; counted unless the end had begun before.
    fn note_end(&mut self, why: Disconnect) {
        if self.phase == ConnectionPhase::Open {
            self.phase = ConnectionPhase::Shut;
            self.with_session(|session, shard, peer| session.end(shard, peer));
            self.shard.counters.disconnects[why.index()].add(1);
        }
    }
}

/// Gives a message to the session, to be dealt with, or to be dropped if it is beyond a rate. Returns
/// how many messages it was besides.
fn deliver(
    session: &mut dyn Session,
    shard: &Shard,
    peer: PeerId,
    quota: &mut Quota,
    (opcode, payload, over): (OpCode, &[u8], Option<Over>),
) -> (Flow, u32) {
    if let Some(over) = over {
        let flow = session.limited(shard, peer, (opcode, payload), over);
        let more = session.take_uncounted();
        quota.charge_dropped(more, shard);
        return (flow, more);
    }
    let flow = session.message(shard, peer, opcode, payload);
    let more = session.take_uncounted();
    quota.charge(more, shard);
    (flow, more)
}

impl Drop for WebSocketDriver {
    /// Whatever happened, the shard forgets the connection.
    fn drop(&mut self) {
        if self.phase == ConnectionPhase::Open {
            self.with_session(|session, shard, peer| session.end(shard, peer));
            self.shard.counters.disconnects[Disconnect::Internal.index()].add(1);
        }
        drop(self.records.take(self.peer.slot));
        // Before the socket goes, so that a client that sees its end is not counted.
        self.quota = Quota::default();
        self.shard.leave(self.peer);
    }
}

impl ControlBudget {
    /// Takes one control frame out of the stock.
    fn allows(&mut self, shard: &Shard) -> bool {
        let per_second = shard.config.websocket.max_control_frames_per_second;
        let now = shard.clock.now_ms();
        let refilled = (now - self.since_ms).saturating_mul(u64::from(per_second)) / 1000;
        if refilled > 0 {
            self.used = self
                .used
                .saturating_sub(u32::try_from(refilled).unwrap_or(u32::MAX));
            // The part of a frame that is left over counts next time.
            self.since_ms += refilled * 1000 / u64::from(per_second);
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
