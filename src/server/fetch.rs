//! One HTTP request and its answer, in the clear or over TLS: the process's only HTTP client.
//!
//! HTTP/1.1, one connection a request, and no redirect is followed: where a credential goes is what the
//! configuration says, not what an answer says. No text of an error and no `Debug` has the credential or the body.

mod trust;

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper::service::Service;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::service::TowerToHyperService;
use rustls::ClientConfig;

pub(crate) use trust::{Trust, TrustError};

/// A request to a URL of `http` or `https`.
pub(crate) struct FetchRequest {
    method: Method,
    url: Uri,
    headers: HeaderMap,
    body: Bytes,
}

/// What one exchange may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FetchLimits {
    /// From looking up the host's name to the last byte of the answer.
    pub time: Duration,
    /// Bytes of the answer's body.
    pub body_len: usize,
}

/// An answer, whatever its status.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub status: StatusCode,
    pub body: Bytes,
}

/// Why there is no answer. The texts do not repeat the URL.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// The URL is not one of HTTP.
    #[error("accepted: a URL that begins with http:// or https:// and names a host")]
    Url,
    /// The URL has a credential in it, which logs would repeat.
    #[error("a URL has no user and password: use a token")]
    User,
    /// The token cannot be sent in a header.
    #[error("a token is made of visible ASCII characters")]
    Token,
    /// Nothing can be told from a certificate, since none is trusted.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The client could not be set up.
    #[error("cannot set up the connection: {0}")]
    Setup(String),
    /// No server listens there, or it went away before it answered.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// Something listens that does not speak TLS.
    #[error("TLS is not spoken there: write http:// if that is meant")]
    NotTls,
    /// The two sides could not agree.
    #[error("the TLS connection failed: {0}")]
    Tls(String),
    /// The server's certificate is not valid, or nobody who is trusted has issued it.
    #[error("the server's certificate is not trusted: {0}")]
    Untrusted(String),
    /// The server's certificate is another host's.
    #[error("the server's certificate is not for the host of the URL: {0}")]
    WrongName(String),
    /// What came is no answer of HTTP.
    #[error("no valid answer: {reason}{}", if *.is_plain { "; write https:// if TLS is spoken there" } else { "" })]
    NotHttp {
        reason: String,
        /// The URL was one of `http`.
        is_plain: bool,
    },
    /// [`FetchLimits::time`] went by.
    #[error("no answer in time ({0:?})")]
    Timeout(Duration),
    /// The body is longer than [`FetchLimits::body_len`].
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
}

impl FetchRequest {
    /// A request without a body.
    ///
    /// # Errors
    /// The URL is not one of `http` or `https`, or has a user in it.
    pub(crate) fn new(method: Method, url: Uri) -> Result<Self, FetchError> {
        if !matches!(url.scheme_str(), Some("http" | "https")) {
            return Err(FetchError::Url);
        }
        let authority = url.authority().ok_or(FetchError::Url)?;
        if authority.as_str().contains('@') {
            return Err(FetchError::User);
        }
        if authority.host().is_empty() {
            return Err(FetchError::Url);
        }
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| FetchError::Url)?;
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host);
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        Ok(Self {
            method,
            url,
            headers,
            body: Bytes::new(),
        })
    }

    /// The same with `body`, JSON.
    pub(crate) fn json(mut self, body: impl Into<Bytes>) -> Self {
        let json = HeaderValue::from_static("application/json");
        self.headers.insert(CONTENT_TYPE, json);
        self.body = body.into();
        self
    }

    /// The same with `token` as its credential.
    ///
    /// # Errors
    /// The token has other characters than those of a header.
    pub(crate) fn bearer(mut self, token: &str) -> Result<Self, FetchError> {
        let bearer = HeaderValue::from_str(&format!("Bearer {token}"));
        let mut bearer = bearer.map_err(|_| FetchError::Token)?;
        bearer.set_sensitive(true);
        self.headers.insert(AUTHORIZATION, bearer);
        Ok(self)
    }

    /// Sends the request and reads the answer. Blocks: for threads that serve no connections.
    ///
    /// Cost: a connection, and with [`Trust::System`] over TLS the reading of the machine's certificates.
    pub(crate) fn send(self, trust: &Trust, limits: FetchLimits) -> Result<Fetched, FetchError> {
        let is_plain = self.is_plain();
        let tls = if is_plain {
            Trust::none()
        } else {
            trust.client_config()?
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| FetchError::Setup(error.to_string()))?;
        let fetched = runtime.block_on(async {
            tokio::time::timeout(limits.time, self.exchange(tls, limits.body_len)).await
        });
        // The lookup of a name may still run on a thread of its own, and is not waited for.
        runtime.shutdown_background();
        fetched.unwrap_or(Err(FetchError::Timeout(limits.time)))
    }

    fn is_plain(&self) -> bool {
        self.url.scheme_str() == Some("http")
    }

    async fn exchange(self, tls: ClientConfig, body_len: usize) -> Result<Fetched, FetchError> {
        let is_plain = self.is_plain();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .build();
        // A URL may have a query and no path; a request has one.
        let path = match self.url.query() {
            Some(query) => format!("{}?{query}", self.url.path()),
            None => self.url.path().to_owned(),
        };
        let mut request = Request::new(Full::new(self.body));
        *request.method_mut() = self.method;
        *request.uri_mut() = path.parse().expect("it is the path of a URL");
        *request.headers_mut() = self.headers;
        let stream = TowerToHyperService::new(connector)
            .call(self.url)
            .await
            .map_err(|error| FetchError::of_connecting(&*error))?;
        let handshake = http1::handshake(stream).await;
        let (mut sender, connection) =
            handshake.map_err(|error| FetchError::of_exchange(&error, is_plain))?;
        let answer = async move {
            let response = sender.send_request(request).await;
            let response = response.map_err(|error| FetchError::of_exchange(&error, is_plain))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), body_len);
            let body = body.collect().await.map_err(|error| {
                if error.is::<LengthLimitError>() {
                    FetchError::TooLarge(body_len)
                } else {
                    FetchError::of_exchange(&*error, is_plain)
                }
            })?;
            Ok(Fetched {
                status,
                body: body.to_bytes(),
            })
        };
        // The connection ends by itself once the sender is gone; its error is the request's too.
        futures_util::future::join(answer, connection).await.0
    }
}

