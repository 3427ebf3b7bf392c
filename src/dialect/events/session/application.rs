//! Messages for the application (docs/backend.md).

use super::error;
use crate::dialect::events::Refusal;
use crate::id::PeerId;
use crate::inbound::{MessageBody, MessageFields};
use crate::json::Raw;
use crate::process::NotTaken;
use crate::shard::Shard;

/// Tells the application what the client says: the message `text` of a type. If it is not taken, the client is told.
pub(super) fn tell(shard: &Shard, peer: PeerId, text: &str, id: Option<Raw<'_>>, kind: &str) {
    let message = MessageFields {
        kind: Some(kind),
        id: id.map(Raw::text),
        body: MessageBody::Json(text),
    };
    let (code, why, details) = match shard.tell_message(peer, &message) {
        Ok(()) => return,
        Err(NotTaken::NoApplication) => ("NO_APPLICATION", "No application is attached", None),
        Err(NotTaken::Full) => (
            "BACKEND_BUSY",
            "The application is busy: try again later",
            Some(r#"{"retry_after":1}"#.to_owned()),
        ),
    };
    let mut refusal = Refusal::new(id, code, why);
    refusal.details = details;
    error(shard, peer, &refusal);
}
