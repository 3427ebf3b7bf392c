//! Calls: a service asks a user a question and gets the user's answers, whatever protocols the two use
//! (docs/bridge.md, "Questions").

mod answer;
mod correlation;
mod event;

pub use answer::CallAnswer;
pub use correlation::{BadCorrelation, CORRELATION_BYTES_MAX, Correlation};
pub use event::{put_error_event, put_event};
