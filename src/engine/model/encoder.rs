//! Frames that are easy to read back.

use crate::engine::{Change, Encode};
use crate::id::{Position, WireFormat};
use crate::protocol::events::{Kind, Publication};
use crate::sse::put_event;

/// Writes a line for each publication: `E<format> topic epoch offset kind data`. A group is
/// `B<count>` and bare events, comma between them.
#[derive(Debug, Default)]
pub(super) struct Lines(Vec<u8>);

/// A publication as a client reads it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Event<'a> {
    pub(super) topic: &'a str,
    pub(super) position: Position,
    /// Then the offset is its number among the presence messages of the topic.
    pub(super) is_presence: bool,
    pub(super) data: &'a str,
}

impl<'a> Event<'a> {
    /// Reads a bare event.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let mut fields = text.split(' ');
        let topic = fields.next()?;
        let epoch = fields.next()?.parse().ok()?;
        let offset = fields.next()?.parse().ok()?;
        let is_presence = fields.next()? == "p";
        let data = fields.next()?;
        Some(Self {
            topic,
            position: Position { epoch, offset },
            is_presence,
            data,
        })
        .filter(|_| fields.next().is_none())
    }
}

fn bare(publication: &Publication<'_>) -> String {
    let Publication {
        topic,
        epoch,
        offset,
        ..
    } = publication;
    let kind = match publication.kind {
        Kind::Event => 'e',
        Kind::Broadcast => 'b',
        Kind::Presence => 'p',
        Kind::Push => 's',
    };
    let data = str::from_utf8(publication.data).expect("data is text");
    format!("{topic} {epoch} {offset} {kind} {data}")
}

impl Encode for Lines {
    fn event(&mut self, format: WireFormat, publication: &Publication<'_>, _: u64) -> &[u8] {
        let bare = bare(publication);
        self.0.clear();
        match format {
            WireFormat::Sse => {
                let is_presence = publication.kind == Kind::Presence;
                let name = if is_presence { "p" } else { "e" };
                put_event(&mut self.0, name, bare.as_bytes()).expect("no line ends");
            }
            WireFormat::EventsBatch => self.0.extend_from_slice(bare.as_bytes()),
            format => {
                let line = format!("E{} {bare}\n", format.index());
                self.0.extend_from_slice(line.as_bytes());
            }
        }
        &self.0
    }

    fn group(&mut self, events: &[u8], count: usize, _: u64) -> &[u8] {
        self.0.clear();
        self.0.extend_from_slice(format!("B{count} ").as_bytes());
        self.0.extend_from_slice(events);
        self.0.push(b'\n');
        &self.0
    }

    fn presence(&mut self, change: &Change) -> Vec<u8> {
        let sign = if change.joined { '+' } else { '-' };
        format!("{sign}{}", change.user).into_bytes()
    }
}
