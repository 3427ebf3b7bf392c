//! A set of sequence numbers that is only ever compared: a count and a sum of hashes.

use std::ops::Range;

/// Numbers that were added and not removed. Two equal values are the same set, but for a chance
/// of 2^-64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NumberSet {
    pub(crate) count: u64,
    sum: u64,
}

impl NumberSet {
    pub(crate) const NONE: Self = Self { count: 0, sum: 0 };

    /// Whether it says which numbers are in it: counts alone are added without.
    pub(crate) fn has_numbers(self) -> bool {
        self.sum != 0
    }

    /// Adds a number that is not known; the set no longer equals any other.
    pub(crate) fn add_unknown(&mut self) {
        self.count += 1;
    }

    pub(crate) fn add(&mut self, number: u32) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(hash(number));
    }

    pub(crate) fn add_range(&mut self, numbers: Range<u32>) {
        for number in numbers {
            self.add(number);
        }
    }

    /// Removes a number that is in the set.
    pub(crate) fn remove(&mut self, number: u32) {
        self.count -= 1;
        self.sum = self.sum.wrapping_sub(hash(number));
    }
}

/// The finaliser of MurmurHash3.
fn hash(number: u32) -> u64 {
    let x = (u64::from(number) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ x >> 33).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
    let x = (x ^ x >> 33).wrapping_mul(0xC4CE_B9FE_1A85_EC53);
    x ^ x >> 33
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_equal_whatever_the_order_and_differ_in_one_number() {
        let (mut one, mut other) = (NumberSet::NONE, NumberSet::NONE);
        one.add_range(3..6);
        for number in [5, 3, 9, 4] {
            other.add(number);
        }
        assert_ne!(one, other);
        other.remove(9);
        assert_eq!(one, other);
        other.remove(4);
        other.add(6);
        assert_eq!(one.count, other.count);
        assert_ne!(one, other);
    }
}
