//! Missed messages of topics that the client reads already: it asks for them when it sees that some are missing, and
//! with `sync_request`.

use std::time::Duration;

use tokio::time::Instant;

use super::WseSession;
use super::ack::AckStart;
use super::awaited::Awaited;
use crate::dialect::wse::format::put_event;
use crate::engine::{HistoryExcerpt, HistoryPage, HistoryPart, Publication};
use crate::id::{Form, PeerId, Position, Priority, UserKey};
use crate::shard::Shard;
use crate::topic;

/// Messages that are written at once.
const PAGE_MESSAGES: u32 = 256;

/// Their bytes, about.
const PAGE_BYTES: usize = 64 * 1024;

/// Topics of one client whose history waits to be written.
const REPLAYS_MAX: usize = 1000;

/// How long after an answer a request may come that was on its way before.
const UNDERWAY: Duration = Duration::from_secs(3);

/// Topics of one client of which is known up to where they were written.
const REPLAYED_MAX: usize = 100;

/// A topic whose history is being written.
#[derive(Debug)]
pub(super) struct Replay {
    topic: Box<str>,
    /// In which life of the topic; `None`: whichever it is.
    epoch: Option<u64>,
    /// The messages behind this one are wanted.
    after: u64,
    /// How many have been written.
    count: u64,
    /// Whether every message since was kept.
    is_complete: bool,
    /// Whether homes have been asked for the next part.
    is_asked: bool,
    /// Whether its client has unsubscribed meanwhile.
    is_cancelled: bool,
    /// Whether it is for a `sync_request`, which has an answer of its own.
    is_sync: bool,
}

impl Replay {
    /// What a client that has come to a position wants to have.
    pub(super) fn repair(topic: &str, from: Position) -> Self {
        Self {
            topic: topic.into(),
            epoch: Some(from.epoch),
            after: from.offset,
            count: 0,
            is_complete: true,
            is_asked: false,
            is_cancelled: false,
            is_sync: false,
        }
    }

    pub(super) fn is_for_sync(&self) -> bool {
        self.is_sync
    }

    /// What is behind an offset, for a `sync_request`.
    pub(super) fn sync(topic: &str, after: u64) -> Self {
        Self {
            epoch: None,
            is_sync: true,
            ..Self::repair(
                topic,
                Position {
                    epoch: 0,
                    offset: after,
                },
            )
        }
    }
}

impl WseSession {
    /// Writes a topic's history, unless the same is asked for already. Returns whether there is room for it.
    pub(super) fn replay(&mut self, replay: Replay) -> bool {
        let replays = &mut self.more().replays;
        let is_known = replays.iter().any(|one| {
            !one.is_cancelled && one.topic == replay.topic && one.is_sync == replay.is_sync
        });
        let has_room = is_known || replays.len() < REPLAYS_MAX;
        if has_room && !is_known {
            replays.push_back(replay);
        }
        has_room
    }

    /// Whether a topic was written beyond a position already: the request was on its way then, and its client would take
    /// an answer for messages that it has.
    pub(super) fn was_replayed(&self, topic: &str, from: Position) -> bool {
        let Some(more) = &self.more else { return false };
        let known = more.replayed.iter().find(|(name, ..)| **name == *topic);
        known.is_some_and(|(_, to, until)| {
            to.epoch == from.epoch && from.offset < to.offset && Instant::now() < *until
        })
    }

    fn note_replayed(&mut self, topic: &str, to: Position) {
        let replayed = &mut self.more().replayed;
        replayed.retain(|(name, ..)| **name != *topic);
        if replayed.len() >= REPLAYED_MAX {
            replayed.pop_front();
        }
        replayed.push_back((topic.into(), to, Instant::now() + UNDERWAY));
    }

    /// Asks homes for the next part of a history, if the client can be written to. Returns whether it did.
    pub(super) fn ask_history(&mut self, shard: &Shard, peer: PeerId) -> bool {
        let user = self.user_key();
        let Some(replay) = self.more.as_mut().and_then(|more| more.replays.front_mut()) else {
            return false;
        };
        if replay.is_asked {
            return false;
        }
        let page = HistoryPage {
            part: HistoryPart::After(replay.after),
            limit: PAGE_MESSAGES,
            bytes: PAGE_BYTES,
            user,
        };
        let topic = replay.topic.clone();
        // A page may take all the room that there is for messages to one client.
        let ticket = match shard.has_queued(peer) {
            true => None,
            false => shard.engine(|engine| engine.ask_history(peer, &topic, &page)),
        };
        let Some(ticket) = ticket else {
            self.retry_soon(shard, peer);
            return false;
        };
        replay.is_asked = true;
        self.await_outcome(shard, peer, (ticket, Awaited::History), None);
        true
    }

