//! `query`: answered from the shard's state, or by a topic's home.

use serde_json::{Value, json};

use super::{EventsSession, PendingReply, answer, error};
use crate::dialect::events::{Query, Refusal};
use crate::engine::ROSTER_USERS_MAX;
use crate::id::PeerId;
use crate::json::Raw;
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
