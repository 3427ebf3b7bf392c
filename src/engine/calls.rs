//! Calls that wait for answers, at the home of what they are known by: who may
//! answer, and who waits (spec/bridge.md 1.3).

use crate::collections::HashMap;
use crate::id::ShardId;

/// The calls that a shard is home to.
#[derive(Debug, Default)]
pub struct Calls(HashMap<Box<str>, Call>);

/// One call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Call {
    /// Where the caller waits.
    pub caller: ShardId,
    /// Its number there.
    pub number: u64,
    /// Who was asked: nobody else's answers count.
    pub user: Box<str>,
}

impl Calls {
    /// Notes a call. Returns whether none is known by this key already.
    pub fn open(&mut self, key: &str, call: Call) -> bool {
        if self.0.contains_key(key) {
            return false;
        }
        self.0.insert(key.into(), call);
        true
    }

    /// Who waits for what `user` answers to the call known by `key`, if anybody does.
    ///
    /// Cost: one lookup.
    #[must_use]
    pub fn find(&self, key: &str, user: &str) -> Option<(ShardId, u64)> {
        let call = self.0.get(key).filter(|call| *call.user == *user)?;
        Some((call.caller, call.number))
    }

    /// Forgets a call, unless the key is another one's by now.
    pub fn close(&mut self, key: &str, caller: ShardId, number: u64) {
        let is_it = |call: &Call| (call.caller, call.number) == (caller, number);
        if self.0.get(key).is_some_and(is_it) {
            self.0.remove(key);
        }
        if self.0.capacity() / 4 > self.0.len().max(SPARSE_FROM) {
            self.0.shrink_to(self.0.len() * 2);
        }
    }

    /// How many calls are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no call is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Calls that there has to be room for before it is given back.
const SPARSE_FROM: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn call(caller: u16, number: u64, user: &str) -> Call {
        Call {
            caller: ShardId(caller),
            number,
            user: user.into(),
        }
    }

    #[test]
    fn only_who_was_asked_answers_and_a_key_is_one_calls() {
        let mut calls = Calls::default();
        assert!(calls.open("c", call(1, 7, "bob")));
        assert!(!calls.open("c", call(2, 8, "bob")));
        assert_eq!(calls.find("c", "bob"), Some((ShardId(1), 7)));
        assert_eq!(calls.find("c", "eve"), None);
        assert_eq!(calls.find("d", "bob"), None);
    }

    #[test]
    fn a_call_that_ends_late_ends_no_other() {
        let mut calls = Calls::default();
        assert!(calls.open("c", call(1, 7, "bob")));
        calls.close("c", ShardId(1), 7);
        assert!(calls.open("c", call(1, 8, "bob")));
        calls.close("c", ShardId(1), 7);
        calls.close("c", ShardId(0), 8);
        assert_eq!(calls.find("c", "bob"), Some((ShardId(1), 8)));
        calls.close("c", ShardId(1), 8);
        assert!(calls.is_empty());
    }

    #[test]
    fn memory_follows_the_number_of_calls() {
        let mut calls = Calls::default();
        for number in 0..100_000 {
            assert!(calls.open(&number.to_string(), call(0, number, "bob")));
        }
        for number in 0..100_000 {
            calls.close(&number.to_string(), ShardId(0), number);
        }
        assert!(calls.is_empty() && calls.0.capacity() <= 4 * SPARSE_FROM);
    }
}
