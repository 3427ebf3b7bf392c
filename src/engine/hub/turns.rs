//! Whose turn it is to be written to.
//!
//! What peers are sent in private, topics with a handful of members, those with few and those with many
//! have a line each, and the lines take turns: however much waits in one of them, the others get every
//! fourth write.

use std::collections::VecDeque;

use crate::id::Slot;

/// The line a peer stands in.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) enum Line {
    /// None.
    #[default]
    Nowhere,
    /// The peers with something of their own. They are written what their topics have, too.
    Private,
    /// The peers with something of a topic with a handful of members.
    Handful,
    /// The peers with something of a topic with few members.
    Few,
    /// The peers with something of a topic with many members, and nothing else.
    Crowd,
}

const LINES: usize = 4;

/// Peers with something to write.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// In the order of their turns. Some of the last one's may have moved on to another line.
    lines: [VecDeque<Slot>; LINES],
    /// Whose turn it is.
    next: usize,
}

impl Turns {
    /// Puts a peer in a line, unless it stands in one already that is as short for it.
    pub(super) fn stand(&mut self, slot: Slot, stands: &mut Line, line: Line) {
        let moves = match *stands {
            Line::Nowhere => true,
            Line::Crowd => line != Line::Crowd,
            Line::Few => matches!(line, Line::Private | Line::Handful),
            Line::Private | Line::Handful => false,
        };
        if moves && let Some(index) = index_of(line) {
            self.lines[index].push_back(slot);
            *stands = line;
        }
    }

    /// The next one. A peer that has left its line meanwhile is still named.
    pub(super) fn next(&mut self) -> Option<Slot> {
        for _ in 0..LINES {
            let line = &mut self.lines[self.next];
            self.next = (self.next + 1) % LINES;
            if let Some(slot) = line.pop_front() {
                return Some(slot);
            }
        }
        None
    }

    /// How many stand in a line.
    pub(super) fn len(&self, line: Line) -> usize {
        index_of(line).map_or(0, |index| self.lines[index].len())
    }

    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.lines.iter().all(VecDeque::is_empty)
    }
}

fn index_of(line: Line) -> Option<usize> {
    match line {
        Line::Nowhere => None,
        Line::Private => Some(0),
        Line::Handful => Some(1),
        Line::Few => Some(2),
        Line::Crowd => Some(3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_take_turns_and_one_takes_all_when_it_is_alone() {
        let mut turns = Turns::default();
        for (line, slots) in [
            (Line::Crowd, 0..4),
            (Line::Few, 10..12),
            (Line::Private, 20..23),
            (Line::Handful, 30..31),
        ] {
            for slot in slots {
                turns.stand(Slot(slot), &mut Line::default(), line);
            }
        }
        let order: Vec<u32> = std::iter::from_fn(|| turns.next())
            .map(|slot| slot.0)
            .collect();
        assert_eq!(order, [20, 30, 10, 0, 21, 11, 1, 22, 2, 3]);
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
        turns.stand(Slot(1), &mut stands, Line::Private);
        turns.stand(Slot(1), &mut stands, Line::Crowd);
        assert_eq!((stands, turns.len(Line::Private)), (Line::Private, 1));
        turns.stand(Slot(1), &mut stands, Line::Handful);
        assert_eq!((stands, turns.len(Line::Handful)), (Line::Private, 0));
    }
}
