//! A database that fails: what is refused, what goes on, and what is stored once there is room.

use std::sync::atomic::AtomicU8;

use super::*;
use crate::store::database::{NewSession, Wanted};

const GOOD: u8 = 0;
const FULL: u8 = 1;
const BROKEN: u8 = 2;
const LOCKED: u8 = 3;
const NO_MESSAGES: u8 = 4;
/// The next commit fails as in [`BROKEN`], and no other one.
const BROKEN_ONCE: u8 = 5;
/// Set by the thread that waits until it is set to something else: that of whoever asks for the user `held`.
const HELD: u8 = 6;

/// A database whose commits fail as they are told to.
#[derive(Debug)]
struct Failing {
    database: Box<dyn Database>,
    mode: Arc<AtomicU8>,
}

impl Failing {
    fn check(&self) -> Result<(), Fault> {
        match self.mode.load(Ordering::SeqCst) {
            FULL => Err(Fault::Full),
            BROKEN => Err(Fault::Broken("fsync: EIO".to_owned())),
            BROKEN_ONCE => {
                self.mode.store(GOOD, Ordering::SeqCst);
                Err(Fault::Broken("fsync: EIO".to_owned()))
            }
            LOCKED => Err(Fault::Locked),
            _ => Ok(()),
        }
    }

    /// As [`Self::check`], for what is large.
    fn check_large(&self) -> Result<(), Fault> {
        match self.mode.load(Ordering::SeqCst) {
            NO_MESSAGES => Err(Fault::Full),
            _ => Ok(()),
        }
    }
}

impl Database for Failing {
    fn begin(&mut self) -> Result<(), Fault> {
        self.database.begin()
    }
    fn commit(&mut self) -> Result<(), Fault> {
        self.check()?;
        self.database.commit()
    }
    fn rollback(&mut self) {
        self.database.rollback();
    }
    fn put(&mut self, message: &NewMessage) -> Result<i64, Fault> {
        self.check_large()?;
        self.database.put(message)
    }
    fn register(&mut self, user: &NewUser, now: &str) -> Result<bool, Fault> {
        self.database.register(user, now)
    }
    fn begin_session(&mut self, session: &NewSession<'_>) -> Result<(), Fault> {
        self.database.begin_session(session)
    }
    fn count_session(&mut self, id: &str, sent: u64, received: u64) -> Result<(), Fault> {
        self.database.count_session(id, sent, received)
    }
    fn end_session(&mut self, id: &str, now: &str) -> Result<(), Fault> {
        self.database.end_session(id, now)
    }
    fn mark_delivered(&mut self, user: &str, ids: &[i64], now: &str) -> Result<(), Fault> {
        self.database.mark_delivered(user, ids, now)
    }
    fn mark_delivered_to(&mut self, user: &str, id: i64) -> Result<(), Fault> {
        self.database.mark_delivered_to(user, id)
    }
    fn raise_broadcasts(&mut self, user: &str, id: i64) -> Result<(), Fault> {
        self.database.raise_broadcasts(user, id)
    }
    fn probe(&mut self, now: &str) -> Result<(), Fault> {
        self.check().and_then(|()| self.check_large())?;
        self.database.probe(now)
    }
    fn put_metric(&mut self, row: &MetricRow) -> Result<(), Fault> {
        self.database.put_metric(row)
    }
    fn user(&mut self, id: &str) -> Result<Option<User>, Fault> {
        assert!(id != "panic", "as it is told to");
        if id == "held" {
            self.mode.store(HELD, Ordering::SeqCst);
            until(|| self.mode.load(Ordering::SeqCst) != HELD);
        }
        self.database.user(id)
    }
    fn user_ids(&mut self, take: &mut dyn FnMut(&str) -> bool) -> Result<(), Fault> {
        self.database.user_ids(take)
    }
    fn newest(&mut self) -> Result<i64, Fault> {
        self.database.newest()
    }
    fn wanted(
        &mut self,
        wanted: &Wanted<'_>,
        take: &mut dyn FnMut(Message) -> bool,
    ) -> Result<bool, Fault> {
        self.database.wanted(wanted, take)
    }
    fn statistics(&mut self) -> Result<Statistics, Fault> {
        self.database.statistics()
    }
    fn rest(&mut self, is_idle: bool) -> Result<(), Fault> {
        self.database.rest(is_idle)
    }
    fn close(self: Box<Self>) {
        self.database.close();
    }
}

