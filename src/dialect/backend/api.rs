//! The link without a WebSocket: a member polls, and acknowledges, over HTTP; and dead letters are listed
//! (docs/backend.md, "Over HTTP").

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::{RawQuery, Request, State as Shared};
use axum::http::header::ALLOW;
use axum::http::{HeaderMap, Method};
use form_urlencoded::parse;
use serde::Deserialize;
use tokio::time::timeout;

use super::asks;
use super::request::{GROUP_DEFAULT, is_group, kinds};
use crate::config::parse_duration;
use crate::http::{Answer, Rejection, Source, refuse, respond};
use crate::inbound::Kinds;
use crate::json::put_string;
use crate::service::{Endpoint, State, body_of, source_of, text_of};
use crate::shard::{PollRefused, PollRequest};

const JSON: &str = "application/json";

/// How long a request may wait for objects.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// Objects in one answer, and how many there are unless the request says so.
const OBJECTS_MAX: usize = 4096;
const OBJECTS_DEFAULT: usize = 256;

/// Dead letters in one answer, and how many there are unless the request says so.
const DEAD_LETTERS_MAX: usize = 1000;
const DEAD_LETTERS_DEFAULT: usize = 100;

/// The endpoints of this file.
pub(super) fn endpoints(asks: bool) -> Vec<Endpoint> {
    let all = [
        Endpoint::get("/api/v1/inbound", poll),
        Endpoint::post("/api/v1/inbound/ack", acknowledge),
        Endpoint::get("/api/v1/dead-letters", dead_letters),
    ];
    all.map(|endpoint| endpoint.asking(asks)).into()
}

