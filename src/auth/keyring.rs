//! The keys that verify tokens: the current one, during a key change the previous one, and those of the issuer's key
//! set. Replaced as a whole, while other threads read.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use aws_lc_rs::rand;
use serde::Serialize;

use super::issue::token_of;
use super::key::{KeySerial, TokenKey};
use super::key_set::KeySet;
use super::signing::SigningKey;
use super::token_error::TokenError;
use crate::config::{Auth, KeySetAddress, Secret, TokenAlgorithm};

/// The valid keys.
#[derive(Debug)]
pub struct Keyring {
    /// The configuration that names the keys.
    auth: Auth,
    keys: ArcSwap<Keys>,
    /// A token has named a key that the set lacks.
    is_key_missed: AtomicBool,
}

/// The keys of one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Keys {
    /// Those of the configuration, at most two, the current one first.
    own: Vec<TokenKey>,
    /// Those of the key set, as [`KeySet`] orders them.
    set: Vec<TokenKey>,
    /// A random secret of this process, where it issues tokens and the configuration has no secret for them.
    issued: Option<TokenKey>,
    /// The last serial given.
    serials: u32,
    /// A set is configured that has to be fetched.
    is_fetched: bool,
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
        let mut keys = Keys {
            is_fetched: matches!(auth.jwks_url, Some(KeySetAddress::Url(_))),
            ..Keys::default()
        };
        let set = set_of_file(auth, &read)?.unwrap_or_default();
        keys.replace(keys_of(auth, &read)?, set);
        Ok(Self {
            auth: auth.clone(),
            keys: ArcSwap::from_pointee(keys),
            is_key_missed: AtomicBool::new(false),
        })
    }

    /// Reads the files again. Returns whether any key has changed. Calls of this and of [`Self::take_set`] must not
    /// overlap.
    ///
    /// # Errors
    /// As [`Self::load`]; the keys then stay unchanged.
    pub fn reload(&self, read: impl Fn(&Path) -> io::Result<Vec<u8>>) -> Result<bool, KeyError> {
        let set = set_of_file(&self.auth, &read)?;
        let own = keys_of(&self.auth, &read)?;
        Ok(self.replace(|keys| (own, set.unwrap_or_else(|| keys.set.clone()))))
    }

    /// Replaces the keys of the set by those of `set`, which has been fetched. Returns whether any has changed.
    pub fn take_set(&self, set: KeySet) -> bool {
        self.replace(|keys| (keys.own.clone(), set.keys))
    }

    /// Has [`Self::issue`] sign with the secret of the configuration, or, where it has none, with a random one, whose
    /// tokens are valid from now on and until this process ends. Returns whether it is a random one. Not while another
    /// thread replaces keys.
    pub fn begin_issuing(&self) -> bool {
        let mut keys = Keys::clone(&self.keys.load());
        if keys.signing().is_some() {
            return false;
        }
        let mut secret = [0; ISSUED_SECRET_LEN];
        rand::fill(&mut secret).expect("the system has random bytes");
        let secret = Secret::new(secret).expect("it is long enough");
        let mut key = TokenKey::of_secret(&secret, None).expect("random bytes are no PEM");
        keys.serials += 1;
        key.serial = KeySerial(keys.serials);
        keys.issued = Some(key);
        self.keys.store(Arc::new(keys));
        true
    }

    /// The token with these claims, a JSON object, signed with HS256 by the current key. `None` where no key can sign,
    /// which is not so after [`Self::begin_issuing`].
    ///
    /// Cost: some microseconds.
    pub fn issue(&self, claims: &impl Serialize) -> Option<String> {
        token_of(claims, self.keys.load().signing()?)
    }

    /// Whether a token has named a key that the fetched set lacks, since the last call.
    pub fn take_missed(&self) -> bool {
        self.is_key_missed.swap(false, Ordering::Relaxed)
    }

    fn replace(&self, change: impl FnOnce(&Keys) -> (Vec<TokenKey>, Vec<TokenKey>)) -> bool {
        let mut keys = Keys::clone(&self.keys.load());
        let (own, set) = change(&keys);
        let changed = keys.replace(own, set);
        if changed {
            self.keys.store(Arc::new(keys));
        }
        changed
    }

    /// Whether any key comes from a file, which may change.
    #[must_use]
    pub fn has_files(&self) -> bool {
        let auth = &self.auth;
        auth.jwt_secret_file.is_some()
            || auth.jwt_public_key_file.is_some()
            || auth.previous_key_file().is_some()
            || matches!(auth.jwks_url, Some(KeySetAddress::File(_)))
    }

    /// Settings that are valid but probably unintended, one sentence each.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let keys = self.keys.load();
        let files = [&self.auth.jwt_secret_file, &self.auth.previous_secret_file];
        let padded = keys.own.iter().zip(files).filter(|(key, _)| key.is_padded);
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
    /// Cost: an allocation.
    #[must_use]
    pub fn serials(&self) -> Vec<KeySerial> {
        let keys = self.keys.load();
        let all = keys.all().chain(&keys.issued);
        all.map(|key| key.serial).collect()
    }

    pub(super) fn keys(&self) -> arc_swap::Guard<Arc<Keys>> {
        self.keys.load()
    }

    /// Notes that a token with this `kid` was refused: if the set may have got such a key, [`Self::take_missed`] tells.
    pub(super) fn note_refused(&self, keys: &Keys, id: Option<&str>) {
        let may_come =
            |id: &str| id.len() <= KEY_ID_LEN_MAX && keys.of_set(Some(id)).next().is_none();
        if keys.is_fetched && id.is_some_and(may_come) {
            self.is_key_missed.store(true, Ordering::Relaxed);
        }
    }
}

