//! A minimal gateway with a backend link and at most one planted fault. Its clients speak the events
//! protocol, and wse on /wse.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io::Result;
use std::rc::Rc;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::spawn_local;
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

/// Objects in one frame.
const BATCH_MAX: usize = 50;

/// The planted fault, which some objects have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LinkFault {
    /// Nothing.
    None,
    /// A message is left out.
    Drop,
    /// A message is sent twice, under two numbers of the member.
    Repeat,
    /// Two messages of one client change places.
    Swap,
    /// A byte of a message is changed.
    Change,
    /// A message is said to be of another connection.
    Misdirect,
    /// A number of the member is left out.
    SkipSeq,
    /// A number of the group is used again.
    SameNumber,
    /// A message comes again, and says so, although its member is there.
    Again,
    /// Every third message is refused, which is no fault.
    Refuse,
    /// A message is refused and sent.
    RefuseAndSend,
    /// A refusal names another message.
    RefuseOther,
    /// Clients change their member.
    Move,
    /// What comes again after a member left does not say so.
    Unmarked,
    /// What comes again has another number of the group.
    Renumber,
    /// What a member had that left does not come again.
    Forget,
    /// Objects never count as acknowledged.
    Pending,
    /// A connection is told of twice.
    ConnectTwice,
    /// A connection's end is told twice.
    DisconnectTwice,
    /// A connection's end is not told.
    NoDisconnect,
    /// A message comes before its connection.
    LateConnect,
    /// Every connection is said to end with code 1000.
    SameCode,
    /// Says that messages were dropped.
    Gap,
}

/// An object that is not acknowledged, but for the member's number and its mark.
#[derive(Debug, Clone)]
struct Pending {
    n: u64,
    conn: usize,
    /// Whether it was sent before.
    again: bool,
    rest: String,
}

#[derive(Debug, Default)]
struct Member {
    /// `None` when it has left.
    queue: Option<UnboundedSender<String>>,
    seq: u64,
    unacknowledged: VecDeque<(u64, Pending)>,
}

#[derive(Debug, Default)]
struct Group {
    n: u64,
    members: Vec<Member>,
    /// The member of each connection.
    owners: BTreeMap<usize, usize>,
    /// Of members that left, while there is no other.
    waiting: Vec<Pending>,
    connections: usize,
    messages: usize,
    /// Held back, to change places.
    held: Option<(usize, String)>,
}

struct Gateway {
    fault: LinkFault,
    group: RefCell<Group>,
}

pub(crate) async fn serve(listener: TcpListener, fault: LinkFault) -> Result<()> {
    let gateway = Rc::new(Gateway {
        fault,
        group: RefCell::default(),
    });
    loop {
        let (stream, _) = listener.accept().await?;
        let gateway = Rc::clone(&gateway);
        spawn_local(async move {
            let mut path = String::new();
            #[expect(clippy::result_large_err, reason = "the type is the handshake's")]
            let read_path = |request: &Request, response: Response| {
                path = request.uri().path().to_owned();
                Ok(response)
            };
            let socket = accept_hdr_async(stream, read_path).await.ok()?;
            let (mut sink, stream) = socket.split();
            let (sender, queue) = unbounded_channel();
            let is_member = path == "/api/v1/backend";
            spawn_local(async move {
                let _ = write(&mut sink, queue, is_member).await;
            });
            if is_member {
                gateway.member(stream, sender).await;
            } else {
                let is_wse = path == "/wse";
                gateway.client(stream, &sender, is_wse).await;
            }
            Some(())
        });
    }
}

type Incoming = futures_util::stream::SplitStream<tokio_tungstenite::WebSocketStream<TcpStream>>;
type Outgoing =
    futures_util::stream::SplitSink<tokio_tungstenite::WebSocketStream<TcpStream>, Message>;

