//! `GET /api/v1/topics/{topic}/history`: the retained messages of a topic.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, RawQuery, State as Shared};
use axum::http::HeaderMap;

use crate::dialect::events::put_history;
use crate::engine::{HistoryExcerpt, HistoryPage, HistoryPart};
use crate::http::{Answer, Rejection, Source, refuse, respond};
use crate::id::{Position, UserKey};
use crate::json::put_string;
use crate::service::State;
use crate::topic;

/// The largest and the default number of events in one response.
pub(super) const LIMIT_MAX: u32 = 1000;
const LIMIT_DEFAULT: u32 = 100;

/// Bytes of a response, about. The event that reaches the limit is included.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// Answers with the events after `since`, an offset, or with the newest ones before `before`; oldest first.
pub(super) async fn history(
    Shared(state): Shared<Arc<State>>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
    Extension(source): Extension<Source>,
    headers: HeaderMap,
) -> Result<Answer, Rejection> {
    let service = state.check_service(&headers, source)?;
    if let Err(why) = topic::check_name(&name) {
        return Err(refuse(422, &format!("`topic`: {why}"), &[]).into());
    }
    let may = service.permissions(&state.config);
    if !may.may_read(&name) {
        let why = "Reading a topic takes a token whose `fanfare.subscribe` covers it";
        return Err(refuse(403, why, &[]).into());
    }
    let (mut since, mut before, mut limit) = (None, None, LIMIT_DEFAULT);
    for (key, value) in pairs(query.as_deref()) {
        let is_good = match key {
            "since" => value.parse().map(|value| since = Some(value)).is_ok(),
            "before" => value.parse().map(|value| before = Some(value)).is_ok(),
            "limit" => {
                let given = value.parse().ok();
                given
                    .filter(|given| (1..=LIMIT_MAX).contains(given))
                    .map(|given| limit = given)
                    .is_some()
            }
            _ => true,
        };
        if !is_good || since.is_some() && before.is_some() {
            let why = format!(
                "`since` or `before` is an offset, one of them, and `limit` from 1 to {LIMIT_MAX}"
            );
            return Err(refuse(422, &why, &[]).into());
        }
    }
    let after = HistoryPart::After(since.unwrap_or(0));
    let page = HistoryPage {
        part: before.map_or(after, HistoryPart::Before),
        limit,
        bytes: BODY_BYTES_MAX,
        user: UserKey::NONE,
    };
    match state.shard.history(&name, &page).await {
        Some(kept) => Ok(respond(200, "application/json", body(&name, &kept))),
        None => Err(refuse(503, "The gateway is stopping", &[]).into()),
    }
}

/// The retained events as JSON.
fn body(name: &str, kept: &HistoryExcerpt) -> Vec<u8> {
    let Position { epoch, offset } = kept.position;
    let oldest = kept.oldest.map(|oldest| oldest.to_string());
    let oldest = oldest.as_deref().unwrap_or("null");
    let mut body = br#"{"topic":"#.to_vec();
    put_string(&mut body, name);
    body.extend_from_slice(
        format!(r#","epoch":{epoch},"offset":{offset},"oldest":{oldest},"#).as_bytes(),
    );
    put_history(&mut body, name, kept);
    body.push(b'}');
    body
}

fn pairs(query: Option<&str>) -> impl Iterator<Item = (&str, &str)> {
    let pairs = query.unwrap_or("").split('&');
    pairs.filter_map(|pair| pair.split_once('='))
}
