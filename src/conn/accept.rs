//! Serves HTTP/1.1 on an accepted socket until a request claims it as a connection, or the connection ends.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Once;
use std::task::{Poll, ready};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::header::{CONNECTION, HeaderMap, HeaderValue, RETRY_AFTER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::time::{sleep_until, timeout_at};

use super::admit::{self, Decision};
use super::claim::{Claimed, Received};
use super::driver;
use super::guarded::{Guarded, Progress};
use super::preamble::{self, PreambleError};
use super::records::Records;
use super::watched::Watched;
use crate::config::Config;
use crate::http::{
    Answer, AnswerBody, Api, GuardLimits, HeadError, Source, client_of, has_untrusted_forwarding,
    read_head, redirect_to_https, refuse_raw, refuse_raw_with, too_many_buffered,
};
use crate::metrics::{Limited, Refused};
use crate::net::{Stream, TlsHandshakeError, TlsHandshakeKind};
use crate::service::Role;
use crate::shard::{RefusedRequest, Shard};
use crate::ws::handshake::offers_websocket;

/// What the connections of a listener are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The endpoints of a role.
    Serve(Role),
    /// The same, to proxies alone: on a unix socket, whose other ends are on this machine and permitted by its mode.
    ServeProxies(Role),
    /// Requests are answered with where to send them: to https://.
    RedirectToHttps {
        /// The port of a listener of TLS.
        port: u16,
    },
}

impl Purpose {
    /// Whose endpoints it serves; a redirect is answered before any is looked for.
    #[must_use]
    pub fn role(self) -> Role {
        match self {
            Self::Serve(role) | Self::ServeProxies(role) => role,
            Self::RedirectToHttps { .. } => Role::Clients,
        }
    }
}

/// What a request becomes, and what applications are told of it.
type Announced = (Claimed, Vec<u8>);

/// Where a request comes from, and what happens to it.
type Decided = (Source, Decision);

/// A claimed socket.
type TakenSocket = (Claimed, Stream, Received);

/// The response to one request.
type RequestAnswer =
    Pin<Box<dyn Future<Output = Result<Response<Watched<AnswerBody>>, Infallible>>>>;

/// Serves one accepted connection: answers its requests until one claims the socket, for which a task is spawned.
pub async fn accept(
    shard: Rc<Shard>,
    records: Rc<Records>,
    api: Api,
    (stream, purpose): (Stream, Purpose),
    address: IpAddr,
) {
    let source = Source {
        address,
        is_forwarded: false,
    };
    let handshake = shard.begin_handshake();
    let head_timeout = shard.config.server.handshake_timeout;
    let progress = Rc::new(Progress::until(Instant::now() + head_timeout));
    let taken = {
        let mut serving = pin!(serve(
            (&shard, &records),
            api,
            stream,
            (source, purpose),
            &progress
        ));
        poll_fn(|cx| match serving.as_mut().poll(cx) {
            Poll::Ready(taken) => Poll::Ready(taken),
            // The oldest handshake may be a long response, which is not evicted.
            Poll::Pending => match handshake.poll_evicted(cx) {
                Poll::Ready(()) if !progress.answering.get() => {
                    // It was counted by whom it had to make room for.
                    shard.log_refused(&early_refusal(source, Refused::Evicted, 0, ""));
                    Poll::Ready(None)
                }
                _ => Poll::Pending,
            },
        })
        .await
    };
    drop(handshake);
    match taken {
        Some((Claimed::WebSocket(claim), stream, received)) => {
            driver::start(&shard, records, *claim, stream, received);
        }
        Some((Claimed::Stream(claim), stream, received)) => {
            super::stream::start(&shard, records, *claim, stream, &received);
        }
        Some((Claimed::Answer(_), ..)) | None => {}
    }
}

