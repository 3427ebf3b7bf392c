//! A connection of the bridge protocol: `GET /ws?user_id=` (spec/bridge.md 1.2, spec/gateway.md 6.2).

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
    let user = match user(request.uri().query().unwrap_or("")) {
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

/// The user that a query names, if it names one.
fn user(query: &str) -> Result<Option<String>, &'static str> {
    let mut users = form_urlencoded::parse(query.as_bytes())
        .filter(|(name, _)| name == "user_id")
        .map(|(_, user)| user);
    let Some(user) = users.next() else {
        return Ok(None);
    };
    if users.any(|other| other != user) {
        Err("`user_id` is given twice, and not the same")
    } else if user.is_empty() {
        Err("`user_id` is empty")
    } else if user.len() > topic::NAME_BYTES_MAX {
        Err("`user_id` has more than 128 bytes")
    } else if user.contains(char::REPLACEMENT_CHARACTER) {
        Err("`user_id` is not UTF-8")
    } else {
        Ok(Some(user.into_owned()))
    }
}

/// A refusal whose body is the text that says why, as for all of this path's family.
fn refusal(counted: Refused, status: u16, why: &str) -> Refusal {
    (counted, Box::new(refuse_plainly(status, why)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(query: &str, expected: Result<Option<&str>, &str>) {
        let got = user(query);
        assert_eq!(
            got.as_ref().map(Option::as_deref).map_err(|why| *why),
            expected,
            "{query}"
        );
    }

    #[test]
    fn a_query_names_one_user() {
        check("", Ok(None));
        check("user=a&USER_ID=b", Ok(None));
        check("x=1&user_id=a", Ok(Some("a")));
        check("user_id=a%20b%2B+c", Ok(Some("a b+ c")));
        check("user_id=a&user_id=a", Ok(Some("a")));
        check(
            "user_id=a&user_id=b",
            Err("`user_id` is given twice, and not the same"),
        );
        check("user_id=", Err("`user_id` is empty"));
        check("user_id=%FF", Err("`user_id` is not UTF-8"));
        let longest = "x".repeat(128);
        check(&format!("user_id={longest}"), Ok(Some(&longest)));
        check(
            &format!("user_id={longest}x"),
            Err("`user_id` has more than 128 bytes"),
        );
    }
}
