//! What a member says: acknowledgements, credit and operations.

use std::borrow::Cow;

use super::{ErrorCode, Failure};
use crate::engine::{
    KEY_BYTES_MAX, PRESENCE_DATA_MAX, QUEUE_GROUP_BYTES_MAX, ROSTER_USERS_MAX, Recover,
    is_queue_group,
};
use crate::id::{AnyPeer, Priority};
use crate::json::{self, Fields, JSON_SPACE, Raw};
use crate::service::{DEFAULT_NAME, LISTED_DEFAULT, LISTED_MAX, close_order};
use crate::shard::{CloseOrder, parse_connection_id};
use crate::topic::{self, NAME_BYTES_MAX};

/// Objects in one frame of a member.
pub const OBJECTS_MAX: usize = 1024;

/// Topics and patterns in one operation.
const TOPICS_MAX: usize = 1024;

/// Bytes of an operation's `id`, a JSON text.
const ID_BYTES_MAX: usize = 256;

/// One object of a frame.
#[derive(Debug)]
pub enum Said<'a> {
    /// The member's objects up to and including this one are processed.
    Ack(u64),
    /// So many more objects may be unacknowledged.
    Credit(u64),
    /// An operation, answered if it has an `id`, a JSON text.
    Operation(Option<&'a str>, Operation<'a>),
}

/// Something that a member wants.
#[derive(Debug)]
pub enum Operation<'a> {
    /// Publish to a topic.
    Publish {
        /// The topic.
        topic: Cow<'a, str>,
        /// The event's name; empty: that of the topic.
        name: Cow<'a, str>,
        /// Its data, JSON.
        data: &'a str,
        /// Publications to a topic with the same key are published once.
        key: Option<Cow<'a, str>>,
    },
    /// Send to a connection or a user.
    Send {
        /// To whom.
        to: Target<'a>,
        /// The event's name.
        name: Cow<'a, str>,
        /// Its data, JSON.
        data: &'a str,
        /// The class of a message to a connection.
        priority: Priority,
    },
    /// Answer a client's message.
    Reply {
        /// The group's number of that message.
        to: u64,
        /// The answer, JSON.
        data: &'a str,
    },
    /// Subscribe a connection.
    Subscribe {
        /// Which one.
        connection: AnyPeer,
        /// To what.
        topics: Vec<Box<str>>,
        /// Where topics begin.
        recover: Vec<Recover<'static>>,
        /// What is said of its user, a JSON object; empty if nothing.
        presence: Box<str>,
        /// The queue group; empty if none.
        group: Box<str>,
    },
    /// Unsubscribe a connection.
    Unsubscribe {
        /// Which one.
        connection: AnyPeer,
        /// From what.
        topics: Vec<Box<str>>,
    },
    /// Close connections.
    Disconnect {
        /// Whose.
        of: Target<'a>,
        /// How.
        order: CloseOrder,
    },
    /// Send to all connections.
    Broadcast {
        /// Of this protocol only.
        dialect: Option<Cow<'a, str>>,
        /// The event's name; it may be empty.
        name: Cow<'a, str>,
        /// Its data, JSON.
        data: &'a str,
    },
    /// Ask who is in a topic.
    Presence {
        /// Which one.
        topic: Cow<'a, str>,
        /// Users that sort after this name.
        after: Cow<'a, str>,
        /// So many at most.
        limit: usize,
    },
    /// Ask who is connected.
    Connections {
        /// This user only.
        user: Option<Cow<'a, str>>,
        /// So many at most.
        limit: usize,
    },
    /// Ask how the gateway is.
    Health,
}

/// A connection, or all connections of a user.
#[derive(Debug)]
pub enum Target<'a> {
    /// A connection.
    Connection(AnyPeer),
    /// A user.
    User(Cow<'a, str>),
}

/// An object that is not understood.
#[derive(PartialEq, Eq, Debug)]
pub struct BadObject<'a> {
    /// The `id` of the operation, if it has one.
    pub id: Option<&'a str>,
    /// Why.
    pub why: Failure,
}

