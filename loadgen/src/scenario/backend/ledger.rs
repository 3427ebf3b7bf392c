//! What clients sent against what members received and what was refused.
//!
//! Of each client's messages, which are numbered, every one has to come to a member once, in order,
//! or be refused. What comes again says so and has its old number; it may only come again after
//! the member that had it left.

use super::group_numbers::{GroupNumbers, Numbered};
use super::number_set::NumberSet;
use crate::verify::{Counts, LateMessage, MissingRanges};

/// Before the first message.
const NO_SESSION: u32 = u32::MAX;

/// The messages of one client.
#[derive(Debug, Clone)]
struct Stream {
    /// Next sequence number to send.
    sent: u32,
    /// One more than the highest that was received.
    next: u32,
    /// Next in order on the session that has the client; below `next` while messages come again.
    cursor: u32,
    session: u32,
    /// The group's number of the last message in order.
    last_n: u64,
    received: u32,
    /// Skipped: refused, or lost.
    missing: NumberSet,
    refused: NumberSet,
    /// Its connection was reset: what it sent last may be lost.
    is_reset: bool,
}

impl Stream {
    const NEW: Self = Self {
        sent: 0,
        next: 0,
        cursor: 0,
        session: NO_SESSION,
        last_n: 0,
        received: 0,
        missing: NumberSet::NONE,
        refused: NumberSet::NONE,
        is_reset: false,
    };
}

/// Faults that are not those of any delivery.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct LedgerFaults {
    /// Came again without saying so.
    pub(crate) unmarked: u64,
    /// Said that they came again although no member had left.
    pub(crate) causeless: u64,
    /// A number of the group that was used before, changed, or went back.
    pub(crate) numbers: u64,
    /// Clients that went to another member although theirs had not left.
    pub(crate) moved: u64,
}

/// What came of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Receipt {
    First,
    /// It had been received, or never been sent.
    NotNew,
}

/// The messages of all clients.
#[derive(Debug)]
pub(crate) struct Ledger {
    streams: Vec<Stream>,
    /// Whether each session of a member has ended.
    left: Vec<bool>,
    has_left: bool,
    missing: MissingRanges,
    numbers: GroupNumbers,
    pub(crate) counts: Counts,
    pub(crate) faults: LedgerFaults,
    sent: u64,
    refused: u64,
    /// Messages that the gateway says it dropped.
    pub(crate) told_lost: u64,
    /// Objects that said that they come again.
    pub(crate) redelivered: u64,
    /// Those of them that had been received.
    pub(crate) repeated: u64,
}

impl Ledger {
    pub(crate) fn new(clients: usize) -> Self {
        Self {
            streams: vec![Stream::NEW; clients],
            left: Vec::new(),
            has_left: false,
            missing: MissingRanges::default(),
            numbers: GroupNumbers::default(),
            counts: Counts::default(),
            faults: LedgerFaults::default(),
            sent: 0,
            refused: 0,
            told_lost: 0,
            redelivered: 0,
            repeated: 0,
        }
    }

    /// A member has attached; returns the number of its session.
    pub(crate) fn begin_session(&mut self) -> u32 {
        self.left.push(false);
        self.left.len() as u32 - 1
    }

    /// A member has left: what it had may come again.
    pub(crate) fn end_session(&mut self, session: u32) {
        self.left[session as usize] = true;
        self.has_left = true;
    }

    /// Takes the sequence number of the client's next message.
    #[inline]
    pub(crate) fn send(&mut self, client: u32) -> u32 {
        let stream = &mut self.streams[client as usize];
        let sequence = stream.sent;
        stream.sent += 1;
        self.sent += 1;
        sequence
    }

    /// Messages of `client` that were neither received nor refused.
    #[inline]
    pub(crate) fn in_flight(&self, client: u32) -> u32 {
        let stream = &self.streams[client as usize];
        let done = u64::from(stream.received) + stream.refused.count;
        stream.sent.saturating_sub(done as u32)
    }

    /// Messages sent that were neither received nor refused, nor said to be dropped.
    pub(crate) fn outstanding(&self) -> u64 {
        self.sent
            .saturating_sub(self.counts.received + self.refused + self.told_lost)
    }

    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    pub(crate) fn refused(&self) -> u64 {
        self.refused
    }

