//! A disk without room: messages are refused with a code, the rest goes on, and so do messages when there is room again.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Account, Folder, get, post};
use crate::support::{Client, Process, metric};

/// A small file system of its own, which goes when this is dropped.
struct SmallDisk(Folder);

impl SmallDisk {
    /// `None`, with a printed reason, where it cannot be made.
    fn new(name: &str, megabytes: u32) -> Option<Self> {
        let folder = Folder::new(name);
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "tmpfs"])
            .arg(&folder.0)
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(folder)),
            Ok(output) => {
                println!("left out: {}", String::from_utf8_lossy(&output.stderr));
                None
            }
            Err(error) => {
                println!("left out: no mount: {error}");
                None
            }
        }
    }

    /// Takes all room but for about so many bytes.
    fn fill(&self, left: usize) {
        let path = self.0.path("filler");
        let mut size = 64 * 1024 * 1024;
        while size > 4096 {
            let mut bytes = fs::read(&path).unwrap_or_default();
            bytes.resize(bytes.len() + size, 1);
            if fs::write(&path, &bytes).is_err() {
                bytes.truncate(bytes.len() - size);
                fs::write(&path, &bytes).unwrap();
                size /= 2;
            }
        }
        let len = fs::metadata(&path).unwrap().len();
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(len.saturating_sub(left as u64)).unwrap();
    }

    /// Gives that room back.
    fn clear(&self) {
        fs::remove_file(self.0.path("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0.0).status();
    }
}

fn start(disk: &SmallDisk) -> Process {
    let url = format!("sqlite:{}", disk.0.path("store.db"));
    let variables = [
        ("FANFARE_STORE__URL", &*url),
        ("FANFARE_MESSENGER__RATE_LIMIT", "0"),
        (
            "FANFARE_AUTH__JWT_SECRET",
            "a secret of these tests, of 32 bytes or more",
        ),
    ];
    Process::with(&[], &variables)
}

fn connect(address: SocketAddr, account: &Account, query: &str) -> Client {
    let token = account.token(address);
    Client::connect(address, &format!("/ws?token={token}{query}"))
}

/// Sends a message to bob; the id of the acknowledgement, or the code of the refusal.
fn send(client: &mut Client, content: &str) -> Result<i64, String> {
    client.say(&json!({ "header": { "to": "bob" }, "body": { "content": content } }));
    let answer = client.json();
    let content = answer["body"]["content"].as_str().unwrap();
    let answer: Value = serde_json::from_str(content).unwrap();
    let code = || answer["code"].as_str().unwrap().to_owned();
    answer["ack"].as_i64().ok_or_else(code)
}

fn status_of_store(address: SocketAddr) -> Value {
    let health = get(address, "/health");
    assert_eq!(health.status, 200, "{health:?}");
    health.json()["status"].clone()
}

#[test]
fn r13_a_full_disk_refuses_messages_until_there_is_room_and_stops_nothing_else() {
    let Some(disk) = SmallDisk::new("disk", 24) else {
        return;
    };
    let process = start(&disk);
    let address = process.address;
    let (alice, bob) = (
        Account::registered(address, "alice"),
        Account::registered(address, "bob"),
    );
    let mut sender = connect(address, &alice, "&ack=true");
    let mut stored = Vec::new();
    let text = |number: usize| format!("{number} {}", "x".repeat(16_000));
    for number in 0..20 {
        stored.push((send(&mut sender, &text(number)).unwrap(), text(number)));
    }
    assert_eq!(status_of_store(address), "healthy");
    let mut events = Client::events(address);
    events.subscribe(&["price.updated"]);
    disk.fill(64 * 1024);
    let began = Instant::now();
    let mut number = 20;
    let code = loop {
        match send(&mut sender, &text(number)) {
            Ok(id) => stored.push((id, text(number))),
            Err(code) => break code,
        }
        number += 1;
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "there is room without end"
        );
    };
    assert_eq!(code, "STORE_FULL");
    assert_eq!(status_of_store(address), "degraded");
    assert_eq!(metric(address, "store_full"), 1);
    // What is stored can be read.
    let carol = Account::new("carol");
    let answer = post(address, "/auth/register", &carol.registration());
    // A short row may find room where a long one does not.
    assert!([201, 507].contains(&answer.status), "{answer:?}");
    let is_registered = answer.status == 201;
    let exists = get(address, "/auth/check-userid/carol").json();
    assert_eq!(exists, json!({ "exists": is_registered }));
    assert_eq!(get(address, "/auth/users/bob").status, 200);
    assert_eq!(
        get(address, "/active-users").json()["online"],
        json!(["alice"])
    );
    // Those of other protocols notice nothing.
    let event = json!({ "event": "price.updated", "data": { "price": 7 } });
    let published = post(address, "/api/v1/events", &event);
    assert_eq!(published.status, 202, "{published:?}");
    assert_eq!(events.json()["event"], "price.updated");
    // Who connects gets what waited, though what it got is not noted.
    let mut receiver = connect(address, &bob, "");
    for (id, text) in &stored {
        let got = receiver.json();
        assert_eq!(
            (&got["id"], &got["body"]["content"]),
            (&(*id).into(), &(&**text).into())
        );
    }
    drop(receiver);
    disk.clear();
    let again = Instant::now();
    loop {
        match send(&mut sender, "after") {
            Ok(id) => break stored.push((id, "after".to_owned())),
            Err(code) => assert_eq!(code, "STORE_FULL"),
        }
        thread::sleep(Duration::from_millis(100));
        assert!(
            again.elapsed() < Duration::from_secs(10),
            "it does not go on"
        );
    }
    // It says so a while after it has refused something last.
    while status_of_store(address) != "healthy" {
        thread::sleep(Duration::from_millis(100));
        assert!(again.elapsed() < Duration::from_secs(10), "it stays full");
    }
    let answer = post(address, "/auth/register", &carol.registration());
    assert_eq!(
        answer.status,
        if is_registered { 409 } else { 201 },
        "{answer:?}"
    );
    drop(process);
    // The ids that were acknowledged are in the file, in order, once.
    let process = start(&disk);
    let (first, last) = (stored[0].0 - 1, stored.last().unwrap().0);
    let mut receiver = connect(process.address, &bob, &format!("&after={first}"));
    for (id, text) in &stored {
        let got = receiver.json();
        assert_eq!(
            (&got["id"], &got["body"]["content"]),
            (&(*id).into(), &(&**text).into())
        );
    }
    let mut sender = connect(process.address, &alice, "&ack=true");
    assert!(send(&mut sender, "again").unwrap() > last);
    assert_eq!(receiver.json()["body"]["content"], "again");
}
