//! Admission of a connection of the messenger: `GET /ws?token=` (docs/messenger.md, "A connection").

use std::rc::Rc;
use std::sync::Arc;

use hyper::Request;
use hyper::header::{HeaderMap, HeaderName, HeaderValue, ORIGIN, RETRY_AFTER, USER_AGENT};

use super::session::{Caller, MessengerSession};
use super::{Messenger, NAME, api};
use crate::auth::{Permissions, TokenError};
use crate::conn::{
    Admission, Authentication, Denied, Quota, Record, UpgradeRefusal, WebSocketClaim, admit, agree,
    check_handshake, lease_of, take_slot,
};
use crate::http::{Answer, Source, is_allowed_page};
use crate::id::UserKey;
use crate::metrics::Refused;
use crate::shard::{ConnectionInfo, Shard};
use crate::topic::{self, Selector};

/// Bytes of a `User-Agent` that are kept.
const USER_AGENT_BYTES_MAX: usize = 256;

pub(super) fn claim(
    messenger: &Arc<Messenger>,
    shard: &Rc<Shard>,
    request: &Request<()>,
    source: Source,
) -> Admission<WebSocketClaim> {
    let slot = take_slot(shard, source.address).map_err(plainly)?;
    let authentication = admit(shard, request, source.address, true).map_err(plainly)?;
    let identity = match &authentication {
        Authentication::Known(identity) => identity,
        Authentication::Refused(denied) => {
            let refusal = refusal(denied.refused(), denied.status(), &text_of(*denied));
            let detail = denied.detail();
            return Err(UpgradeRefusal { detail, ..refusal });
        }
        Authentication::Anonymous => {
            return Err(refusal(Refused::NoToken, 401, &text_of(Denied::NoToken)));
        }
    };
    let user = &*identity.user;
    let refuse_user =
        |status: u16, why: &str| Err(refusal(Refused::Credentials, status, why).of(Some(identity)));
    let store = messenger.store();
    if !store.is_registered(user) {
        return refuse_user(401, "Invalid user");
    }
    let permissions = Permissions::new(&shard.config, Some(identity));
    if !permissions.may_subscribe(&Selector::Topic(&topic::inbox_of(user))) {
        return refuse_user(
            403,
            "The token does not permit to read what is sent to its user",
        );
    }
    let upgrade = check_handshake(request, refuse)?;
    check_origin(shard, request.headers())?;
    let (after, asks) = match asked_for(request.uri().query().unwrap_or("")) {
        Ok(asked_for) => asked_for,
        Err(why) => return Err(refusal(Refused::Handshake, 400, why).of(Some(identity))),
    };
    let (head, _) = agree(shard, &upgrade, false);
    let caller = Caller {
        user: user.into(),
        address: source.address.to_string().into(),
        user_agent: user_agent_of(request.headers()),
        after,
        asks,
    };
    let info = ConnectionInfo::new(source, &(NAME, ""), Some(identity));
    let both = (messenger.clone(), store.clone());
    let session = MessengerSession::new(shard, both, caller, head);
    Ok(WebSocketClaim {
        head: Vec::new(),
        agreed: None,
        message_bytes_max: messenger.settings.max_message_size,
        record: Record {
            format: messenger.formats.id(),
            user: UserKey::of(user),
            session: Box::new(session),
            slot,
            info: Some(info),
            lease: lease_of(shard, &authentication),
            quota: Quota::default(),
        },
    })
}

/// What a refused client is told: in the words that existing clients know.
fn text_of(denied: Denied) -> String {
    let why = match denied {
        Denied::NoToken => return "Missing authentication token".to_owned(),
        Denied::Token(TokenError::User) => "invalid or missing user_id in token",
        Denied::Token(TokenError::Expired) => "token validation failed: token is expired",
        Denied::Token(TokenError::NotYetValid) => "token validation failed: token is not valid yet",
        Denied::Token(TokenError::Signature | TokenError::Key) => {
            "token validation failed: signature is invalid"
        }
        Denied::Token(TokenError::Revoked | TokenError::Blocked) => {
            "token validation failed: it is not valid any more"
        }
        Denied::Token(TokenError::Several) => {
            "token validation failed: the request has several tokens that differ"
        }
        Denied::Token(_) => "token validation failed: token is malformed",
    };
    format!("Invalid token: {why}")
}

