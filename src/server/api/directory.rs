//! `GET /api/v1/ws/connections` and `/subscriptions`: who is connected, and to
//! what, for services.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use axum::Extension;
use axum::extract::{RawQuery, State as Shared};
use axum::http::HeaderMap;

use super::State;
use crate::http::{Answer, ClientAddress, refuse, respond};
use crate::shard;

/// Connections or subscriptions in one answer, and how many there are if nothing
/// is said.
const LIMIT_MAX: usize = 10_000;
const LIMIT_DEFAULT: usize = 1000;

const JSON: &str = "application/json";

/// Answers with the connections of all shards.
pub(super) async fn connections(
    Shared(state): Shared<Arc<State>>,
    RawQuery(query): RawQuery,
    Extension(ClientAddress(address)): Extension<ClientAddress>,
    headers: HeaderMap,
) -> Answer {
    let limit = match open(&state, address, &headers, query.as_deref()) {
        Ok(limit) => limit,
        Err(answer) => return *answer,
    };
    let asked = shard::local(|shard| shard.ask_all(move |shard| shard.list_connections(limit)));
    let (mut total, mut authenticated, mut items) = (0, 0, Vec::new());
    for answer in asked {
        let Ok(listing) = answer.await else {
            return refuse(503, "The gateway is stopping", &[]);
        };
        total += listing.total;
        authenticated += listing.authenticated;
        items.extend(listing.items);
    }
    items.truncate(limit);
    let items = items.join(",");
    respond(
        200,
        JSON,
        format!(
            r#"{{"total_connections":{total},"authenticated_connections":{authenticated},"connections":[{items}]}}"#
        ),
    )
}

/// Answers with the topics and patterns that are subscribed to, and by whom.
pub(super) async fn subscriptions(
    Shared(state): Shared<Arc<State>>,
    RawQuery(query): RawQuery,
    Extension(ClientAddress(address)): Extension<ClientAddress>,
    headers: HeaderMap,
) -> Answer {
    let limit = match open(&state, address, &headers, query.as_deref()) {
        Ok(limit) => limit,
        Err(answer) => return *answer,
    };
    let asked = shard::local(|shard| shard.ask_all(move |shard| shard.list_subscriptions(limit)));
    let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut count = 0;
    for answer in asked {
        let Ok(pairs) = answer.await else {
            return refuse(503, "The gateway is stopping", &[]);
        };
        for (name, client_id) in pairs {
            if count < limit {
                names.entry(name).or_default().push(client_id);
                count += 1;
            }
        }
    }
    let body = serde_json::json!({ "subscriptions": names });
    respond(200, JSON, body.to_string())
}

/// How many a service may see.
fn open(
    state: &State,
    address: IpAddr,
    headers: &HeaderMap,
    query: Option<&str>,
) -> Result<usize, Box<Answer>> {
    state.check_service(headers, address)?;
    let mut pairs = query.unwrap_or("").split('&');
    match pairs.find_map(|pair| pair.strip_prefix("limit=")) {
        None => Ok(LIMIT_DEFAULT),
        Some(limit) => limit
            .parse()
            .ok()
            .filter(|limit| (1..=LIMIT_MAX).contains(limit))
            .ok_or_else(|| {
                let why = format!("`limit` is from 1 to {LIMIT_MAX}");
                Box::new(refuse(422, &why, &[]))
            }),
    }
}
