//! The machine: listening sockets, cores, pages, file limits.

mod affinity;
mod limits;
mod listener;
mod pages;

pub use affinity::{available_cores, pin_to_core};
pub use limits::raise_file_limit;
pub use listener::{Listener, Tuning, check_free, limit_unacknowledged, listen, shut};
pub use pages::use_small_pages;
