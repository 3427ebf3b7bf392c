//! A request that publishes one message, and its answer.

use axum::extract::Request;

use super::State;
use super::order::{Order, PublishReceipt, count, open, text_of};
use crate::http::{Answer, refuse, respond};

/// Answers a request that publishes one message, which `parse` reads from the text of its body.
pub(crate) async fn publish_one(
    state: &State,
    request: Request,
    parse: for<'a> fn(&State, &'a str) -> Result<Order<'a>, String>,
) -> Answer {
    let published = async {
        let (service, body) = open(state, request).await?;
        let order = parse(state, text_of(&body)?).map_err(|why| refuse(422, &why, &[]))?;
        order.check_permission(state, &service)?;
        count(state, service.publisher, 1)?;
        order.put(state).await
    };
    published
        .await
        .map_or_else(|answer: Box<Answer>| *answer, accepted)
}

/// The response to a publication that has been stored.
fn accepted(receipt: PublishReceipt) -> Answer {
    let PublishReceipt { offset, delivered } = receipt;
    respond(
        202,
        "application/json",
        format!(r#"{{"status":"accepted","offset":{offset},"delivered":{delivered}}}"#),
    )
}
