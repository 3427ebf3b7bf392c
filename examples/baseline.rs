//! The line that every benchmark of the gateway must beat: echo and fan-out on
//! plain tokio-tungstenite, as one would write it in an afternoon.
//!
//! ```text
//! cargo run --release --example baseline -- --listen 127.0.0.1:9001
//! ```
//!
//! It speaks the subset of the events protocol that `loadgen` uses:
//! `/debug/echo` echoes every message, `/api/v1/ws/demo` greets and understands
//! `subscribe`, `publish` and `ping`. It is meant to be a fair opponent: a
//! message is encoded once, payloads pass through unparsed, and a writer puts
//! everything that is queued into one flush. It is bounded: a connection's queue
//! holds [`QUEUE_MESSAGES_MAX`] messages, a full one holds its publisher back,
//! and a subscriber that stays full for [`SLOW_CONSUMER_PATIENCE`] is dropped.
#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::result_large_err,
    reason = "ordinary multi-threaded tokio on purpose; the large error is tungstenite's"
)]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Parser;
use futures_util::stream::SplitSink;
use futures_util::{SinkExt, StreamExt, TryStreamExt, future};
use serde::Deserialize;
use serde_json::{json, value::RawValue};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::StatusCode;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

/// Messages a connection's queue holds before its publishers wait.
const QUEUE_MESSAGES_MAX: usize = 1024;

/// How long a full subscriber may hold a publisher back before it is dropped.
const SLOW_CONSUMER_PATIENCE: Duration = Duration::from_secs(5);

type Socket = WebSocketStream<TcpStream>;

/// Echo and fan-out on plain tokio-tungstenite.
#[derive(Debug, Parser)]
struct Options {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1:9001")]
    listen: SocketAddr,

    /// Worker threads. 1 is tokio's current-thread runtime, more its multi-thread one.
    #[arg(long, default_value_t = 1)]
    threads: usize,
}

fn main() -> std::io::Result<()> {
    let options = Options::parse();
    let runtime = if options.threads <= 1 {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?
    } else {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(options.threads)
            .enable_all()
            .build()?
    };
    runtime.block_on(async {
        let listener = TcpListener::bind(options.listen).await?;
        println!("baseline listens on {}", listener.local_addr()?);
        serve(listener).await
    })
}

/// Accepts connections until accepting fails.
pub(crate) async fn serve(listener: TcpListener) -> std::io::Result<()> {
    let topics = Arc::new(Topics::default());
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(connection(stream, Arc::clone(&topics)));
            }
            Err(error) => {
                // Most likely out of file descriptors: those in use come back.
                eprintln!("accept: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, topics: Arc<Topics>) {
    // Without it, small frames wait for acknowledgements of earlier ones.
    let _ = stream.set_nodelay(true);
    let mut path = String::new();
    let route = |request: &Request, response: Response| {
        path = request.uri().path().to_owned();
        if matches!(path.as_str(), "/debug/echo" | "/api/v1/ws/demo") {
            return Ok(response);
        }
        let mut refusal = ErrorResponse::new(Some("no such endpoint\n".to_owned()));
        *refusal.status_mut() = StatusCode::NOT_FOUND;
        Err(refusal)
    };
    let Ok(socket) = tokio_tungstenite::accept_hdr_async(stream, route).await else {
        return;
    };
    if path == "/debug/echo" {
        echo(socket).await;
    } else {
        demo(socket, &topics).await;
    }
}

async fn echo(socket: Socket) {
    let (sink, stream) = socket.split();
    // `forward` flushes when the socket has nothing more to read.
    let _ = stream
        .try_filter(|message| future::ready(message.is_text() || message.is_binary()))
        .forward(sink)
        .await;
}

/// Every topic with at least one past or present user.
#[derive(Debug, Default)]
struct Topics {
    by_name: Mutex<HashMap<String, Arc<Mutex<Topic>>>>,
    clients: AtomicU64,
    events: AtomicU64,
}

/// Locked while a message is handed to all queues, which gives every subscriber
/// of the topic the same order.
#[derive(Debug, Default)]
struct Topic {
    next_offset: u64,
    queues: HashMap<u64, mpsc::Sender<Utf8Bytes>>,
}

impl Topics {
    async fn topic(&self, name: &str) -> Arc<Mutex<Topic>> {
        let mut by_name = self.by_name.lock().await;
        if let Some(topic) = by_name.get(name) {
            return Arc::clone(topic);
        }
        Arc::clone(by_name.entry(name.to_owned()).or_default())
    }

    /// Queues one event for every subscriber and returns its offset in the topic.
    async fn publish(&self, name: &str, data: &RawValue) -> u64 {
        let topic = self.topic(name).await;
        let mut topic = topic.lock().await;
        let offset = topic.next_offset;
        topic.next_offset += 1;
        if topic.queues.is_empty() {
            return offset;
        }
        let event_id = self.events.fetch_add(1, Ordering::Relaxed);
        let name = json!(name);
        let timestamp = timestamp();
        let frame = Utf8Bytes::from(format!(
            r#"{{"type":"event","event":{name},"event_type":{name},"data":{data},"event_id":"{event_id:016x}","timestamp":"{timestamp}"}}"#
        ));
        let mut gone = Vec::new();
        for (&client, queue) in &topic.queues {
            let queued = match queue.try_send(frame.clone()) {
                Ok(()) => true,
                Err(mpsc::error::TrySendError::Closed(_)) => false,
                Err(mpsc::error::TrySendError::Full(frame)) => queue
                    .send_timeout(frame, SLOW_CONSUMER_PATIENCE)
                    .await
                    .is_ok(),
            };
            if !queued {
                gone.push(client);
            }
        }
        for client in gone {
            topic.queues.remove(&client);
        }
        offset
    }
}

/// What a client may say. Unknown fields are ignored.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Command {
    Ping {
        timestamp: Option<serde_json::Value>,
    },
    Subscribe {
        events: Vec<String>,
    },
}

