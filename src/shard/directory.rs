//! Who is connected to this shard, for operators.

use tokio::sync::oneshot;

use super::clock::timestamp_of;
use super::{Core, Note, Shard};
use crate::engine::{Post, PublishResult};
use crate::id::{PeerId, ShardId};
use crate::protocol::json::put_string;

/// Who a connection is.
#[derive(Debug)]
pub struct About {
    /// What it calls itself, if it does.
    pub client_id: Option<Box<str>>,
    /// `demo`, `dev` or `prod`.
    pub endpoint: &'static str,
    /// Whose it is, if a credential said so.
    pub user: Option<Box<User>>,
    /// When it was opened, in milliseconds since the epoch.
    pub connected_ms: u64,
}

/// Whose a connection is.
#[derive(Debug)]
pub struct User {
    /// The user.
    pub id: Box<str>,
    /// Its name to show.
    pub name: Box<str>,
    /// Its role, if it has one.
    pub role: Option<Box<str>>,
}

/// One shard's part of a list of connections.
#[derive(Debug, Default)]
pub struct Listing {
    /// How many there are.
    pub total: usize,
    /// How many of them have a user.
    pub authenticated: usize,
    /// The first of them, each as JSON.
    pub items: Vec<String>,
}

impl Shard {
    /// Notes who a connection is.
    pub fn introduce(&self, peer: PeerId, about: About) {
        if let Some(link) = self.core.borrow_mut().links.get_mut(peer) {
            link.about = Some(Box::new(about));
        }
    }

    /// What a connection is called that does not call itself anything: unique over
    /// the life of the process.
    #[must_use]
    pub fn session_id(&self, endpoint: &str, peer: PeerId) -> String {
        format!("{endpoint}_{}-{peer}", self.id.0)
    }

    fn client_id(&self, about: &About, peer: PeerId) -> String {
        match &about.client_id {
            Some(client_id) => client_id.to_string(),
            None => self.session_id(about.endpoint, peer),
        }
    }

    /// The connections of all shards that have introduced themselves, `limit` of each in full.
    pub fn ask_connections(&self, limit: usize) -> Vec<oneshot::Receiver<Listing>> {
        self.ask_all(
            || self.list_connections(limit),
            |reply| Note::Connections { limit, reply },
        )
    }

    /// Pairs of a topic or pattern and a connection that has subscribed to it, in no order, up to
    /// `limit` of each shard.
    pub fn ask_subscriptions(&self, limit: usize) -> Vec<oneshot::Receiver<Vec<(String, String)>>> {
        self.ask_all(
            || self.list_subscriptions(limit),
            |reply| Note::Subscriptions { limit, reply },
        )
    }

    /// What every shard says. There is no answer of one that ends before.
    fn ask_all<T>(
        &self,
        here: impl FnOnce() -> T,
        note: impl Fn(oneshot::Sender<T>) -> Note,
    ) -> Vec<oneshot::Receiver<T>> {
        let mut here = Some(here);
        let shards = 0..self.core.borrow().port.shards();
        let asked = shards.map(ShardId).map(|shard| {
            let (reply, answer) = oneshot::channel();
            match here.take_if(|_| shard == self.id) {
                Some(here) => drop(reply.send(here())),
                None => self.note(shard, note(reply)),
            }
            answer
        });
        asked.collect()
    }

    /// This shard's connections that have introduced themselves, `limit` of them
    /// in full.
    #[must_use]
    pub(super) fn list_connections(&self, limit: usize) -> Listing {
        self.clock.refresh();
        let (now_ms, wall_ms) = (self.clock.now_ms(), self.clock.wall_ms());
        let core = self.core.borrow();
        let Core { engine, links, .. } = &*core;
        let hub = engine.hub();
        let mut listing = Listing::default();
        for link in links.iter_open() {
            let Some(about) = &link.about else { continue };
            listing.total += 1;
            listing.authenticated += usize::from(about.user.is_some());
            if listing.items.len() == limit || !hub.is_present(link.peer) {
                continue;
            }
            let heard_ms = wall_ms - now_ms.saturating_sub(link.life.heard).min(wall_ms);
            let mut out = br#"{"client_id":"#.to_vec();
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
                ("last_heartbeat", heard_ms),
            ] {
                out.extend_from_slice(format!(r#","{key}":""#).as_bytes());
                out.extend_from_slice(&timestamp_of(ms));
                out.push(b'"');
            }
            let endpoint = about.endpoint;
            out.extend_from_slice(
                format!(r#","metadata":{{"endpoint":"{endpoint}"}},"subscriptions":["#).as_bytes(),
            );
            for (index, name) in engine.selectors_of(link.peer).enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                put_string(&mut out, name);
            }
            out.extend_from_slice(b"]}");
            listing
                .items
                .push(String::from_utf8(out).expect("it was put together of text"));
        }
        listing
    }

    /// Up to `limit` pairs of a topic or pattern and a connection that has
    /// subscribed to it, in no order.
    #[must_use]
    pub(super) fn list_subscriptions(&self, limit: usize) -> Vec<(String, String)> {
        let core = self.core.borrow();
        let Core { engine, links, .. } = &*core;
        let hub = engine.hub();
        let mut pairs = Vec::new();
        for link in links.iter_open() {
            let Some(about) = &link.about else { continue };
            if !hub.is_present(link.peer) {
                continue;
            }
            for name in engine.selectors_of(link.peer) {
                if pairs.len() == limit {
                    return pairs;
                }
                pairs.push((name.to_owned(), self.client_id(about, link.peer)));
            }
        }
        pairs
    }

    /// What the gateway tells of its work: connections, messages, time.
    #[must_use]
    pub fn figures(&self) -> String {
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

    /// Publishes the figures, if they are published here and somebody listens.
    pub fn publish_figures(&self) {
        let topic = crate::topic::SYSTEM_METRICS;
        if self.core.borrow().engine.is_wanted(topic) {
            let figures = self.figures();
            let post = Post::event(topic, figures.as_bytes());
            // Whoever does not read misses a figure; the next one is newer.
            let _: PublishResult = self.engine(|engine| engine.publish_own(&post));
        }
    }
}
