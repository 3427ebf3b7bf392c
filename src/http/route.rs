//! Which paths become connections of their own, and which are requests.

/// Where a request goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Route {
    /// `/debug/echo`: a WebSocket that sends everything back.
    Echo,
    /// `/api/v1/ws/demo`: the events protocol, open to everybody.
    EventsDemo,
    /// `/api/v1/ws/dev`: the events protocol with a token, unknown types echoed.
    EventsDev,
    /// `/api/v1/ws`: the events protocol with a token.
    Events,
    /// `/api/v1/sse`: a stream of Server-Sent Events.
    Sse,
    /// Anything else: a request with an answer.
    Api,
}

/// Finds the route of a path. Only the exact spelling counts: nothing is
/// decoded, folded or cut (HOSTILE H16).
#[must_use]
pub fn route(path: &str) -> Route {
    match path {
        "/debug/echo" => Route::Echo,
        "/api/v1/ws/demo" => Route::EventsDemo,
        "/api/v1/ws/dev" => Route::EventsDev,
        "/api/v1/ws" => Route::Events,
        "/api/v1/sse" => Route::Sse,
        _ => Route::Api,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h16_only_the_exact_spelling_is_a_route() {
        assert_eq!(route("/api/v1/ws/demo"), Route::EventsDemo);
        for path in [
            "//api/v1/ws/demo",
            "/api/v1/ws/demo/",
            "/api/v1/ws/%64emo",
            "/api/v1/x/../ws/demo",
            "/api/v1/ws/demo;x",
            "/API/v1/ws/demo",
            "/api/v1/ws%2Fdemo",
            "/api/v1/sse/",
            "/api/v1/%73se",
        ] {
            assert_eq!(route(path), Route::Api, "{path}");
        }
    }
}
