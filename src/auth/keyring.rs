//! The keys that tokens are checked with: the current one and, while keys are
//! changed, a previous one. Replaced as a whole, while others read.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::key::{KeySerial, TokenKey};
use crate::config::{Auth, Secret, TokenAlgorithm};

/// The keys that are valid now.
#[derive(Debug)]
pub struct Keyring {
    /// Where the keys come from.
    auth: Auth,
    keys: ArcSwap<Keys>,
}

/// At most two keys, the current one first.
#[derive(Debug, Clone, Default)]
pub(super) struct Keys {
    keys: Vec<TokenKey>,
    /// How many keys there have been.
    serials: u32,
}

/// A key that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot use the key {}: {reason}", place(path.as_deref()))]
pub struct KeyError {
    /// The file; `None` for a secret of the configuration itself.
    pub path: Option<PathBuf>,
    /// What is wrong with it.
    pub reason: String,
}

impl Keyring {
    /// The keys that `auth` names; possibly none. `read` fetches files.
    ///
    /// # Errors
    /// A file cannot be read, or holds no key of the algorithm.
    pub fn load(
        auth: &Auth,
        read: impl Fn(&Path) -> io::Result<Vec<u8>>,
    ) -> Result<Self, KeyError> {
        let mut keys = Keys::default();
        keys.replace(keys_of(auth, read)?);
        Ok(Self {
            auth: auth.clone(),
            keys: ArcSwap::from_pointee(keys),
        })
    }

    /// Reads the files again. Returns whether any key has changed. For one thread at a time.
    ///
    /// # Errors
    /// As [`Self::load`]; then the keys stay as they were.
    pub fn reload(&self, read: impl Fn(&Path) -> io::Result<Vec<u8>>) -> Result<bool, KeyError> {
        let mut keys = Keys::clone(&self.keys.load());
        let changed = keys.replace(keys_of(&self.auth, read)?);
        if changed {
            self.keys.store(Arc::new(keys));
        }
        Ok(changed)
    }

    /// Whether keys come from files, which may change.
    #[must_use]
    pub fn has_files(&self) -> bool {
        let auth = &self.auth;
        auth.jwt_secret_file.is_some()
            || auth.jwt_public_key_file.is_some()
            || auth.previous_key_file().is_some()
    }

    /// What is allowed yet likely not meant, a sentence each.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let keys = self.keys.load();
        let files = [&self.auth.jwt_secret_file, &self.auth.previous_secret_file];
        let padded = keys.keys.iter().zip(files).filter(|(key, _)| key.is_padded);
        let warnings = padded.map(|(_, file)| {
            format!(
                "the secret {} has white space around it or a byte order mark, which are no part of it: take them out, \
                 so that all who sign or check tokens have the same",
                place(file.as_deref())
            )
        });
        warnings.collect()
    }

    /// The serials of the valid keys; a connection whose token was checked with another has lost its
    /// ground.
    ///
    /// Cost: some nanoseconds.
    #[must_use]
    pub fn serials(&self) -> [Option<KeySerial>; KEYS_MAX] {
        let keys = self.keys.load();
        std::array::from_fn(|index| keys.keys.get(index).map(|key| key.serial))
    }

    pub(super) fn keys(&self) -> arc_swap::Guard<Arc<Keys>> {
        self.keys.load()
    }
}

impl Keys {
    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The keys that a token with this `kid` may be signed with: where keys have ids the one of that
    /// id, and none without one; where they have none, all, whatever the token names: many issuers always name one.
    pub(super) fn of_id(&self, id: Option<&str>) -> impl Iterator<Item = &TokenKey> {
        let keys = self.keys.iter();
        keys.filter(move |key| key.id.is_none() || key.id.as_deref() == id)
    }

    /// Takes `keys` instead of the present ones; those that stay keep their serials. Returns whether
    /// anything is different.
    fn replace(&mut self, mut keys: Vec<TokenKey>) -> bool {
        for key in &mut keys {
            let known = self.keys.iter().find(|known| known.is_same_as(key));
            key.serial = known.map_or_else(
                || {
                    self.serials += 1;
                    KeySerial(self.serials)
                },
                |known| known.serial,
            );
        }
        let serials = |keys: &[TokenKey]| keys.iter().map(|key| key.serial).collect::<Vec<_>>();
        let changed = serials(&keys) != serials(&self.keys);
        self.keys = keys;
        changed
    }
}

