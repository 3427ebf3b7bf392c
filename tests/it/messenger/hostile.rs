//! Messages, commands and logins made to hurt (hostile-inputs.md M23 to M26, A27, R18).

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use fanfare::dialect::messenger::MessengerSettings;
use serde_json::{Value, json};

use super::{Account, get};
use crate::support::{Client, Process, Socket, TestGateway, frame, metric};

const MIB: usize = 1024 * 1024;

/// A gateway without a limit of rates.
fn gateway() -> TestGateway {
    TestGateway::with(|config| {
        config.server.shards = 2;
        let settings: &mut MessengerSettings = config.section_mut();
        settings.rate_limit = 0.0;
    })
}

fn connect(address: SocketAddr, account: &Account, query: &str) -> Client {
    let token = account.token(address);
    Client::connect(address, &format!("/ws?token={token}{query}"))
}

/// The connection goes on: a message to oneself comes, and is the next thing that does.
#[track_caller]
fn check_goes_on(client: &mut Client, id: &str, what: &str) {
    let content = format!("still here after {what:.40}");
    client.say(&json!({ "header": { "to": id }, "body": { "content": content } }));
    let got = client.json();
    assert_eq!(got["body"]["content"], content, "{got}");
}

/// What the gateway answers to a command.
fn answer(client: &mut Client) -> Value {
    let said = client.json();
    assert_eq!(said["header"]["from"], "server", "{said}");
    serde_json::from_str(said["body"]["content"].as_str().unwrap()).unwrap()
}

fn command(account: &Account, content: &str) -> Value {
    let signature = account.sign(content.as_bytes());
    json!({ "header": { "to": "server", "signature": signature }, "body": { "content": content } })
}

#[test]
fn m23_what_is_no_message_is_ignored_and_the_connection_stays() {
    let gateway = gateway();
    let address = gateway.address;
    let alice = Account::registered(address, "alice");
    let mut client = connect(address, &alice, "");
    let to = |to: &str| json!({ "header": { "to": to }, "body": { "content": "x" } }).to_string();
    let header = |field: &str, value: Value| {
        let mut message = json!({ "header": { "to": "alice" }, "body": { "content": "x" } });
        message["header"][field] = value;
        message.to_string()
    };
    let texts = [
        String::new(),
        "x".into(),
        "null".into(),
        "[]".into(),
        "{}".into(),
        "{}{}".into(),
        "\u{feff}{}".into(),
        r#"{"header":{"to":"alice"},"body":{"content":"x"}"#.into(),
        r#"{"header":[],"body":{"content":"x"}}"#.into(),
        r#"{"header":{"to":"alice"},"body":"x"}"#.into(),
        r#"{"header":{"to":"alice"},"body":{"content":7}}"#.into(),
        "[".repeat(MIB),
        "{\"header\":".repeat(100_000),
        format!("{{\"header\":{}}}", "[".repeat(1000)),
        format!("{{\"x\":{}1{}}}", "[".repeat(5000), "]".repeat(5000)),
        to(""),
        to("a\nb"),
        to("\0"),
        to("\u{1b}[2J"),
        to("\u{85}"),
        to("system"),
        to(&"x".repeat(129)),
        header("message_type", "no such type".into()),
        header("message_type", 7.into()),
        header("timestamp", "yesterday".into()),
        header("timestamp", "2026-13-01T00:00:00Z".into()),
        header("timestamp", "2026-11-29T12:00:00.Z".into()),
        header(
            "timestamp",
            format!("2026-11-29T12:00:00.{}Z", "1".repeat(100)).into(),
        ),
        header("signature", "x".repeat(8193).into()),
        header("encrypted_key", "x".repeat(900_000).into()),
        header("encryption_nonce", json!({})),
        header("ack", "yes".into()),
    ];
    for text in &texts {
        client.send(0x81, text.as_bytes());
        // As bytes it is no better.
        client.send(0x82, text.as_bytes());
        check_goes_on(&mut client, "alice", text);
    }
    for bytes in [
        &b"\xff\xfe"[..],
        &[0; 1000],
        b"\x1f\x8b\x08",
        &[0xc3; 70_000],
    ] {
        client.send(0x82, bytes);
    }
    check_goes_on(&mut client, "alice", "bytes");
    let ignored = ["invalid", "unknown_type", "no_recipient"];
    let counted = ignored.map(|name| metric(address, &format!("messenger_{name}_total")));
    assert!(counted.iter().all(|count| *count > 0), "{counted:?}");
    // What is not UTF-8 is no text.
    client.send(0x81, b"{\"header\":\"\xff\"}");
    assert_eq!(client.until_close(), Some(1007));
}

