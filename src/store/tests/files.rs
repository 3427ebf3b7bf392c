//! The files of a database: who may read them, what is refused as none, and what a killed process leaves.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use rusqlite::Connection;

use super::*;

fn path_of(home: &Home) -> PathBuf {
    let url = home.settings.url.as_deref().unwrap();
    url.strip_prefix("sqlite:").unwrap().into()
}

fn mode_of(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

#[test]
fn only_the_owner_may_read_what_is_made() {
    let home = Home::new();
    let store = home.open();
    register(&store, "bob");
    put(&store, "ann", "bob", "one");
    let path = path_of(&home);
    let copy = path.with_extension("copy");
    backup(&path, &copy).unwrap();
    let files: Vec<_> = fs::read_dir(path.parent().unwrap())
        .unwrap()
        .map(|it| it.unwrap().path())
        .collect();
    // The database, its log, its index, its lock and the copy.
    assert_eq!(files.len(), 5, "{files:?}");
    for file in files {
        assert_eq!(mode_of(&file), 0o600, "{}", file.display());
    }
    let temporary = Store::open(&Config::for_mode(Mode::Demo).store, true).unwrap();
    let folder = temporary
        .folder
        .lock()
        .as_ref()
        .map(|it| it.path().to_owned());
    assert_eq!(mode_of(&folder.unwrap()), 0o700);
}

#[test]
fn a_database_keeps_the_mode_that_its_owner_has_given_it() {
    let home = Home::new();
    home.open().stop();
    let path = path_of(&home);
    fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    let _store = home.open();
    assert_eq!(mode_of(&path), 0o640);
}

#[test]
fn a_database_of_another_program_is_left_alone() {
    let home = Home::new();
    let path = path_of(&home);
    let other = Connection::open(&path).unwrap();
    other
        .execute_batch("CREATE TABLE users (id, name)")
        .unwrap();
    other.close().unwrap();
    let before = fs::read(&path).unwrap();
    let refused = Store::open(&home.settings, false).unwrap_err();
    assert!(matches!(&refused, StoreError::Foreign(of) if *of == path));
    let copy = path.with_extension("copy");
    for refused in [check(&path), backup(&path, &copy)] {
        assert!(matches!(refused, Err(StoreError::Foreign(of)) if of == path));
    }
    assert_eq!(fs::read(&path).unwrap(), before);
    assert!(!copy.exists());
}

#[test]
fn a_file_that_is_no_database_is_named_and_left_alone() {
    let home = Home::new();
    let path = path_of(&home);
    fs::write(&path, "a secret, not a database").unwrap();
    let refused = Store::open(&home.settings, false).unwrap_err();
    let expected = format!("{} is no database", path.display());
    assert!(refused.to_string().starts_with(&expected), "{refused}");
    assert!(check(&path).unwrap_err().to_string().starts_with(&expected));
    // Nor is anything put beside it.
    let beside = fs::read_dir(path.parent().unwrap()).unwrap();
    assert_eq!(beside.count(), 1);
}

#[test]
fn a_copy_that_cannot_be_written_is_named_as_it_was_asked_for() {
    let home = Home::new();
    let store = home.open();
    register(&store, "bob");
    let path = path_of(&home);
    let copy = path.with_extension("copy");
    backup(&path, &copy).unwrap();
    let again = backup(&path, &copy).unwrap_err();
    assert!(matches!(&again, StoreError::CopyExists(of) if *of == copy));
    let nowhere = path.with_extension("folder").join("copy.db");
    let refused = backup(&path, &nowhere).unwrap_err().to_string();
    let expected = format!("cannot write the copy {}: No such file", nowhere.display());
    assert!(refused.starts_with(&expected), "{refused}");
    assert!(!refused.contains(" at path "), "{refused}");
}

#[test]
fn a_database_of_the_older_system_is_told_from_a_damaged_one() {
    let home = Home::new();
    let path = path_of(&home);
    let older = Connection::open(&path).unwrap();
    let table = "CREATE TABLE users (user_id TEXT PRIMARY KEY, username TEXT, public_key TEXT)";
    older.execute_batch(table).unwrap();
    older.close().unwrap();
    assert!(matches!(check(&path), Err(StoreError::Older(of)) if of == path));
    home.open().stop();
    check(&path).unwrap();
}

#[test]
fn a_connection_of_a_killed_process_has_ended_with_what_was_written_last() {
    let home = Home::new();
    let store = home.open();
    register(&store, "bob");
    attach(&store, "bob");
    store.stop();
    let path = path_of(&home);
    let killed = Connection::open(&path).unwrap();
    killed
        .execute_batch(
            "UPDATE sessions SET connected_at = '2026-01-02T03:00:00.000Z', disconnected_at = NULL; \
             INSERT INTO metrics (metric_type, metric_name, value, timestamp) VALUES \
             ('gauge', 'a', 1, '2026-01-05T03:00:00.000Z');",
        )
        .unwrap();
    killed.close().unwrap();
    home.open().stop();
    let read = Connection::open(&path).unwrap();
    let sql = "SELECT disconnected_at FROM sessions";
    let ended: String = read.query_row(sql, [], |row| row.get(0)).unwrap();
    assert_eq!(ended, "2026-01-05T03:00:00.000Z");
}
