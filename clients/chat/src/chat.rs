//! A user's chat: connects, sends what is typed, shows what comes, and connects again.

mod compose;
mod in_flight;
mod open;
mod read;
mod talk;

use std::collections::{BTreeSet, VecDeque};
use std::path::PathBuf;
use std::time::Instant;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Duration, sleep};

use crate::accounts::{Accounts, PublicKeys, Token};
use crate::backoff::{Backoff, Pacer};
use crate::directory::{Directory, Lookup};
use crate::failure::Failure;
use crate::identity::Identity;
use crate::input::{HELP, Input, is_terminal};
use crate::key::Loaded;
use crate::options::Options;
use crate::output::Output;
use crate::signals::Signals;
use crate::state::State;

use in_flight::InFlight;
use open::NotOpen;
use talk::End;

/// What waits to be sent; then reading pauses.
const OUTBOX_MAX: usize = 256;
/// Users of whom it is remembered that the user knows that nothing is encrypted to them.
const WARNED_MAX: usize = 4096;

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

/// Who ends a chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leave {
    /// The user, with `/quit` or the end of a terminal's input.
    Quit,
    Signal,
}

/// A user's chat with one server.
#[derive(Debug)]
pub(crate) struct Chat<'a> {
    user: String,
    options: Options,
    identity: Identity,
    /// The file of a key that is no account's yet.
    key_made: Option<PathBuf>,
    accounts: Accounts,
    directory: Directory,
    state: State,
    output: &'a Output,
    outbox: VecDeque<Outgoing>,
    in_flight: Option<InFlight>,
    /// How often the next message was refused.
    refusals: u32,
    /// Whether answers are waited for: not where a server acknowledges nothing.
    awaits_answers: bool,
    has_acknowledged: bool,
    /// Whether something was not sent, or is not confirmed.
    is_incomplete: bool,
    /// Users whom nothing can be encrypted to, and that was said.
    warned: BTreeSet<String>,
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
        key: Loaded,
        accounts: Accounts,
        directory: Directory,
        state: State,
        output: &'a Output,
    ) -> Self {
        let pacer = Pacer::new(options.rate, options.burst, Instant::now());
        Self {
            user,
            options,
            identity: key.identity,
            key_made: key.made,
            accounts,
            directory,
            state,
            output,
            outbox: VecDeque::new(),
            in_flight: None,
            refusals: 0,
            awaits_answers: true,
            has_acknowledged: false,
            is_incomplete: false,
            warned: BTreeSet::new(),
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
                () = signals.received() => return self.leave(Leave::Signal),
                opened = self.open() => opened,
            };
            let (why, retry_after) = match opened {
                Ok(mut link) => {
                    let began = Instant::now();
                    let end = self.talk(&mut link, &mut signals, &mut lines).await?;
                    backoff.connected(began.elapsed());
                    match end {
                        End::Left(leave) => {
                            self.close(&mut link).await?;
                            return self.leave(leave);
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
            if let Some(leave) = self.wait(delay, &mut signals, &mut lines).await? {
                return self.leave(leave);
            }
        }
    }

    /// Waits for the next attempt, or until the chat is to end.
    async fn wait(
        &mut self,
        delay: Duration,
        signals: &mut Signals,
        lines: &mut Lines,
    ) -> Result<Option<Leave>, Failure> {
        let delay = sleep(delay);
        tokio::pin!(delay);
        loop {
            let is_open = self.takes_input();
            tokio::select! {
                () = &mut delay => return Ok(None),
                () = signals.received() => return Ok(Some(Leave::Signal)),
                line = lines.recv(), if is_open => self.take(line).await?,
            }
            if self.outbox.front() == Some(&Outgoing::Quit) {
                return Ok(Some(Leave::Quit));
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
            Some(Err(problem)) => {
                self.is_incomplete = true;
                return self.output.tell("problem", &problem, &Value::Null);
            }
            Some(Ok(input)) => input,
        };
        let outgoing = match input {
            Input::Direct { to, text } => Outgoing::Direct { to, text },
            Input::Broadcast(text) => Outgoing::Broadcast(text),
            Input::Command { name, params } => Outgoing::Command { name, params },
            Input::Quit => Outgoing::Quit,
            Input::Help => return self.output.notice(HELP),
            Input::Users => return self.list().await,
            Input::Key(user) => return self.show_key(user.as_deref()).await,
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

    /// Shows the fingerprint of a user's keys, or of the own.
    async fn show_key(&mut self, user: Option<&str>) -> Result<(), Failure> {
        let Some(user) = user else {
            return self.tell_key(&self.user, &self.own_keys());
        };
        let lookup = self.directory.lookup(&self.accounts, user).await;
        self.keep_directory()?;
        match lookup {
            Ok(Lookup::Known(keys)) => self.tell_key(user, &keys),
            Ok(Lookup::Changed { offered, .. }) => self.warn_of_change(user, &offered),
            Ok(Lookup::Unknown) => self.output.notice(&format!("there is no user {user}")),
            Err(error) => self.output.notice(&error.to_string()),
        }
    }

    fn own_keys(&self) -> PublicKeys {
        PublicKeys {
            signing: self.identity.public_key().try_into().expect("32 bytes"),
            agreement: self.identity.x25519_public_key().try_into().ok(),
        }
    }

    fn tell_key(&self, user: &str, keys: &PublicKeys) -> Result<(), Failure> {
        let fingerprint = keys.fingerprint();
        let text = format!("the keys of {user}: {fingerprint}");
        let fields = json!({ "user": user, "fingerprint": fingerprint });
        self.output.tell("key", &text, &fields)
    }

    fn trust(&mut self, user: &str) -> Result<(), Failure> {
        if !self.directory.trust(user) {
            let text = match self.directory.trusted(user) {
                Some(_) => format!("the keys of {user} have not changed"),
                None => format!("nothing is known of {user} yet: /key {user} asks the server"),
            };
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

    /// The end, as it was asked for. A script that ends itself is told whether all was done.
    fn leave(mut self, leave: Leave) -> Result<(), Failure> {
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
            self.is_incomplete = true;
        }
        self.save()?;
        match leave {
            Leave::Quit if self.is_incomplete && !is_terminal() => Err(Failure::Incomplete),
            Leave::Quit | Leave::Signal => Ok(()),
        }
    }
}
