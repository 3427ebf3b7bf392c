//! Users that send, receive and connect again to a gateway that comes and goes, and what has to hold of what they saw.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use super::Account;
use crate::support::{Client, Socket};

/// Messages of a user that are not answered yet.
const WINDOW: usize = 24;

/// What everyone waits for at the end.
const LAST: &str = "the last one";

/// How long users wait for the last message.
const LAST_MAX: Duration = Duration::from_secs(120);

/// How long nothing comes behind the last message.
const QUIET: Duration = Duration::from_millis(300);

/// How a user connects again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reconnect {
    /// It says which message it had last: `?after=`.
    After,
    /// It says nothing, as clients do that know no better.
    Plain,
}

/// What a plain user may get again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Repeats {
    /// Nothing: the gateway was stopped in order.
    None,
    /// What the gateway had written and not noted when it was killed.
    AfterKills,
}

/// A user.
pub(super) struct Member {
    pub account: Account,
    token: String,
    reconnect: Reconnect,
    /// Sends all the time.
    sends: bool,
    /// Does not read for a while after it has connected.
    stalls: bool,
}

/// What a user has sent, and what came of it.
#[derive(Debug)]
struct Sent {
    content: String,
    /// `None`: a broadcast.
    to: Option<String>,
    answer: Option<Result<i64, String>>,
}

/// What a user has seen.
pub(super) struct Seen {
    user: String,
    reconnect: Reconnect,
    sent: Vec<Sent>,
    /// The ids and contents of messages, one list for each connection.
    got: Vec<Vec<(i64, String)>>,
}

/// What the users share.
#[derive(Default)]
pub(super) struct Crowd {
    port: AtomicU16,
    has_stopped_sending: AtomicBool,
    is_failed: AtomicBool,
    unanswered: AtomicUsize,
}

/// Numbers that differ from run to run.
pub(super) struct Random(u64);

impl Random {
    /// Begins with the time, which it says.
    pub(super) fn new() -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let seed = now.unwrap().as_nanos() as u64 | 1;
        println!("seed {seed}");
        Self(seed)
    }

    /// One below `end`.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }

    /// A time below `end`.
    pub(super) fn time(&mut self, end: Duration) -> Duration {
        Duration::from_micros(self.below(end.as_micros() as u64))
    }
}

impl Member {
    /// Users of all kinds, registered with the gateway at `address`.
    pub(super) fn crowd(address: SocketAddr) -> Vec<Self> {
        use Reconnect::{After, Plain};
        let member = |(id, reconnect, sends, stalls)| {
            let account = Account::registered(address, id);
            Self {
                token: account.token(address),
                account,
                reconnect,
                sends,
                stalls,
            }
        };
        let kinds = [
            ("ann", After, true, false),
            ("ben", After, true, false),
            ("cy", After, true, true),
            ("dee", After, false, false),
            ("eve", After, false, true),
            ("flo", Plain, false, false),
            ("gus", Plain, false, true),
        ];
        kinds.map(member).into()
    }
}

impl Crowd {
    /// The gateway is here from now on.
    pub(super) fn move_to(&self, address: SocketAddr) {
        self.port.store(address.port(), Ordering::SeqCst);
    }

    /// The test has failed: everyone ends.
    pub(super) fn failed(&self) -> &AtomicBool {
        &self.is_failed
    }

    /// Ends the sending, and tells everyone that nothing more comes, once all is answered.
    pub(super) fn finish(&self, address: SocketAddr, last: &Account) {
        self.has_stopped_sending.store(true, Ordering::SeqCst);
        let end = Instant::now() + Duration::from_secs(30);
        while self.unanswered.load(Ordering::SeqCst) > 0 {
            assert!(Instant::now() < end, "messages are not answered");
            thread::sleep(Duration::from_millis(5));
        }
        let token = last.token(address);
        let path = format!("/ws?token={token}&ack=true");
        let mut client = Client::connect(address, &path);
        client.say(&frame_of(None, LAST));
        loop {
            let answer = client.json();
            if answer.get("id").is_none() {
                assert!(answer_of(&answer).is_ok(), "{answer}");
                return;
            }
        }
    }

