//! The store on a server, Debian's PostgreSQL, which keeps the same promises.

#![expect(
    clippy::disallowed_methods,
    reason = "tests wait on threads of their own"
)]

#[path = "../../../tests/it/support/postgres.rs"]
mod server;

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use server::PostgresServer;

/// A store with a database of its own.
fn home(server: &PostgresServer) -> Home {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let mut home = Home::new();
    let name = format!("store{}", NEXT.fetch_add(1, Ordering::Relaxed));
    home.settings.url = Some(server.create(&name));
    home
}

/// Runs a statement in a database.
fn execute(url: &str, sql: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    runtime.block_on(async {
        let connected = tokio_postgres::connect(url, tokio_postgres::NoTls);
        let (client, connection) = connected.await.unwrap();
        tokio::spawn(connection);
        client.batch_execute(sql).await.unwrap();
    });
}

/// Stores a message for `bob` as soon as the server takes it.
fn put_when_it_is_back(store: &Store, content: &str) {
    let began = Instant::now();
    while store
        .put(message("ann", "bob", content))
        .blocking_recv()
        .unwrap()
        .is_err()
    {
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "{:?}",
            store.health()
        );
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn users_get_what_is_theirs_as_from_a_file() {
    let server = PostgresServer::start();
    model::check(12, || home(&server));
}

#[test]
fn users_of_any_name_get_their_messages_and_none_again() {
    let server = PostgresServer::start();
    check_names(&home(&server));
}

#[test]
fn any_text_comes_back_and_counts_are_those_of_the_tables() {
    let server = PostgresServer::start();
    let home = home(&server);
    let store = home.open();
    for id in ["ann", "bob"] {
        assert_eq!(register(&store, id), Registered::New);
        assert_eq!(register(&store, id), Registered::Exists);
    }
    let content = "zero \0, \u{F8FF}, ☺ and ' \" \\";
    assert_eq!(put(&store, "ann", "bob", content).message.id, 1);
    put(&store, "ann", "broadcast", "to all");
    store.record(vec![message("ann", "server", "{}")]);
    store.stop();
    let store = home.open();
    let bob = attach(&store, "bob");
    let taken = take(&store, &bob, 2);
    assert_eq!(contents(&taken), [content, "to all"]);
    assert!(taken.iter().all(|it| it.is_replayed));
    store.detach(&bob, ids(&taken), 3, 4);
    let bob = attach(&store, "bob");
    assert_empty(&store, &bob);
    let counted = store.statistics().blocking_recv().unwrap().unwrap();
    let (users, deliveries) = (counted.users, counted.deliveries);
    assert_eq!((users, counted.sessions, deliveries), (2, 2, 1));
    assert_eq!(counted.broadcasts, 1);
    assert_eq!(put(&store, "ann", "bob", "next").message.id, 4);
    let list = store.list(10).blocking_recv().unwrap().unwrap();
    assert_eq!(
        (list.online, list.offline),
        (vec!["bob".into()], vec!["ann".into()])
    );
}

#[test]
fn one_gateway_has_a_database() {
    let server = PostgresServer::start();
    let home = home(&server);
    let store = home.open();
    let second = Store::open(&home.settings, false).unwrap_err();
    assert!(matches!(second, StoreError::ServerInUse), "{second}");
    store.stop();
    home.open();
}

#[test]
fn tables_of_another_program_are_left_alone() {
    let server = PostgresServer::start();
    let home = home(&server);
    let url = home.settings.url.clone().unwrap();
    execute(&url, "CREATE TABLE users (id BIGINT)");
    let refused = Store::open(&home.settings, false).unwrap_err();
    assert!(matches!(refused, StoreError::ServerForeign), "{refused}");
}

#[test]
fn a_server_that_is_restarted_is_gone_on_with() {
    let mut server = PostgresServer::start();
    let home = home(&server);
    let store = home.open();
    register(&store, "bob");
    put(&store, "ann", "bob", "one");
    server.stop();
    let refused = store.put(message("ann", "bob", "two")).blocking_recv();
    assert!(refused.unwrap().is_err());
    server.start_again();
    put_when_it_is_back(&store, "three");
    let bob = attach(&store, "bob");
    assert_eq!(contents(&take(&store, &bob, 2)), ["one", "three"]);
}

#[test]
fn an_open_session_outlives_the_server_and_that_of_a_killed_gateway_is_ended() {
    let mut server = PostgresServer::start();
    let home = home(&server);
    let url = home.settings.url.clone().unwrap();
    let (_, database) = url.rsplit_once('/').unwrap();
    let open = "SELECT count(*) FROM sessions WHERE disconnected_at IS NULL";
    let store = home.open();
    register(&store, "bob");
    let bob = attach(&store, "bob");
    assert_eq!(server.count(database, open), 1);
    server.stop();
    server.start_again();
    put_when_it_is_back(&store, "one");
    assert_eq!(server.count(database, open), 1);
    let taken = take(&store, &bob, 1);
    assert_eq!(contents(&taken), ["one"]);
    store.detach(&bob, ids(&taken), 1, 0);
    store.stop();
    assert_eq!(server.count(database, open), 0);
    // As a gateway leaves it that is killed.
    execute(&url, "UPDATE sessions SET disconnected_at = NULL");
    assert_eq!(server.count(database, open), 1);
    home.open().stop();
    assert_eq!(server.count(database, open), 0);
}

#[test]
fn a_database_that_cannot_hold_all_texts_is_refused_at_the_start() {
    let server = PostgresServer::start();
    let mut home = home(&server);
    let url = home.settings.url.clone().unwrap();
    execute(
        &url,
        "CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0",
    );
    let (server_url, _) = url.rsplit_once('/').unwrap();
    home.settings.url = Some(format!("{server_url}/latin"));
    let refused = Store::open(&home.settings, false).unwrap_err();
    let is_told = matches!(&refused, StoreError::Database(why) if why.contains("UTF8"));
    assert!(is_told, "{refused}");
}
