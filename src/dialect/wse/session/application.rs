//! What the application is told, and the answers of users to services.

use tokio::time::Instant;

use super::history::Replay;
use super::{WseSession, fault_text, id_text};
use crate::call::CallAnswer;
use crate::conn::Flow;
use crate::dialect::wse::category::Category;
use crate::dialect::wse::envelope::Envelope;
use crate::dialect::wse::frame::Writer;
use crate::id::{PeerId, Priority};
use crate::inbound::{MessageBody, MessageFields};
use crate::json::{self, JsonError, Raw};
use crate::process::NotTaken;
use crate::shard::Shard;
use crate::timestamp::timestamp_of;

/// A `sync_request` that is not answered yet.
#[derive(Debug)]
pub(super) struct Sync {
    /// Its `id`, a JSON text; empty if it had none.
    id: Box<str>,
    /// Until when the application is waited for; `None` once it has answered.
    due: Option<Instant>,
    /// Topics whose history is still being written.
    replays: usize,
}

/// `sync_request`s of one client that are not answered.
const SYNCS_MAX: usize = 16;

impl WseSession {
    /// Tells the application what the client says. If it is not taken, the client is told.
    pub(super) fn tell(&mut self, shard: &Shard, peer: PeerId, message: &Envelope<'_>) {
        if self.is_seen(shard, message.id) {
            return;
        }
        match self.pass_on(shard, peer, message) {
            Ok(()) => self.note_seen(shard, message.id),
            Err(why) => self.not_taken(shard, peer, why, None),
        }
    }

    fn pass_on(&self, shard: &Shard, peer: PeerId, message: &Envelope<'_>) -> Result<(), NotTaken> {
        let fields = MessageFields {
            kind: message.kind.as_deref(),
            id: message.id.map(Raw::text),
            body: MessageBody::Json(message.text),
        };
        shard.tell_message(peer, &fields)
    }

    /// Tells the application of a text that is no message.
    pub(super) fn tell_raw(&self, shard: &Shard, peer: PeerId, text: &str, why: JsonError) {
        let fields = MessageFields {
            kind: None,
            id: None,
            body: MessageBody::Text(text),
        };
        if let Err(not_taken) = shard.tell_message(peer, &fields) {
            self.not_taken(shard, peer, not_taken, Some(fault_text(why)));
        }
    }

    /// Tells the application of bytes that are no message.
    pub(super) fn tell_binary(&self, shard: &Shard, peer: PeerId, bytes: &[u8]) {
        let fields = MessageFields {
            kind: None,
            id: None,
            body: MessageBody::Binary(bytes),
        };
        if let Err(not_taken) = shard.tell_message(peer, &fields) {
            let fault = "The message is neither JSON nor MessagePack nor compressed";
            self.not_taken(shard, peer, not_taken, Some(fault));
        }
    }

    /// Tells the client that the application does not get what it has said.
    fn not_taken(&self, shard: &Shard, peer: PeerId, why: NotTaken, fault: Option<&str>) {
        let text = |text: &str| match fault {
            Some(fault) => format!("{fault}. {text}"),
            None => text.to_owned(),
        };
        match why {
            NotTaken::NoApplication => {
                let message = text("No application is attached");
                self.error(shard, peer, "INVALID_MESSAGE", &message);
            }
            NotTaken::Full => {
                let message = text("The application is busy: try again later");
                self.error_with(shard, peer, "RATE_LIMITED", &message, |p| {
                    p.decimal("retry_after", 1.0);
                });
            }
        }
    }

    /// Whether a message with this id was passed on before.
    pub(super) fn is_seen(&mut self, shard: &Shard, id: Option<Raw<'_>>) -> bool {
        let now_ms = shard.clock.now_ms();
        match (id, &mut self.more) {
            (Some(id), Some(more)) => more.seen.has(id.text(), now_ms),
            _ => false,
        }
    }

    /// Notes that a message with this id has been passed on.
    pub(super) fn note_seen(&mut self, shard: &Shard, id: Option<Raw<'_>>) {
        if let Some(id) = id {
            let now_ms = shard.clock.now_ms();
            self.more().seen.note(id.text(), now_ms);
        }
    }

