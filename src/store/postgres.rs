//! The database on a server: PostgreSQL, used by one gateway at a time.
//!
//! The rows of messages are gathered and written with one statement before the commit. Their ids are given here: the
//! store's thread is the only one that writes.

mod schema;
mod text;

use std::fmt::{self, Formatter};
use std::future::Future;
use std::mem;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::{TryStreamExt, pin_mut};
use tokio::runtime::{Builder, Runtime};
use tokio::time::sleep;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, NoTls, Row, Statement};

use super::account::{MessageCount, MetricRow, NewUser, PUBLIC_KEY_LEN, Statistics, User};
use super::database::{Database, Fault, NewSession, Wanted};
use super::mailbox::MAILBOX_LEN_MAX;
use super::message::{Message, MessageKind, NewMessage};
use super::refused::StoreError;
use super::sqlite::milliseconds_of;
use schema::Statements;
use text::{stored, unstored};

/// Messages that are asked for at once: more than a mailbox takes.
const PAGE_ROWS: i64 = MAILBOX_LEN_MAX as i64 + 1;

/// How long the lock of another process is waited for, and how often it is looked at.
const LOCK_WAIT: Duration = Duration::from_secs(3);
const LOCK_STEP: Duration = Duration::from_millis(50);

/// An open database.
pub(super) struct Postgres {
    runtime: Runtime,
    url: Box<str>,
    client: Client,
    statements: Statements,
    /// The last id that was given.
    newest: i64,
    /// That of the last commit.
    committed: i64,
    /// Messages of the transaction, which are written before its commit.
    gathered: Vec<(i64, NewMessage)>,
    is_within: bool,
}

impl fmt::Debug for Postgres {
    /// Without its address, which may have a password.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres")
            .field("newest", &self.newest)
            .finish_non_exhaustive()
    }
}

