//! Calls to users: who may answer, and who waits.
//!
//! A call is known in two places: at the home of its key, so that a key is one call's in the whole
//! process, and where its caller waits. An answer goes to the home, which knows the caller's place.
//! Both lanes keep their order, so the answers of a connection arrive as it gave them.

use bytes::Bytes;

use super::take::Taken;
use super::{Asker, Delivery, Lanes, Outcome, Place, Request, Ticket, Turn};
use crate::collections::HashMap;
use crate::id::ShardId;

/// The calls that live here.
#[derive(Debug, Default)]
pub(super) struct Calls(HashMap<Box<str>, Call>);

/// One call.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Call {
    /// Where the caller waits,
    caller: ShardId,
    /// by this ticket.
    ticket: Ticket,
    /// Who was asked: answers of others do not count.
    user: Box<str>,
}

/// The keys of those who wait for answers here.
#[derive(Debug, Default)]
pub(super) struct Callers(HashMap<Ticket, Box<str>>);

impl Calls {
    /// Notes a call. Returns whether none is known by this key already.
    pub(super) fn open(&mut self, key: &str, caller: ShardId, ticket: Ticket, user: &str) -> bool {
        if self.0.contains_key(key) {
            return false;
        }
        let call = Call {
            caller,
            ticket,
            user: user.into(),
        };
        self.0.insert(key.into(), call);
        true
    }

    /// Who waits for what `user` answers to the call known by `key`, if anybody does.
    ///
    /// Cost: one lookup.
    fn find(&self, key: &str, user: &str) -> Option<(ShardId, Ticket)> {
        let call = self.0.get(key).filter(|call| *call.user == *user)?;
        Some((call.caller, call.ticket))
    }

    /// Forgets a call, unless the key is another one's by now.
    pub(super) fn close(&mut self, key: &str, caller: ShardId, ticket: Ticket) {
        let is_it = |call: &Call| (call.caller, call.ticket) == (caller, ticket);
        if self.0.get(key).is_some_and(is_it) {
            self.0.remove(key);
        }
        if self.0.capacity() / 4 > self.0.len().max(SPARSE_FROM) {
            self.0.shrink_to(self.0.len() * 2);
        }
    }
}

impl<L: Lanes> Turn<'_, L> {
    /// Makes a call to `user` that is known by `key`. An [`Outcome::Called`] for this ticket says
    /// whether the key was free, and then come [`Outcome::Answered`]s. It ends with the last answer,
    /// or with [`Self::hang_up`].
    pub fn call(&mut self, key: &str, user: &str) -> Ticket {
        let ticket = self.engine.outcomes.ticket();
        self.engine.callers.0.insert(ticket, key.into());
        match self.engine.place_of(key) {
            Place::Here => {
                let (calls, shard) = (&mut self.engine.homes.calls, self.engine.shard);
                let is_free = calls.open(key, shard, ticket, user);
                self.tell(Asker::Task(ticket), Outcome::Called(is_free));
            }
            Place::Shard(home) => self.ask(
                home,
                Request::Call {
                    key: key.as_bytes(),
                    user: user.as_bytes(),
                    ticket,
                },
            ),
        }
        ticket
    }

    /// Ends a call: what is answered later goes nowhere. Returns whether an [`Outcome::HungUp`] will
    /// say that its home has forgotten it; otherwise it has by now.
    #[must_use]
    pub fn hang_up(&mut self, ticket: Ticket) -> bool {
        let Some(key) = self.engine.callers.0.remove(&ticket) else {
            return false;
        };
        match self.engine.place_of(&key) {
            Place::Here => {
                let shard = self.engine.shard;
                self.engine.homes.calls.close(&key, shard, ticket);
                false
            }
            Place::Shard(home) => {
                let key = key.as_bytes();
                self.ask(home, Request::HangUp { key, ticket });
                true
            }
        }
    }

    /// Gives `said`, the answer of `user` to the call known by `key`, to the caller; to nobody if
    /// none waits.
    ///
    /// Cost: one lookup and one copy; one more of each if the call is known elsewhere.
    pub fn answer(&mut self, key: &str, user: &str, said: &[u8], is_last: bool) -> Taken {
        let home = match self.engine.place_of(key) {
            Place::Here => return self.answer_here(key, user, said, is_last),
            Place::Shard(home) => home,
        };
        if self.lanes.requests_full(home) {
            return Taken::Stalled;
        }
        self.ask(
            home,
            Request::Answer {
                key: key.as_bytes(),
                user: user.as_bytes(),
                said,
                is_last,
            },
        );
        Taken::Done
    }

    /// Gives an answer to a call that lives here to its caller.
    pub(super) fn answer_here(
        &mut self,
        key: &str,
        user: &str,
        said: &[u8],
        is_last: bool,
    ) -> Taken {
        let Some((caller, ticket)) = self.engine.homes.calls.find(key, user) else {
            self.counters.answers_unclaimed.add(1);
            return Taken::Done;
        };
        if caller == self.engine.shard {
            self.take_answer(ticket, Bytes::copy_from_slice(said), is_last);
        } else {
            if self.lanes.deliveries_full(caller) {
                return Taken::Stalled;
            }
            let answered = Delivery::Answered {
                ticket,
                said,
                is_last,
            };
            self.lanes.deliver(caller, answered);
            self.engine.flush_wanted = true;
        }
        if is_last {
            self.engine.homes.calls.close(key, caller, ticket);
        }
        Taken::Done
    }

    /// An answer has come to a caller that waits here, or waited.
    pub(super) fn take_answer(&mut self, ticket: Ticket, said: Bytes, is_last: bool) {
        if !self.engine.callers.0.contains_key(&ticket) {
            self.counters.answers_unclaimed.add(1);
            return;
        }
        if is_last {
            // The home has forgotten the call when it sent this.
            self.engine.callers.0.remove(&ticket);
        }
        self.tell(Asker::Task(ticket), Outcome::Answered { said, is_last });
    }
}

/// Calls that there has to be room for before it is given back.
const SPARSE_FROM: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: ShardId = ShardId(1);

    #[test]
    fn only_who_was_asked_answers_and_a_key_is_one_calls() {
        let mut calls = Calls::default();
        assert!(calls.open("c", ONE, Ticket(7), "bob"));
        assert!(!calls.open("c", ShardId(2), Ticket(8), "bob"));
        assert_eq!(calls.find("c", "bob"), Some((ONE, Ticket(7))));
        assert_eq!(calls.find("c", "eve"), None);
        assert_eq!(calls.find("d", "bob"), None);
    }

    #[test]
    fn a_call_that_ends_late_ends_no_other() {
        let mut calls = Calls::default();
        assert!(calls.open("c", ONE, Ticket(7), "bob"));
        calls.close("c", ONE, Ticket(7));
        assert!(calls.open("c", ONE, Ticket(8), "bob"));
        calls.close("c", ONE, Ticket(7));
        calls.close("c", ShardId(0), Ticket(8));
        assert_eq!(calls.find("c", "bob"), Some((ONE, Ticket(8))));
        calls.close("c", ONE, Ticket(8));
        assert!(calls.0.is_empty());
    }

    #[test]
    fn memory_follows_the_number_of_calls() {
        let mut calls = Calls::default();
        for number in 0..100_000 {
            assert!(calls.open(&number.to_string(), ONE, Ticket(number), "bob"));
        }
        for number in 0..100_000 {
            calls.close(&number.to_string(), ONE, Ticket(number));
        }
        assert!(calls.0.is_empty() && calls.0.capacity() <= 4 * SPARSE_FROM);
    }
}
