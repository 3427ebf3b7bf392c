//! Looks connections of this shard up for operators: by user, address or id, to list them or to end them.

use std::net::IpAddr;

use tokio::sync::oneshot;

use super::info::ConnectionInfo;
use super::links::{Link, Transport};
use super::{Core, Disconnect, Note, Shard};
use crate::auth::TokenError;
use crate::id::{AnyPeer, PeerId, ShardId};
use crate::json::put_string;
use crate::process::block_of;
use crate::timestamp::timestamp_of;

/// What has gone over a connection.
#[derive(Clone, Copy, Default, Debug)]
pub struct Traffic {
    /// When it was opened, in milliseconds since the Unix epoch.
    pub connected_ms: u64,
    /// How long it has been open, in milliseconds.
    pub open_ms: u64,
    /// Bytes received.
    pub received: u64,
    /// Bytes sent.
    pub sent: u64,
    /// Bytes that its client has not been sent.
    pub unsent: u64,
    /// Its socket is full.
    pub is_blocked: bool,
}

impl Shard {
    /// What has gone over a connection so far.
    #[must_use]
    pub fn traffic_of(&self, peer: PeerId) -> Traffic {
        let core = self.core.borrow();
        let (hub, link) = (core.engine.hub(), core.links.get(peer));
        let Some(link) = link.filter(|_| hub.is_present(peer)) else {
            return Traffic::default();
        };
        let now_ms = self.clock.wall_ms();
        let connected_ms = link
            .info
            .as_deref()
            .map_or(now_ms, |info| info.connected_ms);
        Traffic {
            connected_ms,
            open_ms: now_ms.saturating_sub(connected_ms),
            received: link.received,
            sent: link.sent,
            unsent: hub.unsent(peer),
            is_blocked: hub.is_blocked(peer.slot),
        }
    }
}

/// Which connections are meant: those that all of these hold for.
#[derive(Clone, Default, Debug)]
pub struct Wanted {
    /// Of this user.
    pub user: Option<Box<str>>,
    /// From this address, an IPv6 network of 64 bits being one.
    pub address: Option<IpAddr>,
    /// This connection.
    pub connection: Option<AnyPeer>,
    /// Only if the user is who the client says that it is, without proof.
    pub is_unproved: bool,
}

impl Wanted {
    /// Whether a client at `address` who is `user` is meant.
    #[must_use]
    pub fn covers(&self, user: Option<&str>, address: IpAddr) -> bool {
        let is_user = self.user.as_deref().is_none_or(|it| user == Some(it));
        let is_there = |it: IpAddr| block_of(it) == block_of(address);
        is_user && self.address.is_none_or(is_there)
    }
}

/// A page of the connections that are wanted.
#[derive(Debug, Default)]
pub struct FoundPage {
    /// How many of the page are wanted.
    pub total: usize,
    /// How many of them are in `items`.
    pub listed: usize,
    /// The first `listed` of them as JSON objects, separated by commas.
    pub items: String,
    /// The slot where the next page begins, if there is one.
    pub next: Option<usize>,
}

/// With which code and reason connections are to be closed.
#[derive(Clone, Debug)]
pub struct CloseOrder {
    /// The close code (RFC 6455 section 7.4).
    pub code: u16,
    /// The reason, at most 123 bytes.
    pub reason: Option<Box<str>>,
}

/// The cost of a page in steps, about a millisecond. A step is a slot or a name that is looked at.
const PAGE_STEPS: usize = 4096;

/// The cost of writing one connection, in steps.
const ITEM_STEPS: usize = 16;

/// Subscriptions that are listed of a connection.
const NAMES_MAX: usize = 1000;

impl Shard {
    /// Asks a shard for a page of the connections that are `wanted`, from slot `from` on, of which it lists `limit`. The
    /// sender is dropped if the shard ends before it answers.
    pub fn ask_found(
        &self,
        shard: ShardId,
        wanted: &Wanted,
        (from, limit): (usize, usize),
    ) -> oneshot::Receiver<FoundPage> {
        let (reply, answer) = oneshot::channel();
        if shard == self.id {
            let _ = reply.send(self.find(wanted, from, limit));
        } else {
            let wanted = wanted.clone();
            let note = Note::Find {
                wanted,
                from,
                limit,
                reply,
            };
            self.note(shard, note);
        }
        answer
    }

    /// Asks a shard to close the connections that are `wanted`. Answers with how many there are.
    pub fn ask_close(
        &self,
        shard: ShardId,
        wanted: &Wanted,
        order: &CloseOrder,
    ) -> oneshot::Receiver<usize> {
        let (reply, answer) = oneshot::channel();
        if shard == self.id {
            let _ = reply.send(self.close_all(wanted, order));
        } else {
            let (wanted, order) = (wanted.clone(), order.clone());
            let note = Note::Close {
                wanted,
                order,
                reply,
            };
            self.note(shard, note);
        }
        answer
    }

    /// Closes this shard's connections that are `wanted`, and returns how many there are.
    ///
    /// Cost: a look at each connection.
    pub(super) fn close_all(&self, wanted: &Wanted, order: &CloseOrder) -> usize {
        let found: Vec<PeerId> = {
            let core = self.core.borrow();
            let found = core.links.iter_from(0).map(|(_, link)| link);
            let found = found.filter(|link| self.is_wanted(wanted, link));
            found.map(|link| link.peer).collect()
        };
        for &peer in &found {
            self.disconnect_as_ordered(peer, order.code, order.reason.as_deref());
        }
        found.len()
    }

