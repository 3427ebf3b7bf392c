//! Admission of a request for an event stream.

use std::rc::Rc;
use std::sync::Arc;

use hyper::header::{ALLOW, CONTENT_LENGTH, HeaderMap, RETRY_AFTER, TRANSFER_ENCODING};
use hyper::{Method, Request};

use super::session::StreamSession;
use super::{NAME, Sse};
use crate::auth::Permissions;
use crate::conn::{
    Admission, Authentication, Quota, Record, StreamClaim, UpgradeRefusal, admit, check_page,
    lease_of, refusal, take_seat, take_slot,
};
use crate::http::{Source, allow_page};
use crate::metrics::{Limited, Refused};
use crate::process::LimitReached;
use crate::shard::{ConnectionInfo, Shard};
use crate::sse::EventsRequest;
use crate::topic::Selector;

/// Admits a GET or HEAD request. A browser's EventSource does not reconnect after a refusal, as intended: it would be
/// refused again.
pub(super) fn claim(
    sse: &Arc<Sse>,
    shard: &Rc<Shard>,
    request: &Request<()>,
    source: Source,
) -> Admission<StreamClaim> {
    let refuse = |status, why: &str| refusal(Refused::Handshake, status, why, &[]);
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        let (why, allow) = ("Events are asked for with GET", [(ALLOW, "GET, HEAD")]);
        return Err(refusal(Refused::Handshake, 405, why, &allow));
    }
    // A body would be mistaken for input after the request, which is discarded.
    if has_body(request.headers()) {
        return Err(refuse(400, "A request for events has no body"));
    }
    let config = &shard.config;
    check_page(shard, request, |status, why, headers| {
        Box::new(crate::http::refuse(status, why, headers))
    })?;
    let authentication = admit(shard, request, source.address, config.clients.auth_required)?;
    if let Authentication::Refused(denied) = authentication {
        let refusal = refusal(denied.refused(), denied.status(), denied.text(), &[]);
        let detail = denied.detail();
        return Err(UpgradeRefusal { detail, ..refusal });
    }
    let query = request.uri().query().unwrap_or("");
    let last_event_id = request.headers().get("last-event-id");
    let last_event_id = last_event_id.map(|value| value.as_bytes());
    let wanted = EventsRequest::read(query, last_event_id, sse.settings.max_topics)
        .map_err(|error| refuse(400, &error.to_string()))?;
    let permissions = Permissions::new(config, authentication.identity());
    let may_read = |topic: &str| permissions.may_subscribe(&Selector::Topic(topic));
    if let Some(topic) = wanted.topics.iter().find(|topic| !may_read(topic)) {
        let why = format!("`{topic}`: not yours to read");
        let refusal = refusal(Refused::Credentials, 403, &why, &[]);
        return Err(refusal.of(authentication.identity()));
    }
    let slot = take_slot(shard, source.address)?;
    let mut seat = take_seat(shard)?;
    let user = match &authentication {
        Authentication::Known(identity) => Some(identity.user.as_str()),
        Authentication::Anonymous | Authentication::Refused(_) => None,
    };
    seat.assign(source.address, user).map_err(|limit_reached| {
        let (limited, cause, why) = match limit_reached {
            LimitReached::Ip(_) => (
                Limited::ConnectionsPerIp,
                Refused::PerIp,
                "Too many connections from this address",
            ),
            LimitReached::User(_) => (
                Limited::ConnectionsPerUser,
                Refused::PerUser,
                "Too many connections of this user",
            ),
        };
        shard.counters.limited(limited);
        let refusal = refusal(cause, 429, why, &[(RETRY_AFTER, "1")]);
        let refusal = refusal.of(authentication.identity());
        let detail = limit_reached.to_string().into();
        UpgradeRefusal { detail, ..refusal }
    })?;
    let mut page = HeaderMap::new();
    allow_page(&config.http.cors_origins, request.headers(), &mut page);
    let record = Record {
        format: sse.format,
        user: authentication.user(),
        lease: lease_of(shard, &authentication),
        info: Some(ConnectionInfo::new(
            source,
            &(NAME, ""),
            authentication.identity(),
        )),
        session: Box::new(StreamSession::new(sse.clone(), config, user, wanted, page)),
        slot,
        // It sends no messages.
        quota: Quota::seated(seat, 0),
    };
    Ok(StreamClaim {
        heartbeat: sse.settings.heartbeat,
        record,
    })
}

fn has_body(headers: &HeaderMap) -> bool {
    headers.contains_key(TRANSFER_ENCODING)
        || headers
            .get(CONTENT_LENGTH)
            .is_some_and(|length| length.as_bytes() != b"0")
}