/// Answers requests; `None` when the connection has ended.
async fn serve(
    (shard, records): (&Rc<Shard>, &Rc<Records>),
    api: Api,
    mut stream: Stream,
    (source, purpose): (Source, Purpose),
    progress: &Rc<Progress>,
) -> Option<TakenSocket> {
    let accepted = Instant::now();
    let deadline = progress.deadline.get();
    let reading = preamble::read_proxy(&shard.config.server, &mut stream, source, deadline).await;
    let (source, mut begun) = match reading {
        Ok(read) => read,
        Err(error) => {
            end_early((shard, source), stream, error).await;
            return None;
        }
    };
    if stream.is_unsecured() {
        // Boxed: a plain connection does not pay for the size of this future.
        let begun = std::mem::take(&mut begun);
        let until = deadline.min(accepted + shard.config.tls.handshake_timeout);
        stream = Box::pin(secure(shard, (stream, begun), source, until)).await?;
    }
    if begun.is_empty() {
        begun = match preamble::read_some(&mut stream, deadline).await {
            Ok(begun) => begun,
            Err(error) => {
                end_early((shard, source), stream, error).await;
                return None;
            }
        };
    }
    let begun = Bytes::from(begun);
    let mut decided = None;
    let config = &shard.config;
    // Most connections are upgraded by their first bytes.
    if let Some((request, rest)) = read_head(&begun, guard_limits(config))
        && offers_websocket(request.headers())
    {
        let (source, decision) = decide((shard, records), &request, (source, purpose));
        match decision {
            Decision::Claimed(claim, announcement) => {
                let rest = rest.into();
                return Some((claim, stream, Received { announcement, rest }));
            }
            Decision::Answer(_) | Decision::Api => decided = Some((source, decision)),
        }
    }
    // Boxed: a silent connection does not pay for the size of this future.
    Box::pin(serve_requests(
        (shard, records),
        api,
        stream,
        (source, purpose),
        (begun, decided),
        progress,
    ))
    .await
}

fn guard_limits(config: &Config) -> GuardLimits {
    GuardLimits {
        head_bytes_max: config.http.max_head_size,
        headers_max: config.http.max_headers,
    }
}

/// Where a request comes from, and what happens to it.
fn decide(
    (shard, records): (&Rc<Shard>, &Records),
    request: &Request<()>,
    (source, purpose): (Source, Purpose),
) -> Decided {
    let server = &shard.config.server;
    // One that a PROXY header names is no proxy for that.
    let is_proxy = matches!(purpose, Purpose::ServeProxies(_)) && !source.is_forwarded;
    let source = client_of(server, (source, is_proxy), request.headers());
    let decision = match purpose {
        Purpose::Serve(role) | Purpose::ServeProxies(role) => {
            admit::decide((records.dialects(), role), shard, request, source)
        }
        Purpose::RedirectToHttps { port } => {
            let answer = redirect_to_https(request.headers(), request.uri(), port);
            Decision::Answer(Box::new(answer))
        }
    };
    if matches!(decision, Decision::Claimed(..))
        && !is_proxy
        && has_untrusted_forwarding(server, request.headers())
    {
        warn_of_proxy_once(source.address);
    }
    (source, decision)
}

/// Ends a connection that has not begun a request.
async fn end_early((shard, source): (&Shard, Source), stream: Stream, error: PreambleError) {
    let (why, status, text) = match error {
        PreambleError::Refused(error) => (Refused::Handshake, 400, error.to_string()),
        PreambleError::TimedOut => (Refused::Timeout, 408, NOT_IN_TIME.to_owned()),
        PreambleError::Closed => return,
    };
    refuse((shard, source), stream, why, status, &text, HEAD_LINGER).await;
}