    /// Passes an answer on to the service that has asked the user. `None` if the message is none.
    pub(super) fn answer_call(&self, shard: &Shard, message: &Envelope<'_>) -> Option<Flow> {
        let correlation = message.correlation?;
        if message.kind.as_deref() != Some("response") {
            return None;
        }
        let user = &self.identity.as_ref()?.user;
        let said = CallAnswer::from_payload(message.payload_text(), correlation)?;
        let had_room = shard.with_answer(|out| {
            said.put_events(out);
            let key = said.correlation().key();
            shard.answer_call(&key, user, out, said.is_last())
        });
        Some(match had_room {
            true => Flow::Continue,
            false => Flow::Wait,
        })
    }

    /// Processes a `sync_request`: the application may send a state, and the end of it is told in any case.
    pub(super) fn sync(&mut self, shard: &Shard, peer: PeerId, message: &Envelope<'_>) {
        let (mut topics, mut has_history, mut after) = (Vec::new(), false, 0);
        let _ = json::fields(message.payload_text(), |key, value| match key {
            "topics" => topics = value.as_strings().unwrap_or_default(),
            "include_history" => has_history = value.text() == "true",
            "last_sequence" => after = value.as_count().unwrap_or(0),
            _ => {}
        });
        if self.more().syncs.len() >= SYNCS_MAX {
            let why = "Too many of them are not answered yet";
            return self.error(shard, peer, "RATE_LIMITED", why);
        }
        topics.retain(|topic| has_history && self.subscriptions.contains(topic));
        for topic in &topics {
            // What has no room is not written; the answer ends it all the same.
            let _ = self.replay(Replay::sync(topic, after));
        }
        let is_told = self.pass_on(shard, peer, message).is_ok();
        let due = is_told.then(|| Instant::now() + self.wse.settings.snapshot_timeout);
        if let Some(due) = due {
            self.wait_until(due);
        }
        let replays = self
            .more()
            .replays
            .iter()
            .filter(|one| one.is_for_sync())
            .count();
        self.more().syncs.push(Sync {
            id: id_text(message.id).into(),
            due,
            replays,
        });
        self.go_on(shard, peer);
        self.end_syncs(shard, peer);
    }

    /// The history of a topic has been written for the oldest `sync_request` that waits for it.
    pub(super) fn end_sync_replay(&mut self, shard: &Shard, peer: PeerId) {
        let syncs = self.more().syncs.iter_mut();
        for sync in syncs {
            sync.replays = sync.replays.saturating_sub(1);
        }
        self.end_syncs(shard, peer);
    }

    /// The application has answered the `sync_request` with this `id`.
    pub(super) fn note_sync_answer(&mut self, shard: &Shard, peer: PeerId, id: &str) {
        let Some(more) = &mut self.more else { return };
        let sync = more.syncs.iter_mut().find(|sync| *sync.id == *id);
        if let Some(sync) = sync {
            sync.due = None;
            self.end_syncs(shard, peer);
        }
    }

    /// The application has said by itself that a state is complete.
    pub(super) fn note_snapshot_complete(&mut self) {
        if let Some(more) = &mut self.more
            && !more.syncs.is_empty()
        {
            more.syncs.remove(0);
            self.tidy();
        }
    }

    /// Ends what the application was waited for too long.
    pub(super) fn end_late_syncs(&mut self, shard: &Shard, peer: PeerId) {
        let Some(more) = &mut self.more else { return };
        let now = Instant::now();
        for sync in &mut more.syncs {
            sync.due = sync.due.filter(|due| *due > now);
        }
        let next = more.syncs.iter().filter_map(|sync| sync.due).min();
        if let Some(next) = next {
            self.wait_until(next);
        }
        self.end_syncs(shard, peer);
    }

    /// Tells the client of each state that is complete.
    fn end_syncs(&mut self, shard: &Shard, peer: PeerId) {
        let Some(more) = &mut self.more else { return };
        let is_over = |sync: &mut Sync| sync.due.is_none() && sync.replays == 0;
        let over: Vec<Sync> = more.syncs.extract_if(.., is_over).collect();
        let timestamp = timestamp_of(shard.clock.wall_ms());
        let timestamp = str::from_utf8(&timestamp).expect("it is ASCII");
        for _ in over {
            let dress = self.dress;
            shard.send_plain(peer, Priority::High, |out| {
                Writer::begin(out, dress, Category::Snapshot, "snapshot_complete")
                    .payload(|p| {
                        p.flag("success", true).text("timestamp", timestamp);
                    })
                    .end();
            });
        }
        self.tidy();
    }
}
