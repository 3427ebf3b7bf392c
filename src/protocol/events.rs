//! The events protocol: JSON objects in text frames, or the same as MessagePack
//! in binary frames (docs/protocol.md).

mod command;
mod format;
mod frame;
pub mod msgpack;
mod parameters;
mod refusal;

pub use command::{AGENT_COMMANDS, Act, BATCH_MESSAGES_MAX, Command, Envelope, Query, Recover};
pub use format::EventsFormats;
pub use frame::{Begun, Greeting, Writer};
pub use parameters::{BadParameter, Encoding, Parameters};
pub use refusal::Refusal;
