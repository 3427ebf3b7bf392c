//! The acknowledgement of a subscription: what was taken, and where each topic begins (spec 1.6, 1.7).

use crate::dialect::wse::frame::{Fields, put_epoch};
use crate::engine::{Confirmation, Resumed};
use crate::id::Position;
use crate::json::put_string;
use crate::shard::OrderReply;

/// The acknowledgement of a subscription.
#[derive(Default, Debug)]
pub(super) struct Ack {
    pub(super) success: Vec<Box<str>>,
    pub(super) failed: Vec<Box<str>>,
    pub(super) already: Vec<Box<str>>,
    pub(super) starts: Vec<AckStart>,
    /// Topics whose acknowledgement comes with their history.
    pub(super) later: Vec<Box<str>>,
    /// An application has ordered it, which is told what failed.
    pub(super) reply: Option<OrderReply>,
    /// Why some failed, for the client.
    pub(super) why: Option<String>,
}

/// Where a topic begins.
#[derive(Debug)]
pub(super) struct AckStart {
    pub(super) topic: Box<str>,
    pub(super) position: Position,
    pub(super) is_recovered: bool,
    /// The missed messages that are written.
    pub(super) count: u64,
    /// The position behind which they are, if older ones are missing.
    pub(super) after: Option<u64>,
}

/// An acknowledgement that is written behind missed messages.
#[derive(Debug)]
pub(super) struct WaitingAck(pub(super) Box<Ack>);

impl Ack {
    /// Notes where each topic begins.
    pub(super) fn note(&mut self, confirmation: &Confirmation) {
        for start in confirmation
            .starts()
            .filter(|start| start.matcher.is_none())
        {
            let (is_recovered, count, after) = match start.resumed {
                Some(Resumed::Complete(count)) => (true, count, None),
                Some(Resumed::TooOld(missed)) => {
                    let after = start.position.offset.saturating_sub(missed);
                    (false, missed, Some(after))
                }
                _ => (false, 0, None),
            };
            self.starts.push(AckStart {
                topic: start.name.into(),
                position: start.position,
                is_recovered,
                count,
                after,
            });
        }
        // Those whose history is still to come have their own acknowledgement.
        let success = &self.success;
        self.starts.retain(|start| success.contains(&start.topic));
    }

    pub(super) fn put(&self, p: &mut Fields<'_>, action: &str, all: &str) {
        let is_success = self.failed.is_empty();
        p.text("action", action)
            .flag("success", is_success)
            .texts("success_topics", self.success.iter().map(|it| &**it))
            .texts("failed_topics", self.failed.iter().map(|it| &**it))
            .raw("topics", all)
            .texts("already_subscribed", self.already.iter().map(|it| &**it));
        if !self.starts.is_empty() {
            p.object("recovery", |p| {
                for start in &self.starts {
                    start.put(p);
                }
            });
        }
    }
}

impl AckStart {
    /// A topic whose history has been written: `count` messages, up to this position.
    pub(super) fn replayed(
        topic: &str,
        position: Position,
        is_recovered: bool,
        count: u64,
    ) -> Self {
        Self {
            topic: topic.into(),
            position,
            is_recovered,
            count,
            after: None,
        }
    }

    pub(super) fn put(&self, p: &mut Fields<'_>) {
        let Self {
            position: Position { epoch, offset },
            is_recovered,
            count,
            ..
        } = self;
        let mut name = Vec::new();
        put_string(&mut name, &self.topic);
        let name = str::from_utf8(&name[1..name.len() - 1]).expect("it is JSON");
        p.object(name, |p| {
            match epoch {
                0 => p.raw("epoch", "null"),
                epoch => {
                    let out = p.key("epoch");
                    out.push(b'"');
                    put_epoch(out, *epoch);
                    out.push(b'"');
                    p
                }
            }
            .number("offset", *offset)
            .flag("recovered", *is_recovered)
            .number("count", *count);
        });
    }
}

/// The text of a list of names, for a message.
pub(super) fn listed<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    let mut out = b"[".to_vec();
    for (index, name) in names.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        put_string(&mut out, name);
    }
    out.push(b']');
    String::from_utf8(out).expect("it is JSON")
}