/// The objects of a frame: the one that it is, or those of the array that it is. They are not looked at.
///
/// # Errors
/// The frame is neither.
pub fn objects(text: &str) -> Result<Vec<&str>, Failure> {
    if !text.trim_start_matches(JSON_SPACE).starts_with('[') {
        return Ok(vec![text]);
    }
    let items = json::items(text, OBJECTS_MAX + 1).map_err(|_| Failure::invalid(NOT_JSON))?;
    if items.len() > OBJECTS_MAX {
        let why =
            format!("A frame has at most {OBJECTS_MAX} objects: send the others in more frames");
        return Err(Failure::new(ErrorCode::TooLarge, why));
    }
    Ok(items.into_iter().map(Raw::text).collect())
}

const NOT_JSON: &str = "A frame is a JSON object, or an array of objects";

impl<'a> Said<'a> {
    /// Reads an object.
    ///
    /// Cost: one pass over its text.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &'a str) -> Result<Self, BadObject<'a>> {
        let without_id = |why: &'static str| BadObject {
            id: None,
            why: Failure::invalid(why),
        };
        let values = OBJECT.read(text).map_err(|_| without_id(NOT_JSON))?;
        let given = Given(values);
        match (given.get("op"), given.get("ack"), given.get("credit")) {
            (Some(op), None, None) => {
                let id = given.get("id").map(Raw::text);
                if given.get("id").is_some_and(|id| !id.is_scalar_id())
                    || id.is_some_and(|id| id.len() > ID_BYTES_MAX)
                {
                    return Err(without_id(
                        "`id` is a string or number of at most 256 bytes",
                    ));
                }
                match given.operation(op) {
                    Ok(operation) => Ok(Self::Operation(id, operation)),
                    Err(why) => Err(BadObject { id, why }),
                }
            }
            (None, Some(ack), None) => {
                let seq = count(ack).ok_or_else(|| without_id("`ack` is the `seq` of an object"));
                seq.map(Self::Ack)
            }
            (None, None, Some(credit)) => {
                let more = count(credit).filter(|more| *more > 0);
                let more = more.ok_or_else(|| without_id("`credit` is a number from 1 on"));
                more.map(Self::Credit)
            }
            _ => Err(without_id("An object has one of `op`, `ack` and `credit`")),
        }
    }
}

/// The fields of an object.
static OBJECT: Fields<21> = Fields {
    names: [
        "data",
        "op",
        "id",
        "ack",
        "credit",
        "topic",
        "topics",
        "type",
        "key",
        "conn",
        "user",
        "priority",
        "to",
        "recover",
        "code",
        "reason",
        "dialect",
        "limit",
        "after",
        "presence",
        "queue_group",
    ],
    // `null` is data.
    required: 1,
};

/// The values of [`OBJECT`].
struct Given<'a>([Option<Raw<'a>>; 21]);

