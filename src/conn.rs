//! One connection's life: HTTP until it is claimed or answered, then frames, or a response that does not end.

mod accept;
mod admit;
mod claim;
mod credentials;
mod dialect;
mod driver;
mod guarded;
mod preamble;
mod quota;
mod record;
mod session;
mod stream;
mod watched;

pub use accept::{accept, turn_away};
pub use admit::{agree, check_page, check_upgrade, enter, lease_of, refusal, take_seat};
pub use claim::{Admission, Claimed, Route, StreamClaim, UpgradeRefusal, WebSocketClaim};
pub use credentials::{RequestToken, admit, are_given};
pub use dialect::{Dialect, Dialects};
pub use quota::Quota;
pub use record::Records;
pub use session::{Flow, Session, Standing};
