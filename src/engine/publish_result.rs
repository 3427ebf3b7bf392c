//! The result of a publication.

/// The result of a publication.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PublishResult {
    /// It is stored.
    Stored(Stored),
    /// It has been sent to its home; the answer will be an outcome.
    Forwarded,
    /// A log or a lane is full. Try again after the next flush, and do not read from the publisher until then.
    Busy,
    /// The topic is new and its home is at its topic limit.
    TooManyTopics,
}

/// A publication that is stored.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Stored {
    /// Its offset in the topic.
    pub offset: u64,
    /// Subscribers it has been queued for, as far as they are counted.
    pub members: u64,
    /// Other shards that will report how many subscribers they have.
    pub receipts: u16,
}
