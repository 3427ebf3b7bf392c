//! A request of the operator to a running gateway: where it is, with which token, and whose certificates are believed.

use std::path::Path;

use http::{Method, StatusCode, Uri};

use super::arguments::GatewayArguments;
use super::escape::escaped;
use super::exit::Exit;
use super::{files, output};
use crate::server::{FetchError, FetchLimits, FetchRequest, Trust};

/// A running gateway.
pub(super) struct Gateway<'a> {
    arguments: &'a GatewayArguments,
    base: String,
    trust: Trust,
}

/// What a gateway has answered.
pub(super) struct GatewayAnswer {
    status: StatusCode,
    /// The body; what is no UTF-8 is replaced.
    pub(super) text: String,
}

impl<'a> Gateway<'a> {
    /// The gateway that `arguments` name. What is wrong with them has been said.
    pub(super) fn at(arguments: &'a GatewayArguments) -> Result<Self, Exit> {
        let usage = |reason: String| {
            output::complain(&reason);
            Exit::Usage
        };
        let base = base(&arguments.url)
            .map_err(|reason| usage(format!("--url {}: {reason}", shown(&arguments.url))))?;
        let uri: Uri = base.parse().map_err(|_| usage(ACCEPTED.to_owned()))?;
        let trust = trust(arguments, &uri).map_err(usage)?;
        Ok(Self {
            arguments,
            base,
            trust,
        })
    }

    /// Sends a request to `path`, with a body of JSON or none. What has failed has been said.
    pub(super) fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<String>,
    ) -> Result<GatewayAnswer, Exit> {
        let request = self.request(method, path, body).map_err(|error| {
            output::complain(&error);
            Exit::Usage
        })?;
        let limits = FetchLimits {
            time: self.arguments.timeout,
            body_len: ANSWER_LEN_MAX,
        };
        let answer = request.send(&self.trust, limits).map_err(|error| {
            // Names of a certificate are the server's words.
            let text = error.to_string();
            let (text, hint) = (escaped(&text), hint(&error));
            output::complain(&format_args!("{}: {text}{hint}", self.arguments.url));
            Exit::Unavailable
        })?;
        if answer.status == StatusCode::NOT_FOUND {
            output::complain(&format_args!(
                "{}: not there; a gateway with `server.internal_listen` has it at those addresses: name one with --url",
                self.arguments.url
            ));
        }
        Ok(GatewayAnswer {
            status: answer.status,
            text: String::from_utf8_lossy(&answer.body).into_owned(),
        })
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<String>,
    ) -> Result<FetchRequest, FetchError> {
        let url: Uri = format!("{}{path}", self.base)
            .parse()
            .map_err(|_| FetchError::Url)?;
        let mut request = FetchRequest::new(method, url)?;
        if let Some(body) = body {
            request = request.json(body);
        }
        match self.arguments.token.as_deref().map(str::trim) {
            None | Some("") => Ok(request),
            Some(token) => request.bearer(token),
        }
    }
}

impl GatewayAnswer {
    /// What the status means for whoever started us.
    pub(super) fn exit(&self) -> Exit {
        judge(self.status)
    }

    /// Prints the status and the body.
    pub(super) fn print(&self) -> Exit {
        let (status, text) = (self.status.as_str(), escaped(self.text.trim_end()));
        output::print(&format!("{status} {text}\n"))
    }
}

/// Whose certificates are believed; what is said of that for a connection without one is a mistake.
fn trust(arguments: &GatewayArguments, uri: &Uri) -> Result<Trust, String> {
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

/// The gateway's own address, without a slash at its end.
fn base(url: &str) -> Result<String, &'static str> {
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
    Ok(format!("{scheme}://{authority}{path}"))
}

/// Bytes of an answer: that to `explain --limit 10000` has about 10 MB.
const ANSWER_LEN_MAX: usize = 64 * 1024 * 1024;

const ACCEPTED: &str = "accepted: an address as http://127.0.0.1:8080 or https://example.com";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_below_the_address() {
        let check = |url: &str, expected: &str| assert_eq!(base(url).unwrap(), expected);
        check("http://127.0.0.1:8080", "http://127.0.0.1:8080");
        check("http://[::1]:8080/", "http://[::1]:8080");
        check("http://example.com/gateway/", "http://example.com/gateway");
        check("https://example.com", "https://example.com");
    }

    #[test]
    fn an_address_that_cannot_be_asked_is_refused() {
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
            assert!(base(url).is_err(), "{url}");
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
