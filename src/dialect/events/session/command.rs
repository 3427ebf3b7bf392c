//! `command` and `agent_command`.

use serde_json::{Value, json};

use super::{EventsSession, answer, error};
use crate::dialect::events::Refusal;
use crate::id::PeerId;
use crate::json::Raw;
use crate::shard::Shard;

/// The commands of the demo endpoint, whose clients are anonymous.
const DEMO_COMMANDS: [&str; 5] = ["echo", "list_commands", "ping", "server_info", "user_count"];

/// The name under which `agent_command` messages are permitted.
const AGENT_COMMAND: &str = "agent_command";

/// All commands by name, sorted.
const COMMANDS: [(&str, RunCommand); 5] = [
    ("echo", echo),
    ("list_commands", list_commands),
    ("ping", ping),
    ("server_info", server_info),
    ("user_count", user_count),
];

/// Runs a command: writes its result, one JSON value, into the buffer.
type RunCommand = fn(&CommandCall<'_>, &mut Vec<u8>);

/// One call of a command.
#[derive(Clone, Copy, Debug)]
struct CommandCall<'a> {
    /// The client's shard.
    shard: &'a Shard,
    /// The client's session.
    caller: &'a EventsSession,
    /// Its arguments, unparsed.
    params: Option<&'a str>,
}

impl EventsSession {
    /// Runs a command of the registry and answers with its result.
    pub(super) fn command(
        &self,
        shard: &Shard,
        peer: PeerId,
        id: Option<Raw<'_>>,
        name: &str,
        params: Option<Raw<'_>>,
    ) {
        let Some((_, run)) = COMMANDS.iter().find(|(known, _)| *known == name) else {
            let refusal = Refusal::unknown(id, "UNKNOWN_COMMAND", "Unknown command", name);
            return error(shard, peer, &refusal);
        };
        if !self.may_command(shard, name) {
            return error(shard, peer, &not_permitted(id, name));
        }
        let call = CommandCall {
            shard,
            caller: self,
            params: params.map(Raw::text),
        };
        answer(shard, peer, |w| {
            w.response(id.map(Raw::text), |out| run(&call, out));
        });
    }

    /// Acknowledges a command to an agent. The application, which subscribes to such messages, executes it.
    pub(super) fn agent_command(
        &self,
        shard: &Shard,
        peer: PeerId,
        id: Option<Raw<'_>>,
        command: &str,
        agent_id: &str,
    ) {
        if !self.may_command(shard, AGENT_COMMAND) {
            return error(shard, peer, &not_permitted(id, AGENT_COMMAND));
        }
        answer(shard, peer, |w| {
            w.agent_command_result(id.map(Raw::text), agent_id, command);
        });
    }

    /// Whether this client may use a command. No other code decides this.
    fn may_command(&self, shard: &Shard, name: &str) -> bool {
        let is_known =
            self.endpoint != "demo" || name == AGENT_COMMAND || DEMO_COMMANDS.contains(&name);
        is_known && self.permissions(shard).may_command(name)
    }

    /// `server_info`, as a command and as a query.
    pub(super) fn server_info(&self, shard: &Shard) -> Value {
        json!({
            "name": "fanfare",
            "version": env!("CARGO_PKG_VERSION"),
            "endpoint": self.endpoint,
            "connected_users": shard.process.connections(),
            "uptime_seconds": shard.clock.now_ms() / 1000,
            "timestamp": shard.clock.wall_seconds(),
        })
    }
}

fn not_permitted(id: Option<Raw<'_>>, name: &str) -> Refusal {
    Refusal::unknown(id, "PERMISSION_DENIED", "Not permitted", name)
}

fn echo(call: &CommandCall<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"echo":"#);
    out.extend_from_slice(call.params.unwrap_or("null").as_bytes());
    out.extend_from_slice(br#","sender":"#);
    put(out, &json!(call.caller.user()));
    out.push(b'}');
}

fn list_commands(call: &CommandCall<'_>, out: &mut Vec<u8>) {
    let names = COMMANDS.map(|(name, _)| name).into_iter();
    let commands: Vec<&str> = names
        .filter(|name| call.caller.may_command(call.shard, name))
        .collect();
    let count = commands.len();
    put(out, &json!({ "commands": commands, "count": count }));
}

fn ping(call: &CommandCall<'_>, out: &mut Vec<u8>) {
    let timestamp = call.shard.clock.wall_seconds();
    put(out, &json!({ "message": "pong", "timestamp": timestamp }));
}

fn server_info(call: &CommandCall<'_>, out: &mut Vec<u8>) {
    put(out, &call.caller.server_info(call.shard));
}

fn user_count(call: &CommandCall<'_>, out: &mut Vec<u8>) {
    let count = call.shard.process.connections();
    let timestamp = call.shard.clock.wall_seconds();
    put(out, &json!({ "count": count, "timestamp": timestamp }));
}

fn put(out: &mut Vec<u8>, value: &Value) {
    serde_json::to_writer(out, value).expect("memory takes everything");
}