fn failing(home: &Home) -> (Arc<Store>, Arc<AtomicU8>) {
    let path = home.settings.url.as_deref().unwrap();
    let path = Path::new(path.strip_prefix("sqlite:").unwrap());
    let mode = Arc::new(AtomicU8::new(GOOD));
    let database = Box::new(Failing {
        database: Box::new(Sqlite::open(path, None).unwrap()),
        mode: mode.clone(),
    });
    (Store::start(&home.settings, database, None).unwrap(), mode)
}

fn refused(store: &Store, content: &str) -> Refused {
    let reply = store.put(message("ann", "bob", content));
    reply.blocking_recv().unwrap().unwrap_err()
}

fn until(what: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !what() {
        assert!(Instant::now() < end);
        thread::yield_now();
    }
}

#[test]
fn r13_a_failed_commit_poisons_the_store_until_a_restart_and_connections_go_on() {
    let home = Home::new();
    let (store, mode) = failing(&home);
    register(&store, "bob");
    let before = attach(&store, "bob");
    assert_eq!(put(&store, "ann", "bob", "one").message.id, 1);
    mode.store(BROKEN, Ordering::SeqCst);
    assert_eq!(refused(&store, "lost"), Refused::Poisoned);
    assert_eq!(store.health(), StoreHealth::Poisoned("fsync: EIO".into()));
    // What the disk may have now is not to be trusted, even if the next write works.
    mode.store(GOOD, Ordering::SeqCst);
    assert_eq!(refused(&store, "lost too"), Refused::Poisoned);
    let registered = store.register(user("eve")).blocking_recv().unwrap();
    assert_eq!(registered.unwrap_err(), Refused::Poisoned);
    assert!(!store.is_registered("eve"));
    assert_eq!(before.pop().unwrap().message.id, 1);
    store.detach(&before, Vec::new(), 0, 0);
    // A new connection has no messages, and can still ask the gateway.
    assert_empty(&store, &attach(&store, "bob"));
    store.stop();
    let store = home.open();
    assert_eq!(store.health(), StoreHealth::Good);
    let bob = attach(&store, "bob");
    assert_eq!(contents(&take(&store, &bob, 1)), ["one"]);
    assert_empty(&store, &bob);
}

#[test]
fn r13_what_waits_for_the_turn_in_which_the_store_fails_is_refused() {
    let home = Home::new();
    let (store, mode) = failing(&home);
    register(&store, "bob");
    put(&store, "ann", "bob", "one");
    let bob = attach(&store, "bob");
    let taken = take(&store, &bob, 1);
    // What was delivered is written apart where there is little room.
    mode.store(FULL, Ordering::SeqCst);
    assert_eq!(refused(&store, "refused"), Refused::DiskFull);
    // Both wait for the same turn. A second commit in it would do.
    let held = store.user("held");
    until(|| mode.load(Ordering::SeqCst) == HELD);
    store.detach(&bob, ids(&taken), 1, 0);
    let reply = store.put(message("ann", "bob", "lost"));
    mode.store(BROKEN_ONCE, Ordering::SeqCst);
    assert_eq!(held.blocking_recv().unwrap().unwrap(), None);
    let lost = reply.blocking_recv().unwrap();
    assert_eq!(lost.unwrap_err(), Refused::Poisoned);
    assert_eq!(store.health(), StoreHealth::Poisoned("fsync: EIO".into()));
    store.stop();
    let store = home.open();
    let bob = attach(&store, "bob");
    assert_eq!(contents(&take(&store, &bob, 1)), ["one"]);
    assert_empty(&store, &bob);
}

