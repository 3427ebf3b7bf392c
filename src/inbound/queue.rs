//! Objects that wait, oldest first, of which messages may have to give way.

use std::collections::VecDeque;

use super::kind::ObjectKind;
use crate::id::AnyPeer;

/// An object of a group that nobody has acknowledged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Pending {
    /// Its number in the group.
    pub(super) n: u64,
    /// The client's connection; `None` for a gap.
    pub(super) connection: Option<AnyPeer>,
    /// Its kind.
    pub(super) kind: ObjectKind,
    /// How often it has been sent.
    pub(super) deliveries: u32,
    /// When it came, in milliseconds since the process began.
    pub(super) time_ms: u64,
    /// Its fields as JSON, without braces and without those that a member adds. Empty if it has given way.
    pub(super) body: Box<[u8]>,
}

impl Pending {
    fn has_given_way(&self) -> bool {
        self.body.is_empty()
    }
}

/// Objects that wait.
#[derive(Default, Debug)]
pub(super) struct Queue {
    objects: VecDeque<Pending>,
    /// Those that have given way.
    gone: usize,
    /// Every message before this index has given way.
    searched: usize,
}

impl Queue {
    /// Objects that wait.
    pub(super) fn len(&self) -> usize {
        self.objects.len() - self.gone
    }

    pub(super) fn push_back(&mut self, object: Pending) {
        self.objects.push_back(object);
    }

    pub(super) fn push_front(&mut self, object: Pending) {
        self.objects.push_front(object);
        self.searched = 0;
    }

    /// The oldest object.
    pub(super) fn front(&mut self) -> Option<&Pending> {
        while self.objects.front().is_some_and(Pending::has_given_way) {
            self.take_first();
            self.gone -= 1;
        }
        self.objects.front()
    }

    /// Takes the oldest object.
    pub(super) fn pop_front(&mut self) -> Option<Pending> {
        self.front()?;
        self.take_first()
    }

    /// Takes all objects, the newest first.
    pub(super) fn drain_from_back(&mut self) -> impl Iterator<Item = Pending> {
        let all = std::mem::take(self);
        let objects = all.objects.into_iter().rev();
        objects.filter(|object| !object.has_given_way())
    }

    fn take_first(&mut self) -> Option<Pending> {
        let first = self.objects.pop_front()?;
        self.searched = self.searched.saturating_sub(1);
        if self.objects.is_empty() && self.objects.capacity() > CAPACITY_KEPT_MAX {
            self.objects = VecDeque::new();
        }
        Some(first)
    }

    /// Removes the oldest message. Returns its text.
    ///
    /// Cost: a step for each object since the last one that was removed; now and then a look at all.
    pub(super) fn evict(&mut self) -> Option<Box<[u8]>> {
        let mut behind = self.objects.iter_mut().skip(self.searched);
        let may_go = |object: &Pending| {
            object.kind == ObjectKind::Message && object.deliveries == 0 && !object.has_given_way()
        };
        let Some(at) = behind.position(|object| may_go(object)) else {
            self.searched = self.objects.len();
            return None;
        };
        self.searched += at;
        let body = std::mem::take(&mut self.objects[self.searched].body);
        self.searched += 1;
        self.gone += 1;
        if self.gone > GONE_KEPT_MAX && self.gone > self.objects.len() / 2 {
            self.objects.retain(|object| !object.has_given_way());
            (self.gone, self.searched) = (0, 0);
        }
        Some(body)
    }

    /// When the oldest one came.
    pub(super) fn oldest_ms(&self) -> Option<u64> {
        let mut here = self.objects.iter().filter(|object| !object.has_given_way());
        here.next().map(|object| object.time_ms)
    }
}

/// Capacity that a queue keeps when it empties.
const CAPACITY_KEPT_MAX: usize = 4096;

/// Objects that have given way and are not looked for.
const GONE_KEPT_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn object(n: u64, kind: ObjectKind) -> Pending {
        Pending {
            n,
            connection: None,
            kind,
            deliveries: 0,
            time_ms: n,
            body: n.to_string().into_bytes().into(),
        }
    }

    #[test]
    fn the_oldest_message_gives_way_and_nothing_else() {
        let mut queue = Queue::default();
        let kind = |n: u64| match n % 3 {
            0 => ObjectKind::Connect,
            _ => ObjectKind::Message,
        };
        let mut evicted = Vec::new();
        for n in 0..3000 {
            queue.push_back(object(n, kind(n)));
            if queue.len() > 1500 {
                evicted.extend(queue.evict());
            }
        }
        let texts = (0..3000).filter(|n| kind(*n) == ObjectKind::Message);
        let texts: Vec<Box<[u8]>> = texts.map(|n| object(n, kind(n)).body).collect();
        assert_eq!(evicted.len(), 1500);
        assert_eq!(evicted, texts[..1500]);
        assert_eq!(queue.len(), 1500);
        assert!(queue.objects.len() < 3100, "those that are gone go in time");
        let left = std::iter::from_fn(|| queue.pop_front());
        let left: Vec<u64> = left.map(|object| object.n).collect();
        assert_eq!(left.len(), 1500);
        assert!(left.is_sorted());
        assert_eq!(left.iter().filter(|n| *n % 3 == 0).count(), 1000);
        assert_eq!(queue.evict(), None);
    }
}
