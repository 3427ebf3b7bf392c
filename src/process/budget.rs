//! Bytes that the whole process may hold for one purpose, whoever makes it hold them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A limit of bytes, and how many of them are held.
#[derive(Debug)]
pub struct ByteBudget {
    held: AtomicUsize,
    max: usize,
}

/// What one holder has of a budget. Dropping it gives it back.
#[derive(Debug)]
pub struct Reservation {
    budget: Arc<ByteBudget>,
    bytes: usize,
}

impl ByteBudget {
    /// A budget of `max` bytes, none of which are held.
    #[must_use]
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            held: AtomicUsize::new(0),
            max,
        })
    }

    /// A holder that has nothing yet.
    #[must_use]
    pub fn hold(self: &Arc<Self>) -> Reservation {
        Reservation {
            budget: self.clone(),
            bytes: 0,
        }
    }

    /// Bytes that are held now.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Takes so many bytes more, until they are [given back](Self::give). Returns whether they were there; if not,
    /// nothing is taken.
    ///
    /// Cost: one locked instruction.
    #[must_use]
    pub fn take(&self, bytes: usize) -> bool {
        let before = self.held.fetch_add(bytes, Ordering::Relaxed);
        let is_there = before.saturating_add(bytes) <= self.max;
        if !is_there {
            self.give(bytes);
        }
        is_there
    }

    /// Gives so many bytes back.
    pub fn give(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Reservation {
    /// Holds so many bytes now. Returns whether there were as many; if not, as many are held as before.
    ///
    /// Cost: one locked instruction if it is another number than before.
    #[must_use]
    pub fn set(&mut self, bytes: usize) -> bool {
        let is_there = bytes <= self.bytes || self.budget.take(bytes - self.bytes);
        if is_there {
            self.budget.give(self.bytes.saturating_sub(bytes));
            self.bytes = bytes;
        }
        is_there
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.give(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_shared_and_comes_back() {
        let budget = ByteBudget::new(100);
        let (mut first, mut second) = (budget.hold(), budget.hold());
        assert!(first.set(60));
        assert!(!second.set(41));
        assert!(second.set(40));
        assert_eq!(budget.held(), 100);
        assert!(first.set(30));
        assert!(second.set(70));
        drop(first);
        assert_eq!(budget.held(), 70);
        assert!(!budget.take(31));
        assert!(budget.take(30));
        budget.give(30);
        drop(second);
        assert_eq!(budget.held(), 0);
    }
}
