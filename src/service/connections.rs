//! Connections of all shards: lists of them, and closing them.

use tokio::sync::oneshot;
use tokio::task::yield_now;

use crate::id::ShardId;
use crate::process::ENDS_KEPT;
use crate::shard::{CloseOrder, Handle, Shard, Wanted};

/// The largest and the default number of connections, and of ends, in one response.
pub(crate) const LISTED_MAX: usize = ENDS_KEPT;
pub(crate) const LISTED_DEFAULT: usize = 100;

/// Bytes of connections in one response. The page of a shard that reaches it is listed whole.
const LISTED_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Bytes of the reason in a close frame (RFC 6455 section 5.5).
const REASON_BYTES_MAX: usize = 123;

/// The close code where a service names none: a violation of a policy (RFC 6455 section 7.4.1).
const CODE_DEFAULT: u16 = 1008;

/// A shard has ended before it answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stopping;

/// The connections that are wanted of all shards: their number, and `limit` of them as JSON objects, separated by
/// commas.
///
/// # Errors
/// The gateway stops.
pub(crate) async fn find(
    shard: &Handle,
    wanted: &Wanted,
    limit: usize,
) -> Result<(usize, String), Stopping> {
    let (mut total, mut listed, mut items) = (0, 0, String::new());
    for at in shards(shard, wanted) {
        let mut from = Some(0);
        while let Some(slot) = from {
            // Further ones are only counted.
            let room = match items.len() < LISTED_BYTES_MAX {
                true => limit - listed,
                false => 0,
            };
            let asked = shard.ask_found(at, wanted, (slot, room));
            let page = asked.await.map_err(|_| Stopping)?;
            total += page.total;
            if listed > 0 && page.listed > 0 {
                items.push(',');
            }
            listed += page.listed;
            items.push_str(&page.items);
            from = page.next;
            // Other tasks get their turn between two pages.
            yield_now().await;
        }
    }
    Ok((total, items))
}

/// The shards that may have what is wanted.
fn shards(shard: &Shard, wanted: &Wanted) -> impl Iterator<Item = ShardId> + use<> {
    let wanted = wanted.connection.map(|(at, _)| at);
    let all = shard.shards();
    all.filter(move |at| wanted.is_none_or(|wanted| wanted == *at))
}

/// Connections that all shards have been asked to close.
#[derive(Debug)]
pub(crate) struct Closing(Vec<oneshot::Receiver<usize>>);

impl Closing {
    /// Asks all shards to close the connections that are wanted.
    pub(crate) fn begin(shard: &Shard, wanted: &Wanted, order: &CloseOrder) -> Self {
        let asked = shards(shard, wanted).map(|at| shard.ask_close(at, wanted, order));
        Self(asked.collect())
    }

    /// Waits for their number.
    ///
    /// # Errors
    /// The gateway stops.
    pub(crate) async fn count(self) -> Result<usize, Stopping> {
        let mut closed = 0;
        for asked in self.0 {
            closed += asked.await.map_err(|_| Stopping)?;
        }
        Ok(closed)
    }
}

/// How connections are closed for a service.
///
/// # Errors
/// What is wrong with the code or the reason.
pub(crate) fn close_order(
    code: Option<u16>,
    reason: Option<&str>,
) -> Result<CloseOrder, &'static str> {
    let code = code.unwrap_or(CODE_DEFAULT);
    if !matches!(code, 1000 | 1001 | 1008 | 1011..=1013 | 3000..=4999) {
        return Err("`code`: accepted: 1000, 1001, 1008, 1011 to 1013, and 3000 to 4999");
    }
    if reason.is_some_and(|it| it.len() > REASON_BYTES_MAX || it.chars().any(char::is_control)) {
        return Err("`reason`: at most 123 bytes, without control characters");
    }
    Ok(CloseOrder {
        code,
        reason: reason.map(Into::into),
    })
}