    fn user_key(&self) -> UserKey {
        let identity = self.identity.as_ref();
        identity.map_or(UserKey::NONE, |identity| UserKey::of(&identity.user))
    }

    /// Writes a part of a history.
    pub(super) fn send_history(&mut self, shard: &Shard, peer: PeerId, kept: &HistoryExcerpt) {
        let more = self.more.as_mut();
        let Some(mut replay) = more.and_then(|more| more.replays.pop_front()) else {
            return;
        };
        replay.is_asked = false;
        if replay.is_cancelled {
            return self.drop_replay(shard, peer, &replay);
        }
        let is_same = replay
            .epoch
            .is_none_or(|epoch| epoch == kept.position.epoch);
        if !is_same || replay.after > kept.position.offset {
            replay.is_complete = false;
            replay.after = kept.position.offset;
            return self.end_replay(shard, peer, &replay, kept.position);
        }
        replay.epoch = Some(kept.position.epoch);
        let next = kept.messages.first().map(|message| message.offset);
        let oldest = next.unwrap_or(kept.position.offset + 1);
        let lost = oldest.saturating_sub(replay.after + 1);
        // What is left out for this user has a place, and is not lost.
        let is_lost = lost > 0 && kept.oldest.is_none_or(|oldest| oldest > replay.after + 1);
        if is_lost {
            replay.is_complete = false;
            let position = Position {
                epoch: kept.position.epoch,
                offset: oldest - 1,
            };
            let count = kept.messages.len() as u64;
            let start = AckStart::replayed(&replay.topic, position, false, count);
            self.send_position(shard, peer, start, "recover");
            self.send_system(shard, peer, "gap", |p| {
                p.text("topic", &replay.topic).number("lost", lost);
            });
        }
        let dropped = shard.counters.messages_dropped.read();
        let (dress, event_map) = (self.dress, &self.wse.settings.event_map);
        for message in &kept.messages {
            let publication = Publication {
                kind: message.kind,
                form: Form::NEUTRAL,
                topic: &replay.topic,
                name: &message.name,
                data: &message.data,
                publisher: &message.publisher,
                epoch: kept.position.epoch,
                offset: message.offset,
            };
            shard.send_text(peer, Priority::High, |out, _| {
                // A client would drop what is not behind its place.
                let how = (&shard.config.namespaces, event_map);
                put_event(out, dress, &publication, how, !replay.is_sync);
            });
            replay.count += 1;
        }
        shard
            .counters
            .messages_replayed
            .add(kept.messages.len() as u64);
        // The client is told of it; it goes on behind what it has.
        replay.is_complete &= shard.counters.messages_dropped.read() == dropped;
        let last = kept.messages.last().map(|message| message.offset);
        replay.after = last.unwrap_or(kept.position.offset);
        if kept.more {
            return self.more().replays.push_front(replay);
        }
        let position = Position {
            epoch: kept.position.epoch,
            offset: replay.after,
        };
        self.end_replay(shard, peer, &replay, position);
    }

    /// Drops the histories of topics that the client reads no more.
    pub(super) fn drop_unread(&mut self, shard: &Shard, peer: PeerId) {
        let Some(more) = self.more.as_mut().filter(|more| !more.replays.is_empty()) else {
            return;
        };
        let subscriptions = &self.subscriptions;
        let is_read = |topic: &str| {
            topic::is_inbox(topic) || subscriptions.contains(topic) || subscriptions.covers(topic)
        };
        let mut dropped = Vec::new();
        for mut replay in std::mem::take(&mut more.replays) {
            if is_read(&replay.topic) {
                more.replays.push_back(replay);
            } else if replay.is_asked {
                // Its answer is dropped when it comes.
                replay.is_cancelled = true;
                more.replays.push_back(replay);
            } else {
                dropped.push(replay);
            }
        }
        for replay in dropped {
            self.drop_replay(shard, peer, &replay);
        }
    }

    fn drop_replay(&mut self, shard: &Shard, peer: PeerId, replay: &Replay) {
        if replay.is_sync {
            self.end_sync_replay(shard, peer);
        }
    }

    /// Acknowledges that a topic's history has been written.
    fn end_replay(&mut self, shard: &Shard, peer: PeerId, replay: &Replay, position: Position) {
        if replay.is_sync {
            self.end_sync_replay(shard, peer);
        } else {
            let Replay {
                topic,
                is_complete,
                count,
                ..
            } = replay;
            let start = AckStart::replayed(topic, position, *is_complete, *count);
            self.send_position(shard, peer, start, "subscribe");
            self.note_replayed(&replay.topic, position);
        }
        self.tidy();
    }
}
