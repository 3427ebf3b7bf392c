//! A request that publishes one message, and its answer.

use axum::extract::Request;

use super::State;
use super::order::{Order, count, open, text_of};
use crate::http::{Answer, Rejection, refuse, respond};

/// Answers a request that publishes one message, which `parse` reads from the text of its body.
///
/// # Errors
/// The response that refuses it.
pub(crate) async fn publish_one(
    state: &State,
    request: Request,
    parse: for<'a> fn(&State, &'a str) -> Result<Order<'a>, String>,
) -> Result<Answer, Rejection> {
    let (service, body) = open(state, request).await?;
    let order = parse(state, text_of(&body)?).map_err(|why| refuse(422, &why, &[]))?;
    order.check_permission(state, &service)?;
    count(state, &service, 1)?;
    let stored = order.put(state).await?;
    let (offset, delivered) = (stored.offset, stored.members);
    Ok(respond(
        202,
        "application/json",
        format!(r#"{{"status":"accepted","offset":{offset},"delivered":{delivered}}}"#),
    ))
}
