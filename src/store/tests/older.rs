//! A file of the system that this gateway replaces.

use rusqlite::Connection;

use super::*;

const OLDER: &str = "
PRAGMA journal_mode = WAL;
CREATE TABLE users (user_id TEXT PRIMARY KEY, username TEXT, public_key TEXT, x25519_public_key TEXT,
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP);
CREATE TABLE messages (id INTEGER PRIMARY KEY AUTOINCREMENT, from_user TEXT, to_user TEXT, timestamp DATETIME,
    content TEXT, status TEXT, is_broadcast BOOLEAN DEFAULT 0, message_type TEXT DEFAULT 'direct', signature TEXT);
CREATE INDEX messages_to ON messages (to_user);
CREATE TABLE broadcast_deliveries (message_id INTEGER, user_id TEXT, delivered_at DATETIME,
    PRIMARY KEY (message_id, user_id), FOREIGN KEY (message_id) REFERENCES messages (id));
CREATE TABLE sessions (session_id TEXT PRIMARY KEY, user_id TEXT, start_time DATETIME, end_time DATETIME,
    duration INTEGER);
CREATE TABLE message_events (id INTEGER PRIMARY KEY, session_id TEXT REFERENCES sessions (session_id), user_id TEXT,
    is_broadcast BOOLEAN, timestamp DATETIME);
INSERT INTO users VALUES
    ('ann', 'Ann', 'BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=', NULL, '2025-01-01 10:00:00'),
    ('bob', 'Bob', 'BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=', 'eA==',
        '2025-01-03 10:00:00.123456789+00:00'),
    ('bad', 'Bad', 'no key', '', '2025-01-03 10:00:00');
INSERT INTO messages (id, from_user, to_user, timestamp, content, status, is_broadcast, message_type, signature) VALUES
    (1, 'ann', 'broadcast', '2025-01-02 10:00:00+00:00', 'before bob', 'pending', 1, 'broadcast', NULL),
    (2, 'bob', 'ann', '2025-01-04 10:00:00.5 +0000 UTC', 'had', 'delivered', 0, 'direct', ''),
    (3, 'bob', 'ann', '2025-01-04T11:00:00.5Z', 'waits', 'pending', 0, 'direct', 'sig'),
    (4, 'ann', 'broadcast', '2025-01-05 10:00:00', 'for bob', 'pending', 1, 'direct', NULL),
    (5, 'ann', 'broadcast', '2025-01-06 10:00:00', 'bob had it', 'pending', 1, 'direct', NULL),
    (9, 'ann', 'eve', 'no time', 'for none', 'pending', 0, 'direct', NULL);
DELETE FROM messages WHERE id = 9;
INSERT INTO broadcast_deliveries VALUES (5, 'bob', '2025-01-06 10:00:01');
INSERT INTO sessions VALUES ('s1', 'ann', '2025-01-04 10:00:00', NULL, NULL);
INSERT INTO message_events VALUES (1, 's1', 'ann', 0, '2025-01-04 10:00:00');
";

#[test]
fn accounts_and_pending_messages_of_the_older_system_are_taken_over() {
    let home = Home::new();
    let path = home.settings.url.as_deref().unwrap();
    let path = path.strip_prefix("sqlite:").unwrap();
    let older = Connection::open(path).unwrap();
    older.execute_batch(OLDER).unwrap();
    older.close().unwrap();

    for _ in 0..2 {
        // The second time there is nothing to be done.
        let store = home.open();
        assert!(store.is_registered("ann") && store.is_registered("bob"));
        let bob = store.user("bob").blocking_recv().unwrap().unwrap().unwrap();
        assert_eq!(bob.public_key, [7; PUBLIC_KEY_LEN]);
        assert_eq!(bob.created_ms, 1_735_898_400_123);
        // Nobody can sign with it, and nobody else gets the name.
        assert_eq!(store.user("bad").blocking_recv().unwrap(), Ok(None));
        assert!(store.is_registered("bad"));
        let (ann, bob) = (attach(&store, "ann"), attach(&store, "bob"));
        let taken = take(&store, &ann, 1);
        assert_eq!(contents(&taken), ["waits"]);
        let message = &taken[0].message;
        assert_eq!(&*message.timestamp, "2025-01-04T11:00:00.500Z");
        assert_eq!((&*message.signature, message.id), ("sig", 3));
        assert_eq!(contents(&take(&store, &bob, 1)), ["for bob"]);
        assert_empty(&store, &ann);
        assert_empty(&store, &bob);
        store.stop();
    }
    let store = home.open();
    // An id is not given again.
    assert_eq!(put(&store, "ann", "bob", "new").message.id, 10);
    let statistics = store.statistics().blocking_recv().unwrap().unwrap();
    assert_eq!((statistics.users, statistics.deliveries), (3, 1));
    assert_eq!(statistics.sessions, 5);
    assert_eq!(statistics.broadcasts, 3);
}

#[test]
fn tables_of_a_newer_gateway_are_refused() {
    let home = Home::new();
    home.open().stop();
    let path = home.settings.url.as_deref().unwrap();
    let newer = Connection::open(path.strip_prefix("sqlite:").unwrap()).unwrap();
    newer.pragma_update(None, "user_version", 99).unwrap();
    newer.close().unwrap();
    let refused = Store::open(&home.settings, false);
    assert!(matches!(
        refused,
        Err(StoreError::TooNew {
            found: 99,
            known: 1
        })
    ));
}
