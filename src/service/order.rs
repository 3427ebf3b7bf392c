//! Publishing over HTTP: validation, permission, waiting for room and for the result, and request bodies.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, RETRY_AFTER};
use http_body_util::BodyExt;
use tokio::time::{sleep, timeout};

use super::State;
use super::credentials::Service;
use crate::collections::{SEGMENT_BYTES, Segments};
use crate::config::Config;
use crate::engine::{Outcome, Post, PublicationKind, PublishResult, Stored};
use crate::http::{Rejection, Source, refuse, too_many, too_many_buffered};
use crate::id::{Form, UserKey};
use crate::metrics::{Limited, Refused};
use crate::process::Reservation;
use crate::shard::{CountedPublish, Shard};
use crate::topic;

/// How long a publication waits for room before it is refused with 429.
const WAIT_MAX: Duration = Duration::from_millis(250);

/// The timeout for the answers of other shards.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// The time between two attempts.
const WAIT_STEP: Duration = Duration::from_millis(1);

/// The default type of an event for one user.
pub(crate) const DEFAULT_NAME: &str = "message";

/// A validated publication.
#[derive(Debug)]
pub(crate) struct Order<'a> {
    topic: Cow<'a, str>,
    name: Cow<'a, str>,
    kind: PublicationKind,
    form: Form,
    data: &'a str,
    key: Cow<'a, str>,
    only_live: bool,
}

impl<'a> Order<'a> {
    /// For the subscribers of a topic.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn to_topic(
        shard: &Shard,
        topic: Cow<'a, str>,
        name: Cow<'a, str>,
        data: &'a str,
    ) -> Result<Self, BadOrder> {
        topic::check_name(&topic).map_err(BadOrder::invalid)?;
        if &*topic == topic::SYSTEM_METRICS {
            let why = "`system.metrics` is published by the gateway itself";
            return Err(BadOrder::invalid(why));
        }
        Self::checked(shard, topic, name, PublicationKind::Event, data)
    }

    /// For one user, wherever connected.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn to_user(
        shard: &Shard,
        user: &str,
        name: Cow<'a, str>,
        data: &'a str,
    ) -> Result<Self, BadOrder> {
        if user.is_empty() || user.len() > topic::NAME_BYTES_MAX {
            return Err(BadOrder::invalid("`user_id` has 1 to 128 bytes"));
        }
        let topic = Cow::Owned(topic::inbox_of(user));
        Self::checked(shard, topic, name, PublicationKind::Event, data)
    }

    /// For all connections. The name may be empty.
    ///
    /// # Errors
    /// What is wrong with it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn to_all(
        shard: &Shard,
        name: Cow<'a, str>,
        data: &'a str,
    ) -> Result<Self, BadOrder> {
        Self::checked(
            shard,
            topic::BROADCAST.into(),
            name,
            PublicationKind::Broadcast,
            data,
        )
    }

    fn checked(
        shard: &Shard,
        topic: Cow<'a, str>,
        name: Cow<'a, str>,
        kind: PublicationKind,
        data: &'a str,
    ) -> Result<Self, BadOrder> {
        if !name.is_empty() {
            topic::check_event(&name).map_err(BadOrder::invalid)?;
        }
        let bytes_max = shard.config.namespace(&topic).max_message_size;
        if data.len() > bytes_max {
            shard.counters.limited(Limited::MessageSize);
            let bytes = data.len();
            return Err(BadOrder::TooLarge { bytes, bytes_max });
        }
        Ok(Self {
            topic,
            name,
            kind,
            form: Form::NEUTRAL,
            data,
            key: Cow::Borrowed(""),
            only_live: false,
        })
    }

    /// For one user, only if connected. `form` says how `data` is interpreted. A `name` that is not a valid event name
    /// is ignored.
    pub(crate) fn push(user: &str, name: Option<&'a str>, form: Form, data: &'a str) -> Self {
        let name = name.filter(|name| topic::check_topic(name).is_ok());
        Self {
            topic: Cow::Owned(topic::inbox_of(user)),
            name: Cow::Borrowed(name.unwrap_or(DEFAULT_NAME)),
            kind: PublicationKind::Event,
            form,
            data,
            key: Cow::Borrowed(""),
            only_live: true,
        }
    }

    /// Makes it idempotent: orders to its topic with the same key are published once.
    pub(crate) fn once(self, key: Cow<'a, str>) -> Self {
        Self { key, ..self }
    }

    /// Whether `service` may publish it.
    pub(crate) fn is_permitted(&self, config: &Config, service: &Service) -> bool {
        service.permissions(config).may_publish(&self.topic)
    }

    /// Whether `service` may publish it.
    ///
    /// # Errors
    /// The answer that says that it may not, and what to do.
    pub(crate) fn check_permission(
        &self,
        state: &State,
        service: &Service,
    ) -> Result<(), Rejection> {
        if self.is_permitted(&state.config, service) {
            return Ok(());
        }
        let why = self.forbidden();
        let detail = "it may not publish to this topic";
        let answer = refuse(403, &why, &[]);
        Err(service.refuse(&state.shard, (Refused::Credentials, detail), answer))
    }

    /// What a service is told that may not publish it.
    pub(crate) fn forbidden(&self) -> String {
        format!(
            "Publishing to `{}` takes a token whose `fanfare.publish` covers it, or another namespace",
            self.topic
        )
    }

    /// As [`Self::try_put`], with the response for a failure.
    ///
    /// # Errors
    /// The response that says why it was not published.
    pub(crate) async fn put(&self, state: &State) -> Result<Stored, Rejection> {
        Ok(self.try_put(state).await?)
    }

    /// Publishes it and waits for its offset and the number of connections reached. Waits up to [`WAIT_MAX`] for room.
    ///
    /// # Errors
    /// Why it was not published.
    pub(crate) async fn try_put(&self, state: &State) -> Result<Stored, Failed> {
        let mut deadline = None;
        loop {
            match receipt(self.begin(&state.shard)).await {
                Err(Failed::Busy) if deadline.is_none_or(|deadline| Instant::now() < deadline) => {
                    deadline.get_or_insert_with(|| Instant::now() + WAIT_MAX);
                    sleep(WAIT_STEP).await;
                }
                put => return put,
            }
        }
    }

    /// Publishes it, without waiting for room.
    pub(crate) fn begin(&self, shard: &Shard) -> CountedPublish {
        shard.publish_counted(&self.post())
    }

    /// It as the engine takes it.
    pub(crate) fn post(&self) -> Post<'_> {
        Post {
            topic: &self.topic,
            name: &self.name,
            kind: self.kind,
            form: self.form,
            data: self.data.as_bytes(),
            // A service speaks for the application.
            publisher: "",
            key: &self.key,
            only_live: self.only_live,
            except: UserKey::NONE,
        }
    }
}