/// Writes what is queued: objects of a member in batches, everything else in frames of its own.
async fn write(
    sink: &mut Outgoing,
    mut queue: UnboundedReceiver<String>,
    is_member: bool,
) -> std::result::Result<(), tokio_tungstenite::tungstenite::Error> {
    let mut texts = Vec::new();
    while queue.recv_many(&mut texts, BATCH_MAX).await > 0 {
        let is_object = |text: &String| is_member && text.starts_with(r#"{"n":"#);
        for run in texts.chunk_by(|one, other| is_object(one) && is_object(other)) {
            let text = if is_object(&run[0]) {
                format!("[{}]", run.join(","))
            } else {
                run[0].clone()
            };
            sink.feed(Message::text(text)).await?;
        }
        sink.flush().await?;
        texts.clear();
    }
    Ok(())
}

impl Gateway {
    async fn member(&self, mut stream: Incoming, sender: UnboundedSender<String>) {
        let number = {
            let group = &mut *self.group.borrow_mut();
            group.members.push(Member {
                queue: Some(sender.clone()),
                ..Member::default()
            });
            let number = group.members.len() - 1;
            for pending in std::mem::take(&mut group.waiting) {
                self.hand_over(group, number, pending);
            }
            number
        };
        while let Some(Ok(message)) = stream.next().await {
            let Message::Text(text) = message else {
                continue;
            };
            let request: Value = serde_json::from_str(&text).unwrap();
            let group = &mut *self.group.borrow_mut();
            if let Some(seq) = request["ack"].as_u64() {
                let unacknowledged = &mut group.members[number].unacknowledged;
                while unacknowledged
                    .pop_front_if(|(first, _)| *first <= seq)
                    .is_some()
                {}
            } else {
                let mut pending = group.waiting.len();
                for member in &group.members {
                    pending += member.unacknowledged.len();
                }
                if self.fault == LinkFault::Pending && group.messages > 0 {
                    pending += 1;
                }
                let members = group.members.len();
                let of_group = json!({"name": "g", "members": members, "pending": pending});
                let answer = json!({"id": request["id"], "ok": true, "group": of_group});
                let _ = sender.send(answer.to_string());
            }
        }
        let group = &mut *self.group.borrow_mut();
        let member = &mut group.members[number];
        member.queue = None;
        let left: Vec<_> = member.unacknowledged.drain(..).collect();
        group.owners.retain(|_, owner| *owner != number);
        if self.fault == LinkFault::Forget {
            return;
        }
        for (_, mut pending) in left {
            pending.again = true;
            if self.fault == LinkFault::Renumber {
                group.n += 1;
                pending.n = group.n;
            }
            match group.owner(pending.conn) {
                Some(owner) => self.hand_over(group, owner, pending),
                None => group.waiting.push(pending),
            }
        }
    }

    async fn client(&self, mut stream: Incoming, sender: &UnboundedSender<String>, is_wse: bool) {
        let conn = {
            let group = &mut *self.group.borrow_mut();
            group.connections += 1;
            group.connections
        };
        let fault = self.fault;
        let dialect = if is_wse { "wse" } else { "events" };
        let connect = format!(
            r#""event":"connect","conn":"0-{conn}-1","dialect":"{dialect}","user":null,"time":1"#
        );
        let is_late = fault == LinkFault::LateConnect && conn == 2;
        if !is_late {
            self.add(conn, connect.clone());
        }
        if fault == LinkFault::ConnectTwice && conn == 2 {
            self.add(conn, connect.clone());
        }
        let greeting = match is_wse {
            true => r#"{"c":"WSE","t":"server_ready","p":{"details":{"connection_id":"x"}},"v":1}"#,
            false => r#"{"type":"connection_established"}"#,
        };
        let _ = sender.send(greeting.into());
        let mut code = 0;
        let mut is_first = true;
        while let Some(Ok(message)) = stream.next().await {
            match message {
                Message::Text(text) if text.contains(r#""t":"client_hello""#) => {
                    let hello =
                        r#"{"c":"WSE","t":"server_hello","p":{"protocol_version":1},"v":1}"#;
                    let _ = sender.send(hello.into());
                    continue;
                }
                Message::Text(text) => self.message(conn, &text, sender),
                Message::Close(frame) => code = frame.map_or(1005, |frame| frame.code.into()),
                _ => {}
            }
            if std::mem::take(&mut is_first) && is_late {
                self.add(conn, connect.clone());
            }
        }
        if fault == LinkFault::SameCode {
            code = 1000;
        }
        let disconnect = format!(
            r#""event":"disconnect","conn":"0-{conn}-1","dialect":"{dialect}","user":null,"code":{code},"reason":"","cause":"client","seconds":1.5,"in":1,"out":1"#
        );
        let is_wrong = conn == 2;
        if !(is_wrong && fault == LinkFault::NoDisconnect) {
            self.add(conn, disconnect.clone());
        }
        if is_wrong && fault == LinkFault::DisconnectTwice {
            self.add(conn, disconnect);
        }
    }

    fn message(&self, conn: usize, text: &str, sender: &UnboundedSender<String>) {
        let message: Value = serde_json::from_str(text).unwrap();
        let is_wse = message["t"] == "app";
        let dialect = if is_wse { "wse" } else { "events" };
        let count = {
            let group = &mut *self.group.borrow_mut();
            group.messages += 1;
            group.messages
        };
        let wrong = count % 100 == 50;
        let with_id = |id: &Value| match id {
            Value::Null => String::new(),
            id => format!(r#","id":{id}"#),
        };
        let id = with_id(&message["id"]);
        let refuse = |id: &Value| {
            let refusal = if is_wse {
                r#"{"c":"WSE","t":"error","p":{"code":"RATE_LIMITED","message":"The application is busy: try again later"},"v":1}"#.into()
            } else {
                let id = with_id(id);
                format!(
                    r#"{{"type":"error","code":"BACKEND_BUSY","message":"busy","details":{{"retry_after":1}}{id}}}"#
                )
            };
            let _ = sender.send(refusal);
        };
        let object = |conn: usize| {
            format!(
                r#""event":"message","conn":"0-{conn}-1","dialect":"{dialect}","user":null,"type":"app"{id},"data":{text}"#
            )
        };
        match self.fault {
            LinkFault::Drop if wrong => {}
            LinkFault::Repeat if wrong => {
                self.add(conn, object(conn));
                self.add(conn, object(conn));
            }
            LinkFault::Swap if wrong => {
                self.group.borrow_mut().held = Some((conn, object(conn)));
            }
            LinkFault::Change if wrong => {
                self.add(conn, object(conn).replacen("fanfare", "fanFare", 1));
            }
            LinkFault::Misdirect if wrong => self.add(conn, object(conn % 3 + 1)),
            LinkFault::Refuse if count % 3 == 0 => refuse(&message["id"]),
            LinkFault::RefuseOther if count == 50 => refuse(&json!("00000000")),
            LinkFault::RefuseAndSend if wrong => {
                refuse(&message["id"]);
                self.add(conn, object(conn));
            }
            LinkFault::Gap if wrong => {
                self.add(conn, r#""event":"gap","lost":3"#.into());
                self.add(conn, object(conn));
            }
            _ => {
                self.add(conn, object(conn));
                let held = self
                    .group
                    .borrow_mut()
                    .held
                    .take_if(|(whose, _)| *whose == conn);
                if let Some((conn, object)) = held {
                    self.add(conn, object);
                }
            }
        }
    }

    /// Adds an object to the group.
    fn add(&self, conn: usize, rest: String) {
        let group = &mut *self.group.borrow_mut();
        group.n += 1;
        let wrong = group.n % 100 == 50;
        let is_message = rest.starts_with(r#""event":"message""#);
        if wrong && self.fault == LinkFault::SameNumber {
            group.n -= 1;
        }
        if wrong && self.fault == LinkFault::Move {
            let owner = group.owners.entry(conn).or_default();
            *owner = (*owner + 1) % group.members.len();
        }
        let pending = Pending {
            n: group.n,
            conn,
            again: wrong && self.fault == LinkFault::Again && is_message,
            rest,
        };
        let Some(owner) = group.owner(conn) else {
            group.waiting.push(pending);
            return;
        };
        if wrong && self.fault == LinkFault::SkipSeq {
            group.members[owner].seq += 1;
        }
        self.hand_over(group, owner, pending);
    }

    fn hand_over(&self, group: &mut Group, owner: usize, pending: Pending) {
        let member = &mut group.members[owner];
        member.seq += 1;
        let mark = match pending.again && self.fault != LinkFault::Unmarked {
            true => r#","again":true"#,
            false => "",
        };
        let Pending { n, rest, .. } = &pending;
        let text = format!(r#"{{"n":{n},"seq":{}{mark},{rest}}}"#, member.seq);
        if let Some(queue) = &member.queue {
            let _ = queue.send(text);
        }
        member.unacknowledged.push_back((member.seq, pending));
    }
}

impl Group {
    /// The member of a connection, chosen among those that are there.
    fn owner(&mut self, conn: usize) -> Option<usize> {
        let there: Vec<usize> = (0..self.members.len())
            .filter(|&number| self.members[number].queue.is_some())
            .collect();
        if there.is_empty() {
            return None;
        }
        let chosen = there[conn % there.len()];
        Some(*self.owners.entry(conn).or_insert(chosen))
    }
}
