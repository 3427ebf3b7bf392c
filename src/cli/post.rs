//! One HTTP request and its answer, for the commands that talk to a gateway.

use std::io;
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// A request with a JSON body.
#[derive(Debug)]
pub(super) struct Post<'a> {
    /// Where to, with scheme `http`.
    pub uri: Uri,
    /// Sent as a bearer token.
    pub token: Option<&'a str>,
    /// The body.
    pub body: String,
    /// How long everything may take.
    pub timeout: Duration,
}

/// What came back.
#[derive(Debug)]
pub(super) struct PostAnswer {
    /// The status.
    pub status: StatusCode,
    /// The body; bytes that are not UTF-8 are replaced.
    pub body: String,
}

/// Why nothing came back.
#[derive(Debug, thiserror::Error)]
pub(super) enum PostError {
    /// The token cannot be sent in a header.
    #[error("the token cannot be sent")]
    Token,
    /// The gateway does not listen there, or went away.
    #[error("cannot connect: {0}")]
    Connect(#[from] io::Error),
    /// It listens and does not speak HTTP.
    #[error("no valid answer: {0}")]
    Http(#[from] hyper::Error),
    /// Nothing came in time.
    #[error("no answer in time")]
    Timeout,
    /// More came than an answer can be.
    #[error("the answer is larger than 1 MiB, or broke off")]
    Answer,
}

/// Sends `post` and waits for the answer.
pub(super) fn send(post: Post<'_>) -> Result<PostAnswer, PostError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let timeout = post.timeout;
    runtime.block_on(async {
        tokio::time::timeout(timeout, exchange(post))
            .await
            .map_err(|_| PostError::Timeout)?
    })
}

async fn exchange(mut post: Post<'_>) -> Result<PostAnswer, PostError> {
    let request = post.request()?;
    // An IPv6 address is in brackets in a URI, and without them in a lookup.
    let host = post.uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let stream = TcpStream::connect((host, post.uri.port_u16().unwrap_or(80))).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let answer = async move {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_LEN_MAX)
            .collect()
            .await;
        let body = body.map_err(|_| PostError::Answer)?.to_bytes();
        Ok(PostAnswer {
            status,
            body: String::from_utf8_lossy(&body).into_owned(),
        })
    };
    // The connection ends by itself once the sender is gone; its error is the request's too.
    futures_util::future::join(answer, connection).await.0
}

impl Post<'_> {
    fn request(&mut self) -> Result<Request<Full<bytes::Bytes>>, PostError> {
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::post(path)
            .header(
                HOST,
                self.uri
                    .authority()
                    .map_or("", |authority| authority.as_str()),
            )
            .header(USER_AGENT, concat!("fanfare/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::from(std::mem::take(&mut self.body)))
            .expect("the parts come from a valid URI");
        if let Some(token) = self.token {
            let mut bearer =
                HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| PostError::Token)?;
            bearer.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, bearer);
        }
        Ok(request)
    }
}

/// Bytes of an answer that are read.
const ANSWER_LEN_MAX: usize = 1024 * 1024;
