//! Admission of a connection of the bridge protocol: `GET /ws?user_id=` (docs/bridge.md, "A user's connection").

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use hyper::Request;

use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue};

use super::session::BridgeSession;
use super::{Bridge, user_of};
use crate::auth::Permissions;
use crate::conn::{
    Admission, Authentication, Quota, Record, WebSocketClaim, admit, agree, are_given,
    check_upgrade, lease_of, take_slot,
};
use crate::http::{Answer, refuse_plainly};
use crate::id::UserKey;
use crate::metrics::Refused;
use crate::shard::Shard;
use crate::topic::{self, Selector};
use crate::ws::deflate::Agreed;

/// User ids that the gateway itself sends as, or that denote more than one user: they require a token.
const RESERVED: [&str; 4] = ["server", "system", "broadcast", "sse"];

pub(super) fn claim(
    bridge: &Arc<Bridge>,
    shard: &Rc<Shard>,
    request: &Request<Incoming>,
    address: IpAddr,
) -> Admission<WebSocketClaim> {
    let config = &shard.config;
    let upgrade = check_upgrade(shard, request, refuse)?;
    let is_anonymous = !are_given(&config.auth, request);
    let user = match user_of(request.uri().query().unwrap_or("")) {
        Ok(Some(user)) => user,
        Ok(None) if is_anonymous => {
            return Err(refusal(
                Refused::Handshake,
                401,
                "Missing authentication token",
            ));
        }
        Ok(None) => {
            let why = "`user_id` is missing: connect to this path with ?user_id=<user>";
            return Err(refusal(Refused::Handshake, 400, why));
        }
        Err(why) => return Err(refusal(Refused::Handshake, 400, why)),
    };
    let slot = take_slot(shard, address)?;
    let authentication = admit(shard, request, address, bridge.asks)?;
    let mut refused = None;
    match &authentication {
        Authentication::Refused if is_anonymous => refused = Some(bridge.causes.token_required),
        Authentication::Refused => {
            let why = "Invalid or expired token";
            return Err(refusal(Refused::Credentials, 401, why));
        }
        Authentication::Anonymous if RESERVED.contains(&&*user) => {
            refused = Some(bridge.causes.token_required);
        }
        Authentication::Anonymous => {}
        Authentication::Known(identity) if identity.user != user => {
            let why = "The token is another user's than `user_id`";
            return Err(refusal(Refused::Credentials, 403, why));
        }
        Authentication::Known(identity) => {
            let inbox = topic::inbox_of(&user);
            let permissions = Permissions::new(config, Some(identity));
            if !permissions.may_subscribe(&Selector::Topic(&inbox)) {
                let why = "The token does not permit to read what is sent to its user";
                return Err(refusal(Refused::Credentials, 403, why));
            }
        }
    }
    let (head, agreed) = agree(shard, &upgrade, true);
    let is_deflated = agreed.as_ref().is_some_and(Agreed::is_shared);
    Ok(WebSocketClaim {
        head: Vec::new(),
        agreed,
        message_bytes_max: bridge.settings.max_message_size,
        record: Record {
            format: bridge.formats.of(is_deflated),
            user: UserKey::of(&user),
            session: Box::new(BridgeSession::new(bridge.clone(), &user, head, refused)),
            slot,
            lease: lease_of(shard, &authentication),
            quota: Quota::default(),
        },
    })
}

/// A refusal with a plain-text body, as all endpoints of this protocol have.
fn refuse(status: u16, why: &str, headers: &[(HeaderName, &'static str)]) -> Box<Answer> {
    let mut answer = refuse_plainly(status, why);
    for (name, value) in headers {
        let value = HeaderValue::from_static(value);
        answer.headers_mut().insert(name, value);
    }
    Box::new(answer)
}

/// A refusal and the counter's label.
fn refusal(counted: Refused, status: u16, why: &str) -> (Refused, Box<Answer>) {
    (counted, refuse(status, why, &[]))
}