    /// The connections whose tokens are revoked or whose users are blocked, and why each ends.
    ///
    /// Cost: one load, unless something was revoked since the last call; then a lock and three lookups for each
    /// connection with a user.
    pub(super) fn revoked(&self, core: &Core) -> Vec<(PeerId, Disconnect)> {
        let revocations = &self.authenticator.revocations;
        let version = revocations.version();
        if self.revocations_seen.replace(version) == version {
            return Vec::new();
        }
        let now = self.clock.wall_seconds();
        let links = core.links.iter_from(0).map(|(_, link)| link);
        let revoked = links.filter_map(|link| {
            let user = link.info.as_deref()?.user.as_deref();
            let user = user.filter(|user| user.is_verified)?;
            let id = user.token_id.as_deref();
            match revocations.check_token(&user.id, id, user.issued_at, now) {
                Ok(()) => None,
                Err(TokenError::Blocked) => Some((link.peer, Disconnect::Blocked)),
                Err(_) => Some((link.peer, Disconnect::Revoked)),
            }
        });
        revoked.collect()
    }

    /// A page of this shard's connections that are `wanted`.
    pub(super) fn find(&self, wanted: &Wanted, from: usize, limit: usize) -> FoundPage {
        self.clock.refresh();
        let core = self.core.borrow();
        let mut page = FoundPage::default();
        let mut out = Vec::new();
        let mut steps = 0;
        for (slot, link) in core.links.iter_from(from) {
            if steps >= PAGE_STEPS {
                page.next = Some(slot);
                break;
            }
            steps += 1;
            let Some(info) = link
                .info
                .as_deref()
                .filter(|_| self.is_wanted(wanted, link))
            else {
                continue;
            };
            page.total += 1;
            if page.listed < limit {
                if page.listed > 0 {
                    out.push(b',');
                }
                page.listed += 1;
                steps += ITEM_STEPS + self.put_connection(&mut out, &core, link, info);
            }
        }
        page.items = String::from_utf8(out).expect("it was put together of text");
        page
    }

    /// Writes a connection as a JSON object. Returns the number of its subscriptions.
    fn put_connection(
        &self,
        out: &mut Vec<u8>,
        core: &Core,
        link: &Link,
        info: &ConnectionInfo,
    ) -> usize {
        let user = info.user.as_deref();
        let transport = match link.transport {
            Transport::WebSocket { .. } => "websocket",
            Transport::Sse { .. } => "sse",
        };
        let &(protocol, endpoint) = info.endpoint;
        let text = |out: &mut Vec<u8>, key: &str, value: Option<&str>| {
            out.extend_from_slice(format!(r#","{key}":"#).as_bytes());
            match value {
                Some(value) => put_string(out, value),
                None => out.extend_from_slice(b"null"),
            }
        };
        out.extend_from_slice(br#"{"id":"#);
        put_string(out, &self.connection_id(link.peer));
        text(out, "user", user.map(|user| &*user.id));
        let is_verified = user.is_some_and(|user| user.is_verified);
        out.extend_from_slice(format!(r#","verified":{is_verified}"#).as_bytes());
        text(out, "name", user.map(|user| &*user.name));
        text(out, "role", user.and_then(|user| user.role.as_deref()));
        text(out, "client_id", info.client_id.as_deref());
        text(out, "address", Some(&info.source.address.to_string()));
        let is_forwarded = info.source.is_forwarded;
        out.extend_from_slice(format!(r#","forwarded":{is_forwarded}"#).as_bytes());
        text(out, "protocol", Some(protocol));
        text(out, "endpoint", Some(endpoint).filter(|it| !it.is_empty()));
        text(out, "transport", Some(transport));
        let (now_ms, wall_ms) = (self.clock.now_ms(), self.clock.wall_ms());
        let received_ms = wall_ms - now_ms.saturating_sub(link.life.received).min(wall_ms);
        for (key, ms) in [("since", info.connected_ms), ("last_received", received_ms)] {
            let time = timestamp_of(ms);
            text(out, key, str::from_utf8(&time).ok());
        }
        let seconds = wall_ms.saturating_sub(info.connected_ms) / 1000;
        let expires = link.life.lease.map(|lease| lease.until.get());
        let expires = expires.map_or_else(|| "null".to_owned(), |until| until.to_string());
        let unsent = core.engine.hub().unsent(link.peer);
        let is_blocked = core.engine.hub().is_blocked(link.peer.slot);
        let numbers = format!(
            r#","seconds":{seconds},"expires_at":{expires},"received_bytes":{},"sent_bytes":{},"unsent_bytes":{unsent},"socket_full":{is_blocked},"subscriptions":["#,
            link.received, link.sent
        );
        out.extend_from_slice(numbers.as_bytes());
        let mut count = 0;
        for name in core.engine.selectors_of(link.peer) {
            if count < NAMES_MAX {
                if count > 0 {
                    out.push(b',');
                }
                put_string(out, name);
            }
            count += 1;
        }
        out.extend_from_slice(format!(r#"],"subscription_count":{count}}}"#).as_bytes());
        count
    }

    fn is_wanted(&self, wanted: &Wanted, link: &Link) -> bool {
        let Some(info) = link.info.as_deref() else {
            return false;
        };
        let user = info.user.as_deref().map(|user| &*user.id);
        let is_it = |it: AnyPeer| it == (self.id, link.peer);
        let is_proved = info.user.as_deref().is_some_and(|user| user.is_verified);
        wanted.connection.is_none_or(is_it)
            && wanted.covers(user, info.source.address)
            && !(wanted.is_unproved && is_proved)
    }
}
