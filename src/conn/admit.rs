//! Admission: decides whether a request becomes a connection, or which response refuses it.
//!
//! The steps, in order: a valid handshake, an allowed origin, a connection slot of the process, a seat, valid
//! credentials, the limits per user and per address. A dialect runs them and documents those that it omits.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::rc::Rc;

use hyper::Request;
use hyper::header::{HeaderName, RETRY_AFTER};

use super::announcement::announcement;
use super::claim::{Admission, Claimed, Route, UpgradeRefusal};
use super::credentials::BEARER_PROTOCOL;
use super::dialect::Dialect;
use super::session::Authentication;
use crate::auth::Identity;
use crate::http::{Answer, Source, allow_page, is_allowed_page, preflight, refuse};
use crate::metrics::{Limited, Refused};
use crate::process::{ConnectionSlot, NoRoom, Seat};
use crate::service::Role;
use crate::shard::{Lease, RefusedRequest, Shard};
use crate::ws::deflate::{Agreed, DeflateOptions, negotiate};
use crate::ws::handshake::{Upgrade, offers_websocket};

/// What happens to a request.
pub(super) enum Decision {
    /// The socket becomes a connection.
    Claimed(Claimed, Vec<u8>),
    /// This response, after which the connection is closed.
    Answer(Box<Answer>),
    /// The router answers.
    Api,
}

/// Decides about a request at a listener of `role`. Responses get the CORS headers of the API.
pub(super) fn decide(
    (dialects, role): (&[Box<dyn Dialect>], Role),
    shard: &Rc<Shard>,
    request: &Request<()>,
    source: Source,
) -> Decision {
    let mut decision = decide_for_any_page((dialects, role), shard, request, source);
    if let Decision::Answer(answer) = &mut decision {
        let origins = &shard.config.http.cors_origins;
        allow_page(origins, request.headers(), answer.headers_mut());
    }
    decision
}

fn decide_for_any_page(
    (dialects, role): (&[Box<dyn Dialect>], Role),
    shard: &Rc<Shard>,
    request: &Request<()>,
    source: Source,
) -> Decision {
    let config = &shard.config;
    let (path, query) = (request.uri().path(), request.uri().query().unwrap_or(""));
    let mut dialects = dialects.iter().filter(|dialect| dialect.takes(query));
    let found = dialects.find_map(|dialect| Some((dialect, dialect.route(path)?)));
    let refused = |protocol: &'static str, refusal: UpgradeRefusal| {
        shard.note_refused(&RefusedRequest {
            source,
            endpoint: (protocol, ""),
            user: refusal.user.as_deref(),
            status: refusal.answer.status().as_u16(),
            cause: refusal.cause,
            detail: &refusal.detail,
        });
        Decision::Answer(refusal.answer)
    };
    let not_found = |why: &str| {
        let detail = "no endpoint of WebSocket connections at this path";
        let answer = Box::new(refuse(404, why, &[]));
        refused("", UpgradeRefusal::new(Refused::Request, answer, detail))
    };
    let (dialect, exists) = match found {
        None => return Decision::Api,
        Some((_, Route::NoWebSocket(_))) if !offers_websocket(request.headers()) => {
            return Decision::Api;
        }
        // As a path that there is not.
        Some((dialect, _)) if dialect.role() == Role::Internal && !role.serves(Role::Internal) => {
            return Decision::Api;
        }
        Some((dialect, _)) if !role.serves(dialect.role()) => return not_found(NOT_FOR_CLIENTS),
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
    match dialect.claim(shard, request, source) {
        Ok(Claimed::Answer(answer)) => Decision::Answer(answer),
        Ok(claimed) => {
            let record = claimed.record();
            let announcement = record.map(|record| announcement(shard, request, record));
            let announcement = announcement.unwrap_or_default();
            if announcement.is_empty() || shard.process.inbound.has_room_for_connection() {
                return Decision::Claimed(claimed, announcement);
            }
            let why = "The application is busy";
            let refusal = refusal(Refused::Backend, 503, why, &[(RETRY_AFTER, "1")]);
            refused(dialect.name(), refusal)
        }
        Err(refusal) => refused(dialect.name(), refusal),
    }
}

/// The refusal of a client at a listener of `server.internal_listen`.
const NOT_FOR_CLIENTS: &str = "This listener is for services (`server.internal_listen`); clients connect at those of `server.listen`";

