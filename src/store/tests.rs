//! The store as protocols use it.

mod faults;
mod files;
mod model;
mod older;
mod postgres;

use std::path::Path;
use std::time::{Duration, Instant};

use super::*;
use crate::config::Config;
use crate::config::Mode;

/// A store in a folder of its own, to be opened again.
pub(super) struct Home {
    #[expect(dead_code, reason = "removed with it")]
    folder: TempDir,
    pub settings: StoreSettings,
}

impl Home {
    pub(super) fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let mut settings = Config::for_mode(Mode::Demo).store;
        settings.url = Some(format!("sqlite:{}", folder.path().join("s.db").display()));
        Self { folder, settings }
    }

    pub(super) fn open(&self) -> Arc<Store> {
        Store::open(&self.settings, false).unwrap()
    }
}

pub(super) fn user(id: &str) -> NewUser {
    NewUser {
        id: id.into(),
        username: format!("name of {id}").into(),
        public_key: [7; PUBLIC_KEY_LEN],
        x25519_public_key: "x".into(),
    }
}

pub(super) fn message(from: &str, to: &str, content: &str) -> NewMessage {
    let kind = match to {
        "broadcast" => MessageKind::Broadcast,
        _ => MessageKind::Direct,
    };
    NewMessage {
        from: from.into(),
        to: to.into(),
        kind,
        timestamp: "2026-01-02T03:04:05Z".into(),
        content: content.into(),
        signature: "s".into(),
        encrypted_key: "k".into(),
        encryption_nonce: "n".into(),
        status: "pending",
    }
}

pub(super) fn attach_with(
    store: &Store,
    user: &str,
    after: Option<i64>,
    duplicate: Duplicate,
) -> Arc<Mailbox> {
    let mailbox = Mailbox::new();
    let attach = Attach {
        user: user.into(),
        address: "127.0.0.1".into(),
        user_agent: "test".into(),
        after,
        duplicate,
        mailbox: mailbox.clone(),
    };
    let attached = store.attach(attach).blocking_recv().unwrap().unwrap();
    assert!(matches!(attached, Attached::Account(it) if &*it.id == user));
    mailbox
}

pub(super) fn attach(store: &Store, user: &str) -> Arc<Mailbox> {
    attach_with(store, user, None, Duplicate::Replace)
}

pub(super) fn register(store: &Store, id: &str) -> Registered {
    let registered = store.register(user(id)).blocking_recv();
    registered.unwrap().unwrap()
}

pub(super) fn put(store: &Store, from: &str, to: &str, content: &str) -> Stored {
    let stored = store.put(message(from, to, content)).blocking_recv();
    stored.unwrap().unwrap()
}

/// Takes `count` messages as they come, refilling as a connection does.
pub(super) fn take(store: &Store, mailbox: &Arc<Mailbox>, count: usize) -> Vec<Delivery> {
    let until = Instant::now() + Duration::from_secs(20);
    let mut taken = Vec::new();
    while taken.len() < count {
        match mailbox.pop() {
            Some(delivery) => taken.push(delivery),
            None if mailbox.is_behind() => store.refill(mailbox),
            None => thread::yield_now(),
        }
        assert!(Instant::now() < until, "{} of {count}", taken.len());
    }
    taken
}

/// Nothing more comes than what a round through the store's thread brings.
pub(super) fn assert_empty(store: &Store, mailbox: &Mailbox) {
    for _ in 0..2 {
        let _ = store.user("nobody").blocking_recv().unwrap();
    }
    assert!(mailbox.pop().is_none());
}

fn contents(taken: &[Delivery]) -> Vec<&str> {
    taken.iter().map(|it| &*it.message.content).collect()
}

fn ids(taken: &[Delivery]) -> Vec<i64> {
    taken.iter().map(|it| it.message.id).collect()
}

#[test]
fn accounts_are_stored_once_and_known_after_a_restart() {
    let home = Home::new();
    let store = home.open();
    assert!(!store.is_registered("ann"));
    assert_eq!(register(&store, "ann"), Registered::New);
    assert_eq!(register(&store, "ann"), Registered::Exists);
    store.stop();
    let store = home.open();
    assert!(store.is_registered("ann"));
    let ann = store.user("ann").blocking_recv().unwrap().unwrap().unwrap();
    assert_eq!(ann.public_key, [7; PUBLIC_KEY_LEN]);
    assert_eq!(&*ann.x25519_public_key, "x");
    assert!(ann.created_ms > 1_700_000_000_000);
    assert_eq!(store.user("bob").blocking_recv().unwrap().unwrap(), None);
}

