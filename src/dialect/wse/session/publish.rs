//! What clients publish.

use std::borrow::Cow;

use super::{WseSession, id_text};
use crate::conn::Flow;
use crate::dialect::wse::envelope::Envelope;
use crate::dialect::wse::format::{OUTBOUND_BYTES_MAX, is_reserved};
use crate::dialect::wse::frame::put_object;
use crate::engine::{Post, PublishResult};
use crate::id::PeerId;
use crate::json::{self, Raw};
use crate::metrics::Limited;
use crate::shard::Shard;
use crate::timestamp::timestamp_of;
use crate::topic;

/// Bytes of a publication's type.
const TYPE_BYTES_MAX: usize = 128;

/// What a client publishes.
#[derive(Default)]
struct Publishing<'a> {
    topic: Option<Cow<'a, str>>,
    kind: Option<Cow<'a, str>>,
    data: Option<&'a str>,
    asks: bool,
}

impl WseSession {
    /// Publishes, as far as the client may.
    pub(super) fn publish(&mut self, shard: &Shard, peer: PeerId, message: &Envelope<'_>) -> Flow {
        let mut said = Publishing::default();
        let _ = json::fields(message.payload_text(), |key, value| match key {
            "topic" => said.topic = value.as_string(),
            "type" => said.kind = value.as_string(),
            "data" => said.data = Some(value.text()),
            "ack" => said.asks = value.text() == "true",
            _ => {}
        });
        // Every message of existing clients has an `id`: it asks for no answer by itself.
        let asks = said.asks || message.correlation.is_some();
        let id = match asks {
            true => id_text(message.correlation.or(message.id)),
            false => "",
        };
        let refuse = |code: &str, why: &str| {
            self.error_with(shard, peer, code, why, |p| {
                if !id.is_empty() {
                    p.raw("cid", id);
                }
            });
            Flow::Continue
        };
        let topic = said.topic.as_deref().unwrap_or("");
        if !topic::is_name(topic) {
            let why = "A publication has a `topic` of 1 to 256 bytes without control characters";
            return refuse("INVALID_MESSAGE", why);
        }
        let kind = said.kind.as_deref().unwrap_or("");
        let is_kind = kind.len() <= TYPE_BYTES_MAX && !kind.contains(char::is_control);
        if !is_kind || is_reserved(kind) {
            let why = "The `type` of a publication has at most 128 bytes, and is none of the protocol's own";
            return refuse("INVALID_MESSAGE", why);
        }
        if !self.permissions(shard).may_publish(topic) {
            let why = format!(
                "Publishing to `{topic}` takes a token whose `fanfare.publish` covers it, or another namespace"
            );
            return refuse("FORBIDDEN", &why);
        }
        let data = said.data.unwrap_or("{}");
        let namespace = shard.config.namespace(topic);
        let size_max = namespace.max_message_size.min(OUTBOUND_BYTES_MAX);
        if data.len() > size_max {
            shard.counters.limited(Limited::MessageSize);
            let why = format!(
                "`data` has {} bytes; this topic takes {size_max}",
                data.len()
            );
            return refuse("MESSAGE_TOO_LARGE", &why);
        }
        if self.is_seen(shard, message.id) {
            self.publish_ack(shard, peer, id, None);
            return Flow::Continue;
        }
        let identity = self.identity.as_deref();
        // A service speaks for the application.
        let publisher = identity.filter(|identity| namespace.publisher && !identity.is_service());
        let post = Post {
            name: kind,
            publisher: publisher.map_or("", |identity| &identity.user),
            ..Post::event(topic, data.as_bytes())
        };
        match shard.engine(|engine| engine.publish(peer, &post, id)) {
            PublishResult::Stored(stored) => self.publish_ack(shard, peer, id, Some(stored.offset)),
            PublishResult::Forwarded => {}
            PublishResult::Busy => return Flow::Wait,
            PublishResult::TooManyTopics => {
                self.too_many_topics(shard, peer, id);
                return Flow::Continue;
            }
        }
        self.note_seen(shard, message.id);
        Flow::Continue
    }

    /// Answers a publication, if an answer is wanted. Without an offset it was published before.
    pub(super) fn publish_ack(&self, shard: &Shard, peer: PeerId, id: &str, offset: Option<u64>) {
        if id.is_empty() {
            return;
        }
        self.send_answer(shard, peer, "publish_ack", |writer| {
            writer
                .payload(|p| {
                    match offset {
                        Some(offset) => p.number("offset", offset),
                        None => p.flag("duplicate", true),
                    };
                })
                .raw("cid", id)
                .end();
        });
    }

    pub(super) fn too_many_topics(&self, shard: &Shard, peer: PeerId, id: &str) {
        let why = "The gateway has no room for another topic";
        self.error_with(shard, peer, "SERVER_ERROR", why, |p| {
            if !id.is_empty() {
                p.raw("cid", id);
            }
        });
    }

    /// Publishes a message of a user with a priority, and passes it to the application as it came.
    pub(super) fn priority_message(
        &mut self,
        shard: &Shard,
        peer: PeerId,
        message: &Envelope<'_>,
    ) -> Flow {
        if self.is_seen(shard, message.id) {
            return Flow::Continue;
        }
        let user = self.user(shard, peer).into_owned();
        let topic = format!("priority:{user}:messages");
        if topic::is_name(&topic) {
            let data = self.priority_data(shard, peer, &user, message);
            let post = Post::event(&topic, &data);
            if shard.engine(|engine| engine.publish(peer, &post, "")) == PublishResult::Busy {
                return Flow::Wait;
            }
        }
        // It is published once, whether an application takes it or not.
        self.tell(shard, peer, message);
        self.note_seen(shard, message.id);
        Flow::Continue
    }

    fn priority_data(
        &self,
        shard: &Shard,
        peer: PeerId,
        user: &str,
        message: &Envelope<'_>,
    ) -> Vec<u8> {
        let (mut content, mut ttl) = (None, None);
        let payload = message.payload_text();
        let _ = json::fields(payload, |key, value| match key {
            "content" => content = Some(value.text()),
            "ttl" => ttl = Some(value.text()),
            _ => {}
        });
        let connection = shard.connection_id(peer);
        let timestamp = timestamp_of(shard.clock.wall_ms());
        let mut data = Vec::new();
        put_object(&mut data, |p| {
            p.raw("content", content.unwrap_or(payload))
                .number("priority", nearest_priority(message.priority));
            if let Some(ttl) = ttl {
                p.raw("ttl", ttl);
            }
            p.text("user_id", user).text("conn_id", &connection).text(
                "timestamp",
                str::from_utf8(&timestamp).expect("it is ASCII"),
            );
            if let Some(correlation) = message.correlation.map(Raw::text) {
                p.raw("correlation_id", correlation);
            }
        });
        data
    }
}

/// The class nearest to what a client says.
fn nearest_priority(said: Option<u64>) -> u64 {
    let said = said.unwrap_or(5);
    let classes = [1, 3, 5, 8, 10];
    let nearest = classes
        .into_iter()
        .min_by_key(|class| said.abs_diff(*class));
    nearest.expect("there are five")
}
