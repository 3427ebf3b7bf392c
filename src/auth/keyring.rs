//! The keys that verify tokens: the current one and, during a key change, the previous one. Replaced as a whole, while
//! other threads read.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::key::{KeySerial, TokenKey};
use crate::config::{Auth, Secret, TokenAlgorithm};

/// The valid keys.
#[derive(Debug)]
pub struct Keyring {
    /// The configuration that names the keys.
    auth: Auth,
    keys: ArcSwap<Keys>,
}

/// At most two keys, the current one first.
#[derive(Debug, Clone, Default)]
pub(super) struct Keys {
    keys: Vec<TokenKey>,
    /// The last serial given.
    serials: u32,
}

/// A key that cannot be used, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot use the key {}: {reason}", source_name(path.as_deref()))]
pub struct KeyError {
    /// The file; `None` for a secret in the configuration itself.
    pub path: Option<PathBuf>,
    /// Why it cannot be used.
    pub reason: String,
}

impl Keyring {
    /// Loads the keys that `auth` names; there may be none. `read` fetches files.
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

    /// Reads the files again. Returns whether any key has changed. Calls must not overlap.
    ///
    /// # Errors
    /// As [`Self::load`]; the keys then stay unchanged.
    pub fn reload(&self, read: impl Fn(&Path) -> io::Result<Vec<u8>>) -> Result<bool, KeyError> {
        let mut keys = Keys::clone(&self.keys.load());
        let changed = keys.replace(keys_of(&self.auth, read)?);
        if changed {
            self.keys.store(Arc::new(keys));
        }
        Ok(changed)
    }

    /// Whether any key comes from a file, which may change.
    #[must_use]
    pub fn has_files(&self) -> bool {
        let auth = &self.auth;
        auth.jwt_secret_file.is_some()
            || auth.jwt_public_key_file.is_some()
            || auth.previous_key_file().is_some()
    }

    /// Settings that are valid but probably unintended, one sentence each.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let keys = self.keys.load();
        let files = [&self.auth.jwt_secret_file, &self.auth.previous_secret_file];
        let padded = keys.keys.iter().zip(files).filter(|(key, _)| key.is_padded);
        let warnings = padded.map(|(_, file)| {
            format!(
                "the secret {} has white space around it or a byte order mark, which are no part of it: take them out, \
                 so that all who sign or check tokens have the same",
                source_name(file.as_deref())
            )
        });
        warnings.collect()
    }

    /// The serials of the valid keys. A connection whose token was verified with another key has to be closed.
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
    /// Whether there are no keys.
    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The keys that may have signed a token with this `kid`. If keys have ids, only the one with this id;
    /// otherwise all keys, whatever the `kid`, since many issuers always set one.
    pub(super) fn of_id(&self, id: Option<&str>) -> impl Iterator<Item = &TokenKey> {
        let keys = self.keys.iter();
        keys.filter(move |key| key.id.is_none() || key.id.as_deref() == id)
    }

    /// Replaces the keys; those that remain keep their serials. Returns whether any key has changed.
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

fn source_name(path: Option<&Path>) -> String {
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
        // A key that is added again has a new serial: its earlier connections have been closed.
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