/// What is wrong with an order.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadOrder {
    /// One of its names.
    #[error("{0}")]
    Invalid(String),
    /// Its data is larger than its topic takes.
    #[error("the data has {bytes} bytes; this topic takes {bytes_max}")]
    TooLarge {
        /// So large it is.
        bytes: usize,
        /// `max_message_size` of the topic's namespace.
        bytes_max: usize,
    },
}

impl BadOrder {
    fn invalid(why: impl ToString) -> Self {
        Self::Invalid(why.to_string())
    }
}

/// Why an order failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Failed {
    /// There was no room within [`WAIT_MAX`].
    Busy,
    /// It needs a new topic, and `hub.max_topics` exist.
    TooManyTopics,
    /// Another shard has not answered. It may have been published.
    NoAnswer,
    /// The service has no permission.
    Forbidden,
}

impl Failed {
    /// The text of the response.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Busy => "Subscribers are written to more slowly than messages come; try again",
            Self::TooManyTopics => "There are too many topics",
            Self::NoAnswer => "The topic's core is busy; whether it was published is not known",
            Self::Forbidden => "This takes a token whose `fanfare.publish` covers the user's inbox",
        }
    }
}

impl From<Failed> for Rejection {
    fn from(failed: Failed) -> Self {
        let (status, retry_after) = match failed {
            Failed::Busy => (429, "1"),
            Failed::TooManyTopics => (503, "60"),
            Failed::NoAnswer => (504, "1"),
            Failed::Forbidden => return refuse(403, failed.text(), &[]).into(),
        };
        refuse(status, failed.text(), &[(RETRY_AFTER, retry_after)]).into()
    }
}

/// Waits for the result of an order that was begun.
pub(crate) async fn receipt(counted: CountedPublish) -> Result<Stored, Failed> {
    let result = match counted {
        CountedPublish::Done(result) => result,
        CountedPublish::Pending(answer) => match timeout(ANSWER_MAX, answer).await {
            Ok(Ok(Outcome::Published { result, .. })) => result,
            // A shard that contributes to it has ended.
            Ok(_) => PublishResult::Busy,
            Err(_) => return Err(Failed::NoAnswer),
        },
    };
    match result {
        PublishResult::Stored(stored) => Ok(stored),
        PublishResult::Busy | PublishResult::Forwarded => Err(Failed::Busy),
        PublishResult::TooManyTopics => Err(Failed::TooManyTopics),
    }
}

/// Authenticates the service, then receives the body.
///
/// # Errors
/// The response that refuses the request.
pub(crate) async fn open(state: &State, request: Request) -> Result<(Service, Bytes), Rejection> {
    let service = state.check_service(request.headers(), source_of(&request))?;
    Ok((service, body_of(state, request).await?))
}

/// Where the client connects from.
pub(crate) fn source_of(request: &Request) -> Source {
    let source = request.extensions().get::<Source>();
    *source.expect("every request has one")
}

