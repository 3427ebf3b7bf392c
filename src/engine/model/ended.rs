//! Ended memberships whose client has not read the reply yet: their messages may still arrive.

use super::label::label_of;
use super::track::Track;
use crate::topic::Pattern;

/// Ended memberships and patterns, oldest first, each with the number of its unsubscription.
#[derive(Debug, Default)]
pub(super) struct Ended {
    tracks: Vec<(u32, String, Track)>,
    patterns: Vec<(u32, Pattern)>,
    /// The number of the newest unsubscription.
    number: u32,
}

impl Ended {
    /// The number of the next unsubscription.
    pub(super) fn next(&mut self) -> u32 {
        self.number += 1;
        self.number
    }

    pub(super) fn put(&mut self, name: &str, track: Track) {
        self.tracks.push((self.number, name.into(), track));
    }

    pub(super) fn put_pattern(&mut self, pattern: Pattern) {
        self.patterns.push((self.number, pattern));
    }

    /// The oldest membership of a topic that has ended.
    pub(super) fn find(&mut self, name: &str) -> Option<&mut Track> {
        let mut tracks = self.tracks.iter_mut();
        tracks
            .find(|(_, known, _)| known == name)
            .map(|(.., track)| track)
    }

    /// The unsubscription of the newest pattern that matches a topic; 0 if there is none.
    pub(super) fn covers(&self, name: &str) -> u32 {
        let mut patterns = self.patterns.iter().rev();
        let newest = patterns.find(|(_, pattern)| pattern.matches(name));
        newest.map_or(0, |(number, _)| *number)
    }

    /// Whether the pattern with this label has ended.
    pub(super) fn has_pattern(&self, label: &str) -> bool {
        let mut patterns = self.patterns.iter();
        patterns.any(|(_, pattern)| label_of(pattern) == label)
    }

    /// The newest unsubscription whose reply has not been read.
    pub(super) fn newest(&self) -> u32 {
        let newest = self.patterns.last();
        newest.map_or(0, |(number, _)| *number)
    }

    /// The client has read the reply to an unsubscription.
    pub(super) fn forget(&mut self, until: u32) {
        self.tracks.retain(|(number, ..)| *number > until);
        self.patterns.retain(|(number, _)| *number > until);
    }

    /// Forgets memberships of a topic.
    pub(super) fn forget_track(&mut self, name: &str) {
        self.tracks.retain(|(_, known, _)| known != name);
    }

    /// Forgets memberships. Patterns are remembered.
    pub(super) fn forget_tracks(&mut self) {
        self.tracks.clear();
    }
}
