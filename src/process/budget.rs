//! A budget of bytes for one purpose, shared by the whole process.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A limit of bytes, and how many are reserved.
#[derive(Debug)]
pub struct ByteBudget {
    held: AtomicUsize,
    max: usize,
}

/// Bytes reserved from a budget. Dropping it releases them.
#[derive(Debug)]
pub struct Reservation {
    budget: Arc<ByteBudget>,
    bytes: usize,
}

impl ByteBudget {
    /// A budget of `max` bytes.
    #[must_use]
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            held: AtomicUsize::new(0),
            max,
        })
    }

    /// A reservation of 0 bytes.
    #[must_use]
    pub fn hold(self: &Arc<Self>) -> Reservation {
        Reservation {
            budget: self.clone(),
            bytes: 0,
        }
    }

    /// Bytes that are reserved.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Reserves `bytes` until [`Self::give`]. Returns whether they were available; if not, nothing is reserved.
    ///
    /// Cost: one locked instruction.
    #[must_use]
    pub fn take(&self, bytes: usize) -> bool {
        let before = self.held.fetch_add(bytes, Ordering::Relaxed);
        let is_available = before.saturating_add(bytes) <= self.max;
        if !is_available {
            self.give(bytes);
        }
        is_available
    }

    /// Releases `bytes`.
    pub fn give(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Reservation {
    /// Sets the reservation to `bytes`. Returns whether they were available; if not, it is unchanged.
    ///
    /// Cost: one locked instruction if the number changes.
    #[must_use]
    pub fn set(&mut self, bytes: usize) -> bool {
        let is_available = bytes <= self.bytes || self.budget.take(bytes - self.bytes);
        if is_available {
            self.budget.give(self.bytes.saturating_sub(bytes));
            self.bytes = bytes;
        }
        is_available
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