impl Keys {
    /// The keys that may have signed a token with this `kid`. Of the key set that is the one with this id, or its only
    /// key if there is no `kid`. If keys of the configuration have ids, it is the one with this id; otherwise all of
    /// them, whatever the `kid`, since many issuers always set one.
    pub(super) fn of_id(&self, id: Option<&str>) -> impl Iterator<Item = &TokenKey> {
        let own = self.own.iter();
        let own = own.filter(move |key| key.id.is_none() || key.id.as_deref() == id);
        let issued = self.issued.iter().filter(move |_| id.is_none());
        self.of_set(id).chain(own).chain(issued)
    }

    fn of_set(&self, id: Option<&str>) -> impl Iterator<Item = &TokenKey> {
        let is_single = self.set.len() == 1;
        let keys = self.set.iter();
        keys.filter(move |key| match id {
            Some(_) => key.id.as_deref() == id,
            None => is_single,
        })
    }

    /// Why a token is refused that was checked with no key, or, if one `was_tried`, whose signature was not right.
    pub(super) fn refusal(&self, was_tried: bool) -> TokenError {
        if self.is_fetched && self.set.is_empty() {
            TokenError::KeySet
        } else if was_tried || self.all().next().is_none() {
            TokenError::Signature
        } else {
            TokenError::Key
        }
    }

    /// The key that tokens are issued with.
    fn signing(&self) -> Option<&SigningKey> {
        let key = self.own.first().or(self.issued.as_ref())?;
        key.signing
            .as_deref()
            .or_else(|| self.issued.as_ref()?.signing.as_deref())
    }

    fn all(&self) -> impl Iterator<Item = &TokenKey> {
        self.own.iter().chain(&self.set)
    }

    /// Replaces the keys; those that remain keep their serials. Returns whether any key has changed.
    fn replace(&mut self, mut own: Vec<TokenKey>, mut set: Vec<TokenKey>) -> bool {
        let before: Vec<KeySerial> = self.all().map(|key| key.serial).collect();
        let mut last = self.serials;
        for key in own.iter_mut().chain(&mut set) {
            let known = self.all().find(|known| known.is_same_as(key));
            key.serial = known.map_or_else(
                || {
                    last += 1;
                    KeySerial(last)
                },
                |known| known.serial,
            );
        }
        (self.own, self.set, self.serials) = (own, set, last);
        !self.all().map(|key| key.serial).eq(before)
    }
}

fn keys_of(
    auth: &Auth,
    read: &impl Fn(&Path) -> io::Result<Vec<u8>>,
) -> Result<Vec<TokenKey>, KeyError> {
    let id = auth.jwt_key_id.as_deref();
    let current = match (&auth.jwt_secret_file, &auth.jwt_public_key_file) {
        (None, None) => auth.jwt_secret.as_ref().map(|secret| {
            let key = TokenKey::of_secret(secret, id);
            key.map_err(|reason| KeyError { path: None, reason })
        }),
        (Some(path), _) | (None, Some(path)) => Some(key_of_file(auth.algorithm, path, id, read)),
    };
    let Some(current) = current else {
        return Ok(Vec::new());
    };
    let mut keys = vec![current?];
    if let Some(path) = auth.previous_key_file() {
        let is_empty = read(path).is_ok_and(|bytes| bytes.trim_ascii().is_empty());
        if !is_empty {
            let id = auth.previous_key_id.as_deref();
            keys.push(key_of_file(auth.algorithm, path, id, read)?);
        }
    }
    Ok(keys)
}