/// Headers show that there is a credential, and not which; the body is its length.
impl fmt::Debug for FetchRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FetchRequest")
            .field("method", &self.method)
            .field("url", &self.url)
            .field("headers", &self.headers)
            .field("body_len", &self.body.len())
            .finish()
    }
}

impl Default for FetchLimits {
    fn default() -> Self {
        Self {
            time: TIME_DEFAULT,
            body_len: BODY_LEN_DEFAULT,
        }
    }
}

impl FetchError {
    fn of_connecting(error: &(dyn Error + 'static)) -> Self {
        let tls = find::<rustls::Error>(error).map(Self::of_tls);
        tls.unwrap_or_else(|| Self::Connect(root(error).to_string()))
    }

    /// With TLS 1.3 a server refuses a client only after the client's part of the handshake is done.
    fn of_exchange(error: &(dyn Error + 'static), is_plain: bool) -> Self {
        let tls = find::<rustls::Error>(error).map(Self::of_tls);
        tls.unwrap_or_else(|| Self::NotHttp {
            reason: root(error).to_string(),
            is_plain,
        })
    }

    fn of_tls(error: &rustls::Error) -> Self {
        match error {
            rustls::Error::InvalidMessage(_) => Self::NotTls,
            rustls::Error::InvalidCertificate(error) => trust::refusal(error),
            error => Self::Tls(error.to_string()),
        }
    }
}

/// The first error of type `E` among `error` and its causes.
fn find<'e, E: Error + 'static>(error: &'e (dyn Error + 'static)) -> Option<&'e E> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

/// The cause of all.
fn root<'e>(error: &'e (dyn Error + 'static)) -> &'e (dyn Error + 'static) {
    causes(error).last().unwrap_or(error)
}

/// `error`, its cause, and so on. An `io::Error` made of another error leaves that one out of its own causes.
fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| {
        let inner = error.downcast_ref::<io::Error>();
        match inner.and_then(io::Error::get_ref) {
            Some(inner) => Some(inner as &(dyn Error + 'static)),
            None => error.source(),
        }
    })
}

/// How long an exchange may take unless told otherwise.
const TIME_DEFAULT: Duration = Duration::from_secs(10);

/// Bytes of an answer's body unless told otherwise.
const BODY_LEN_DEFAULT: usize = 1024 * 1024;

const AGENT: &str = concat!("fanfare/", env!("CARGO_PKG_VERSION"));

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// The answer of a server that reads one request head and writes `answer`, then nothing more; and the head.
    fn ask(
        request: impl FnOnce(Uri) -> FetchRequest,
        answer: &'static [u8],
        limits: FetchLimits,
    ) -> (Result<Fetched, FetchError>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/a?b=c", listener.local_addr().unwrap());
        let serving = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut head, mut buffer) = (Vec::new(), [0; 4096]);
            while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                let read = stream.read(&mut buffer).unwrap();
                assert_ne!(read, 0, "the request broke off");
                head.extend_from_slice(&buffer[..read]);
            }
            stream.write_all(answer).unwrap();
            // Until the client closes: what is missing does not come.
            let _ = stream.read_to_end(&mut Vec::new());
            String::from_utf8(head).unwrap()
        });
        let fetched = request(url.parse().unwrap()).send(&Trust::System, limits);
        (fetched, serving.join().unwrap())
    }

    fn get(url: Uri) -> FetchRequest {
        FetchRequest::new(Method::GET, url).unwrap()
    }

    #[test]
    fn a_request_is_sent_as_it_is_and_a_redirect_is_an_answer() {
        let answer =
            b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 2\r\n\r\nhi";
        let (fetched, head) = ask(get, answer, FetchLimits::default());
        let fetched = fetched.unwrap();
        assert_eq!(
            (fetched.status, &*fetched.body),
            (StatusCode::FOUND, &b"hi"[..])
        );
        assert!(
            head.starts_with("GET /a?b=c HTTP/1.1\r\nhost: 127.0.0.1:"),
            "{head}"
        );
        let post = |url| {
            let post = FetchRequest::new(Method::POST, url).unwrap().json("{}");
            post.bearer("the.token").unwrap()
        };
        let (_, head) = ask(post, answer, FetchLimits::default());
        assert!(head.starts_with("POST /a?b=c HTTP/1.1\r\n"), "{head}");
        for header in [
            "content-type: application/json",
            "authorization: Bearer the.token",
            "content-length: 2",
        ] {
            assert!(head.contains(&format!("\r\n{header}\r\n")), "{head}");
        }
    }

    #[test]
    fn a_url_without_a_path_is_that_of_the_root_with_a_query_or_without_one() {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        for (rest, target) in [("", "/"), ("?b=c", "/?b=c"), ("/a", "/a")] {
            let get_rest = |url: Uri| {
                let authority = url.authority().unwrap();
                get(format!("http://{authority}{rest}").parse().unwrap())
            };
            let (fetched, head) = ask(get_rest, answer, FetchLimits::default());
            assert_eq!(fetched.unwrap().status, StatusCode::OK);
            assert!(
                head.starts_with(&format!("GET {target} HTTP/1.1\r\n")),
                "{head}"
            );
        }
    }

    #[test]
    fn an_answer_is_as_large_as_the_limit_and_no_larger() {
        let limits = |body_len| FetchLimits {
            body_len,
            ..FetchLimits::default()
        };
        let counted = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n1234";
        let chunked =
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n12\r\n2\r\n34\r\n0\r\n\r\n";
        for answer in [&counted[..], chunked] {
            let (fetched, _) = ask(get, answer, limits(4));
            assert_eq!(&*fetched.unwrap().body, b"1234");
            let (fetched, _) = ask(get, answer, limits(3));
            assert!(
                matches!(fetched, Err(FetchError::TooLarge(3))),
                "{fetched:?}"
            );
        }
        // The rest of it is not waited for.
        let endless = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n1234";
        let (fetched, _) = ask(get, endless, limits(3));
        assert!(
            matches!(fetched, Err(FetchError::TooLarge(3))),
            "{fetched:?}"
        );
    }

    #[test]
    fn the_time_covers_all_of_the_exchange() {
        let limits = FetchLimits {
            time: Duration::from_millis(50),
            ..FetchLimits::default()
        };
        for answer in [
            &b""[..],
            b"HTTP/1.1 200 OK\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n123",
        ] {
            let (fetched, _) = ask(get, answer, limits);
            assert!(
                matches!(fetched, Err(FetchError::Timeout(_))),
                "{fetched:?}"
            );
        }
    }

    #[test]
    fn what_is_no_answer_says_how_tls_is_asked_for() {
        // An alert of TLS, as a server sends it that is spoken to in the clear.
        let (fetched, _) = ask(
            get,
            b"\x15\x03\x03\0\x02\x02\x0a\r\n\r\n",
            FetchLimits::default(),
        );
        let error = fetched.unwrap_err().to_string();
        assert!(error.starts_with("no valid answer: "), "{error}");
        assert!(
            error.ends_with("; write https:// if TLS is spoken there"),
            "{error}"
        );
    }

    #[test]
    fn no_other_url_is_fetched() {
        let refusal =
            |url: &'static str| FetchRequest::new(Method::GET, Uri::from_static(url)).unwrap_err();
        for url in ["ftp://a/", "ws://a/", "/a", "a:80"] {
            assert!(matches!(refusal(url), FetchError::Url), "{url}");
        }
        let error = refusal("https://user:secret@a/");
        assert!(matches!(error, FetchError::User));
        assert!(!format!("{error:?} {error}").contains("secret"));
    }

    #[test]
    fn a_credential_is_not_shown() {
        let request = get(Uri::from_static("https://a/")).json("{\"secret\":1}");
        let shown = format!("{:?}", request.bearer("secret").unwrap());
        assert!(!shown.contains("secret"), "{shown}");
        let error = get(Uri::from_static("https://a/"))
            .bearer("secret\n")
            .unwrap_err();
        assert!(matches!(error, FetchError::Token));
        assert!(!format!("{error:?} {error}").contains("secret"));
    }
}
