//! The one lock that threads share state behind.

/// State that is touched when a connection comes or goes, or once for an HTTP request, and for no message but one that is
/// signed, where a repeat may come to any shard.
#[expect(clippy::disallowed_types, reason = "no plain message waits for it")]
#[derive(Default, Debug)]
pub struct Locked<T>(std::sync::Mutex<T>);

impl<T> Locked<T> {
    /// With this state.
    #[expect(clippy::disallowed_types, reason = "as above")]
    pub fn new(state: T) -> Self {
        Self(std::sync::Mutex::new(state))
    }

    /// The state, also after a panic of a thread that had it: what is kept here holds after every statement.
    pub fn lock(&self) -> std::sync::MutexGuard<'_, T> {
        let state = self.0.lock();
        state.unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
