//! A fan-out server with one planted fault, in what its first subscriber gets.

use std::cell::RefCell;
use std::rc::Rc;

use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::spawn_local;
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

/// The planted fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FanoutFault {
    /// One message in a hundred is left out.
    Drop,
    /// One message in a hundred is sent twice.
    Repeat,
    /// Two messages in a hundred change places.
    Swap,
    /// One message in a hundred has a byte changed.
    Change,
    /// The second publisher's first messages come later than at other subscribers.
    OwnOrder,
    /// The connection is closed.
    Close,
}

#[derive(Default)]
struct Hub {
    subscribers: RefCell<Vec<mpsc::UnboundedSender<Message>>>,
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
    let (mut sink, mut stream) = accept_async(stream).await.ok()?.split();
    let (sender, mut queue) = mpsc::unbounded_channel();
    sender
        .send(Message::text(r#"{"type":"connection_established"}"#))
        .ok()?;
    spawn_local(async move {
        while let Some(message) = queue.recv().await {
            if sink.send(message).await.is_err() {
                break;
            }
        }
    });
    while let Some(Ok(Message::Text(text))) = stream.next().await {
        let request: serde_json::Value = serde_json::from_str(&text).ok()?;
        if request["type"] == "subscribe" {
            let events = &request["events"];
            let confirmed = format!(r#"{{"type":"subscription_confirmed","events":{events}}}"#);
            sender.send(Message::text(confirmed)).ok()?;
            hub.subscribers.borrow_mut().push(sender.clone());
        } else {
            publish(hub, fault, &request);
        }
    }
    Some(())
}

fn publish(hub: &Hub, fault: FanoutFault, request: &serde_json::Value) {
    let (event, data) = (&request["event"], &request["data"]);
    let (count, held) = &mut *hub.state.borrow_mut();
    *count += 1;
    let text = format!(
        r#"{{"type":"event","event":{event},"event_type":{event},"data":{data},"event_id":"{count}","timestamp":"2026-01-01T00:00:00.000Z"}}"#
    );
    let message = Message::text(text.clone());
    let subscribers = hub.subscribers.borrow();
    let Some((first, others)) = subscribers.split_first() else {
        return;
    };
    for other in others {
        let _ = other.send(message.clone());
    }
    let second_publisher = data.as_str().is_some_and(|data| &data[11..15] == "0001");
    let wrong = *count % 100 == 50;
    let to_first = match fault {
        FanoutFault::Drop if wrong => vec![],
        FanoutFault::Repeat if wrong => vec![message.clone(), message],
        FanoutFault::Swap if wrong => {
            held.push(message);
            vec![]
        }
        FanoutFault::Change if wrong => vec![Message::text(text.replacen("fanfare", "fanFare", 1))],
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
        let _ = first.send(message);
    }
}
