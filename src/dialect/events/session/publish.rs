//! `publish`.

use std::borrow::Cow;

use super::{answer, error, limit_of, note_name};
use crate::auth::{Identity, Permissions};
use crate::conn::Flow;
use crate::dialect::events::Refusal;
use crate::engine::{Post, PublishResult, client_key};
use crate::id::PeerId;
use crate::json::Raw;
use crate::metrics::Limited;
use crate::shard::Shard;
use crate::topic;

/// A publication as a client has sent it.
pub(super) struct ClientPost<'a> {
    pub(super) id: Option<Raw<'a>>,
    pub(super) event: &'a str,
    /// JSON, unparsed.
    pub(super) data: &'a str,
    /// Makes it idempotent.
    pub(super) key: Option<&'a str>,
}

/// Publishes `client_post`, after checks of the name, the permission and the size.
pub(super) fn publish(
    shard: &Shard,
    peer: PeerId,
    identity: Option<&Identity>,
    client_post: &ClientPost<'_>,
) -> Flow {
    let ClientPost {
        id,
        event,
        data,
        key,
    } = *client_post;
    let may = Permissions::new(&shard.config, identity);
    if let Err(why) = topic::check_topic(event) {
        note_name(shard, why);
        error(
            shard,
            peer,
            &Refusal::new(id, "INVALID_MESSAGE", format!("`event`: {why}")),
        );
        return Flow::Continue;
    }
    if !may.may_publish(event) {
        let message = if topic::is_inbox(event) {
            "Inboxes are written to by services only".to_owned()
        } else if event == topic::SYSTEM_METRICS {
            "`system.metrics` is published by the gateway itself".to_owned()
        } else {
            format!(
                "Publishing to `{event}` takes a token whose `fanfare.publish` covers it, or another namespace"
            )
        };
        error(shard, peer, &Refusal::new(id, "FORBIDDEN", message));
        return Flow::Continue;
    }
    let namespace = shard.config.namespace(event);
    let size_max = namespace.max_message_size;
    if data.len() > size_max {
        shard.counters.limited(Limited::MessageSize);
        let message = format!(
            "`data` has {} bytes; this topic takes {size_max}",
            data.len()
        );
        let refusal = Refusal::new(id, "MESSAGE_TOO_LARGE", message);
        error(shard, peer, &refusal.with_details(limit_of(size_max)));
        return Flow::Continue;
    }
    // A message without an id gets no confirmation, only errors.
    let id_text = id.map_or("", Raw::text);
    // A service speaks for the application.
    let client = identity.filter(|identity| !identity.is_service());
    let user = client.map_or("", |identity| &identity.user);
    let key = match key {
        Some(key) if identity.is_some_and(Identity::is_service) => Cow::Borrowed(key),
        Some(key) => Cow::Owned(client_key(user, key)),
        None => Cow::Borrowed(""),
    };
    let post = Post {
        publisher: if namespace.publisher { user } else { "" },
        key: &key,
        ..Post::event(event, data.as_bytes())
    };
    match shard.engine(|engine| engine.publish(peer, &post, id_text)) {
        PublishResult::Stored(stored) if id.is_some() => {
            answer(shard, peer, |w| w.published(id_text, stored.offset));
        }
        PublishResult::Stored(_) | PublishResult::Forwarded => {}
        PublishResult::Busy => return Flow::Wait,
        PublishResult::TooManyTopics => {
            error(shard, peer, &Refusal::too_many_topics(id_text));
        }
    }
    Flow::Continue
}
