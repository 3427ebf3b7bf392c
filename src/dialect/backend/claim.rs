//! Admission of a member.

use std::rc::Rc;

use hyper::Request;
use hyper::header::RETRY_AFTER;

use super::session::LinkSession;
use super::{BackendLink, LinkRequest, NAME};
use crate::conn::{
    Admission, Quota, Record, UpgradeRefusal, WebSocketClaim, agree, check_upgrade, lease_for,
    refusal, take_slot,
};
use crate::http::{Source, refuse};
use crate::id::UserKey;
use crate::metrics::Refused;
use crate::service::Service;
use crate::shard::{ConnectionInfo, Handle, Shard};

/// Admits a member. It takes no seat: it is no client, and counts toward no limit of addresses and users but that of
/// open connections.
pub(super) fn claim(
    link: &BackendLink,
    shard: &Rc<Shard>,
    request: &Request<()>,
    source: Source,
) -> Admission<WebSocketClaim> {
    let config = &shard.config;
    let upgrade = check_upgrade(shard, request, |status, why, headers| {
        Box::new(refuse(status, why, headers))
    })?;
    let headers = request.headers();
    let service = match link.asks {
        true => Service::authenticate(shard, headers, source, None, true),
        false => Service::on_own_page(shard, headers, source),
    };
    let service = service.map_err(|refused| UpgradeRefusal {
        cause: refused.cause,
        answer: refused.answer,
        detail: refused.detail,
        user: refused.user,
    })?;
    let query = request.uri().query().unwrap_or("");
    let asked = LinkRequest::parse(query, config.backend.credit)
        .map_err(|why| refusal(Refused::Handshake, 400, &why, &[]).of(service.identity.as_ref()))?;
    let member = shard.process.inbound.take_member_slot().ok_or_else(|| {
        let why = "There are `backend.max_members` members already";
        refusal(Refused::Backend, 429, why, &[(RETRY_AFTER, "1")]).of(service.identity.as_ref())
    })?;
    let slot = take_slot(shard, source.address)?;
    // No compression: a member is near, and would have the gateway compress all that clients say.
    let (head, agreed) = agree(shard, &upgrade, false);
    let identity = service.identity.as_ref();
    Ok(WebSocketClaim {
        head,
        agreed,
        message_bytes_max: config.backend.max_message_size,
        record: Record {
            format: link.formats.of(asked.format),
            user: UserKey::NONE,
            lease: identity.map(|identity| lease_for(shard, identity)),
            info: Some(ConnectionInfo::new(source, &(NAME, ""), identity)),
            quota: Quota::default(),
            slot,
            session: Box::new(LinkSession::new(
                Handle::new(shard.clone()),
                service,
                asked,
                member,
            )),
        },
    })
}
