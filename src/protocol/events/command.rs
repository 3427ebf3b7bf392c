//! What a client says.

use std::borrow::Cow;

use crate::protocol::json::{self, JsonError, Raw};

/// One message of a client. It borrows the message's text.
#[derive(Debug)]
pub struct Command<'a> {
    /// The request's `id`, a string or a number, repeated in the answer.
    pub id: Option<Raw<'a>>,
    /// The client's `timestamp`, whatever it is.
    pub timestamp: Option<Raw<'a>>,
    /// What is to be done.
    pub act: Act<'a>,
}

/// What is to be done.
#[derive(Debug)]
pub enum Act<'a> {
    /// Answer `pong`.
    Ping,
    /// Answer `heartbeat_ack`.
    Heartbeat,
    /// Subscribe to these names and patterns, going on in some topics from
    /// where the client was.
    Subscribe(Vec<Cow<'a, str>>, Vec<Recover<'a>>),
    /// Unsubscribe from these, from all if there are none.
    Unsubscribe(Vec<Cow<'a, str>>),
    /// Publish `data`, which is passed on byte for byte.
    Publish {
        /// The topic.
        event: Cow<'a, str>,
        /// A JSON value as it was written.
        data: &'a str,
    },
    /// Something this gateway does not know: the type's name.
    Unknown(Cow<'a, str>),
}

/// Where a client was in a topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recover<'a> {
    /// The topic's name.
    pub topic: Cow<'a, str>,
    /// Which life of the topic the client knew.
    pub epoch: u64,
    /// The newest message it had.
    pub offset: u64,
}

/// Why a message is refused. The connection stays.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The request's `id`, as it was written.
    pub id: Option<String>,
    /// The error's code.
    pub code: &'static str,
    /// What is wrong.
    pub message: Cow<'static, str>,
}

impl Refusal {
    /// A refusal with this code and text.
    pub fn new(
        id: Option<Raw<'_>>,
        code: &'static str,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            id: id.map(|id| id.text().to_owned()),
            code,
            message: message.into(),
        }
    }

    /// The gateway knows as many topics as it may. `id` is as it was written,
    /// empty if there was none.
    #[must_use]
    pub fn too_many_topics(id: &str) -> Self {
        Self {
            id: Some(id.to_owned()).filter(|id| !id.is_empty()),
            code: "TOPIC_LIMIT",
            message: "The gateway has as many topics as it may; try again later".into(),
        }
    }

    fn invalid(id: Option<Raw<'_>>, message: &'static str) -> Self {
        Self::new(id, "INVALID_MESSAGE", message)
    }
}

/// The fields that matter, as they were written. Of a repeated one the last counts.
#[derive(Default)]
struct Fields<'a> {
    kind: Option<Raw<'a>>,
    id: Option<Raw<'a>>,
    timestamp: Option<Raw<'a>>,
    event: Option<Raw<'a>>,
    events: Option<Raw<'a>>,
    event_types: Option<Raw<'a>>,
    data: Option<Raw<'a>>,
    recover: Option<Raw<'a>>,
}

impl<'a> Command<'a> {
    /// Reads one message.
    ///
    /// Cost: one pass over the text; only the fields that decide are looked at.
    ///
    /// # Errors
    /// The refusal to answer with.
    pub fn parse(text: &'a str) -> Result<Self, Refusal> {
        let mut fields = Fields::default();
        json::fields(text, |key, value| {
            let field = match key {
                "type" => &mut fields.kind,
                "id" => &mut fields.id,
                "timestamp" => &mut fields.timestamp,
                "event" => &mut fields.event,
                "events" => &mut fields.events,
                "event_types" => &mut fields.event_types,
                "data" => &mut fields.data,
                "recover" => &mut fields.recover,
                _ => return,
            };
            *field = Some(value);
        })
        .map_err(|error| match error {
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
        let act = match &*kind {
            "publish" => publish(&fields, id)?,
            "ping" => Act::Ping,
            "heartbeat" => Act::Heartbeat,
            "subscribe" => match names(&fields, id)? {
                Some(names) => Act::Subscribe(names, recover(&fields, id)?),
                None => return Err(Refusal::invalid(id, "`events` is missing: a list of names")),
            },
            "unsubscribe" => Act::Unsubscribe(names(&fields, id)?.unwrap_or_default()),
            _ if is_type_name(&kind) => Act::Unknown(kind),
            _ => return Err(Refusal::invalid(id, "`type` is not a name")),
        };
        Ok(Self {
            id,
            timestamp: fields.timestamp,
            act,
        })
    }
}

fn publish<'a>(fields: &Fields<'a>, id: Option<Raw<'a>>) -> Result<Act<'a>, Refusal> {
    let event = fields.event.and_then(Raw::as_string);
    let event =
        event.ok_or_else(|| Refusal::invalid(id, "`event` is missing: the name to publish to"))?;
    let data = fields.data.map_or("null", Raw::text);
    Ok(Act::Publish { event, data })
}

/// The list of names, wherever clients put it: `events`, `event_types`, or
/// either below `data`.
fn names<'a>(
    fields: &Fields<'a>,
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

/// Where the client was: `{"topic":{"epoch":..,"offset":..}}`.
fn recover<'a>(fields: &Fields<'a>, id: Option<Raw<'a>>) -> Result<Vec<Recover<'a>>, Refusal> {
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

fn is_type_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&str, &str>) {
        match (Command::parse(text), expected) {
            (Ok(command), Ok(expected)) => {
                assert_eq!(format!("{:?}", command.act), expected, "{text}");
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
        ] {
            let text =
                format!(r#"{{"type":"subscribe","events":["a"],"recover":{{"a":{place}}}}}"#);
            let expected = r#"Subscribe(["a"], [Recover { topic: "a", epoch: 5, offset: 7 }])"#;
            check(&text, Ok(expected));
        }
        for recover in [
            "5",
            "[]",
            r#"{"a":5}"#,
            r#"{"a":{"epoch":5}}"#,
            r#"{"a":{"epoch":5,"offset":-1}}"#,
            r#"{"a":{"epoch":5,"offset":18446744073709551616}}"#,
            r#"{"a":{"epoch":5.0,"offset":1}}"#,
        ] {
            let text = format!(r#"{{"type":"subscribe","events":["a"],"recover":{recover}}}"#);
            let expected = "INVALID_MESSAGE: `recover` is not an object of topics, each with its `epoch` and `offset`";
            check(&text, Err(expected));
        }
    }

    #[test]
    fn data_is_passed_on_byte_for_byte() {
        check(
            r#"{"type":"publish","event":"a.b","data":{ "x" : [1.0, "\u0041"] }}"#,
            Ok(r#"Publish { event: "a.b", data: "{ \"x\" : [1.0, \"\\u0041\"] }" }"#),
        );
        check(
            r#"{"type":"publish","event":"a"}"#,
            Ok(r#"Publish { event: "a", data: "null" }"#),
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
    fn an_unknown_type_is_named() {
        check(
            r#"{"type":"agent_create"}"#,
            Ok(r#"Unknown("agent_create")"#),
        );
    }
}
