//! The order in which peers are written to: four queues, served round-robin.
//!
//! Peers with private output, and with output of small, medium and large topics, have a queue ("line") each. However
//! long one of them is, each of the others gets every fourth write.

use std::collections::VecDeque;

use crate::id::Slot;

/// The queue that a peer is in.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) enum Line {
    /// Not queued.
    #[default]
    None,
    /// Peers with private output; their topics are written along with it.
    Private,
    /// Peers with output of a topic with few members (see `line_of` in the hub).
    Small,
    /// Peers with output of a topic of medium size.
    Medium,
    /// Peers with output of large topics only.
    Large,
}

const LINES: usize = 4;

/// The queues of peers with something to write.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// One queue for each line. The queue of large topics may hold stale entries of peers that moved to another one.
    lines: [VecDeque<Slot>; LINES],
    /// The queue to serve next.
    next: usize,
}

impl Turns {
    /// Queues a peer, unless it is in a queue that is served at least as soon.
    pub(super) fn enqueue(&mut self, slot: Slot, current: &mut Line, line: Line) {
        let moves = match *current {
            Line::None => true,
            Line::Large => line != Line::Large,
            Line::Medium => matches!(line, Line::Private | Line::Small),
            Line::Private | Line::Small => false,
        };
        if moves && let Some(index) = index_of(line) {
            self.lines[index].push_back(slot);
            *current = line;
        }
    }

    /// The next peer to write to. Stale entries are returned too.
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

    /// Entries in the queue of a line.
    pub(super) fn len(&self, line: Line) -> usize {
        index_of(line).map_or(0, |index| self.lines[index].len())
    }

    /// Whether all queues are empty.
    pub(super) fn is_empty(&self) -> bool {
        self.lines.iter().all(VecDeque::is_empty)
    }
}

fn index_of(line: Line) -> Option<usize> {
    match line {
        Line::None => None,
        Line::Private => Some(0),
        Line::Small => Some(1),
        Line::Medium => Some(2),
        Line::Large => Some(3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_take_turns_and_one_takes_all_when_it_is_alone() {
        let mut turns = Turns::default();
        for (line, slots) in [
            (Line::Large, 0..4),
            (Line::Medium, 10..12),
            (Line::Private, 20..23),
            (Line::Small, 30..31),
        ] {
            for slot in slots {
                turns.enqueue(Slot(slot), &mut Line::default(), line);
            }
        }
        let order: Vec<u32> = std::iter::from_fn(|| turns.next())
            .map(|slot| slot.0)
            .collect();
        assert_eq!(order, [20, 30, 10, 0, 21, 11, 1, 22, 2, 3]);
        assert!(turns.is_empty());
    }

    #[test]
    fn a_peer_with_other_output_leaves_the_line_of_large_topics() {
        let mut turns = Turns::default();
        let mut line = Line::default();
        turns.enqueue(Slot(1), &mut line, Line::Large);
        turns.enqueue(Slot(1), &mut line, Line::Large);
        assert_eq!((line, turns.len(Line::Large)), (Line::Large, 1));
        turns.enqueue(Slot(1), &mut line, Line::Medium);
        turns.enqueue(Slot(1), &mut line, Line::Private);
        turns.enqueue(Slot(1), &mut line, Line::Large);
        assert_eq!((line, turns.len(Line::Private)), (Line::Private, 1));
        turns.enqueue(Slot(1), &mut line, Line::Small);
        assert_eq!((line, turns.len(Line::Small)), (Line::Private, 0));
    }
}
