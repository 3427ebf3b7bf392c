//! Admission of a connection of the bridge protocol: `GET /ws?user_id=` (docs/bridge.md, "A user's connection").

use std::rc::Rc;
use std::sync::Arc;

use hyper::Request;

use hyper::header::{HeaderName, HeaderValue};

use super::session::BridgeSession;
use super::{Bridge, NAME, user_of};
use crate::auth::Permissions;
use crate::conn::{
    Admission, Authentication, Quota, Record, UpgradeRefusal, WebSocketClaim, admit, agree,
    are_given, check_upgrade, lease_of, take_slot,
};
use crate::http::{Answer, Source, refuse_plainly};
use crate::id::UserKey;
use crate::metrics::Refused;
use crate::shard::{ConnectionInfo, ConnectionUser, Shard};
use crate::topic::{self, Selector};
use crate::ws::deflate::Agreed;

/// User ids that the gateway itself sends as, or that denote more than one user: they require a token.
const RESERVED: [&str; 4] = ["server", "system", "broadcast", "sse"];

pub(super) fn claim(
    bridge: &Arc<Bridge>,
    shard: &Rc<Shard>,
    request: &Request<()>,
    source: Source,
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
    let slot = take_slot(shard, source.address)?;
    let authentication = admit(shard, request, source.address, bridge.asks)?;
    let mut refused = None;
    match &authentication {
        Authentication::Refused(_) if is_anonymous => {
            refused = Some(bridge.causes.token_required);
        }
        Authentication::Refused(denied) => {
            let refusal = refusal(denied.refused(), denied.status(), denied.text());
            let detail = denied.detail();
            return Err(UpgradeRefusal { detail, ..refusal });
        }
        Authentication::Anonymous if RESERVED.contains(&&*user) || is_registered(shard, &user) => {
            refused = Some(bridge.causes.token_required);
        }
        Authentication::Anonymous => {}
        Authentication::Known(identity) if identity.user != user => {
            let why = "The token is another user's than `user_id`";
            return Err(refusal(Refused::Credentials, 403, why).of(Some(identity)));
        }
        Authentication::Known(identity) => {
            let inbox = topic::inbox_of(&user);
            let permissions = Permissions::new(config, Some(identity));
            if !permissions.may_subscribe(&Selector::Topic(&inbox)) {
                let why = "The token does not permit to read what is sent to its user";
                return Err(refusal(Refused::Credentials, 403, why).of(Some(identity)));
            }
        }
    }
    let (head, agreed) = agree(shard, &upgrade, true);
    let mut info = ConnectionInfo::new(source, &(NAME, ""), authentication.identity());
    // Where none is verified, it is the user that the client says it is.
    let named = || ConnectionUser::named(&user);
    info.user = Some(info.user.take().unwrap_or_else(named));
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
            info: Some(info),
            lease: lease_of(shard, &authentication),
            quota: Quota::default(),
        },
    })
}

/// Whether the user is an account, whose connections prove that they are its own.
fn is_registered(shard: &Shard, user: &str) -> bool {
    let store = shard.process.store.as_ref();
    store.is_some_and(|store| store.is_registered(user))
}

/// A refusal with a plain-text body, as the protocol's own refusals of an upgrade have.
fn refuse(status: u16, why: &str, headers: &[(HeaderName, &'static str)]) -> Box<Answer> {
    let mut answer = refuse_plainly(status, why);
    for (name, value) in headers {
        let value = HeaderValue::from_static(value);
        answer.headers_mut().insert(name, value);
    }
    Box::new(answer)
}

/// A refusal and the counter's label.
fn refusal(counted: Refused, status: u16, why: &str) -> UpgradeRefusal {
    UpgradeRefusal::new(counted, refuse(status, why, &[]), why.to_owned())
}
