//! What is acknowledged is stored: the program is killed and stopped again and again under load, and begins again with the
//! same file.

use std::thread;
use std::time::Duration;

use serde_json::json;

use super::crowd::{Crowd, Member, Random, Repeats, check};
use super::{Account, Folder, get, post};
use crate::support::{Process, RaiseOnDrop};

/// How often the program is killed, unless `FANFARE_TEST_KILLS` says another number.
const KILLS: u64 = 20;

/// How often it is stopped in order.
const STOPS: u64 = 8;

/// How long it runs at most.
const RUN_MAX: Duration = Duration::from_millis(700);

/// How long a stop may take.
const STOP_MAX: Duration = Duration::from_secs(20);

/// The program with the store in this folder.
fn start(folder: &Folder) -> Process {
    let url = format!("sqlite:{}", folder.path("store.db"));
    let variables = [
        ("FANFARE_STORE__URL", &*url),
        ("FANFARE_MESSENGER__RATE_LIMIT", "0"),
        (
            "FANFARE_AUTH__JWT_SECRET",
            "a secret of these tests, of 32 bytes or more",
        ),
        ("FANFARE_SERVER__DRAIN_TIMEOUT", "5s"),
    ];
    Process::with(&["--shards", "2"], &variables)
}

/// Has users send and receive while `end` ends the program, so many times, at any moment.
fn run(name: &str, rounds: u64, repeats: Repeats, end: impl Fn(Process)) {
    let folder = Folder::new(name);
    let first = start(&folder);
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
            let answer = post(process.address, "/auth/register", &newcomer.registration());
            assert_eq!(answer.status, 201, "{answer:?}");
            end(process);
            process = start(&folder);
            crowd.move_to(process.address);
            let path = format!("/auth/check-userid/newcomer%20{round}");
            let exists = get(process.address, &path).json();
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
    check_file(&folder, &members);
}

/// Checks the database of a program that has stopped in order.
fn check_file(folder: &Folder, members: &[Member]) {
    let file = rusqlite::Connection::open(folder.path("store.db")).unwrap();
    let checked = file.pragma_query_value(None, "integrity_check", |row| row.get(0));
    assert_eq!(checked, Ok("ok".to_owned()));
    let count = |sql: &str| file.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    let pending =
        "SELECT count(*) FROM messages WHERE message_type = 'direct' AND status <> 'delivered'";
    assert_eq!(count(pending), 0);
    let open = "SELECT count(*) FROM sessions WHERE disconnected_at IS NULL";
    assert_eq!(count(open), 0);
    let twice = "SELECT count(*) FROM broadcast_deliveries b JOIN messages m ON m.id = b.message_id \
                 WHERE m.from_user = b.user_id OR m.is_broadcast = 0";
    assert_eq!(count(twice), 0);
    for member in members {
        let missing = format!(
            "SELECT count(*) FROM messages m WHERE is_broadcast AND from_user <> '{0}' AND NOT EXISTS \
             (SELECT 1 FROM broadcast_deliveries WHERE message_id = m.id AND user_id = '{0}')",
            member.account.id
        );
        assert_eq!(count(&missing), 0, "{}", member.account.id);
    }
}

#[test]
fn r17_what_is_acknowledged_survives_kills_and_comes_once() {
    let asked = std::env::var("FANFARE_TEST_KILLS");
    let kills = asked.map_or(KILLS, |kills| kills.parse().expect("a number"));
    // It is killed when it is dropped.
    run("kills", kills, Repeats::AfterKills, drop);
}

#[test]
fn r17_stopping_in_order_loses_and_repeats_nothing() {
    run("stops", STOPS, Repeats::None, |process| {
        process.signal("TERM");
        let (status, log) = process.finish(STOP_MAX);
        assert!(status.success(), "{status}: {log}");
    });
}
