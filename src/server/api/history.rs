//! `GET /api/v1/topics/{topic}/history`: what a topic's home keeps.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, RawQuery, State as Shared};
use axum::http::HeaderMap;

use super::State;
use crate::http::{Answer, ClientAddress, refuse, respond};
use crate::shard;
use crate::topic;

/// Events in one answer, and how many there are if nothing is said.
const LIMIT_MAX: usize = 1000;
const LIMIT_DEFAULT: usize = 100;

/// Answers with the events after `since`, an offset, oldest first.
pub(super) async fn history(
    Shared(state): Shared<Arc<State>>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
    Extension(ClientAddress(address)): Extension<ClientAddress>,
    headers: HeaderMap,
) -> Answer {
    let service = match state.check_service(&headers, address) {
        Ok(service) => service,
        Err(answer) => return *answer,
    };
    if let Err(why) = topic::check_topic(&name) {
        return refuse(422, &format!("`topic`: {why}"), &[]);
    }
    let may = service.permissions(&state.config);
    if !may.may_read(&name) {
        let why = "Reading a topic takes a token whose `fanfare.subscribe` covers it";
        return refuse(403, why, &[]);
    }
    let (mut since, mut limit) = (0, LIMIT_DEFAULT);
    for (key, value) in pairs(query.as_deref()) {
        let is_good = match key {
            "since" => value.parse().map(|value| since = value).is_ok(),
            "limit" => {
                let given = value.parse().ok();
                given
                    .filter(|given| (1..=LIMIT_MAX).contains(given))
                    .map(|given| limit = given)
                    .is_some()
            }
            _ => true,
        };
        if !is_good {
            let why = format!("`since` is an offset and `limit` from 1 to {LIMIT_MAX}");
            return refuse(422, &why, &[]);
        }
    }
    let read = shard::local(|shard| {
        let topic = name.clone();
        shard.ask_home(&name, move |home| home.history(&topic, since, limit))
    });
    match read.await {
        Ok(body) => respond(200, "application/json", body),
        Err(_) => refuse(503, "The gateway is stopping", &[]),
    }
}

fn pairs(query: Option<&str>) -> impl Iterator<Item = (&str, &str)> {
    let pairs = query.unwrap_or("").split('&');
    pairs.filter_map(|pair| pair.split_once('='))
}
