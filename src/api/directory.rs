//! `GET /api/v1/ws/connections` and `/subscriptions`: listings of connections and subscriptions, for services.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use axum::Extension;
use axum::extract::{RawQuery, State as Shared};
use axum::http::HeaderMap;
use tokio::task::yield_now;

use crate::http::schema::{Field, Kind, Object};
use crate::http::{Answer, ClientAddress, refuse, respond};
use crate::service::State;
use crate::service::{EndpointAccess, EndpointGroup, Operation, Parameter, Reply, UNAVAILABLE};

/// The largest and the default number of connections or subscriptions in one response.
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
    let (mut total, mut authenticated, mut listed) = (0, 0, 0);
    let mut body = r#"{"connections":["#.to_owned();
    for shard in state.shard.shards() {
        let mut from = Some(0);
        while let Some(slot) = from {
            let asked = state.shard.ask_connections(shard, slot, limit - listed);
            let Ok(page) = asked.await else {
                return refuse(503, "The gateway is stopping", &[]);
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
    respond(200, JSON, body)
}

/// Answers with the subscribed topics and patterns and their client ids.
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
    let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut room = limit;
    for shard in state.shard.shards() {
        let mut from = Some(0);
        while let Some(slot) = from.filter(|_| room > 0) {
            let Ok(page) = state.shard.ask_subscriptions(shard, slot).await else {
                return refuse(503, "The gateway is stopping", &[]);
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
    respond(200, JSON, body.to_string())
}

/// Authenticates the service and reads `limit`.
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

pub(super) static CONNECTIONS: Operation = Operation {
    group: EndpointGroup::Looking,
    summary: "Who is connected",
    doc: "The connections of the events protocol.",
    access: EndpointAccess::Service,
    parameters: &[LIMIT],
    body: None,
    replies: &[
        Reply::json(
            200,
            "They are these.",
            Kind::Of(&CONNECTION_LIST),
            r#"{"total_connections":1,"authenticated_connections":1,"connections":[{"client_id":"ann","user_id":"alice","username":"Alice","role":"user","connected_at":"2026-11-21T07:34:31.524Z","last_heartbeat":"2026-11-21T07:35:01.524Z","metadata":{"endpoint":"prod"},"subscriptions":["news"]}]}"#,
        ),
        BAD_LIMIT,
        UNAVAILABLE,
    ],
};

pub(super) static SUBSCRIPTIONS: Operation = Operation {
    group: EndpointGroup::Looking,
    summary: "What is subscribed to, and by whom",
    doc: "Topics and patterns, each with the ids of its clients.",
    access: EndpointAccess::Service,
    parameters: &[LIMIT],
    body: None,
    replies: &[
        Reply::json(
            200,
            "They are these.",
            Kind::Of(&SUBSCRIPTION_LIST),
            r#"{"subscriptions":{"chat.*":["ann"],"news":["ann","ben"]}}"#,
        ),
        BAD_LIMIT,
        UNAVAILABLE,
    ],
};

const LIMIT: Parameter = Parameter::query(Field::optional(
    "limit",
    Kind::Integer(1, LIMIT_MAX as u64),
    "100",
    "How many connections, or pairs of a name and a client; 1,000 if it is not given.",
));

const BAD_LIMIT: Reply = Reply::refusal(
    422,
    "`limit` is not what it should be.",
    r#"{"detail":"`limit` is from 1 to 10000"}"#,
);

static CONNECTION_LIST: Object<3> = Object {
    name: "Connections",
    doc: "Who is connected.",
    fields: [
        Field::required(
            "total_connections",
            Kind::Integer(0, u64::MAX),
            "1",
            "All of them, listed or not.",
        ),
        Field::required(
            "authenticated_connections",
            Kind::Integer(0, u64::MAX),
            "1",
            "Those whose token names a user.",
        ),
        Field::required(
            "connections",
            Kind::ListOf(&Kind::Of(&CONNECTION)),
            "[]",
            "Each one.",
        ),
    ],
};

static CONNECTION: Object<8> = Object {
    name: "Connection",
    doc: "A connection of the events protocol.",
    fields: [
        Field::required(
            "client_id",
            Kind::String,
            r#""ann""#,
            "What it calls itself, or its number.",
        ),
        Field::required(
            "user_id",
            Kind::String,
            r#""alice""#,
            "Whom its token names.",
        )
        .nullable(),
        Field::required("username", Kind::String, r#""Alice""#, "The user's name.").nullable(),
        Field::required("role", Kind::String, r#""user""#, "The user's role.").nullable(),
        Field::required(
            "connected_at",
            Kind::String,
            r#""2026-11-21T07:34:31.524Z""#,
            "When it began, in RFC 3339.",
        ),
        Field::required(
            "last_heartbeat",
            Kind::String,
            r#""2026-11-21T07:35:01.524Z""#,
            "When something was heard of it, in RFC 3339.",
        ),
        Field::required(
            "metadata",
            Kind::Object,
            r#"{"endpoint":"prod"}"#,
            "The kind of endpoint it uses.",
        ),
        Field::required(
            "subscriptions",
            Kind::ListOf(&Kind::String),
            r#"["news"]"#,
            "Topics and patterns.",
        ),
    ],
};

static SUBSCRIPTION_LIST: Object<1> = Object {
    name: "Subscriptions",
    doc: "What is subscribed to.",
    fields: [Field::required(
        "subscriptions",
        Kind::MapOf(&Kind::ListOf(&Kind::String)),
        r#"{"news":["ann"]}"#,
        "Ids of clients, by topics and patterns.",
    )],
};