    /// Has a user send and receive until it has got the last message.
    pub(super) fn attend(&self, member: &Member, others: &[Member], mut random: Random) -> Seen {
        let mut seen = Seen {
            user: member.account.id.clone(),
            reconnect: member.reconnect,
            sent: Vec::new(),
            got: Vec::new(),
        };
        let mut deadline = None;
        loop {
            let now = Instant::now();
            if self.has_stopped_sending.load(Ordering::SeqCst) {
                let deadline = *deadline.get_or_insert(now + LAST_MAX);
                assert!(now < deadline, "{} does not get the last one", seen.user);
            }
            assert!(!self.is_failed.load(Ordering::SeqCst), "another one failed");
            if let Some(mut client) = self.connect(member, &seen) {
                if member.stalls {
                    thread::sleep(random.time(Duration::from_millis(300)));
                }
                seen.got.push(Vec::new());
                self.talk(&mut client, member, others, (&mut seen, &mut random));
                if seen.has_last() {
                    return seen;
                }
            } else {
                thread::sleep(Duration::from_millis(5));
            }
        }
    }

    /// Connects, if there is a gateway.
    fn connect(&self, member: &Member, seen: &Seen) -> Option<Client> {
        let address = SocketAddr::from(([127, 0, 0, 1], self.port.load(Ordering::SeqCst)));
        let mut stream = Socket::connect(address).ok()?;
        stream.set_nodelay(true).ok()?;
        let newest = seen.got.iter().flatten().map(|(id, _)| *id).max();
        let after = match (member.reconnect, newest) {
            (Reconnect::After, Some(newest)) => format!("&after={newest}"),
            _ => String::new(),
        };
        let request = format!(
            "GET /ws?token={}&ack=true{after} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            member.token
        );
        stream.write_all(request.as_bytes()).ok()?;
        Client::answered(stream)
    }

    /// Sends and receives until the connection ends or the last message has come.
    fn talk(
        &self,
        client: &mut Client,
        member: &Member,
        others: &[Member],
        (seen, random): (&mut Seen, &mut Random),
    ) {
        let mut waiting = VecDeque::new();
        let mut ends = None;
        loop {
            if member.sends
                && !self.has_stopped_sending.load(Ordering::SeqCst)
                && waiting.len() < WINDOW
            {
                self.unanswered.fetch_add(1, Ordering::SeqCst);
                waiting.push_back(seen.sent.len());
                client.say(&seen.next_to_send(others, random));
            }
            if client.is_silent(Duration::from_millis(1)) {
                // What comes after the last one would be too much.
                if ends.is_some_and(|end| Instant::now() > end) {
                    break;
                }
                assert!(!self.is_failed.load(Ordering::SeqCst), "another one failed");
                continue;
            }
            let Some(frame) = client.next() else {
                break;
            };
            match frame.first {
                0x81 => {
                    let said = frame.json();
                    match said["id"].as_i64() {
                        Some(id) => seen.take(id, &said),
                        None => {
                            let at = waiting.pop_front().expect("it answers a message");
                            self.unanswered.fetch_sub(1, Ordering::SeqCst);
                            seen.sent[at].answer = Some(answer_of(&said));
                        }
                    }
                    if seen.has_last() {
                        ends.get_or_insert_with(|| Instant::now() + QUIET);
                    }
                }
                0x88 => client.send(0x88, &frame.payload),
                0x89 => client.send(0x8a, &frame.payload),
                first => panic!("a frame {first:#x}"),
            }
        }
        // Nobody knows what has become of these.
        self.unanswered.fetch_sub(waiting.len(), Ordering::SeqCst);
    }
}

impl Seen {
    fn next_to_send(&mut self, others: &[Member], random: &mut Random) -> Value {
        let content = format!("{} {}", self.user, self.sent.len());
        let to = (random.below(4) > 0).then(|| {
            let at = random.below(others.len() as u64) as usize;
            others[at].account.id.clone()
        });
        let frame = frame_of(to.as_deref(), &content);
        self.sent.push(Sent {
            content,
            to,
            answer: None,
        });
        frame
    }

