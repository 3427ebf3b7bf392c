//! An HTTP operation: its handler and its documentation.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State as Shared};
use axum::handler::Handler;
use axum::routing::{MethodRouter, get, post};

use super::State;
use crate::config::Config;
use crate::http::schema::{Field, Kind, Object};
use crate::http::{Answer, Answering, Shortcut, allow_page, origins_of};

/// An operation at a path.
#[expect(missing_debug_implementations, reason = "it has a handler")]
pub struct Endpoint {
    pub(crate) method: Method,
    /// The path; parameters are names in braces.
    pub(crate) path: String,
    pub(crate) about: &'static Operation,
    /// The handler; `None` where `conn` claims the socket before the router sees the request.
    handler: Option<MethodRouter<Arc<State>>>,
    /// The handler of requests that bypass the router.
    shortcut: Option<Box<dyn Fn(Arc<State>) -> Shortcut>>,
}

/// The methods of operations.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Method {
    Get,
    Post,
}

/// The documentation of an operation. Texts are CommonMark, of which the page at `/docs` renders only code between
/// backticks.
#[derive(Debug)]
pub(crate) struct Operation {
    pub(crate) group: EndpointGroup,
    /// A few words.
    pub(crate) summary: &'static str,
    /// Some sentences.
    pub(crate) doc: &'static str,
    pub(crate) access: EndpointAccess,
    pub(crate) parameters: &'static [Parameter],
    pub(crate) body: Option<RequestBody>,
    /// Its own responses, in addition to those of [`EndpointAccess`] and [`RequestBody`].
    pub(crate) replies: &'static [Reply],
}

/// The sections of the documentation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum EndpointGroup {
    Bridge,
    Publishing,
    Receiving,
    Looking,
    Health,
    Pages,
}

/// Which credentials an operation requires.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum EndpointAccess {
    /// None.
    Open,
    /// Those of a service, where `events.auth_required` is on.
    Service,
    /// Those of a service, or `bridge.api_key`.
    BridgeService,
    /// Any valid token, where `events.auth_required` is on.
    Client,
}

/// A parameter of an operation.
#[derive(Debug)]
pub(crate) struct Parameter {
    pub(crate) place: ParameterPlace,
    pub(crate) field: Field,
}

/// Where a parameter is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ParameterPlace {
    Path,
    Query,
    Header,
}

/// The request body of an operation.
#[derive(Debug)]
pub(crate) struct RequestBody {
    pub(crate) kind: Kind,
    /// Whether it may also be sent as one value per line.
    pub(crate) lines: bool,
    /// Bodies that are accepted.
    pub(crate) examples: &'static [Example],
}

/// An example body and its title.
#[derive(Debug)]
pub(crate) struct Example {
    pub(crate) name: &'static str,
    pub(crate) json: &'static str,
}

/// A possible response.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) doc: &'static str,
    /// What it is as JSON, with an example.
    pub(crate) json: Option<(Kind, &'static str)>,
    /// Its type as text, with an example.
    pub(crate) text: Option<(&'static str, &'static str)>,
}

