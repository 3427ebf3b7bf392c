//! The message that is sent and not answered yet. There is one at a time, so that it is known which message the
//! server confirms or refuses.

use serde_json::{Value, json};
use tokio::time::{Duration, Instant};

use super::{Chat, Outgoing};
use crate::failure::Failure;
use crate::frame::{Acknowledgement, BROADCAST, Refusal, SERVER};

/// How long the server may take to confirm a message.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(10);
/// As [`CONFIRMED_WITHIN`], where the user waits for the end.
const CONFIRMED_WITHIN_AT_END: Duration = Duration::from_secs(5);
/// How long the next message waits for the answer to a command.
const ANSWERED_WITHIN: Duration = Duration::from_secs(1);
/// How often one message is sent again.
const REFUSALS_MAX: u32 = 8;
/// Until a refused message is sent again; each time twice as long.
const AGAIN_AFTER: Duration = Duration::from_millis(250);
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(8);
/// Characters of a message that are repeated where it is not sent.
const QUOTED_MAX: usize = 200;

/// A message that the server has not answered yet.
#[derive(Debug)]
pub(super) struct InFlight {
    outgoing: Outgoing,
    is_encrypted: bool,
    sent: Instant,
    /// Of a command.
    request_id: Option<String>,
}

impl InFlight {
    pub(super) fn new(outgoing: Outgoing, is_encrypted: bool, commands: u64) -> Self {
        let is_command = matches!(outgoing, Outgoing::Command { .. });
        Self {
            outgoing,
            is_encrypted,
            sent: Instant::now(),
            request_id: is_command.then(|| request_id(commands)),
        }
    }

    pub(super) fn is_command(&self) -> bool {
        self.request_id.is_some()
    }

    /// When waiting for its answer ends.
    pub(super) fn until(&self, is_leaving: bool) -> Instant {
        self.sent
            + match (self.is_command(), is_leaving) {
                (true, _) => ANSWERED_WITHIN,
                (false, true) => CONFIRMED_WITHIN_AT_END,
                (false, false) => CONFIRMED_WITHIN,
            }
    }
}

/// The id of the command of that number.
pub(super) fn request_id(commands: u64) -> String {
    format!("r{commands}")
}

impl Outgoing {
    /// Its recipient, and what was typed.
    fn spoken(&self) -> (&str, String) {
        match self {
            Self::Direct { to, text } => (to, text.clone()),
            Self::Broadcast(text) => (BROADCAST, text.clone()),
            Self::Command { name, params } => {
                let params = params.as_ref().map(|it| format!(" {it}"));
                (SERVER, format!("/cmd {name}{}", params.unwrap_or_default()))
            }
            Self::Quit => (SERVER, "/quit".to_owned()),
        }
    }
}

impl Chat<'_> {
    /// The server has stored the message in flight.
    pub(super) fn confirmed(&mut self, acknowledgement: Acknowledgement) -> Result<(), Failure> {
        let Some(message) = self.in_flight.take_if(|it| !it.is_command()) else {
            return Ok(());
        };
        self.has_acknowledged = true;
        self.refusals = 0;
        let Acknowledgement { id, is_delivered } = acknowledgement;
        let (to, _) = message.outgoing.spoken();
        let text = match to == BROADCAST || is_delivered {
            // For people there is nothing to say.
            true if !self.options.json => return Ok(()),
            true => "stored".to_owned(),
            false => format!("{to} is not connected, and gets it later"),
        };
        let fields = json!({
            "id": id,
            "to": to,
            "delivered": is_delivered,
            "encrypted": message.is_encrypted,
        });
        self.output.tell("confirmed", &text, &fields)
    }

    /// The server has answered the command of that id.
    pub(super) fn answered(&mut self, request_id: &str) {
        let is_answered = |it: &mut InFlight| it.request_id.as_deref() == Some(request_id);
        if self.in_flight.take_if(is_answered).is_some() {
            self.refusals = 0;
        }
    }

    /// The server has not taken the message in flight. False if there is none.
    pub(super) fn refused(&mut self, refusal: Refusal) -> Result<bool, Failure> {
        let Some(message) = self.in_flight.take() else {
            return Ok(false);
        };
        self.refusals += 1;
        let (why, code) = match refusal {
            Refusal::Later(why) if self.refusals <= REFUSALS_MAX => {
                let delay = AGAIN_AFTER * 2_u32.pow(self.refusals - 1);
                self.pacer
                    .hold(delay.min(AGAIN_AFTER_MAX), std::time::Instant::now());
                let (to, _) = message.outgoing.spoken();
                let text = format!("the message to {to} is sent again, the server says: {why}");
                self.output.notice(&text)?;
                self.outbox.push_front(message.outgoing);
                return Ok(true);
            }
            Refusal::Later(why) => (why, None),
            Refusal::NotStored { why, code } => (format!("{why} ({code})"), Some(code)),
        };
        self.refusals = 0;
        self.not_sent(&message.outgoing, &why, code.as_deref())?;
        Ok(true)
    }

    /// Says that a message is not sent, and which one.
    pub(super) fn not_sent(
        &mut self,
        outgoing: &Outgoing,
        why: &str,
        code: Option<&str>,
    ) -> Result<(), Failure> {
        self.is_incomplete = true;
        let (to, message) = outgoing.spoken();
        let text = format!("not sent to {to}: {why}: {}", quoted(&message));
        let mut fields = json!({ "to": to, "message": message });
        if let Some(code) = code {
            fields["code"] = Value::from(code);
        }
        self.output.tell("not_sent", &text, &fields)
    }

    /// Says which message may be lost with a connection.
    pub(super) fn tell_unconfirmed(&mut self) -> Result<(), Failure> {
        let Some(lost) = self.in_flight.take_if(|it| !it.is_command()) else {
            self.in_flight = None;
            return Ok(());
        };
        self.is_incomplete = true;
        let (to, message) = lost.outgoing.spoken();
        let text = format!(
            "the server has not confirmed the message to {to}, which may be lost: {}",
            quoted(&message)
        );
        let fields = json!({ "to": to, "message": message });
        self.output.tell("unconfirmed", &text, &fields)
    }
}

/// The beginning of a message, in quotes and in one line.
fn quoted(text: &str) -> String {
    let mut quoted: String = text.chars().take(QUOTED_MAX).collect();
    if quoted.len() < text.len() {
        quoted.push_str("..");
    }
    format!("\"{}\"", crate::output::shown(&quoted))
}
