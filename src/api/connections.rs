//! `/api/v1/connections` and `/api/v1/users`: who is connected, why connections ended, and ending them, for services.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, RawQuery, Request, State as Shared};
use axum::http::HeaderMap;
use axum::{Extension, RequestExt};
use serde::Deserialize;

use crate::auth::{Revocation, RevocationsFull, is_name};
use crate::config::parse_duration;
use crate::http::{Answer, Rejection, Source, refuse, respond};
use crate::json::put_string;
use crate::process::End;
use crate::service::{
    Closing, Endpoint, LISTED_DEFAULT, LISTED_MAX, State, Stopping, body_of, close_order, find,
    source_of, text_of,
};
use crate::shard::{CloseOrder, Wanted, parse_connection_id};
use crate::timestamp::timestamp_of;

const JSON: &str = "application/json";

/// The endpoints of this file.
pub(super) fn endpoints() -> impl Iterator<Item = Endpoint> {
    [
        Endpoint::get("/api/v1/connections", list),
        Endpoint::get("/api/v1/connections/{id}", one),
        Endpoint::post("/api/v1/connections/{id}/disconnect", disconnect),
        Endpoint::post("/api/v1/users/{user}/disconnect", disconnect_user),
        Endpoint::post("/api/v1/users/{user}/unblock", unblock_user),
        Endpoint::post("/api/v1/tokens/revoke", revoke_token),
    ]
    .into_iter()
}

