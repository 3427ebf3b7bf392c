//! Calls: what a service asks a user, and what the user answers, whatever protocols they speak
//! (docs/bridge.md, "Questions").

mod answer;
mod correlation;
mod event;

pub use answer::CallAnswer;
pub use correlation::{BadCorrelation, CORRELATION_BYTES_MAX, Correlation};
pub use event::{put_error_event, put_event};
