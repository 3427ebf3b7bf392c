//! The one way in: from a request to a socket that is claimed, or to the answer that turns it away.
//!
//! The steps, in their order: the handshake is valid, the page may connect, the process has a slot, the seats have room,
//! the credential is one, the user and its address have room. A dialect takes them and says which it does without.

use std::net::IpAddr;
use std::num::NonZeroU64;
use std::rc::Rc;

use hyper::Request;
use hyper::body::Incoming;
use hyper::header::{HeaderName, RETRY_AFTER};

use super::claim::{Admission, Claimed, Route, UpgradeRefusal};
use super::credentials::BEARER_PROTOCOL;
use super::dialect::Dialect;
use super::session::Standing;
use crate::http::{Answer, allow_page, is_allowed_page, preflight, refuse};
use crate::metrics::{Limited, Refused};
use crate::process::{ConnectionSlot, NoRoom, Seat};
use crate::shard::{Lease, Shard};
use crate::ws::deflate::{Agreed, DeflateOptions, negotiate};
use crate::ws::handshake::{Upgrade, offers_websocket};

/// What is done with a request.
pub(super) enum Decision {
    Claim(Claimed),
    /// This answer, the last one of its connection.
    Answer(Box<Answer>),
    /// The router answers.
    Api,
}

/// Decides about a request. The pages that may read the API's answers may read these, too.
pub(super) fn decide(
    dialects: &[Box<dyn Dialect>],
    shard: &Rc<Shard>,
    request: &Request<Incoming>,
    address: IpAddr,
) -> Decision {
    let mut decision = decide_for_any_page(dialects, shard, request, address);
    if let Decision::Answer(answer) = &mut decision {
        let origins = &shard.config.http.cors_origins;
        allow_page(origins, request.headers(), answer.headers_mut());
    }
    decision
}

fn decide_for_any_page(
    dialects: &[Box<dyn Dialect>],
    shard: &Rc<Shard>,
    request: &Request<Incoming>,
    address: IpAddr,
) -> Decision {
    let config = &shard.config;
    let path = request.uri().path();
    let routes = dialects.iter();
    let found = routes.filter_map(|dialect| Some((dialect, dialect.route(config, path)?)));
    let not_found = |why: &str| Decision::Answer(Box::new(refuse(404, why, &[])));
    let (dialect, exists) = match found.into_iter().next() {
        None => return Decision::Api,
        Some((_, Route::NoWebSocket(_))) if !offers_websocket(request.headers()) => {
            return Decision::Api;
        }
        Some((_, Route::NoWebSocket(why))) => return not_found(&why),
        Some((_, Route::Refused(why))) => return not_found(why),
        Some((dialect, route)) => (dialect, route == Route::Connection),
    };
    let (origins, headers) = (&config.http.cors_origins, request.headers());
    if let Some(answer) = preflight(origins, request.method(), headers) {
        return Decision::Answer(Box::new(answer));
    }
    if !exists {
        return not_found("Not Found");
    }
    match dialect.claim(shard, request, address) {
        Ok(Claimed::Answer(answer)) => Decision::Answer(answer),
        Ok(claimed) => Decision::Claim(claimed),
        Err((why, answer)) => {
            shard.counters.refused[why as usize].add(1);
            Decision::Answer(answer)
        }
    }
}

/// Checks an upgrade request and the page that it comes from. `refuse` writes a refusal as the dialect does.
///
/// # Errors
/// The request is no handshake, or its page may not connect.
pub fn check_upgrade<'r>(
    shard: &Shard,
    request: &'r Request<Incoming>,
    refuse: impl Fn(u16, &str, &[(HeaderName, &'static str)]) -> Box<Answer>,
) -> Admission<Upgrade<'r>> {
    let upgrade = Upgrade::check(request.method(), request.version(), request.headers()).map_err(
        |error| {
            let (status, why) = (error.status().as_u16(), error.to_string());
            (Refused::Handshake, refuse(status, &why, error.headers()))
        },
    )?;
    check_page(shard, request, refuse)?;
    Ok(upgrade)
}

/// Checks that the page that a request comes from may connect.
///
/// # Errors
/// It may not.
pub fn check_page(
    shard: &Shard,
    request: &Request<Incoming>,
    refuse: impl Fn(u16, &str, &[(HeaderName, &'static str)]) -> Box<Answer>,
) -> Admission<()> {
    match is_allowed_page(&shard.config.http.allowed_origins, request.headers()) {
        true => Ok(()),
        false => {
            let why = "The page's origin is not in http.allowed_origins";
            Err((Refused::Origin, refuse(403, why, &[])))
        }
    }
}

/// Agrees to an upgrade: the answer, and what was agreed about compression, which is asked for if `may_deflate`.
#[must_use]
pub fn agree(shard: &Shard, upgrade: &Upgrade<'_>, may_deflate: bool) -> (Vec<u8>, Option<Agreed>) {
    let config = &shard.config.websocket;
    let options = DeflateOptions {
        client_context: config.deflate_client_contexts,
        ..DeflateOptions::default()
    };
    let offers = upgrade
        .extensions()
        .filter(|_| config.deflate && may_deflate);
    let agreed = negotiate(offers, &options);
    // A browser gives up if none of what it offered is chosen.
    let mut protocols = upgrade.protocols();
    let protocol = protocols.find(|protocol| *protocol == BEARER_PROTOCOL);
    (upgrade.response(protocol, agreed.as_ref()), agreed)
}

/// Until when a connection may stay.
pub fn lease_of(shard: &Shard, standing: &Standing) -> Option<Lease> {
    let end_of = |identity| shard.authenticator.tokens.end_of(identity);
    standing.identity().map(|identity| Lease {
        // What ended when time began has ended.
        until: NonZeroU64::new(end_of(identity)).unwrap_or(NonZeroU64::MIN),
        key: identity.key,
    })
}

/// A refusal with a JSON body that says why.
pub fn refusal(
    counted: Refused,
    status: u16,
    why: &str,
    headers: &[(HeaderName, &'static str)],
) -> UpgradeRefusal {
    (counted, Box::new(refuse(status, why, headers)))
}

/// Takes a place for a connection from `address`; there is none while clients are being closed.
pub fn enter(shard: &Shard, address: IpAddr) -> Result<ConnectionSlot, UpgradeRefusal> {
    if shard.process.is_draining() {
        let why = "The gateway is stopping";
        return Err(refusal(Refused::Draining, 503, why, &[(RETRY_AFTER, "1")]));
    }
    shard.process.enter(address).map_err(|no_room| {
        let (counted, why) = match no_room {
            NoRoom::Connections => (Refused::Connections, "Too many connections"),
            NoRoom::PerIp => (Refused::PerIp, "Too many connections from this address"),
        };
        refusal(counted, 503, why, &[(RETRY_AFTER, "1")])
    })
}

/// Takes a seat among the connections that topics are read on.
pub fn take_seat(shard: &Shard) -> Result<Seat, UpgradeRefusal> {
    shard.process.seats.take().ok_or_else(|| {
        shard.counters.limited(Limited::Connections);
        let headers = [(RETRY_AFTER, "1")];
        refusal(Refused::Connections, 503, "Too many connections", &headers)
    })
}
