//! The scenarios, and what they share.

pub(crate) mod backend;
pub(crate) mod bridge;
mod canary;
pub(crate) mod connect;
mod connections;
pub(crate) mod echo;
pub(crate) mod fanout;
pub(crate) mod idle;
pub(crate) mod messenger;
pub(crate) mod publish;
pub(crate) mod resume;

use crate::cli::Common;
use crate::net::{End, Id, Net, Target};
use crate::outcome::Outcome;

/// Connections being set up at a time.
pub(crate) const HANDSHAKES_MAX: usize = 64;

/// File descriptors that are not connections.
const OTHER_FILES: u64 = 16;

/// The fast client for `target`.
pub(crate) fn net(target: &Target, common: &Common, connections: usize) -> Result<Net, String> {
    check_file_limit(connections)?;
    Net::new(target.clone(), common.source_addresses, common.seed)
        .map_err(|error| format!("epoll: {error}"))
}

/// Raises the soft limit of open files to the hard one if necessary; fails if that is
/// not enough.
pub(crate) fn check_file_limit(connections: usize) -> Result<(), String> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let needed = connections as u64 + OTHER_FILES;
    let limit = getrlimit(Resource::Nofile);
    let enough = |limit: Option<u64>| limit.is_none_or(|limit| limit >= needed);
    if enough(limit.current) {
        return Ok(());
    }
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if enough(limit.maximum) && setrlimit(Resource::Nofile, raised).is_ok() {
        return Ok(());
    }
    Err(format!(
        "{connections} connections need {needed} open files, this process may have {}: \
         run `ulimit -n {needed}` first (the hard limit is {})",
        limit.current.unwrap_or(0),
        limit.maximum.unwrap_or(0),
    ))
}

/// Opens one connection.
pub(crate) fn open(net: &mut Net) -> Result<Id, String> {
    net.open().map_err(cannot_connect)
}

/// As [`open`], on this path.
pub(crate) fn open_on(net: &mut Net, path: &str) -> Result<Id, String> {
    net.open_on(path).map_err(cannot_connect)
}

/// As [`open`], for requests.
pub(crate) fn open_http(net: &mut Net) -> Result<Id, String> {
    net.open_http().map_err(cannot_connect)
}

/// As [`open`], for an event stream of these topics.
pub(crate) fn open_stream<'a>(
    net: &mut Net,
    topics: impl Iterator<Item = &'a str>,
) -> Result<Id, String> {
    net.open_stream(topics).map_err(cannot_connect)
}

fn cannot_connect(error: std::io::Error) -> String {
    if error.kind() == std::io::ErrorKind::AddrNotAvailable {
        "no free port on this address: use more --source-addresses".to_owned()
    } else {
        format!("cannot connect: {error}")
    }
}

/// The failure of a run whose connection `what` ended early.
pub(crate) fn failure(target: &Target, what: &str, end: &End) -> String {
    match end {
        End::Unreachable(_) => format!("{}: {end}. Is the server running?", target.url),
        _ => format!("{what} at {}: {end}", target.url),
    }
}

/// Starts the report of a run.
pub(crate) fn outcome(
    scenario: &crate::cli::Scenario,
    target: &Target,
    common: &Common,
    unit: &'static str,
) -> Outcome {
    Outcome {
        scenario: scenario.name().to_owned(),
        url: target.url.clone(),
        client: format!("{:?}", common.client).to_lowercase(),
        settings: serde_json::json!({
            "arguments": std::env::args().skip(1).collect::<Vec<_>>(),
            "warmup_seconds": common.warmup.as_secs_f64(),
            "duration_seconds": common.duration.as_secs_f64(),
            "seed": common.seed,
        }),
        unit,
        ..Outcome::default()
    }
}