#[test]
fn m23_a_sender_is_the_user_of_the_token_and_ids_are_compared_to_the_byte() {
    let gateway = gateway();
    let address = gateway.address;
    let [alice, bob] = ["alice", "Alice"].map(|id| Account::registered(address, id));
    let (mut client, mut other) = (connect(address, &alice, ""), connect(address, &bob, ""));
    for from in [
        "Alice",
        "alice ",
        "ALICE",
        "server",
        "system",
        "alice\0",
        "\u{430}lice",
    ] {
        client.say(&json!({
            "header": { "from": from, "to": "Alice" }, "body": { "content": "x" },
        }));
        let said = client.json();
        assert_eq!(said["body"]["content"], "Sender mismatch", "{from:?}");
    }
    // A name that is repeated is what the last one says, to the gateway and to the recipient.
    client.send(
        0x81,
        br#"{"header":{"from":"Alice","from":"alice","to":"x","to":"Alice"},"body":{"content":"y"}}"#,
    );
    let got = other.json();
    assert_eq!(
        (&got["header"]["from"], &got["body"]["content"]),
        (&"alice".into(), &"y".into())
    );
    // An id cannot leave its place in the frame.
    let id = r#"","from":"server"#;
    let strange = Account::registered(address, id);
    let mut third = connect(address, &strange, "");
    client.say(&json!({ "header": { "to": id }, "body": { "content": "\"}}{\"" } }));
    let got = third.json();
    assert_eq!(
        (&got["header"]["from"], &got["header"]["to"]),
        (&"alice".into(), &id.into())
    );
}

#[test]
fn m24_a_message_has_exactly_1_mib() {
    let gateway = gateway();
    let address = gateway.address;
    let alice = Account::registered(address, "alice");
    let mut client = connect(address, &alice, "&ack=true");
    let empty = json!({ "header": { "to": "alice" }, "body": { "content": "" } }).to_string();
    let message = |len: usize| {
        let content = "\u{1}".repeat((len - empty.len()) / 6);
        let rest = "x".repeat((len - empty.len()) % 6);
        let content = content + &rest;
        json!({ "header": { "to": "alice" }, "body": { "content": content } }).to_string()
    };
    let largest = message(MIB);
    assert_eq!(largest.len(), MIB);
    client.send(0x81, largest.as_bytes());
    let (first, second) = (client.json(), client.json());
    let got = if first.get("id").is_some() {
        first
    } else {
        second
    };
    let sent: Value = serde_json::from_str(&largest).unwrap();
    assert!(got["body"]["content"] == sent["body"]["content"]);
    client.send(0x81, message(MIB + 1).as_bytes());
    assert_eq!(client.until_close(), Some(1009));
    // Announced is as good as sent.
    let mut client = connect(address, &alice, "");
    client.send_bytes(&frame(0x82, &vec![0; MIB + 1])[..100]);
    assert_eq!(client.until_close(), Some(1009));
}

