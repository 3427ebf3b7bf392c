//! The result of a write.

/// What a socket accepted of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// How many bytes. They need not be offered again.
    pub bytes: usize,
    /// It accepts no more until it is writable.
    pub is_full: bool,
}
