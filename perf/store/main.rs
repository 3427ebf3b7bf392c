//! Messages a second that the store commits, beside a bare loop of batched inserts into the same tables.
//!
//! `cargo run --release --example store -- [FOLDER] [MESSAGES]`: both write the same rows with the same pragmas, 256 in
//! a transaction, to files in FOLDER, which should be on the disk that a gateway would use.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fanfare::config::{Config, Mode, StoreSettings};
use fanfare::store::{
    Attach, Duplicate, Mailbox, MessageKind, NewMessage, NewUser, ROWS_MAX, Store,
};
use rusqlite::Connection;

/// Messages that wait for their answers at once.
const WINDOW: usize = 4096;

/// Users that messages are sent to.
const USERS: usize = 1000;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().unwrap_or_else(|| ".".to_owned());
    let messages = arguments.next().map_or(200_000, |it| {
        it.parse().expect("the number of messages is a number")
    });
    let folder = tempfile::TempDir::new_in(folder).expect("the folder can be written to");
    for _ in 0..3 {
        let bare = bare(&folder.path().join("bare.db"), messages);
        report("bare inserts, 256 a transaction", messages, bare);
        let store = stored(&folder.path().join("store.db"), messages, 0);
        report("Store::put, nobody attached", messages, store);
        let live = stored(&folder.path().join("live.db"), messages, USERS);
        report("Store::put, delivered and marked so", messages, live);
    }
}

fn report(what: &str, messages: usize, took: Duration) {
    let rate = messages as f64 / took.as_secs_f64();
    println!("{what:<40} {rate:>10.0} messages/s");
}

fn message(number: usize) -> NewMessage {
    NewMessage {
        from: format!("user{}", number / 7 % USERS).into(),
        to: format!("user{}", number * 31 % USERS).into(),
        kind: MessageKind::Direct,
        timestamp: "2026-11-29T22:30:00.123Z".into(),
        content: "a message of some length, as people write them to each other in a chat, with a bit more".into(),
        signature: "c2lnbmF0dXJl".repeat(7).into(),
        encrypted_key: "".into(),
        encryption_nonce: "".into(),
        status: "pending",
    }
}

fn settings(path: &Path) -> StoreSettings {
    let mut settings = Config::for_mode(Mode::Demo).store;
    settings.url = Some(format!("sqlite:{}", path.display()));
    settings
}

/// The time of a loop that does nothing but insert, into tables that a store has made.
fn bare(path: &Path, messages: usize) -> Duration {
    remove(path);
    let opened = Store::open(&settings(path), false);
    opened.expect("the store can be opened").stop();
    let connection = Connection::open(path).expect("the database can be opened");
    for (pragma, value) in [("journal_mode", "WAL"), ("synchronous", "FULL")] {
        let set = connection.pragma_update(None, pragma, value);
        set.expect("the pragma can be set");
    }
    let began = Instant::now();
    let mut left: VecDeque<_> = (0..messages).collect();
    while !left.is_empty() {
        let batch: Vec<_> = left
            .drain(..left.len().min(ROWS_MAX))
            .map(message)
            .collect();
        insert(&connection, &batch).expect("rows can be inserted");
    }
    began.elapsed()
}

fn insert(connection: &Connection, batch: &[NewMessage]) -> rusqlite::Result<()> {
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let mut statement = connection.prepare_cached(
        "INSERT INTO messages (from_user, to_user, timestamp, content, status, is_broadcast, message_type, \
         signature, encrypted_key, encryption_nonce) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?;
    for it in batch {
        statement.execute(rusqlite::params![
            it.from,
            it.to,
            it.timestamp,
            it.content,
            it.status,
            false,
            "direct",
            it.signature,
            it.encrypted_key,
            it.encryption_nonce,
        ])?;
    }
    connection.execute_batch("COMMIT")
}

/// The time until all messages are answered for. The first `attached` users take theirs and say so.
fn stored(path: &Path, messages: usize, attached: usize) -> Duration {
    remove(path);
    let store = Store::open(&settings(path), false).expect("the store can be opened");
    let mailboxes: Vec<_> = (0..attached).map(|user| attach(&store, user)).collect();
    let began = Instant::now();
    let mut waiting = VecDeque::with_capacity(WINDOW);
    let mut taken = 0;
    for number in 0..messages {
        if waiting.len() == WINDOW {
            wait(&mut waiting, WINDOW / 2);
            taken += take(&store, &mailboxes);
        }
        waiting.push_back(store.put(message(number)));
    }
    let all = waiting.len();
    wait(&mut waiting, all);
    while attached > 0 && taken < messages {
        taken += take(&store, &mailboxes);
    }
    store.stop();
    began.elapsed()
}

fn wait(waiting: &mut VecDeque<fanfare::store::Reply<fanfare::store::Stored>>, count: usize) {
    for reply in waiting.drain(..count) {
        let answer = reply.blocking_recv().expect("the store answers");
        answer.expect("messages are stored");
    }
}

fn take(store: &Store, mailboxes: &[Arc<Mailbox>]) -> usize {
    let mut taken = 0;
    for mailbox in mailboxes {
        let mut ids = Vec::new();
        while let Some(delivery) = mailbox.pop() {
            ids.push(delivery.message.id);
        }
        if mailbox.is_behind() {
            store.refill(mailbox);
        }
        taken += ids.len();
        store.delivered(mailbox, ids);
    }
    taken
}

fn attach(store: &Store, user: usize) -> Arc<Mailbox> {
    let id: Box<str> = format!("user{user}").into();
    let user = NewUser {
        id: id.clone(),
        username: id.clone(),
        public_key: [1; 32],
        x25519_public_key: "".into(),
    };
    let registered = store.register(user).blocking_recv();
    registered
        .expect("the store answers")
        .expect("users are stored");
    let mailbox = Mailbox::new();
    let attach = Attach {
        user: id,
        address: "".into(),
        user_agent: "".into(),
        after: None,
        duplicate: Duplicate::Replace,
        mailbox: mailbox.clone(),
    };
    let attached = store.attach(attach).blocking_recv();
    attached
        .expect("the store answers")
        .expect("users are attached");
    mailbox
}

fn remove(path: &Path) {
    for end in ["", "-wal", "-shm", "-lock"] {
        let _ = std::fs::remove_file(format!("{}{end}", path.display()));
    }
}
