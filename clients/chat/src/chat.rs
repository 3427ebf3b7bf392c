//! A user's chat: connects, sends what is typed, shows what comes, and connects again.

mod compose;
mod open;
mod read;
mod talk;

use std::collections::VecDeque;
use std::time::Instant;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Duration, sleep};

use crate::accounts::{Accounts, Token};
use crate::backoff::{Backoff, Pacer};
use crate::directory::Directory;
use crate::failure::Failure;
use crate::identity::Identity;
use crate::input::{HELP, Input};
use crate::options::Options;
use crate::output::Output;
use crate::signals::Signals;
use crate::state::State;

use open::NotOpen;
use talk::End;

/// What waits to be sent; then reading pauses.
const OUTBOX_MAX: usize = 256;
/// Sent messages that are remembered until the server acknowledges them.
const UNCONFIRMED_MAX: usize = 1024;

type Lines = mpsc::Receiver<Result<Input, String>>;

/// What is to be sent.
#[derive(Debug, Clone, PartialEq)]
enum Outgoing {
    Direct {
        to: String,
        text: String,
    },
    Broadcast(String),
    Command {
        name: String,
        params: Option<Value>,
    },
    /// Not sent: the end, behind all that is.
    Quit,
}

/// A user's chat with one server.
#[derive(Debug)]
pub(crate) struct Chat<'a> {
    user: String,
    options: Options,
    identity: Identity,
    accounts: Accounts,
    directory: Directory,
    state: State,
    output: &'a Output,
    outbox: VecDeque<Outgoing>,
    /// Recipients of messages that are sent and not acknowledged, oldest first.
    unconfirmed: VecDeque<String>,
    /// Whether this server acknowledges messages.
    has_acknowledged: bool,
    pacer: Pacer,
    token: Option<Token>,
    /// Whether the account is known to be there, with these keys.
    is_registered: bool,
    is_announced: bool,
    is_input_open: bool,
    commands: u64,
}

impl<'a> Chat<'a> {
    pub(crate) fn new(
        user: String,
        options: Options,
        identity: Identity,
        accounts: Accounts,
        directory: Directory,
        state: State,
        output: &'a Output,
    ) -> Self {
        let pacer = Pacer::new(options.rate, options.burst, Instant::now());
        Self {
            user,
            options,
            identity,
            accounts,
            directory,
            state,
            output,
            outbox: VecDeque::new(),
            unconfirmed: VecDeque::new(),
            has_acknowledged: false,
            pacer,
            token: None,
            is_registered: false,
            is_announced: false,
            is_input_open: true,
            commands: 0,
        }
    }

    /// Runs until the user or a signal ends it.
    pub(crate) async fn run(
        mut self,
        mut signals: Signals,
        mut lines: Lines,
    ) -> Result<(), Failure> {
        let mut backoff = Backoff::default();
        loop {
            let opened = tokio::select! {
                () = signals.received() => return self.leave(),
                opened = self.open() => opened,
            };
            let (why, retry_after) = match opened {
                Ok(mut link) => {
                    let began = Instant::now();
                    let end = self.talk(&mut link, &mut signals, &mut lines).await?;
                    backoff.connected(began.elapsed());
                    match end {
                        End::Quit => {
                            self.close(&mut link).await?;
                            return self.leave();
                        }
                        End::Replaced => return Err(Failure::Replaced),
                        End::Lost(why) => (why, None),
                    }
                }
                Err(NotOpen::Fatal(failure)) => return Err(failure),
                Err(NotOpen::Retry { why, retry_after }) => (why, retry_after),
            };
            self.tell_unconfirmed()?;
            if self.options.no_reconnect {
                return Err(Failure::Unreachable(why));
            }
            let delay = backoff.next(retry_after);
            let text = format!("{why}; the next attempt in {:.1} s", delay.as_secs_f64());
            let fields = json!({ "retry_ms": delay.as_millis() as u64 });
            self.output.tell("disconnected", &text, &fields)?;
            if self.wait(delay, &mut signals, &mut lines).await? {
                return self.leave();
            }
        }
    }

    /// Waits for the next attempt. True if the user has ended the chat.
    async fn wait(
        &mut self,
        delay: Duration,
        signals: &mut Signals,
        lines: &mut Lines,
    ) -> Result<bool, Failure> {
        let delay = sleep(delay);
        tokio::pin!(delay);
        loop {
            let is_open = self.takes_input();
            tokio::select! {
                () = &mut delay => return Ok(false),
                () = signals.received() => return Ok(true),
                line = lines.recv(), if is_open => self.take(line).await?,
            }
            if self.outbox.front() == Some(&Outgoing::Quit) {
                return Ok(true);
            }
        }
    }

    fn takes_input(&self) -> bool {
        self.is_input_open
            && self.outbox.len() < OUTBOX_MAX
            && self.outbox.back() != Some(&Outgoing::Quit)
    }

    /// Takes a line of the user's.
    async fn take(&mut self, line: Option<Result<Input, String>>) -> Result<(), Failure> {
        let input = match line {
            None => {
                self.is_input_open = false;
                return Ok(());
            }
            Some(Err(problem)) => return self.output.tell("problem", &problem, &Value::Null),
            Some(Ok(input)) => input,
        };
        let outgoing = match input {
            Input::Direct { to, text } => Outgoing::Direct { to, text },
            Input::Broadcast(text) => Outgoing::Broadcast(text),
            Input::Command { name, params } => Outgoing::Command { name, params },
            Input::Quit => Outgoing::Quit,
            Input::Help => return self.output.notice(HELP),
            Input::Users => return self.list().await,
            Input::Trust(user) => return self.trust(&user),
        };
        self.outbox.push_back(outgoing);
        Ok(())
    }

    async fn list(&self) -> Result<(), Failure> {
        match self.accounts.users().await {
            Ok(users) => {
                let online = users.online.join(", ");
                let offline = users.offline.join(", ");
                let text = format!("online: {online}\noffline: {offline}");
                let fields = json!({ "online": users.online, "offline": users.offline });
                self.output.tell("users", &text, &fields)
            }
            Err(error) => self
                .output
                .tell("problem", &error.to_string(), &Value::Null),
        }
    }

    fn trust(&mut self, user: &str) -> Result<(), Failure> {
        if !self.directory.trust(user) {
            let text = format!("the keys of {user} have not changed");
            return self.output.notice(&text);
        }
        self.save()?;
        self.output
            .notice(&format!("the new keys of {user} are trusted"))
    }

    fn save(&mut self) -> Result<(), Failure> {
        self.directory.take_change();
        self.state.save(&self.directory)
    }

    /// Says which messages may be lost with a connection.
    fn tell_unconfirmed(&mut self) -> Result<(), Failure> {
        let unconfirmed = std::mem::take(&mut self.unconfirmed);
        if !self.has_acknowledged || unconfirmed.is_empty() {
            return Ok(());
        }
        let recipients = Vec::from(unconfirmed);
        let text = format!(
            "the server has not confirmed the last {} messages (to {}): they may be lost",
            recipients.len(),
            recipients.join(", ")
        );
        let fields = json!({ "recipients": recipients });
        self.output.tell("unconfirmed", &text, &fields)
    }

    /// The end, as it was asked for.
    fn leave(mut self) -> Result<(), Failure> {
        self.tell_unconfirmed()?;
        let unsent = self
            .outbox
            .iter()
            .filter(|it| **it != Outgoing::Quit)
            .count();
        if unsent > 0 {
            let text = format!("{unsent} messages were not sent");
            self.output
                .tell("unsent", &text, &json!({ "messages": unsent }))?;
        }
        self.save()
    }
}
