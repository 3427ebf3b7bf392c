//! Which paths become connections of their own, and which are requests.

/// Where a request goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Route<'a> {
    /// `/debug/echo`: a WebSocket that sends everything back.
    Echo,
    /// `/api/v1/ws/demo`: the events protocol, open to everybody.
    EventsDemo,
    /// `/api/v1/ws/dev`: the events protocol with a token, unknown types echoed.
    EventsDev,
    /// `/api/v1/ws`: the events protocol with a token.
    Events,
    /// `/api/v1/ws/{client_id}`: the same, for a client that names itself.
    EventsAs(&'a str),
    /// `/api/v1/ws/` and a name that is no client's: a request, if anything.
    Reserved(&'a str),
    /// `/api/v1/ws/` and something that cannot be a name.
    BadClientId,
    /// `/api/v1/sse`: a stream of Server-Sent Events.
    Sse,
    /// The path of the bridge protocol: a WebSocket of a user.
    Bridge,
    /// Anything else: a request with an answer.
    Api,
}

/// Below this path clients name themselves.
const CLIENTS: &str = "/api/v1/ws/";

/// Names that have, or had, a meaning of their own.
const RESERVED: [&str; 3] = ["connections", "monitor", "subscriptions"];

/// The longest client id, in bytes.
const CLIENT_ID_BYTES_MAX: usize = 64;

/// Finds the route of a path; `bridge` is that of the bridge protocol, which is configured. Only the exact spelling counts: nothing is
/// decoded, folded or cut (hostile-inputs.md H16).
#[must_use]
pub fn route<'a>(path: &'a str, bridge: Option<&str>) -> Route<'a> {
    match path {
        "/debug/echo" => Route::Echo,
        "/api/v1/ws/demo" => Route::EventsDemo,
        "/api/v1/ws/dev" => Route::EventsDev,
        "/api/v1/ws" => Route::Events,
        "/api/v1/sse" => Route::Sse,
        _ if Some(path) == bridge => Route::Bridge,
        _ => path.strip_prefix(CLIENTS).map_or(Route::Api, client),
    }
}

fn client(id: &str) -> Route<'_> {
    if id.is_empty() || id.contains('/') {
        Route::Api
    } else if RESERVED.contains(&id) {
        Route::Reserved(id)
    } else if id.len() <= CLIENT_ID_BYTES_MAX && id.bytes().all(is_id_byte) {
        Route::EventsAs(id)
    } else {
        Route::BadClientId
    }
}

fn is_id_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h16_only_the_exact_spelling_is_a_route() {
        assert_eq!(route("/api/v1/ws/demo", Some("/ws")), Route::EventsDemo);
        for path in [
            "//api/v1/ws/demo",
            "/api/v1/ws/demo/",
            "/api/v1/x/../ws/demo",
            "/API/v1/ws/demo",
            "/api/v1/ws%2Fdemo",
            "/api/v1/ws/",
            "/api/v1/ws/a/b",
            "/api/v1/ws/monitor/a",
            "/api/v1/sse/",
            "/api/v1/%73se",
        ] {
            assert_eq!(route(path, Some("/ws")), Route::Api, "{path}");
        }
    }

    #[test]
    fn the_bridge_is_where_it_was_configured() {
        assert_eq!(route("/ws", Some("/ws")), Route::Bridge);
        assert_eq!(route("/ws", Some("/chat")), Route::Api);
        assert_eq!(route("/ws", None), Route::Api);
        assert_eq!(route("/ws/", Some("/ws")), Route::Api);
    }

    #[test]
    fn a_client_names_itself_in_64_letters() {
        let longest = "x".repeat(64);
        for id in ["a", "A-z_09", "Demo", "dev1", "-", &longest] {
            assert_eq!(route(&format!("{CLIENTS}{id}"), None), Route::EventsAs(id));
        }
        let too_long = "x".repeat(65);
        for id in ["%64emo", "demo;x", "a b", "a.b", "é", "a%00", &too_long] {
            assert_eq!(
                route(&format!("{CLIENTS}{id}"), None),
                Route::BadClientId,
                "{id}"
            );
        }
        for id in RESERVED {
            assert_eq!(route(&format!("{CLIENTS}{id}"), None), Route::Reserved(id));
        }
    }
}
