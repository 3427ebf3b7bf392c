//! The issuer's key set (`auth.jwks_url`): fetched, kept through outages, and never because of one token at once.

mod schedule;

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use http::{Method, StatusCode, Uri};

use super::fetch::{FetchError, FetchLimits, FetchRequest, Trust};
use super::read::read_file;
use crate::auth::{Authenticator, KeySet, KeySetError};
use crate::config::{Auth, JWKS_REFRESH_MIN, KeySetAddress, TokenAlgorithm};
use schedule::Schedule;

/// A key set that can be fetched.
#[derive(Debug)]
pub(crate) struct KeySetSource {
    url: Uri,
    ca_file: Option<PathBuf>,
    algorithm: TokenAlgorithm,
}

/// Why there is no new key set.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeySetFault {
    /// The server's authorities cannot be read.
    #[error("cannot use `auth.jwks_ca_file` {}: {reason}", path.display())]
    Authorities { path: PathBuf, reason: String },
    /// There is no answer.
    #[error(
        "{0}{hint}",
        hint = if matches!(.0, FetchError::Untrusted(_)) { "; `auth.jwks_ca_file` names the certificates to trust" } else { "" }
    )]
    Fetch(#[from] FetchError),
    /// The answer is something else.
    #[error(
        "the answer's status is {0}{hint}",
        hint = if .0.is_redirection() { "; redirects are not followed: name the address that it leads to" } else { "" }
    )]
    Status(StatusCode),
    /// The answer is no set that can be used.
    #[error(transparent)]
    Set(#[from] KeySetError),
}

impl KeySetSource {
    /// The set that `auth` names, if it is one to fetch.
    pub(crate) fn of(auth: &Auth) -> Option<Self> {
        let Some(KeySetAddress::Url(url)) = &auth.jwks_url else {
            return None;
        };
        Some(Self {
            url: url.clone(),
            ca_file: auth.jwks_ca_file.clone(),
            algorithm: auth.algorithm,
        })
    }

    /// Checks what can be checked without the network: that the authorities can be used.
    pub(crate) fn check(&self) -> Result<(), KeySetFault> {
        self.trust().map(drop)
    }

    /// Fetches the set. Blocks, [`FetchLimits`] says for how long at most.
    pub(crate) fn fetch(&self) -> Result<KeySet, KeySetFault> {
        let request = FetchRequest::new(Method::GET, self.url.clone())?;
        let answer = request.send(&self.trust()?, FetchLimits::default())?;
        if answer.status != StatusCode::OK {
            return Err(KeySetFault::Status(answer.status));
        }
        Ok(KeySet::parse(self.algorithm, &answer.body)?)
    }

    fn trust(&self) -> Result<Trust, KeySetFault> {
        let Some(path) = &self.ca_file else {
            return Ok(Trust::System);
        };
        let pem = read_file(path).map_err(|error| error.to_string());
        let trust = pem.and_then(|pem| Trust::only(&pem).map_err(|error| error.to_string()));
        trust.map_err(|reason| KeySetFault::Authorities {
            path: path.clone(),
            reason,
        })
    }
}

/// A fetch that has ended.
pub(super) type FetchedKeySet = Result<KeySet, KeySetFault>;

/// Fetches the key set when it is time to, one fetch at a time. Owned by the control thread, which a fetch does not
/// hold up.
#[derive(Debug)]
pub(super) struct KeySetFetcher {
    source: Arc<KeySetSource>,
    schedule: Schedule,
    fetching: Option<JoinHandle<()>>,
    /// A signal has asked for the fetch that runs, and its result is told in any case.
    is_asked: bool,
    /// The error of the last fetch.
    complaint: Option<String>,
    /// The keys of the last set that are not used.
    unused: Vec<String>,
}

