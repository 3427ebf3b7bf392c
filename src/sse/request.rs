//! A request for an event stream: its topics and its cursor.

use super::PRESENCE;
use crate::topic::{self, NameError};

/// A request for an event stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EventsRequest {
    /// Sorted and distinct, at least one.
    pub topics: Vec<Box<str>>,
    /// The client's cursor as received; empty if it is not text.
    pub cursor: Option<Box<str>>,
    /// How many of the newest messages of each topic to begin with, at most. Counts only without a cursor: a browser
    /// repeats its query when it reconnects.
    pub last: Option<u64>,
}

/// Why a request is refused. The text is for its author.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RequestError {
    /// The request names no topics.
    #[error("say which topics: ?topics=a,b or ?topic=a&topic=b")]
    NoTopics,
    /// More topics than one stream may have.
    #[error("a stream has at most {0} topics")]
    TooMany(usize),
    /// A pattern instead of a name.
    #[error("`{0}`: a stream has topics by their names, not by patterns")]
    Pattern(String),
    /// A name that has another meaning in EventSource.
    #[error("`{0}`: events of this name mean something else to EventSource")]
    Reserved(String),
    /// A number of messages that is none.
    #[error("`last` is a number of messages")]
    Last,
    /// An invalid name.
    #[error("`{0}`: {1}")]
    Name(String, NameError),
}

/// Names of topics whose events could be confused: the first two are event types of this gateway, the others are
/// dispatched by EventSource itself.
const RESERVED: [&str; 4] = ["gap", PRESENCE, "open", "error"];

/// The event type for an event of this name: `message` for a reserved name.
#[must_use]
pub fn event_type(name: &str) -> &str {
    match name {
        "" => "message",
        name if RESERVED.contains(&name) => "message",
        name => name,
    }
}

/// Characters of an invalid name that are repeated to the client.
const SHOWN_MAX: usize = 140;

impl EventsRequest {
    /// Reads a request's query, which names the topics, and its `Last-Event-ID` header. A browser repeats the original
    /// query when it reconnects, so the header takes precedence over the query's cursor.
    ///
    /// # Errors
    /// The first reason to refuse the request.
    pub fn read(
        query: &str,
        last_event_id: Option<&[u8]>,
        topics_max: usize,
    ) -> Result<Self, RequestError> {
        let (mut topics, mut cursor, mut last) = (Vec::new(), None::<Box<str>>, None);
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*key {
                "topics" => {
                    for name in value.split(',') {
                        topics.push(name_of(name)?);
                    }
                }
                "topic" => topics.push(name_of(&value)?),
                // Clients without a number may send an empty parameter.
                "last" if value.is_empty() => {}
                "last" => last = Some(value.parse().map_err(|_| RequestError::Last)?),
                "last_event_id" | "lastEventId" => cursor = Some(value.as_ref().into()),
                _ => {}
            }
        }
        topics.sort_unstable();
        topics.dedup();
        if topics.is_empty() {
            return Err(RequestError::NoTopics);
        }
        if topics.len() > topics_max {
            return Err(RequestError::TooMany(topics_max));
        }
        if let Some(given) = last_event_id.filter(|given| !given.is_empty()) {
            cursor = Some(str::from_utf8(given).unwrap_or_default().into());
        } else {
            // Clients without a cursor often send an empty parameter.
            cursor = cursor.filter(|given| !given.is_empty());
        }
        Ok(Self {
            topics,
            cursor,
            last,
        })
    }
}

