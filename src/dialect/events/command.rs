//! The messages of clients.

use std::borrow::Cow;

use super::Refusal;
use crate::engine::{KEY_BYTES_MAX, Recover};
use crate::json::{self, JsonError, Raw};

mod request;

pub use request::{AGENT_COMMANDS, BATCH_MESSAGES_MAX, Query};
use request::{agent_command, batch, command, query, token};

/// One message of a client. It borrows the message's text.
#[derive(Debug)]
pub struct Command<'a> {
    /// The request's `id`, a string or a number, repeated in the answer.
    pub id: Option<Raw<'a>>,
    /// The client's `timestamp`, any JSON value.
    pub timestamp: Option<Raw<'a>>,
    /// What it asks for.
    pub action: Action<'a>,
}

/// What a message asks for.
#[derive(Debug)]
pub enum Action<'a> {
    /// Answer `pong`.
    Ping,
    /// Answer `heartbeat_ack`.
    Heartbeat,
    /// Subscribe to these names and patterns, resuming some topics at a position.
    Subscribe(Vec<Cow<'a, str>>, Vec<Recover<'a>>),
    /// Unsubscribe from these names and patterns; from all if the list is empty.
    Unsubscribe(Vec<Cow<'a, str>>),
    /// Publish `data`, which is passed on byte for byte.
    Publish {
        /// The topic.
        event: Cow<'a, str>,
        /// A JSON value, unparsed.
        data: &'a str,
        /// Makes it idempotent; see [`Raw::as_key`].
        key: Option<Cow<'a, str>>,
    },
    /// Take this token instead of the connection's.
    Authenticate(Cow<'a, str>),
    /// Answer a query.
    Query(Query<'a>),
    /// Run a command of the gateway and answer with its result.
    Command {
        /// Which one.
        name: Cow<'a, str>,
        /// Its arguments, if there are any.
        params: Option<Raw<'a>>,
    },
    /// Acknowledge a command to an agent.
    AgentCommand {
        /// One of [`AGENT_COMMANDS`].
        command: &'static str,
        /// The agent.
        agent_id: Cow<'a, str>,
    },
    /// Pass the message to the application.
    App,
    /// Pass the message, an answer to a call, to the caller with its `id`.
    Response,
    /// Execute these in order; none of them is a batch.
    Batch(Vec<Raw<'a>>),
    /// An unknown type, with its name.
    Unknown(Cow<'a, str>),
}

/// The fields that are read, unparsed. If one is repeated, the last counts.
#[derive(Default)]
struct CommandFields<'a> {
    kind: Option<Raw<'a>>,
    id: Option<Raw<'a>>,
    timestamp: Option<Raw<'a>>,
    event: Option<Raw<'a>>,
    events: Option<Raw<'a>>,
    event_types: Option<Raw<'a>>,
    data: Option<Raw<'a>>,
    key: Option<Raw<'a>>,
    recover: Option<Raw<'a>>,
    params: Option<Raw<'a>>,
    command: Option<Raw<'a>>,
    messages: Option<Raw<'a>>,
}

/// The parts of a message that an error repeats, for a message that is dropped unparsed.
#[derive(Debug, Default)]
pub struct Envelope<'a> {
    /// The message's `id`, a string or a number.
    pub id: Option<Raw<'a>>,
    /// Its `type`, if it is a string of at most `KIND_BYTES_MAX` bytes.
    pub kind: Option<Cow<'a, str>>,
    /// The messages in it, if it is a batch.
    pub messages: Vec<Raw<'a>>,
}

impl<'a> Envelope<'a> {
    /// Reads the fields that are present; all are missing if `text` is not a JSON object.
    #[must_use]
    pub fn read(text: &'a str) -> Self {
        let Ok(fields) = CommandFields::read(text) else {
            return Self::default();
        };
        let kind = fields.kind.and_then(Raw::as_string);
        let kind = kind.filter(|kind| kind.len() <= KIND_BYTES_MAX && is_type_name(kind));
        let messages = match kind.as_deref() {
            Some("batch") => batch(&fields, None).unwrap_or_default(),
            _ => Vec::new(),
        };
        Self {
            id: fields.id.filter(|id| id.is_scalar_id()),
            kind,
            messages,
        }
    }
}

/// Bytes of a `type` that an answer repeats.
const KIND_BYTES_MAX: usize = 64;

impl<'a> CommandFields<'a> {
    /// Splits a message into its fields.
    fn read(text: &'a str) -> Result<Self, JsonError> {
        let mut fields = Self::default();
        json::fields(text, |key, value| {
            let field = match key {
                "type" => &mut fields.kind,
                "id" => &mut fields.id,
                "timestamp" => &mut fields.timestamp,
                "event" => &mut fields.event,
                "events" => &mut fields.events,
                "event_types" => &mut fields.event_types,
                "data" => &mut fields.data,
                "key" => &mut fields.key,
                "recover" => &mut fields.recover,
                "params" => &mut fields.params,
                "command" => &mut fields.command,
                "messages" => &mut fields.messages,
                _ => return,
            };
            *field = Some(value);
        })?;
        Ok(fields)
    }
}

impl<'a> Command<'a> {
    /// Reads one message.
    ///
    /// Cost: one pass over the text; only the fields that its type needs are parsed.
    ///
    /// # Errors
    /// The error to answer with.
    pub fn parse(text: &'a str) -> Result<Self, Refusal> {
        let fields = CommandFields::read(text).map_err(|error| match error {
            JsonError::Syntax => Refusal::new(None, "INVALID_JSON", "Invalid JSON format"),
            JsonError::NotObject | JsonError::NotArray => {
                Refusal::invalid(None, "A message is a JSON object")
            }
        })?;
        let id = fields.id.filter(|id| id.is_scalar_id());
        if fields
            .id
            .is_some_and(|id| !id.is_scalar_id() && !id.is_null())
        {
            return Err(Refusal::invalid(None, "`id` is a string or a number"));
        }
        let kind = fields.kind.and_then(Raw::as_string);
        let kind = kind.ok_or_else(|| Refusal::invalid(id, "`type` is missing or not a string"))?;
        let action = match &*kind {
            "publish" => publish(&fields, id)?,
            "ping" => Action::Ping,
            "heartbeat" => Action::Heartbeat,
            "subscribe" => match names(&fields, id)? {
                Some(names) => Action::Subscribe(names, recovered(&fields, id)?),
                None => return Err(Refusal::invalid(id, "`events` is missing: a list of names")),
            },
            "unsubscribe" => Action::Unsubscribe(names(&fields, id)?.unwrap_or_default()),
            "authenticate" | "refresh_token" => Action::Authenticate(token(text, id)?),
            "query" => Action::Query(query(&fields, id)?),
            "command" => command(&fields, id)?,
            "agent_command" => agent_command(&fields, id)?,
            "app" => Action::App,
            "response" => Action::Response,
            "batch" => Action::Batch(batch(&fields, id)?),
            _ if is_type_name(&kind) => Action::Unknown(kind),
            _ => return Err(Refusal::invalid(id, "`type` is not a name")),
        };
        Ok(Self {
            id,
            timestamp: fields.timestamp,
            action,
        })
    }

    /// The number of messages that rate limits count: those in a batch, at least one.
    #[must_use]
    pub fn messages(&self) -> usize {
        match &self.action {
            Action::Batch(messages) => messages.len().max(1),
            _ => 1,
        }
    }
}

fn publish<'a>(fields: &CommandFields<'a>, id: Option<Raw<'a>>) -> Result<Action<'a>, Refusal> {
    let event = fields.event.and_then(Raw::as_string);
    let event =
        event.ok_or_else(|| Refusal::invalid(id, "`event` is missing: the name to publish to"))?;
    let data = fields.data.map_or("null", Raw::text);
    let given = fields.key.filter(|key| !key.is_null());
    let key = given.and_then(|key| key.as_key(KEY_BYTES_MAX));
    if key.is_none() && given.is_some() {
        let message = format!("`key` is a string or number of at most {KEY_BYTES_MAX} bytes");
        return Err(Refusal::invalid(id, message));
    }
    Ok(Action::Publish { event, data, key })
}

/// The list of names: `events` or `event_types`, at the top level or in `data`.
fn names<'a>(
    fields: &CommandFields<'a>,
    id: Option<Raw<'a>>,
) -> Result<Option<Vec<Cow<'a, str>>>, Refusal> {
    let (mut events, mut event_types) = (fields.events, fields.event_types);
    if events.or(event_types).is_none()
        && let Some(data) = fields.data
    {
        let _ = json::fields(data.text(), |key, value| match key {
            "events" => events = Some(value),
            "event_types" => event_types = Some(value),
            _ => {}
        });
    }
    match events.or(event_types) {
        None => Ok(None),
        Some(list) => match list.as_strings() {
            Some(names) => Ok(Some(names)),
            None => Err(Refusal::invalid(id, "`events` is not a list of strings")),
        },
    }
}

