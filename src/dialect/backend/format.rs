//! The encodings of a member's frames.

use super::LinkEncoding;
use crate::engine::{Format, FormatRegistry, Packing, Publication};
use crate::id::{FormatId, Gather};
use crate::msgpack;

/// The formats of the protocol.
#[derive(Clone, Copy, Debug)]
pub(super) struct LinkFormats {
    json: FormatId,
    msgpack: FormatId,
}

impl LinkFormats {
    /// Registers the formats, in which nothing is published: members subscribe to no topics.
    pub(super) fn register(registry: &mut FormatRegistry) -> Self {
        Self {
            json: registry.register(Gather::Each, false, |_| Box::new(LinkJson)),
            msgpack: registry.register(Gather::Each, false, |_| Box::new(LinkMsgpack)),
        }
    }

    /// The format of a member.
    pub(super) fn of(&self, encoding: LinkEncoding) -> FormatId {
        match encoding {
            LinkEncoding::Json => self.json,
            LinkEncoding::Msgpack => self.msgpack,
        }
    }
}

/// JSON in text frames.
#[derive(Debug)]
struct LinkJson;

impl Format for LinkJson {
    fn encode(&mut self, _: &Publication<'_>, _: u64, _: &mut Vec<u8>) {}
}

/// MessagePack in binary frames.
#[derive(Debug)]
struct LinkMsgpack;

impl Format for LinkMsgpack {
    fn encode(&mut self, _: &Publication<'_>, _: u64, _: &mut Vec<u8>) {}

    fn pack(&mut self, json: &[u8], _: Option<usize>, packed: &mut Vec<u8>) -> Packing {
        msgpack::from_json(json, packed);
        Packing::Binary
    }
}