#[test]
fn r13_a_full_disk_refuses_until_there_is_room_and_forgets_no_delivery() {
    let home = Home::new();
    let (store, mode) = failing(&home);
    register(&store, "bob");
    put(&store, "ann", "bob", "one");
    mode.store(FULL, Ordering::SeqCst);
    assert_eq!(refused(&store, "refused"), Refused::DiskFull);
    assert_eq!(store.health(), StoreHealth::DiskFull);
    let bob = attach(&store, "bob");
    let taken = take(&store, &bob, 1);
    assert_eq!(contents(&taken), ["one"]);
    store.detach(&bob, ids(&taken), 1, 0);
    // It is not delivered again, though the database cannot know.
    let bob = attach(&store, "bob");
    assert_empty(&store, &bob);
    store.detach(&bob, Vec::new(), 0, 0);
    mode.store(GOOD, Ordering::SeqCst);
    until(|| store.health() == StoreHealth::Good);
    let bob = attach(&store, "bob");
    put(&store, "ann", "bob", "two");
    assert_eq!(contents(&take(&store, &bob, 1)), ["two"]);
}

#[test]
fn a_full_store_that_nobody_writes_to_finds_out_that_it_has_room() {
    let home = Home::new();
    let (store, mode) = failing(&home);
    mode.store(FULL, Ordering::SeqCst);
    assert_eq!(refused(&store, "refused"), Refused::DiskFull);
    mode.store(GOOD, Ordering::SeqCst);
    until(|| store.health() == StoreHealth::Good);
}

#[test]
fn a_database_that_another_process_has_locked_is_busy() {
    let home = Home::new();
    let (store, mode) = failing(&home);
    mode.store(LOCKED, Ordering::SeqCst);
    assert_eq!(refused(&store, "refused"), Refused::Busy);
    assert_eq!(store.health(), StoreHealth::Unreachable);
    mode.store(GOOD, Ordering::SeqCst);
    assert_eq!(put(&store, "ann", "bob", "one").message.id, 1);
    assert_eq!(store.health(), StoreHealth::Good);
}

#[test]
fn a_store_with_room_for_small_rows_alone_stays_full() {
    let home = Home::new();
    let (store, mode) = failing(&home);
    register(&store, "bob");
    mode.store(NO_MESSAGES, Ordering::SeqCst);
    for _ in 0..20 {
        assert_eq!(refused(&store, "refused"), Refused::DiskFull);
        let bob = attach(&store, "bob");
        store.detach(&bob, Vec::new(), 0, 0);
        assert_empty(&store, &bob);
        assert_eq!(store.health(), StoreHealth::DiskFull);
    }
    mode.store(GOOD, Ordering::SeqCst);
    until(|| store.health() == StoreHealth::Good);
}

#[test]
fn a_panic_of_the_thread_is_a_failed_store_and_answers_what_waits() {
    let home = Home::new();
    let (store, _) = failing(&home);
    let waiting: Vec<_> = (0..2).map(|n| store.user(["panic", "bob"][n])).collect();
    for reply in waiting {
        // Dropped, or refused.
        assert!(!matches!(reply.blocking_recv(), Ok(Ok(_))));
    }
    until(|| matches!(store.health(), StoreHealth::Poisoned(_)));
    let reply = store.user("bob").blocking_recv().unwrap();
    assert_eq!(reply.unwrap_err(), Refused::Stopped);
    store.stop();
}

#[test]
fn a_database_at_its_limit_is_full_and_reads_go_on() {
    let mut home = Home::new();
    home.settings.max_database_size = Some(256 * 1024);
    let store = home.open();
    register(&store, "bob");
    let large = "x".repeat(40_000);
    let mut stored = 0;
    let why = loop {
        match store.put(message("ann", "bob", &large)).blocking_recv() {
            Ok(Ok(_)) => stored += 1,
            Ok(Err(why)) => break why,
            Err(_) => unreachable!(),
        }
        assert!(stored < 20);
    };
    assert_eq!(why, Refused::DiskFull);
    assert!(stored > 2);
    let bob = attach(&store, "bob");
    assert_eq!(take(&store, &bob, stored).len(), stored);
    store.stop();
    home.settings.max_database_size = None;
    let store = home.open();
    put(&store, "ann", "bob", &large);
}

