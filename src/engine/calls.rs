//! Calls to users: a request to a user's connections, answered zero or more times.
//!
//! A call is recorded at the home of its key, so that a key names one call in the process, and at its caller's shard.
//! An answer goes to the key's home, which knows the caller's shard. Both lanes keep their order, so the answers of one
//! connection arrive in order.

use bytes::Bytes;

use super::take::Taken;
use super::{Asker, Delivery, Lanes, Outcome, Place, Request, Ticket, Turn};
use crate::collections::HashMap;
use crate::id::ShardId;

/// The calls whose home is this shard, by key.
#[derive(Debug, Default)]
pub(super) struct Calls(HashMap<Box<str>, Call>);

/// One call.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Call {
    /// The caller's shard.
    caller: ShardId,
    /// The caller's ticket there.
    ticket: Ticket,
    /// The user called: answers of other users are ignored.
    user: Box<str>,
}

/// The keys of callers at this shard that wait for answers.
#[derive(Debug, Default)]
pub(super) struct Callers(HashMap<Ticket, Box<str>>);

impl Calls {
    /// Records a call. Returns `false` if the key is in use.
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

    /// The caller of the call `key`, if `user` was called.
    ///
    /// Cost: one lookup.
    fn find(&self, key: &str, user: &str) -> Option<(ShardId, Ticket)> {
        let call = self.0.get(key).filter(|call| *call.user == *user)?;
        Some((call.caller, call.ticket))
    }

    /// Forgets a call, unless its key has been given to a later call.
    pub(super) fn close(&mut self, key: &str, caller: ShardId, ticket: Ticket) {
        let is_it = |call: &Call| (call.caller, call.ticket) == (caller, ticket);
        if self.0.get(key).is_some_and(is_it) {
            self.0.remove(key);
        }
        if self.0.capacity() / 4 > self.0.len().max(SHRINK_FROM) {
            self.0.shrink_to(self.0.len() * 2);
        }
    }
}

impl<L: Lanes> Turn<'_, L> {
    /// Calls `user` under the key `key`. An [`Outcome::Called`] for this ticket says whether the key was free; then
    /// [`Outcome::Answered`]s follow. The call ends with the last answer or with [`Self::hang_up`].
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

    /// Ends a call; later answers are dropped. Returns `true` if an [`Outcome::HungUp`] will confirm that its home has
    /// forgotten it; `false` if it has already.
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

    /// Passes `said`, the answer of `user` to the call `key`, to the caller. Dropped if no caller waits.
    ///
    /// Cost: one lookup and one copy; one more of each if the call's home is another shard.
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

    /// Passes an answer to the caller of a call whose home is this shard.
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

    /// An answer has come for a caller at this shard; the call may have ended.
    pub(super) fn take_answer(&mut self, ticket: Ticket, said: Bytes, is_last: bool) {
        if !self.engine.callers.0.contains_key(&ticket) {
            self.counters.answers_unclaimed.add(1);
            return;
        }
        if is_last {
            // The home forgot the call when it sent the last answer.
            self.engine.callers.0.remove(&ticket);
        }
        self.tell(Asker::Task(ticket), Outcome::Answered { said, is_last });
    }
}

/// Capacity of the table of calls below which it is not shrunk.
const SHRINK_FROM: usize = 256;

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
        assert!(calls.0.is_empty() && calls.0.capacity() <= 4 * SHRINK_FROM);
    }
}
