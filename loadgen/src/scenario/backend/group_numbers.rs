//! Which object has which number of the group: a number is used once, and kept when the object
//! comes again.

/// Numbers remembered, more than a group may have unacknowledged by default.
const NUMBERS: usize = 1 << 18;

/// The number of no object.
const NONE: u64 = u64::MAX;

/// What a number stands for: a client's message, or what a connection did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Numbered {
    pub(crate) whose: u32,
    pub(crate) which: u32,
}

impl Numbered {
    /// The message of `client` with this sequence number.
    pub(crate) fn message(client: u32, sequence: u32) -> Self {
        Self {
            whose: client,
            which: sequence,
        }
    }

    /// That a connection came, or left.
    pub(crate) fn connection(number: u32, left: bool) -> Self {
        Self {
            whose: u32::MAX - u32::from(left),
            which: number,
        }
    }
}

/// The last numbers.
#[derive(Debug)]
pub(crate) struct GroupNumbers(Vec<(u64, Numbered)>);

impl Default for GroupNumbers {
    fn default() -> Self {
        Self(vec![(NONE, Numbered::message(0, 0)); NUMBERS])
    }
}

impl GroupNumbers {
    /// An object comes for the first time; false if its number was used before.
    #[inline]
    pub(crate) fn first(&mut self, n: u64, object: Numbered) -> bool {
        let slot = &mut self.0[n as usize % NUMBERS];
        let is_new = slot.0 != n;
        *slot = (n, object);
        is_new
    }

    /// Whether an object that had come before may have this number: the one that it had, as far as
    /// that is remembered.
    pub(crate) fn is_kept(&self, n: u64, object: Numbered) -> bool {
        match self.0[n as usize % NUMBERS] {
            (number, known) if number == n => known == object,
            // A larger one took its place. A smaller one says that this one is new.
            (number, _) => number != NONE && number > n,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_used_once_and_kept() {
        let mut numbers = GroupNumbers::default();
        let (one, other) = (Numbered::message(1, 1), Numbered::message(1, 2));
        assert!(numbers.first(5, one));
        assert!(numbers.is_kept(5, one));
        assert!(!numbers.is_kept(5, other));
        assert!(!numbers.is_kept(6, one));
        assert!(!numbers.first(5, other));
        let later = 5 + NUMBERS as u64;
        assert!(numbers.first(later, one));
        assert!(numbers.is_kept(5, other), "forgotten");
    }

    #[test]
    fn connections_have_numbers_of_their_own() {
        let mut numbers = GroupNumbers::default();
        assert!(numbers.first(1, Numbered::connection(0, false)));
        assert!(numbers.first(2, Numbered::connection(0, true)));
        assert!(numbers.is_kept(1, Numbered::connection(0, false)));
        assert!(!numbers.is_kept(1, Numbered::connection(0, true)));
    }
}
