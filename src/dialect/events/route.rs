//! The paths of the events protocol.

/// The route of a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum EventsRoute<'a> {
    /// `/api/v1/ws/demo`: without authentication.
    Demo,
    /// `/api/v1/ws/dev`: with a token, unknown types echoed.
    Dev,
    /// `/api/v1/ws`: with a token.
    Prod,
    /// `/api/v1/ws/{client_id}`: the same, with a client id.
    As(&'a str),
    /// `/api/v1/ws/` and a name that is no client id: an HTTP endpoint, or 404.
    Reserved(&'a str),
    /// `/api/v1/ws/` and a text that is not a valid client id.
    BadClientId,
    /// Anything else.
    Other,
}

/// The prefix of paths with a client id.
const CLIENTS: &str = "/api/v1/ws/";

/// Names that cannot be client ids, since they are or were endpoints.
const RESERVED: [&str; 3] = ["connections", "monitor", "subscriptions"];

/// The longest client id, in bytes.
const CLIENT_ID_BYTES_MAX: usize = 64;

/// Finds the route of a path. Only the exact spelling counts: nothing is decoded, folded or cut (hostile-inputs.md
/// H16).
pub(super) fn route(path: &str) -> EventsRoute<'_> {
    match path {
        "/api/v1/ws/demo" => EventsRoute::Demo,
        "/api/v1/ws/dev" => EventsRoute::Dev,
        "/api/v1/ws" => EventsRoute::Prod,
        _ => path
            .strip_prefix(CLIENTS)
            .map_or(EventsRoute::Other, client),
    }
}

fn client(id: &str) -> EventsRoute<'_> {
    if id.is_empty() || id.contains('/') {
        EventsRoute::Other
    } else if RESERVED.contains(&id) {
        EventsRoute::Reserved(id)
    } else if id.len() <= CLIENT_ID_BYTES_MAX && id.bytes().all(is_id_byte) {
        EventsRoute::As(id)
    } else {
        EventsRoute::BadClientId
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
        assert_eq!(route("/api/v1/ws/demo"), EventsRoute::Demo);
        for path in [
            "//api/v1/ws/demo",
            "/api/v1/ws/demo/",
            "/api/v1/x/../ws/demo",
            "/API/v1/ws/demo",
            "/api/v1/ws%2Fdemo",
            "/api/v1/ws/",
            "/api/v1/ws/a/b",
            "/api/v1/ws/monitor/a",
            "/api/v1/%77s",
        ] {
            assert_eq!(route(path), EventsRoute::Other, "{path}");
        }
    }

    #[test]
    fn a_client_names_itself_in_64_letters() {
        let longest = "x".repeat(64);
        for id in ["a", "A-z_09", "Demo", "dev1", "-", &longest] {
            assert_eq!(route(&format!("{CLIENTS}{id}")), EventsRoute::As(id));
        }
        let too_long = "x".repeat(65);
        for id in ["%64emo", "demo;x", "a b", "a.b", "é", "a%00", &too_long] {
            assert_eq!(
                route(&format!("{CLIENTS}{id}")),
                EventsRoute::BadClientId,
                "{id}"
            );
        }
        for id in RESERVED {
            assert_eq!(route(&format!("{CLIENTS}{id}")), EventsRoute::Reserved(id));
        }
    }
}
