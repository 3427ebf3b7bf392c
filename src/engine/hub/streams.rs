//! The streams of a topic, by wire format.

use smallvec::SmallVec;

use super::stream::StreamId;
use crate::id::FormatId;

/// The streams of a topic: one for each format that it has been read in here, which is one for nearly all topics.
#[derive(Clone, Default, Debug)]
pub(super) struct TopicStreams(SmallVec<[(u8, StreamId); 2]>);

impl TopicStreams {
    /// The stream in `format`.
    ///
    /// Cost: a look at each of them.
    #[inline]
    pub(super) fn get(&self, format: FormatId) -> Option<StreamId> {
        let found = self.0.iter().find(|(number, _)| *number == format.number);
        found.map(|&(_, id)| id)
    }

    /// The same; `make` makes one where there is none.
    pub(super) fn get_or_insert_with(
        &mut self,
        format: FormatId,
        make: impl FnOnce() -> StreamId,
    ) -> StreamId {
        self.get(format).unwrap_or_else(|| {
            let id = make();
            self.0.push((format.number, id));
            id
        })
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = StreamId> {
        self.0.iter().map(|&(_, id)| id)
    }
}
