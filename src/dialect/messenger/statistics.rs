//! `GET /api/v1/messenger/stats`: what the database holds, for services.

use std::sync::Arc;

use axum::extract::Request;

use super::api::{MessengerHandle, answer_of, json};
use crate::http::{Answer, Rejection, refuse};
use crate::service::{State, source_of};

/// Answers with counts of the whole database.
pub(super) async fn statistics(
    messenger: MessengerHandle,
    state: Arc<State>,
    request: Request,
) -> Result<Answer, Rejection> {
    state.check_operator(request.headers(), source_of(&request))?;
    let store = messenger.store();
    let counts = answer_of(store.statistics()).await;
    let counts = counts.map_err(|why| refuse(503, &why.to_string(), &[]))?;
    let messages = counts.messages.iter();
    let messages: Vec<_> = messages
        .map(|it| serde_json::json!({ "type": it.kind, "status": it.status, "count": it.count }))
        .collect();
    let body = serde_json::json!({
        "users": counts.users,
        "connected": store.connected(),
        "messages": messages,
        "sessions": counts.sessions,
        "broadcasts": counts.broadcasts,
        "deliveries": counts.deliveries,
        "database_bytes": counts.database_bytes,
        "security_log_lines_lost": messenger.audit.lost(),
    });
    Ok(json(body.to_string()))
}