impl KeySetFetcher {
    /// For the set that `auth` names, if it is one to fetch.
    pub(super) fn of(auth: &Auth) -> Option<Self> {
        Some(Self {
            source: Arc::new(KeySetSource::of(auth)?),
            schedule: Schedule::new(auth.jwks_refresh, JWKS_REFRESH_MIN),
            fetching: None,
            is_asked: false,
            complaint: None,
            unused: Vec::new(),
        })
    }

    /// Fetches the set for the first time, before clients are served: a client whose token cannot be checked may take it
    /// for invalid and stay away. Blocks for as long as one fetch may take; without a set the gateway serves as well.
    pub(super) fn fetch_first(&mut self, authenticator: &Authenticator) {
        self.schedule.begin(Instant::now());
        // On a thread of its own, since the caller's may run a runtime.
        let fetched = thread::scope(|scope| scope.spawn(|| self.source.fetch()).join());
        self.take(fetched.expect("a fetch does not panic"), authenticator);
    }

    /// Begins a fetch if it is time to, or if one is `asked` for. Its thread hands the result to `send`.
    pub(super) fn look(
        &mut self,
        asked: bool,
        authenticator: &Authenticator,
        send: impl FnOnce(FetchedKeySet) + Send + 'static,
    ) {
        self.is_asked |= asked;
        if self.fetching.as_ref().is_some_and(|it| !it.is_finished()) {
            return;
        }
        let (now, keys) = (Instant::now(), &authenticator.tokens.keys);
        // What is missed is noted until the fetch that it may bring.
        self.schedule.is_missed |= keys.take_missed();
        if !self.is_asked && !self.schedule.is_due(now) {
            return;
        }
        self.schedule.begin(now);
        let source = Arc::clone(&self.source);
        let thread = thread::Builder::new().name("jwks".to_owned());
        match thread.spawn(move || send(source.fetch())) {
            Ok(thread) => self.fetching = Some(thread),
            Err(error) => tracing::warn!(%error, "cannot start a thread to fetch auth.jwks_url"),
        }
    }

    /// Takes the result of a fetch. What fails changes nothing.
    pub(super) fn take(&mut self, fetched: FetchedKeySet, authenticator: &Authenticator) {
        let asked = std::mem::take(&mut self.is_asked);
        match fetched {
            Ok(set) => self.replace(set, asked, authenticator),
            Err(error) => {
                self.schedule.fail();
                if let Some(counters) = &authenticator.key_set {
                    counters.note_failed();
                }
                let complaint = error.to_string();
                if asked || self.complaint.as_ref() != Some(&complaint) {
                    let url = &self.source.url;
                    if self.schedule.has_keys() {
                        tracing::warn!(%url, %error, "auth.jwks_url cannot be fetched: its keys stay as they were");
                    } else {
                        tracing::warn!(
                            %url, %error,
                            "auth.jwks_url cannot be fetched: until it can, tokens of its keys are refused. It is \
                             tried again and again; `fanfare doctor` tries it from a shell"
                        );
                    }
                }
                self.complaint = Some(complaint);
            }
        }
    }

    fn replace(&mut self, set: KeySet, asked: bool, authenticator: &Authenticator) {
        self.schedule.succeed();
        let (keys, unused) = (set.len(), set.unused.len());
        if let Some(counters) = &authenticator.key_set {
            counters.note_fetched(keys, unused, Instant::now());
        }
        let is_told = self.unused == set.unused;
        self.unused.clone_from(&set.unused);
        if authenticator.tokens.keys.take_set(set) {
            tracing::info!(keys, unused, "the keys of auth.jwks_url have changed");
        } else if asked {
            tracing::info!(keys, unused, "the keys of auth.jwks_url are the same");
        } else if self.complaint.is_some() {
            tracing::info!(keys, unused, "auth.jwks_url can be fetched again");
        }
        self.complaint = None;
        if !is_told {
            for reason in &self.unused {
                tracing::info!("auth.jwks_url: {reason}");
            }
        }
    }
}
