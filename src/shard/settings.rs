//! The settings of a shard.

use std::sync::Arc;

use super::Process;
use crate::auth::Authenticator;
use crate::config::Config;
use crate::engine::hub::{HubLimits, OutboxLimits, Policies, Policy};
use crate::engine::{EngineSettings, FormatRegistry};
use crate::id::{Priority, ShardId};
use crate::metrics::Counters;
use crate::sse::CursorKey;

/// Bytes of a log that no flush has offered to all members yet. Publishers wait at the limit, so that publishing faster
/// than the shard can write does not increase latency.
const BACKLOG_BYTES_MAX: u64 = 4 << 20;

/// What a shard is created from.
#[derive(Debug)]
pub struct ShardSettings {
    /// Which shard it is.
    pub id: ShardId,
    /// The configuration.
    pub config: Arc<Config>,
    /// Limits and tables that all shards share.
    pub process: Arc<Process>,
    /// Keys and secrets that credentials are checked against.
    pub authenticator: Arc<Authenticator>,
    /// Its counters and gauges.
    pub counters: Arc<Counters>,
    /// The wire formats of all protocols.
    pub formats: Arc<FormatRegistry>,
    /// Signs the cursors of event streams, the same for all shards.
    pub cursors: Arc<CursorKey>,
}

/// The settings of the engine of one of `shards`.
pub(super) fn engine(settings: &ShardSettings, shards: u16, wall_ms: u64) -> EngineSettings {
    let config = &settings.config;
    EngineSettings {
        shard: settings.id,
        shards,
        config: config.clone(),
        hub: hub_limits(config, usize::from(shards)),
        policies: policies(config),
        cursors: settings.cursors.clone(),
        formats: settings.formats.make(config),
        // Epochs count up from here, one per topic: at most 1,000 topics per millisecond keeps them unique across
        // restarts.
        epoch: wall_ms * 1000,
        process: settings.process.epoch,
    }
}

/// Subscribers of a topic up to which one flush writes to all of them; those of larger topics have a queue of their
/// own.
const FEW_MEMBERS_MAX: usize = 512;

/// One shard's share of the process's limits.
fn hub_limits(config: &Config, shards: usize) -> HubLimits {
    HubLimits {
        topics_max: config.hub.max_topics,
        memory_max: config.hub.max_memory / shards.max(1),
        log_bytes_max: config.hub.max_log_size,
        backlog_bytes_max: BACKLOG_BYTES_MAX.min(config.hub.max_log_size as u64),
        few_members_max: FEW_MEMBERS_MAX,
        outbox: OutboxLimits {
            bytes_max: config.hub.outbox_max_bytes,
            messages_max: config.hub.outbox_max_messages,
        },
    }
}

/// The policies of topics, by prefix.
fn policies(config: &Config) -> Policies {
    let hub = &config.hub;
    let default = Policy {
        slow: hub.slow_consumer,
        lag_bytes_max: hub.max_lag as u64,
        lag_messages_max: hub.max_lag_messages as u64,
        priority: Priority::Normal,
    };
    let namespaces = config.namespaces.iter().map(|(prefix, namespace)| {
        let policy = Policy {
            slow: namespace.slow_consumer,
            lag_bytes_max: namespace.max_lag as u64,
            lag_messages_max: namespace.max_lag_messages as u64,
            priority: namespace.priority,
        };
        (prefix.into(), policy)
    });
    Policies::new(default, namespaces)
}
