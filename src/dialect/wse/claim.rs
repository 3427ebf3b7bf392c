//! Admission of a connection of the wse protocol.

use std::rc::Rc;
use std::sync::Arc;

use hyper::Request;

use super::format::Coding;
use super::frame::Dress;
use super::session::{Refusal, WseSession};
use super::{NAME, RefuseWith, Wse};
use crate::conn::{
    Admission, Authentication, Denied, Quota, Record, UpgradeRefusal, WebSocketClaim, admit, agree,
    check_handshake, check_page, lease_of, refusal, take_slot,
};
use crate::http::{Source, refuse};
use crate::metrics::Refused;
use crate::shard::{ConnectionInfo, Shard};
use crate::ws::deflate::Agreed;

pub(super) fn claim(
    wse: &Arc<Wse>,
    shard: &Rc<Shard>,
    request: &Request<()>,
    source: Source,
) -> Admission<WebSocketClaim> {
    let in_json = |status, why: &str, headers: &[_]| Box::new(refuse(status, why, headers));
    let upgrade = check_handshake(request, in_json)?;
    let slot = take_slot(shard, source.address)?;
    let refuses_late = wse.settings.refuse_with == RefuseWith::Frame;
    let admitted = check_page(shard, request, in_json)
        .and_then(|()| admit(shard, request, source.address, wse.asks()));
    let (authentication, refused) = match admitted {
        Ok(Authentication::Refused(denied)) if !refuses_late => return Err(denied_early(denied)),
        Ok(Authentication::Refused(denied)) => (
            Authentication::Refused(denied),
            Some(Refusal::Token(denied)),
        ),
        Ok(authentication) => (authentication, None),
        Err(refusal) if refuses_late && refusal.cause == Refused::Origin => (
            Authentication::Anonymous,
            Some(Refusal::Origin(refusal.detail)),
        ),
        Err(refusal) => return Err(refusal),
    };
    let query = request.uri().query().unwrap_or("");
    let wants_msgpack = query.contains("format=msgpack");
    // What is encrypted does not get smaller.
    let may_encrypt = query.contains("encryption=true");
    // No compression with MessagePack: it is compact, and cannot share the compressed JSON frames.
    let (head, agreed) = agree(shard, &upgrade, !wants_msgpack && !may_encrypt);
    let coding = match &agreed {
        _ if wants_msgpack => Coding::Msgpack,
        Some(agreed) if agreed.is_shared() => Coding::Deflated,
        _ => Coding::Json,
    };
    let info = ConnectionInfo::new(source, &(NAME, ""), authentication.identity());
    let detail = refused.as_ref().map(Refusal::detail);
    Ok(WebSocketClaim {
        head,
        message_bytes_max: wse.settings.max_message_size,
        record: Record {
            format: wse.formats.of(Dress::Field, coding),
            user: authentication.user(),
            quota: Quota::default(),
            info: Some(info.with_detail(detail)),
            lease: lease_of(shard, &authentication).filter(|_| wse.settings.end_with_token),
            session: Box::new(WseSession::new(
                wse.clone(),
                authentication,
                refused,
                (coding, agreed.as_ref().map(Agreed::is_shared)),
            )),
            slot,
        },
        agreed,
    })
}

/// The refusal of credentials before the upgrade.
fn denied_early(denied: Denied) -> UpgradeRefusal {
    let refusal = refusal(denied.refused(), denied.status(), denied.text(), &[]);
    UpgradeRefusal {
        detail: denied.detail(),
        ..refusal
    }
}
