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

/// Raises the limit of open files as far as the process may, and lowers what `config` allows to it: a
/// client that there is no file for could not even be told so.
pub(super) fn fit(config: &mut Config, shards: u16) {
    let Some(limit) = net::raise_file_limit() else {
        return;
    };
    let server = &mut config.server;
    let (configured, fitting) = (server.max_connections, Fitting::of(server, limit, shards));
    (server.max_connections, server.max_handshakes) = (fitting.connections, fitting.handshakes);
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
}

/// What a limit of open files has room for, as far as it is configured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Fitting {
    connections: usize,
    handshakes: usize,
}

impl Fitting {
    fn of(server: &Server, limit: u64, shards: u16) -> Self {
        let of_shard = SHARD_FILES + server.listen.len() as u64;
        let own = PROCESS_FILES + u64::from(shards) * of_shard;
        let besides = FILES_BESIDES.min(limit / 4).max(own + HANDSHAKES_MIN);
        let within = |max: usize, room: u64| max.min(usize::try_from(room).unwrap_or(usize::MAX));
        let connections = within(server.max_connections, limit.saturating_sub(besides)).max(1);
        let rest = limit.saturating_sub(own + connections as u64);
        Self {
            connections,
            handshakes: within(server.max_handshakes, rest.max(HANDSHAKES_MIN)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Mode;

    /// A limit of files for two shards with one listener each has room for so many connections and handshakes.
    #[track_caller]
    fn check(limit: u64, connections: usize, handshakes: usize) {
        let server = Config::for_mode(Mode::Demo).server;
        let expected = Fitting {
            connections,
            handshakes,
        };
        assert_eq!(Fitting::of(&server, limit, 2), expected, "{limit}");
    }

    #[test]
    fn r05_every_connection_and_handshake_has_a_file() {
        check(1 << 20, 100_000, 16_384);
        check(100_000 + FILES_BESIDES, 100_000, 1024 - 26);
        check(65_536, 65_536 - 1024, 1024 - 26);
        check(1024, 768, 256 - 26);
        check(60, 60 - 26 - 16, 16);
        // Too few for anything.
        check(30, 1, 16);
    }
}
