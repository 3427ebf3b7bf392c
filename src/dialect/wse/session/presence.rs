//! Who else is in a topic (spec 1.8).

use super::WseSession;
use super::awaited::Awaited;
use super::subscriptions::is_pattern;
use crate::dialect::wse::envelope::Envelope;
use crate::dialect::wse::frame::put_object;
use crate::engine::{PRESENCE_DATA_MAX, Roster};
use crate::id::PeerId;
use crate::json;
use crate::shard::Shard;

/// Members in a `presence_state`.
const MEMBERS_MAX: usize = 100;

/// A topic whose roster the client is about to join.
#[derive(Debug)]
pub(super) struct Entering {
    topic: Box<str>,
    /// What it says of itself, JSON; empty if nothing.
    data: Box<str>,
}

impl Entering {
    pub(super) fn new(topic: &str, data: &str) -> Self {
        Self {
            topic: topic.into(),
            data: data.into(),
        }
    }
}

impl WseSession {
    /// Joins rosters, as homes can be asked. Whoever comes gets the members first.
    pub(super) fn enter_rosters(&mut self, shard: &Shard, peer: PeerId) {
        while let Some(more) = self.more.as_mut().filter(|more| !more.entering.is_empty()) {
            let topic = &more.entering[0].topic;
            let asked = shard.engine(|engine| engine.ask_roster(peer, topic, "", MEMBERS_MAX));
            let Some(ticket) = asked else {
                return self.retry_soon(shard, peer);
            };
            let Entering { topic, data } = more.entering.remove(0);
            let user = self.user(shard, peer).into_owned();
            let data = match data.len() {
                ..=PRESENCE_DATA_MAX => &*data,
                _ => {
                    self.too_much_presence(shard, peer);
                    ""
                }
            };
            shard.engine(|engine| engine.enter(&topic, &user, data));
            self.await_outcome(shard, peer, (ticket, Awaited::Roster(topic)), None);
        }
    }

    fn too_much_presence(&self, shard: &Shard, peer: PeerId) {
        let why = format!("Presence data has at most {PRESENCE_DATA_MAX} bytes");
        self.error(shard, peer, "INVALID_MESSAGE", &why);
    }

    /// Tells the client who is in a topic.
    pub(super) fn send_roster(&self, shard: &Shard, peer: PeerId, topic: &str, roster: &Roster) {
        self.send_system(shard, peer, "presence_state", |p| {
            p.text("topic", topic)
                .items("members", &roster.users, |out, member| {
                    put_object(out, |p| {
                        p.text("user_id", &member.user);
                        p.raw(
                            "data",
                            match &*member.data {
                                "" => "{}",
                                data => data,
                            },
                        );
                    });
                })
                .number("count", roster.count as u64)
                .flag("more", roster.more);
        });
    }

    /// Changes what the client says of itself in a topic.
    pub(super) fn update_presence(&self, shard: &Shard, peer: PeerId, message: &Envelope<'_>) {
        let (mut topic, mut data) = (None, None);
        let _ = json::fields(message.payload_text(), |key, value| match key {
            "topic" => topic = value.as_string(),
            "data" if value.is_object() => data = Some(value.text()),
            _ => {}
        });
        let (Some(topic), Some(data)) = (topic, data) else {
            let why = "A presence_update has a `topic` and an object `data`";
            return self.error(shard, peer, "INVALID_MESSAGE", why);
        };
        if data.len() > PRESENCE_DATA_MAX {
            return self.too_much_presence(shard, peer);
        }
        if !self.subscriptions.contains(&topic) || !shard.config.namespace(&topic).presence {
            let why = format!("No presence in `{topic}`: it is not subscribed to, or has none");
            return self.error(shard, peer, "INVALID_MESSAGE", &why);
        }
        let user = self.user(shard, peer);
        shard.engine(|engine| engine.update_presence(&topic, &user, data));
    }

    /// Leaves the roster of a topic.
    pub(super) fn leave_roster(&mut self, shard: &Shard, peer: PeerId, topic: &str) {
        if is_pattern(topic) || !shard.config.namespace(topic).presence {
            return;
        }
        if let Some(more) = &mut self.more {
            let before = more.entering.len();
            more.entering.retain(|entering| *entering.topic != *topic);
            if more.entering.len() < before {
                return;
            }
        }
        let user = self.user(shard, peer);
        shard.engine(|engine| engine.exit(topic, &user));
    }

    /// Leaves all rosters.
    pub(super) fn leave_rosters(&mut self, shard: &Shard, peer: PeerId) {
        let topics = self.subscriptions.take();
        for topic in topics {
            self.leave_roster(shard, peer, &topic);
        }
    }
}
