//! `POST /auth/register`: a new account.

use std::sync::Arc;

use axum::extract::Request;

use super::{MessengerHandle, TEXT, answer_of, count, note_refused, object_of, refused, text};
use crate::dialect::messenger::account::Registration;
use crate::dialect::messenger::audit::AuditEvent;
use crate::http::{Answer, Rejection, respond};
use crate::metrics::Refused;
use crate::service::{Closing, State, close_order, source_of};
use crate::shard::Wanted;
use crate::store::Registered;

/// Registers an account; it is stored when this answers.
pub(super) async fn register(
    messenger: MessengerHandle,
    state: Arc<State>,
    request: Request,
) -> Result<Answer, Rejection> {
    let source = source_of(&request);
    let limit = (&messenger.requests, "messenger.requests_per_minute");
    count(&state, limit, source)?;
    let limit = (
        &messenger.registrations,
        "messenger.registrations_per_minute",
    );
    count(&state, limit, source)?;
    let registration: Registration = object_of(&state, request).await?;
    let id = registration.user_id.clone().unwrap_or_default();
    let fail = |status, why: &str| {
        messenger.note(
            &state,
            AuditEvent {
                name: "REGISTRATION_FAILED",
                user: &id,
                address: source.address,
                failed: Some(why),
            },
        );
        text(status, why)
    };
    if !messenger.settings.registration {
        let answer = fail(403, "Registration is closed");
        let why = (Refused::Credentials, "messenger.registration is false");
        return Err(note_refused(&state, source, why, answer));
    }
    let user = registration.check();
    let user = user.map_err(|why| fail(400, &why.to_string()))?;
    match answer_of(messenger.store().register(user)).await {
        Ok(Registered::New) => {
            close_claimants(&state, &id).await;
            messenger.note(
                &state,
                AuditEvent {
                    name: "REGISTRATION_SUCCESS",
                    user: &id,
                    address: source.address,
                    failed: None,
                },
            );
            Ok(respond(201, TEXT, "User registered successfully"))
        }
        Ok(Registered::Exists) => Ok(fail(409, "User already exists")),
        Err(why) => {
            fail(503, &why.to_string());
            Ok(refused(why))
        }
    }
}

/// Closes the connections that have claimed to be the user without proof, where that is possible.
///
/// Cost: a look at each connection; nothing where all have to prove who they are.
async fn close_claimants(state: &State, user: &str) {
    if state.config.open_endpoints().is_empty() {
        return;
    }
    let wanted = Wanted {
        user: Some(user.into()),
        is_unproved: true,
        ..Wanted::default()
    };
    let order = close_order(None, Some("Authentication required"));
    let order = order.expect("the reason is short");
    // A shard that has ended has none.
    let _ = Closing::begin(&state.shard, &wanted, &order).count().await;
}
