//! The life of one connection: it begins as HTTP/1.1; a claimed one then becomes a WebSocket connection or an endless
//! response.

mod accept;
mod admit;
mod announcement;
mod claim;
mod commands;
mod connection;
mod credentials;
mod dialect;
mod driver;
mod guarded;
mod preamble;
mod quota;
mod record;
mod records;
mod session;
mod stream;
mod watched;

pub use accept::{Purpose, accept, refuse_out_of_files};
pub use admit::{
    agree, check_handshake, check_page, check_upgrade, lease_for, lease_of, refusal, take_seat,
    take_slot,
};
pub use claim::{Admission, Claimed, Route, StreamClaim, UpgradeRefusal, WebSocketClaim};
pub use commands::{Command, CommandCall, CommandFuture, Commands, NameTaken};
pub use credentials::{RequestToken, TokenRefusal, admit, are_given, check_token};
pub use dialect::{Chore, Dialect, Dialects, Registry};
pub use quota::Quota;
pub use record::Record;
pub use records::Records;
pub use session::{Authentication, Denied, Flow, Session};
