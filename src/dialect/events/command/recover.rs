//! The positions at which a client resumes after a reconnect.

use std::borrow::Cow;

use super::{CommandFields, Refusal};
use crate::json::{self, Raw};

/// A client's position in a topic, or in the topics that a pattern matches.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recover<'a> {
    /// The topic's name, or the pattern.
    pub topic: Cow<'a, str>,
    /// The topic's epoch; for a pattern, that of the process.
    pub epoch: u64,
    /// The offset of the newest message received; for a pattern, the time of the subscription.
    pub offset: u64,
}

/// Reads `recover`: `{"topic":{"epoch":..,"offset":..}}`.
pub(super) fn recover<'a>(
    fields: &CommandFields<'a>,
    id: Option<Raw<'a>>,
) -> Result<Vec<Recover<'a>>, Refusal> {
    let wrong = || {
        let message = "`recover` is not an object of topics, each with its `epoch` and `offset`";
        Refusal::invalid(id, message)
    };
    let Some(recover) = fields.recover.filter(|recover| !recover.is_null()) else {
        return Ok(Vec::new());
    };
    let mut topics = Vec::new();
    json::fields(recover.text(), |topic, value| {
        let (mut epoch, mut offset) = (None, None);
        let read = json::fields(value.text(), |key, value| match key {
            "epoch" => epoch = value.as_count(),
            "offset" => offset = value.as_count(),
            _ => {}
        });
        topics.push(match (read, epoch, offset) {
            (Ok(()), Some(epoch), Some(offset)) => Some(Recover {
                topic: Cow::Owned(topic.to_owned()),
                epoch,
                offset,
            }),
            _ => None,
        });
    })
    .map_err(|_| wrong())?;
    topics.into_iter().collect::<Option<_>>().ok_or_else(wrong)
}
