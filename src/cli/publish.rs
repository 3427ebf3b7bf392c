//! `fanfare publish`: one event to a running gateway.

use std::io::{self, IsTerminal, Read};

use http::{StatusCode, Uri};
use serde::de::IgnoredAny;

use super::arguments::Publish;
use super::escape::escaped;
use super::exit::Exit;
use super::output;
use super::post::{self, Post, PostError};

/// Sends the event and prints the answer.
pub(super) fn run(arguments: &Publish) -> Exit {
    let uri = match endpoint(&arguments.url) {
        Ok(uri) => uri,
        Err(reason) => {
            output::complain(&format_args!("--url {:?}: {reason}", arguments.url));
            return Exit::Usage;
        }
    };
    let body = match data(arguments).and_then(|data| body(&arguments.event, &data)) {
        Ok(body) => body,
        Err(reason) => {
            output::complain(&reason);
            return Exit::Data;
        }
    };
    let token = arguments.token.as_deref().map(str::trim);
    let request = Post {
        uri,
        token: token.filter(|token| !token.is_empty()),
        body,
        timeout: arguments.timeout,
    };
    match post::send(request) {
        Ok(answer) => {
            let printed = output::print(&format!(
                "{} {}\n",
                answer.status.as_str(),
                escaped(answer.body.trim_end())
            ));
            let exit = judge(answer.status);
            if exit == Exit::Ok { printed } else { exit }
        }
        Err(PostError::Token) => {
            output::complain(&"a token is made of visible ASCII characters");
            Exit::Usage
        }
        Err(error) => {
            output::complain(&format_args!("{}: {error}", arguments.url));
            Exit::Unavailable
        }
    }
}

/// What the status means for whoever started us.
fn judge(status: StatusCode) -> Exit {
    match status.as_u16() {
        200..=299 => Exit::Ok,
        401 | 403 => Exit::Denied,
        429 | 503 => Exit::TryAgain,
        400..=499 => Exit::Data,
        _ => Exit::Failure,
    }
}

/// The address that events are posted to, below the gateway's own.
fn endpoint(url: &str) -> Result<Uri, &'static str> {
    let base: Uri = url
        .parse()
        .map_err(|_| "accepted: an address as http://127.0.0.1:8080")?;
    match base.scheme_str() {
        Some("http") => {}
        Some("https") => return Err("TLS is not spoken here; use the plain listener or a tunnel"),
        _ => return Err("accepted: an address as http://127.0.0.1:8080"),
    }
    let authority = base.authority().ok_or("it names no host")?;
    if authority.as_str().contains('@') || base.query().is_some() {
        return Err("accepted: a host and a port, without user and query");
    }
    let path = base.path().trim_end_matches('/');
    format!("http://{authority}{path}/api/v1/events")
        .parse()
        .map_err(|_| "its path is not one")
}

fn data(arguments: &Publish) -> Result<String, String> {
    if let Some(data) = &arguments.data {
        return Ok(data.clone());
    }
    if io::stdin().is_terminal() {
        output::complain(&"reading the data from the terminal; end it with Ctrl-D");
    }
    let mut data = String::new();
    let read = io::stdin()
        .lock()
        .take(DATA_LEN_MAX + 1)
        .read_to_string(&mut data);
    read.map_err(|error| format!("cannot read the data from standard input: {error}"))?;
    if data.len() as u64 > DATA_LEN_MAX {
        return Err(
            "the data on standard input is larger than any gateway accepts (1 GiB)".to_owned(),
        );
    }
    Ok(data)
}

/// The request's body. The data is checked and passed on byte for byte.
fn body(event: &str, data: &str) -> Result<String, String> {
    serde_json::from_str::<IgnoredAny>(data)
        .map_err(|error| format!("the data is not JSON: {error}"))?;
    Ok(format!(
        "{{\"event\":{},\"data\":{}}}",
        serde_json::Value::from(event),
        data.trim_ascii()
    ))
}

/// Bytes read from standard input: the most that `http.max_body_size` can be.
const DATA_LEN_MAX: u64 = 1024 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_posted_below_the_address() {
        let check =
            |url: &str, expected: &str| assert_eq!(endpoint(url).unwrap().to_string(), expected);
        check(
            "http://127.0.0.1:8080",
            "http://127.0.0.1:8080/api/v1/events",
        );
        check("http://[::1]:8080/", "http://[::1]:8080/api/v1/events");
        check(
            "http://example.com/gateway/",
            "http://example.com/gateway/api/v1/events",
        );
    }

    #[test]
    fn an_address_that_cannot_be_posted_to_is_refused() {
        for url in [
            "",
            "127.0.0.1:8080",
            "https://127.0.0.1",
            "ws://127.0.0.1",
            "http://a@b",
            "http://a?b",
            "http://",
            "/x",
        ] {
            assert!(endpoint(url).is_err(), "{url}");
        }
    }

    #[test]
    fn data_is_passed_on_byte_for_byte() {
        let body = |data: &str| body("a\"b", data);
        assert_eq!(
            body(" {\"n\": 1.0e0, \"n\": 2}\n").unwrap(),
            r#"{"event":"a\"b","data":{"n": 1.0e0, "n": 2}}"#
        );
        for data in ["", "{", "1 2", "1},\"x\":{", "nul", "'a'"] {
            assert!(body(data).is_err(), "{data}");
        }
    }

    #[test]
    fn each_kind_of_answer_has_its_exit_code() {
        let check = |status: u16, expected: Exit| {
            assert_eq!(
                judge(StatusCode::from_u16(status).unwrap()),
                expected,
                "{status}"
            );
        };
        check(202, Exit::Ok);
        check(400, Exit::Data);
        check(401, Exit::Denied);
        check(403, Exit::Denied);
        check(413, Exit::Data);
        check(429, Exit::TryAgain);
        check(500, Exit::Failure);
        check(503, Exit::TryAgain);
        check(302, Exit::Failure);
    }
}
