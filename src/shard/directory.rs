//! Listings of this shard's connections and their subscriptions, for operators, and the system metrics topic.

use tokio::sync::oneshot;

use super::{ConnectionInfo, Note, Shard};
use crate::engine::{Post, PublishResult};
use crate::id::{PeerId, ShardId};
use crate::json::put_string;
use crate::timestamp::timestamp_of;

/// A page of a shard's connections.
#[derive(Debug, Default)]
pub struct ConnectionPage {
    /// The number of connections in the page.
    pub total: usize,
    /// How many of them are authenticated.
    pub authenticated: usize,
    /// How many of them are in `items`.
    pub listed: usize,
    /// The first `listed` connections as JSON objects, separated by commas.
    pub items: String,
    /// The slot where the next page begins, if there is one.
    pub next: Option<usize>,
}

/// A page of the subscriptions of a shard's connections.
#[derive(Debug, Default)]
pub struct SubscriptionPage {
    /// Pairs of a topic or pattern and a client id, in no order.
    pub pairs: Vec<(String, String)>,
    /// The slot where the next page begins, if there is one.
    pub next: Option<usize>,
}

/// The cost of a page in steps, about a millisecond. A step is a slot, a name or a pattern that is looked at. The
/// connection that reaches the limit is listed whole.
const PAGE_STEPS: usize = 4096;

/// The cost of writing one connection, or one pair, in steps.
const ITEM_STEPS: usize = 16;

impl Shard {
    /// The client id of a connection that gave none: unique for the life of the process.
    #[must_use]
    pub fn session_id(&self, endpoint: &str, peer: PeerId) -> String {
        format!("{endpoint}_{}-{peer}", self.id.0)
    }

    fn client_id(&self, about: &ConnectionInfo, peer: PeerId) -> String {
        match &about.client_id {
            Some(client_id) => client_id.to_string(),
            None => self.session_id(about.endpoint.1, peer),
        }
    }

    /// All shards of the process.
    pub fn shards(&self) -> impl Iterator<Item = ShardId> + use<> {
        (0..self.core.borrow().port.shards()).map(ShardId)
    }

    /// Asks a shard for a page of its connections from slot `from` on, of which it lists `limit`. The sender is dropped
    /// if the shard ends before it answers.
    pub fn ask_connections(
        &self,
        shard: ShardId,
        from: usize,
        limit: usize,
    ) -> oneshot::Receiver<ConnectionPage> {
        let (reply, answer) = oneshot::channel();
        if shard == self.id {
            let _ = reply.send(self.list_connections(from, limit));
        } else {
            self.note(shard, Note::Connections { from, limit, reply });
        }
        answer
    }

    /// Asks a shard for a page of its connections' subscriptions from slot `from` on. The sender is dropped if the
    /// shard ends before it answers.
    pub fn ask_subscriptions(
        &self,
        shard: ShardId,
        from: usize,
    ) -> oneshot::Receiver<SubscriptionPage> {
        let (reply, answer) = oneshot::channel();
        if shard == self.id {
            let _ = reply.send(self.list_subscriptions(from));
        } else {
            self.note(shard, Note::Subscriptions { from, reply });
        }
        answer
    }

    /// A page of this shard's connections that have a [`ConnectionInfo`], of which `limit` are listed.
    #[must_use]
    pub(super) fn list_connections(&self, from: usize, limit: usize) -> ConnectionPage {
        self.clock.refresh();
        let (now_ms, wall_ms) = (self.clock.now_ms(), self.clock.wall_ms());
        let core = self.core.borrow();
        let (engine, links) = (&core.engine, &core.links);
        let hub = engine.hub();
        let mut listing = ConnectionPage::default();
        let mut out = Vec::new();
        let mut steps = 0;
        for (slot, link) in links.iter_from(from) {
            if steps >= PAGE_STEPS {
                listing.next = Some(slot);
                break;
            }
            steps += 1;
            let Some(about) = link.info.as_deref().filter(|it| it.is_listed) else {
                continue;
            };
            listing.total += 1;
            listing.authenticated += usize::from(about.user.is_some());
            if listing.listed == limit || !hub.is_present(link.peer) {
                continue;
            }
            if listing.listed > 0 {
                out.push(b',');
            }
            listing.listed += 1;
            steps += ITEM_STEPS;
            let received_ms = wall_ms - now_ms.saturating_sub(link.life.received).min(wall_ms);
            out.extend_from_slice(br#"{"client_id":"#);
            put_string(&mut out, &self.client_id(about, link.peer));
            let user = about.user.as_deref();
            for (key, value) in [
                ("user_id", user.map(|user| &user.id)),
                ("username", user.map(|user| &user.name)),
                ("role", user.and_then(|user| user.role.as_ref())),
            ] {
                out.extend_from_slice(format!(r#","{key}":"#).as_bytes());
                match value {
                    Some(value) => put_string(&mut out, value),
                    None => out.extend_from_slice(b"null"),
                }
            }
            for (key, ms) in [
                ("connected_at", about.connected_ms),
                ("last_heartbeat", received_ms),
            ] {
                out.extend_from_slice(format!(r#","{key}":""#).as_bytes());
                out.extend_from_slice(&timestamp_of(ms));
                out.push(b'"');
            }
            let endpoint = about.endpoint.1;
            out.extend_from_slice(
                format!(r#","metadata":{{"endpoint":"{endpoint}"}},"subscriptions":["#).as_bytes(),
            );
            for (index, name) in engine.selectors_of(link.peer).enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                put_string(&mut out, name);
                steps += 1;
            }
            out.extend_from_slice(b"]}");
        }
        listing.items = String::from_utf8(out).expect("it was put together of text");
        listing
    }

    /// A page of this shard's subscriptions.
    #[must_use]
    pub(super) fn list_subscriptions(&self, from: usize) -> SubscriptionPage {
        let core = self.core.borrow();
        let (engine, links) = (&core.engine, &core.links);
        let hub = engine.hub();
        let mut page = SubscriptionPage::default();
        let mut steps = 0;
        for (slot, link) in links.iter_from(from) {
            if steps >= PAGE_STEPS {
                page.next = Some(slot);
                break;
            }
            steps += 1;
            let Some(about) = link.info.as_deref().filter(|it| it.is_listed) else {
                continue;
            };
            if !hub.is_present(link.peer) {
                continue;
            }
            for name in engine.selectors_of(link.peer) {
                page.pairs
                    .push((name.to_owned(), self.client_id(about, link.peer)));
                steps += ITEM_STEPS;
            }
        }
        page
    }

    /// The process's counts of connections, messages and subscriptions, and its uptime, as JSON.
    #[must_use]
    pub fn system_metrics(&self) -> String {
        let totals = self.process.totals();
        format!(
            r#"{{"connections":{},"messages_in":{},"messages_out":{},"subscriptions":{},"uptime_seconds":{}}}"#,
            self.process.connections(),
            totals.messages_in,
            totals.messages_out,
            totals.subscriptions,
            self.clock.now_ms() / 1000,
        )
    }

    /// Publishes the system metrics, if their topic's home is this shard and it has subscribers.
    pub fn publish_system_metrics(&self) {
        let topic = crate::topic::SYSTEM_METRICS;
        if self.core.borrow().engine.is_wanted(topic) {
            let system_metrics = self.system_metrics();
            let post = Post::event(topic, system_metrics.as_bytes());
            // Best effort: the next publication replaces this one.
            let _: PublishResult = self.engine(|engine| engine.publish_own(&post));
        }
    }
}