/// The keys of the set, if it is a file.
fn set_of_file(
    auth: &Auth,
    read: &impl Fn(&Path) -> io::Result<Vec<u8>>,
) -> Result<Option<Vec<TokenKey>>, KeyError> {
    let Some(KeySetAddress::File(path)) = &auth.jwks_url else {
        return Ok(None);
    };
    let set = read(path)
        .map_err(|error| error.to_string())
        .and_then(|bytes| KeySet::parse(auth.algorithm, &bytes).map_err(|error| error.to_string()));
    let set = set.map_err(|reason| KeyError {
        path: Some(path.clone()),
        reason,
    })?;
    Ok(Some(set.keys))
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

/// Bytes of a random secret: as many as HS256 has.
const ISSUED_SECRET_LEN: usize = 32;

/// Bytes of a `kid` that may be one of the set's.
const KEY_ID_LEN_MAX: usize = 128;

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
        let serials =
            |numbers: &[u32]| -> Vec<_> { numbers.iter().copied().map(KeySerial).collect() };
        assert!(ring.has_files());
        assert_eq!(ring.serials(), serials(&[1]));
        assert_eq!(ring.reload(read), Ok(false));
        *files.borrow_mut() = [NEW, OLD];
        assert_eq!(ring.reload(read), Ok(true));
        assert_eq!(ring.serials(), serials(&[2, 1]));
        for bad in [[&b"short"[..], OLD], [NEW, b"short"], [b"", OLD]] {
            *files.borrow_mut() = bad;
            let error = ring.reload(read).unwrap_err();
            assert!(error.to_string().contains("at least 32"), "{error}");
            assert_eq!(ring.serials(), serials(&[2, 1]));
        }
        let gone = ring.reload(|_| Err(io::ErrorKind::NotFound.into()));
        assert!(gone.unwrap_err().to_string().contains("current"));
        *files.borrow_mut() = [NEW, b""];
        assert_eq!(ring.reload(read), Ok(true));
        assert_eq!(ring.serials(), serials(&[2]));
        // A key that is added again has a new serial: its earlier connections have been closed.
        *files.borrow_mut() = [OLD, NEW];
        assert_eq!(ring.reload(read), Ok(true));
        assert_eq!(ring.serials(), serials(&[3, 2]));
    }

    #[test]
    fn a02_a_public_key_is_not_taken_for_a_secret() {
        let pem = b"-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n";
        let error = Keyring::load(&auth(), |_| Ok(pem.to_vec())).unwrap_err();
        assert!(error.to_string().contains("holds a PEM key"), "{error}");
    }

    #[test]
    fn tokens_are_issued_with_the_secret_or_with_a_random_one_that_no_reload_takes_away() {
        #[derive(Serialize)]
        struct Claims {
            exp: u64,
        }
        let none = Config::for_mode(Mode::Prod).auth;
        let ring = Keyring::load(&none, |_| unreachable!("there is no file")).unwrap();
        assert_eq!(ring.issue(&Claims { exp: 1 }), None);
        assert!(ring.begin_issuing() && !ring.begin_issuing());
        assert_eq!(ring.serials(), [KeySerial(1)]);
        let token = ring.issue(&Claims { exp: 1 }).unwrap();
        assert!(!ring.reload(|_| unreachable!("there is no file")).unwrap());
        assert_eq!(ring.issue(&Claims { exp: 1 }), Some(token));
        assert!(ring.keys().of_id(None).count() == 1 && ring.keys().of_id(Some("k")).count() == 0);

        let files: RefCell<[&[u8]; 2]> = RefCell::new([OLD, b""]);
        let read = |path: &Path| {
            let index = usize::from(path.ends_with("previous"));
            Ok(files.borrow()[index].to_vec())
        };
        let ring = Keyring::load(&auth(), read).unwrap();
        assert!(!ring.begin_issuing());
        let old = ring.issue(&Claims { exp: 1 });
        *files.borrow_mut() = [NEW, OLD];
        assert_eq!(ring.reload(read), Ok(true));
        assert_ne!(ring.issue(&Claims { exp: 1 }), old);
    }

    #[test]
    fn without_a_key_no_token_can_be_valid() {
        let auth = Config::for_mode(Mode::Prod).auth;
        let ring = Keyring::load(&auth, |_| unreachable!("there is no file")).unwrap();
        assert!(ring.serials().is_empty() && !ring.has_files());
    }
}
