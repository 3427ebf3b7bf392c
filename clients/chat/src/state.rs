//! What outlives a run: which messages were seen, and the keys of users.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::accounts::PublicKeys;
use crate::directory::Directory;
use crate::encoding::{decode_array, encode};
use crate::failure::Failure;
use crate::private_file;

/// Bytes of a state file: the keys of all users that a directory holds, whose ids have 128 bytes.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Ids of messages that are remembered one by one.
const RECENT_MAX: usize = 1024;

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct File {
    server: String,
    user: String,
    last_id: Option<i64>,
    known: BTreeMap<String, FileKeys>,
}

#[derive(Debug, Serialize, Deserialize)]
struct FileKeys {
    public_key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    x25519_public_key: Option<String>,
}

/// Which messages were seen. In memory alone, or in a file besides.
#[derive(Debug)]
pub(crate) struct State {
    path: Option<PathBuf>,
    server: String,
    user: String,
    last_id: Option<i64>,
    recent: BTreeSet<i64>,
}

impl State {
    /// Of a user of a server, with the directory of earlier runs where the file has one.
    pub(crate) fn load(
        path: Option<PathBuf>,
        server: &str,
        user: &str,
    ) -> Result<(Self, Directory), Failure> {
        let mut file = File::default();
        if let Some(path) = &path {
            let text = private_file::read(path, FILE_BYTES_MAX).map_err(Failure::Key)?;
            if let Some(text) = text {
                file = read(&text, server, user)
                    .map_err(|why| Failure::Key(format!("{}: {why}", path.display())))?;
            }
        }
        let keys = file.known.into_iter().filter_map(|(user, keys)| {
            let agreement = keys.x25519_public_key;
            let keys = PublicKeys {
                signing: decode_array(&keys.public_key)?,
                agreement: agreement.as_deref().and_then(decode_array),
            };
            Some((user, keys))
        });
        let state = Self {
            path,
            server: server.to_owned(),
            user: user.to_owned(),
            last_id: file.last_id,
            recent: BTreeSet::new(),
        };
        Ok((state, Directory::new(keys)))
    }

    /// The highest id that was seen.
    pub(crate) fn last_id(&self) -> Option<i64> {
        self.last_id
    }

    /// Whether a message has come before. One that is much older than others counts as new, since it
    /// can come late.
    pub(crate) fn is_seen(&self, id: i64) -> bool {
        self.recent.contains(&id) || self.last_id == Some(id)
    }

    /// A message was shown.
    pub(crate) fn see(&mut self, id: i64) {
        self.last_id = self.last_id.max(Some(id));
        self.recent.insert(id);
        if self.recent.len() > RECENT_MAX {
            self.recent.pop_first();
        }
    }

    /// The account is new to the server, which counts from the beginning.
    pub(crate) fn begin_anew(&mut self) {
        self.last_id = None;
        self.recent.clear();
    }

    /// Writes the file, if there is to be one.
    pub(crate) fn save(&self, directory: &Directory) -> Result<(), Failure> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        let known = directory.keys().map(|(user, keys)| {
            let keys = FileKeys {
                public_key: encode(&keys.signing),
                x25519_public_key: keys.agreement.as_ref().map(|key| encode(key)),
            };
            (user.to_owned(), keys)
        });
        let file = File {
            server: self.server.clone(),
            user: self.user.clone(),
            last_id: self.last_id,
            known: known.collect(),
        };
        let text = serde_json::to_string(&file).expect("it is JSON");
        let written = private_file::replace(path, &text);
        written
            .map_err(|error| Failure::Key(format!("{} cannot be written: {error}", path.display())))
    }
}

fn read(text: &str, server: &str, user: &str) -> Result<File, String> {
    let file: File = serde_json::from_str(text)
        .map_err(|error| format!("it is no state file ({error}): remove it, or name another"))?;
    if file.server != server || file.user != user {
        return Err(format!(
            "it is the state of {} at {}: name another file",
            file.user, file.server
        ));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_outlives_a_run() {
        let folder = tempfile::tempdir().unwrap();
        let path = Some(folder.path().join("state"));
        let load = |user| State::load(path.clone(), "https://x", user);
        let (mut state, _) = load("alice").unwrap();
        assert_eq!(state.last_id(), None);
        state.see(7);
        state.see(5);
        let bob = PublicKeys {
            signing: [1; 32],
            agreement: None,
        };
        state
            .save(&Directory::new([("bob".to_owned(), bob.clone())]))
            .unwrap();
        let (state, directory) = load("alice").unwrap();
        assert_eq!(state.last_id(), Some(7));
        assert!(state.is_seen(7));
        assert_eq!(directory.keys().collect::<Vec<_>>(), [("bob", &bob)]);
        let failure = load("bob").unwrap_err();
        assert_eq!(failure.exit_code(), 3);
        assert!(failure.to_string().contains("the state of alice"));
    }

    #[test]
    fn a_message_is_new_once() {
        let (mut state, _) = State::load(None, "https://x", "alice").unwrap();
        for id in 1..3000 {
            assert!(!state.is_seen(id));
            state.see(id);
            assert!(state.is_seen(id));
        }
        assert!(state.recent.len() <= RECENT_MAX && state.is_seen(2000));
        state.begin_anew();
        assert!(!state.is_seen(2999));
    }
}
