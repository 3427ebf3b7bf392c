//! What was sent, acknowledged and delivered, and whether that is as it has to be.

use std::collections::VecDeque;

use crate::verify::Counts;

/// Who gets a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Audience {
    /// One user, another one each time.
    One,
    /// All but the sender.
    Others,
}

/// The messages of a run. Each has its sender and a number among the sender's.
#[derive(Debug)]
pub(super) struct Ledger {
    audience: Audience,
    users: usize,
    /// By recipient and sender: the number of the next message.
    expected: Vec<u32>,
    senders: Vec<Sender>,
    /// By recipient: the id of the last message.
    last_ids: Vec<i64>,
    pub(super) counts: Counts,
    /// Messages that are acknowledged and delivered to all their recipients.
    pub(super) finished: u64,
    /// Messages that are not.
    pub(super) unfinished: u64,
    pub(super) acknowledged: u64,
}

/// The messages of one sender.
#[derive(Debug, Default)]
struct Sender {
    /// The number of the first message that is waiting.
    first: u32,
    /// The number of the next message that is acknowledged.
    acknowledged: u32,
    waiting: VecDeque<Waiting>,
}

/// A message that is not finished.
#[derive(Debug)]
struct Waiting {
    /// Its id, as the first has said it: an acknowledgement or a delivery.
    id: Option<i64>,
    is_acknowledged: bool,
    /// Recipients that do not have it.
    recipients: u32,
}

impl Waiting {
    fn is_finished(&self) -> bool {
        self.is_acknowledged && self.recipients == 0
    }
}

impl Ledger {
    /// For so many users.
    pub(super) fn new(audience: Audience, users: usize) -> Self {
        let first = |pair: usize| match audience {
            Audience::One => ((pair / users + users - pair % users) % users + users - 1) % users,
            Audience::Others => 0,
        };
        Self {
            audience,
            users,
            expected: (0..users * users).map(|pair| first(pair) as u32).collect(),
            senders: (0..users).map(|_| Sender::default()).collect(),
            last_ids: vec![0; users],
            counts: Counts::default(),
            finished: 0,
            unfinished: 0,
            acknowledged: 0,
        }
    }

    /// Messages of a sender that are not finished.
    pub(super) fn waiting_of(&self, sender: usize) -> usize {
        self.senders[sender].waiting.len()
    }

    /// The recipient of a sender's message; nobody of a broadcast.
    pub(super) fn recipient(&self, sender: usize, number: u32) -> Option<usize> {
        (self.audience == Audience::One)
            .then(|| (sender + 1 + number as usize % (self.users - 1)) % self.users)
    }

    /// Notes that a sender sends another message; its number.
    pub(super) fn send(&mut self, sender: usize) -> u32 {
        let recipients = match self.audience {
            Audience::One => 1,
            Audience::Others => self.users as u32 - 1,
        };
        let sender = &mut self.senders[sender];
        sender.waiting.push_back(Waiting {
            id: None,
            is_acknowledged: false,
            recipients,
        });
        self.unfinished += 1;
        sender.first + sender.waiting.len() as u32 - 1
    }

    /// Notes the next acknowledgement of a sender.
    pub(super) fn acknowledge(&mut self, sender: usize, id: i64) {
        let number = self.senders[sender].acknowledged;
        self.senders[sender].acknowledged += 1;
        let Some(waiting) = self.waiting(sender, number) else {
            self.counts.duplicated += 1;
            return;
        };
        waiting.is_acknowledged = true;
        if *waiting.id.get_or_insert(id) != id {
            self.counts.misnumbered += 1;
        }
        self.acknowledged += 1;
        self.finish(sender);
    }

    /// Notes that a recipient has got a sender's message, which was checked otherwise.
    pub(super) fn deliver(&mut self, (sender, number): (usize, u32), recipient: usize, id: i64) {
        let last = &mut self.last_ids[recipient];
        if id <= *last {
            self.counts.misnumbered += 1;
        }
        *last = id.max(*last);
        let step = match self.audience {
            Audience::One => self.users as u32 - 1,
            Audience::Others => 1,
        };
        let next = &mut self.expected[recipient * self.users + sender];
        if number < *next {
            self.counts.duplicated += 1;
            return;
        }
        let skipped = number - *next;
        *next = number + step;
        if skipped > 0 {
            self.counts.lost += u64::from(skipped.div_ceil(step));
        }
        let Some(waiting) = self.waiting(sender, number) else {
            // It was never sent.
            self.counts.corrupt += 1;
            return;
        };
        waiting.recipients = waiting.recipients.saturating_sub(1);
        if *waiting.id.get_or_insert(id) != id {
            self.counts.misnumbered += 1;
        }
        self.counts.received += 1;
        self.finish(sender);
    }

