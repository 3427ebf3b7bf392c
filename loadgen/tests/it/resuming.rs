//! A server of one topic with a history, over WebSocket and SSE, that resumes subscribers, with at
//! most one planted fault.

use std::cell::RefCell;
use std::io::Result;
use std::rc::Rc;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::spawn_local;
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::Message;

/// The planted fault, when a subscriber resumes and has missed messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ResumeFault {
    /// Nothing.
    None,
    /// The first message that was missed is left out.
    Hole,
    /// The last message that the subscriber had is sent again.
    Repeat,
    /// It continues at the head and announces a gap.
    Gap,
}

struct Topic {
    /// The data of all messages, the first at offset 1.
    log: RefCell<Vec<String>>,
    head: watch::Sender<u64>,
    fault: ResumeFault,
}

pub(crate) async fn serve(listener: TcpListener, fault: ResumeFault) -> Result<()> {
    let topic = Rc::new(Topic {
        log: RefCell::default(),
        head: watch::Sender::new(0),
        fault,
    });
    loop {
        let (stream, _) = listener.accept().await?;
        let topic = Rc::clone(&topic);
        spawn_local(async move {
            let mut start = [0; 15];
            while stream.peek(&mut start).await? < start.len() {}
            // The test ends connections on purpose.
            if start.starts_with(b"GET /api/v1/sse") {
                event_stream(stream, &topic).await
            } else {
                web_socket(stream, &topic)
                    .await
                    .ok_or_else(|| std::io::Error::other("gone"))
            }
        });
    }
}

/// Where a resumed subscriber continues.
enum ResumeStart {
    /// After this offset.
    After(u64),
    /// After the first offset, with a gap of this many messages.
    Missing(u64, u64),
}

impl Topic {
    fn head(&self) -> u64 {
        *self.head.borrow()
    }

    fn resume(&self, had: u64) -> ResumeStart {
        let missed = self.head() - had;
        let is_due = missed > 0 && had > 0;
        match self.fault {
            ResumeFault::Hole if is_due => ResumeStart::After(had + 1),
            ResumeFault::Repeat if is_due => ResumeStart::After(had - 1),
            ResumeFault::Gap if is_due => ResumeStart::Missing(self.head(), missed),
            _ => ResumeStart::After(had),
        }
    }
}

async fn web_socket(stream: TcpStream, topic: &Topic) -> Option<()> {
    let (mut sink, mut stream) = accept_async(stream).await.ok()?.split();
    let say = |value: Value| Message::text(value.to_string());
    sink.send(say(json!({ "type": "connection_established" })))
        .await
        .ok()?;
    let mut head = topic.head.subscribe();
    let mut at = None;
    loop {
        tokio::select! {
            message = stream.next() => {
                let Message::Text(text) = message?.ok()? else {
                    return None;
                };
                let request: Value = serde_json::from_str(&text).ok()?;
                match request["type"].as_str()? {
                    "subscribe" => {
                        let mut begun = json!({ "epoch": 5, "offset": topic.head() });
                        let mut gap = None;
                        if let Some(had) = request["recover"]["resume"]["offset"].as_u64() {
                            let (start, missing) = match topic.resume(had) {
                                ResumeStart::After(start) => (start, None),
                                ResumeStart::Missing(start, lost) => (start, Some(lost)),
                            };
                            at = Some(start);
                            begun["recovered"] = missing.is_none().into();
                            begun["count"] = (topic.head() - start).into();
                            gap = missing;
                        } else {
                            at = Some(topic.head());
                        }
                        let confirmed = json!({
                            "type": "subscription_confirmed", "events": ["resume"],
                            "topics": { "resume": begun },
                        });
                        sink.send(say(confirmed)).await.ok()?;
                        if let Some(lost) = gap {
                            let gap = json!({ "type": "gap", "event": "resume", "lost": lost });
                            sink.send(say(gap)).await.ok()?;
                        }
                    }
                    "publish" => {
                        topic.log.borrow_mut().push(request["data"].to_string());
                        topic.head.send_modify(|head| *head += 1);
                    }
                    _ => sink.send(say(json!({ "type": "pong" }))).await.ok()?,
                }
            }
            _ = head.changed(), if at.is_some() => {}
        }
        while let Some(had) = at.filter(|&had| had < topic.head()) {
            let data = topic.log.borrow()[had as usize].clone();
            let id = had + 1;
            let event = format!(
                r#"{{"type":"event","event":"resume","event_type":"resume","data":{data},"event_id":"5-{id}","timestamp":"Z"}}"#
            );
            sink.feed(Message::text(event)).await.ok()?;
            at = Some(id);
        }
        sink.flush().await.ok()?;
    }
}

async fn event_stream(mut stream: TcpStream, topic: &Topic) -> Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        stream.read_buf(&mut request).await?;
    }
    let request = String::from_utf8_lossy(&request);
    let had = request
        .lines()
        .find_map(|line| line.strip_prefix("Last-Event-ID: "))
        .map(|id| id.parse().unwrap());
    let mut out = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n".to_owned();
    let mut at = match had.map(|had| topic.resume(had)) {
        None => topic.head(),
        Some(ResumeStart::After(start)) => start,
        Some(ResumeStart::Missing(start, lost)) => {
            out += &format!("event: gap\ndata: {{\"event\":\"resume\",\"lost\":{lost}}}\n\n");
            start
        }
    };
    out += &format!("id: {at}\n\n");
    let mut head = topic.head.subscribe();
    loop {
        while at < topic.head() {
            let data = &topic.log.borrow()[at as usize];
            at += 1;
            out += &format!("id: {at}\nevent: resume\ndata: {data}\n\n");
        }
        stream.write_all(out.as_bytes()).await?;
        out.clear();
        head.changed().await.map_err(std::io::Error::other)?;
    }
}
