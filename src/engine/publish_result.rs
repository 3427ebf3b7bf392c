//! What comes of a publication.

/// What became of a publication.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PublishResult {
    /// It is stored.
    Stored(Stored),
    /// It is on its way to its home, whose answer will be an outcome.
    Forwarded,
    /// There is no room. Try again after the next flush, and read no more from its publisher until
    /// then.
    Busy,
    /// There are too many topics to make a new one.
    TooManyTopics,
}

/// A publication that is stored.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Stored {
    /// At this offset of its topic.
    pub offset: u64,
    /// Subscribers that have it queued, as far as they have been counted.
    pub members: u64,
    /// Other places that have been asked to say how many subscribers they have.
    pub receipts: u16,
}