impl<'a> Given<'a> {
    fn get(&self, name: &str) -> Option<Raw<'a>> {
        self.0[OBJECT.position(name).expect("it is one of the fields")]
    }

    fn operation(&self, op: Raw<'a>) -> Result<Operation<'a>, Failure> {
        let op = op.as_string();
        let op = op.ok_or_else(|| Failure::invalid("`op` is the name of an operation"))?;
        Ok(match &*op {
            "publish" => Operation::Publish {
                topic: self.required("topic", "the name to publish to")?,
                name: self.string("type")?.unwrap_or_default(),
                data: self.data()?,
                key: self.key()?,
            },
            "send" => Operation::Send {
                to: self.target()?,
                name: self.name()?.unwrap_or(Cow::Borrowed(DEFAULT_NAME)),
                data: self.data()?,
                priority: self.priority()?,
            },
            "reply" => Operation::Reply {
                to: self.number("to")?.ok_or_else(|| {
                    Failure::invalid("`to` is missing: the `n` of the message to answer")
                })?,
                data: self.data()?,
            },
            "subscribe" => Operation::Subscribe {
                connection: self.connection()?,
                topics: self.topics()?,
                recover: self.recover()?,
                presence: self.presence()?,
                group: self.group()?,
            },
            "unsubscribe" => Operation::Unsubscribe {
                connection: self.connection()?,
                topics: self.topics()?,
            },
            "disconnect" => Operation::Disconnect {
                of: self.target()?,
                order: self.close_order()?,
            },
            "broadcast" => Operation::Broadcast {
                dialect: self.string("dialect")?,
                name: self.name()?.unwrap_or_default(),
                data: self.data()?,
            },
            "presence" => Operation::Presence {
                topic: self.required("topic", "whose users are asked for")?,
                after: self.string("after")?.unwrap_or_default(),
                limit: self.limit(ROSTER_USERS_MAX, ROSTER_USERS_MAX)?,
            },
            "connections" => Operation::Connections {
                user: self.string("user")?,
                limit: self.limit(LISTED_MAX, LISTED_DEFAULT)?,
            },
            "health" => Operation::Health,
            _ => {
                let why = format!("There is no operation of this name; there are: {OPERATIONS}");
                return Err(Failure::new(ErrorCode::UnknownOp, why));
            }
        })
    }

    fn string(&self, name: &'static str) -> Result<Option<Cow<'a, str>>, Failure> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let text = value.as_string();
        let text = text.ok_or_else(|| Failure::invalid(format!("`{name}` is not a string")))?;
        Ok(Some(text))
    }

    fn required(&self, name: &'static str, what: &str) -> Result<Cow<'a, str>, Failure> {
        self.string(name)?
            .ok_or_else(|| Failure::invalid(format!("`{name}` is missing: {what}")))
    }

    /// `presence`, what is said of a user in the topics.
    fn presence(&self) -> Result<Box<str>, Failure> {
        let Some(data) = self.get("presence") else {
            return Ok(Box::default());
        };
        if !data.is_object() || data.text().len() > PRESENCE_DATA_MAX {
            let why = format!("`presence` is an object of at most {PRESENCE_DATA_MAX} bytes");
            return Err(Failure::invalid(why));
        }
        Ok(data.text().into())
    }

    /// `queue_group`, in which a message goes to one member.
    fn group(&self) -> Result<Box<str>, Failure> {
        let group = self.string("queue_group")?.unwrap_or_default();
        if !group.is_empty() && !is_queue_group(&group) {
            let why = format!(
                "`queue_group` has 1 to {QUEUE_GROUP_BYTES_MAX} bytes without control characters"
            );
            return Err(Failure::invalid(why));
        }
        Ok(group.into())
    }

    /// `type`, the name of an event.
    fn name(&self) -> Result<Option<Cow<'a, str>>, Failure> {
        let name = self.string("type")?;
        if let Some(name) = &name {
            topic::check_event(name).map_err(|why| Failure::invalid(format!("`type`: {why}")))?;
        }
        Ok(name)
    }

    fn number(&self, name: &'static str) -> Result<Option<u64>, Failure> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let number = count(value);
        let number =
            number.ok_or_else(|| Failure::invalid(format!("`{name}` is not a whole number")))?;
        Ok(Some(number))
    }

    fn limit(&self, max: usize, default: usize) -> Result<usize, Failure> {
        match self.number("limit")? {
            None => Ok(default),
            Some(limit) => {
                let limit = usize::try_from(limit).ok();
                let limit = limit.filter(|limit| (1..=max).contains(limit));
                limit.ok_or_else(|| Failure::invalid(format!("`limit` is from 1 to {max}")))
            }
        }
    }

    fn data(&self) -> Result<&'a str, Failure> {
        let data = self.get("data").map(Raw::text);
        data.ok_or_else(|| Failure::invalid("`data` is missing: any JSON value"))
    }

    fn key(&self) -> Result<Option<Cow<'a, str>>, Failure> {
        let Some(key) = self.get("key") else {
            return Ok(None);
        };
        let key = key.as_key(KEY_BYTES_MAX).ok_or_else(|| {
            let why = format!("`key` is a string or number of at most {KEY_BYTES_MAX} bytes");
            Failure::invalid(why)
        });
        key.map(Some)
    }

    fn priority(&self) -> Result<Priority, Failure> {
        let Some(number) = self.get("priority") else {
            return Ok(Priority::Normal);
        };
        let number = count(number).and_then(|number| u8::try_from(number).ok());
        let priority = number.and_then(Priority::from_number);
        priority.ok_or_else(|| Failure::invalid("`priority` is 1, 3, 5, 8 or 10"))
    }

    fn target(&self) -> Result<Target<'a>, Failure> {
        match (self.get("conn"), self.string("user")?) {
            (Some(_), None) => Ok(Target::Connection(self.connection()?)),
            (None, Some(user)) if (1..=NAME_BYTES_MAX).contains(&user.len()) => {
                Ok(Target::User(user))
            }
            (None, Some(_)) => Err(Failure::invalid("`user` has 1 to 128 bytes")),
            (Some(_), Some(_)) => Err(Failure::invalid(
                "`conn` is for one connection, `user` for all of a user: give one of them",
            )),
            (None, None) => Err(Failure::invalid(
                "`conn` or `user` is missing: a connection's id, or a user",
            )),
        }
    }

    fn connection(&self) -> Result<AnyPeer, Failure> {
        let id = self.required("conn", "a connection's id")?;
        parse_connection_id(&id).ok_or_else(no_connection)
    }

    fn topics(&self) -> Result<Vec<Box<str>>, Failure> {
        let names = self.get("topics").and_then(Raw::as_strings);
        let names = names.filter(|names| (1..=TOPICS_MAX).contains(&names.len()));
        let names = names.ok_or_else(|| {
            let why = format!("`topics` is a list of 1 to {TOPICS_MAX} topics and patterns");
            Failure::invalid(why)
        })?;
        Ok(names.iter().map(|name| (&**name).into()).collect())
    }

    fn recover(&self) -> Result<Vec<Recover<'static>>, Failure> {
        let Some(recover) = self.get("recover") else {
            return Ok(Vec::new());
        };
        Recover::read(recover).ok_or_else(|| {
            let why = "`recover` is not an object of topics, each with its `epoch` and `offset` or, for a topic, `last`";
            Failure::invalid(why)
        })
    }

    fn close_order(&self) -> Result<CloseOrder, Failure> {
        // No code is as large as that.
        let code = self.number("code")?;
        let code = code.map(|code| u16::try_from(code).unwrap_or(u16::MAX));
        let reason = self.string("reason")?;
        close_order(code, reason.as_deref()).map_err(Failure::invalid)
    }
}

