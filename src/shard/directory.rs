//! Who is connected to this shard, for operators.

use super::Shard;
use super::clock::timestamp_of;
use crate::id::PeerId;
use crate::protocol::json::put_string;

/// Who a connection is.
#[derive(Debug)]
pub struct About {
    /// What it calls itself, if it does.
    pub client_id: Option<Box<str>>,
    /// `demo`, `dev` or `prod`.
    pub endpoint: &'static str,
    /// Whose it is, if a credential said so.
    pub user: Option<Box<str>>,
    /// The user's name to show.
    pub name: Option<Box<str>>,
    /// The user's role.
    pub role: Option<Box<str>>,
    /// When it was opened, in milliseconds since the epoch.
    pub connected_ms: u64,
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
        if let Some(link) = self.links.borrow_mut().get_mut(peer) {
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

    /// This shard's connections that have introduced themselves, `limit` of them
    /// in full.
    #[must_use]
    pub fn list_connections(&self, limit: usize) -> Listing {
        self.clock.refresh();
        let (now_ms, wall_ms) = (self.clock.now_ms(), self.clock.wall_ms());
        let (hub, mut links) = (self.hub.borrow(), self.links.borrow_mut());
        let mut listing = Listing::default();
        for link in links.iter_mut() {
            let Some(about) = &link.about else { continue };
            listing.total += 1;
            listing.authenticated += usize::from(about.user.is_some());
            if listing.items.len() == limit || !hub.is_present(link.peer) {
                continue;
            }
            let heard_ms = wall_ms - now_ms.saturating_sub(link.life.heard).min(wall_ms);
            let mut out = br#"{"client_id":"#.to_vec();
            put_string(&mut out, &self.client_id(about, link.peer));
            for (key, value) in [
                ("user_id", &about.user),
                ("username", &about.name),
                ("role", &about.role),
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
            for (index, name) in hub.selectors_of(link.peer.slot).enumerate() {
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
    pub fn list_subscriptions(&self, limit: usize) -> Vec<(String, String)> {
        let (hub, mut links) = (self.hub.borrow(), self.links.borrow_mut());
        let mut pairs = Vec::new();
        for link in links.iter_mut() {
            let Some(about) = &link.about else { continue };
            if !hub.is_present(link.peer) {
                continue;
            }
            for name in hub.selectors_of(link.peer.slot) {
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
        let totals = self.totals();
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
        let home = self.home.borrow();
        let is_wanted = |topic: &crate::engine::HomeTopic| !topic.interest().is_empty();
        if home
            .find(crate::topic::SYSTEM_METRICS)
            .is_some_and(is_wanted)
        {
            drop(home);
            let figures = self.figures();
            let post = crate::engine::Post::event(crate::topic::SYSTEM_METRICS, figures.as_bytes());
            // Whoever does not read misses a figure; the next one is newer.
            let _ = self.publish_here(&post, None);
        }
    }
}
