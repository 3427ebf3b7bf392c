//! A handle to a shard for code that has to be `Send`.

use std::ops::Deref;
use std::rc::Rc;

use fragile::Fragile;

use super::Shard;

/// A shard as HTTP handlers hold it: axum requires their futures to be `Send`, although they never leave the shard's
/// thread.
///
/// Cost: one comparison of thread numbers per use.
///
/// # Panics
/// When it is used, or dropped, on another thread than the shard's.
#[derive(Clone, Debug)]
pub struct Handle(Fragile<Rc<Shard>>);

impl Handle {
    /// A handle to `shard`, for use on its own thread.
    #[must_use]
    pub fn new(shard: Rc<Shard>) -> Self {
        Self(Fragile::new(shard))
    }
}

impl Deref for Handle {
    type Target = Rc<Shard>;

    fn deref(&self) -> &Rc<Shard> {
        self.0.get()
    }
}
