//! `fanfare store`: databases that are checked, copied while they are used, and made smaller.

use std::fs;
use std::path::PathBuf;

use fanfare::config::{Config, Mode, StoreSettings};
use fanfare::store::{
    Attach, Attached, Duplicate, Mailbox, MessageKind, NewMessage, NewUser, Store,
};

use super::{Directory, done, refused};

/// A folder with a database in it.
struct Kept {
    directory: Directory,
    settings: StoreSettings,
}

impl Kept {
    fn new(test: &str) -> Self {
        let directory = Directory::new(test, "");
        let mut settings = Config::for_mode(Mode::Demo).store;
        let path = directory.0.join("store.db");
        settings.url = Some(format!("sqlite:{}", path.display()));
        Self {
            directory,
            settings,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.0.join(name)
    }

    fn run(&self, arguments: &[&str]) -> super::Ran {
        let path = self.path("store.db");
        let named = ["store", "--database", path.to_str().unwrap()];
        let arguments: Vec<_> = named.iter().chain(arguments).copied().collect();
        self.directory.fanfare(&arguments, &[])
    }
}

fn fill(store: &Store, messages: usize) {
    let ann = NewUser {
        id: "ann".into(),
        username: "Ann".into(),
        public_key: [1; 32],
        x25519_public_key: "".into(),
    };
    store.register(ann).blocking_recv().unwrap().unwrap();
    let replies: Vec<_> = (0..messages)
        .map(|n| {
            store.put(NewMessage {
                from: "bob".into(),
                to: "ann".into(),
                kind: MessageKind::Direct,
                timestamp: "2026-01-02T03:04:05Z".into(),
                content: format!("{n} {}", "x".repeat(500)).into(),
                signature: "".into(),
                encrypted_key: "".into(),
                encryption_nonce: "".into(),
                status: "pending",
            })
        })
        .collect();
    for reply in replies {
        reply.blocking_recv().unwrap().unwrap();
    }
}

/// How many messages wait for ann.
fn pending(store: &Store) -> usize {
    let mailbox = Mailbox::new();
    let attach = Attach {
        user: "ann".into(),
        address: "".into(),
        user_agent: "".into(),
        after: None,
        duplicate: Duplicate::Replace,
        mailbox: mailbox.clone(),
    };
    let attached = store.attach(attach).blocking_recv().unwrap().unwrap();
    assert!(matches!(attached, Attached::Account(_)));
    let mut taken = 0;
    loop {
        // The store's thread fills before it answers the second one.
        for _ in 0..2 {
            let _ = store.user("ann").blocking_recv();
        }
        while mailbox.pop().is_some() {
            taken += 1;
        }
        if !mailbox.is_behind() {
            return taken;
        }
        store.refill(&mailbox);
    }
}

#[test]
fn a_backup_of_a_store_in_use_is_whole_and_has_what_was_committed() {
    let kept = Kept::new("store-backup");
    let store = Store::open(&kept.settings, false).unwrap();
    fill(&store, 3000);
    let copy = kept.path("copy.db");
    let copy = copy.to_str().unwrap();
    let ran = kept.run(&["backup", copy]);
    done(&ran);
    assert!(ran.stdout.contains("1 users, 3000 messages"), "{ran:?}");
    refused(&kept.run(&["backup", copy]), 1, "exists already");
    let nowhere = kept.path("none/copy.db");
    let ran = kept.run(&["backup", nowhere.to_str().unwrap()]);
    refused(&ran, 1, "cannot write the copy");
    done(&kept.run(&["check"]));
    // As the gateway goes on.
    fill(&store, 5);
    store.stop();
    let check = ["store", "check", "--database", copy];
    done(&kept.directory.fanfare(&check, &[]));

    let mut restored = kept.settings;
    restored.url = Some(format!("sqlite:{copy}"));
    let store = Store::open(&restored, false).unwrap();
    assert!(store.is_registered("ann"));
    assert_eq!(pending(&store), 3000);
}

#[test]
fn the_store_of_the_configuration_is_taken_where_none_is_named() {
    let kept = Kept::new("store-configured");
    Store::open(&kept.settings, false).unwrap().stop();
    let file = kept.path("fanfare.toml");
    let text = format!(
        "[store]\nurl = \"{}\"\n",
        kept.settings.url.as_deref().unwrap()
    );
    fs::write(&file, text).unwrap();
    let named = ["store", "check", "--config", file.to_str().unwrap()];
    done(&kept.directory.fanfare(&named, &[]));
    let none = kept.directory.fanfare(&["store", "check"], &[]);
    refused(&none, 78, "store.url");
}

#[test]
fn a_store_in_use_is_not_made_smaller() {
    let kept = Kept::new("store-vacuum");
    let store = Store::open(&kept.settings, false).unwrap();
    fill(&store, 2000);
    refused(&kept.run(&["vacuum"]), 75, "in use by another process");
    store.stop();
    let ran = kept.run(&["vacuum"]);
    done(&ran);
    assert!(ran.stdout.contains("bytes and has"), "{ran:?}");
    done(&kept.run(&["check"]));
}

#[test]
fn r13_a_damaged_store_is_found_out_and_not_started() {
    let kept = Kept::new("store-damaged");
    let store = Store::open(&kept.settings, false).unwrap();
    fill(&store, 2000);
    store.stop();
    let path = kept.path("store.db");
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 4096].fill(0x55);
    fs::write(&path, bytes).unwrap();
    refused(&kept.run(&["check"]), 65, "damaged");
    let copy = kept.path("copy.db");
    refused(
        &kept.run(&["backup", copy.to_str().unwrap()]),
        65,
        "damaged",
    );
    assert!(!copy.exists());
    let opened = Store::open(&kept.settings, false);
    assert!(opened.unwrap_err().to_string().contains("damaged"));
    fs::write(&path, "no database").unwrap();
    refused(&kept.run(&["check"]), 65, "is no database");
    assert!(Store::open(&kept.settings, false).is_err());
    fs::remove_file(&path).unwrap();
    refused(&kept.run(&["check"]), 1, "cannot open the store");
}
