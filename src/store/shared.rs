//! What the store's thread and all others know of the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::counters::StoreCounters;
use super::lane::Lane;
use super::refused::StoreHealth;
use crate::collections::{HashSet, Locked};
use crate::config::StoreSettings;
use crate::id::UserKey;

/// State of the store that several threads read.
#[derive(Debug)]
pub(super) struct Shared {
    pub settings: StoreSettings,
    pub lane: Lane,
    pub counters: StoreCounters,
    /// The number of users that are attached.
    pub connected: Arc<AtomicU64>,
    /// The users that have accounts.
    registered: Locked<HashSet<[u8; 8]>>,
    health: Locked<StoreHealth>,
    is_poisoned: AtomicBool,
}

impl Shared {
    pub(super) fn new(settings: &StoreSettings, registered: HashSet<[u8; 8]>) -> Self {
        Self {
            settings: settings.clone(),
            lane: Lane::new(settings),
            counters: StoreCounters::new(),
            connected: Arc::default(),
            registered: Locked::new(registered),
            health: Locked::new(StoreHealth::Good),
            is_poisoned: AtomicBool::new(false),
        }
    }

    pub(super) fn is_registered(&self, user: &str) -> bool {
        self.registered.lock().contains(&key_of(user))
    }

    /// How many users have accounts, and whether this one has.
    pub(super) fn registered(&self, user: &str) -> (usize, bool) {
        let registered = self.registered.lock();
        (registered.len(), registered.contains(&key_of(user)))
    }

    pub(super) fn note_registered(&self, user: &str) {
        self.registered.lock().insert(key_of(user));
    }

    pub(super) fn health(&self) -> StoreHealth {
        self.health.lock().clone()
    }

    pub(super) fn is_poisoned(&self) -> bool {
        self.is_poisoned.load(Ordering::Acquire)
    }

    /// Sets the health, and logs it if it has changed. What is poisoned stays so.
    pub(super) fn set_health(&self, new: StoreHealth) {
        let mut health = self.health.lock();
        if *health == new || self.is_poisoned() {
            return;
        }
        match &new {
            StoreHealth::Good => tracing::info!("the store stores again"),
            StoreHealth::Unreachable => {
                tracing::error!(
                    "the store's database is not reached: messages are refused until it is"
                );
            }
            StoreHealth::DiskFull => {
                tracing::error!("the store is full: messages are refused until there is room");
            }
            StoreHealth::Poisoned(error) => {
                tracing::error!(%error, "the store has failed: messages are refused until a restart");
                self.is_poisoned.store(true, Ordering::Release);
            }
        }
        *health = new;
    }
}

/// A user as the set of those with accounts has it.
pub(super) fn key_of(user: &str) -> [u8; 8] {
    UserKey::of(user).to_bytes()
}
