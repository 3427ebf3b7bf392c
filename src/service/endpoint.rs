//! An HTTP operation and its handler.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State as Shared};
use axum::handler::Handler;
use axum::http::Method;
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, get, post};

use super::{Role, State};
use crate::http::{Answer, Answering, Rejection, Shortcut, allow_page, origins_of};

/// An operation at a path.
#[expect(missing_debug_implementations, reason = "it has a handler")]
pub struct Endpoint {
    pub(crate) method: Method,
    /// The path; parameters are names in braces.
    pub(crate) path: String,
    /// Its path in the `openapi.json` that describes it.
    pub(crate) described_at: &'static str,
    /// Whether it asks for a credential; `None`: as `events.auth_required` says.
    pub(crate) asks: Option<bool>,
    /// Who it is for, and so at which listeners it is. Services and operators, unless it says otherwise: a new
    /// endpoint is not for clients by oversight.
    pub(crate) role: Role,
    /// The handler; `None` where `conn` claims the socket before the router sees the request.
    handler: Option<MethodRouter<Arc<State>>>,
    /// The handler of requests that bypass the router.
    shortcut: Option<Box<dyn Fn(Arc<State>) -> Shortcut>>,
}

impl Endpoint {
    /// An operation that is asked for with GET.
    pub(crate) fn get<H: Handler<T, Arc<State>>, T: 'static>(
        path: &'static str,
        handler: H,
    ) -> Self {
        Self::new(Method::GET, path, Some(get(handler)))
    }

    /// An operation that is asked for with POST.
    pub(crate) fn post<F>(
        path: &'static str,
        handler: impl Fn(Shared<Arc<State>>, Request) -> F + Clone + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<Answer, Rejection>> + Send + 'static,
    {
        let routed = Some(post(handler.clone()));
        let shortcut = move |state: Arc<State>| -> Shortcut {
            let handler = handler.clone();
            Arc::new(move |request| -> Answering {
                let (state, origins) = (state.clone(), origins_of(request.headers()));
                let answering = handler(Shared(state.clone()), request);
                Box::pin(async move {
                    let mut answer = answering.await.into_response();
                    let allowed = &state.config.http.cors_origins;
                    allow_page(allowed, &origins, answer.headers_mut());
                    answer
                })
            })
        };
        Self {
            shortcut: Some(Box::new(shortcut)),
            ..Self::new(Method::POST, path, routed)
        }
    }

    /// The handler that bypasses the router, if there is one.
    pub(crate) fn shortcut(&self, state: &Arc<State>) -> Option<(Box<str>, Shortcut)> {
        // The path of one with parameters is the router's to match.
        let shortcut = self
            .shortcut
            .as_ref()
            .filter(|_| !self.path.contains('{'))?;
        Some((self.path.as_str().into(), shortcut(state.clone())))
    }

    /// An endpoint whose socket `conn` claims as a connection.
    pub(crate) fn claimed(path: &'static str) -> Self {
        Self::new(Method::GET, path, None).serving(Role::Clients)
    }

    /// The same operation for others than services and operators.
    pub(crate) fn serving(self, role: Role) -> Self {
        Self { role, ..self }
    }

    /// The same operation at another path.
    pub(crate) fn at(self, path: &str) -> Self {
        Self {
            path: path.to_owned(),
            ..self
        }
    }

    /// The same operation, which asks for a credential or not, whatever clients need elsewhere.
    pub(crate) fn asking(self, asks: bool) -> Self {
        Self {
            asks: Some(asks),
            ..self
        }
    }

    fn new(method: Method, path: &'static str, handler: Option<MethodRouter<Arc<State>>>) -> Self {
        Self {
            method,
            path: path.to_owned(),
            described_at: path,
            asks: None,
            role: Role::Internal,
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
}
