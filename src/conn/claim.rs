//! Decides about a request: an answer, or the socket.

mod bridge;

use std::net::IpAddr;
use std::num::NonZeroU64;
use std::rc::Rc;

use hyper::header::{HeaderName, RETRY_AFTER};
use hyper::{Method, Request};

use super::credentials::{self, BEARER_PROTOCOL};
use super::quota::Quota;
use super::session::{Session, Standing};
use super::sse;
use crate::http::{
    Answer, Route, allow_page, event_stream_headers, is_allowed_page, preflight, refuse, route,
};
use crate::metrics::{Limited, Refused};
use crate::process::{NoRoom, Place, Seat};
use crate::protocol::Dialect;
use crate::protocol::events::{Encoding, Parameters};
use crate::shard::{Lease, Shard};
use crate::ws::deflate::{Agreed, DeflateOptions, negotiate};
use crate::ws::handshake::{Upgrade, offers_websocket};

/// A socket that becomes a WebSocket connection.
#[derive(Debug)]
pub(super) struct Claim {
    /// The answer to the upgrade request; empty if the session sends it.
    pub(super) head: Vec<u8>,
    pub(super) agreed: Option<Agreed>,
    pub(super) dialect: Dialect,
    pub(super) session: Session,
    pub(super) message_bytes_max: usize,
    pub(super) place: Place,
    /// Until when the connection may last, if its token says so.
    pub(super) lease: Option<Lease>,
    pub(super) quota: Quota,
}

/// A socket that becomes something else than HTTP.
pub(super) enum Claimed {
    WebSocket(Box<Claim>),
    Sse(Box<sse::Claim>),
}

/// An answer that turns a request away, and what it counts as.
pub(super) type Refusal = (Refused, Box<Answer>);

/// What is done with a request.
pub(super) enum Decision {
    Claim(Claimed),
    /// This answer, the last one of its connection.
    Answer(Box<Answer>),
    /// The router answers.
    Api,
}

/// Decides about a request. The pages that may read the API's answers may read these, too.
pub(super) fn decide<B>(shard: &Rc<Shard>, request: &Request<B>, address: IpAddr) -> Decision {
    let mut decision = decide_for_any_page(shard, request, address);
    if let Decision::Answer(answer) = &mut decision {
        let origins = &shard.config.http.cors_origins;
        allow_page(origins, request.headers(), answer.headers_mut());
    }
    decision
}

fn decide_for_any_page<B>(shard: &Rc<Shard>, request: &Request<B>, address: IpAddr) -> Decision {
    let config = &shard.config;
    let bridge = config.bridge.enabled.then_some(&*config.bridge.ws_path);
    let route = route(request.uri().path(), bridge);
    let exists = match route {
        Route::Api => return Decision::Api,
        Route::Echo => config.debug.echo,
        Route::EventsDemo => config.events.demo_enabled,
        Route::EventsDev => config.mode != crate::config::Mode::Prod,
        Route::Events | Route::EventsAs(_) => true,
        Route::Bridge => true,
        Route::Sse => config.sse.enabled,
        Route::Reserved(_) if !offers_websocket(request.headers()) => return Decision::Api,
        Route::Reserved(id) => {
            let why = format!("`{id}` is reserved: choose another client id");
            return Decision::Answer(Box::new(refuse(404, &why, &[])));
        }
        Route::BadClientId => return Decision::Answer(Box::new(refuse(404, BAD_CLIENT_ID, &[]))),
    };
    let (origins, headers) = (&config.http.cors_origins, request.headers());
    if let Some(answer) = preflight(origins, request.method(), headers) {
        return Decision::Answer(Box::new(answer));
    }
    if !exists {
        return Decision::Answer(Box::new(refuse(404, "Not Found", &[])));
    }
    let claimed = match route {
        Route::Sse => {
            sse::claim(shard, request, address).map(|claim| Claimed::Sse(Box::new(claim)))
        }
        Route::Bridge => {
            bridge::claim(shard, request, address).map(|claim| Claimed::WebSocket(Box::new(claim)))
        }
        _ => claim(shard, request, route, address).map(|claim| Claimed::WebSocket(Box::new(claim))),
    };
    match claimed {
        Ok(Claimed::Sse(_)) if request.method() == Method::HEAD => {
            Decision::Answer(Box::new(event_stream_headers()))
        }
        Ok(claimed) => Decision::Claim(claimed),
        Err((why, answer)) => {
            shard.counters.refused[why as usize].add(1);
            Decision::Answer(answer)
        }
    }
}