/// The text of a body.
///
/// # Errors
/// The response for a body that is not UTF-8.
pub(crate) fn text_of(body: &Bytes) -> Result<&str, Rejection> {
    simdutf8::basic::from_utf8(body).map_err(|_| refuse(422, "The body is not UTF-8", &[]).into())
}

/// The body of a request, without a byte order mark. One with a content coding, or whose declared length is too large,
/// is refused before it is read and before `100 Continue` is sent.
///
/// # Errors
/// The response that says why it was not received.
pub(crate) async fn body_of(state: &State, request: Request) -> Result<Bytes, Rejection> {
    let max = state.config.http.max_body_size;
    let too_large = || {
        let why = format!("The body is larger than {max} bytes");
        refuse(413, &why, &[])
    };
    let mut codings = request.headers().get_all(CONTENT_ENCODING).iter();
    if !codings.all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        let why = "The body has a Content-Encoding: send it as it is (`identity`)";
        // RFC 9110 section 12.5.3: a 415 for a content coding lists the accepted ones.
        let accepted = [(ACCEPT_ENCODING, "identity")];
        return Err(refuse(415, why, &accepted).into());
    }
    let body = request.into_body();
    if body.size_hint().lower() > max as u64 {
        return Err(too_large().into());
    }
    let held = state.process.http_bodies.hold();
    let body = receive(body, max, held).await.map_err(|why| match why {
        NotReceived::TooLarge => too_large(),
        NotReceived::NoMemory => {
            state.shard.counters.limited(Limited::HttpBufferedBytes);
            too_many_buffered()
        }
        NotReceived::Failed(error) => refuse(400, &format!("The body has not come: {error}"), &[]),
    })?;
    // RFC 8259 section 8.1: parsers may ignore a byte order mark.
    Ok(match body.starts_with(BYTE_ORDER_MARK) {
        true => body.slice(BYTE_ORDER_MARK.len()..),
        false => body,
    })
}

/// Why a body has not been received.
enum NotReceived {
    TooLarge,
    /// `http.max_buffered_bytes` is reached.
    NoMemory,
    Failed(axum::Error),
}

/// Receives a body of at most `max` bytes, which are reserved in `held` until the body is dropped.
async fn receive(mut body: Body, max: usize, mut held: Reservation) -> Result<Bytes, NotReceived> {
    let (mut first, mut segments) = (Bytes::new(), Segments::new());
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame.map_err(NotReceived::Failed)?.into_data() else {
            continue;
        };
        let len = first.len() + segments.len() + piece.len();
        if len > max {
            return Err(NotReceived::TooLarge);
        }
        // Most bodies arrive in one piece, which is not copied.
        let is_first = first.is_empty() && segments.is_empty();
        let takes = match is_first {
            true => len,
            false => len.next_multiple_of(SEGMENT_BYTES),
        };
        if !held.set(takes) {
            return Err(NotReceived::NoMemory);
        }
        if is_first {
            first = piece;
            continue;
        }
        segments.append(&std::mem::take(&mut first), max);
        segments.append(&piece, max);
    }
    let bytes = match first.is_empty() {
        true => segments.join().into(),
        false => first,
    };
    Ok(Bytes::from_owner(HeldBody { bytes, _held: held }))
}

/// A body together with its reservation.
struct HeldBody {
    bytes: Bytes,
    _held: Reservation,
}

impl AsRef<[u8]> for HeldBody {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The byte order mark, which some editors and libraries write before UTF-8.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Counts events toward the rate limit of their publisher, all of them or none.
pub(crate) fn count(state: &State, service: &Service, events: usize) -> Result<(), Rejection> {
    let max = state.config.clients.publishes_per_minute;
    if max > 0 && events > max as usize {
        let why =
            format!("A batch has at most {max} events: as many as may be published in a minute");
        return Err(refuse(413, &why, &[]).into());
    }
    let shard = &state.shard;
    shard.clock.refresh();
    take(shard, service, events).map_err(|why| {
        let answer = too_many(&why.to_string(), why.retry_after);
        service.refuse(
            shard,
            (Refused::Rate, "events.publishes_per_minute"),
            answer,
        )
    })
}

/// A publisher exceeds `events.publishes_per_minute`.
#[derive(Debug, thiserror::Error)]
#[error("At most {max} events may be published in a minute")]
pub(crate) struct TooManyPublishes {
    max: u32,
    /// Seconds after which it may go on.
    pub(crate) retry_after: u64,
}

/// Counts `events` toward the rate limit of their publisher, all of them or none.
///
/// # Errors
/// They exceed it.
pub(crate) fn take(
    shard: &Shard,
    service: &Service,
    events: usize,
) -> Result<(), TooManyPublishes> {
    let (now, publishers) = (shard.clock.now_ms(), &shard.process.publishers);
    let taken = publishers.take(service.publisher, events, now);
    taken.map_err(|over| {
        shard.counters.limited(Limited::PublishesPerMinute);
        TooManyPublishes {
            max: shard.config.clients.publishes_per_minute,
            retry_after: over.retry_after(now),
        }
    })
}