impl Endpoint {
    /// An operation that is asked for with GET.
    pub(crate) fn get<H: Handler<T, Arc<State>>, T: 'static>(
        path: impl Into<String>,
        about: &'static Operation,
        handler: H,
    ) -> Self {
        Self::new(Method::Get, path.into(), about, Some(get(handler)))
    }

    /// An operation that is asked for with POST.
    pub(crate) fn post<F>(
        path: impl Into<String>,
        about: &'static Operation,
        handler: impl Fn(Shared<Arc<State>>, Request) -> F + Clone + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        let routed = Some(post(handler.clone()));
        let shortcut = move |state: Arc<State>| -> Shortcut {
            let handler = handler.clone();
            Arc::new(move |request| -> Answering {
                let (state, origins) = (state.clone(), origins_of(request.headers()));
                let answering = handler(Shared(state.clone()), request);
                Box::pin(async move {
                    let mut answer = answering.await;
                    let allowed = &state.config.http.cors_origins;
                    allow_page(allowed, &origins, answer.headers_mut());
                    answer
                })
            })
        };
        Self {
            shortcut: Some(Box::new(shortcut)),
            ..Self::new(Method::Post, path.into(), about, routed)
        }
    }

    /// The handler that bypasses the router, if there is one.
    pub(crate) fn shortcut(&self, state: &Arc<State>) -> Option<(Box<str>, Shortcut)> {
        let shortcut = self.shortcut.as_ref()?;
        Some((self.path.as_str().into(), shortcut(state.clone())))
    }

    /// An endpoint whose socket `conn` claims as a connection.
    pub(crate) fn claimed(path: impl Into<String>, about: &'static Operation) -> Self {
        Self::new(Method::Get, path.into(), about, None)
    }

    fn new(
        method: Method,
        path: String,
        about: &'static Operation,
        handler: Option<MethodRouter<Arc<State>>>,
    ) -> Self {
        Self {
            method,
            path,
            about,
            handler,
            shortcut: None,
        }
    }

    /// The router with this endpoint.
    pub(crate) fn join(self, router: Router<Arc<State>>) -> Router<Arc<State>> {
        match self.handler {
            Some(handler) => router.route(&self.path, handler),
            None => router,
        }
    }

    /// A name that is unique among endpoints.
    pub(crate) fn id(&self) -> String {
        let words = self.path.split(|c: char| !c.is_ascii_alphanumeric());
        let mut id = self.method.name().to_ascii_lowercase();
        for word in words.filter(|word| !word.is_empty()) {
            id.push('_');
            id.push_str(word);
        }
        id
    }
}

impl Method {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
        }
    }
}

impl EndpointGroup {
    /// All of them, in the order of the documentation.
    pub(crate) const ALL: [Self; 6] = [
        Self::Bridge,
        Self::Publishing,
        Self::Receiving,
        Self::Looking,
        Self::Health,
        Self::Pages,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bridge => "Bridge",
            Self::Publishing => "Publishing",
            Self::Receiving => "Receiving",
            Self::Looking => "Looking",
            Self::Health => "Health",
            Self::Pages => "Pages",
        }
    }

    pub(crate) fn doc(self) -> &'static str {
        match self {
            Self::Bridge => "Services push to users and ask them; users answer over WebSocket.",
            Self::Publishing => "Services publish to topics, to users, or to everybody.",
            Self::Receiving => {
                "Clients receive what is published, over WebSocket or as Server-Sent Events."
            }
            Self::Looking => "Services look at connections, subscriptions and what topics keep.",
            Self::Health => "Whether the gateway lives, and what it counts.",
            Self::Pages => "For people and for tools.",
        }
    }
}

impl Operation {
    /// All responses by status. Its own ones replace common ones with the same status.
    pub(crate) fn all_replies(&self) -> Vec<Reply> {
        let body: &[Reply] = match (&self.body, self.access) {
            (None, _) => &[],
            (Some(_), EndpointAccess::BridgeService) => &[TOO_LARGE, CODED],
            (Some(_), _) => &[TOO_LARGE, CODED, BAD_BODY],
        };
        let mut replies = self.replies.to_vec();
        for common in self.access.replies().iter().chain(body) {
            if !replies.iter().any(|reply| reply.status == common.status) {
                replies.push(*common);
            }
        }
        replies.sort_by_key(|reply| reply.status);
        replies
    }
}

impl EndpointAccess {
    /// Whether credentials are required with this configuration.
    pub(crate) fn is_checked(self, config: &Config) -> bool {
        match self {
            Self::Open => false,
            Self::Service | Self::Client => config.events.auth_required,
            Self::BridgeService => config.events.auth_required || config.bridge.api_key.is_some(),
        }
    }

    fn replies(self) -> &'static [Reply] {
        match self {
            Self::Open | Self::Client => &[],
            Self::Service | Self::BridgeService => &[NO_CREDENTIAL, FORBIDDEN, TOO_MANY],
        }
    }
}

