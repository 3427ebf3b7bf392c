//! Server commands: signed messages to the gateway, and the commands that the protocol has (docs/messenger.md, "Server
//! commands").

mod time;

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::time::{Timeout, timeout};

use super::account::is_signed;
use super::frame::Status;
use crate::conn::{CommandCall, CommandFuture, Commands, NameTaken};
use crate::json::{self, Raw};

/// How long a command may take.
pub const COMMAND_MAX: Duration = Duration::from_secs(30);

/// The version of the protocol that `server_info` answers with.
const PROTOCOL_VERSION: &str = "1.0.0";

/// A command that runs for a client.
pub(super) struct Running {
    /// The JSON text of the `request_id`; empty if there was none.
    request_id: Box<str>,
    future: Pin<Box<Timeout<CommandFuture>>>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running")
            .field("request_id", &self.request_id)
            .finish_non_exhaustive()
    }
}

/// A command as its sender writes it.
#[derive(PartialEq, Eq, Debug)]
pub struct AskedCommand<'a> {
    /// Its name; empty if there is none.
    pub name: Cow<'a, str>,
    /// The JSON text of its parameters, if there are any.
    pub params: Option<&'a str>,
    /// The JSON text of what the answer repeats, a string of at most 256 bytes; empty if there is none.
    pub request_id: &'a str,
}

impl<'a> AskedCommand<'a> {
    /// Reads a command. `None` if it is not JSON of its shape.
    ///
    /// Cost: a pass over it.
    #[must_use]
    pub fn parse(content: &'a str) -> Option<Self> {
        let mut asked = Self {
            name: "".into(),
            params: None,
            request_id: "",
        };
        let mut is_good = true;
        let read = json::fields(content, |key, value| match key {
            "command" => match value.as_lossy_string() {
                Some(text) => asked.name = text,
                None => is_good = value.is_null(),
            },
            "params" => asked.params = Some(value.text()).filter(|text| *text != "null"),
            "request_id" if value.is_null() => {}
            "request_id" => match value.as_string() {
                Some(text) if text.is_empty() => {}
                Some(text) if text.len() <= REQUEST_ID_BYTES_MAX => {
                    asked.request_id = value.text();
                }
                _ => is_good = false,
            },
            _ => {}
        });
        (read.is_ok() && is_good).then_some(asked)
    }
}

/// What a command's sender is told.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Told {
    pub(super) status: Status,
    /// The content of the answer: a JSON text.
    pub(super) content: String,
}

impl Told {
    fn error(request_id: &str, why: &str) -> Self {
        let mut content = String::from(r#"{"success":false,"#);
        put_request_id(&mut content, request_id);
        content.push_str(r#""error":"#);
        content.push_str(&Value::from(why).to_string());
        content.push('}');
        Self {
            status: Status::Error,
            content,
        }
    }

    fn result(request_id: &str, result: &str) -> Self {
        let mut content = String::from(r#"{"success":true,"#);
        put_request_id(&mut content, request_id);
        content.push_str(r#""result":"#);
        content.push_str(result);
        content.push('}');
        Self {
            status: Status::Delivered,
            content,
        }
    }
}

fn put_request_id(content: &mut String, request_id: &str) {
    if !request_id.is_empty() {
        content.push_str(r#""request_id":"#);
        content.push_str(request_id);
        content.push(',');
    }
}

impl Running {
    /// Begins the command that `content` asks for, if its signature is that of `public_key`. `call` makes the call.
    ///
    /// # Errors
    /// What its sender is told at once.
    pub(super) fn begin(
        commands: &Commands,
        public_key: &[u8; 32],
        (content, signature): (&str, &str),
        call: impl FnOnce(Option<Box<str>>) -> CommandCall,
    ) -> Result<Self, Told> {
        if signature.is_empty() {
            return Err(Told::error("", "Server messages must be signed"));
        }
        let Some(asked) = AskedCommand::parse(content) else {
            return Err(Told::error("", "Invalid server command format"));
        };
        let AskedCommand {
            name,
            params,
            request_id,
        } = asked;
        let signature = STANDARD.decode(signature).unwrap_or_default();
        if !is_signed(public_key, content.as_bytes(), &signature) {
            return Err(Told::error(request_id, "Invalid signature"));
        }
        let Some(command) = commands.find(&name) else {
            return Err(Told::error(request_id, &format!("Unknown command: {name}")));
        };
        let call = call(params.map(Into::into));
        // A panic of the call itself is one of the future.
        let future: CommandFuture = Box::pin(async move { command(call).await });
        Ok(Self {
            request_id: request_id.into(),
            future: Box::pin(timeout(COMMAND_MAX, future)),
        })
    }

    /// What its sender is told, once it is done.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Told> {
        let future = &mut self.future;
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx)));
        let id = &*self.request_id;
        Poll::Ready(match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(Ok(Ok(result)))) => Told::result(id, &result),
            Ok(Poll::Ready(Ok(Err(why)))) => Told::error(id, &why),
            Ok(Poll::Ready(Err(_))) => Told::error(id, "context deadline exceeded"),
            Err(_) => Told::error(id, "Internal server error"),
        })
    }
}