#[test]
fn a_lane_that_is_full_refuses() {
    let mut home = Home::new();
    (home.settings.max_waiting, home.settings.max_waiting_size) = (4, 1000);
    let store = home.open();
    let replies: Vec<_> = (0..2000)
        .map(|_| store.put(message("ann", "bob", &"x".repeat(400))))
        .collect();
    let (mut stored, mut busy) = (0, 0);
    for reply in replies {
        match reply.blocking_recv().unwrap() {
            Ok(_) => stored += 1,
            Err(why) => {
                assert_eq!(why, Refused::Busy);
                busy += 1;
            }
        }
    }
    assert!(stored > 0 && busy > 0, "{stored} {busy}");
    let mut metrics = String::new();
    store.render_prometheus(&mut metrics);
    let line = format!("fanfare_store_refused_total{{code=\"STORE_BUSY\"}} {busy}\n");
    assert!(metrics.contains(&line), "{metrics}");
    let line = format!("fanfare_store_messages_total {stored}\n");
    assert!(metrics.contains(&line), "{metrics}");
}

#[test]
fn the_limit_of_users_holds_within_one_transaction() {
    let mut home = Home::new();
    home.settings.max_users = 3;
    let store = home.open();
    let names = ["a", "b", "a", "c", "d", "e", "a"];
    // All are asked before the first is answered.
    let mut replies = Vec::new();
    for id in names {
        replies.push(store.register(user(id)));
    }
    let answers = replies.into_iter().map(|reply| reply.blocking_recv());
    let answers: Vec<_> = answers.map(Result::unwrap).collect();
    let new = answers.iter().filter(|it| **it == Ok(Registered::New));
    assert_eq!(new.count(), 3);
    assert_eq!(answers[4], Err(Refused::UsersMax));
    let list = store.list(10).blocking_recv().unwrap().unwrap();
    assert_eq!(list.offline, ["a", "b", "c"].map(Into::into));
    assert_eq!(list.total, 3);
}

/// A file system of this size, gone at the end.
struct SmallDisk(TempDir);

impl SmallDisk {
    /// `None` where it cannot be mounted.
    fn mount(size: &str) -> Option<Self> {
        let folder = TempDir::new().unwrap();
        let options = format!("size={size}");
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]);
        let mounted = mount.arg(folder.path()).status();
        mounted.is_ok_and(|it| it.success()).then_some(Self(folder))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let mut unmount = std::process::Command::new("umount");
        let _ = unmount.args(["-l".as_ref(), self.0.path()]).status();
    }
}

#[test]
fn r13_on_a_disk_that_fills_up_nothing_acknowledged_is_lost() {
    let Some(disk) = SmallDisk::mount("2m") else {
        println!("not run: no file system can be mounted here");
        return;
    };
    let mut home = Home::new();
    let path = disk.0.path().join("store.db");
    home.settings.url = Some(format!("sqlite:{}", path.display()));
    let store = home.open();
    register(&store, "bob");
    let ballast = disk.0.path().join("ballast");
    let mut acknowledged = Vec::new();
    for round in 0..3 {
        let refused = (0..2000).find_map(|n| {
            let content = format!("{round} {n} {}", "x".repeat(3000 * round + 500));
            match store.put(message("ann", "bob", &content)).blocking_recv() {
                Ok(Ok(stored)) => {
                    acknowledged.push(stored.message.id);
                    None
                }
                Ok(Err(why)) => Some(why),
                Err(_) => unreachable!(),
            }
        });
        match round {
            0 => {
                assert_eq!(refused, Some(Refused::DiskFull), "{:?}", store.health());
                let mut mount = std::process::Command::new("mount");
                mount.args(["-o", "remount,size=8m"]);
                assert!(mount.arg(disk.0.path()).status().unwrap().success());
                until(|| store.health() == StoreHealth::Good);
            }
            1 => {
                assert_eq!(refused, Some(Refused::DiskFull), "{:?}", store.health());
                let _ = std::fs::write(&ballast, "");
                assert_eq!(store.health(), StoreHealth::DiskFull);
            }
            _ => assert_eq!(refused, Some(Refused::DiskFull), "{:?}", store.health()),
        }
    }
    let bob = attach(&store, "bob");
    assert_eq!(ids(&take(&store, &bob, acknowledged.len())), acknowledged);
    store.stop();
    let mut mount = std::process::Command::new("mount");
    mount.args(["-o", "remount,size=32m"]);
    assert!(mount.arg(disk.0.path()).status().unwrap().success());
    check(&path).unwrap();
    let store = home.open();
    let bob = attach(&store, "bob");
    assert_eq!(ids(&take(&store, &bob, acknowledged.len())), acknowledged);
}