    /// A message of `client` was refused: which one, if its id was given.
    pub(crate) fn refuse(&mut self, client: u32, sequence: Option<u32>) {
        let stream = &mut self.streams[client as usize];
        self.refused += 1;
        match sequence {
            Some(sequence) => stream.refused.add(sequence),
            None => stream.refused.add_unknown(),
        }
    }

    /// The client's connection is reset now: its last messages need not arrive.
    pub(crate) fn reset(&mut self, client: u32) {
        let done = self.in_flight(client);
        self.sent -= u64::from(done);
        self.streams[client as usize].is_reset = true;
    }

    /// An object that is no message has come, for the first time or not.
    pub(crate) fn receive_event(&mut self, n: u64, again: bool, is_first: bool, object: Numbered) {
        if again {
            self.count_again();
        }
        if is_first {
            self.faults.numbers += u64::from(!self.numbers.first(n, object));
        } else if again {
            self.repeated += 1;
            self.faults.numbers += u64::from(!self.numbers.is_kept(n, object));
        }
    }

    /// An object says that it comes again.
    fn count_again(&mut self) {
        self.redelivered += 1;
        self.faults.causeless += u64::from(!self.has_left);
    }

    /// A whole message has come in this session.
    ///
    /// Cost: a few comparisons and two stores when it is the next one.
    #[inline]
    pub(crate) fn receive(
        &mut self,
        session: u32,
        n: u64,
        again: bool,
        client: u32,
        sequence: u32,
    ) -> Receipt {
        if let Some(stream) = self.streams.get_mut(client as usize)
            && sequence == stream.cursor
            && sequence == stream.next
            && sequence < stream.sent
            && session == stream.session
            && n > stream.last_n
            && !again
            && !stream.is_reset
        {
            stream.cursor += 1;
            stream.next += 1;
            stream.last_n = n;
            stream.received += 1;
            self.counts.received += 1;
            let object = Numbered::message(client, sequence);
            self.faults.numbers += u64::from(!self.numbers.first(n, object));
            return Receipt::First;
        }
        self.receive_unusual(session, n, again, client, sequence)
    }

    #[cold]
    fn receive_unusual(
        &mut self,
        session: u32,
        n: u64,
        again: bool,
        client: u32,
        sequence: u32,
    ) -> Receipt {
        if again {
            self.count_again();
        }
        let stream = self.streams.get_mut(client as usize);
        let Some(stream) = stream.filter(|stream| sequence < stream.sent) else {
            self.counts.misrouted += 1;
            return Receipt::NotNew;
        };
        if session != stream.session {
            let has_left = |session: u32| self.left.get(session as usize) != Some(&false);
            self.faults.moved += u64::from(!has_left(stream.session));
            stream.session = session;
            stream.cursor = sequence.min(stream.next);
            stream.last_n = 0;
        }
        if sequence < stream.cursor {
            return self.receive_late(n, again, client, sequence);
        }
        if n <= stream.last_n && stream.last_n > 0 {
            self.faults.numbers += 1;
        }
        stream.last_n = n;
        let object = Numbered::message(client, sequence);
        let skipped = stream.cursor.max(stream.next)..sequence;
        stream.cursor = sequence + 1;
        if sequence < stream.next {
            // Between the first that came again and the first that is new.
            return match self.missing.take(client as usize, sequence) {
                LateMessage::WasMissing => {
                    stream.missing.remove(sequence);
                    self.receive_first(n, client, sequence)
                }
                LateMessage::Duplicate => {
                    self.faults.unmarked += u64::from(!again);
                    self.repeated += u64::from(again);
                    self.faults.numbers += u64::from(!self.numbers.is_kept(n, object));
                    Receipt::NotNew
                }
            };
        }
        stream.next = sequence + 1;
        if !skipped.is_empty() {
            stream.missing.add_range(skipped.clone());
            self.missing.add(client as usize, skipped);
        }
        self.receive_first(n, client, sequence)
    }

    /// A message that is older than the last one of its client in this session.
    fn receive_late(&mut self, n: u64, again: bool, client: u32, sequence: u32) -> Receipt {
        match self.missing.take(client as usize, sequence) {
            LateMessage::WasMissing => {
                self.streams[client as usize].missing.remove(sequence);
                self.counts.reordered += 1;
                self.receive_first(n, client, sequence)
            }
            LateMessage::Duplicate => {
                self.counts.duplicated += 1;
                self.faults.unmarked += u64::from(!again);
                Receipt::NotNew
            }
        }
    }

