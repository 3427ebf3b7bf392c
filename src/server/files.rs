//! The limit of open files, and its division among connections and other uses.

use crate::config::{Config, Server};
use crate::net;

/// Files to reserve besides those of connections: the process's own, and sockets of HTTP requests such as health
/// checks.
pub(crate) const FILES_BESIDES: u64 = 1024;

/// Files of an idle process: standard streams, signals, keys, logs, a database.
const PROCESS_FILES: u64 = 18;

/// Files of a shard besides its listeners: its runtime's, signals, and a spare one.
const SHARD_FILES: u64 = 6;

/// Handshakes that are always possible.
const HANDSHAKES_MIN: u64 = 16;

/// Raises the limit of open files as far as permitted, and lowers `server.max_connections` to fit it, since a client
/// beyond the file limit could not be answered. Returns how many sockets of clients may be open, including handshakes.
pub(super) fn fit(config: &mut Config, shards: u16) -> usize {
    let Some(limit) = net::raise_file_limit() else {
        return usize::MAX;
    };
    let server = &mut config.server;
    let (configured, fitting) = (server.max_connections, Fitting::of(server, limit, shards));
    server.max_connections = fitting.connections;
    if fitting.connections < configured {
        let wanted = configured as u64 + FILES_BESIDES;
        tracing::warn!(
            limit,
            wanted,
            max_connections = fitting.connections,
            "server.max_connections is lowered to what the limit of open files allows; raise LimitNOFILE= or \
             `ulimit -n`"
        );
    }
    fitting.sockets
}

/// The numbers of sockets that fit a limit of open files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Fitting {
    connections: usize,
    /// Connections and handshakes.
    sockets: usize,
}

impl Fitting {
    fn of(server: &Server, limit: u64, shards: u16) -> Self {
        let of_shard = SHARD_FILES
            + (server.listeners().count() + usize::from(server.redirect().is_some())) as u64;
        let own = PROCESS_FILES + u64::from(shards) * of_shard;
        let besides = FILES_BESIDES.min(limit / 4).max(own + HANDSHAKES_MIN);
        let room = |files: u64| usize::try_from(limit.saturating_sub(files)).unwrap_or(usize::MAX);
        let connections = server.max_connections.min(room(besides)).max(1);
        Self {
            connections,
            sockets: room(own).max(connections + HANDSHAKES_MIN as usize),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Mode;

    /// A limit of files for two shards with one listener each has room for so many connections and sockets.
    #[track_caller]
    fn check(limit: u64, connections: usize, sockets: usize) {
        let server = Config::for_mode(Mode::Demo).server;
        let expected = Fitting {
            connections,
            sockets,
        };
        assert_eq!(Fitting::of(&server, limit, 2), expected, "{limit}");
    }

    #[test]
    fn r05_every_connection_and_handshake_has_a_file() {
        check(1 << 20, 100_000, (1 << 20) - 32);
        check(100_000 + FILES_BESIDES, 100_000, 100_000 + 1024 - 32);
        check(65_536, 65_536 - 1024, 65_536 - 32);
        check(1024, 768, 1024 - 32);
        check(60, 60 - 32 - 16, 60 - 32);
        // Too few for any connection.
        check(30, 1, 1 + 16);
    }
}
