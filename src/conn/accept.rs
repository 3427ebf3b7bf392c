//! From an accepted socket to a claimed connection, or to the last answer.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use hyper::Response;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue, UPGRADE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep_until, timeout};

use super::claim::{self, Claimed, Decision};
use super::guarded::{Guarded, Progress};
use super::preamble::{self, Preamble};
use super::record::Records;
use super::watched::Watched;
use super::{driver, sse};
use crate::http::{AnswerBody, Api, GuardLimits, client_of, refuse_raw};
use crate::metrics::Refused;
use crate::net::Stream;
use crate::shard::Shard;

/// How a connection's HTTP part ended.
enum End {
    /// It becomes something else.
    Claimed(Claimed, Stream, Vec<u8>),
    /// What came is refused, with this status and text; the peer has not been told.
    Refused(u16, String, Stream),
    /// It did not get on in time; `true` if it was in the middle of something.
    TimedOut(Stream, bool),
    /// Everything has been said.
    Over,
}

/// What becomes of one request.
type Answering = Pin<Box<dyn Future<Output = Result<Response<Watched<AnswerBody>>, Infallible>>>>;

/// Bytes of a refused request that are read and thrown away, so that the
/// refusal is not lost to a reset.
const LINGER_BYTES_MAX: u64 = 256 * 1024;

/// Serves one accepted connection: answers its requests until one claims the
/// socket, which then lives on in a task of its own.
pub async fn accept(
    shard: Rc<Shard>,
    records: Rc<Records>,
    api: Api,
    stream: Stream,
    address: IpAddr,
) {
    let evicted = shard.begin_handshake();
    let head_timeout = shard.config.server.handshake_timeout;
    let progress = Rc::new(Progress::until(Instant::now() + head_timeout));
    let end = {
        let mut serving = pin!(serve(&shard, api, stream, address, &progress));
        poll_fn(|cx| match serving.as_mut().poll(cx) {
            Poll::Ready(end) => Poll::Ready(end),
            // The oldest is not always idle: a stream of answers may last.
            Poll::Pending => match evicted.poll_raised(cx) {
                Poll::Ready(()) if !progress.answering.get() => Poll::Ready(End::Over),
                _ => Poll::Pending,
            },
        })
        .await
    };
    shard.end_handshake();
    match end {
        End::Claimed(Claimed::WebSocket(claim), stream, rest) => {
            driver::start(&shard, records, *claim, stream, rest);
        }
        End::Claimed(Claimed::Sse(claim), stream, rest) => {
            sse::start(&shard, records, *claim, stream, &rest);
        }
        End::Refused(status, why, stream) => {
            shard.counters.refused[Refused::Handshake as usize].add(1);
            close(stream, &refuse_raw(status, &why)).await;
        }
        End::TimedOut(stream, in_request) => {
            shard.counters.refused[Refused::Timeout as usize].add(1);
            if in_request {
                close(stream, &refuse_raw(408, "Request not received in time")).await;
            }
        }
        End::Over => {}
    }
}

async fn serve(
    shard: &Rc<Shard>,
    api: Api,
    mut stream: Stream,
    address: IpAddr,
    progress: &Rc<Progress>,
) -> End {
    let config = shard.config.clone();
    let head_timeout = config.server.handshake_timeout;
    let deadline = progress.deadline.get();
    let reading = preamble::read(&config.server, &mut stream, address, deadline).await;
    let (address, begun) = match reading {
        Preamble::Read(address, begun) => (address, begun),
        Preamble::Refused(error) => return End::Refused(400, error.to_string(), stream),
        Preamble::TimedOut => return End::TimedOut(stream, true),
        Preamble::Over => return End::Over,
    };
    let limits = GuardLimits {
        head_bytes_max: config.http.max_head_size,
        headers_max: config.http.max_headers,
    };
    let io = Guarded::new(stream, &begun, limits, progress.clone(), head_timeout);
    let claimed: Rc<RefCell<Option<Claimed>>> = Rc::default();
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let (shard, api, progress) = (shard.clone(), api.clone(), progress.clone());
        let claimed = claimed.clone();
        let request_timeout = shard.config.websocket.message_timeout;
        progress.deadline.set(Instant::now() + request_timeout);
        let answering: Answering = Box::pin(async move {
            let asks_for_upgrade = request.headers().contains_key(UPGRADE);
            let server = &shard.config.server;
            let address = client_of(server, address, request.headers());
            let (mut answer, is_last) = match claim::decide(&shard, &request, address) {
                Decision::Claim(claim) => {
                    *claimed.borrow_mut() = Some(claim);
                    std::future::pending().await
                }
                Decision::Answer(answer) => (*answer, true),
                Decision::Api => {
                    shard.counters.http_requests.add(1);
                    progress.answering.set(true);
                    (api.answer(request, address).await, asks_for_upgrade)
                }
            };
            if is_last {
                // What follows a refused upgrade may be meant for a connection that
                // somebody in front of us believes to be one (HOSTILE H08).
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
    let (stream, rest) = parts.io.into_parts();
    let claim = claimed.borrow_mut().take();
    if let Some(claim) = claim {
        return End::Claimed(claim, stream, [&parts.read_buf[..], &rest].concat());
    }
    if timed_out {
        return End::TimedOut(stream, !progress.idle.get());
    }
    match progress.refused.get() {
        Some(error) => End::Refused(error.status(), error.to_string(), stream),
        None => {
            close(stream, b"").await;
            End::Over
        }
    }
}

/// Writes the last words, if there are any, and waits a moment for the peer to
/// take what it was sent: closing on bytes that were not read would reset the
/// connection, and with it answers that are still on their way.
async fn close(mut stream: Stream, last_words: &[u8]) {
    let ending = async {
        stream.write_all(last_words).await?;
        stream.shutdown().await?;
        let mut rest = stream.take(LINGER_BYTES_MAX);
        let mut bytes = [0; 4096];
        while rest.read(&mut bytes).await? > 0 {}
        io::Result::Ok(())
    };
    // A peer that has gone away or takes its time is not waited for.
    let _ = timeout(LINGER_MAX, ending).await;
}

/// How long a refused peer is given to read why.
const LINGER_MAX: Duration = Duration::from_secs(1);
