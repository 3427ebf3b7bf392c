//! The record of a connection's end, or of a request's refusal.

use super::info::ConnectionInfo;
use super::links::Transport;
use super::{Core, Disconnect, Shard};
use crate::http::Source;
use crate::id::{PeerId, ShardId};
use crate::metrics::Refused;
use crate::process::End;

/// A request that is refused, as it is counted and logged.
#[derive(Clone, Copy, Debug)]
pub struct RefusedRequest<'a> {
    /// Where the client connected from.
    pub source: Source,
    /// The protocol, and the endpoint within it; empty where it is not known.
    pub endpoint: (&'static str, &'static str),
    /// The user, if that was verified.
    pub user: Option<&'a str>,
    /// The status of the response; 0: none.
    pub status: u16,
    /// The reason.
    pub cause: Refused,
    /// What else is known of the reason; of the request at most the name of a topic.
    pub detail: &'a str,
}

impl Shard {
    /// The id of a connection in the log and in listings: unique for the life of the process.
    #[must_use]
    pub fn connection_id(&self, peer: PeerId) -> String {
        format!("{}-{peer}", self.id.0)
    }

    /// Sets what is known of a connection that begins.
    pub fn set_info(&self, peer: PeerId, mut info: Box<ConnectionInfo>) {
        info.connected_ms = self.clock.wall_ms();
        let dialect = self.process.registered.dialect(info.endpoint.0);
        if let Some(dialect) = dialect {
            self.counters.of_dialect(dialect).opened.add(1);
        }
        self.core.borrow_mut().links.set_info(peer, info, dialect);
    }

    /// Changes what is known of a connection.
    pub fn update_info(&self, peer: PeerId, change: impl FnOnce(&mut ConnectionInfo)) {
        let mut core = self.core.borrow_mut();
        if let Some(info) = core.links.get_mut(peer).and_then(|link| link.info.as_mut()) {
            change(info);
        }
    }

    /// Notes why a connection is about to end, beyond the reason. What was noted first counts.
    pub fn note_detail(&self, peer: PeerId, detail: &str) {
        self.update_info(peer, |info| {
            info.detail.get_or_insert_with(|| detail.into());
        });
    }

    /// Counts the end of a connection, and keeps why.
    ///
    /// Cost: as [`Ends::note_ended`](crate::process::Ends::note_ended), and a look at each of its subscriptions.
    pub(super) fn count_end(&self, core: &Core, peer: PeerId, why: Disconnect) {
        self.counters.disconnects[why.counter()].add(1);
        let registered = &self.process.registered;
        let Some(link) = core.links.get(peer) else {
            return;
        };
        let Some(info) = &link.info else { return };
        let hub = core.engine.hub();
        let code = match (link.transport, link.close_of(why, registered)) {
            (Transport::WebSocket { .. }, Some((code, _))) => code,
            _ => 0,
        };
        self.tell_disconnect(core, peer, why, code);
        let now_ms = self.clock.wall_ms();
        let end = End {
            at_ms: now_ms,
            connection: Some(self.connection_id(peer).into()),
            source: info.source,
            endpoint: *info.endpoint,
            user: info.user.as_ref().map(|user| user.id.clone()),
            is_verified: info.user.as_ref().is_some_and(|user| user.is_verified),
            open_ms: now_ms.saturating_sub(info.connected_ms),
            code,
            cause: why.label(registered),
            detail: info.detail.as_deref().unwrap_or("").to_owned().into(),
            unsent_bytes: hub.unsent(peer).max(info.unsent_bytes),
            received_bytes: link.received,
            sent_bytes: link.sent,
        };
        self.process.ends.note_ended(end, why.is_by_client());
    }

    /// Counts a refused request, and logs and keeps why.
    ///
    /// Cost: as [`Ends::note_refused`](crate::process::Ends::note_refused).
    pub fn note_refused(&self, refused: &RefusedRequest<'_>) {
        self.counters.refused[refused.cause.index()].add(1);
        self.log_refused(refused);
    }

    /// Logs and keeps why a request was refused, which has been counted.
    pub fn log_refused(&self, refused: &RefusedRequest<'_>) {
        let cause = Refused::LABELS[refused.cause.index()];
        // Requests are answered between the turns that read the clock.
        self.clock.refresh();
        self.process.ends.note_refused(cause, || End {
            at_ms: self.clock.wall_ms(),
            connection: None,
            source: refused.source,
            endpoint: refused.endpoint,
            user: refused.user.map(Into::into),
            is_verified: refused.user.is_some(),
            open_ms: 0,
            code: refused.status,
            cause,
            detail: refused.detail.to_owned().into(),
            unsent_bytes: 0,
            received_bytes: 0,
            sent_bytes: 0,
        });
    }

    /// Asks a connection's task to close it as too slow: its client has `unsent_bytes` to receive.
    pub(super) fn disconnect_slow(&self, peer: PeerId, unsent_bytes: u64) {
        self.update_info(peer, |info| info.unsent_bytes = unsent_bytes);
        self.disconnect(peer, Disconnect::Slow);
    }

    /// Asks a connection's task to close it with a code and a reason of a service.
    pub(super) fn disconnect_as_ordered(&self, peer: PeerId, code: u16, reason: Option<&str>) {
        self.update_info(peer, |info| {
            if let Some(reason) = reason {
                info.detail = Some(reason.into());
            }
        });
        self.disconnect(peer, Disconnect::Ordered(code));
    }
}

/// A connection's id, as [`Shard::connection_id`] writes it.
#[must_use]
pub fn parse_connection_id(text: &str) -> Option<(ShardId, PeerId)> {
    let (shard, peer) = text.split_once('-')?;
    Some((ShardId(shard.parse().ok()?), peer.parse().ok()?))
}
