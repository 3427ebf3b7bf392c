//! `query`: questions that are answered from what the shard knows.

use serde_json::{Value, json};

use super::{Events, answer, error};
use crate::id::PeerId;
use crate::protocol::events::{Query, Refusal};
use crate::protocol::json::Raw;
use crate::shard::Shard;

impl Events {
    pub(super) fn query(
        &self,
        shard: &Shard,
        peer: PeerId,
        id: Option<Raw<'_>>,
        query: &Query<'_>,
    ) {
        let id_text = id.map(Raw::text);
        let name = match query {
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
                // This gateway has no agents and no world of its own; clients
                // that ask get the empty answers that they understand.
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

    /// The answer to the query `name`; `None` if there is none of that name.
    fn look_up(&self, shard: &Shard, name: &str) -> Option<Value> {
        Some(match name {
            "connections" => json!({ "count": shard.process.connections() }),
            "metrics" => {
                let totals = shard.totals();
                json!({
                    "connections": shard.process.connections(),
                    "messages_in": totals.messages_in,
                    "messages_out": totals.messages_out,
                    "subscriptions": totals.subscriptions,
                    "uptime_seconds": shard.clock.now_ms() / 1000,
                })
            }
            "server_info" => self.server_info(shard),
            "subscriptions" => json!({
                "subscriptions": self.subscriptions,
                "count": self.subscriptions.len(),
                "limit": shard.config.events.max_subscriptions,
            }),
            _ => return None,
        })
    }
}