/// That there is no such connection.
pub(super) fn no_connection() -> Failure {
    Failure::new(
        ErrorCode::NotFound,
        "No connection has this id: its client has left",
    )
}

const OPERATIONS: &str = "publish, send, reply, subscribe, unsubscribe, disconnect, broadcast, presence, connections, health";

/// The value of a whole number, which is no string.
fn count(value: Raw<'_>) -> Option<u64> {
    value.as_count().filter(|_| value.is_number())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let got = match Said::parse(text) {
            Ok(said) => format!("{said:?}"),
            Err(BadObject { id, why }) => {
                let id = id.map_or(String::new(), |id| format!("{id} "));
                format!("{id}{}: {}", why.code.name(), why.message)
            }
        };
        assert!(got.starts_with(expected), "{text}: {got}");
    }

    #[test]
    fn an_object_is_one_of_three() {
        check(r#"{"ack":17}"#, "Ack(17)");
        check(r#"{"credit":5}"#, "Credit(5)");
        check(r#"{"op":"health"}"#, "Operation(None, Health)");
        check(
            r#"{"op":"health","id":"a"}"#,
            r#"Operation(Some("\"a\""), Health)"#,
        );
        let one_of = "invalid: An object has one of `op`, `ack` and `credit`";
        for text in [
            "{}",
            r#"{"ack":1,"credit":1}"#,
            r#"{"op":"health","ack":1}"#,
        ] {
            check(text, one_of);
        }
        for text in ["", "1", "null", "[]", "{", "{\"op\":\"health\"}x"] {
            check(text, "invalid: A frame is a JSON object");
        }
        for ack in ["-1", "1.5", "\"1\"", "[]", "18446744073709551616"] {
            check(
                &format!(r#"{{"ack":{ack}}}"#),
                "invalid: `ack` is the `seq` of an object",
            );
        }
        check(r#"{"credit":0}"#, "invalid: `credit` is a number from 1 on");
        for id in ["[1]", "true", "{}"] {
            check(
                &format!(r#"{{"op":"health","id":{id}}}"#),
                "invalid: `id` is a string or number",
            );
        }
    }

    #[test]
    fn an_operation_has_what_it_needs() {
        check(
            r#"{"op":"publish","topic":"a","data":null,"key":"k"}"#,
            r#"Operation(None, Publish { topic: "a", name: "", data: "null", key: Some("\"k\"") })"#,
        );
        check(
            r#"{"op":"send","user":"ann","data":1,"priority":10}"#,
            r#"Operation(None, Send { to: User("ann"), name: "message", data: "1", priority: Critical })"#,
        );
        check(
            r#"{"op":"subscribe","conn":"0-a-1","topics":["a"],"presence":{},"queue_group":"g"}"#,
            "Operation(None, Subscribe { connection: (ShardId(0), PeerId { slot: Slot(10), generation: 1 })",
        );
        check(
            r#"{"op":"subscribe","conn":"0-a-1","topics":["a"],"recover":{"a":{"last":2}}}"#,
            "Operation(None, Subscribe { connection: (ShardId(0), PeerId { slot: Slot(10), generation: 1 })",
        );
        for (text, why) in [
            (r#"{"op":"fly","id":1}"#, "1 unknown_op: There is no"),
            (r#"{"op":7,"id":1}"#, "1 invalid: `op` is the name"),
            (
                r#"{"op":"publish","data":1}"#,
                "invalid: `topic` is missing",
            ),
            (
                r#"{"op":"publish","topic":"a"}"#,
                "invalid: `data` is missing",
            ),
            (
                r#"{"op":"publish","topic":"a","data":1,"key":[]}"#,
                "invalid: `key` is a string or number",
            ),
            (
                r#"{"op":"send","data":1}"#,
                "invalid: `conn` or `user` is missing",
            ),
            (
                r#"{"op":"send","conn":"0-1-1","user":"u","data":1}"#,
                "invalid: `conn` is for one connection",
            ),
            (
                r#"{"op":"send","conn":"x","data":1}"#,
                "not_found: No connection",
            ),
            (
                r#"{"op":"send","conn":1,"data":1}"#,
                "invalid: `conn` is not a string",
            ),
            (
                r#"{"op":"send","user":"","data":1}"#,
                "invalid: `user` has 1 to 128",
            ),
            (
                r#"{"op":"send","user":"u","type":"a b\n","data":1}"#,
                "invalid: `type`: ",
            ),
            (
                r#"{"op":"send","user":"u","data":1,"priority":2}"#,
                "invalid: `priority` is 1, 3, 5, 8 or 10",
            ),
            (r#"{"op":"reply","data":1}"#, "invalid: `to` is missing"),
            (
                r#"{"op":"reply","to":"1","data":1}"#,
                "invalid: `to` is not a whole",
            ),
            (
                r#"{"op":"subscribe","conn":"0-1-1","topics":[]}"#,
                "invalid: `topics` is a list of 1 to 1024",
            ),
            (
                r#"{"op":"subscribe","conn":"0-1-1","topics":["a"],"recover":{"a":1}}"#,
                "invalid: `recover` is not an object of topics",
            ),
            (
                r#"{"op":"disconnect","conn":"0-1-1","code":1006}"#,
                "invalid: `code`: accepted: ",
            ),
            (
                r#"{"op":"disconnect","user":"u","code":99999999}"#,
                "invalid: `code`: accepted: ",
            ),
            (
                r#"{"op":"disconnect","user":"u","reason":"a\nb"}"#,
                "invalid: `reason`: at most 123 bytes",
            ),
            (r#"{"op":"presence"}"#, "invalid: `topic` is missing"),
            (
                r#"{"op":"connections","limit":0}"#,
                "invalid: `limit` is from 1 to ",
            ),
        ] {
            check(text, why);
        }
    }

    #[test]
    fn a_frame_is_an_object_or_an_array_of_a_thousand() {
        assert_eq!(objects(r#"{"a":1}"#), Ok(vec![r#"{"a":1}"#]));
        assert_eq!(objects(r#" [{"a":1}, 2]"#), Ok(vec![r#"{"a":1}"#, "2"]));
        assert_eq!(objects("[]"), Ok(Vec::new()));
        let of = |count: usize| format!("[{}]", vec!["{}"; count].join(","));
        assert_eq!(
            objects(&of(OBJECTS_MAX)).map(|all| all.len()),
            Ok(OBJECTS_MAX)
        );
        let code = |text: &str| objects(text).unwrap_err().code;
        assert_eq!(code(&of(OBJECTS_MAX + 1)), ErrorCode::TooLarge);
        for text in ["[", "[{}", "[{}]]", &"[".repeat(100)] {
            assert_eq!(code(text), ErrorCode::Invalid, "{text}");
        }
    }
}