#[test]
fn m25_a_flood_costs_its_sender_and_no_one_else() {
    let process = Process::start(&["--shards", "1"]);
    let address = process.address;
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|id| Account::registered(address, id));
    let mut flooding = connect(address, &alice, "");
    let [mut bob, mut to_carol] = [connect(address, &bob, ""), connect(address, &carol, "")];
    let before = process.rss();
    let message = json!({ "header": { "to": "broadcast" }, "body": { "content": "x" } });
    let flood = frame(0x81, message.to_string().as_bytes()).repeat(1000);
    let stream = flooding.stream.try_clone().unwrap();
    stream
        .set_write_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    // It reads nothing of what it is told.
    let writing = thread::spawn(move || {
        let (mut stream, mut sent) = (stream, 0_u32);
        for _ in 0..200 {
            match stream.write(&flood) {
                Ok(written) if written == flood.len() => sent += 1000,
                Ok(_) => break,
                Err(_) => break,
            }
        }
        sent
    });
    let began = Instant::now();
    for number in 0..5 {
        let content = format!("in between {number}");
        bob.say(&json!({ "header": { "to": "carol" }, "body": { "content": content } }));
        loop {
            let got = to_carol.json();
            if got["body"]["content"] == content {
                break;
            }
            assert_eq!(got["header"]["from"], "alice");
        }
    }
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
    let sent = writing.join().unwrap();
    assert!(sent >= 1000, "{sent}");
    let grown = process.rss().saturating_sub(before);
    assert!(grown < 48 << 20, "{grown} bytes");
    // Of the flood others got what the limit of rates lets through.
    let mut got = 0;
    while !to_carol.is_silent(Duration::from_millis(300)) {
        assert_eq!(to_carol.json()["header"]["from"], "alice");
        got += 1;
    }
    assert!(got <= 200, "{got} of {sent}");
    drop(flooding.stream.read(&mut [0; 10]));
}

