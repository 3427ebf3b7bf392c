//! A fan-out server with one planted fault, in what its first subscriber gets. It speaks the events
//! protocol, and wse on /wse.

use std::cell::RefCell;
use std::io::Write;
use std::rc::Rc;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use futures_util::{SinkExt, StreamExt};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::spawn_local;
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

/// Messages of wse that are at least as large are compressed.
const COMPRESSED_BYTES_MIN: usize = 1024;

/// As wse clients get it every 25 seconds.
const PING: &str = r#"{"c":"WSE","t":"PING","p":{"timestamp":1},"v":1}"#;

/// As wse clients get it that send nearly too much.
const WARNING: &str = r#"{"c":"WSE","t":"rate_limit_warning","p":{"remaining":1},"v":1}"#;

/// The planted fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FanoutFault {
    /// Nothing.
    None,
    /// One message in a hundred is left out.
    Drop,
    /// One message in a hundred is sent twice.
    Repeat,
    /// Two messages in a hundred change places.
    Swap,
    /// One message in a hundred has a byte changed.
    Change,
    /// One message in a hundred lacks its last byte.
    Cut,
    /// The second publisher's first messages come later than at other subscribers.
    OwnOrder,
    /// The connection is closed.
    Close,
    /// In wse, one message in a hundred has another offset.
    Offset,
    /// In wse, offsets leave one out, for all subscribers.
    Leap,
    /// In wse, one message in a hundred has another epoch.
    Epoch,
    /// In wse, one message in a hundred has another type.
    Kind,
    /// In wse, messages have a field too many.
    Seq,
    /// In wse, one frame in a hundred is of the other kind: text instead of binary, or the reverse.
    Opcode,
    /// In wse, the bytes of one frame in a hundred are changed after the message was encoded.
    Flip,
    /// In wse, subscriptions are not confirmed.
    NoAck,
    /// In wse, subscriptions are confirmed without their topics.
    EmptyAck,
    /// In wse, the greeting has a sequence number.
    GreetingSeq,
    /// In wse, nothing is compressed.
    NotCompressed,
    /// In wse, a publisher is warned that it sends nearly too much.
    Warning,
}

/// What a subscriber understands.
#[derive(Debug, Clone, Copy)]
enum Dialect {
    Events,
    Wse { compression: bool, msgpack: bool },
}

struct Subscriber {
    dialect: Dialect,
    sender: mpsc::UnboundedSender<Message>,
}

/// A message of a topic in wse, its fields in order.
#[derive(Serialize, Clone)]
struct TopicMessage {
    tp: String,
    e: &'static str,
    o: u64,
    c: &'static str,
    t: String,
    p: Value,
    v: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
}

#[derive(Default)]
struct Hub {
    subscribers: RefCell<Vec<Subscriber>>,
    /// Messages published so far, and messages held back.
    state: RefCell<(u64, Vec<Message>)>,
}

pub(crate) async fn serve(listener: TcpListener, fault: FanoutFault) -> std::io::Result<()> {
    let hub = Rc::new(Hub::default());
    loop {
        let (stream, _) = listener.accept().await?;
        let hub = Rc::clone(&hub);
        spawn_local(async move { connection(stream, &hub, fault).await });
    }
}

async fn connection(stream: TcpStream, hub: &Hub, fault: FanoutFault) -> Option<()> {
    let mut dialect = Dialect::Events;
    #[expect(clippy::result_large_err, reason = "the type is the handshake's")]
    let read_path = |request: &Request, response: Response| {
        if request.uri().path() == "/wse" {
            dialect = Dialect::Wse {
                compression: false,
                msgpack: request.uri().query() == Some("format=msgpack"),
            };
        }
        Ok(response)
    };
    let (mut sink, mut stream) = accept_hdr_async(stream, read_path).await.ok()?.split();
    let (sender, mut queue) = mpsc::unbounded_channel();
    let send_text = |text: &str| sender.send(Message::text(text)).ok();
    let send = |value: Value| send_text(&value.to_string());
    match dialect {
        Dialect::Events => send(json!({"type": "connection_established"}))?,
        Dialect::Wse { .. } => {
            let details = json!({"connection_id": "x", "user_id": "ann", "version": 1});
            let mut ready = of_wse("server_ready", json!({"message": "", "details": details}));
            if fault == FanoutFault::GreetingSeq {
                ready["seq"] = 1.into();
            }
            send(ready)?;
        }
    }
    spawn_local(async move {
        while let Some(message) = queue.recv().await {
            if sink.send(message).await.is_err() {
                break;
            }
        }
    });
    while let Some(Ok(message)) = stream.next().await {
        let request: Value = match &message {
            Message::Text(text) => serde_json::from_str(text).ok()?,
            Message::Binary(bytes) => rmp_serde::from_slice(bytes.strip_prefix(b"M:")?).ok()?,
            _ => break,
        };
        let subscribe = || {
            let sender = sender.clone();
            let subscriber = Subscriber { dialect, sender };
            hub.subscribers.borrow_mut().push(subscriber);
        };
        let p = &request["p"];
        match request["type"].as_str().or_else(|| request["t"].as_str())? {
            "subscribe" => {
                let events = &request["events"];
                send(json!({"type": "subscription_confirmed", "events": events}))?;
                subscribe();
            }
            "client_hello" => {
                if let Dialect::Wse { compression, .. } = &mut dialect {
                    let is_asked = p["features"]["compression"] == true;
                    *compression = is_asked && fault != FanoutFault::NotCompressed;
                }
                let features = json!({"compression": true});
                let hello = json!({"protocol_version": 1, "features": features});
                send(of_wse("server_hello", hello))?;
            }
            "subscription_update" => {
                let topics = match fault {
                    FanoutFault::EmptyAck => json!([]),
                    _ => p["topics"].clone(),
                };
                let ack = json!({
                    "action": "subscribe", "success": true, "success_topics": topics,
                    "failed_topics": [], "topics": topics, "already_subscribed": [], "recovery": {},
                });
                if fault != FanoutFault::NoAck {
                    send(of_wse("subscription_update", ack))?;
                }
                send_text(PING)?;
                subscribe();
            }
            "publish" => {
                if matches!(dialect, Dialect::Wse { .. }) && hub.state.borrow().0 == 0 {
                    send_text(PING)?;
                    if fault == FanoutFault::Warning {
                        send_text(WARNING)?;
                    }
                }
                publish(hub, fault, &request);
            }
            "PONG" => {}
            other => panic!("unexpected request: {other}"),
        }
    }
    Some(())
}

