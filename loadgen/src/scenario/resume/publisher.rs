//! The one publisher: numbered messages on a schedule, to each topic in turn, over WebSocket.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use super::shared::ResumeShared;
use super::topic_verifier::source_of;
use crate::events::ServerFrame;
use crate::frame::{self, FIN, FrameSplit, opcode};
use crate::net::{End, Stream, handshake};
use crate::payload::Random;
use crate::schedule::Schedule;

/// Between two checks of the schedule.
const TICK: Duration = Duration::from_millis(1);

/// Messages of one write at most, to catch up after a pause.
const BURST_MAX: u32 = 1000;

/// Publishes until `stop_publishing`; returns how many messages the server has accepted.
pub(super) async fn publish(shared: &ResumeShared, rate: f64) -> Result<u32, String> {
    let mut connection = PublisherConnection::connect(shared).await?;
    let mut schedule = Schedule::new(shared.now_ns(), rate, 1);
    let mut out = Vec::new();
    while !shared.stop_publishing.get() {
        for _ in 0..BURST_MAX {
            let Some(due_ns) = schedule.take(shared.now_ns()) else {
                break;
            };
            let (topic, sequence) = shared.topics.topic_and_sequence(shared.published.get());
            shared.published.set(shared.published.get() + 1);
            frame::encode(&mut out, opcode::TEXT, connection.random.mask(), |out| {
                out.extend_from_slice(br#"{"type":"publish","event":""#);
                out.extend_from_slice(shared.topics.names()[topic].as_bytes());
                out.extend_from_slice(br#"","data":"#);
                shared.layout.write(out, source_of(topic), sequence, due_ns);
                out.push(b'}');
            });
        }
        connection.send(&out).await?;
        out.clear();
        tokio::select! {
            () = sleep(TICK) => {}
            kind = connection.next() => { kind?; }
        }
    }
    // The pong comes after the server has handled every publish.
    let ping = br#"{"type":"ping"}"#;
    frame::encode(&mut out, opcode::TEXT, connection.random.mask(), |out| {
        out.extend_from_slice(ping);
    });
    connection.send(&out).await?;
    let answered = async {
        while connection.next().await? != "pong" {}
        Ok::<_, String>(())
    };
    let patience = shared.patience;
    timeout(patience, answered)
        .await
        .map_err(|_| format!("publisher: no answer for {patience:?}"))??;
    Ok(shared.published.get())
}

/// The publisher's upgraded connection.
struct PublisherConnection {
    stream: Stream,
    /// Bytes read and not consumed yet.
    kept: Vec<u8>,
    random: Random,
}

impl PublisherConnection {
    async fn connect(shared: &ResumeShared) -> Result<Self, String> {
        let target = &shared.target;
        let stream = Stream::connect(target).await;
        let stream = stream.map_err(|end| publisher_error(&end))?;
        let mut connection = Self {
            stream,
            kept: Vec::new(),
            random: Random::new(shared.seed),
        };
        let key = handshake::key();
        connection.send(&target.request(&key)).await?;
        let head_bytes = loop {
            match handshake::response(&connection.kept, &key)
                .map_err(|end| publisher_error(&end))?
            {
                Some(head_bytes) => break head_bytes,
                None => connection.read().await?,
            }
        };
        connection.kept.drain(..head_bytes);
        Ok(connection)
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        let lost = |error: std::io::Error| format!("publisher: {error}");
        self.stream.write_all(bytes).await.map_err(lost)?;
        self.stream.flush().await.map_err(lost)
    }

    async fn read(&mut self) -> Result<(), String> {
        match self.stream.read_buf(&mut self.kept).await {
            Ok(0) => Err(publisher_error(&End::Lost("end of stream".into()))),
            Ok(_) => Ok(()),
            Err(error) => Err(publisher_error(&End::Lost(error.to_string()))),
        }
    }

    /// The type of the next message; an `error` fails the run. Cancel safe.
    async fn next(&mut self) -> Result<String, String> {
        loop {
            match frame::split(&self.kept) {
                FrameSplit::Partial { .. } => self.read().await?,
                FrameSplit::Invalid(problem) => {
                    return Err(publisher_error(&End::Protocol(problem)));
                }
                FrameSplit::Frame {
                    first,
                    head,
                    payload,
                } => {
                    let content: Vec<u8> = self.kept.drain(..head + payload).skip(head).collect();
                    match first & !FIN {
                        opcode::TEXT => {
                            let kind = ServerFrame::parse(&content)?.kind;
                            if kind == "error" {
                                let text = String::from_utf8_lossy(&content);
                                return Err(format!("publisher: {text}"));
                            }
                            return Ok(kind);
                        }
                        opcode::PING => {
                            let mut pong = Vec::new();
                            let mask = self.random.mask();
                            frame::encode(&mut pong, opcode::PONG, mask, |out| {
                                out.extend_from_slice(&content);
                            });
                            self.send(&pong).await?;
                        }
                        opcode::CLOSE => return Err(publisher_error(&End::closed(&content))),
                        _ => {}
                    }
                }
            }
        }
    }
}

fn publisher_error(end: &End) -> String {
    format!("publisher: {end}")
}
