//! Whose turn it is to be written to.
//!
//! The members of a large topic stand in a line of their own, which takes every
//! other turn: a message of a small topic does not wait until a large one has been
//! written to everybody.

use std::collections::VecDeque;

use crate::id::Slot;

/// The line a peer stands in.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) enum Line {
    /// None.
    #[default]
    Nowhere,
    /// The peers with something of their own, or of topics with few members.
    Few,
    /// The peers with something of a topic with many members, and nothing else.
    Crowd,
}

/// Peers with something to write.
#[derive(Debug, Default)]
pub(super) struct Turns {
    few: VecDeque<Slot>,
    /// Some of these may have moved on to the other line.
    crowd: VecDeque<Slot>,
    /// Whose turn it is if there is somebody in both lines.
    crowd_is_next: bool,
}

impl Turns {
    /// Puts a peer in a line, unless it stands there or in a better one already.
    pub(super) fn stand(&mut self, slot: Slot, stands: &mut Line, line: Line) {
        match (*stands, line) {
            (Line::Nowhere | Line::Crowd, Line::Few) => self.few.push_back(slot),
            (Line::Nowhere, Line::Crowd) => self.crowd.push_back(slot),
            _ => return,
        }
        *stands = line;
    }

    /// The next one. Whoever has left its line meanwhile is still named.
    pub(super) fn next(&mut self) -> Option<Slot> {
        let crowd_is_next = self.crowd_is_next;
        self.crowd_is_next = !crowd_is_next;
        let (first, second) = match crowd_is_next {
            true => (&mut self.crowd, &mut self.few),
            false => (&mut self.few, &mut self.crowd),
        };
        first.pop_front().or_else(|| second.pop_front())
    }

    /// How many stand in a line.
    pub(super) fn len(&self, line: Line) -> usize {
        match line {
            Line::Nowhere => 0,
            Line::Few => self.few.len(),
            Line::Crowd => self.crowd.len(),
        }
    }

    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.few.is_empty() && self.crowd.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_takes_every_other_turn_and_all_when_it_is_alone() {
        let mut turns = Turns::default();
        for slot in 0..4 {
            turns.stand(Slot(slot), &mut Line::default(), Line::Crowd);
        }
        for slot in 10..12 {
            turns.stand(Slot(slot), &mut Line::default(), Line::Few);
        }
        let order: Vec<u32> = std::iter::from_fn(|| turns.next())
            .map(|slot| slot.0)
            .collect();
        assert_eq!(order, [10, 0, 11, 1, 2, 3]);
        assert!(turns.is_empty());
    }

    #[test]
    fn whoever_has_something_else_to_get_leaves_the_crowd() {
        let mut turns = Turns::default();
        let mut stands = Line::default();
        turns.stand(Slot(1), &mut stands, Line::Crowd);
        turns.stand(Slot(1), &mut stands, Line::Crowd);
        assert_eq!((stands, turns.len(Line::Crowd)), (Line::Crowd, 1));
        turns.stand(Slot(1), &mut stands, Line::Few);
        turns.stand(Slot(1), &mut stands, Line::Crowd);
        assert_eq!((stands, turns.len(Line::Few)), (Line::Few, 1));
    }
}