fn claim<B>(
    shard: &Rc<Shard>,
    request: &Request<B>,
    route: Route<'_>,
    address: IpAddr,
) -> Result<Claim, Refusal> {
    let config = &shard.config;
    let upgrade = Upgrade::check(request.method(), request.version(), request.headers()).map_err(
        |error| {
            let (status, why) = (error.status().as_u16(), error.to_string());
            refusal(Refused::Handshake, status, &why, error.headers())
        },
    )?;
    if !is_allowed_page(&config.http.allowed_origins, request.headers()) {
        let why = "The page's origin is not in http.allowed_origins";
        return Err(refusal(Refused::Origin, 403, why, &[]));
    }
    let parameters = Parameters::parse(request.uri().query().unwrap_or(""))
        .map_err(|why| refusal(Refused::Handshake, 400, &why.to_string(), &[]))?;
    let place = enter(shard, address)?;
    let options = DeflateOptions {
        client_context: config.websocket.deflate_client_contexts,
        ..DeflateOptions::default()
    };
    // MessagePack is small as it is; what JSON shares compressed it cannot read.
    let offers = upgrade
        .extensions()
        .filter(|_| config.websocket.deflate && parameters.encoding == Encoding::Json);
    let agreed = negotiate(offers, &options);
    // A browser gives up if none of what it offered is chosen.
    let protocol = upgrade
        .protocols()
        .find(|protocol| *protocol == BEARER_PROTOCOL);
    let head = upgrade.response(protocol, agreed.as_ref());
    if route == Route::Echo {
        return Ok(Claim {
            head,
            agreed,
            dialect: Dialect::Events(parameters.encoding),
            session: Session::echo(),
            message_bytes_max: config.debug.echo_max_message_size,
            place,
            quota: Quota::default(),
            lease: None,
        });
    }
    let seat = take_seat(shard)?;
    let standing = match route {
        Route::EventsDemo => Standing::Anonymous,
        _ => credentials::admit(shard, request, address, config.events.auth_required)?,
    };
    let lease = lease_of(shard, &standing);
    let (endpoint, client_id) = match route {
        Route::EventsDemo => ("demo", None),
        Route::EventsDev => ("dev", None),
        Route::EventsAs(client_id) => ("prod", Some(client_id)),
        _ => ("prod", None),
    };
    Ok(Claim {
        head,
        agreed,
        dialect: Dialect::Events(parameters.encoding),
        quota: quota(shard, seat, address, &standing),
        session: Session::events(endpoint, client_id, parameters, standing),
        message_bytes_max: config.events.max_message_size,
        place,
        lease,
    })
}

/// What a connection of the events protocol may use. One whose credential is
/// none has no seat: it takes nobody's place, neither its address's nor that of
/// the user it claims to be.
fn quota(shard: &Shard, mut seat: Seat, address: IpAddr, standing: &Standing) -> Quota {
    let identity = match standing {
        Standing::Refused => return Quota::default(),
        Standing::Anonymous => None,
        Standing::Known(identity) => Some(identity),
    };
    let user = identity.map(|identity| identity.user.as_str());
    let own = identity.and_then(|identity| identity.frames_per_minute());
    match seat.name(address, user) {
        Ok(()) => Quota::seated(seat, own.unwrap_or(shard.config.events.frames_per_minute)),
        Err(crowd) => Quota::crowded(crowd),
    }
}

/// What is said about a client id outside the grammar.
const BAD_CLIENT_ID: &str = "A client id is 1 to 64 letters, digits, `_` and `-`";

/// Until when a connection may stay.
pub(super) fn lease_of(shard: &Shard, standing: &Standing) -> Option<Lease> {
    let end_of = |identity| shard.authenticator.tokens.end_of(identity);
    standing.identity().map(|identity| Lease {
        // What ended when time began has ended.
        until: NonZeroU64::new(end_of(identity)).unwrap_or(NonZeroU64::MIN),
        key: identity.key,
    })
}

/// A refusal with a JSON body that says why.
pub(super) fn refusal(
    counted: Refused,
    status: u16,
    why: &str,
    headers: &[(HeaderName, &'static str)],
) -> Refusal {
    (counted, Box::new(refuse(status, why, headers)))
}

/// Takes a place for a connection from `address`; there is none while clients are being closed.
pub(super) fn enter(shard: &Shard, address: IpAddr) -> Result<Place, Refusal> {
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
pub(super) fn take_seat(shard: &Shard) -> Result<Seat, Refusal> {
    shard.process.seats.take().ok_or_else(|| {
        shard.counters.limited(Limited::Connections);
        let headers = [(RETRY_AFTER, "1")];
        refusal(Refused::Connections, 503, "Too many connections", &headers)
    })
}
