//! A minimal server of the bridge protocol with at most one planted fault, in pushes or in the
//! answers of calls.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::Result;
use std::rc::Rc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::spawn_local;
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

/// The planted fault, which some messages have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BridgeFault {
    /// Nothing.
    None,
    /// A message is left out.
    Drop,
    /// A message is sent twice.
    Repeat,
    /// Two messages for the same recipient change places.
    Swap,
    /// A message goes to another recipient.
    Misdirect,
    /// A message has a byte changed.
    Change,
    /// A push comes without `original_sender`.
    NoSender,
    /// The answer to a delivered push says that it was not delivered.
    Partial,
    /// The results of a batch come in another order.
    ResultOrder,
    /// Answers of users that were not asked reach the caller, too.
    AnyUser,
    /// The connection is closed after every answer, with `Connection: close`.
    Close,
}

/// Which messages have the fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FaultSide {
    Pushes,
    Answers,
}

struct Bridge {
    side: FaultSide,
    fault: BridgeFault,
    users: RefCell<BTreeMap<String, UnboundedSender<String>>>,
    /// The asked user and the caller's queue, by correlation id.
    calls: RefCell<BTreeMap<String, (String, UnboundedSender<String>)>>,
    /// Recipient and text of a message that is held back.
    held: RefCell<Option<(String, String)>>,
    count: Cell<u64>,
}

pub(crate) async fn serve(
    listener: TcpListener,
    side: FaultSide,
    fault: BridgeFault,
) -> Result<()> {
    let bridge = Rc::new(Bridge {
        side,
        fault,
        users: RefCell::default(),
        calls: RefCell::default(),
        held: RefCell::default(),
        count: Cell::new(0),
    });
    loop {
        let (stream, _) = listener.accept().await?;
        let bridge = Rc::clone(&bridge);
        spawn_local(async move {
            let mut first = [0; 3];
            while stream.peek(&mut first).await.is_ok_and(|read| read < 3) {}
            // Ends when the client disconnects.
            if first == *b"GET" {
                let _ = user(stream, &bridge).await;
            } else {
                let _ = service(stream, &bridge).await;
            }
        });
    }
}

async fn user(stream: TcpStream, bridge: &Rc<Bridge>) -> Option<()> {
    let mut name = String::new();
    #[expect(clippy::result_large_err, reason = "the type is the handshake's")]
    let read_name = |request: &Request, response: Response| {
        let query = request.uri().query().unwrap_or_default();
        name = query.replace("user_id=", "");
        Ok(response)
    };
    let (mut sink, mut stream) = accept_hdr_async(stream, read_name).await.ok()?.split();
    let (sender, mut queue) = unbounded_channel();
    bridge.users.borrow_mut().insert(name.clone(), sender);
    spawn_local(async move {
        while let Some(text) = queue.recv().await {
            if sink.send(Message::text(text)).await.is_err() {
                break;
            }
        }
    });
    while let Some(Ok(Message::Text(text))) = stream.next().await {
        let answer: Value = serde_json::from_str(&text).ok()?;
        let id = answer["correlation_id"].to_string();
        let asked = bridge.calls.borrow().get(&id).map(|(user, _)| user.clone());
        if asked == Some(name.clone()) || asked.is_some() && bridge.fault == BridgeFault::AnyUser {
            let is_second = answer["index"] == 1;
            bridge.deliver(FaultSide::Answers, &id, text.to_string(), is_second);
        }
    }
    Some(())
}

impl Bridge {
    /// Delivers a message to user or call `to`, with the fault if it `may_be_wrong`.
    fn deliver(self: &Rc<Self>, side: FaultSide, to: &str, text: String, may_be_wrong: bool) {
        self.count.set(self.count.get() + 1);
        let wrong = self.side == side && may_be_wrong && self.count.get() % 20 < 4;
        let other = self.other(side, to);
        let text_and = |to: &str, text: &str| (to.to_owned(), text.to_owned());
        let out = match self.fault {
            BridgeFault::Drop if wrong => vec![],
            BridgeFault::Repeat if wrong => vec![text_and(to, &text), text_and(to, &text)],
            BridgeFault::Swap if wrong && self.held.borrow().is_none() => {
                *self.held.borrow_mut() = Some(text_and(to, &text));
                spawn_local(Rc::clone(self).release());
                vec![]
            }
            BridgeFault::Misdirect if wrong => vec![(other, text)],
            BridgeFault::Change if wrong => {
                vec![text_and(to, &text.replacen("fanfare", "fanFare", 1))]
            }
            _ => {
                let mut out = vec![(to.to_owned(), text)];
                out.extend(self.held.borrow_mut().take_if(|(whose, _)| whose == to));
                out
            }
        };
        for (to, text) in out {
            self.hand_over(side, &to, text);
        }
    }