/// Answers with the connections of a user or an address, and their last ends.
async fn list(
    Shared(state): Shared<Arc<State>>,
    RawQuery(query): RawQuery,
    Extension(source): Extension<Source>,
    headers: HeaderMap,
) -> Result<Answer, Rejection> {
    state.check_operator(&headers, source)?;
    let (wanted, limit) = read_query(query.as_deref().unwrap_or(""))?;
    let (total, items) = find(&state.shard, &wanted, limit).await.map_err(stopping)?;
    let ends = state.process.ends.last(limit, |end| {
        wanted.covers(end.user.as_deref(), end.source.address)
    });
    let mut body = format!(r#"{{"total":{total},"connections":[{items}],"ended":"#).into_bytes();
    put_ends(&mut body, &ends);
    body.push(b'}');
    Ok(respond(200, JSON, body))
}

/// Answers with one connection, or with its end.
async fn one(
    Shared(state): Shared<Arc<State>>,
    Path(id): Path<String>,
    Extension(source): Extension<Source>,
    headers: HeaderMap,
) -> Result<Answer, Rejection> {
    state.check_operator(&headers, source)?;
    let (_, item) = find(&state.shard, &wanted_id(&id)?, 1)
        .await
        .map_err(stopping)?;
    let ends = match item.is_empty() {
        false => Vec::new(),
        true => {
            let is_it = |end: &End| end.connection.as_deref() == Some(&*id);
            state.process.ends.last(1, is_it)
        }
    };
    if item.is_empty() && ends.is_empty() {
        return Err(refuse(404, UNKNOWN_CONNECTION, &[]).into());
    }
    let item = if item.is_empty() { "null" } else { &item };
    let mut body = format!(r#"{{"connection":{item},"ended":"#).into_bytes();
    put_ends(&mut body, &ends);
    body.push(b'}');
    Ok(respond(200, JSON, body))
}

const UNKNOWN_CONNECTION: &str = "No connection has this id, nor had one of the last 10,000";

/// Closes one connection.
async fn disconnect(
    Shared(state): Shared<Arc<State>>,
    mut request: Request,
) -> Result<Answer, Rejection> {
    let id = name_in_path(&mut request).await?;
    let (order, _) = read_order(&state, request, false).await?;
    let wanted = wanted_id(&id)?;
    let closed = Closing::begin(&state.shard, &wanted, &order).count().await;
    match closed.map_err(stopping)? {
        0 => Err(refuse(404, "No connection has this id", &[]).into()),
        _ => Ok(respond(200, JSON, r#"{"disconnected":1}"#)),
    }
}

/// Closes all connections of a user, and keeps the user away for a while if that is asked for.
async fn disconnect_user(
    Shared(state): Shared<Arc<State>>,
    mut request: Request,
) -> Result<Answer, Rejection> {
    let user = user_in_path(&mut request).await?;
    let (order, block_for) = read_order(&state, request, true).await?;
    let until = match block_for {
        Some(seconds) => {
            let until = state.unix_seconds() + seconds;
            revoke(&state, Revocation::Block(&user), until)?;
            until.to_string()
        }
        None => "null".to_owned(),
    };
    let wanted = Wanted {
        user: Some(user.into()),
        ..Wanted::default()
    };
    let closing = Closing::begin(&state.shard, &wanted, &order);
    let closed = closing.count().await.map_err(stopping)?;
    let body = format!(r#"{{"disconnected":{closed},"blocked_until":{until}}}"#);
    Ok(respond(200, JSON, body))
}

/// Lets a blocked user connect again.
async fn unblock_user(
    Shared(state): Shared<Arc<State>>,
    mut request: Request,
) -> Result<Answer, Rejection> {
    let user = user_in_path(&mut request).await?;
    open_as_operator(&state, request).await?;
    let was_blocked = state.authenticator.revocations.unblock(&user);
    Ok(respond(
        200,
        JSON,
        format!(r#"{{"was_blocked":{was_blocked}}}"#),
    ))
}

/// Revokes a token by its `jti`, or all tokens of a user that were issued before a time.
async fn revoke_token(
    Shared(state): Shared<Arc<State>>,
    request: Request,
) -> Result<Answer, Rejection> {
    let body = open_as_operator(&state, request).await?;
    let asked: Revoke = read(text_of(&body)?)?;
    let now = state.unix_seconds();
    // The token is valid for so long after its `exp`, and so the revocation has to hold.
    let leeway = state.authenticator.tokens.leeway();
    let ends = asked.expires_at.unwrap_or(now + REVOKED_SECONDS);
    let until = ends.saturating_add(leeway);
    if until <= now {
        return Err(invalid("`expires_at` is in the past: the token has ended"));
    }
    if until > now + REVOKED_SECONDS_MAX {
        return Err(invalid(
            "`expires_at` is in seconds of Unix time, at most a year from now",
        ));
    }
    if asked.issued_before.is_some_and(|it| it > now + leeway) {
        return Err(invalid(
            "`issued_before` is in seconds of Unix time, and not in the future",
        ));
    }
    let revocation = match (&asked.jti, &asked.user) {
        (Some(id), None) if asked.issued_before.is_none() && is_token_id(id) => {
            Revocation::Token(id)
        }
        (None, Some(user)) if is_name(user) => Revocation::User {
            user,
            issued_before: asked.issued_before.unwrap_or(now),
        },
        _ => {
            return Err(invalid(
                "expected: `jti` of 1 to 256 bytes, or `user` with `issued_before`",
            ));
        }
    };
    revoke(&state, revocation, until)?;
    Ok(respond(
        200,
        JSON,
        format!(r#"{{"revoked_until":{until}}}"#),
    ))
}

/// How long a revocation is kept that does not say when the token expires: longer than most tokens live.
const REVOKED_SECONDS: u64 = 24 * 60 * 60;

/// How long a revocation is kept at most: without that a wrong time would fill the table for good.
const REVOKED_SECONDS_MAX: u64 = 366 * 24 * 60 * 60;

/// Whether a token's id may be revoked, whose length bounds the table's memory.
fn is_token_id(id: &str) -> bool {
    (1..=256).contains(&id.len())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Revoke {
    jti: Option<String>,
    user: Option<String>,
    issued_before: Option<u64>,
    expires_at: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Disconnect {
    code: Option<u16>,
    reason: Option<String>,
    block_for: Option<String>,
}

/// The close code and the reason of a request, and for how many seconds the user is to be blocked.
async fn read_order(
    state: &State,
    request: Request,
    may_block: bool,
) -> Result<(CloseOrder, Option<u64>), Rejection> {
    let body = open_as_operator(state, request).await?;
    let text = text_of(&body)?;
    let asked: Disconnect = match text.trim().is_empty() {
        true => Disconnect::default(),
        false => read(text)?,
    };
    let order = close_order(asked.code, asked.reason.as_deref()).map_err(invalid)?;
    let block_for = match &asked.block_for {
        None => None,
        Some(_) if !may_block => return Err(invalid("`block_for` is for users")),
        Some(text) => match parse_duration(text).map(|time| time.as_secs()) {
            Some(seconds @ 1..=REVOKED_SECONDS_MAX) => Some(seconds),
            _ => {
                return Err(invalid(
                    "`block_for` is a time from 1 s to a year, as \"10m\"",
                ));
            }
        },
    };
    Ok((order, block_for))
}

/// Checks that a request comes from a service, then receives its body.
async fn open_as_operator(state: &State, request: Request) -> Result<Bytes, Rejection> {
    state.check_operator(request.headers(), source_of(&request))?;
    body_of(state, request).await
}

fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Rejection> {
    serde_json::from_str(text).map_err(|error| invalid(&format!("The body: {error}")))
}

fn invalid(why: &str) -> Rejection {
    refuse(422, why, &[]).into()
}

fn stopping(_: Stopping) -> Rejection {
    refuse(503, "The gateway is stopping", &[]).into()
}

fn revoke(state: &State, revocation: Revocation<'_>, until: u64) -> Result<(), Rejection> {
    let revocations = &state.authenticator.revocations;
    let revoked = revocations.revoke(revocation, until, state.unix_seconds());
    revoked.map_err(|RevocationsFull| {
        let why = "As much is revoked as `auth.max_revocations` allows; try again when some of it has ended";
        refuse(503, why, &[]).into()
    })
}

/// The user in the request's path, decoded.
async fn user_in_path(request: &mut Request) -> Result<String, Rejection> {
    let user = name_in_path(request).await?;
    match is_name(&user) {
        true => Ok(user),
        false => Err(invalid(
            "A user has 1 to 128 bytes without control characters",
        )),
    }
}

/// The parameter of the request's path, decoded.
async fn name_in_path(request: &mut Request) -> Result<String, Rejection> {
    let path: Result<Path<String>, _> = request.extract_parts().await;
    path.map(|Path(name)| name)
        .map_err(|_| invalid("The name in the path is not UTF-8"))
}

/// Which connections a query asks for, and how many.
fn read_query(query: &str) -> Result<(Wanted, usize), Rejection> {
    let (mut wanted, mut limit) = (Wanted::default(), LISTED_DEFAULT);
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*key {
            "user" => wanted.user = Some(value.into()),
            "ip" => match value.parse::<IpAddr>() {
                Ok(address) => wanted.address = Some(address.to_canonical()),
                Err(_) => return Err(invalid("`ip` is an address, as 192.0.2.1")),
            },
            "limit" => {
                let given = value.parse().ok();
                limit = given
                    .filter(|given| (1..=LISTED_MAX).contains(given))
                    .ok_or_else(|| invalid(&format!("`limit` is from 1 to {LISTED_MAX}")))?;
            }
            _ => {}
        }
    }
    Ok((wanted, limit))
}

fn wanted_id(id: &str) -> Result<Wanted, Rejection> {
    let known = parse_connection_id(id);
    let connection = known.ok_or_else(|| refuse(404, UNKNOWN_CONNECTION, &[]))?;
    Ok(Wanted {
        connection: Some(connection),
        ..Wanted::default()
    })
}

/// Writes ends as a JSON array, the newest first.
fn put_ends(out: &mut Vec<u8>, ends: &[End]) {
    out.push(b'[');
    for (index, end) in ends.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(br#"{"at":""#);
        out.extend_from_slice(&timestamp_of(end.at_ms));
        out.extend_from_slice(br#"","cause":"#);
        put_string(out, end.cause);
        let address = end.source.address.to_string();
        let (protocol, endpoint) = end.endpoint;
        for (key, value) in [
            ("detail", Some(&*end.detail)),
            ("user", end.user.as_deref()),
            ("address", Some(&address)),
            ("protocol", Some(protocol)),
            ("endpoint", Some(endpoint)),
            ("connection", end.connection.as_deref()),
        ] {
            out.extend_from_slice(format!(r#","{key}":"#).as_bytes());
            match value.filter(|value| !value.is_empty()) {
                Some(value) => put_string(out, value),
                None => out.extend_from_slice(b"null"),
            }
        }
        let what = match end.connection {
            Some(_) => "close_code",
            None => "status",
        };
        let numbers = format!(
            r#","verified":{},"forwarded":{},"{what}":{},"seconds":{},"received_bytes":{},"sent_bytes":{},"unsent_bytes":{}}}"#,
            end.is_verified,
            end.source.is_forwarded,
            end.code,
            end.open_ms / 1000,
            end.received_bytes,
            end.sent_bytes,
            end.unsent_bytes,
        );
        out.extend_from_slice(numbers.as_bytes());
    }
    out.push(b']');
}
