//! The tables, and what is asked of them.

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error, Statement};

use super::super::refused::StoreError;
use super::explain;

/// The version of the tables below.
const VERSION: i64 = 1;

/// One process writes, in the order of one thread. The lock goes with its connection.
pub(super) const LOCK: &str = "SELECT pg_try_advisory_lock(7305804409117368421)";

/// Whether another program has tables with names of those below.
const FOREIGN: &str = "SELECT to_regclass('fanfare_store') IS NULL \
     AND (to_regclass('users') IS NOT NULL OR to_regclass('messages') IS NOT NULL)";

/// The tables of version 1. Times are texts, as in a file of SQLite.
const TABLES: &str = "
CREATE TABLE IF NOT EXISTS fanfare_store (version BIGINT NOT NULL, newest BIGINT NOT NULL);
INSERT INTO fanfare_store SELECT 1, 0 WHERE NOT EXISTS (SELECT 1 FROM fanfare_store);
CREATE TABLE IF NOT EXISTS users (
    user_id TEXT COLLATE \"C\" PRIMARY KEY,
    username TEXT NOT NULL,
    public_key TEXT NOT NULL,
    x25519_public_key TEXT NOT NULL DEFAULT '',
    created_at TEXT NOT NULL,
    registered_after BIGINT NOT NULL DEFAULT 0,
    broadcasts_to BIGINT NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS messages (
    id BIGINT PRIMARY KEY,
    from_user TEXT COLLATE \"C\" NOT NULL,
    to_user TEXT COLLATE \"C\" NOT NULL,
    timestamp TEXT NOT NULL,
    content TEXT NOT NULL,
    status TEXT NOT NULL,
    is_broadcast BOOLEAN NOT NULL DEFAULT FALSE,
    message_type TEXT NOT NULL DEFAULT 'direct',
    signature TEXT NOT NULL DEFAULT '',
    encrypted_key TEXT NOT NULL DEFAULT '',
    encryption_nonce TEXT NOT NULL DEFAULT ''
);
CREATE TABLE IF NOT EXISTS broadcast_deliveries (
    message_id BIGINT NOT NULL,
    user_id TEXT COLLATE \"C\" NOT NULL,
    delivered_at TEXT NOT NULL,
    PRIMARY KEY (message_id, user_id)
);
CREATE TABLE IF NOT EXISTS sessions (
    id TEXT COLLATE \"C\" PRIMARY KEY,
    user_id TEXT COLLATE \"C\" NOT NULL,
    connected_at TEXT NOT NULL,
    disconnected_at TEXT,
    messages_sent BIGINT NOT NULL DEFAULT 0,
    messages_received BIGINT NOT NULL DEFAULT 0,
    ip_address TEXT NOT NULL DEFAULT '',
    user_agent TEXT NOT NULL DEFAULT ''
);
CREATE TABLE IF NOT EXISTS metrics (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    metric_type TEXT NOT NULL,
    metric_name TEXT NOT NULL,
    value DOUBLE PRECISION NOT NULL,
    timestamp TEXT NOT NULL,
    metadata TEXT NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS messages_pending ON messages (to_user, id)
    WHERE status = 'pending' AND message_type = 'direct';
CREATE INDEX IF NOT EXISTS messages_to ON messages (to_user, id) WHERE message_type = 'direct';
CREATE INDEX IF NOT EXISTS messages_broadcast ON messages (id) WHERE message_type = 'broadcast';
CREATE INDEX IF NOT EXISTS sessions_open ON sessions (id) WHERE disconnected_at IS NULL;
";

/// Ends the sessions of a process that was killed: when it has written its last metrics.
pub(super) const END_KILLED: &str = "
UPDATE sessions SET disconnected_at = greatest(connected_at COLLATE \"C\",
    coalesce((SELECT timestamp FROM metrics ORDER BY id DESC LIMIT 1), '')) WHERE disconnected_at IS NULL;
";

/// Makes the tables of [`VERSION`], in one transaction. Returns the last id that was given to a message.
pub(super) async fn migrate(client: &Client) -> Result<i64, StoreError> {
    let failed = |error: Error| StoreError::Database(explain(&error).into());
    let tables = format!("BEGIN; {TABLES} COMMIT;");
    // What is acknowledged is on the server's disk.
    client
        .batch_execute("SET synchronous_commit = on; SET client_min_messages = warning;")
        .await
        .map_err(failed)?;
    let foreign = client.query_one(FOREIGN, &[]).await.map_err(failed)?;
    if foreign.get(0) {
        return Err(StoreError::ServerForeign);
    }
    client.batch_execute(&tables).await.map_err(failed)?;
    let state = client.query_one("SELECT version, newest FROM fanfare_store", &[]);
    let state = state.await.map_err(failed)?;
    match state.get(0) {
        VERSION => Ok(state.get(1)),
        found => Err(StoreError::TooNew {
            found,
            known: VERSION,
        }),
    }
}

/// What is asked, prepared.
pub(super) struct Statements {
    pub(super) put: Statement,
    pub(super) set_newest: Statement,
    pub(super) register: Statement,
    pub(super) begin_session: Statement,
    pub(super) count_session: Statement,
    pub(super) end_session: Statement,
    pub(super) mark_direct: Statement,
    pub(super) mark_broadcasts: Statement,
    pub(super) mark_direct_to: Statement,
    pub(super) raise_broadcasts: Statement,
    pub(super) probe: Statement,
    pub(super) put_metric: Statement,
    pub(super) user: Statement,
    pub(super) user_ids: Statement,
    pub(super) pending_wanted: Statement,
    pub(super) all_wanted: Statement,
    pub(super) messages: Statement,
    pub(super) counts: Statement,
}

/// Columns of a message, in the order in which they are read.
macro_rules! wanted {
    ($direct:literal, $broadcast:literal) => {
        concat!(
            "(SELECT id, from_user, to_user, message_type, timestamp, content, signature, encrypted_key, \
             encryption_nonce FROM messages WHERE to_user = $1 AND id > $2 AND message_type = 'direct'",
            $direct,
            " ORDER BY id LIMIT $4) \
             UNION ALL (SELECT id, from_user, to_user, message_type, timestamp, content, signature, encrypted_key, \
             encryption_nonce FROM messages m WHERE message_type = 'broadcast' AND id > $3 AND from_user <> $1",
            $broadcast,
            " ORDER BY id LIMIT $4) ORDER BY id LIMIT $4"
        )
    };
}

impl Statements {
    pub(super) async fn prepare(client: &Client) -> Result<Self, Error> {
        let typed = [Type::INT8_ARRAY, Type::TEXT, Type::TEXT];
        Ok(Self {
            put: client
                .prepare(
                    "INSERT INTO messages (id, from_user, to_user, timestamp, content, status, is_broadcast, \
                     message_type, signature, encrypted_key, encryption_nonce) \
                     SELECT * FROM UNNEST($1::BIGINT[], $2::TEXT[], $3::TEXT[], $4::TEXT[], $5::TEXT[], $6::TEXT[], \
                     $7::BOOLEAN[], $8::TEXT[], $9::TEXT[], $10::TEXT[], $11::TEXT[])",
                )
                .await?,
            set_newest: client.prepare("UPDATE fanfare_store SET newest = $1").await?,
            register: client
                .prepare(
                    "INSERT INTO users (user_id, username, public_key, x25519_public_key, created_at, registered_after) \
                     VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
                )
                .await?,
            begin_session: client
                .prepare(
                    "INSERT INTO sessions (id, user_id, connected_at, ip_address, user_agent) \
                     SELECT $1::TEXT, $2::TEXT, $3::TEXT, $4::TEXT, $5::TEXT \
                     WHERE EXISTS (SELECT 1 FROM users WHERE user_id = $2) ON CONFLICT DO NOTHING",
                )
                .await?,
            count_session: client
                .prepare(
                    "UPDATE sessions SET messages_sent = $2, messages_received = $3 WHERE id = $1",
                )
                .await?,
            end_session: client
                .prepare("UPDATE sessions SET disconnected_at = $2 WHERE id = $1")
                .await?,
            mark_direct: client
                .prepare(
                    "UPDATE messages SET status = 'delivered' \
                     WHERE id = ANY($1) AND status = 'pending' AND message_type = 'direct'",
                )
                .await?,
            mark_broadcasts: client
                .prepare_typed(
                    "INSERT INTO broadcast_deliveries (message_id, user_id, delivered_at) \
                     SELECT id, $2, $3 FROM messages WHERE id = ANY($1) AND message_type = 'broadcast' \
                     ON CONFLICT DO NOTHING",
                    &typed,
                )
                .await?,
            mark_direct_to: client
                .prepare(
                    "UPDATE messages SET status = 'delivered' \
                     WHERE to_user = $1 AND id <= $2 AND status = 'pending' AND message_type = 'direct'",
                )
                .await?,
            raise_broadcasts: client
                .prepare(
                    "UPDATE users SET broadcasts_to = $2 WHERE user_id = $1 AND broadcasts_to < $2",
                )
                .await?,
            probe: client
                .prepare(
                    "INSERT INTO metrics (metric_type, metric_name, value, timestamp, metadata) \
                     VALUES ('probe', 'store_probe', 0, $1, repeat('x', 65536))",
                )
                .await?,
            put_metric: client
                .prepare(
                    "INSERT INTO metrics (metric_type, metric_name, value, timestamp, metadata) \
                     VALUES ($1, $2, $3, $4, $5)",
                )
                .await?,
            user: client
                .prepare(
                    "SELECT user_id, username, public_key, x25519_public_key, created_at, registered_after, \
                     broadcasts_to FROM users WHERE user_id = $1",
                )
                .await?,
            user_ids: client
                .prepare("SELECT user_id FROM users ORDER BY user_id")
                .await?,
            pending_wanted: client
                .prepare(wanted!(
                    " AND status = 'pending'",
                    " AND NOT EXISTS (SELECT 1 FROM broadcast_deliveries d WHERE d.message_id = m.id AND d.user_id = $1)"
                ))
                .await?,
            all_wanted: client.prepare(wanted!("", "")).await?,
            messages: client
                .prepare(
                    "SELECT message_type, status, count(*) FROM messages GROUP BY message_type, status ORDER BY 1, 2",
                )
                .await?,
            counts: client
                .prepare(
                    "SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM sessions), \
                     (SELECT count(*) FROM broadcast_deliveries), pg_database_size(current_database())",
                )
                .await?,
        })
    }
}