#[test]
fn a_message_waits_for_its_recipient_and_comes_once() {
    let home = Home::new();
    let store = home.open();
    for id in ["ann", "bob"] {
        register(&store, id);
    }
    let stored = put(&store, "ann", "bob", "one");
    assert_eq!((stored.is_attached, stored.is_registered), (false, true));
    assert!(!put(&store, "ann", "eve", "lost").is_registered);
    store.stop();
    let store = home.open();
    let bob = attach(&store, "bob");
    assert_eq!(store.connected(), 1);
    let first = take(&store, &bob, 1);
    assert!(first[0].is_replayed);
    assert_eq!(&*first[0].message.encrypted_key, "k");
    assert!(put(&store, "ann", "bob", "two").is_attached);
    let second = take(&store, &bob, 1);
    assert!(!second[0].is_replayed);
    assert_eq!(contents(&second), ["two"]);
    store.delivered(&bob, ids(&first));
    store.detach(&bob, ids(&second), 2, 0);
    let bob = attach(&store, "bob");
    assert_empty(&store, &bob);
    put(&store, "bob", "bob", "to self");
    assert_eq!(contents(&take(&store, &bob, 1)), ["to self"]);
}

#[test]
fn a_broadcast_reaches_each_other_user_once() {
    let home = Home::new();
    let store = home.open();
    for id in ["ann", "bob", "cid"] {
        register(&store, id);
    }
    let (ann, bob) = (attach(&store, "ann"), attach(&store, "bob"));
    put(&store, "ann", "broadcast", "all");
    register(&store, "dan");
    let taken = take(&store, &bob, 1);
    store.detach(&bob, ids(&taken), 1, 0);
    assert_empty(&store, &ann);
    let cid = attach(&store, "cid");
    assert_eq!(contents(&take(&store, &cid, 1)), ["all"]);
    for late in ["bob", "dan"] {
        assert_empty(&store, &attach(&store, late));
    }
}

/// Users whose names have the character that stands for others in a column of PostgreSQL get what is theirs, once.
fn check_names(home: &Home) {
    // In such a column each is what the next one is here.
    let users = ["bob\u{F8FF}", "bob\u{F8FF}1", "bob\u{F8FF}11"];
    let store = home.open();
    for id in users {
        register(&store, id);
    }
    for id in users {
        put(&store, "ann", id, id);
    }
    put(&store, users[0], "broadcast", "all");
    store.stop();
    let store = home.open();
    for id in users {
        let mut expected = vec![id];
        if id != users[0] {
            expected.push("all");
        }
        let mailbox = attach(&store, id);
        let taken = take(&store, &mailbox, expected.len());
        assert_eq!(contents(&taken), expected);
        assert_empty(&store, &mailbox);
        store.delivered(&mailbox, ids(&taken));
    }
    // The connections are not detached: that would say up to where their users have all broadcasts.
    store.stop();
    let store = home.open();
    for id in users {
        let mailbox = attach(&store, id);
        assert_empty(&store, &mailbox);
        store.detach(&mailbox, Vec::new(), 0, 0);
        // The client says that it has got the first one.
        let got = put(&store, "ann", id, "one").message.id;
        put(&store, "ann", id, "two");
        let mailbox = attach_with(&store, id, Some(got), Duplicate::Replace);
        assert_eq!(contents(&take(&store, &mailbox, 1)), ["two"]);
        store.detach(&mailbox, Vec::new(), 0, 0);
        let mailbox = attach(&store, id);
        assert_eq!(contents(&take(&store, &mailbox, 1)), ["two"]);
        assert_empty(&store, &mailbox);
    }
}

#[test]
fn users_of_any_name_get_their_messages_and_none_again() {
    check_names(&Home::new());
}