fn of_wse(kind: &str, p: Value) -> Value {
    json!({"c": "WSE", "t": kind, "p": p, "v": 1})
}

fn publish(hub: &Hub, fault: FanoutFault, request: &Value) {
    let (count, held) = &mut *hub.state.borrow_mut();
    *count += 1;
    let wrong = *count % 100 == 50;
    let subscribers = hub.subscribers.borrow();
    let Some((first, others)) = subscribers.split_first() else {
        return;
    };
    let leaps = fault == FanoutFault::Leap && *count >= 50;
    // They speak what the first one does.
    let number = *count + u64::from(leaps);
    let whole = encode(request, first.dialect, (number, FanoutFault::None));
    for other in others {
        let _ = other.sender.send(whole.clone());
    }
    let planted = if wrong { fault } else { FanoutFault::None };
    let message = match planted {
        FanoutFault::None => whole,
        _ => encode(request, first.dialect, (number, planted)),
    };
    let data = match first.dialect {
        Dialect::Events => &request["data"],
        Dialect::Wse { .. } => &request["p"]["data"],
    };
    let second_publisher = data.as_str().is_some_and(|data| &data[11..15] == "0001");
    let to_first = match fault {
        FanoutFault::Drop if wrong => vec![],
        FanoutFault::Repeat if wrong => vec![message.clone(), message],
        FanoutFault::Swap if wrong => {
            held.push(message);
            vec![]
        }
        // Held until the other publisher publishes: each publisher's own order stays.
        FanoutFault::OwnOrder if second_publisher && (*count < 500 || !held.is_empty()) => {
            held.push(message);
            vec![]
        }
        FanoutFault::Close if wrong => vec![Message::Close(Some(CloseFrame {
            code: 1008.into(),
            reason: "too slow".into(),
        }))],
        _ => [vec![message], std::mem::take(held)].concat(),
    };
    for message in to_first {
        let _ = first.sender.send(message);
    }
}

/// A publication as a subscriber gets it, with this offset and this fault.
fn encode(request: &Value, dialect: Dialect, (offset, fault): (u64, FanoutFault)) -> Message {
    let change = |data: &Value| match fault {
        FanoutFault::Change => json!(data.as_str().unwrap().replacen("fanfare", "fanFare", 1)),
        _ => data.clone(),
    };
    let cut = |length: usize| length - usize::from(fault == FanoutFault::Cut);
    let Dialect::Wse {
        compression,
        msgpack,
    } = dialect
    else {
        let (event, data) = (&request["event"], change(&request["data"]));
        let text = format!(
            r#"{{"type":"event","event":{event},"event_type":{event},"data":{data},"event_id":"{offset}","timestamp":"2026-01-01T00:00:00.000Z"}}"#
        );
        return Message::text(&text[..cut(text.len())]);
    };
    let p = &request["p"];
    let message = TopicMessage {
        tp: p["topic"].as_str().unwrap().into(),
        e: if fault == FanoutFault::Epoch {
            "00000000"
        } else {
            "9be9766d"
        },
        o: offset
            + if fault == FanoutFault::Offset {
                1000
            } else {
                0
            },
        c: "U",
        t: if fault == FanoutFault::Kind {
            "n"
        } else {
            p["type"].as_str().unwrap()
        }
        .into(),
        p: json!({"data": change(&p["data"])}),
        v: 1,
        seq: (fault == FanoutFault::Seq).then_some(offset),
    };
    let mut text = serde_json::to_vec(&message).unwrap();
    let (is_binary, mut bytes) = if msgpack {
        let packed = rmp_serde::to_vec_named(&message).unwrap();
        (true, [b"M:", &packed[..cut(packed.len())]].concat())
    } else {
        text.truncate(cut(text.len()));
        if compression && text.len() >= COMPRESSED_BYTES_MIN {
            let mut encoder = ZlibEncoder::new(b"C:".to_vec(), Compression::fast());
            encoder.write_all(&text).unwrap();
            (true, encoder.finish().unwrap())
        } else {
            (false, text)
        }
    };
    if fault == FanoutFault::Flip {
        // Behind the time of sending, which may be any.
        let at = bytes.len() * 3 / 4;
        bytes[at] ^= 1;
    }
    if is_binary == (fault == FanoutFault::Opcode) {
        // Only ASCII can be text.
        bytes.retain(u8::is_ascii);
        Message::text(String::from_utf8(bytes).unwrap())
    } else {
        Message::binary(bytes)
    }
}