impl Postgres {
    /// Connects to the database at `url`, and makes its tables if there are none.
    ///
    /// # Errors
    /// It cannot be reached or used, another gateway uses it, or its tables are of a newer version.
    pub(super) fn open(url: &str) -> Result<Self, StoreError> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(StoreError::Start)?;
        let (client, statements, newest) = runtime.block_on(connect(url))?;
        let ended = runtime.block_on(client.batch_execute(schema::END_KILLED));
        ended.map_err(|error| StoreError::Database(explain(&error).into()))?;
        Ok(Self {
            runtime,
            url: url.into(),
            client,
            statements,
            newest,
            committed: newest,
            gathered: Vec::new(),
            is_within: false,
        })
    }

    /// Connects again if the server has ended the connection while nothing was on its way.
    fn ensure(&mut self) -> Result<(), Fault> {
        if self.is_within || !self.client.is_closed() {
            return Ok(());
        }
        let again = self.runtime.block_on(connect(&self.url));
        let (client, statements, newest) = again.map_err(|error| {
            tracing::warn!(%error, "the store's server is not reached");
            Fault::Locked
        })?;
        (self.client, self.statements) = (client, statements);
        (self.newest, self.committed) = (newest, newest);
        Ok(())
    }

    fn execute(
        &self,
        statement: fn(&Statements) -> &Statement,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, Fault> {
        let executed = self.client.execute(statement(&self.statements), values);
        self.run(executed)
    }

    fn query(
        &self,
        statement: fn(&Statements) -> &Statement,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Fault> {
        let queried = self.client.query(statement(&self.statements), values);
        self.run(queried)
    }

    fn run<T>(&self, asked: impl Future<Output = Result<T, Error>>) -> Result<T, Fault> {
        self.runtime.block_on(asked).map_err(Fault::from)
    }

    /// Writes the messages of the transaction.
    fn write_gathered(&mut self) -> Result<(), Fault> {
        let rows = mem::take(&mut self.gathered);
        if rows.is_empty() {
            return Ok(());
        }
        let column = |field: fn(&NewMessage) -> &str| -> Vec<_> {
            rows.iter().map(|(_, row)| stored(field(row))).collect()
        };
        let ids: Vec<i64> = rows.iter().map(|(id, _)| *id).collect();
        let broadcasts: Vec<bool> = rows
            .iter()
            .map(|(_, row)| row.kind == MessageKind::Broadcast)
            .collect();
        let (from, to) = (column(|it| &it.from), column(|it| &it.to));
        let (time, content) = (column(|it| &it.timestamp), column(|it| &it.content));
        let (status, kind) = (column(|it| it.status), column(|it| it.kind.as_str()));
        let signature = column(|it| &it.signature);
        let (key, nonce) = (
            column(|it| &it.encrypted_key),
            column(|it| &it.encryption_nonce),
        );
        self.execute(
            |it| &it.put,
            &[
                &ids,
                &from,
                &to,
                &time,
                &content,
                &status,
                &broadcasts,
                &kind,
                &signature,
                &key,
                &nonce,
            ],
        )?;
        self.execute(|it| &it.set_newest, &[&self.newest]).map(drop)
    }
}

/// Connects, locks the database for this process, brings its tables to the version of this program, and prepares what is
/// asked of them.
async fn connect(url: &str) -> Result<(Client, Statements, i64), StoreError> {
    let failed = |error: Error| StoreError::Database(explain(&error).into());
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.map_err(failed)?;
    // Its end shows in what is asked of the client.
    #[expect(
        clippy::disallowed_methods,
        reason = "the store's thread has a runtime of its own"
    )]
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "the connection to the store's server has ended");
        }
    });
    // The server may not have seen yet that the process before this one has ended.
    let until = Instant::now() + LOCK_WAIT;
    loop {
        let locked = client.query_one(schema::LOCK, &[]).await.map_err(failed)?;
        if locked.get(0) {
            break;
        }
        if Instant::now() > until {
            return Err(StoreError::ServerInUse);
        }
        sleep(LOCK_STEP).await;
    }
    let encoding = client.query_one("SHOW server_encoding", &[]).await;
    let encoding = encoding.map_err(failed)?;
    if !matches!(encoding.get::<_, &str>(0), "UTF8" | "SQL_ASCII") {
        let why = "the database of `store.url` is not in UTF8: make it with ENCODING 'UTF8'";
        return Err(StoreError::Database(why.into()));
    }
    let newest = schema::migrate(&client).await?;
    let statements = Statements::prepare(&client).await.map_err(failed)?;
    Ok((client, statements, newest))
}

/// What went wrong, with the server's words.
fn explain(error: &Error) -> String {
    match (error.as_db_error(), std::error::Error::source(error)) {
        (Some(said), _) => said.to_string(),
        (None, Some(cause)) => format!("{error}: {cause}"),
        (None, None) => error.to_string(),
    }
}

impl Database for Postgres {
    fn begin(&mut self) -> Result<(), Fault> {
        self.ensure()?;
        self.gathered.clear();
        self.newest = self.committed;
        self.run(self.client.batch_execute("BEGIN"))?;
        self.is_within = true;
        Ok(())
    }

    fn commit(&mut self) -> Result<(), Fault> {
        self.write_gathered()?;
        let committed = self.client.batch_execute("COMMIT");
        let committed = self.runtime.block_on(committed);
        committed.map_err(|error| match error.as_db_error() {
            Some(_) if !has_ended(&error) => Fault::from(error),
            // Nobody knows whether it is stored.
            _ => Fault::Broken(explain(&error)),
        })?;
        self.is_within = false;
        self.committed = self.newest;
        Ok(())
    }

    fn rollback(&mut self) {
        if mem::take(&mut self.is_within) {
            let _ = self.run(self.client.batch_execute("ROLLBACK"));
        }
        self.gathered.clear();
        self.newest = self.committed;
    }

    fn put(&mut self, message: &NewMessage) -> Result<i64, Fault> {
        self.newest += 1;
        self.gathered.push((self.newest, message.clone()));
        Ok(self.newest)
    }