fn keys_of(
    auth: &Auth,
    read: impl Fn(&Path) -> io::Result<Vec<u8>>,
) -> Result<Vec<TokenKey>, KeyError> {
    let id = auth.jwt_key_id.as_deref();
    let current = match (&auth.jwt_secret_file, &auth.jwt_public_key_file) {
        (None, None) => auth.jwt_secret.as_ref().map(|secret| {
            let key = TokenKey::of_secret(secret, id);
            key.map_err(|reason| KeyError { path: None, reason })
        }),
        (Some(path), _) | (None, Some(path)) => Some(key_of_file(auth.algorithm, path, id, &read)),
    };
    let Some(current) = current else {
        return Ok(Vec::new());
    };
    let mut keys = vec![current?];
    if let Some(path) = auth.previous_key_file() {
        let is_empty = read(path).is_ok_and(|bytes| bytes.trim_ascii().is_empty());
        if !is_empty {
            let id = auth.previous_key_id.as_deref();
            keys.push(key_of_file(auth.algorithm, path, id, &read)?);
        }
    }
    Ok(keys)
}

fn key_of_file(
    algorithm: TokenAlgorithm,
    path: &Path,
    id: Option<&str>,
    read: impl Fn(&Path) -> io::Result<Vec<u8>>,
) -> Result<TokenKey, KeyError> {
    let key = match algorithm {
        TokenAlgorithm::Hs256 => {
            Secret::from_file(path, read).and_then(|secret| TokenKey::of_secret(&secret, id))
        }
        algorithm => read(path)
            .map_err(|error| error.to_string())
            .and_then(|bytes| TokenKey::of_pem(algorithm, &bytes, id)),
    };
    key.map_err(|reason| KeyError {
        path: Some(path.to_owned()),
        reason,
    })
}

fn place(path: Option<&Path>) -> String {
    match path {
        Some(path) => path.display().to_string(),
        None => "`auth.jwt_secret`".to_owned(),
    }
}

/// The current key and the previous one.
const KEYS_MAX: usize = 2;

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::config::{Config, Mode};

    const OLD: &[u8] = b"an old secret of thirty-two bytes";
    const NEW: &[u8] = b"a new secret of thirty-two bytes.";

    fn auth() -> Auth {
        Auth {
            jwt_secret_file: Some("current".into()),
            previous_secret_file: Some("previous".into()),
            ..Config::for_mode(Mode::Prod).auth
        }
    }

    #[test]
    fn keys_that_stay_keep_their_serials_and_a_bad_file_changes_nothing() {
        let files: RefCell<[&[u8]; 2]> = RefCell::new([OLD, b"\n"]);
        let read = |path: &Path| {
            let index = usize::from(path.ends_with("previous"));
            Ok(files.borrow()[index].to_vec())
        };
        let ring = Keyring::load(&auth(), read).unwrap();
        let serials = |numbers: [u32; 2]| numbers.map(|n| (n > 0).then_some(KeySerial(n)));
        assert!(ring.has_files());
        assert_eq!(ring.serials(), serials([1, 0]));
        assert_eq!(ring.reload(read), Ok(false));
        *files.borrow_mut() = [NEW, OLD];
        assert_eq!(ring.reload(read), Ok(true));
        assert_eq!(ring.serials(), serials([2, 1]));
        for bad in [[&b"short"[..], OLD], [NEW, b"short"], [b"", OLD]] {
            *files.borrow_mut() = bad;
            let error = ring.reload(read).unwrap_err();
            assert!(error.to_string().contains("at least 32"), "{error}");
            assert_eq!(ring.serials(), serials([2, 1]));
        }
        let gone = ring.reload(|_| Err(io::ErrorKind::NotFound.into()));
        assert!(gone.unwrap_err().to_string().contains("current"));
        *files.borrow_mut() = [NEW, b""];
        assert_eq!(ring.reload(read), Ok(true));
        assert_eq!(ring.serials(), serials([2, 0]));
        // What comes back is a new key: connections it had are gone.
        *files.borrow_mut() = [OLD, NEW];
        assert_eq!(ring.reload(read), Ok(true));
        assert_eq!(ring.serials(), serials([3, 2]));
    }

    #[test]
    fn a02_a_public_key_is_not_taken_for_a_secret() {
        let pem = b"-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n";
        let error = Keyring::load(&auth(), |_| Ok(pem.to_vec())).unwrap_err();
        assert!(error.to_string().contains("holds a PEM key"), "{error}");
    }

    #[test]
    fn without_a_key_no_token_can_be_valid() {
        let auth = Config::for_mode(Mode::Prod).auth;
        let ring = Keyring::load(&auth, |_| unreachable!("there is no file")).unwrap();
        assert!(ring.keys().is_empty() && !ring.has_files());
    }
}
