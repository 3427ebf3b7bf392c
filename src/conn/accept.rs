//! From an accepted socket to a claimed connection, or to the last answer.

use std::cell::RefCell;
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

use hyper::Response;
use hyper::body::{Body, Incoming};
use hyper::header::{CONNECTION, HeaderMap, HeaderValue, RETRY_AFTER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::time::{sleep_until, timeout_at};

use super::admit::{self, Decision};
use super::claim::Claimed;
use super::driver;
use super::guarded::{Guarded, Progress};
use super::preamble::{self, Preamble};
use super::record::Records;
use super::watched::Watched;
use crate::http::{
    Answer, AnswerBody, Api, GuardLimits, HeadError, client_of, names_client_in_vain, refuse_raw,
    refuse_raw_with, too_many_buffered,
};
use crate::metrics::{Limited, Refused};
use crate::net::Stream;
use crate::shard::Shard;
use crate::ws::handshake::offers_websocket;

/// A socket that becomes something else than HTTP, and what the peer sent behind its request.
type TakenSocket = (Claimed, Stream, Vec<u8>);

/// What becomes of one request.
type RequestAnswer =
    Pin<Box<dyn Future<Output = Result<Response<Watched<AnswerBody>>, Infallible>>>>;

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
    let taken = {
        let mut serving = pin!(serve((&shard, &records), api, stream, address, &progress));
        poll_fn(|cx| match serving.as_mut().poll(cx) {
            Poll::Ready(taken) => Poll::Ready(taken),
            // The oldest is not always idle: a stream of answers may last.
            Poll::Pending => match evicted.poll_raised(cx) {
                Poll::Ready(()) if !progress.answering.get() => Poll::Ready(None),
                _ => Poll::Pending,
            },
        })
        .await
    };
    shard.end_handshake();
    match taken {
        Some((Claimed::WebSocket(claim), stream, rest)) => {
            driver::start(&shard, records, *claim, stream, rest);
        }
        Some((Claimed::Stream(claim), stream, rest)) => {
            super::stream::start(&shard, records, *claim, stream, &rest);
        }
        Some((Claimed::Answer(_), ..)) | None => {}
    }
}

/// Answers requests; `None` when everything has been said.
async fn serve(
    (shard, records): (&Rc<Shard>, &Rc<Records>),
    api: Api,
    mut stream: Stream,
    address: IpAddr,
    progress: &Rc<Progress>,
) -> Option<TakenSocket> {
    let deadline = progress.deadline.get();
    let reading = preamble::read(&shard.config.server, &mut stream, address, deadline).await;
    let (address, begun) = match reading {
        Preamble::Read(address, begun) => (address, begun),
        Preamble::Refused(error) => {
            refuse(
                shard,
                stream,
                Refused::Handshake,
                400,
                &error.to_string(),
                HEAD_LINGER,
            )
            .await;
            return None;
        }
        Preamble::TimedOut => {
            refuse(
                shard,
                stream,
                Refused::Timeout,
                408,
                NOT_IN_TIME,
                HEAD_LINGER,
            )
            .await;
            return None;
        }
        Preamble::Over => return None,
    };
    // Its size is for those who speak.
    Box::pin(serve_requests(
        (shard, records),
        api,
        stream,
        address,
        begun,
        progress,
    ))
    .await
}