#[test]
fn a_slow_reader_gets_everything_in_order() {
    let home = Home::new();
    let store = home.open();
    register(&store, "bob");
    let bob = attach(&store, "bob");
    let count = 3 * MAILBOX_LEN_MAX + 7;
    let replies: Vec<_> = (0..count)
        .map(|n| store.put(message("ann", "bob", &n.to_string())))
        .collect();
    for reply in replies {
        reply.blocking_recv().unwrap().unwrap();
    }
    assert!(bob.is_behind());
    let taken = take(&store, &bob, count);
    let expected: Vec<_> = (0..count).map(|n| n.to_string()).collect();
    assert_eq!(contents(&taken), expected);
    assert!(taken.iter().all(|it| !it.is_replayed));
    put(&store, "ann", "bob", "live");
    assert_eq!(contents(&take(&store, &bob, 1)), ["live"]);
}

#[test]
fn broadcasts_that_slow_readers_hold_count_as_memory() {
    let home = Home::new();
    let store = home.open();
    let users = ["bob", "cid"];
    for id in users {
        register(&store, id);
    }
    let held = |mailbox: &Mailbox| mailbox.owner().unwrap().memory.load(Ordering::Relaxed);
    put(&store, "ann", "broadcast", &"x".repeat(50_000));
    // Each has a copy from the database.
    let replayed = users.map(|id| attach(&store, id));
    assert_empty(&store, &Mailbox::new());
    assert!((100_000..110_000).contains(&held(&replayed[0])));
    for mailbox in &replayed {
        take(&store, mailbox, 1);
    }
    assert_eq!(held(&replayed[0]), 0);
    // And both the same one of what is live, with its frame.
    drop(put(&store, "ann", "broadcast", &"x".repeat(50_000)));
    assert_empty(&store, &Mailbox::new());
    assert!((100_000..110_000).contains(&held(&replayed[0])));
    let taken = replayed.each_ref().map(|it| take(&store, it, 1));
    assert!(held(&replayed[0]) > 100_000);
    drop(taken);
    assert_eq!(held(&replayed[0]), 0);
}

#[test]
fn a_replacement_begins_when_the_old_connection_has_said_what_it_delivered() {
    let home = Home::new();
    let store = home.open();
    register(&store, "bob");
    put(&store, "ann", "bob", "one");
    put(&store, "ann", "bob", "two");
    let old = attach(&store, "bob");
    let taken = take(&store, &old, 2);
    let new = attach(&store, "bob");
    assert!(old.is_replaced());
    put(&store, "ann", "bob", "three");
    assert_empty(&store, &old);
    assert_empty(&store, &new);
    store.detach(&old, ids(&taken[..1]), 1, 0);
    assert_eq!(contents(&take(&store, &new, 2)), ["two", "three"]);
    assert_eq!(store.connected(), 1);
}

#[test]
fn all_connections_of_a_user_get_what_is_sent_where_that_is_allowed() {
    let home = Home::new();
    let store = home.open();
    register(&store, "bob");
    put(&store, "ann", "bob", "one");
    let both = [(); 2].map(|()| attach_with(&store, "bob", None, Duplicate::Allow));
    put(&store, "ann", "bob", "two");
    assert_eq!(contents(&take(&store, &both[0], 2)), ["one", "two"]);
    assert_eq!(contents(&take(&store, &both[1], 2)), ["one", "two"]);
    assert!(!both[0].is_replaced());
}

#[test]
fn what_a_dead_connection_has_not_delivered_comes_on_the_next_one() {
    let home = Home::new();
    let store = home.open();
    register(&store, "bob");
    let dead = attach_with(&store, "bob", None, Duplicate::Allow);
    for content in ["one", "two"] {
        put(&store, "ann", "bob", content);
    }
    put(&store, "ann", "broadcast", "all");
    let next = attach_with(&store, "bob", None, Duplicate::Allow);
    let last = put(&store, "ann", "bob", "three").message.id;
    let expected = ["one", "two", "all", "three"];
    assert_eq!(contents(&take(&store, &next, 4)), expected);
    // That one has read nothing of it either, and the client knows only the last one.
    store.detach(&next, Vec::new(), 0, 0);
    let other = attach_with(&store, "bob", Some(last), Duplicate::Allow);
    assert_empty(&store, &other);
    for mailbox in [dead, other] {
        store.detach(&mailbox, Vec::new(), 0, 0);
    }
    let plain = attach_with(&store, "bob", None, Duplicate::Allow);
    assert_eq!(contents(&take(&store, &plain, 4)), expected);
}

