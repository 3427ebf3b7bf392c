//! `fanfare explain --user USER`: what a running gateway knows of a user's connections and how they ended.

use std::fmt::Write;

use http::Method;
use serde::Deserialize;

use super::arguments::Explain;
use super::escape::escaped;
use super::exit::Exit;
use super::gateway::Gateway;
use super::output;

/// Asks the gateway, and prints what it knows.
pub(super) fn run(arguments: &Explain) -> Result<Exit, Exit> {
    let gateway = Gateway::at(&arguments.gateway)?;
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("limit", &arguments.limit.to_string());
    if let Some(user) = &arguments.user {
        query.append_pair("user", user);
    }
    if let Some(address) = arguments.ip {
        query.append_pair("ip", &address.to_string());
    }
    let path = format!("/api/v1/connections?{}", query.finish());
    let answer = gateway.ask(Method::GET, &path, None)?;
    if answer.exit() != Exit::Ok {
        output::complain(&"the gateway refuses to tell:");
        answer.print();
        return Ok(answer.exit());
    }
    if arguments.json {
        return Ok(output::print(&format!(
            "{}\n",
            escaped(answer.text.trim_end())
        )));
    }
    let known: Known = serde_json::from_str(&answer.text).map_err(|error| {
        output::complain(&format_args!(
            "what answers there is no gateway of this version: {error}"
        ));
        Exit::Failure
    })?;
    Ok(output::print(&text(&known)))
}

/// The answer, as far as it is printed.
#[derive(Deserialize)]
struct Known {
    total: usize,
    connections: Vec<Connection>,
    ended: Vec<End>,
}

#[derive(Deserialize)]
struct Connection {
    id: String,
    user: Option<String>,
    verified: bool,
    address: String,
    forwarded: bool,
    protocol: String,
    endpoint: Option<String>,
    transport: String,
    since: String,
    last_received: String,
    seconds: u64,
    received_bytes: u64,
    sent_bytes: u64,
    unsent_bytes: u64,
    socket_full: bool,
    subscriptions: Vec<String>,
    subscription_count: usize,
}

#[derive(Deserialize)]
struct End {
    at: String,
    cause: String,
    detail: Option<String>,
    user: Option<String>,
    verified: bool,
    address: String,
    forwarded: bool,
    protocol: Option<String>,
    endpoint: Option<String>,
    connection: Option<String>,
    close_code: Option<u16>,
    status: Option<u16>,
    seconds: u64,
    received_bytes: u64,
    sent_bytes: u64,
    unsent_bytes: u64,
}

fn text(known: &Known) -> String {
    let mut text = String::new();
    let _ = match known.total {
        0 => writeln!(text, "Not connected."),
        1 => writeln!(text, "1 connection:"),
        total => writeln!(text, "{total} connections:"),
    };
    for it in &known.connections {
        let user = person(it.user.as_deref(), it.verified);
        let place = place(&it.address, it.forwarded);
        let protocol = protocol(Some(&it.protocol), it.endpoint.as_deref());
        let _ = writeln!(
            text,
            "  {} {} from {place}, {protocol} over {}\n    since {} ({} s), last heard of {}\n    \
             {} bytes received, {} sent, {} to send{}",
            escaped(&it.id),
            user,
            escaped(&it.transport),
            escaped(&it.since),
            it.seconds,
            escaped(&it.last_received),
            it.received_bytes,
            it.sent_bytes,
            it.unsent_bytes,
            if it.socket_full {
                "; its socket is full"
            } else {
                ""
            },
        );
        let names = it.subscriptions.iter().take(NAMES_SHOWN);
        let names: Vec<_> = names.map(|name| escaped(name)).collect();
        let more = it.subscription_count.saturating_sub(names.len());
        let more = match more {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let _ = writeln!(text, "    subscribed to {}{more}", names.join(" "));
    }
    let _ = match known.ended.len() {
        0 => writeln!(text, "No end or refusal is known."),
        _ => writeln!(text, "Ended or refused, the last one first:"),
    };
    for it in &known.ended {
        let told = match (it.close_code, it.status) {
            (Some(code), _) if code > 0 => format!(", closed with {code}"),
            (_, Some(status)) if status > 0 => format!(", answered with {status}"),
            _ => String::new(),
        };
        let detail = it.detail.as_deref().map(|it| format!(": {}", escaped(it)));
        let _ = writeln!(
            text,
            "  {} {}{}{told}",
            escaped(&it.at),
            escaped(&it.cause),
            detail.unwrap_or_default()
        );
        let user = person(it.user.as_deref(), it.verified);
        let place = place(&it.address, it.forwarded);
        let protocol = protocol(it.protocol.as_deref(), it.endpoint.as_deref());
        let _ = write!(text, "    {user} from {place}, {protocol}");
        if let Some(connection) = &it.connection {
            let _ = write!(
                text,
                ", connection {}, open for {} s; {} bytes received, {} sent, {} not sent",
                escaped(connection),
                it.seconds,
                it.received_bytes,
                it.sent_bytes,
                it.unsent_bytes
            );
        }
        text.push('\n');
    }
    text
}

/// Subscriptions that are printed of a connection.
const NAMES_SHOWN: usize = 10;

/// A user, and whether that is proven.
fn person(user: Option<&str>, is_verified: bool) -> String {
    match (user, is_verified) {
        (None, _) => "(no user)".to_owned(),
        (Some(user), true) => escaped(user).into_owned(),
        (Some(user), false) => format!("{} (as the client says)", escaped(user)),
    }
}

fn place(address: &str, is_forwarded: bool) -> String {
    let through = if is_forwarded {
        " (through a proxy)"
    } else {
        ""
    };
    format!("{}{through}", escaped(address))
}

fn protocol(protocol: Option<&str>, endpoint: Option<&str>) -> String {
    let endpoint = endpoint.map(|endpoint| format!("/{}", escaped(endpoint)));
    let protocol = escaped(protocol.unwrap_or("http"));
    format!("{protocol}{}", endpoint.unwrap_or_default())
}