    fn take(&mut self, id: i64, said: &Value) {
        let header = &said["header"];
        let is_broadcast = header["is_broadcast"] == true;
        let is_own = header["to"] == *self.user || is_broadcast && header["from"] != *self.user;
        assert!(is_own, "{}: not for this user: {said}", self.user);
        let content = said["body"]["content"].as_str().unwrap().to_owned();
        self.got.last_mut().unwrap().push((id, content));
    }

    fn has_last(&self) -> bool {
        let got = self.got.iter().flatten();
        got.rev().any(|(_, content)| content == LAST)
    }

    /// Checks that ids rise, and that there are no repeats but those that are allowed.
    fn check_order(&self, repeats: Repeats) {
        let user = &self.user;
        let is_rising = |got: &[&(i64, String)]| got.windows(2).all(|two| two[0].0 < two[1].0);
        for got in &self.got {
            let got: Vec<_> = got.iter().collect();
            assert!(is_rising(&got), "{user}: ids of a connection: {got:?}");
        }
        if self.reconnect == Reconnect::After || repeats == Repeats::None {
            let got: Vec<_> = self.got.iter().flatten().collect();
            let at = got.windows(2).position(|two| two[0].0 >= two[1].0);
            let around = at.map(|at| &got[at.saturating_sub(3)..(at + 4).min(got.len())]);
            assert_eq!(around, None, "{user}: ids of all connections");
        }
    }
}

/// Checks that everything that was acknowledged has reached whom it was for, once, and nothing else has.
pub(super) fn check(all: &[Seen], repeats: Repeats) {
    let mut ids = BTreeMap::new();
    let (mut acknowledged, mut refused, mut unknown) = (0, 0, 0);
    let mut put_id = |content: &str, id: i64| {
        let before = ids.insert(content.to_owned(), id);
        assert!(
            before.is_none_or(|it| it == id),
            "{content} is two messages"
        );
    };
    for seen in all {
        seen.check_order(repeats);
        for (id, content) in seen.got.iter().flatten() {
            put_id(content, *id);
        }
        for sent in &seen.sent {
            match &sent.answer {
                Some(Ok(id)) => put_id(&sent.content, *id),
                Some(Err(_)) => refused += 1,
                None => unknown += 1,
            }
            acknowledged += usize::from(matches!(sent.answer, Some(Ok(_))));
        }
    }
    let numbers: BTreeSet<_> = ids.values().collect();
    assert_eq!(numbers.len(), ids.len(), "two messages have one id");
    for seen in all {
        let got: BTreeSet<_> = seen.got.iter().flatten().map(|(_, it)| &**it).collect();
        for sender in all {
            for sent in &sender.sent {
                let is_own = match &sent.to {
                    Some(to) => *to == seen.user,
                    None => sender.user != seen.user,
                };
                let has = got.contains(&*sent.content);
                let user = &seen.user;
                match &sent.answer {
                    Some(Ok(id)) if is_own => assert!(has, "{user} has not got {id}: {sent:?}"),
                    Some(Err(_)) => assert!(!has, "{user} has got what was refused: {sent:?}"),
                    _ if !is_own => assert!(!has, "{user} has got {sent:?}"),
                    _ => {}
                }
            }
        }
    }
    let got = all.iter().flat_map(|seen| &seen.got);
    println!(
        "{acknowledged} acknowledged, {refused} refused, {unknown} unknown; {} got on {} connections",
        got.clone().map(Vec::len).sum::<usize>(),
        got.count(),
    );
    assert!(acknowledged > 0);
}

/// The id in an acknowledgement, or what the refusal says.
fn answer_of(said: &Value) -> Result<i64, String> {
    let content = said["body"]["content"].as_str().unwrap();
    let answer: Value = serde_json::from_str(content).unwrap_or_else(|_| panic!("{said}"));
    answer["ack"].as_i64().ok_or_else(|| answer.to_string())
}

/// A message to a user, or to all.
fn frame_of(to: Option<&str>, content: &str) -> Value {
    let kind = if to.is_some() { "direct" } else { "broadcast" };
    json!({
        "header": {
            "to": to.unwrap_or("broadcast"), "message_type": kind,
            "timestamp": "2026-11-29T12:00:00.123456789Z",
        },
        "body": { "content": content },
    })
}
