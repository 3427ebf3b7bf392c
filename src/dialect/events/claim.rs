//! Admission of a connection of the events protocol.

use std::net::IpAddr;
use std::rc::Rc;

use hyper::Request;

use super::route::{EventsRoute, route};
use super::session::EventsSession;
use super::{Encoding, EventsFormats, NAME, Parameters};
use crate::conn::{
    Admission, Authentication, Quota, Record, WebSocketClaim, admit, agree, check_upgrade,
    lease_of, refusal, take_seat, take_slot,
};
use crate::http::{Source, refuse};
use crate::metrics::Refused;
use crate::process::Seat;
use crate::shard::{ConnectionInfo, Shard};
use crate::ws::deflate::Agreed;

pub(super) fn claim(
    formats: &EventsFormats,
    shard: &Rc<Shard>,
    request: &Request<()>,
    source: Source,
) -> Admission<WebSocketClaim> {
    let config = &shard.config;
    let upgrade = check_upgrade(shard, request, |status, why, headers| {
        Box::new(refuse(status, why, headers))
    })?;
    let parameters = Parameters::parse(request.uri().query().unwrap_or(""))
        .map_err(|why| refusal(Refused::Handshake, 400, &why.to_string(), &[]))?;
    let slot = take_slot(shard, source.address)?;
    // No compression with MessagePack: it is compact, and cannot share the compressed JSON frames.
    let (head, agreed) = agree(shard, &upgrade, parameters.encoding == Encoding::Json);
    let seat = take_seat(shard)?;
    let route = route(request.uri().path());
    let authentication = match route {
        EventsRoute::Demo => Authentication::Anonymous,
        _ => admit(shard, request, source.address, config.clients.auth_required)?,
    };
    let lease = lease_of(shard, &authentication);
    let (endpoint, client_id): (&'static (&str, &str), _) = match route {
        EventsRoute::Demo => (&(NAME, "demo"), None),
        EventsRoute::Dev => (&(NAME, "dev"), None),
        EventsRoute::As(client_id) => (&(NAME, "prod"), Some(client_id)),
        _ => (&(NAME, "prod"), None),
    };
    let mut info = ConnectionInfo::new(source, endpoint, authentication.identity());
    info.client_id = client_id.map(Into::into);
    info.is_listed = !matches!(authentication, Authentication::Refused(_));
    let denied = match &authentication {
        Authentication::Refused(denied) => Some(denied.detail()),
        _ => None,
    };
    let quota = quota(shard, seat, source.address, &authentication);
    let over = quota.limit_reached().map(|it| it.to_string().into());
    let is_deflated = agreed.as_ref().is_some_and(Agreed::is_shared);
    Ok(WebSocketClaim {
        head,
        agreed,
        message_bytes_max: config.clients.max_message_size,
        record: Record {
            format: formats.of(parameters.encoding, is_deflated),
            user: authentication.user(),
            quota,
            info: Some(info.with_detail(denied.or(over))),
            session: Box::new(EventsSession::new(
                endpoint.1,
                client_id,
                parameters,
                (authentication, source),
            )),
            slot,
            lease,
        },
    })
}

/// The quota of a connection. One with invalid credentials gets no seat: it does not count toward the limits of its
/// address or of the user that it claims to be.
fn quota(shard: &Shard, mut seat: Seat, address: IpAddr, authentication: &Authentication) -> Quota {
    let identity = match authentication {
        Authentication::Refused(_) => return Quota::default(),
        Authentication::Anonymous => None,
        Authentication::Known(identity) => Some(identity),
    };
    let user = identity.map(|identity| identity.user.as_str());
    let own = identity.and_then(|identity| identity.frames_per_minute());
    match seat.assign(address, user) {
        Ok(()) => Quota::seated(seat, own.unwrap_or(shard.config.clients.frames_per_minute)),
        Err(limit_reached) => Quota::over_limit(limit_reached),
    }
}
