//! The events protocol: JSON objects in text frames (spec/events.md 3.5).

mod command;
mod frame;

pub use command::{Act, Command, Recover, Refusal};
pub use frame::{Begun, Greeting, Kind, Publication, Writer};
