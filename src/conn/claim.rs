//! Decides about a request: an answer, or the socket.

use std::net::IpAddr;
use std::rc::Rc;

use hyper::Request;
use hyper::header::{AUTHORIZATION, COOKIE, HeaderMap, HeaderName, RETRY_AFTER, UPGRADE};

use super::quota::Quota;
use super::session::{Session, Standing};
use super::sse;
use crate::auth::{Identity, TokenVerifier};
use crate::http::{Answer, Route, refuse, route};
use crate::metrics::{Limited, Refused};
use crate::protocol::events::{Encoding, Parameters};
use crate::shard::{NoRoom, Place, Seat, Shard};
use crate::ws::deflate::{Agreed, DeflateOptions, negotiate};
use crate::ws::handshake::Upgrade;

/// A socket that becomes a WebSocket connection.
#[derive(Debug)]
pub(super) struct Claim {
    /// The answer to the upgrade request.
    pub(super) head: Vec<u8>,
    pub(super) agreed: Option<Agreed>,
    pub(super) encoding: Encoding,
    pub(super) session: Session,
    pub(super) message_bytes_max: usize,
    pub(super) place: Place,
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

/// Decides about a request.
pub(super) fn decide<B>(shard: &Rc<Shard>, request: &Request<B>, address: IpAddr) -> Decision {
    let config = &shard.config;
    let route = route(request.uri().path());
    let exists = match route {
        Route::Api => return Decision::Api,
        Route::Echo => config.debug.echo,
        Route::EventsDemo => config.events.demo_enabled,
        Route::EventsDev => config.mode != crate::config::Mode::Prod,
        Route::Events | Route::EventsAs(_) => true,
        Route::Sse => config.sse.enabled,
        Route::Reserved(_) if !request.headers().contains_key(UPGRADE) => return Decision::Api,
        Route::Reserved(id) => {
            let why = format!("`{id}` is reserved: choose another client id");
            return Decision::Answer(Box::new(refuse(404, &why, &[])));
        }
        Route::BadClientId => return Decision::Answer(Box::new(refuse(404, BAD_CLIENT_ID, &[]))),
    };
    if !exists {
        return Decision::Answer(Box::new(refuse(404, "Not Found", &[])));
    }
    let claimed = match route {
        Route::Sse => {
            sse::claim(shard, request, address).map(|claim| Claimed::Sse(Box::new(claim)))
        }
        _ => claim(shard, request, route, address).map(|claim| Claimed::WebSocket(Box::new(claim))),
    };
    match claimed {
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
    let head = upgrade.response(None, agreed.as_ref());
    if route == Route::Echo {
        return Ok(Claim {
            head,
            agreed,
            encoding: parameters.encoding,
            session: Session::echo(),
            message_bytes_max: config.debug.echo_max_message_size,
            place,
            quota: Quota::default(),
        });
    }
    let seat = take_seat(shard)?;
    let (endpoint, client_id, standing) = match route {
        Route::EventsDemo => ("demo", None, Standing::Anonymous),
        Route::EventsDev => ("dev", None, standing(shard, request)),
        Route::EventsAs(client_id) => ("prod", Some(client_id), standing(shard, request)),
        _ => ("prod", None, standing(shard, request)),
    };
    Ok(Claim {
        head,
        agreed,
        encoding: parameters.encoding,
        quota: quota(shard, seat, address, &standing),
        session: Session::events(endpoint, client_id, parameters, standing),
        message_bytes_max: config.events.max_message_size,
        place,
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
    let own = identity.and_then(|identity| identity.frames_per_minute);
    match seat.name(address, user) {
        Ok(()) => Quota::seated(seat, own.unwrap_or(shard.config.events.frames_per_minute)),
        Err(crowd) => Quota::crowded(crowd),
    }
}

/// What is said about a client id outside the grammar.
const BAD_CLIENT_ID: &str = "A client id is 1 to 64 letters, digits, `_` and `-`";

/// A refusal with a JSON body that says why.
pub(super) fn refusal(
    counted: Refused,
    status: u16,
    why: &str,
    headers: &[(HeaderName, &'static str)],
) -> Refusal {
    (counted, Box::new(refuse(status, why, headers)))
}

/// Takes a place for a connection from `address`.
pub(super) fn enter(shard: &Shard, address: IpAddr) -> Result<Place, Refusal> {
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

/// What a request's token says about its sender (spec/events.md 3.5). Sources
/// that disagree are as good as no token.
pub(super) fn standing<B>(shard: &Shard, request: &Request<B>) -> Standing {
    let required = shard.config.events.auth_required;
    let query = request.uri().query().unwrap_or("");
    let headers = request.headers();
    let mut given = query_tokens(query)
        .chain(bearer_tokens(headers))
        .chain(cookie_tokens(headers));
    let token = given.next();
    if given.any(|other| Some(other) != token) {
        return Standing::Refused;
    }
    match token {
        None if !required => Standing::Anonymous,
        Some("dev") if !required => Standing::Anonymous,
        Some(token) => match verify(shard, token) {
            Some(identity) => Standing::Known(Box::new(identity)),
            None => Standing::Refused,
        },
        None => Standing::Refused,
    }
}

fn verify(shard: &Shard, token: &str) -> Option<Identity> {
    let verifier = TokenVerifier::new(&shard.config.auth)?;
    shard.clock.refresh();
    verifier.verify(token, shard.clock.wall_seconds()).ok()
}

fn query_tokens(query: &str) -> impl Iterator<Item = &str> {
    query
        .split('&')
        .filter_map(|pair| pair.strip_prefix("token="))
}

fn bearer_tokens(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    texts(headers, AUTHORIZATION).filter_map(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    })
}

fn cookie_tokens(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    texts(headers, COOKIE)
        .flat_map(|line| line.split(';'))
        .filter_map(|cookie| cookie.trim().strip_prefix("access_token="))
}

fn texts(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter();
    values.filter_map(|value| value.to_str().ok())
}