#[test]
fn broadcasts_that_were_delivered_are_not_looked_at_again_in_any_mode() {
    for duplicate in [Duplicate::Replace, Duplicate::Allow] {
        let home = Home::new();
        let store = home.open();
        register(&store, "bob");
        for _ in 0..3 {
            put(&store, "ann", "broadcast", "all");
        }
        let bob = attach_with(&store, "bob", None, duplicate);
        let taken = ids(&take(&store, &bob, 3));
        store.detach(&bob, taken[..2].to_vec(), 2, 0);
        let user = store.user("bob").blocking_recv().unwrap().unwrap();
        assert_eq!(user.unwrap().broadcasts_to, taken[1], "{duplicate:?}");
    }
}

#[test]
fn a_client_that_says_what_it_has_got_gets_the_rest() {
    let home = Home::new();
    let store = home.open();
    register(&store, "bob");
    let sent: Vec<_> = ["one", "two", "three"]
        .iter()
        .map(|it| put(&store, "ann", "bob", it).message.id)
        .collect();
    put(&store, "ann", "broadcast", "all");
    let bob = attach(&store, "bob");
    let taken = take(&store, &bob, 4);
    store.detach(&bob, ids(&taken), 4, 0);
    let bob = attach_with(&store, "bob", Some(sent[0]), Duplicate::Replace);
    let taken = take(&store, &bob, 3);
    assert_eq!(contents(&taken), ["two", "three", "all"]);
    store.detach(&bob, Vec::new(), 0, 0);
    // A number of another database.
    let bob = attach_with(&store, "bob", Some(1000), Duplicate::Replace);
    assert_empty(&store, &bob);
}

#[test]
fn what_a_client_says_it_has_got_is_one_number_however_many_broadcasts_there_were() {
    let home = Home::new();
    let store = home.open();
    register(&store, "bob");
    let sent: Vec<_> = (0..20)
        .map(|_| put(&store, "ann", "broadcast", "all").message.id)
        .collect();
    let bob = attach_with(&store, "bob", Some(sent[18]), Duplicate::Replace);
    assert_eq!(ids(&take(&store, &bob, 1)), sent[19..]);
    let counted = store.statistics().blocking_recv().unwrap().unwrap();
    assert_eq!(counted.deliveries, 0);
    store.detach(&bob, Vec::new(), 0, 0);
    let bob = attach(&store, "bob");
    assert_eq!(ids(&take(&store, &bob, 1)), sent[19..]);
    assert_empty(&store, &bob);
}

#[test]
fn a_connection_that_ends_while_it_is_attached_leaves_nothing() {
    let home = Home::new();
    let store = home.open();
    register(&store, "bob");
    let mailbox = Mailbox::new();
    store.detach(&mailbox, Vec::new(), 0, 0);
    let attach = Attach {
        user: "bob".into(),
        address: "".into(),
        user_agent: "".into(),
        after: None,
        duplicate: Duplicate::Replace,
        mailbox,
    };
    assert!(store.attach(attach).blocking_recv().is_err());
    assert_eq!(store.connected(), 0);
}

#[test]
fn what_is_asked_after_the_end_is_refused() {
    let home = Home::new();
    let store = home.open();
    store.stop();
    store.stop();
    let refused = store.put(message("a", "b", "c")).blocking_recv().unwrap();
    assert_eq!(refused.unwrap_err(), Refused::Stopped);
}

#[test]
fn a_store_is_opened_by_one_process_at_a_time() {
    let home = Home::new();
    let _store = home.open();
    let again = Store::open(&home.settings, false);
    assert!(matches!(again, Err(StoreError::InUse(_))));
}

#[test]
fn a_temporary_store_leaves_no_file() {
    let settings = Config::for_mode(Mode::Demo).store;
    let store = Store::open(&settings, true).unwrap();
    let folder = store.folder.lock().as_ref().map(|it| it.path().to_owned());
    let folder = folder.unwrap();
    assert!(Path::new(&folder).exists());
    store.stop();
    assert!(!Path::new(&folder).exists());
    assert!(matches!(
        Store::open(&settings, false),
        Err(StoreError::NoUrl)
    ));
}
