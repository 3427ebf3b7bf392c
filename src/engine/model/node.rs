//! One engine, its sockets, and the requests it has taken from lanes.

use std::sync::Arc;

use super::encoder::formats;
use super::lanes::{Batch, Span};
use super::ops::Setup;
use super::sockets::Sockets;
use crate::config::{Config, SlowConsumer};
use crate::engine::hub::{HubLimits, OutboxLimits, Policies, Policy};
use crate::engine::{Engine, EngineSettings, Request};
use crate::id::{Priority, ShardId};
use crate::metrics::Counters;
use crate::sse::CursorKey;

/// The epoch in the positions of patterns.
pub(super) const PROCESS: u64 = 77;

/// One engine with the rest of a shard's state.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) engine: Engine,
    pub(super) sockets: Sockets,
    pub(super) counters: Counters,
    /// Batches of requests taken and not finished, by the requesting engine.
    pub(super) begun: Vec<Option<Begun>>,
    /// The engine has asked for a flush.
    pub(super) is_wanted: bool,
}

#[derive(Debug)]
pub(super) struct Begun {
    pub(super) batch: Batch<Request<Span>>,
    pub(super) is_stalled: bool,
}

/// The configuration of a run.
pub(super) fn config(setup: &Setup) -> Config {
    let Setup {
        history,
        grace_ms,
        topics,
        ..
    } = setup;
    let text = format!(
        "mode = \"demo\"\n[hub]\nhistory_size = {history}\nmax_topics = {topics}\n\
         presence_grace = \"{grace_ms}ms\"\n\
         [namespace.\"b.\"]\nhistory_size = 0\n[namespace.\"p.\"]\npresence = true\n"
    );
    Config::from_toml(&text).expect("it is valid")
}

impl Node {
    pub(super) fn new(
        setup: &Setup,
        shard: u16,
        config: &Arc<Config>,
        cursors: &Arc<CursorKey>,
    ) -> Self {
        let policy = |slow: SlowConsumer, priority| Policy {
            slow,
            lag_bytes_max: setup.lag_bytes,
            lag_messages_max: setup.lag_messages,
            priority,
        };
        let engine = Engine::new(EngineSettings {
            shard: ShardId(shard),
            shards: setup.engines,
            config: config.clone(),
            hub: HubLimits {
                topics_max: setup.topics,
                memory_max: setup.memory,
                log_bytes_max: setup.log_bytes,
                backlog_bytes_max: setup.backlog_bytes,
                few_members_max: 2,
                outbox: OutboxLimits {
                    bytes_max: 1 << 20,
                    messages_max: setup.outbox_messages,
                },
            },
            policies: Policies::new(
                policy(setup.slow, Priority::Normal),
                [("b.".into(), policy(setup.slow_b, Priority::Low))],
            ),
            cursors: cursors.clone(),
            formats: formats(),
            // Epochs of different engines are easy to tell apart in a trace.
            epoch: 1000 * (1 + u64::from(shard)),
            process: PROCESS,
        });
        Self {
            engine,
            sockets: Sockets::default(),
            counters: Counters::default(),
            begun: (0..setup.engines).map(|_| None).collect(),
            is_wanted: false,
        }
    }

    /// Whether a request taken from a lane is unfinished.
    pub(super) fn has_begun(&self) -> bool {
        self.begun.iter().any(Option::is_some)
    }
}