/// Kept apart from [`Command`] because a tagged enum cannot hold raw JSON.
#[derive(Debug, Deserialize)]
struct Publish<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    event: String,
    #[serde(borrow)]
    data: &'a RawValue,
    id: Option<serde_json::Value>,
}

async fn demo(socket: Socket, topics: &Topics) {
    let client = topics.clients.fetch_add(1, Ordering::Relaxed);
    let (sink, mut stream) = socket.split();
    let (queue, queued) = mpsc::channel(QUEUE_MESSAGES_MAX);
    let mut writer = tokio::spawn(write_queued(sink, queued));
    let mut subscribed: Vec<String> = Vec::new();
    reply(
        &queue,
        json!({"type": "connection_established", "client_id": client.to_string()}),
    )
    .await;
    loop {
        // A writer that ended (its peer is gone) ends the connection too.
        let message = tokio::select! {
            message = stream.next() => message,
            _ = &mut writer => break,
        };
        let text = match message {
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
            _ => break,
        };
        if let Ok(publish) = serde_json::from_str::<Publish<'_>>(&text)
            && publish.kind == "publish"
        {
            let offset = topics.publish(&publish.event, publish.data).await;
            if let Some(id) = publish.id {
                let response = json!({"type": "response", "id": id, "result": {"offset": offset}});
                reply(&queue, response).await;
            }
            continue;
        }
        match serde_json::from_str(&text) {
            Ok(Command::Ping { timestamp }) => {
                let pong = json!({"type": "pong", "client_timestamp": timestamp});
                reply(&queue, pong).await;
            }
            Ok(Command::Subscribe { events }) => {
                for event in &events {
                    let topic = topics.topic(event).await;
                    topic.lock().await.queues.insert(client, queue.clone());
                }
                reply(
                    &queue,
                    json!({"type": "subscription_confirmed", "events": events}),
                )
                .await;
                subscribed.extend(events);
            }
            Err(error) => {
                let problem = json!({"type": "error", "code": "INVALID_MESSAGE", "message": error.to_string()});
                reply(&queue, problem).await;
            }
        }
    }
    for event in subscribed {
        let topic = topics.topic(&event).await;
        topic.lock().await.queues.remove(&client);
    }
}

async fn reply(queue: &mpsc::Sender<Utf8Bytes>, mut value: serde_json::Value) {
    value["timestamp"] = json!(timestamp());
    // An error means that the writer ended; the reader sees that by itself.
    let _ = queue.send(Utf8Bytes::from(value.to_string())).await;
}

/// Writes what is queued, and flushes when the queue is empty.
async fn write_queued(mut sink: SplitSink<Socket, Message>, mut queued: mpsc::Receiver<Utf8Bytes>) {
    while let Some(frame) = queued.recv().await {
        if sink.feed(Message::Text(frame)).await.is_err() {
            return;
        }
        while let Ok(frame) = queued.try_recv() {
            if sink.feed(Message::Text(frame)).await.is_err() {
                return;
            }
        }
        if sink.flush().await.is_err() {
            return;
        }
    }
    let _ = sink.close().await;
}

/// Now, as RFC 3339 in UTC with milliseconds.
fn timestamp() -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let (seconds, millis) = (now.as_secs(), now.subsec_millis());
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    // Howard Hinnant's days-to-civil, for days after 1970.
    let shifted = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_shifted + 2) / 5 + 1;
    let month = if month_shifted < 10 {
        month_shifted + 3
    } else {
        month_shifted - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}
