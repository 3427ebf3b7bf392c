//! Counts of deliveries and faults.

use serde::Serialize;

/// Outcomes of deliveries; everything but `received` is a fault.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    /// Whole messages, each counted once.
    pub(crate) received: u64,
    /// Messages that did not arrive although later ones did.
    pub(crate) lost: u64,
    pub(crate) duplicated: u64,
    /// Messages that arrived after a later one of the same publisher and topic.
    pub(crate) reordered: u64,
    /// Frames that are not an unchanged event.
    pub(crate) corrupt: u64,
    /// Unchanged events on a wrong connection or under a wrong name.
    pub(crate) misrouted: u64,
    /// Whole messages whose epoch or offset is not that of their place in the topic.
    pub(crate) misnumbered: u64,
    /// Frames that are not events, such as notices; not a fault.
    pub(crate) other: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, other: Self) {
        self.received += other.received;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.corrupt += other.corrupt;
        self.misrouted += other.misrouted;
        self.misnumbered += other.misnumbered;
        self.other += other.other;
    }

    pub(crate) fn faults(self) -> u64 {
        self.lost
            + self.duplicated
            + self.reordered
            + self.corrupt
            + self.misrouted
            + self.misnumbered
    }
}