/// Checks the handshake and the origin of an upgrade request. `refuse` writes a refusal in the dialect's form.
///
/// # Errors
/// The handshake is not valid (RFC 6455 section 4.2.1), or the origin is not allowed.
pub fn check_upgrade<'r>(
    shard: &Shard,
    request: &'r Request<()>,
    refuse: impl Fn(u16, &str, &[(HeaderName, &'static str)]) -> Box<Answer>,
) -> Admission<Upgrade<'r>> {
    let upgrade = check_handshake(request, &refuse)?;
    check_page(shard, request, refuse)?;
    Ok(upgrade)
}

/// Checks the handshake of an upgrade request alone.
///
/// # Errors
/// It is not valid (RFC 6455 section 4.2.1).
pub fn check_handshake<'r>(
    request: &'r Request<()>,
    refuse: impl Fn(u16, &str, &[(HeaderName, &'static str)]) -> Box<Answer>,
) -> Admission<Upgrade<'r>> {
    let checked = Upgrade::check(request.method(), request.version(), request.headers());
    checked.map_err(|error| {
        let (status, why) = (error.status().as_u16(), error.to_string());
        let answer = refuse(status, &why, error.headers());
        UpgradeRefusal::new(Refused::Handshake, answer, why)
    })
}

/// Checks a request's `Origin` against `http.allowed_origins`.
///
/// # Errors
/// It is not allowed.
pub fn check_page(
    shard: &Shard,
    request: &Request<()>,
    refuse: impl Fn(u16, &str, &[(HeaderName, &'static str)]) -> Box<Answer>,
) -> Admission<()> {
    match is_allowed_page(&shard.config.http.allowed_origins, request.headers()) {
        true => Ok(()),
        false => {
            let why = "The page's origin is not in http.allowed_origins";
            Err(UpgradeRefusal::new(
                Refused::Origin,
                refuse(403, why, &[]),
                why,
            ))
        }
    }
}

/// Accepts an upgrade: returns the response and the negotiated compression, which is none unless `may_deflate`.
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
    // A browser that offered subprotocols fails the connection unless the server selects one (RFC 6455 section 4.1).
    let mut protocols = upgrade.protocols();
    let protocol = protocols.find(|protocol| *protocol == BEARER_PROTOCOL);
    (upgrade.response(protocol, agreed.as_ref()), agreed)
}

/// The lease of a connection with a token.
pub fn lease_of(shard: &Shard, authentication: &Authentication) -> Option<Lease> {
    let identity = authentication.identity();
    identity.map(|identity| lease_for(shard, identity))
}

/// The lease of a connection whose token proves `identity`.
pub fn lease_for(shard: &Shard, identity: &Identity) -> Lease {
    let end = shard.authenticator.tokens.end_of(identity);
    Lease {
        // A token that expired at 0 has expired at 1 just as well.
        until: NonZeroU32::new(u32::try_from(end).unwrap_or(u32::MAX)).unwrap_or(NonZeroU32::MIN),
        key: identity.key,
    }
}

/// A refusal with a JSON body that states `why`.
pub fn refusal(
    counted: Refused,
    status: u16,
    why: &str,
    headers: &[(HeaderName, &'static str)],
) -> UpgradeRefusal {
    let answer = Box::new(refuse(status, why, headers));
    UpgradeRefusal::new(counted, answer, why.to_owned())
}

/// Takes a connection slot of the process for a connection from `address`. Refused while the gateway drains.
pub fn take_slot(shard: &Shard, address: IpAddr) -> Result<ConnectionSlot, UpgradeRefusal> {
    if shard.process.is_draining() {
        let why = "The gateway is stopping";
        return Err(refusal(Refused::Draining, 503, why, &[(RETRY_AFTER, "1")]));
    }
    shard.process.take_slot(address).map_err(|no_room| {
        let (counted, why) = match no_room {
            NoRoom::Connections => (Refused::Connections, "Too many connections"),
            NoRoom::PerIp => (Refused::PerIp, "Too many connections from this address"),
        };
        refusal(counted, 503, why, &[(RETRY_AFTER, "1")])
    })
}

/// Takes a seat among `events.max_connections`.
pub fn take_seat(shard: &Shard) -> Result<Seat, UpgradeRefusal> {
    shard.process.seats.take().ok_or_else(|| {
        shard.counters.limited(Limited::Connections);
        let headers = [(RETRY_AFTER, "1")];
        refusal(Refused::Connections, 503, "Too many connections", &headers)
    })
}