fn name_of(name: &str) -> Result<Box<str>, RequestError> {
    let shown = || name.chars().take(SHOWN_MAX).collect();
    if name.contains('*') {
        return Err(RequestError::Pattern(shown()));
    }
    topic::check_topic(name).map_err(|why| RequestError::Name(shown(), why))?;
    if RESERVED.contains(&name) {
        return Err(RequestError::Reserved(shown()));
    }
    Ok(name.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(query: &str, expected: &[&str]) {
        let request = EventsRequest::read(query, None, 5).unwrap();
        let topics: Vec<&str> = request.topics.iter().map(|name| &**name).collect();
        assert_eq!(topics, expected, "{query}");
    }

    fn refused(query: &str, expected: &str) {
        let error = EventsRequest::read(query, None, 5).unwrap_err();
        assert_eq!(error.to_string(), expected, "{query}");
    }

    #[test]
    fn topics_are_sorted_and_each_is_there_once() {
        check("topics=b,a", &["a", "b"]);
        check("topic=b&topic=a&topics=a,c&token=x", &["a", "b", "c"]);
        check("topics=a%2Cb%3Ac", &["a", "b:c"]);
        check("topics=a,a,a,a,a,a,a,a", &["a"]);
    }

    #[test]
    fn a_refusal_says_which_name_and_why() {
        refused("", "say which topics: ?topics=a,b or ?topic=a&topic=b");
        refused(
            "token=x",
            "say which topics: ?topics=a,b or ?topic=a&topic=b",
        );
        refused("topics=", "``: a topic name cannot be empty");
        refused("topics=a,,b", "``: a topic name cannot be empty");
        refused(
            "topics=a,b.*",
            "`b.*`: a stream has topics by their names, not by patterns",
        );
        refused(
            "topic=a,b",
            "`a,b`: a topic name has only letters, digits and _ . : -",
        );
        refused(
            "topics=a+b",
            "`a b`: a topic name has only letters, digits and _ . : -",
        );
        refused("topics=a,b,c,d,e,f", "a stream has at most 5 topics");
        refused(
            "topics=gap",
            "`gap`: events of this name mean something else to EventSource",
        );
        let long = "x".repeat(100_000);
        let error = EventsRequest::read(&format!("topic={long}"), None, 5).unwrap_err();
        assert!(error.to_string().len() < 200, "{error}");
    }

    #[test]
    fn an_event_cannot_pass_for_what_is_not_published() {
        let check = |name: &str, expected: &str| assert_eq!(event_type(name), expected);
        check("orders", "orders");
        check("gap", "message");
        check("presence", "message");
        check("error", "message");
        check("", "message");
    }

    #[test]
    fn a_number_of_newest_messages_is_a_number() {
        let last = |query: &str| {
            let query = format!("topics=a{query}");
            EventsRequest::read(&query, None, 5).map(|request| request.last)
        };
        assert_eq!(last(""), Ok(None));
        assert_eq!(last("&last="), Ok(None));
        assert_eq!(last("&last=50"), Ok(Some(50)));
        for bad in ["-1", "x", "1.5", "18446744073709551616"] {
            assert_eq!(last(&format!("&last={bad}")), Err(RequestError::Last));
        }
    }

    #[test]
    fn m11_a_name_with_control_characters_is_refused() {
        for name in [
            "a%0Ab",
            "a%0Db",
            "a%00",
            "%EF%BB%BFa",
            "a%0D%0Adata:x",
            "a%E2%80%A8",
        ] {
            let read = EventsRequest::read(&format!("topic={name}"), None, 5);
            assert!(matches!(read, Err(RequestError::Name(..))), "{name}");
        }
    }

    #[test]
    fn the_header_says_where_to_go_on_and_the_query_where_there_is_none() {
        let cursor = |query: &str, header: Option<&[u8]>| {
            let query = format!("topics=a{query}");
            EventsRequest::read(&query, header, 5).unwrap().cursor
        };
        assert_eq!(cursor("", None), None);
        assert_eq!(cursor("&last_event_id=", Some(b"")), None);
        assert_eq!(cursor("&last_event_id=x", None), Some("x".into()));
        assert_eq!(cursor("&lastEventId=x", Some(b"")), Some("x".into()));
        assert_eq!(cursor("&lastEventId=x", Some(b"y")), Some("y".into()));
        assert_eq!(cursor("", Some(b"\xff")), Some("".into()));
    }
}
