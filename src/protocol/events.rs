//! The events protocol: JSON objects in text frames (spec/events.md 3.5).

mod command;
mod frame;

pub use command::{Act, Command, Refusal};
pub use frame::{Greeting, Publication, Writer};