#[test]
fn m26_commands_are_signed_by_their_user_bounded_and_answered() {
    let gateway = gateway();
    let address = gateway.address;
    let (alice, mallory) = (
        Account::registered(address, "alice"),
        Account::new("mallory"),
    );
    let mut client = connect(address, &alice, "");
    let ping = r#"{"command":"ping","request_id":"r"}"#;
    let mut check = |message: Value, error: &str| {
        client.say(&message);
        let answer = answer(&mut client);
        assert_eq!(
            (&answer["success"], &answer["error"]),
            (&false.into(), &error.into())
        );
    };
    let mut unsigned = command(&alice, ping);
    unsigned["header"]["signature"] = Value::Null;
    check(unsigned, "Server messages must be signed");
    check(command(&mallory, ping), "Invalid signature");
    for signature in ["x", "!", "AAAA", &"A".repeat(8192), &alice.sign(b"another")] {
        let mut wrong = command(&alice, ping);
        wrong["header"]["signature"] = signature.into();
        check(wrong, "Invalid signature");
    }
    let deep = format!(r#"{{"command":"echo","params":{}}}"#, "[".repeat(10_000));
    for content in [
        "",
        "x",
        "[]",
        "null",
        r#"{"command":7}"#,
        r#"{"request_id":{}}"#,
        &*deep,
    ] {
        check(command(&alice, content), "Invalid server command format");
    }
    check(command(&alice, "{}"), "Unknown command: ");
    let strange = r#"{"command":"\u0000\"}\n"}"#;
    check(command(&alice, strange), "Unknown command: \0\"}\n");
    let long = format!(r#"{{"command":"ping","request_id":"{}"}}"#, "r".repeat(257));
    check(command(&alice, &long), "Invalid server command format");
    // A flood of them is answered one by one, however many are wrong.
    let flood = 500;
    let (good, bad) = (command(&alice, ping), command(&mallory, ping));
    let writing = thread::scope(|scope| {
        let mut stream = client.stream.try_clone().unwrap();
        let writing = scope.spawn(move || {
            for number in 0..flood {
                let text = if number % 2 == 0 { &good } else { &bad }.to_string();
                stream.write_all(&frame(0x81, text.as_bytes())).unwrap();
            }
        });
        let answers: Vec<_> = (0..flood).map(|_| answer(&mut client)).collect();
        let good = answers.iter().filter(|answer| answer["success"] == true);
        assert_eq!(good.count(), flood / 2);
        writing.join()
    });
    writing.unwrap();
    check_goes_on(&mut client, "alice", "commands");
}

#[test]
fn a27_logins_without_an_answer_take_no_memory_without_end_and_lock_nobody_out() {
    const LOGINS: usize = 30_000;
    let process = Process::start(&["--shards", "1"]);
    let address = process.address;
    let alice = Account::registered(address, "alice");
    let own = alice.challenge(address);
    let login = |id: &str| {
        let body = json!({ "user_id": id }).to_string();
        format!(
            "POST /auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let ask = |id: &dyn Fn(usize) -> String, count: usize| {
        let mut stream = Socket::connect(address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let mut left = count;
        while left > 0 {
            let now = left.min(50);
            let requests: String = (0..now).map(|it| login(&id(left - it))).collect();
            stream.write_all(requests.as_bytes()).unwrap();
            let (mut text, mut piece) = (String::new(), [0; 16 * 1024]);
            while text.matches("\"challenge\"").count() < now {
                let read = stream.read(&mut piece).unwrap();
                assert!(read > 0 && text.len() < MIB, "{text:.300}");
                text.push_str(&String::from_utf8_lossy(&piece[..read]));
            }
            left -= now;
        }
    };
    ask(&|number| format!("nobody {number}"), 1000);
    let before = process.rss();
    // Ids of nobody, and the longest there are.
    ask(
        &|number| format!("nobody {number} {}", "x".repeat(100)),
        LOGINS,
    );
    let grown = process.rss().saturating_sub(before);
    assert!(grown < 32 << 20, "{grown} bytes");
    // Who asked before all of them can still answer, and asking in another's name does not change that for long.
    assert_eq!(super::verify(address, &alice.answer(&own)).status, 200);
    ask(&|_| "alice".to_owned(), 100);
    alice.token(address);
}

#[test]
fn r18_connections_that_come_and_go_leave_nothing_and_lose_nothing() {
    let gateway = gateway();
    let address = gateway.address;
    let [alice, bob] = ["alice", "bob"].map(|id| Account::registered(address, id));
    let token = bob.token(address);
    let mut sender = connect(address, &alice, "");
    let say = |sender: &mut Client, number: usize| {
        sender
            .say(&json!({ "header": { "to": "bob" }, "body": { "content": number.to_string() } }));
    };
    let head = format!(
        "GET /ws?token={token} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    );
    // Half a request with a good token is no connection of its user.
    let mut slow: Vec<_> = (0..20).map(|_| Socket::connect(address).unwrap()).collect();
    for stream in &mut slow {
        stream.write_all(head.as_bytes()).unwrap();
    }
    assert_eq!(
        get(address, "/active-users").json()["online"],
        json!(["alice"])
    );
    // Whole ones whose client is gone before the answer.
    for _ in 0..200 {
        let mut stream = Socket::connect(address).unwrap();
        stream.write_all(format!("{head}\r\n").as_bytes()).unwrap();
    }
    let end = Instant::now() + Duration::from_secs(20);
    while get(address, "/active-users").json()["online"] != json!(["alice"]) {
        assert!(Instant::now() < end, "the user stays online");
        thread::sleep(Duration::from_millis(20));
    }
    // Ones that end with a close frame and data behind it, while messages come.
    let mut next = 0;
    for number in 0..30 {
        say(&mut sender, number);
        let mut client = Client::connect(address, &format!("/ws?token={token}&after={next}"));
        let got = client.json();
        assert_eq!(got["body"]["content"], number.to_string(), "{got}");
        next = got["id"].as_i64().unwrap();
        let end = [frame(0x88, &1000_u16.to_be_bytes()), frame(0x81, b"behind")].concat();
        client.send_bytes(&end);
        assert_eq!(client.until_close(), Some(1000));
    }
    // One that is replaced before it has begun.
    for stream in &mut slow {
        stream.write_all(b"\r\n").unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 101");
    }
    say(&mut sender, 30);
    let mut client = Client::connect(address, &format!("/ws?token={token}&after={next}"));
    loop {
        let got = client.json();
        if got["body"]["content"] == "30" {
            break;
        }
    }
}