/// Completes the TLS handshake of a connection, from which `begun` has been read; `None` if it has failed, and the
/// connection has ended.
async fn secure(
    shard: &Rc<Shard>,
    (stream, begun): (Stream, Vec<u8>),
    source: Source,
    deadline: Instant,
) -> Option<Stream> {
    let handshake = shard.begin_tls_handshake();
    let outcome = {
        let mut securing = pin!(stream.secure(begun));
        let securing = poll_fn(|cx| match securing.as_mut().poll(cx) {
            Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
            Poll::Pending => handshake.poll_evicted(cx).map(|()| None),
        });
        timeout_at(deadline.into(), securing).await
    };
    drop(handshake);
    let counters = &shard.counters;
    match outcome {
        Ok(Some(Ok((stream, kind)))) => {
            counters.tls_handshakes.add(1);
            counters
                .tls_resumptions
                .add(u64::from(kind == TlsHandshakeKind::Resumed));
            return Some(stream);
        }
        Ok(Some(Err((stream, error @ TlsHandshakeError::Plaintext)))) => {
            let text = error.to_string();
            refuse(
                (shard, source),
                stream,
                Refused::Plaintext,
                400,
                &text,
                HEAD_LINGER,
            )
            .await;
        }
        Ok(Some(Err((stream, error @ TlsHandshakeError::Failed(_))))) => {
            note_refused(shard, source, Refused::TlsHandshake, 0, &error.to_string());
            // The peer has been told why, where there is an alert for it.
            close(stream, b"", HEAD_LINGER).await;
        }
        Err(_) => note_refused(shard, source, Refused::Timeout, 0, NO_TLS_IN_TIME),
        Ok(None) => shard.log_refused(&early_refusal(source, Refused::Evicted, 0, "within TLS")),
        Ok(Some(Err((_, TlsHandshakeError::Gone)))) => {}
    }
    None
}

/// As [`serve`], for a peer that has sent `begun`. What its first request becomes may be `decided` already.
async fn serve_requests(
    (shard, records): (&Rc<Shard>, &Rc<Records>),
    api: Api,
    stream: Stream,
    (source, purpose): (Source, Purpose),
    (begun, decided): (Bytes, Option<Decided>),
    progress: &Rc<Progress>,
) -> Option<TakenSocket> {
    let config = shard.config.clone();
    let head_timeout = config.server.handshake_timeout;
    let limits = guard_limits(&config);
    let io = Guarded::new(stream, &begun, limits, progress.clone(), head_timeout);
    // The guard has what it needs of it: a head that crawls in is held once.
    drop(begun);
    let claimed: Rc<RefCell<Option<Announced>>> = Rc::default();
    let decided = Cell::new(decided);
    let service = service_fn(|request: Request<Incoming>| {
        let (shard, api, progress) = (shard.clone(), api.clone(), progress.clone());
        let records = records.clone();
        let claimed = claimed.clone();
        let request_timeout = shard.config.websocket.message_timeout;
        progress.deadline.set(Instant::now() + request_timeout);
        progress.busy.set(true);
        let decided = decided.take();
        let answering: RequestAnswer = Box::pin(async move {
            let (head, body) = request.into_parts();
            let head = Request::from_parts(head, ());
            let asks_for_upgrade = offers_websocket(head.headers());
            let (source, decision) =
                decided.unwrap_or_else(|| decide((&shard, &records), &head, (source, purpose)));
            let (mut answer, is_last) = match decision {
                Decision::Claimed(claim, announcement) => {
                    *claimed.borrow_mut() = Some((claim, announcement));
                    std::future::pending().await
                }
                Decision::Answer(answer) => {
                    shard.counters.answered(answer.status().as_u16());
                    (*answer, true)
                }
                Decision::Api => {
                    progress.answering.set(true);
                    let answer = api.answer(head.map(|()| body), source).await;
                    let answer = count_body(&shard, &progress, answer);
                    let status = answer.status().as_u16();
                    shard.counters.answered(status);
                    if asks_for_upgrade {
                        let why = "no WebSocket connections at this path";
                        note_refused(&shard, source, Refused::Request, status, why);
                    }
                    (answer, asks_for_upgrade)
                }
            };
            // After a refused upgrade a proxy may believe that the connection was upgraded and forward a client's
            // frames as requests (docs/hostile-inputs.md, H08). A body that is not read is not skipped for the request
            // after it.
            if is_last || progress.in_request.get() || shard.process.is_draining() {
                answer
                    .headers_mut()
                    .insert(CONNECTION, HeaderValue::from_static("close"));
            }
            let idle_timeout = shard.config.http.keep_alive_timeout;
            Ok(answer.map(|body| Watched::new(body, progress, request_timeout, idle_timeout)))
        });
        answering
    });
    let mut builder = http1::Builder::new();
    builder
        .header_read_timeout(None)
        .max_buf_size(config.http.max_head_size.max(8192))
        .max_headers(config.http.max_headers);
    let mut connection = builder.serve_connection(io, service);
    let mut armed = progress.deadline.get();
    let mut sleep = pin!(sleep_until(armed.into()));
    let timed_out = poll_fn(|cx| {
        loop {
            let polled = connection.poll_without_shutdown(cx);
            if claimed.borrow().is_some() || polled.is_ready() {
                return Poll::Ready(false);
            }
            if !progress.busy.get() && progress.withheld.replace(false) {
                continue;
            }
            if progress.last.replace(false) {
                Pin::new(&mut connection).graceful_shutdown();
            }
            let deadline = progress.deadline.get();
            if deadline != armed {
                armed = deadline;
                sleep.as_mut().reset(armed.into());
            }
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if progress.deadline.get() <= Instant::now() {
                return Poll::Ready(true);
            }
        }
    })
    .await;
    let parts = connection.into_parts();
    progress.answering.set(false);
    let (stream, rest) = parts.io.into_parts();
    let claim = claimed.borrow_mut().take();
    if let Some((claim, announcement)) = claim {
        let rest = [&parts.read_buf[..], &rest].concat();
        return Some((claim, stream, Received { announcement, rest }));
    }
    let linger = match progress.in_request.get() {
        true => BODY_LINGER,
        false => HEAD_LINGER,
    };
    if timed_out && progress.idle.get() {
        // A connection that was kept for another request, and had none.
        shard.counters.refused[Refused::Timeout.index()].add(1);
    } else if timed_out {
        refuse(
            (shard, source),
            stream,
            Refused::Timeout,
            408,
            NOT_IN_TIME,
            linger,
        )
        .await;
    } else if let Some(error) = progress.refused.get() {
        let why = match error {
            HeadError::Tls => {
                warn_of_tls_once(source.address);
                Refused::Tls
            }
            _ => Refused::Handshake,
        };
        refuse(
            (shard, source),
            stream,
            why,
            error.status(),
            &error.to_string(),
            linger,
        )
        .await;
    } else {
        close(stream, b"", linger).await;
    }
    None
}