    fn register(&mut self, user: &NewUser, now: &str) -> Result<bool, Fault> {
        let key = STANDARD.encode(user.public_key);
        let inserted = self.execute(
            |it| &it.register,
            &[
                &&*user.id,
                &&*user.username,
                &key,
                &&*user.x25519_public_key,
                &now,
                &self.newest,
            ],
        )?;
        Ok(inserted > 0)
    }

    fn begin_session(&mut self, session: &NewSession<'_>) -> Result<(), Fault> {
        let agent = stored(session.user_agent);
        self.execute(
            |it| &it.begin_session,
            &[
                &session.id,
                &session.user,
                &session.connected_at,
                &session.address,
                &agent,
            ],
        )
        .map(drop)
    }

    fn count_session(&mut self, id: &str, sent: u64, received: u64) -> Result<(), Fault> {
        self.execute(
            |it| &it.count_session,
            &[&id, &whole(sent), &whole(received)],
        )
        .map(drop)
    }

    fn end_session(&mut self, id: &str, now: &str) -> Result<(), Fault> {
        self.execute(|it| &it.end_session, &[&id, &now]).map(drop)
    }

    fn mark_delivered(&mut self, user: &str, ids: &[i64], now: &str) -> Result<(), Fault> {
        self.execute(|it| &it.mark_direct, &[&ids])?;
        self.execute(|it| &it.mark_broadcasts, &[&ids, &stored(user), &now])
            .map(drop)
    }

    fn mark_delivered_to(&mut self, user: &str, id: i64) -> Result<(), Fault> {
        self.execute(|it| &it.mark_direct_to, &[&stored(user), &id])?;
        self.raise_broadcasts(user, id)
    }

    fn raise_broadcasts(&mut self, user: &str, id: i64) -> Result<(), Fault> {
        self.execute(|it| &it.raise_broadcasts, &[&user, &id])
            .map(drop)
    }

    fn probe(&mut self, now: &str) -> Result<(), Fault> {
        self.ensure()?;
        self.execute(|it| &it.probe, &[&now])?;
        let removed = self
            .client
            .execute("DELETE FROM metrics WHERE metric_name = 'store_probe'", &[]);
        self.run(removed).map(drop)
    }

    fn put_metric(&mut self, row: &MetricRow) -> Result<(), Fault> {
        self.execute(
            |it| &it.put_metric,
            &[
                &row.metric_type,
                &&*row.metric_name,
                &row.value,
                &&*row.timestamp,
                &&*row.metadata,
            ],
        )
        .map(drop)
    }

    fn user(&mut self, id: &str) -> Result<Option<User>, Fault> {
        self.ensure()?;
        let rows = self.query(|it| &it.user, &[&id])?;
        Ok(rows.first().and_then(user_of))
    }

    fn user_ids(&mut self, take: &mut dyn FnMut(&str) -> bool) -> Result<(), Fault> {
        self.ensure()?;
        let none: [&str; 0] = [];
        self.run(async {
            let rows = self.client.query_raw(&self.statements.user_ids, none);
            let rows = rows.await?;
            pin_mut!(rows);
            while let Some(row) = rows.try_next().await? {
                if !take(row.get(0)) {
                    break;
                }
            }
            Ok(())
        })
    }

    fn newest(&mut self) -> Result<i64, Fault> {
        Ok(self.committed)
    }

    fn wanted(
        &mut self,
        wanted: &Wanted<'_>,
        take: &mut dyn FnMut(Message) -> bool,
    ) -> Result<bool, Fault> {
        self.ensure()?;
        let statement: fn(&Statements) -> &Statement = match wanted.with_delivered {
            true => |it| &it.all_wanted,
            false => |it| &it.pending_wanted,
        };
        let user = stored(wanted.user);
        let mut after = wanted.after;
        loop {
            let broadcasts_after = wanted.broadcasts_after.max(after);
            let values: [&(dyn ToSql + Sync); 4] = [&user, &after, &broadcasts_after, &PAGE_ROWS];
            let rows = self.query(statement, &values)?;
            for row in &rows {
                let message = message_of(row);
                after = message.id;
                if !take(message) {
                    return Ok(false);
                }
            }
            if rows.len() < MAILBOX_LEN_MAX + 1 {
                return Ok(true);
            }
        }
    }