    /// Delivers the held message if no other one was swapped with it in time.
    async fn release(self: Rc<Self>) {
        tokio::time::sleep(Duration::from_millis(200)).await;
        if let Some((to, text)) = self.held.take() {
            self.hand_over(self.side, &to, text);
        }
    }

    fn hand_over(&self, side: FaultSide, to: &str, text: String) {
        let users = self.users.borrow();
        let calls = self.calls.borrow();
        let sender = match side {
            FaultSide::Pushes => users.get(to),
            FaultSide::Answers => calls.get(to).map(|(_, sender)| sender),
        };
        if let Some(sender) = sender {
            let _ = sender.send(text);
        }
    }

    /// Another recipient than `to`, if there is one.
    fn other(&self, side: FaultSide, to: &str) -> String {
        let (users, calls) = (self.users.borrow(), self.calls.borrow());
        let mut names: Box<dyn Iterator<Item = &String>> = match side {
            FaultSide::Pushes => Box::new(users.keys()),
            FaultSide::Answers => Box::new(calls.keys()),
        };
        names
            .find(|name| *name != to)
            .map_or(to, |name| name)
            .to_owned()
    }

    /// Delivers the message of a request; false if its user is not connected.
    fn push(self: &Rc<Self>, message: &Value) -> bool {
        let user = message["user_id"].as_str().expect("the generator wrote it");
        let mut data = message["data"].clone();
        let is_probe = data["type"] == "probe";
        if self.fault != BridgeFault::NoSender || is_probe || self.count.get() % 20 != 4 {
            data["original_sender"] = json!({"user_id": user, "timestamp": data["timestamp"]});
        }
        data["user_id"] = user.into();
        if data["correlation_id"].is_null() {
            data["correlation_id"] = "01234567-89ab-4def-8123-456789abcdef".into();
        }
        if !self.users.borrow().contains_key(user) {
            return false;
        }
        self.deliver(
            FaultSide::Pushes,
            user,
            data.to_string(),
            data["type"] == "notification",
        );
        true
    }
}

async fn service(stream: TcpStream, bridge: &Rc<Bridge>) -> Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        let mut length = 0;
        while line != "\r\n" {
            line.clear();
            stream.read_line(&mut line).await?;
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().expect("the generator wrote it");
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        let request: Value = serde_json::from_slice(&body)?;
        let answer = match &*path {
            "/sse/push" => {
                let success = bridge.push(&request);
                let is_probe = request["data"]["type"] == "probe";
                match success && (is_probe || bridge.fault != BridgeFault::Partial) {
                    true => json!({"status": "success", "message": "Message delivered"}),
                    false => json!({"status": "partial", "message": "User not connected"}),
                }
            }
            "/sse/push/batch" => batch(&request, bridge),
            _ => {
                send(&request, bridge, &mut stream).await?;
                continue;
            }
        };
        let text = answer.to_string();
        let close = if bridge.fault == BridgeFault::Close {
            "Connection: close\r\n"
        } else {
            ""
        };
        let head = format!(
            "HTTP/1.1 200 OK\r\n{close}content-length: {}\r\n\r\n",
            text.len()
        );
        stream.write_all((head + &text).as_bytes()).await?;
        if bridge.fault == BridgeFault::Close {
            return Ok(());
        }
    }
}

fn batch(request: &Value, bridge: &Rc<Bridge>) -> Value {
    let messages = request.as_array().expect("the generator wrote it");
    let result = |(index, message): (usize, &Value)| {
        let success = bridge.push(message);
        json!({"index": index, "user_id": message["user_id"], "success": success})
    };
    let mut results: Vec<Value> = messages.iter().enumerate().map(result).collect();
    if bridge.fault == BridgeFault::ResultOrder {
        results.reverse();
    }
    json!({"results": results})
}

async fn send(
    request: &Value,
    bridge: &Rc<Bridge>,
    stream: &mut BufReader<TcpStream>,
) -> Result<()> {
    let id = request["data"]["correlation_id"].to_string();
    let user = request["user_id"].as_str().expect("the generator wrote it");
    let (sender, mut answers) = unbounded_channel();
    let call = (user.to_owned(), sender);
    bridge.calls.borrow_mut().insert(id.clone(), call);
    bridge.push(request);
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n\
        transfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await?;
    while let Some(answer) = answers.recv().await {
        stream.write_all(event(&answer).as_bytes()).await?;
        let parsed: Value = serde_json::from_str(&answer)?;
        if parsed["type"] == "final_response" {
            let again = answer[..answer.len() - 1].to_owned() + ",\"is_final\":true}";
            stream.write_all(event(&again).as_bytes()).await?;
            break;
        }
        if parsed["is_final"] == true {
            break;
        }
    }
    bridge.calls.borrow_mut().remove(&id);
    stream.write_all(b"0\r\n\r\n").await
}

/// An event in a chunk of its own.
fn event(data: &str) -> String {
    let event = format!("data: {data}\n\n");
    format!("{:x}\r\n{event}\r\n", event.len())
}
