//! Parsing of queries, commands, agent commands and batches.

use std::borrow::Cow;

use super::{Action, CommandFields, Refusal};
use crate::json::{self, Raw};

/// The largest number of messages in a batch.
pub const BATCH_MESSAGES_MAX: usize = 100;

/// The commands to agents.
pub const AGENT_COMMANDS: [&str; 7] = [
    "start", "stop", "restart", "status", "update", "create", "delete",
];

/// The longest name of an agent, in bytes.
const AGENT_ID_BYTES_MAX: usize = 128;

/// A query, in either of its two forms.
#[derive(Debug)]
pub enum Query<'a> {
    /// `params.query`: answered by a `response`.
    Named {
        /// The query's name.
        name: Cow<'a, str>,
        /// All of `params`, an object.
        params: Raw<'a>,
    },
    /// `data.query_type`: answered by a `query_result`.
    Typed(Cow<'a, str>),
}

pub(super) fn query<'a>(
    fields: &CommandFields<'a>,
    id: Option<Raw<'a>>,
) -> Result<Query<'a>, Refusal> {
    if let Some(params) = fields.params
        && let [Some(name)] = strings_of(params, ["query"])
    {
        return Ok(Query::Named { name, params });
    }
    match fields.data.map(|data| strings_of(data, ["query_type"])) {
        Some([Some(kind)]) => Ok(Query::Typed(kind)),
        _ => Err(Refusal::invalid(id, "`params.query` is missing: a name")),
    }
}

/// A command's name is at the top level, with its arguments in `params`, or in `params` or `data` together with its
/// arguments.
pub(super) fn command<'a>(
    fields: &CommandFields<'a>,
    id: Option<Raw<'a>>,
) -> Result<Action<'a>, Refusal> {
    let (mut name, mut params) = (fields.command, fields.params);
    if name.is_none()
        && let Some(inner) = [fields.params, fields.data]
            .into_iter()
            .flatten()
            .map(|object| values_of(object, ["command", "params", "parameters"]))
            .find(|[command, ..]| command.is_some())
    {
        let [command, inner_params, parameters] = inner;
        (name, params) = (command, inner_params.or(parameters));
    }
    match name.and_then(Raw::as_string) {
        Some(name) => Ok(Action::Command { name, params }),
        None => Err(Refusal::invalid(id, "`command` is missing: a name")),
    }
}

/// The token in a message, which is read once more: tokens are rare.
pub(super) fn token<'a>(text: &'a str, id: Option<Raw<'a>>) -> Result<Cow<'a, str>, Refusal> {
    let (mut token, mut data) = (None, None);
    let mut read = |key: &str, value: Raw<'a>| match key {
        "token" | "refresh_token" => token = Some(value),
        "data" => data = Some(value),
        _ => {}
    };
    // Their syntax has been checked.
    let _ = json::fields(text, &mut read);
    if let Some(data) = data.filter(|_| token.is_none()) {
        let _ = json::fields(data.text(), |key, value| {
            if matches!(key, "token" | "refresh_token") {
                token = Some(value);
            }
        });
    }
    let token = token.and_then(Raw::as_string);
    token.ok_or_else(|| Refusal::invalid(id, "`token` is missing: a text"))
}

pub(super) fn agent_command<'a>(
    fields: &CommandFields<'a>,
    id: Option<Raw<'a>>,
) -> Result<Action<'a>, Refusal> {
    let data = fields.data.filter(|data| data.is_object());
    let data = data.ok_or_else(|| Refusal::invalid(id, "`data` is missing: an object"))?;
    let [command, agent_id] = strings_of(data, ["command", "agent_id"]);
    let command = command
        .ok_or_else(|| Refusal::new(id, "INVALID_COMMAND", "`data.command` is missing: a name"))?;
    let known = AGENT_COMMANDS.into_iter().find(|known| *known == command);
    let command = known
        .ok_or_else(|| Refusal::unknown(id, "INVALID_COMMAND", "Invalid command", &command))?;
    // The agent is required (docs/protocol.md, "agent_command").
    let agent_id = agent_id.filter(|agent_id| !agent_id.is_empty());
    let agent_id = agent_id.ok_or_else(|| {
        Refusal::new(
            id,
            "INVALID_COMMAND",
            "`data.agent_id` is missing: the agent that the command is for",
        )
    })?;
    if !is_agent_id(&agent_id) {
        return Err(Refusal::new(
            id,
            "INVALID_AGENT_ID",
            "`data.agent_id` is 1 to 128 letters, digits, `_` and `-`",
        ));
    }
    Ok(Action::AgentCommand { command, agent_id })
}

pub(super) fn batch<'a>(
    fields: &CommandFields<'a>,
    id: Option<Raw<'a>>,
) -> Result<Vec<Raw<'a>>, Refusal> {
    let messages = fields
        .messages
        .and_then(|list| json::items(list.text(), BATCH_MESSAGES_MAX + 1).ok());
    let messages = messages
        .ok_or_else(|| Refusal::invalid(id, "`messages` is missing: a list of messages"))?;
    if messages.len() > BATCH_MESSAGES_MAX {
        let message = format!("A batch has at most {BATCH_MESSAGES_MAX} messages");
        let details = format!(r#"{{"limit":{BATCH_MESSAGES_MAX}}}"#);
        return Err(Refusal::invalid(id, message).with_details(details));
    }
    Ok(messages)
}

/// The values of these keys of an object; all `None` if `object` is another value.
fn values_of<'a, const N: usize>(object: Raw<'a>, keys: [&str; N]) -> [Option<Raw<'a>>; N] {
    let mut values = [None; N];
    // `object` is part of a text whose syntax has been checked.
    let _ = json::fields(object.text(), |key, value| {
        if let Some(at) = keys.iter().position(|wanted| *wanted == key) {
            values[at] = Some(value);
        }
    });
    values
}

fn strings_of<'a, const N: usize>(object: Raw<'a>, keys: [&str; N]) -> [Option<Cow<'a, str>>; N] {
    values_of(object, keys).map(|value| value.and_then(Raw::as_string))
}

fn is_agent_id(id: &str) -> bool {
    (1..=AGENT_ID_BYTES_MAX).contains(&id.len())
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}