    fn statistics(&mut self) -> Result<Statistics, Fault> {
        self.ensure()?;
        let rows = self.query(|it| &it.messages, &[])?;
        let counted = rows.iter().map(|row| MessageCount {
            kind: row.get::<_, &str>(0).into(),
            status: row.get::<_, &str>(1).into(),
            count: count_of(row, 2),
        });
        let messages: Vec<_> = counted.collect();
        let rows = self.query(|it| &it.counts, &[])?;
        let count = |column| rows.first().map_or(0, |row| count_of(row, column));
        let broadcasts = messages.iter().filter(|it| &*it.kind == "broadcast");
        Ok(Statistics {
            broadcasts: broadcasts.map(|it| it.count).sum(),
            users: count(0),
            sessions: count(1),
            deliveries: count(2),
            database_bytes: count(3),
            messages,
        })
    }

    fn rest(&mut self, _is_idle: bool) -> Result<(), Fault> {
        Ok(())
    }

    fn close(self: Box<Self>) {
        let Self {
            runtime, client, ..
        } = *self;
        drop(client);
        runtime.shutdown_background();
    }
}

fn message_of(row: &Row) -> Message {
    let boxed = |column: usize| unstored(row.get(column));
    let kind = match row.get(3) {
        "broadcast" => MessageKind::Broadcast,
        _ => MessageKind::Direct,
    };
    let message = NewMessage {
        from: boxed(1),
        to: boxed(2),
        kind,
        timestamp: boxed(4),
        content: boxed(5),
        signature: boxed(6),
        encrypted_key: boxed(7),
        encryption_nonce: boxed(8),
        status: "pending",
    };
    message.stored(row.get(0))
}

/// The account of a row; none if its key is none, which could sign nothing.
fn user_of(row: &Row) -> Option<User> {
    let key = STANDARD.decode(row.get::<_, &str>(2)).ok()?;
    let boxed = |column: usize| row.get::<_, &str>(column).into();
    Some(User {
        id: boxed(0),
        username: boxed(1),
        public_key: <[u8; PUBLIC_KEY_LEN]>::try_from(key).ok()?,
        x25519_public_key: boxed(3),
        created_ms: milliseconds_of(row.get(4)),
        registered_after: row.get(5),
        broadcasts_to: row.get(6),
    })
}

fn count_of(row: &Row, column: usize) -> u64 {
    u64::try_from(row.get::<_, i64>(column)).unwrap_or(0)
}

/// A count as a column takes it.
fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Whether the connection is over, or about to be.
fn has_ended(error: &Error) -> bool {
    let codes = [
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
    ];
    let is_io = || std::error::Error::source(error).is_some_and(|it| it.is::<std::io::Error>());
    error.is_closed() || error.code().is_some_and(|code| codes.contains(code)) || is_io()
}

impl From<Error> for Fault {
    /// What the server refuses for want of room it has undone, and may take later; so it has what was in a transaction
    /// that its connection has not outlived.
    fn from(error: Error) -> Self {
        match error.code() {
            _ if has_ended(&error) => Self::Locked,
            Some(
                &SqlState::DISK_FULL
                | &SqlState::INSUFFICIENT_RESOURCES
                | &SqlState::OUT_OF_MEMORY
                | &SqlState::CONFIGURATION_LIMIT_EXCEEDED,
            ) => Self::Full,
            Some(
                &SqlState::LOCK_NOT_AVAILABLE
                | &SqlState::T_R_SERIALIZATION_FAILURE
                | &SqlState::T_R_DEADLOCK_DETECTED,
            ) => Self::Locked,
            _ => Self::Broken(explain(&error)),
        }
    }
}