/// As [`serve`], of a peer that has begun to speak.
async fn serve_requests(
    (shard, records): (&Rc<Shard>, &Rc<Records>),
    api: Api,
    stream: Stream,
    address: IpAddr,
    begun: Vec<u8>,
    progress: &Rc<Progress>,
) -> Option<TakenSocket> {
    let config = shard.config.clone();
    let head_timeout = config.server.handshake_timeout;
    let limits = GuardLimits {
        head_bytes_max: config.http.max_head_size,
        headers_max: config.http.max_headers,
    };
    let io = Guarded::new(stream, &begun, limits, progress.clone(), head_timeout);
    let claimed: Rc<RefCell<Option<Claimed>>> = Rc::default();
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let (shard, api, progress) = (shard.clone(), api.clone(), progress.clone());
        let records = records.clone();
        let claimed = claimed.clone();
        let request_timeout = shard.config.websocket.message_timeout;
        progress.deadline.set(Instant::now() + request_timeout);
        progress.busy.set(true);
        let answering: RequestAnswer = Box::pin(async move {
            let asks_for_upgrade = offers_websocket(request.headers());
            let server = &shard.config.server;
            let address = client_of(server, address, request.headers());
            let (mut answer, is_last) =
                match admit::decide(records.dialects(), &shard, &request, address) {
                    Decision::Claim(claim) => {
                        if names_client_in_vain(server, request.headers()) {
                            note_proxy(address);
                        }
                        *claimed.borrow_mut() = Some(claim);
                        std::future::pending().await
                    }
                    Decision::Answer(answer) => (*answer, true),
                    Decision::Api => {
                        shard.counters.http_requests.add(1);
                        progress.answering.set(true);
                        let answer = api.answer(request, address).await;
                        (hold(&shard, &progress, answer), asks_for_upgrade)
                    }
                };
            // What follows a refused upgrade may be meant for a connection that somebody in
            // front of us believes to be one (hostile-inputs.md H08). What still comes of a body that
            // nobody wants is not looked for a request behind it.
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
    if let Some(claim) = claim {
        return Some((claim, stream, [&parts.read_buf[..], &rest].concat()));
    }
    let linger = match progress.in_request.get() {
        true => BODY_LINGER,
        false => HEAD_LINGER,
    };
    if timed_out && progress.idle.get() {
        shard.counters.refused[Refused::Timeout as usize].add(1);
    } else if timed_out {
        refuse(shard, stream, Refused::Timeout, 408, NOT_IN_TIME, linger).await;
    } else if let Some(error) = progress.refused.get() {
        let why = match error {
            HeadError::Tls => {
                note_tls(address);
                Refused::Tls
            }
            _ => Refused::Handshake,
        };
        refuse(
            shard,
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

/// Counts the body of an answer until it has been written; a refusal instead of one that there is no
/// memory for. Small ones do not count: whatever others hold, health can be asked for.
fn hold(shard: &Shard, progress: &Progress, answer: Answer) -> Answer {
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

/// Bytes of an answer that does not count.
const UNCOUNTED_BYTES_MAX: usize = 16 * 1024;

/// What is said to a peer in the middle of a request.
const NOT_IN_TIME: &str = "Request not received in time";

/// Says once that clients speak TLS, which is somebody's mistake and not each client's.
fn note_tls(address: IpAddr) {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        tracing::warn!(
            %address,
            "a client speaks TLS to this port of plain HTTP, and is refused; said once, then only \
             counted: use http:// or ws://, or a proxy that ends TLS"
        );
    });
}

/// Says once that a proxy is not believed, which is the operator's mistake if it is theirs.
fn note_proxy(address: IpAddr) {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        tracing::warn!(
            %address,
            "clients come through a proxy that may not name them (X-Forwarded-For, Forwarded), so that all of \
             them share the limits of its address; said once: if it is yours, add it to server.forwarded_from"
        );
    });
}

/// The last words to a peer whose request did not reach the parser.
async fn refuse(
    shard: &Shard,
    stream: Stream,
    why: Refused,
    status: u16,
    text: &str,
    linger: Linger,
) {
    shard.counters.refused[why as usize].add(1);
    close(stream, &refuse_raw(status, text, SystemTime::now()), linger).await;
}

/// Answers a client that there is no file for, with one that is needed for the next: whatever it has sent.
pub async fn turn_away(shard: &Shard, mut stream: Stream) {
    shard.counters.refused[Refused::Connections as usize].add(1);
    let why = "The gateway has as many files open as it may (LimitNOFILE=); try again later";
    let mut headers = HeaderMap::new();
    headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    let answer = refuse_raw_with(503, why, SystemTime::now(), &headers);
    let deadline = Instant::now() + TURN_AWAY_MAX;
    // Closing on bytes that were not read would reset the connection, and the answer with it.
    let _ = timeout_at(deadline.into(), async {
        discard(&mut stream).await?;
        stream.write_all(&answer).await?;
        stream.shutdown().await
    })
    .await;
}

/// How long one client that is turned away keeps the others waiting, at most.
const TURN_AWAY_MAX: Duration = Duration::from_millis(10);

/// How much more is read, and thrown away, from a peer that has been told everything. Closing on bytes
/// that were not read would reset the connection, and with it answers that are still on their way.
#[derive(Clone, Copy)]
struct Linger {
    bytes: usize,
    time: Duration,
    silence: Duration,
}

/// Of a peer that has no more to say: a moment.
const HEAD_LINGER: Linger = Linger {
    bytes: 256 * 1024,
    time: Duration::from_secs(1),
    silence: Duration::from_secs(1),
};

/// Of a peer in the middle of a body: many clients look for the answer only behind it.
const BODY_LINGER: Linger = Linger {
    bytes: 64 * 1024 * 1024,
    time: Duration::from_secs(30),
    silence: Duration::from_secs(5),
};

/// Writes the last words, if there are any, and waits for the peer to take what it was sent.
async fn close(mut stream: Stream, last_words: &[u8], linger: Linger) {
    let deadline = Instant::now() + linger.time;
    let ending = async {
        stream.write_all(last_words).await?;
        stream.shutdown().await
    };
    let ended = timeout_at(deadline.into(), ending).await;
    let mut left = linger.bytes;
    while matches!(ended, Ok(Ok(()))) && left > 0 {
        let until = deadline.min(Instant::now() + linger.silence);
        match timeout_at(until.into(), discard(&mut stream)).await {
            Ok(Ok(read @ 1..)) => left = left.saturating_sub(read),
            // It has gone away, or takes its time.
            _ => return,
        }
    }
}

/// Reads some bytes to no purpose; 0 at the end.
async fn discard(stream: &mut Stream) -> io::Result<usize> {
    poll_fn(|cx| {
        let mut bytes = [const { MaybeUninit::uninit() }; DISCARD_BYTES];
        let mut read = ReadBuf::uninit(&mut bytes);
        ready!(Pin::new(&mut *stream).poll_read(cx, &mut read))?;
        Poll::Ready(Ok(read.filled().len()))
    })
    .await
}

/// Bytes thrown away at once.
const DISCARD_BYTES: usize = 16 * 1024;
