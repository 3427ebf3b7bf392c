//! The reference client: tokio-tungstenite, every message parsed whole.
//!
//! Slow and plain on purpose. When it and the fast client disagree about a
//! server, one of them is wrong. When they agree on a fault, the frame code and the
//! shortcuts of the fast client are not its cause.

pub(crate) mod echo;
pub(crate) mod fanout;

use std::future::Future;
use std::time::Instant;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::events::ServerFrame;
use crate::net::{Stream, Target};
use crate::scenario;

type WsSender = SplitSink<WebSocketStream<Stream>, Message>;
type WsReceiver = SplitStream<WebSocketStream<Stream>>;

/// Runs `work` with everything it spawns on this thread.
fn block_on<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("tokio: {error}"))?;
    tokio::task::LocalSet::new().block_on(&runtime, work)
}

/// The clock of a run.
#[derive(Debug, Clone, Copy)]
struct Clock(Instant);

impl Clock {
    fn now_ns(self) -> u64 {
        self.0.elapsed().as_nanos() as u64
    }
}

async fn connect(target: &Target) -> Result<(WsSender, WsReceiver), String> {
    let url = &target.url;
    let stream = Stream::connect(target)
        .await
        .map_err(|end| scenario::failure(target, "connection", &end))?;
    let mut request = url
        .into_client_request()
        .map_err(|error| format!("{url}: {error}"))?;
    for header in target.headers() {
        let (name, value) = header.split_once(':').expect("checked on the command line");
        let name: HeaderName = name
            .parse()
            .map_err(|error| format!("--header {header}: {error}"))?;
        let value: HeaderValue = value
            .trim()
            .parse()
            .map_err(|error| format!("--header {header}: {error}"))?;
        request.headers_mut().insert(name, value);
    }
    match client_async(request, stream).await {
        Ok((socket, _)) => Ok(socket.split()),
        Err(Error::Http(response)) => Err(format!(
            "{url}: upgrade refused with status {}: {}",
            response.status(),
            String::from_utf8_lossy(response.body().as_deref().unwrap_or_default())
        )),
        Err(error) => Err(format!("{url}: {error}")),
    }
}

/// The next data message.
async fn next(receiver: &mut WsReceiver) -> Result<Message, String> {
    loop {
        match receiver.next().await {
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Close(Some(close)))) => {
                let (code, reason) = (close.code, close.reason);
                return Err(format!("closed by the server with code {code} ({reason})"));
            }
            Some(Ok(Message::Close(None))) => return Err("closed by the server".into()),
            Some(Ok(message)) => return Ok(message),
            Some(Err(error)) => return Err(error.to_string()),
            None => return Err("end of stream".into()),
        }
    }
}

/// Waits for a frame of the events protocol of this type.
async fn expect(receiver: &mut WsReceiver, kind: &str) -> Result<ServerFrame, String> {
    let message = next(receiver).await?;
    let frame = ServerFrame::parse(&message.into_data())?;
    if frame.kind == kind {
        Ok(frame)
    } else {
        Err(format!("expected {kind}, got {}", frame.kind))
    }
}

async fn send_text(sender: &mut WsSender, text: Vec<u8>) -> Result<(), String> {
    let text = String::from_utf8(text).expect("it was written as JSON");
    sender
        .feed(Message::text(text))
        .await
        .map_err(|error| error.to_string())
}

async fn flush(sender: &mut WsSender) -> Result<(), String> {
    sender.flush().await.map_err(|error| error.to_string())
}
