//! `GET /api/v1/ws/connections` and `/subscriptions`: listings of connections and subscriptions, for services.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Extension;
use axum::extract::{RawQuery, State as Shared};
use axum::http::HeaderMap;
use tokio::task::yield_now;

use crate::http::{Answer, Rejection, Source, refuse, respond};
use crate::service::State;

/// The largest and the default number of connections or subscriptions in one response.
pub(super) const LIMIT_MAX: usize = 10_000;
const LIMIT_DEFAULT: usize = 1000;

const JSON: &str = "application/json";

/// Answers with the connections of all shards.
pub(super) async fn connections(
    Shared(state): Shared<Arc<State>>,
    RawQuery(query): RawQuery,
    Extension(source): Extension<Source>,
    headers: HeaderMap,
) -> Result<Answer, Rejection> {
    let limit = open(&state, source, &headers, query.as_deref())?;
    let (mut total, mut authenticated, mut listed) = (0, 0, 0);
    let mut body = r#"{"connections":["#.to_owned();
    for shard in state.shard.shards() {
        let mut from = Some(0);
        while let Some(slot) = from {
            let asked = state.shard.ask_connections(shard, slot, limit - listed);
            let Ok(page) = asked.await else {
                return Err(refuse(503, "The gateway is stopping", &[]).into());
            };
            total += page.total;
            authenticated += page.authenticated;
            if listed > 0 && page.listed > 0 {
                body.push(',');
            }
            listed += page.listed;
            body.push_str(&page.items);
            from = page.next;
            // Other tasks get their turn between two pages.
            yield_now().await;
        }
    }
    let counts =
        format!(r#"],"total_connections":{total},"authenticated_connections":{authenticated}}}"#);
    body.push_str(&counts);
    Ok(respond(200, JSON, body))
}

/// Answers with the subscribed topics and patterns and their client ids.
pub(super) async fn subscriptions(
    Shared(state): Shared<Arc<State>>,
    RawQuery(query): RawQuery,
    Extension(source): Extension<Source>,
    headers: HeaderMap,
) -> Result<Answer, Rejection> {
    let limit = open(&state, source, &headers, query.as_deref())?;
    let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut room = limit;
    for shard in state.shard.shards() {
        let mut from = Some(0);
        while let Some(slot) = from.filter(|_| room > 0) {
            let Ok(page) = state.shard.ask_subscriptions(shard, slot).await else {
                return Err(refuse(503, "The gateway is stopping", &[]).into());
            };
            for (name, client_id) in page.pairs.into_iter().take(room) {
                names.entry(name).or_default().push(client_id);
                room -= 1;
            }
            from = page.next;
            yield_now().await;
        }
    }
    let body = serde_json::json!({ "subscriptions": names });
    Ok(respond(200, JSON, body.to_string()))
}

/// Authenticates the service and reads `limit`.
fn open(
    state: &State,
    source: Source,
    headers: &HeaderMap,
    query: Option<&str>,
) -> Result<usize, Rejection> {
    state.check_service(headers, source)?;
    let mut pairs = query.unwrap_or("").split('&');
    match pairs.find_map(|pair| pair.strip_prefix("limit=")) {
        None => Ok(LIMIT_DEFAULT),
        Some(limit) => limit
            .parse()
            .ok()
            .filter(|limit| (1..=LIMIT_MAX).contains(limit))
            .ok_or_else(|| {
                let why = format!("`limit` is from 1 to {LIMIT_MAX}");
                refuse(422, &why, &[]).into()
            }),
    }
}
