//! `fanfare publish`: one event to a running gateway.

use std::io::{self, IsTerminal, Read};
use std::path::Path;

use http::{Method, StatusCode, Uri};
use serde::de::IgnoredAny;

use super::arguments::Publish;
use super::escape::escaped;
use super::exit::Exit;
use super::{files, output};
use crate::server::{FetchError, FetchLimits, FetchRequest, Trust};

/// Sends the event and prints the answer.
pub(super) fn run(arguments: &Publish) -> Exit {
    let uri = match endpoint(&arguments.url) {
        Ok(uri) => uri,
        Err(reason) => {
            output::complain(&format_args!("--url {}: {reason}", shown(&arguments.url)));
            return Exit::Usage;
        }
    };
    let trust = match trust(arguments, &uri) {
        Ok(trust) => trust,
        Err(reason) => {
            output::complain(&reason);
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
    let request = match request(arguments, uri, body) {
        Ok(request) => request,
        Err(error) => {
            output::complain(&error);
            return Exit::Usage;
        }
    };
    let limits = FetchLimits {
        time: arguments.timeout,
        ..FetchLimits::default()
    };
    match request.send(&trust, limits) {
        Ok(answer) => {
            let text = String::from_utf8_lossy(&answer.body);
            let printed = output::print(&format!(
                "{} {}\n",
                answer.status.as_str(),
                escaped(text.trim_end())
            ));
            let exit = judge(answer.status);
            if exit == Exit::Ok { printed } else { exit }
        }
        Err(error) => {
            // Names of a certificate are the server's words.
            let text = error.to_string();
            let (text, hint) = (escaped(&text), hint(&error));
            output::complain(&format_args!("{}: {text}{hint}", arguments.url));
            Exit::Unavailable
        }
    }
}

fn request(arguments: &Publish, uri: Uri, body: String) -> Result<FetchRequest, FetchError> {
    let request = FetchRequest::new(Method::POST, uri)?.json(body);
    match arguments.token.as_deref().map(str::trim) {
        None | Some("") => Ok(request),
        Some(token) => request.bearer(token),
    }
}

/// Whose certificates are believed; what is said of that for a connection without one is a mistake.
fn trust(arguments: &Publish, uri: &Uri) -> Result<Trust, String> {
    let is_told = arguments.insecure || arguments.ca_file.is_some();
    if is_told && uri.scheme_str() == Some("http") {
        return Err(
            "--ca-file and --insecure are about TLS, and --url begins with http://: write https://"
                .to_owned(),
        );
    }
    match &arguments.ca_file {
        Some(path) => authorities(path).map_err(|reason| {
            let path = path.display().to_string();
            format!("cannot use {}: {reason}", escaped(&path))
        }),
        None if arguments.insecure => Ok(Trust::Any),
        None => Ok(Trust::System),
    }
}

fn authorities(path: &Path) -> Result<Trust, String> {
    let pem = files::read(path).map_err(|error| error.to_string())?;
    Trust::only(&pem).map_err(|error| error.to_string())
}

/// What to do about a certificate that is not accepted.
fn hint(error: &FetchError) -> &'static str {
    match error {
        FetchError::Untrusted(_) => {
            "; --ca-file names the certificates to trust, --insecure trusts any"
        }
        FetchError::WrongName(_) => {
            "; write the URL with a name of the certificate, or trust any with --insecure"
        }
        _ => "",
    }
}

/// A URL for a message, without the user and the password that it may have.
fn shown(url: &str) -> String {
    match url.rsplit_once('@') {
        Some((_, host)) => format!("\"..@{}\"", escaped(host)),
        None => format!("{url:?}"),
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
    let base: Uri = url.parse().map_err(|_| ACCEPTED)?;
    let scheme = base.scheme_str().unwrap_or_default();
    if !matches!(scheme, "http" | "https") {
        return Err(ACCEPTED);
    }
    let authority = base.authority().ok_or("it names no host")?;
    if authority.as_str().contains('@') || base.query().is_some() {
        return Err("accepted: a host and a port, without user and query");
    }
    let path = base.path().trim_end_matches('/');
    format!("{scheme}://{authority}{path}/api/v1/events")
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

const ACCEPTED: &str = "accepted: an address as http://127.0.0.1:8080 or https://example.com";

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
        check("https://example.com", "https://example.com/api/v1/events");
    }

    #[test]
    fn an_address_that_cannot_be_posted_to_is_refused() {
        for url in [
            "",
            "127.0.0.1:8080",
            "wss://127.0.0.1",
            "ws://127.0.0.1",
            "https://a@b",
            "http://a?b",
            "http://",
            "/x",
        ] {
            assert!(endpoint(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_password_in_an_address_is_not_shown() {
        let check = |url: &str, expected: &str| assert_eq!(shown(url), expected);
        check("https://user:secret@b", "\"..@b\"");
        check("user:sec@ret@b\n", "\"..@b\\u{a}\"");
        check("https://b", "\"https://b\"");
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
