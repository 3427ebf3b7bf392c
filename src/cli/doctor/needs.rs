//! What the gateway needs of its host, by its configuration.

use crate::config::{Config, KIB};
use crate::server::FILES_BESIDES;

/// What the gateway needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Needs<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// Connections to be held at once: those asked about, or `server.max_connections`.
    pub connections: u64,
    /// Whether these were asked about, and the configuration may allow fewer.
    pub is_asked: bool,
}

impl<'a> Needs<'a> {
    /// Those of `config`, for `connections` or else as many as it allows.
    pub(super) fn of(config: &'a Config, connections: Option<u64>) -> Self {
        Self {
            config,
            connections: connections.unwrap_or(config.server.max_connections as u64),
            is_asked: connections.is_some(),
        }
    }

    /// Files of the process: one for each connection, and listeners, epoll, streams, logs.
    pub(super) fn files(&self) -> u64 {
        self.connections.saturating_add(FILES_BESIDES)
    }

    /// Shards on a machine that gives the process this many cores.
    pub(super) fn shards(&self, cores: usize) -> usize {
        match self.config.server.shards {
            0 => cores.max(1),
            shards => shards,
        }
    }

    /// Bytes that the gateway may come to: its budgets, and its own and the kernel's part for each
    /// connection at rest. What sockets hold is not in it; see `tcp_mem`.
    pub(super) fn memory(&self) -> u64 {
        let Config {
            hub,
            websocket,
            http,
            ..
        } = self.config;
        let budgets = [
            hub.max_memory,
            hub.max_history_memory,
            websocket.max_unfinished_bytes,
            http.max_buffered_bytes,
        ];
        let budgets: u64 = budgets.iter().map(|&bytes| bytes as u64).sum();
        budgets.saturating_add(self.connections.saturating_mul(self.connection_bytes()))
    }

    fn connection_bytes(&self) -> u64 {
        let process = if self.config.server.huge_pages {
            PROCESS_BYTES_HUGE
        } else {
            PROCESS_BYTES
        };
        let contexts = if self.config.websocket.deflate_client_contexts {
            CONTEXT_BYTES
        } else {
            0
        };
        let speaks_tls = self.config.server.listeners().any(|listen| listen.tls);
        let tls = if speaks_tls { TLS_BYTES } else { 0 };
        process + tls + KERNEL_BYTES + contexts
    }

    /// Bytes that the kernel holds for a client that does not read, before it can send them, if the
    /// configuration bounds them.
    pub(super) fn unsent_bytes(&self) -> Option<u64> {
        match self.config.server.max_unsent {
            0 => None,
            max => Some(max as u64 + SEGMENT_BYTES),
        }
    }

    /// Whether clients or a proxy on this machine connect over loopback. Unix sockets take no ports.
    pub(super) fn loopback_addresses(&self) -> usize {
        let listen = self.config.server.listen.iter();
        listen
            .filter(|listen| listen.unix.is_none() && listen.address.ip().is_loopback())
            .count()
    }

    /// Whether nobody comes over a network card.
    pub(super) fn is_loopback_only(&self) -> bool {
        let mut listen = self.config.server.listen.iter();
        listen.all(|listen| listen.address.ip().is_loopback())
    }
}

/// What an idle connection costs in the process, at most.
const PROCESS_BYTES: u64 = 2 * KIB as u64;
/// The same in huge pages, which are never quite full.
const PROCESS_BYTES_HUGE: u64 = 3 * KIB as u64;
/// What TLS adds, at most.
const TLS_BYTES: u64 = 5 * KIB as u64;
/// What an idle TCP connection costs in the kernel: on Linux 6.18 both ends of one take 9.9 KiB, of which a
/// `tcp_sock` is 2,368 bytes, its inode 832, file and dentry 192 each and entries of epoll about 200.
const KERNEL_BYTES: u64 = 5 * KIB as u64;
/// What the kernel takes at once, beyond a limit of what is not sent.
const SEGMENT_BYTES: u64 = 64 * KIB as u64;
/// With `websocket.deflate_client_contexts`.
const CONTEXT_BYTES: u64 = 32 * KIB as u64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Mode;

    #[test]
    fn memory_is_the_budgets_and_seven_kib_a_connection() {
        let mut config = Config::for_mode(Mode::Demo);
        let none = Needs::of(&config, Some(0)).memory();
        assert_eq!(none, (1024 + 256 + 256 + 256) << 20);
        assert_eq!(
            Needs::of(&config, Some(1000)).memory() - none,
            1000 * 7 * 1024
        );
        config.server.huge_pages = true;
        assert_eq!(
            Needs::of(&config, Some(1000)).memory() - none,
            1000 * 8 * 1024
        );
    }

    #[test]
    fn one_shard_a_core_unless_configured() {
        let mut config = Config::for_mode(Mode::Demo);
        assert_eq!(Needs::of(&config, None).shards(8), 8);
        config.server.shards = 3;
        assert_eq!(Needs::of(&config, None).shards(8), 3);
    }
}
