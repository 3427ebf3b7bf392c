//! Checks the epochs and offsets that messages carry, in protocols where they do.

/// What the next message of each topic must say, at each of its subscribers.
#[derive(Debug)]
pub(super) struct Stamps {
    topics: usize,
    /// By topic; none before its first message.
    epochs: Vec<Option<Box<[u8]>>>,
    /// By replica, topic.
    next: Vec<u64>,
}

impl Stamps {
    pub(super) fn new(topics: usize, replicas: usize) -> Self {
        Self {
            topics,
            epochs: vec![None; topics],
            next: vec![0; topics * replicas],
        }
    }

    /// Whether `offset` is that of the next message of this (replica, topic).
    #[inline]
    pub(super) fn is_next(&self, order: usize, offset: u64) -> bool {
        self.next[order] == offset
    }

    /// The next message of this (replica, topic) was taken.
    #[inline]
    pub(super) fn advance(&mut self, order: usize) {
        self.next[order] += 1;
    }

    /// Takes a message and says whether its stamp, epoch and offset, is right. `ahead` is how many messages of its publisher
    /// are missing before it, or, below 0, how far it is behind. The first message of a topic says where
    /// the topic begins.
    ///
    /// With several publishers a late message is only known to be from before the next one.
    pub(super) fn take(
        &mut self,
        order: usize,
        stamp: Option<(&[u8], u64)>,
        (ahead, has_one_publisher): (i64, bool),
    ) -> bool {
        let Some((epoch, offset)) = stamp else {
            return false;
        };
        let topic = order % self.topics;
        if self.epochs[topic].is_none() {
            self.epochs[topic] = Some(epoch.into());
            let first = offset.saturating_add_signed(-ahead);
            for next in self.next.iter_mut().skip(topic).step_by(self.topics) {
                *next = first;
            }
        }
        let is_same_epoch = self.epochs[topic].as_deref() == Some(epoch);
        let next = &mut self.next[order];
        let is_right = if ahead < 0 && !has_one_publisher {
            offset < *next
        } else {
            next.checked_add_signed(ahead) == Some(offset)
        };
        if ahead >= 0 {
            *next = next.saturating_add_signed(ahead + 1);
        }
        is_same_epoch && is_right
    }
}