/// Checks that a page may connect. Where origins are listed, a request without one is refused, too, as in the system
/// whose protocol this is.
fn check_origin(shard: &Shard, headers: &HeaderMap) -> Admission<()> {
    let origins = &shard.config.http.allowed_origins;
    let is_stated = headers.get(ORIGIN).is_some_and(|origin| !origin.is_empty());
    // An empty list has every page connect.
    let is_listed = is_allowed_page(origins, &HeaderMap::from_iter([(ORIGIN, FOREIGN)]));
    if (is_stated || is_listed) && is_allowed_page(origins, headers) {
        return Ok(());
    }
    let why = "Origin not allowed: it is not in http.allowed_origins, or missing";
    Err(refusal(Refused::Origin, 403, why))
}

/// An origin that is in no list.
const FOREIGN: HeaderValue = HeaderValue::from_static("https://nowhere.invalid");

/// What the query of an upgrade request says: `after`, the id of the last message that the client has, and `ack`, whether
/// its messages are to be acknowledged.
///
/// # Errors
/// What is wrong with it.
fn asked_for(query: &str) -> Result<(Option<i64>, bool), &'static str> {
    let (mut after, mut asks) = (None, false);
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match (&*name, &*value) {
            ("after", value) => match value.parse() {
                Ok(id) if id >= 0 => after = Some(id),
                _ => return Err("`after` is not the id of a message"),
            },
            ("ack", "true" | "1") => asks = true,
            ("ack", "false" | "0" | "") => asks = false,
            ("ack", _) => return Err("`ack` is neither true nor false"),
            _ => {}
        }
    }
    Ok((after, asks))
}

fn user_agent_of(headers: &HeaderMap) -> Box<str> {
    let agent = headers.get(USER_AGENT).map(HeaderValue::as_bytes);
    let agent = String::from_utf8_lossy(agent.unwrap_or_default());
    let end = agent.floor_char_boundary(USER_AGENT_BYTES_MAX);
    agent[..end].into()
}

/// A refusal in plain text.
fn refuse(status: u16, why: &str, headers: &[(HeaderName, &'static str)]) -> Box<Answer> {
    // One status and one text for every handshake that is none.
    let (status, why) = match status {
        400 | 426 => (400, "Bad Request"),
        status => (status, why),
    };
    let mut answer = api::text(status, why);
    for (name, value) in headers {
        let value = HeaderValue::from_static(value);
        answer.headers_mut().insert(name, value);
    }
    Box::new(answer)
}

/// The same refusal in plain text.
fn plainly(refusal: UpgradeRefusal) -> UpgradeRefusal {
    let mut answer = api::text(refusal.answer.status().as_u16(), &refusal.detail);
    if let Some(later) = refusal.answer.headers().get(RETRY_AFTER) {
        answer.headers_mut().insert(RETRY_AFTER, later.clone());
    }
    UpgradeRefusal {
        answer: Box::new(answer),
        ..refusal
    }
}

/// A refusal and the counter's label.
fn refusal(counted: Refused, status: u16, why: &str) -> UpgradeRefusal {
    let answer = Box::new(api::text(status, why));
    UpgradeRefusal::new(counted, answer, why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_says_what_the_client_has_and_wants() {
        for (query, expected) in [
            ("token=x", Ok((None, false))),
            ("token=x&after=12&ack=true", Ok((Some(12), true))),
            ("ack=0&after=0", Ok((Some(0), false))),
            ("after=-1", Err("`after` is not the id of a message")),
            ("after=", Err("`after` is not the id of a message")),
            ("ack=maybe", Err("`ack` is neither true nor false")),
        ] {
            assert_eq!(asked_for(query), expected, "{query}");
        }
    }
}