    /// Counts what has not come as lost, at the end.
    pub(super) fn close(&mut self) {
        let waiting = self.senders.iter().flat_map(|sender| &sender.waiting);
        let missing = waiting.map(|it| u64::from(it.recipients).max(1));
        // Gaps that were seen are counted already.
        self.counts.lost = self.counts.lost.max(missing.sum());
    }

    fn waiting(&mut self, sender: usize, number: u32) -> Option<&mut Waiting> {
        let sender = &mut self.senders[sender];
        let at = number.checked_sub(sender.first)?;
        sender.waiting.get_mut(at as usize)
    }

    /// Drops the messages in front that are finished.
    fn finish(&mut self, sender: usize) {
        let sender = &mut self.senders[sender];
        while sender.waiting.front().is_some_and(Waiting::is_finished) {
            sender.waiting.pop_front();
            sender.first += 1;
            self.finished += 1;
            self.unfinished -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pair_expects_its_own_numbers() {
        let users = 4;
        let mut ledger = Ledger::new(Audience::One, users);
        let mut id = 0;
        for _ in 0..10 {
            for sender in 0..users {
                let number = ledger.send(sender);
                let recipient = ledger.recipient(sender, number).unwrap();
                assert_ne!(recipient, sender);
                id += 1;
                ledger.deliver((sender, number), recipient, id);
                ledger.acknowledge(sender, id);
            }
        }
        ledger.close();
        assert_eq!(ledger.counts.faults(), 0);
        let (finished, unfinished) = (ledger.finished, ledger.unfinished);
        assert_eq!((finished, unfinished, ledger.counts.received), (40, 0, 40));
    }

    #[test]
    fn a_broadcast_is_finished_when_all_others_have_it() {
        let mut ledger = Ledger::new(Audience::Others, 3);
        let number = ledger.send(1);
        ledger.acknowledge(1, 5);
        ledger.deliver((1, number), 0, 5);
        assert_eq!((ledger.finished, ledger.unfinished), (0, 1));
        ledger.deliver((1, number), 2, 5);
        assert_eq!((ledger.finished, ledger.unfinished), (1, 0));
        ledger.close();
        assert_eq!(ledger.counts.faults(), 0);
    }

    /// The faults of a ledger of two users, of whom the first has sent two messages.
    #[track_caller]
    fn check(happens: impl FnOnce(&mut Ledger), faults: [u64; 3]) {
        let mut ledger = Ledger::new(Audience::One, 2);
        assert_eq!((ledger.send(0), ledger.send(0)), (0, 1));
        happens(&mut ledger);
        ledger.close();
        let counts = ledger.counts;
        assert_eq!([counts.lost, counts.duplicated, counts.misnumbered], faults);
    }

    #[test]
    fn faults_are_counted() {
        let both = |ledger: &mut Ledger| {
            ledger.deliver((0, 0), 1, 1);
            ledger.deliver((0, 1), 1, 2);
        };
        let acks = |ledger: &mut Ledger| {
            ledger.acknowledge(0, 1);
            ledger.acknowledge(0, 2);
        };
        check(|ledger| (both(ledger), acks(ledger)).0, [0, 0, 0]);
        check(both, [2, 0, 0]);
        check(acks, [2, 0, 0]);
        check(
            |ledger| {
                both(ledger);
                acks(ledger);
                ledger.deliver((0, 1), 1, 3);
                ledger.acknowledge(0, 3);
            },
            [0, 2, 0],
        );
        // The acknowledgement says another id, or ids do not rise.
        check(
            |ledger| {
                both(ledger);
                ledger.acknowledge(0, 1);
                ledger.acknowledge(0, 3);
            },
            [0, 0, 1],
        );
        check(
            |ledger| {
                acks(ledger);
                ledger.deliver((0, 0), 1, 1);
                ledger.deliver((0, 1), 1, 1);
            },
            [0, 0, 2],
        );
        // The first one is missing, and the second one has come.
        check(
            |ledger| {
                acks(ledger);
                ledger.deliver((0, 1), 1, 2);
            },
            [1, 0, 0],
        );
    }
}
