//! A connection of the bridge protocol: `GET /ws?user_id=` (docs/bridge.md, "A user's connection").

use std::net::IpAddr;
use std::rc::Rc;

use hyper::Request;

use super::{Claim, Refusal, enter, lease_of};
use crate::auth::Permissions;
use crate::conn::credentials;
use crate::conn::quota::Quota;
use crate::conn::session::{Session, Standing};
use crate::http::{is_allowed_page, refuse_plainly};
use crate::metrics::Refused;
use crate::protocol::bridge::user_of;
use crate::protocol::{Dialect, Disconnect};
use crate::shard::Shard;
use crate::topic::{self, Selector};
use crate::ws::deflate::{DeflateOptions, negotiate};
use crate::ws::handshake::Upgrade;

/// Users that the gateway itself speaks as, or that stand for more than one: only a
/// token makes somebody one of them.
const RESERVED: [&str; 4] = ["server", "system", "broadcast", "sse"];

pub(super) fn claim<B>(
    shard: &Rc<Shard>,
    request: &Request<B>,
    address: IpAddr,
) -> Result<Claim, Refusal> {
    let config = &shard.config;
    let upgrade = Upgrade::check(request.method(), request.version(), request.headers()).map_err(
        |error| {
            let mut answer = refuse_plainly(error.status().as_u16(), &error.to_string());
            for (name, value) in error.headers() {
                let value = hyper::header::HeaderValue::from_static(value);
                answer.headers_mut().insert(name, value);
            }
            (Refused::Handshake, Box::new(answer))
        },
    )?;
    if !is_allowed_page(&config.http.allowed_origins, request.headers()) {
        let why = "The page's origin is not in http.allowed_origins";
        return Err(refusal(Refused::Origin, 403, why));
    }
    let is_anonymous = !credentials::are_given(&config.auth, request);
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
    let place = enter(shard, address)?;
    let standing = credentials::admit(shard, request, address, config.bridge_asks())?;
    let mut refused = None;
    match &standing {
        Standing::Refused if is_anonymous => refused = Some(Disconnect::TokenRequired),
        Standing::Refused => {
            let why = "Invalid or expired token";
            return Err(refusal(Refused::Credentials, 401, why));
        }
        Standing::Anonymous if RESERVED.contains(&&*user) => {
            refused = Some(Disconnect::TokenRequired);
        }
        Standing::Anonymous => {}
        Standing::Known(identity) if identity.user != user => {
            let why = "The token is another user's than `user_id`";
            return Err(refusal(Refused::Credentials, 403, why));
        }
        Standing::Known(identity) => {
            let inbox = topic::inbox_of(&user);
            let permissions = Permissions::new(config, Some(identity));
            if !permissions.may_subscribe(&Selector::Topic(&inbox)) {
                let why = "The token does not permit to read what is sent to its user";
                return Err(refusal(Refused::Credentials, 403, why));
            }
        }
    }
    let options = DeflateOptions {
        client_context: config.websocket.deflate_client_contexts,
        ..DeflateOptions::default()
    };
    let agreed = negotiate(
        upgrade.extensions().filter(|_| config.websocket.deflate),
        &options,
    );
    let protocol = upgrade
        .protocols()
        .find(|protocol| *protocol == credentials::BEARER_PROTOCOL);
    let head = upgrade.response(protocol, agreed.as_ref());
    Ok(Claim {
        head: Vec::new(),
        agreed,
        dialect: Dialect::Bridge,
        session: Session::bridge(&user, head, refused),
        message_bytes_max: config.bridge.max_message_size,
        place,
        lease: lease_of(shard, &standing),
        quota: Quota::default(),
    })
}

/// A refusal whose body is the text that says why, as for all of this path's family.
fn refusal(counted: Refused, status: u16, why: &str) -> Refusal {
    (counted, Box::new(refuse_plainly(status, why)))
}