fn is_type_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// What the client wants of topics that it has had before.
fn recovered<'a>(
    fields: &CommandFields<'a>,
    id: Option<Raw<'a>>,
) -> Result<Vec<Recover<'a>>, Refusal> {
    let Some(recover) = fields.recover.filter(|recover| !recover.is_null()) else {
        return Ok(Vec::new());
    };
    Recover::read(recover).ok_or_else(|| {
        let message = "`recover` is not an object of topics, each with its `epoch` and `offset` or, for a topic, `last`";
        Refusal::invalid(id, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&str, &str>) {
        match (Command::parse(text), expected) {
            (Ok(command), Ok(expected)) => {
                assert_eq!(format!("{:?}", command.action), expected, "{text}");
            }
            (Err(refusal), Err(expected)) => {
                assert_eq!(
                    format!("{}: {}", refusal.code, refusal.message),
                    expected,
                    "{text}"
                );
            }
            (got, _) => panic!("{text}: {got:?}"),
        }
    }

    #[test]
    fn every_accepted_spelling_of_a_subscription() {
        for text in [
            r#"{"type":"subscribe","events":["a","b"]}"#,
            r#"{"type":"subscribe","event_types":["a","b"]}"#,
            r#"{"type":"subscribe","data":{"events":["a","b"]}}"#,
            r#"{"type":"subscribe","data":{"event_types":["a","b"]},"extra":[{}]}"#,
        ] {
            check(text, Ok(r#"Subscribe(["a", "b"], [])"#));
        }
        check(r#"{"type":"unsubscribe"}"#, Ok("Unsubscribe([])"));
        check(
            r#"{"type":"unsubscribe","events":[]}"#,
            Ok("Unsubscribe([])"),
        );
    }

    #[test]
    fn where_a_client_was_is_read_strictly() {
        for place in [
            r#"{"epoch":5,"offset":7}"#,
            r#"{"epoch":"5","offset":"7","x":1}"#,
            r#"{"last":50,"epoch":"5","offset":"7"}"#,
        ] {
            let text =
                format!(r#"{{"type":"subscribe","events":["a"],"recover":{{"a":{place}}}}}"#);
            let expected = r#"Subscribe(["a"], [Recover { topic: "a", from: Position(Position { epoch: 5, offset: 7 }) }])"#;
            check(&text, Ok(expected));
        }
        check(
            r#"{"type":"subscribe","events":["a"],"recover":{"a":{"last":"50","x":1}}}"#,
            Ok(r#"Subscribe(["a"], [Recover { topic: "a", from: Last(50) }])"#),
        );
        for recover in [
            "5",
            "[]",
            r#"{"a":5}"#,
            r#"{"a":{"epoch":5}}"#,
            r#"{"a":{"epoch":5,"offset":-1}}"#,
            r#"{"a":{"epoch":5,"offset":18446744073709551616}}"#,
            r#"{"a":{"epoch":5.0,"offset":1}}"#,
            r#"{"a":{"last":-1}}"#,
            r#"{"a":{"last":null}}"#,
            r#"{"a":{"last":5,"epoch":5}}"#,
            r#"{"a.*":{"last":5}}"#,
        ] {
            let text = format!(r#"{{"type":"subscribe","events":["a"],"recover":{recover}}}"#);
            let expected = "INVALID_MESSAGE: `recover` is not an object of topics, each with its `epoch` and `offset` or, for a topic, `last`";
            check(&text, Err(expected));
        }
    }

    #[test]
    fn data_is_passed_on_byte_for_byte() {
        check(
            r#"{"type":"publish","event":"a.b","data":{ "x" : [1.0, "\u0041"] }}"#,
            Ok(r#"Publish { event: "a.b", data: "{ \"x\" : [1.0, \"\\u0041\"] }", key: None }"#),
        );
        check(
            r#"{"type":"publish","event":"a"}"#,
            Ok(r#"Publish { event: "a", data: "null", key: None }"#),
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        check("{", Err("INVALID_JSON: Invalid JSON format"));
        check("[]", Err("INVALID_MESSAGE: A message is a JSON object"));
        check(
            "{}",
            Err("INVALID_MESSAGE: `type` is missing or not a string"),
        );
        check(
            r#"{"type":5}"#,
            Err("INVALID_MESSAGE: `type` is missing or not a string"),
        );
        check(
            r#"{"type":"a b"}"#,
            Err("INVALID_MESSAGE: `type` is not a name"),
        );
        check(
            r#"{"type":"ping","id":{}}"#,
            Err("INVALID_MESSAGE: `id` is a string or a number"),
        );
        check(
            r#"{"type":"subscribe"}"#,
            Err("INVALID_MESSAGE: `events` is missing: a list of names"),
        );
        for list in ["5", "\"a\"", "[1]", "[null]", "{}"] {
            let text = format!(r#"{{"type":"subscribe","events":{list}}}"#);
            check(
                &text,
                Err("INVALID_MESSAGE: `events` is not a list of strings"),
            );
        }
        check(
            r#"{"type":"publish","data":1}"#,
            Err("INVALID_MESSAGE: `event` is missing: the name to publish to"),
        );
    }

    #[test]
    fn case_c3_of_a_message_that_is_dropped_id_and_type_are_known() {
        let check = |text: &str, id: Option<&str>, kind: Option<&str>, messages: usize| {
            let read = Envelope::read(text);
            assert_eq!(read.id.map(Raw::text), id, "{text}");
            assert_eq!(read.kind.as_deref(), kind, "{text}");
            assert_eq!(read.messages.len(), messages, "{text}");
        };
        check(r#"{"type":"ping","id":7}"#, Some("7"), Some("ping"), 0);
        check(
            r#"{"type":"nonsense","id":"x"}"#,
            Some("\"x\""),
            Some("nonsense"),
            0,
        );
        check(r#"{"type":"subscribe"}"#, None, Some("subscribe"), 0);
        check(r#"{"type":5,"id":{}}"#, None, None, 0);
        check(r#"{"type":"<b>","id":1}"#, Some("1"), None, 0);
        let long = format!(r#"{{"type":"{}","id":1}}"#, "x".repeat(65));
        check(&long, Some("1"), None, 0);
        let batch = r#"{"type":"batch","messages":[{"type":"ping","id":1},5]}"#;
        check(batch, None, Some("batch"), 2);
        check(r#"{"type":"batch","id":1}"#, Some("1"), Some("batch"), 0);
        for text in ["", "{", "[]", "7"] {
            check(text, None, None, 0);
        }
    }

    #[test]
    fn an_id_survives_as_it_was_written() {
        for id in ["7", "\"x\\u0041\"", "-1.50"] {
            let text = format!(r#"{{"type":"ping","id":{id}}}"#);
            assert_eq!(Command::parse(&text).unwrap().id.unwrap().text(), id);
        }
        assert!(
            Command::parse(r#"{"type":"ping","id":null}"#)
                .unwrap()
                .id
                .is_none()
        );
    }

    #[test]
    fn a_query_is_asked_in_two_ways() {
        check(
            r#"{"type":"query","params":{"query":"server_info","x":[1]}}"#,
            Ok(
                r#"Query(Named { name: "server_info", params: Raw("{\"query\":\"server_info\",\"x\":[1]}") })"#,
            ),
        );
        check(
            r#"{"type":"query","data":{"query_type":"agent_status"}}"#,
            Ok(r#"Query(Typed("agent_status"))"#),
        );
        for text in [
            r#"{"type":"query"}"#,
            r#"{"type":"query","params":{}}"#,
            r#"{"type":"query","params":5,"data":[]}"#,
            r#"{"type":"query","params":{"query":5}}"#,
            r#"{"type":"query","data":{"query_type":null}}"#,
        ] {
            check(
                text,
                Err("INVALID_MESSAGE: `params.query` is missing: a name"),
            );
        }
    }

    #[test]
    fn a_token_is_given_in_four_places() {
        for text in [
            r#"{"type":"authenticate","token":"a.b.c"}"#,
            r#"{"type":"authenticate","data":{"token":"a.b.c"}}"#,
            r#"{"type":"refresh_token","data":{"refresh_token":"a.b.c"}}"#,
            r#"{"type":"refresh_token","refresh_token":"a.b.c","x":[]}"#,
        ] {
            check(text, Ok(r#"Authenticate("a.b.c")"#));
        }
        for text in [
            r#"{"type":"authenticate"}"#,
            r#"{"type":"authenticate","token":5}"#,
            r#"{"type":"authenticate","data":"a.b.c"}"#,
        ] {
            check(text, Err("INVALID_MESSAGE: `token` is missing: a text"));
        }
    }

    #[test]
    fn a_command_is_given_in_three_places() {
        for text in [
            r#"{"type":"command","params":{"command":"echo","params":[1]}}"#,
            r#"{"type":"command","command":"echo","params":[1]}"#,
            r#"{"type":"command","data":{"command":"echo","params":[1]}}"#,
            r#"{"type":"command","data":{"command":"echo","parameters":[1]}}"#,
        ] {
            check(
                text,
                Ok(r#"Command { name: "echo", params: Some(Raw("[1]")) }"#),
            );
        }
        check(
            r#"{"type":"command","command":"ping"}"#,
            Ok(r#"Command { name: "ping", params: None }"#),
        );
        for text in [
            r#"{"type":"command"}"#,
            r#"{"type":"command","command":5}"#,
            r#"{"type":"command","params":[]}"#,
            r#"{"type":"command","data":{"command":{}}}"#,
        ] {
            check(text, Err("INVALID_MESSAGE: `command` is missing: a name"));
        }
    }

    #[test]
    fn an_agent_command_names_a_command_and_an_agent() {
        for command in AGENT_COMMANDS {
            let text = format!(
                r#"{{"type":"agent_command","data":{{"command":"{command}","agent_id":"a-1_B","params":{{}}}}}}"#
            );
            let act = format!(r#"AgentCommand {{ command: "{command}", agent_id: "a-1_B" }}"#);
            check(&text, Ok(&act));
        }
        for data in ["", r#","data":5"#] {
            let text = format!(r#"{{"type":"agent_command"{data}}}"#);
            check(&text, Err("INVALID_MESSAGE: `data` is missing: an object"));
        }
        let check_data = |data: &str, expected: &str| {
            check(
                &format!(r#"{{"type":"agent_command","data":{data}}}"#),
                Err(expected),
            );
        };
        check_data("{}", "INVALID_COMMAND: `data.command` is missing: a name");
        check_data(
            r#"{"command":"x","agent_id":"a"}"#,
            "INVALID_COMMAND: Invalid command: x",
        );
        for data in [
            r#"{"command":"stop"}"#,
            r#"{"command":"stop","agent_id":null}"#,
            r#"{"command":"stop","agent_id":5}"#,
            r#"{"command":"stop","agent_id":""}"#,
        ] {
            check_data(
                data,
                "INVALID_COMMAND: `data.agent_id` is missing: the agent that the command is for",
            );
        }
        let long = format!(r#"{{"command":"stop","agent_id":"{}"}}"#, "a".repeat(129));
        for data in [
            r#"{"command":"stop","agent_id":"a b"}"#,
            r#"{"command":"stop","agent_id":"é"}"#,
            &long,
        ] {
            check_data(
                data,
                "INVALID_AGENT_ID: `data.agent_id` is 1 to 128 letters, digits, `_` and `-`",
            );
        }
    }

    #[test]
    fn a_batch_has_up_to_100_messages() {
        let batch = |count: usize| {
            let messages = vec![r#"{"type":"ping"}"#; count].join(",");
            format!(r#"{{"type":"batch","messages":[{messages}]}}"#)
        };
        for count in [0, 1, 100] {
            let text = batch(count);
            let command = Command::parse(&text).unwrap();
            assert_eq!(command.messages(), count.max(1));
        }
        check(
            &batch(101),
            Err("INVALID_MESSAGE: A batch has at most 100 messages"),
        );
        for messages in ["", r#","messages":5"#, r#","messages":{}"#] {
            check(
                &format!(r#"{{"type":"batch"{messages}}}"#),
                Err("INVALID_MESSAGE: `messages` is missing: a list of messages"),
            );
        }
    }

    #[test]
    fn an_unknown_type_is_named() {
        check(
            r#"{"type":"agent_create"}"#,
            Ok(r#"Unknown("agent_create")"#),
        );
    }
}
