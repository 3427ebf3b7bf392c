//! `POST /sse/push/batch`: several messages in one request.

use std::sync::Arc;

use axum::extract::Request;

use super::admission::admit;
use super::{BridgeHandle, JSON, note, order};
use crate::dialect::bridge::{Invalid, Push};
use crate::engine::PublishResult;
use crate::http::{Answer, Rejection, respond};
use crate::json::put_string;
use crate::service::State;
use crate::service::{Failed, count, receipt};
use crate::shard::CountedPublish;

/// Messages published before other tasks get their turn.
const MESSAGES_PER_TURN: usize = 256;

/// Publishes all messages of a batch, then waits for their results. One invalid message refuses the whole batch before
/// anything is published.
pub(super) async fn push_batch(
    bridge: BridgeHandle,
    state: Arc<State>,
    request: Request,
) -> Result<Answer, Rejection> {
    let admitted = admit(&bridge, &state, request).await?;
    let pushes = Push::parse_batch(admitted.text(Invalid::unread_batch)?)?;
    count(&state, &admitted.service, pushes.len())?;
    let mut begun = Vec::with_capacity(pushes.len());
    // The whole batch waits for room at most once, as one push does.
    let mut may_wait = true;
    let mut frame = Vec::new();
    for (index, push) in pushes.iter().enumerate() {
        if index > 0 && index % MESSAGES_PER_TURN == 0 {
            tokio::task::yield_now().await;
        }
        let Some(order) = order(&bridge, &state, push, None, &mut frame) else {
            begun.push(None);
            continue;
        };
        if !order.is_permitted(&state.config, &admitted.service) {
            begun.push(Some(BatchedPush::Finished(Err(Failed::Forbidden))));
            continue;
        }
        begun.push(Some(match order.begin(&state.shard) {
            // Later messages wait, too, which keeps the order of a user's messages.
            CountedPublish::Done(PublishResult::Busy) if may_wait => {
                let put = order.try_put(&state).await;
                may_wait = put.is_ok();
                BatchedPush::Finished(put.map(|stored| stored.members))
            }
            counted => BatchedPush::Pending(counted),
        }));
    }
    let mut out = Vec::with_capacity(16 + 64 * pushes.len());
    out.extend_from_slice(br#"{"results":["#);
    for ((index, push), begun) in pushes.iter().enumerate().zip(begun) {
        let delivered = match begun {
            None => Ok(false),
            Some(BatchedPush::Finished(outcome)) => outcome.map(|reached| note(&state, reached)),
            Some(BatchedPush::Pending(counted)) => {
                let stored = receipt(counted).await;
                stored.map(|stored| note(&state, stored.members))
            }
        };
        if index > 0 {
            out.push(b',');
        }
        put_result(&mut out, index, &push.user, delivered);
    }
    out.extend_from_slice(b"]}");
    let body = String::from_utf8(out).expect("it is made of texts");
    Ok(respond(200, JSON, body))
}

/// A message of a batch: its publication is pending or finished.
enum BatchedPush {
    Pending(CountedPublish),
    Finished(Result<u64, Failed>),
}

fn put_result(out: &mut Vec<u8>, index: usize, user: &str, delivered: Result<bool, Failed>) {
    out.extend_from_slice(br#"{"index":"#);
    out.extend_from_slice(itoa::Buffer::new().format(index).as_bytes());
    out.extend_from_slice(br#","user_id":"#);
    put_string(out, user);
    let (success, error) = match delivered {
        Ok(success) => (success, None),
        Err(failed) => (false, Some(failed.text())),
    };
    out.extend_from_slice(match success {
        true => br#","success":true"#,
        false => br#","success":false"#,
    });
    if let Some(error) = error {
        out.extend_from_slice(br#","error":"#);
        put_string(out, error);
    }
    out.push(b'}');
}
