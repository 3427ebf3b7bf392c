//! Which broadcasts a connection was given and has not said to have delivered.

use std::collections::VecDeque;

/// Broadcasts that are kept. Beyond it the rest counts as not delivered.
const PUSHED_MAX: usize = 4096;

/// The broadcasts that were put into one mailbox, until they are delivered.
#[derive(Default, Debug)]
pub(super) struct PushedBroadcasts {
    /// Their ids, which rise.
    ids: VecDeque<i64>,
    /// One that was not kept: it may not have been delivered.
    lost: Option<i64>,
}

impl PushedBroadcasts {
    /// This one was put into the mailbox.
    pub(super) fn push(&mut self, id: i64) {
        if self.ids.len() < PUSHED_MAX && self.lost.is_none() {
            self.ids.push_back(id);
        } else {
            self.lost.get_or_insert(id);
        }
    }

    /// These messages were delivered, broadcasts or not.
    pub(super) fn remove(&mut self, delivered: &[i64]) {
        for id in delivered {
            if self.ids.front() == Some(id) {
                self.ids.pop_front();
            } else if let Ok(at) = self.ids.binary_search(id) {
                self.ids.remove(at);
            }
        }
    }

    /// All up to which id were delivered, where the mailbox was given all up to `given`.
    pub(super) fn delivered_to(&self, given: i64) -> i64 {
        let first = self.ids.front().copied().or(self.lost);
        first.map_or(given, |first| given.min(first - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_delivered_ends_before_the_first_that_was_not() {
        let mut pushed = PushedBroadcasts::default();
        assert_eq!(pushed.delivered_to(9), 9);
        for id in [10, 12, 15] {
            pushed.push(id);
        }
        assert_eq!(pushed.delivered_to(20), 9);
        pushed.remove(&[11, 12]);
        assert_eq!(pushed.delivered_to(20), 9);
        pushed.remove(&[10]);
        assert_eq!(pushed.delivered_to(20), 14);
        pushed.remove(&[15, 16]);
        assert_eq!(pushed.delivered_to(20), 20);
    }

    #[test]
    fn what_is_not_kept_counts_as_not_delivered() {
        let mut pushed = PushedBroadcasts::default();
        let end = PUSHED_MAX as i64 + 10;
        (1..=end).for_each(|id| pushed.push(id));
        pushed.remove(&(1..=end).collect::<Vec<_>>());
        assert_eq!(pushed.delivered_to(end), PUSHED_MAX as i64);
    }
}
