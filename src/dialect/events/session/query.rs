//! `query`: answered from the shard's state, or by a topic's home.

use serde_json::{Value, json};

use super::{EventsSession, PendingReply, answer, error};
use crate::dialect::events::{Query, Refusal};
use crate::engine::{HistoryPage, HistoryPart, ROSTER_USERS_MAX};
use crate::id::{PeerId, UserKey};
use crate::json::{self, Raw};
use crate::shard::Shard;
use crate::topic::{self, Selector};

/// The topic whose roster is queried, and the page of it.
#[derive(serde::Deserialize)]
struct RosterQuery {
    event: String,
    #[serde(default)]
    after: String,
    #[serde(default = "all")]
    limit: usize,
}

fn all() -> usize {
    ROSTER_USERS_MAX
}

/// The largest and the default number of events in the answer to the query `history`.
const HISTORY_EVENTS_MAX: u32 = 100;
const HISTORY_EVENTS: u32 = 50;

/// Bytes of that answer, about, and at most half of an outbox. The event that reaches the limit is included.
const HISTORY_BYTES: usize = 64 * 1024;

/// The topic whose history is queried, and the page of it.
struct HistoryQuery {
    event: String,
    limit: u32,
    before: u64,
}

impl HistoryQuery {
    /// Reads the parameters of the query; `None` if one is missing or not what it should be.
    fn read(params: Raw<'_>) -> Option<Self> {
        let (mut event, mut limit, mut before) = (None, None, None);
        json::fields(params.text(), |key, value| match key {
            "event" => event = Some(value),
            "limit" => limit = Some(value),
            "before" => before = Some(value),
            _ => {}
        })
        .ok()?;
        let count = |value: Option<Raw<'_>>, default| match value.filter(|value| !value.is_null()) {
            Some(value) => value.as_count(),
            None => Some(default),
        };
        let limit = count(limit, u64::from(HISTORY_EVENTS))?;
        let limit = u32::try_from(limit).ok();
        Some(Self {
            event: event?.as_string()?.into_owned(),
            limit: limit.filter(|limit| (1..=HISTORY_EVENTS_MAX).contains(limit))?,
            before: count(before, u64::MAX)?,
        })
    }
}

impl EventsSession {
    pub(super) fn query(
        &mut self,
        shard: &Shard,
        peer: PeerId,
        id: Option<Raw<'_>>,
        query: &Query<'_>,
    ) {
        let id_text = id.map(Raw::text);
        let name = match query {
            Query::Named { name, params } if name == "presence" => {
                return self.presence(shard, peer, id, params.text());
            }
            Query::Named { name, params } if name == "history" => {
                return self.history(shard, peer, id, *params);
            }
            Query::Named { name, .. } => {
                if let Some(result) = self.look_up(shard, name) {
                    return answer(shard, peer, |w| {
                        w.response(id_text, |out| {
                            serde_json::to_writer(out, &result).expect("memory takes everything");
                        });
                    });
                }
                name
            }
            Query::Typed(kind) => {
                // This gateway has no agents and no world state; clients that query them get valid empty results.
                let fields: Option<&[u8]> = match &**kind {
                    "agent_status" => Some(br#""agents":[]"#),
                    "world_state" => Some(br#""world":{}"#),
                    _ => None,
                };
                if let Some(fields) = fields {
                    return answer(shard, peer, |w| {
                        w.query_result(id_text, kind, |out| out.extend_from_slice(fields));
                    });
                }
                kind
            }
        };
        let refusal = Refusal::unknown(id, "UNKNOWN_QUERY", "Unknown query", name);
        error(shard, peer, &refusal);
    }

    /// Requests the roster of a topic from its home.
    fn presence(&mut self, shard: &Shard, peer: PeerId, id: Option<Raw<'_>>, params: &str) {
        let refuse = |code, why: &str| {
            error(shard, peer, &Refusal::new(id, code, why.to_owned()));
        };
        let Ok(RosterQuery {
            event,
            after,
            limit,
        }) = serde_json::from_str(params)
        else {
            let why =
                "`params.event` is missing: a topic's name; `after` is a name, `limit` a number";
            return refuse("INVALID_MESSAGE", why);
        };
        if let Err(why) = topic::check_topic(&event) {
            return refuse("INVALID_MESSAGE", &format!("`params.event`: {why}"));
        }
        let may = self.permissions(shard);
        if !may.may_subscribe(&Selector::Topic(&event)) {
            let why = "Asking who is there takes what subscribing takes: a token whose \
                       `fanfare.subscribe` covers the topic, or another namespace";
            return refuse("FORBIDDEN", why);
        }
        if !shard.config.namespace(&event).presence {
            return refuse("NO_PRESENCE", "Presence is not kept for this topic");
        }
        let asked = shard.engine(|engine| engine.ask_roster(peer, &event, &after, limit));
        let Some(ticket) = asked else {
            return refuse("BUSY", "The topic's core is busy; ask again in a moment");
        };
        let roster = PendingReply::Roster {
            id: id.map(|id| id.text().into()),
            topic: event.into(),
        };
        self.pending.push((ticket, roster));
        self.take_outcomes(shard, peer);
    }

    /// Requests a page of a topic's history from its home.
    fn history(&mut self, shard: &Shard, peer: PeerId, id: Option<Raw<'_>>, params: Raw<'_>) {
        let refuse = |code, why: &str| {
            error(shard, peer, &Refusal::new(id, code, why.to_owned()));
        };
        let Some(HistoryQuery {
            event,
            limit,
            before,
        }) = HistoryQuery::read(params)
        else {
            let why = format!(
                "`params.event` is missing: a topic's name; `limit` is from 1 to {HISTORY_EVENTS_MAX}, `before` an offset"
            );
            return refuse("INVALID_MESSAGE", &why);
        };
        if let Err(why) = topic::check_topic(&event) {
            return refuse("INVALID_MESSAGE", &format!("`params.event`: {why}"));
        }
        if !self
            .permissions(shard)
            .may_subscribe(&Selector::Topic(&event))
        {
            let why = "Reading a history takes what subscribing takes: a token whose \
                       `fanfare.subscribe` covers the topic, or another namespace";
            return refuse("FORBIDDEN", why);
        }
        let page = HistoryPage {
            part: HistoryPart::Before(before),
            limit,
            bytes: HISTORY_BYTES.min(shard.config.hub.outbox_max_bytes / 2),
            user: self
                .identity()
                .map_or(UserKey::NONE, |identity| UserKey::of(&identity.user)),
        };
        let Some(ticket) = shard.engine(|engine| engine.ask_history(peer, &event, &page)) else {
            return refuse("BUSY", "The topic's core is busy; ask again in a moment");
        };
        let history = PendingReply::History {
            id: id.map(|id| id.text().into()),
            topic: event.into(),
        };
        self.pending.push((ticket, history));
        self.take_outcomes(shard, peer);
    }

    /// The result of the query `name`; `None` if it is unknown.
    fn look_up(&self, shard: &Shard, name: &str) -> Option<Value> {
        Some(match name {
            "connections" => json!({ "count": shard.process.connections() }),
            "metrics" => serde_json::from_str(&shard.system_metrics()).expect("figures are JSON"),
            "server_info" => self.server_info(shard),
            "subscriptions" => json!({
                "subscriptions": self.subscriptions.iter().collect::<Vec<_>>(),
                "count": self.subscriptions.len(),
                "limit": shard.config.clients.max_subscriptions,
            }),
            _ => return None,
        })
    }
}