impl Parameter {
    pub(crate) const fn path(field: Field) -> Self {
        Self {
            place: ParameterPlace::Path,
            field,
        }
    }

    pub(crate) const fn query(field: Field) -> Self {
        Self {
            place: ParameterPlace::Query,
            field,
        }
    }

    pub(crate) const fn header(field: Field) -> Self {
        Self {
            place: ParameterPlace::Header,
            field,
        }
    }
}

impl ParameterPlace {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Query => "query",
            Self::Header => "header",
        }
    }
}

impl Reply {
    /// A response without a body.
    pub(crate) const fn empty(status: u16, doc: &'static str) -> Self {
        Self {
            status,
            doc,
            json: None,
            text: None,
        }
    }

    /// A refusal, whose body says why.
    pub(crate) const fn refusal(status: u16, doc: &'static str, example: &'static str) -> Self {
        Self::json(status, doc, Kind::Of(&REFUSAL), example)
    }

    /// A response whose body is JSON.
    pub(crate) const fn json(
        status: u16,
        doc: &'static str,
        kind: Kind,
        example: &'static str,
    ) -> Self {
        Self {
            json: Some((kind, example)),
            ..Self::empty(status, doc)
        }
    }

    /// A response whose body is text of the type `media`.
    pub(crate) const fn text(
        status: u16,
        doc: &'static str,
        media: &'static str,
        example: &'static str,
    ) -> Self {
        Self {
            text: Some((media, example)),
            ..Self::empty(status, doc)
        }
    }
}

/// Why a request is refused.
pub(crate) static REFUSAL: Object<1> = Object {
    name: "Refusal",
    doc: "Why a request is refused.",
    fields: [Field::required(
        "detail",
        Kind::String,
        r#""Not Found""#,
        "What is wrong, for people.",
    )],
};

const NO_CREDENTIAL: Reply = Reply::refusal(
    401,
    "No valid API key or token, where one is asked for.",
    r#"{"detail":"Not authenticated"}"#,
);

const FORBIDDEN: Reply = Reply::refusal(
    403,
    "The credential does not permit it.",
    r#"{"detail":"The token's role is not `service`"}"#,
);

const TOO_MANY: Reply = Reply::refusal(
    429,
    "Too many requests, or too many wrong credentials. `Retry-After` says when to come back.",
    r#"{"detail":"Rate limit exceeded"}"#,
);

const TOO_LARGE: Reply = Reply::refusal(
    413,
    "The body is larger than `http.max_body_size`.",
    r#"{"detail":"The body is larger than 1048576 bytes"}"#,
);

const CODED: Reply = Reply::refusal(
    415,
    "The body has a `Content-Encoding`. `Accept-Encoding` names what is taken: `identity`.",
    r#"{"detail":"The body has a Content-Encoding: send it as it is (`identity`)"}"#,
);

const BAD_BODY: Reply = Reply::refusal(
    422,
    "The body is not what it should be.",
    r#"{"detail":"not a JSON object"}"#,
);

/// The gateway is about to stop, or too busy.
pub(crate) const UNAVAILABLE: Reply = Reply::refusal(
    503,
    "The gateway is stopping, or has reached a limit. `Retry-After` says when to come back, where that is known.",
    r#"{"detail":"The gateway is stopping"}"#,
);

/// Another core did not answer in time.
pub(crate) const UNKNOWN: Reply = Reply::refusal(
    504,
    "Another core did not say in time whether it was published. Sent again, it may be there twice.",
    r#"{"detail":"The topic's core is busy; whether it was published is not known"}"#,
);

/// What comes back is written to more slowly than it is published.
pub(crate) const BUSY: Reply = Reply::refusal(
    429,
    "Subscribers are written to more slowly than messages come, or there are too many requests, events or \
     wrong credentials. `Retry-After` says when to come back.",
    r#"{"detail":"Subscribers are written to more slowly than messages come; try again"}"#,
);