/// Reserves the bytes of a response's body in `http.max_buffered_bytes` until it has been written. Returns a 503
/// instead if there is no room. Small bodies are not counted, so that health checks are always answered.
fn count_body(shard: &Shard, progress: &Progress, answer: Answer) -> Answer {
    let bytes = usize::try_from(answer.body().size_hint().lower()).unwrap_or(usize::MAX);
    if bytes <= UNCOUNTED_BYTES_MAX {
        return answer;
    }
    let mut held = shard.process.http_bodies.hold();
    if !held.set(bytes) {
        shard.counters.limited(Limited::HttpBufferedBytes);
        return too_many_buffered();
    }
    progress.answer.replace(Some(held));
    answer
}

/// The largest body that is not counted.
const UNCOUNTED_BYTES_MAX: usize = 16 * 1024;

/// Counts and logs a connection that is refused before it has a protocol.
fn note_refused(shard: &Shard, source: Source, cause: Refused, status: u16, detail: &str) {
    shard.note_refused(&early_refusal(source, cause, status, detail));
}

fn early_refusal(source: Source, cause: Refused, status: u16, detail: &str) -> RefusedRequest<'_> {
    RefusedRequest {
        source,
        endpoint: ("", ""),
        user: None,
        status,
        cause,
        detail,
    }
}

/// Why a connection of TLS ends.
const NO_TLS_IN_TIME: &str = "TLS handshake not completed in time";

/// The text of a 408.
const NOT_IN_TIME: &str = "Request not received in time";

/// Warns once per process that clients speak TLS: one misconfiguration affects all of them.
fn warn_of_tls_once(address: IpAddr) {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        tracing::warn!(
            %address,
            "a client speaks TLS to this port of plain HTTP, and is refused; said once, then only \
             counted: use http:// or ws://, or a proxy that ends TLS"
        );
    });
}

