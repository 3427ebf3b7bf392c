//! Counters that protocols register.

/// A counter that a protocol has registered, the same on all shards.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CounterId(pub(super) usize);

/// The registered counters by number: the name in `/metrics`, and what it counts.
#[derive(Default, Debug)]
pub struct CounterRegistry(pub(super) Vec<(&'static str, &'static str)>);

impl CounterRegistry {
    /// Registers the counter `name`, which by custom ends in `_total`; `help` says what it counts.
    pub fn register(&mut self, name: &'static str, help: &'static str) -> CounterId {
        self.0.push((name, help));
        CounterId(self.0.len() - 1)
    }
}