    fn receive_first(&mut self, n: u64, client: u32, sequence: u32) -> Receipt {
        let stream = &mut self.streams[client as usize];
        if stream.is_reset {
            // No longer awaited.
            self.sent += 1;
        }
        stream.received += 1;
        self.counts.received += 1;
        let object = Numbered::message(client, sequence);
        self.faults.numbers += u64::from(!self.numbers.first(n, object));
        Receipt::First
    }

    /// What is lost of all that was sent, and refusals that do not fit.
    pub(crate) fn finish(&self) -> LedgerReport {
        let mut report = LedgerReport {
            counts: self.counts,
            ..LedgerReport::default()
        };
        for stream in &self.streams {
            let mut missing = stream.missing;
            missing.add_range(stream.next..stream.sent);
            let has_ids = stream.refused.count == 0 || stream.refused.has_numbers();
            if stream.is_reset {
                report.unread += missing.count.saturating_sub(stream.refused.count);
            } else {
                report.counts.lost += missing.count.saturating_sub(stream.refused.count);
            }
            report.refused_and_received += stream.refused.count.saturating_sub(missing.count);
            let is_other = missing.count == stream.refused.count && missing != stream.refused;
            report.mismatched += u64::from(is_other && has_ids && !stream.is_reset);
        }
        report
    }
}