/// Bytes of a `request_id`.
const REQUEST_ID_BYTES_MAX: usize = 256;

/// Adds the commands of the protocol.
///
/// # Errors
/// One of their names is taken.
pub(super) fn add_all(commands: &Commands) -> Result<(), NameTaken> {
    commands.add("ping", async |call| {
        said(json!({ "message": "pong", "timestamp": seconds(&call) }))
    })?;
    commands.add("echo", async |call| {
        let params = call.params.as_deref().unwrap_or("null");
        let sender = Value::from(&*call.sender);
        Ok(format!(r#"{{"echo":{params},"sender":{sender}}}"#))
    })?;
    commands.add("server_info", async |call| {
        said(json!({
            "version": PROTOCOL_VERSION, "connected_users": call.connected, "timestamp": seconds(&call),
        }))
    })?;
    commands.add("user_count", async |call| {
        said(json!({ "count": call.connected, "timestamp": seconds(&call) }))
    })?;
    let all = commands.clone();
    commands.add("list_commands", move |_| {
        let names = all.names();
        async move { said(json!({ "commands": names, "count": names.len() })) }
    })?;
    commands.add("hello", async |call| {
        let [name] = texts(&call, ["name"])?;
        let name = name.as_deref().filter(|name| !name.is_empty());
        said(json!({
            "greeting": format!("Hello, {}", name.unwrap_or("World")), "sender": &*call.sender,
            "timestamp": seconds(&call), "connected_users": call.connected,
            "server_time": time::rfc3339(call.wall_ms),
        }))
    })?;
    commands.add("get_time", async |call| {
        let [format, zone] = texts(&call, ["format", "zone"])?;
        let zone = zone.as_deref().filter(|zone| !zone.is_empty());
        let (current_time, timezone) = time::in_zone(
            call.wall_ms,
            format.as_deref().unwrap_or(""),
            zone.unwrap_or("UTC"),
        )?;
        said(json!({
            "current_time": current_time, "unix": seconds(&call), "timezone": timezone,
            "requester": &*call.sender,
        }))
    })
}

#[expect(clippy::needless_pass_by_value, reason = "what `json!` makes")]
fn said(result: Value) -> Result<String, String> {
    Ok(result.to_string())
}

fn seconds(call: &CommandCall) -> u64 {
    call.wall_ms / 1000
}

/// The parameters with these keys, which are texts if they are there.
fn texts<const N: usize>(
    call: &CommandCall,
    keys: [&str; N],
) -> Result<[Option<String>; N], String> {
    let mut texts = [const { None }; N];
    let Some(params) = call.params.as_deref() else {
        return Ok(texts);
    };
    let mut wrong = None;
    let read = json::fields(params, |key, value: Raw<'_>| {
        if let Some(at) = keys.iter().position(|it| *it == key) {
            match value.as_lossy_string() {
                Some(text) => texts[at] = Some(text.into_owned()),
                None if value.is_null() => {}
                None => wrong = Some(keys[at]),
            }
        }
    });
    match (read, wrong) {
        (Err(why), _) => Err(format!("invalid params: {why}")),
        (Ok(()), Some(key)) => Err(format!("invalid params: `{key}` is not a string")),
        (Ok(()), None) => Ok(texts),
    }
}

#[cfg(test)]
mod tests;
