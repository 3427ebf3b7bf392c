//! What is acknowledged is stored: the program is killed and stopped again and again under load, and begins again with the
//! same file.

use std::io::Write;
use std::net::SocketAddr;
use std::process::Command;
use std::thread;
use std::time::Duration;

use serde_json::json;

use super::crowd::{Crowd, Member, Random, Repeats, check};
use super::{Account, Folder};
use crate::support::{PostgresServer, Process, RaiseOnDrop, Response, Socket, read_response};

/// How often the program is killed, unless `FANFARE_TEST_KILLS` says another number.
const KILLS: u64 = 20;

/// How often it is stopped in order.
const STOPS: u64 = 8;

/// How long it runs at most.
const RUN_MAX: Duration = Duration::from_millis(700);

/// How long a stop may take.
const STOP_MAX: Duration = Duration::from_secs(20);

/// The program with the store at this address.
fn start(url: &str) -> Process {
    let variables = [
        ("FANFARE_STORE__URL", url),
        ("FANFARE_MESSENGER__RATE_LIMIT", "0"),
        (
            "FANFARE_AUTH__JWT_SECRET",
            "a secret of these tests, of 32 bytes or more",
        ),
        ("FANFARE_SERVER__DRAIN_TIMEOUT", "5s"),
    ];
    Process::with(&["--shards", "2"], &variables)
}

/// A request of a patient client: everything else is busy, too.
fn ask(address: SocketAddr, line: &str, body: &str) -> Response {
    let mut stream = Socket::connect(address).unwrap();
    stream.set_read_timeout(Some(STOP_MAX)).unwrap();
    let len = body.len();
    let request = format!(
        "{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).unwrap();
    read_response(&mut stream)
}

/// Has users send and receive while `end` ends the program, so many times, at any moment. Then `count` counts in its
/// database.
fn run(
    url: &str,
    (rounds, repeats): (u64, Repeats),
    end: impl Fn(Process),
    count: impl Fn(&str) -> i64,
) {
    let first = start(url);
    let members = Member::crowd(first.address);
    let last = Account::registered(first.address, "last");
    let crowd = Crowd::default();
    crowd.move_to(first.address);
    let mut random = Random::new();
    let (process, seen) = thread::scope(|scope| {
        let mut process = first;
        let raise = RaiseOnDrop(crowd.failed());
        let attending: Vec<_> = members
            .iter()
            .map(|member| scope.spawn(|| crowd.attend(member, &members, Random::new())))
            .collect();
        for round in 0..rounds {
            thread::sleep(random.time(RUN_MAX));
            let newcomer = Account::new(&format!("newcomer {round}"));
            let body = newcomer.registration().to_string();
            let answer = ask(process.address, "POST /auth/register", &body);
            assert_eq!(answer.status, 201, "{answer:?}");
            end(process);
            process = start(url);
            crowd.move_to(process.address);
            let line = format!("GET /auth/check-userid/newcomer%20{round}");
            let exists = ask(process.address, &line, "").json();
            assert_eq!(exists, json!({ "exists": true }), "{round}");
        }
        crowd.finish(process.address, &last);
        let attended = attending.into_iter().map(|it| it.join().unwrap());
        let seen: Vec<_> = attended.collect();
        drop(raise);
        (process, seen)
    });
    process.signal("TERM");
    let (status, log) = process.finish(STOP_MAX);
    assert!(status.success(), "{status}: {log}");
    check(&seen, repeats);
    check_tables(count, &members);
}

/// The address of a file, for which `fanfare store check` and SQLite's own check find nothing wrong afterwards.
fn run_with_file(name: &str, rounds: (u64, Repeats), end: impl Fn(Process)) {
    let folder = Folder::new(name);
    let path = folder.path("store.db");
    run(&format!("sqlite:{path}"), rounds, end, |sql| {
        let file = rusqlite::Connection::open(&path).unwrap();
        file.query_row(sql, [], |row| row.get(0)).unwrap()
    });
    let checked = Command::new(env!("CARGO_BIN_EXE_fanfare"))
        .args(["store", "--database", &path, "check"])
        .env_clear()
        .env("FANFARE_ENV_FILE", "")
        .output();
    let checked = checked.unwrap();
    assert!(checked.status.success(), "{checked:?}");
    let file = rusqlite::Connection::open(&path).unwrap();
    let checked = file.pragma_query_value(None, "integrity_check", |row| row.get(0));
    assert_eq!(checked, Ok("ok".to_owned()));
}

/// Checks the database of a program that has stopped in order.
fn check_tables(count: impl Fn(&str) -> i64, members: &[Member]) {
    let pending =
        "SELECT count(*) FROM messages WHERE message_type = 'direct' AND status <> 'delivered'";
    assert_eq!(count(pending), 0);
    let open = "SELECT count(*) FROM sessions WHERE disconnected_at IS NULL";
    assert_eq!(count(open), 0);
    let twice = "SELECT count(*) FROM broadcast_deliveries b JOIN messages m ON m.id = b.message_id \
                 WHERE m.from_user = b.user_id OR NOT m.is_broadcast";
    assert_eq!(count(twice), 0);
    for member in members {
        let missing = format!(
            "SELECT count(*) FROM messages m WHERE is_broadcast AND from_user <> '{0}' \
             AND id > (SELECT registered_after FROM users WHERE user_id = '{0}') \
             AND id > (SELECT broadcasts_to FROM users WHERE user_id = '{0}') AND NOT EXISTS \
             (SELECT 1 FROM broadcast_deliveries WHERE message_id = m.id AND user_id = '{0}')",
            member.account.id
        );
        assert_eq!(count(&missing), 0, "{}", member.account.id);
    }
}

fn kills() -> u64 {
    let asked = std::env::var("FANFARE_TEST_KILLS");
    asked.map_or(KILLS, |kills| kills.parse().expect("a number"))
}

#[test]
fn r17_what_is_acknowledged_survives_kills_and_comes_once() {
    // It is killed when it is dropped.
    run_with_file("kills", (kills(), Repeats::AfterKills), drop);
}

#[test]
fn r17_what_a_server_has_stored_survives_kills_and_comes_once() {
    let server = PostgresServer::start();
    let url = server.create("kills");
    let rounds = (kills(), Repeats::AfterKills);
    run(&url, rounds, drop, |sql| server.count("kills", sql));
}

#[test]
fn r17_stopping_in_order_loses_and_repeats_nothing() {
    run_with_file("stops", (STOPS, Repeats::None), |process| {
        process.signal("TERM");
        let (status, log) = process.finish(STOP_MAX);
        assert!(status.success(), "{status}: {log}");
    });
}