/// Warns once per process that a proxy's forwarding headers are not trusted.
fn warn_of_proxy_once(address: IpAddr) {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        tracing::warn!(
            %address,
            "clients come through a proxy that may not name them (X-Forwarded-For, Forwarded), so that all of \
             them share the limits of its address; said once: if it is yours, add it to server.forwarded_from"
        );
    });
}

/// Refuses a request that hyper was not given, and closes the connection.
async fn refuse(
    (shard, source): (&Shard, Source),
    stream: Stream,
    why: Refused,
    status: u16,
    text: &str,
    linger: Linger,
) {
    note_refused(shard, source, why, status, text);
    shard.counters.answered(status);
    close(stream, &refuse_raw(status, text, SystemTime::now()), linger).await;
}

/// Answers 503 to a client beyond the file limit, whatever it has sent, and closes its connection. One that would have
/// to complete a TLS handshake first is only closed. It uses the spare
/// file of the listener, which the next client beyond the limit needs.
pub async fn refuse_out_of_files(shard: &Shard, mut stream: Stream, address: IpAddr) {
    let why = "The gateway has as many files open as it may (LimitNOFILE=); try again later";
    let source = Source {
        address,
        is_forwarded: false,
    };
    note_refused(shard, source, Refused::Connections, 503, why);
    if stream.is_unsecured() {
        return;
    }
    shard.counters.answered(503);
    let mut headers = HeaderMap::new();
    headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    let answer = refuse_raw_with(503, why, SystemTime::now(), &headers);
    let deadline = Instant::now() + OUT_OF_FILES_TIME_MAX;
    // Closing a socket with unread input resets the connection, and the response may be lost.
    let _ = timeout_at(deadline.into(), async {
        discard(&mut stream).await?;
        stream.write_all(&answer).await?;
        stream.shutdown().await
    })
    .await;
}

/// How long refusing one client may delay the listener.
const OUT_OF_FILES_TIME_MAX: Duration = Duration::from_millis(10);

/// How much input is discarded after the last response. Closing a socket with unread input resets the connection, and
/// responses in flight may be lost.
#[derive(Clone, Copy)]
struct Linger {
    bytes: usize,
    time: Duration,
    silence: Duration,
}

/// For a peer between requests or in a request head.
const HEAD_LINGER: Linger = Linger {
    bytes: 256 * 1024,
    time: Duration::from_secs(1),
    silence: Duration::from_secs(1),
};

/// For a peer in the middle of a body: many clients read the response only after sending the whole body.
const BODY_LINGER: Linger = Linger {
    bytes: 64 * 1024 * 1024,
    time: Duration::from_secs(30),
    silence: Duration::from_secs(5),
};

/// Writes the last response, if any, shuts down our side and discards input until the peer closes or `linger` ends.
async fn close(mut stream: Stream, answer: &[u8], linger: Linger) {
    let deadline = Instant::now() + linger.time;
    let ending = async {
        stream.write_all(answer).await?;
        stream.shutdown().await
    };
    let ended = timeout_at(deadline.into(), ending).await;
    let mut left = linger.bytes;
    while matches!(ended, Ok(Ok(()))) && left > 0 {
        let until = deadline.min(Instant::now() + linger.silence);
        match timeout_at(until.into(), discard(&mut stream)).await {
            Ok(Ok(read @ 1..)) => left = left.saturating_sub(read),
            // EOF, an error, or silence.
            _ => return,
        }
    }
}

/// Discards input. Returns its length; 0 is EOF.
async fn discard(stream: &mut Stream) -> io::Result<usize> {
    poll_fn(|cx| {
        let mut bytes = [const { MaybeUninit::uninit() }; DISCARD_BYTES];
        let mut read = ReadBuf::uninit(&mut bytes);
        ready!(Pin::new(&mut *stream).poll_read(cx, &mut read))?;
        Poll::Ready(Ok(read.filled().len()))
    })
    .await
}

/// Bytes discarded per read.
const DISCARD_BYTES: usize = 16 * 1024;