/// What a run came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct LedgerReport {
    pub(crate) counts: Counts,
    /// Messages that came although they were refused as well.
    pub(crate) refused_and_received: u64,
    /// Clients of whom other messages are missing than were refused.
    pub(crate) mismatched: u64,
    /// Messages of reset connections that did not arrive; no fault.
    pub(crate) unread: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client that sent ten messages, and a session.
    fn ledger() -> Ledger {
        let mut ledger = Ledger::new(1);
        assert_eq!(ledger.begin_session(), 0);
        for sequence in 0..10 {
            assert_eq!(ledger.send(0), sequence);
        }
        ledger
    }

    /// Receives these in session 0, numbered from 1.
    fn receive(ledger: &mut Ledger, sequences: impl IntoIterator<Item = u32>) {
        for sequence in sequences {
            let n = u64::from(sequence) + 1;
            let _ = ledger.receive(0, n, false, 0, sequence);
        }
    }

    fn check(ledger: &Ledger, expected: LedgerReport, faults: LedgerFaults) {
        let report = ledger.finish();
        assert_eq!(report, expected);
        assert_eq!(ledger.faults, faults);
    }

    fn received(received: u64) -> LedgerReport {
        LedgerReport {
            counts: Counts {
                received,
                ..Counts::default()
            },
            ..LedgerReport::default()
        }
    }

    #[test]
    fn everything_in_order_is_no_fault() {
        let mut ledger = ledger();
        assert_eq!((ledger.in_flight(0), ledger.outstanding()), (10, 10));
        receive(&mut ledger, 0..10);
        assert_eq!((ledger.in_flight(0), ledger.outstanding()), (0, 0));
        check(&ledger, received(10), LedgerFaults::default());
    }

    #[test]
    fn what_is_neither_received_nor_refused_is_lost() {
        let mut ledger = ledger();
        receive(&mut ledger, [0, 1, 4, 5, 6, 7]);
        ledger.refuse(0, Some(2));
        ledger.refuse(0, Some(9));
        let mut expected = received(6);
        expected.counts.lost = 2;
        check(&ledger, expected, LedgerFaults::default());
    }

    #[test]
    fn refusals_are_matched_by_id_or_counted() {
        for (ids, mismatched) in [
            (&[Some(2), Some(3)][..], 0),
            (&[None, None], 0),
            (&[Some(2), Some(4)], 1),
        ] {
            let mut ledger = ledger();
            receive(&mut ledger, [0, 1, 4, 5, 6, 7, 8, 9]);
            for &id in ids {
                ledger.refuse(0, id);
            }
            let mut expected = received(8);
            expected.mismatched = mismatched;
            check(&ledger, expected, LedgerFaults::default());
        }
    }

    #[test]
    fn a_refused_message_that_comes_is_a_fault() {
        let mut ledger = ledger();
        receive(&mut ledger, 0..10);
        ledger.refuse(0, Some(2));
        let mut expected = received(10);
        expected.refused_and_received = 1;
        check(&ledger, expected, LedgerFaults::default());
    }

    #[test]
    fn what_the_gateway_says_it_dropped_is_lost_and_not_awaited() {
        let mut ledger = ledger();
        receive(&mut ledger, 0..7);
        assert_eq!(ledger.outstanding(), 3);
        ledger.told_lost += 3;
        assert_eq!(ledger.outstanding(), 0);
        let mut expected = received(7);
        expected.counts.lost = 3;
        check(&ledger, expected, LedgerFaults::default());
    }

    #[test]
    fn late_and_repeated_messages_are_told_apart() {
        let mut ledger = ledger();
        receive(&mut ledger, [0, 1, 3, 2, 3, 4, 5, 6, 7, 8, 9]);
        let mut expected = received(10);
        expected.counts.reordered = 1;
        expected.counts.duplicated = 1;
        let faults = LedgerFaults {
            unmarked: 1,
            ..LedgerFaults::default()
        };
        check(&ledger, expected, faults);
    }

    #[test]
    fn after_a_member_left_its_messages_come_again_with_their_numbers() {
        let mut ledger = ledger();
        receive(&mut ledger, 0..5);
        ledger.end_session(0);
        let session = ledger.begin_session();
        for sequence in 3..10 {
            let n = u64::from(sequence) + 1;
            let _ = ledger.receive(session, n, sequence < 8, 0, sequence);
        }
        check(&ledger, received(10), LedgerFaults::default());
        assert_eq!((ledger.redelivered, ledger.repeated), (5, 2));
    }

    #[test]
    fn what_comes_again_unmarked_or_under_another_number_is_a_fault() {
        let mut ledger = ledger();
        receive(&mut ledger, 0..5);
        ledger.end_session(0);
        let session = ledger.begin_session();
        let _ = ledger.receive(session, 4, false, 0, 3);
        let _ = ledger.receive(session, 77, true, 0, 4);
        for sequence in 5..10 {
            let _ = ledger.receive(session, 80 + u64::from(sequence), false, 0, sequence);
        }
        let faults = LedgerFaults {
            unmarked: 1,
            numbers: 1,
            ..LedgerFaults::default()
        };
        check(&ledger, received(10), faults);
    }

    #[test]
    fn a_client_stays_with_its_member() {
        let mut ledger = ledger();
        receive(&mut ledger, 0..5);
        let session = ledger.begin_session();
        for sequence in 5..10 {
            let n = u64::from(sequence) + 1;
            let _ = ledger.receive(session, n, sequence == 5, 0, sequence);
        }
        let faults = LedgerFaults {
            moved: 1,
            causeless: 1,
            ..LedgerFaults::default()
        };
        check(&ledger, received(10), faults);
    }

    #[test]
    fn a_number_is_used_once_and_never_goes_back() {
        let mut ledger = ledger();
        for (n, sequence) in (1..).zip(0..8) {
            let _ = ledger.receive(0, n, false, 0, sequence);
        }
        let _ = ledger.receive(0, 8, false, 0, 8);
        let _ = ledger.receive(0, 9, false, 0, 9);
        // Used before, and not above the one before.
        let faults = LedgerFaults {
            numbers: 2,
            ..LedgerFaults::default()
        };
        check(&ledger, received(10), faults);
    }

    #[test]
    fn the_last_messages_of_a_reset_connection_may_be_missing() {
        let mut ledger = ledger();
        receive(&mut ledger, 0..5);
        ledger.reset(0);
        assert_eq!(ledger.outstanding(), 0);
        receive(&mut ledger, 5..7);
        assert_eq!(ledger.outstanding(), 0);
        let mut expected = received(7);
        expected.unread = 3;
        check(&ledger, expected, LedgerFaults::default());
    }

    #[test]
    fn messages_that_were_never_sent_are_misrouted() {
        let mut ledger = ledger();
        receive(&mut ledger, 0..11);
        let _ = ledger.receive(0, 50, false, 1, 0);
        let mut expected = received(10);
        expected.counts.misrouted = 2;
        check(&ledger, expected, LedgerFaults::default());
    }
}
