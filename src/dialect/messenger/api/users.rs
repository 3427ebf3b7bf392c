//! What there is to know of accounts, for anyone.

use std::sync::Arc;

use axum::RequestExt;
use axum::extract::{Path, Request};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{MessengerHandle, answer_of, count, json, refused, text};
use crate::auth::is_name;
use crate::dialect::messenger::Messenger;
use crate::http::{Answer, Rejection};
use crate::service::{State, source_of};

/// `GET /auth/check-userid/{id}`: whether there is such an account.
pub(super) async fn check_user_id(
    messenger: MessengerHandle,
    state: Arc<State>,
    request: Request,
) -> Result<Answer, Rejection> {
    let id = id_of(&messenger, &state, request).await?;
    let exists = id.is_some_and(|id| messenger.store().is_registered(&id));
    Ok(json(serde_json::json!({ "exists": exists }).to_string()))
}

/// `GET /auth/users/{id}`: an account's name and keys.
pub(super) async fn user(
    messenger: MessengerHandle,
    state: Arc<State>,
    request: Request,
) -> Result<Answer, Rejection> {
    let not_found = || text(404, "User not found");
    let id = id_of(&messenger, &state, request).await?;
    let id = id.filter(|id| messenger.store().is_registered(id));
    let id = id.ok_or_else(not_found)?;
    let user = answer_of(messenger.store().user(&id))
        .await
        .map_err(refused)?;
    let user = user.ok_or_else(not_found)?;
    let mut body = serde_json::json!({
        "user_id": user.id,
        "username": user.username,
        "public_key": STANDARD.encode(user.public_key),
    });
    if !user.x25519_public_key.is_empty() {
        body["x25519_public_key"] = (&*user.x25519_public_key).into();
    }
    Ok(json(body.to_string()))
}

/// `GET /active-users`: the accounts, by whether they are connected.
pub(super) async fn active_users(
    messenger: MessengerHandle,
    state: Arc<State>,
    request: Request,
) -> Result<Answer, Rejection> {
    let limit = (&messenger.requests, "messenger.requests_per_minute");
    count(&state, limit, source_of(&request))?;
    let list = messenger.store().list(messenger.settings.list_max);
    let list = answer_of(list).await.map_err(refused)?;
    let listed = (list.online.len() + list.offline.len()) as u64;
    let mut body = serde_json::json!({ "online": list.online, "offline": list.offline });
    if listed < list.total {
        // These are not all.
        body["total"] = list.total.into();
    }
    Ok(json(body.to_string()))
}

/// The id at the end of the path; `None` for one that no account can have.
async fn id_of(
    messenger: &Messenger,
    state: &State,
    mut request: Request,
) -> Result<Option<String>, Rejection> {
    let limit = (&messenger.requests, "messenger.requests_per_minute");
    count(state, limit, source_of(&request))?;
    let path = request.extract_parts::<Path<String>>().await;
    Ok(path.ok().map(|Path(id)| id).filter(|id| is_name(id)))
}
