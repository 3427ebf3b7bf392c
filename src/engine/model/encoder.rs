//! A wire format that is easy to parse.

use super::label::{FIELD, PART};
use super::queue::note_given;
use crate::config::{Config, Mode};
use crate::engine::{Format, FormatRegistry, Formats, MakeFormat, Publication, PublicationKind};
use crate::id::{Form, FormatId, Gather, Position};
use crate::sse::put_event;

/// Writes a line for each publication: `E<format> topic epoch offset kind data`, in fields. A group is `B<count>` and a
/// list of bare events.
#[derive(Debug)]
struct Lines(FormatId);

/// A publication as a client parses it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Event<'a> {
    pub(super) topic: &'a str,
    pub(super) position: Position,
    /// If set, the offset is its presence number.
    pub(super) is_presence: bool,
    pub(super) data: &'a str,
}

impl<'a> Event<'a> {
    /// Parses a bare event.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let mut fields = text.split(FIELD);
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
        PublicationKind::Event if publication.form != Form::NEUTRAL => "s",
        PublicationKind::Event => "e",
        PublicationKind::Broadcast => "b",
        PublicationKind::Presence => "p",
    };
    let data = str::from_utf8(publication.data).expect("data is text");
    let change = |data: &str| {
        let change: serde_json::Value = serde_json::from_str(data).expect("a change is JSON");
        let sign = match change["action"].as_str() {
            Some("join") => '+',
            Some("update") => '=',
            _ => '-',
        };
        let user = change["user"].as_str().expect("somebody came or left");
        format!("{sign}{user} {}", change["data"])
    };
    let data = match publication.kind {
        PublicationKind::Presence => change(data),
        _ => data.to_owned(),
    };
    let fields = [topic, &*epoch.to_string(), &offset.to_string(), kind, &data];
    fields.join(&FIELD.to_string())
}

impl Format for Lines {
    fn encode(&mut self, publication: &Publication<'_>, _: u64, out: &mut Vec<u8>) {
        let bare = bare(publication);
        match self.0.gather {
            Gather::Merge => {
                let is_presence = publication.kind == PublicationKind::Presence;
                let name = if is_presence { "p" } else { "e" };
                put_event(out, name, bare.as_bytes()).expect("no line ends");
            }
            // The engine puts a comma between two.
            Gather::Group => out.extend_from_slice(format!("{bare}{PART}").as_bytes()),
            Gather::Each => put_line(out, self.0, &bare),
        }
    }

    fn encode_missed(&mut self, publication: &Publication<'_>, time_ms: u64, out: &mut Vec<u8>) {
        match self.0.gather {
            Gather::Group => put_line(out, PLAIN, &bare(publication)),
            _ => self.encode(publication, time_ms, out),
        }
    }

    fn encode_queued(&mut self, publication: &Publication<'_>, _: u64, out: &mut Vec<u8>) {
        note_given(publication);
        let (format, bare) = (self.0.index(), bare(publication));
        out.extend_from_slice(format!("Q{format}{FIELD}{bare}\n").as_bytes());
    }

    fn group(&mut self, events: &[u8], count: usize, _: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("B{count}{FIELD}").as_bytes());
        out.extend_from_slice(events);
        out.push(b'\n');
    }
}

fn put_line(out: &mut Vec<u8>, format: FormatId, bare: &str) {
    out.extend_from_slice(format!("E{}{FIELD}{bare}\n", format.index()).as_bytes());
}

/// The formats of the model.
pub(super) fn formats() -> Formats {
    let mut registry = FormatRegistry::default();
    let makers: [MakeFormat; 7] = [
        |_| Box::new(Lines(PLAIN)),
        |_| Box::new(Lines(DEFLATED)),
        |_| Box::new(Lines(PACKED)),
        |_| Box::new(Lines(MERGED)),
        |_| Box::new(Lines(GROUPED)),
        |_| Box::new(Lines(LIVE)),
        |_| Box::new(Lines(LIVE_DEFLATED)),
    ];
    for (format, make) in FORMATS.into_iter().zip(makers) {
        assert_eq!(
            registry.register(format.gather, format.recovers, make),
            format
        );
    }
    registry.make(&Config::for_mode(Mode::Demo))
}

const fn format(number: u8, gather: Gather, recovers: bool) -> FormatId {
    FormatId {
        number,
        gather,
        recovers,
    }
}

pub(in crate::engine) const PLAIN: FormatId = format(0, Gather::Each, true);
pub(in crate::engine) const DEFLATED: FormatId = format(1, Gather::Each, true);
pub(in crate::engine) const PACKED: FormatId = format(2, Gather::Each, true);
pub(in crate::engine) const MERGED: FormatId = format(3, Gather::Merge, true);
pub(in crate::engine) const GROUPED: FormatId = format(4, Gather::Group, true);
/// Of a protocol whose clients cannot resume.
pub(in crate::engine) const LIVE: FormatId = format(5, Gather::Each, false);
pub(in crate::engine) const LIVE_DEFLATED: FormatId = format(6, Gather::Each, false);

/// All formats, by number.
pub(in crate::engine) const FORMATS: [FormatId; 7] = [
    PLAIN,
    DEFLATED,
    PACKED,
    MERGED,
    GROUPED,
    LIVE,
    LIVE_DEFLATED,
];