/// Answers with the next objects of a member.
async fn poll(
    Shared(state): Shared<Arc<State>>,
    method: Method,
    RawQuery(query): RawQuery,
    Extension(source): Extension<Source>,
    headers: HeaderMap,
) -> Result<Answer, Rejection> {
    check(&state, &headers, source)?;
    // HEAD would take objects that nobody sees.
    if method != Method::GET {
        let why = "Objects are asked for with GET";
        return Err(refuse(405, why, &[(ALLOW, "GET")]).into());
    }
    let (mut request, wait) = read_poll(query.as_deref().unwrap_or("")).map_err(invalid)?;
    let mut answer = state.shard.ask_poll(request.clone());
    let polled = match timeout(wait, &mut answer).await {
        Ok(polled) => polled,
        Err(_) => {
            // What comes from now on stays at the desk; what came meanwhile is here.
            answer.close();
            match answer.try_recv() {
                Ok(polled) => Ok(polled),
                Err(_) => {
                    request.waits = false;
                    state.shard.ask_poll(request).await
                }
            }
        }
    };
    let polled = polled.map_err(|_| stopping())?.map_err(refused)?;
    let mut body = br#"{"events":"#.to_vec();
    body.extend_from_slice(&polled.events);
    body.extend_from_slice(format!(r#","next":{}}}"#, polled.next).as_bytes());
    Ok(respond(200, JSON, body))
}

/// Takes a member's acknowledgement.
async fn acknowledge(
    Shared(state): Shared<Arc<State>>,
    request: Request,
) -> Result<Answer, Rejection> {
    check(&state, request.headers(), source_of(&request))?;
    let body = body_of(&state, request).await?;
    let ack: Ack<'_> = serde_json::from_str(text_of(&body)?).map_err(|error| {
        invalid(format!(
            "The body is {{\"group\":\"default\",\"member\":\"..\",\"seq\":7}}: {error}"
        ))
    })?;
    let member = (&*ack.group, &*ack.member);
    let pending = state.shard.ask_acknowledge(member, ack.seq).await;
    let pending = pending.map_err(|_| stopping())?.map_err(refused)?;
    let body = format!(r#"{{"status":"ok","pending":{pending}}}"#);
    Ok(respond(200, JSON, body))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ack<'a> {
    #[serde(borrow, default = "default_group")]
    group: Cow<'a, str>,
    #[serde(borrow)]
    member: Cow<'a, str>,
    seq: u64,
}

fn default_group<'a>() -> Cow<'a, str> {
    GROUP_DEFAULT.into()
}

/// Answers with the newest dead letters of a group.
async fn dead_letters(
    Shared(state): Shared<Arc<State>>,
    RawQuery(query): RawQuery,
    Extension(source): Extension<Source>,
    headers: HeaderMap,
) -> Result<Answer, Rejection> {
    check(&state, &headers, source)?;
    let (mut group, mut limit): (Box<str>, _) = (GROUP_DEFAULT.into(), DEAD_LETTERS_DEFAULT);
    for (name, value) in parse(query.as_deref().unwrap_or("").as_bytes()) {
        match &*name {
            "group" => group = value.into(),
            "limit" => limit = read_count("limit", &value, DEAD_LETTERS_MAX).map_err(invalid)?,
            other => return Err(unknown(other, "group, limit")),
        }
    }
    let page = state.shard.ask_dead_letters(&group, limit).await;
    let page = page.map_err(|_| stopping())?;
    let why = "There is no such group: one begins when its first member attaches";
    let page = page.ok_or_else(|| refuse(404, why, &[]))?;
    let mut body = br#"{"group":"#.to_vec();
    put_string(&mut body, &group);
    let dropped = page.total - page.kept as u64;
    let counts = format!(
        r#","total":{},"dropped":{dropped},"dead_letters":["#,
        page.total
    );
    body.extend_from_slice(counts.as_bytes());
    body.extend_from_slice(&page.items);
    body.extend_from_slice(b"]}");
    Ok(respond(200, JSON, body))
}

fn check(state: &State, headers: &HeaderMap, source: Source) -> Result<(), Rejection> {
    match asks(&state.config) {
        true => state.check_credential(headers, source, None, true),
        false => state.check_page(headers, source),
    }
    .map(|_| ())
}

fn read_poll(query: &str) -> Result<(PollRequest, Duration), String> {
    let mut request = PollRequest {
        group: GROUP_DEFAULT.into(),
        member: Box::default(),
        kinds: Kinds::ALL,
        max: OBJECTS_DEFAULT,
        waits: false,
    };
    let mut wait = Duration::ZERO;
    for (name, value) in parse(query.as_bytes()) {
        match &*name {
            "group" if is_group(&value) => request.group = value.into(),
            "member" if is_group(&value) => request.member = value.into(),
            "group" | "member" => {
                return Err(format!(
                    "`{name}` is 1 to 64 letters, digits, `_`, `-`, `.` and `:`"
                ));
            }
            "max" => request.max = read_count("max", &value, OBJECTS_MAX)?,
            "wait" => {
                let given = parse_duration(&value).filter(|given| *given <= WAIT_MAX);
                wait = given.ok_or("`wait` is a time up to \"30s\", such as \"50ms\"")?;
            }
            "filter" => request.kinds = kinds(&value)?,
            other => {
                let known = "group, member, max, wait, filter";
                return Err(unknown_parameter(other, known));
            }
        }
    }
    if request.member.is_empty() {
        return Err("`member` is missing: a name that this member keeps".to_owned());
    }
    request.waits = !wait.is_zero();
    Ok((request, wait))
}

fn read_count(name: &str, value: &str, max: usize) -> Result<usize, String> {
    let given = value.parse().ok().filter(|given| (1..=max).contains(given));
    given.ok_or_else(|| format!("`{name}` is from 1 to {max}"))
}

fn unknown_parameter(name: &str, known: &str) -> String {
    let name: String = name.escape_debug().take(64).collect();
    format!("`{name}` is unknown; there are: {known}")
}

fn unknown(name: &str, known: &str) -> Rejection {
    invalid(unknown_parameter(name, known))
}

fn invalid(why: impl AsRef<str>) -> Rejection {
    refuse(422, why.as_ref(), &[]).into()
}

fn stopping() -> Answer {
    refuse(503, "The gateway is stopping", &[])
}

fn refused(why: PollRefused) -> Rejection {
    let (status, why): (u16, Cow<'_, str>) = match why {
        PollRefused::Groups => (429, "There are `backend.max_groups` groups already".into()),
        PollRefused::Members => (
            429,
            "There are `backend.max_members` members already".into(),
        ),
        PollRefused::Kinds => {
            let why = "The members of this group have another `filter`: all have the same one";
            (409, why.into())
        }
        PollRefused::Unknown => {
            let why = "There is no such member: one that does not poll for `backend.ack_timeout` has left, and what it had goes to others";
            (404, why.into())
        }
        PollRefused::Ack(last) => {
            let why = format!("`seq`: the last one that this member was sent is {last}");
            (422, why.into())
        }
    };
    refuse(status, &why, &[]).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_poll_says_who_asks_for_how_many_and_how_long() {
        let (request, wait) = read_poll("member=m").unwrap();
        assert_eq!((&*request.group, &*request.member), ("default", "m"));
        assert_eq!((request.max, request.waits), (256, false));
        assert_eq!(wait, Duration::ZERO);
        let query = "group=g&member=a.b&max=4096&wait=50ms&filter=message,connect";
        let (request, wait) = read_poll(query).unwrap();
        assert_eq!((&*request.group, &*request.member), ("g", "a.b"));
        assert_eq!((request.max, request.waits), (4096, true));
        assert_eq!(wait, Duration::from_millis(50));
        assert_eq!(Kinds::read("connect,message"), Ok(request.kinds));
        for query in [
            "",
            "member=",
            "member=a%20b",
            "member=m&group=",
            "member=m&max=0",
            "member=m&max=4097",
            "member=m&wait=31s",
            "member=m&wait=50",
            "member=m&filter=gap",
            "member=m&credit=5",
        ] {
            assert!(read_poll(query).is_err(), "{query}");
        }
    }
}
