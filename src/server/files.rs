//! How many files the process may open, and who has them.

use crate::config::{Config, Server};
use crate::net;

/// Files to have besides those of connections: the process's own, and those of requests that are no
/// connection, which health can be asked for with.
pub(crate) const FILES_BESIDES: u64 = 1024;

/// Files of the process at rest: standard streams, signals, keys, logs.
const PROCESS_FILES: u64 = 12;

/// Files of a shard besides its listeners: its runtime's, signals, and one to spare.
const SHARD_FILES: u64 = 6;

/// Handshakes that are possible whatever else is open.
const HANDSHAKES_MIN: u64 = 16;

/// Raises the limit of open files as far as the process may, and lowers `server.max_connections` to it: a
/// client that there is no file for could not even be told so. Returns how many sockets of clients may be
/// open, connections or not.
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

/// What a limit of open files has room for, as far as it is configured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Fitting {
    connections: usize,
    /// Connections, and what has not become one.
    sockets: usize,
}

impl Fitting {
    fn of(server: &Server, limit: u64, shards: u16) -> Self {
        let of_shard = SHARD_FILES + server.listen.len() as u64;
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
        check(1 << 20, 100_000, (1 << 20) - 26);
        check(100_000 + FILES_BESIDES, 100_000, 100_000 + 1024 - 26);
        check(65_536, 65_536 - 1024, 65_536 - 26);
        check(1024, 768, 1024 - 26);
        check(60, 60 - 26 - 16, 60 - 26);
        // Too few for anything.
        check(30, 1, 1 + 16);
    }
}
