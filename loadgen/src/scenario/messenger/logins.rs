//! Accounts that are registered and log in, over a few HTTP connections.

use std::time::Duration;

use super::accounts::TURN_MAX;
use crate::cli::Common;
use crate::messenger::{Account, challenge_of, token_of};
use crate::net::{End, Handler, Id, Net, ResponsePart, Target};
use crate::scenario::connections::{ConnectionOwner, RunConnections, connect_all};
use crate::scenario::{cannot_connect, failure};

/// Connections that register the users of a run.
const CONNECTIONS: usize = 16;

/// What connections do, over and over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    Nothing,
    Register,
    Login,
    /// A request that has nothing to do with accounts.
    Plain,
}

/// The answer that a connection waits for, and whose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waiting {
    Nothing,
    Registration,
    Challenge(usize),
    Token(usize),
    Plain,
}

/// The connections of an account's requests.
pub(super) struct Logins {
    accounts: Vec<Account>,
    tokens: Vec<String>,
    target: Target,
    work: Work,
    /// The account that is next, and how many more may be begun.
    next: usize,
    left: usize,
    /// Registrations, logins or requests that are done.
    pub(super) done: u64,
    /// By connection.
    waiting: Vec<Waiting>,
    /// Connections that the server has closed between two requests.
    closed: usize,
    is_set_up: bool,
    pub(super) connections: RunConnections,
}

/// Registers all accounts and logs them in; their tokens.
pub(super) fn register_all(
    accounts: Vec<Account>,
    target: &Target,
    common: &Common,
) -> Result<Vec<String>, String> {
    let count = accounts.len();
    let (mut net, mut logins) = Logins::connect(accounts, CONNECTIONS, target, common)?;
    logins.do_all(&mut net, Work::Register, common.patience)?;
    logins.do_all(&mut net, Work::Login, common.patience)?;
    assert_eq!(logins.tokens.len(), count, "each has logged in");
    Ok(logins.tokens)
}

impl Logins {
    /// Opens the connections.
    pub(super) fn connect(
        accounts: Vec<Account>,
        connections: usize,
        target: &Target,
        common: &Common,
    ) -> Result<(Net, Self), String> {
        let mut net = crate::scenario::net(target, common, connections)?;
        let mut logins = Self {
            tokens: vec![String::new(); accounts.len()],
            accounts,
            target: target.clone(),
            work: Work::Nothing,
            next: 0,
            left: 0,
            done: 0,
            waiting: Vec::new(),
            closed: 0,
            is_set_up: false,
            connections: RunConnections::default(),
        };
        connect_all(&mut net, &mut logins, connections, common)?;
        logins.is_set_up = true;
        Ok((net, logins))
    }

    /// Does `work` for every account once.
    pub(super) fn do_all(
        &mut self,
        net: &mut Net,
        work: Work,
        patience: Duration,
    ) -> Result<(), String> {
        let count = self.accounts.len();
        self.begin(net, work, count);
        let until_ns = net.now_ns() + patience.as_nanos() as u64;
        let wanted = self.done + count as u64;
        while self.done < wanted {
            self.turn(net)?;
            if net.now_ns() > until_ns {
                let missing = wanted - self.done;
                return Err(format!(
                    "after --patience, {work:?} is not done {missing} times"
                ));
            }
        }
        Ok(())
    }

    /// Lets all connections do `work`, at most so many times.
    pub(super) fn begin(&mut self, net: &mut Net, work: Work, times: usize) {
        self.work = work;
        self.left = times;
        for id in 0..self.waiting.len() {
            if self.waiting[id] == Waiting::Nothing {
                self.begin_next(net, id);
            }
        }
    }

    /// Begins nothing more, and waits for what has begun.
    pub(super) fn end(&mut self, net: &mut Net, patience: Duration) -> Result<(), String> {
        self.left = 0;
        let until_ns = net.now_ns() + patience.as_nanos() as u64;
        while self.waiting.iter().any(|it| *it != Waiting::Nothing) {
            self.turn(net)?;
            if net.now_ns() > until_ns {
                return Err("after --patience, not all requests have answers".into());
            }
        }
        Ok(())
    }

    /// Handles what has happened.
    pub(super) fn turn(&mut self, net: &mut Net) -> Result<(), String> {
        net.turn(self, TURN_MAX)
            .map_err(|error| format!("epoll: {error}"))?;
        for _ in 0..std::mem::take(&mut self.closed) {
            net.open_http().map_err(cannot_connect)?;
        }
        match self.connections.failure() {
            Some(failure) => Err(failure.to_owned()),
            None => Ok(()),
        }
    }

    fn begin_next(&mut self, net: &mut Net, id: Id) {
        self.waiting[id] = Waiting::Nothing;
        // Where the server closes now, the next connection goes on.
        if self.left == 0 || self.work == Work::Nothing || net.is_last(id) {
            return;
        }
        self.left -= 1;
        let number = self.next;
        self.next = (number + 1) % self.accounts.len();
        let account = &self.accounts[number];
        match self.work {
            Work::Nothing => {}
            Work::Register => {
                self.waiting[id] = Waiting::Registration;
                self.post(net, id, "/auth/register", &account.registration());
            }
            Work::Login => {
                self.waiting[id] = Waiting::Challenge(number);
                self.post(net, id, "/auth/login", &account.challenge_request());
            }
            Work::Plain => {
                self.waiting[id] = Waiting::Plain;
                net.queue_request(id, |out| out.extend_from_slice(&self.target.get("/health")));
                net.flush(id);
            }
        }
    }

    fn post(&self, net: &mut Net, id: Id, path: &str, body: &[u8]) {
        net.queue_request(id, |out| {
            out.extend_from_slice(&self.target.post(path, body.len()));
            out.extend_from_slice(body);
        });
        net.flush(id);
    }

    /// Takes the answer that a connection waits for. Returns whether the connection is done with its work.
    fn answered(&mut self, net: &mut Net, id: Id, (status, body): (u16, &[u8])) -> Option<bool> {
        match (self.waiting[id], status) {
            (Waiting::Registration, 201) | (Waiting::Plain, 200) => Some(true),
            (Waiting::Challenge(number), 200) => {
                let answer = self.accounts[number].answer(&challenge_of(body)?);
                self.waiting[id] = Waiting::Token(number);
                self.post(net, id, "/auth/login?verify=true", &answer);
                Some(false)
            }
            (Waiting::Token(number), 200) => {
                self.tokens[number] = token_of(body)?;
                Some(true)
            }
            _ => None,
        }
    }
}

impl ConnectionOwner for Logins {
    fn connections(&mut self) -> &mut RunConnections {
        &mut self.connections
    }

    fn open(&mut self, net: &mut Net, _number: usize) -> Result<Id, String> {
        net.open_http().map_err(cannot_connect)
    }
}

impl Handler for Logins {
    fn opened(&mut self, net: &mut Net, id: Id) {
        if self.waiting.len() <= id {
            self.waiting.resize(id + 1, Waiting::Nothing);
        }
        match self.is_set_up {
            true => self.begin_next(net, id),
            false => self.connections.mark_ready(id),
        }
    }

    fn message(&mut self, _net: &mut Net, _id: Id, _op: u8, _payload: &[u8]) {}

    fn response(&mut self, net: &mut Net, id: Id, part: ResponsePart<'_>) {
        let ResponsePart::Answer { status, body } = part else {
            return self.connections.fail("a stream nobody asked for".into());
        };
        let waiting = self.waiting[id];
        match self.answered(net, id, (status, body)) {
            Some(true) => {
                self.done += 1;
                self.begin_next(net, id);
            }
            Some(false) => {}
            None => {
                let text = String::from_utf8_lossy(body);
                let problem = format!("{waiting:?} was answered with {status}: {text:.200}");
                self.connections.fail(problem);
            }
        }
    }

    fn closed(&mut self, _net: &mut Net, id: Id, end: End) {
        let waiting = self.waiting.get(id).copied();
        if waiting == Some(Waiting::Nothing) {
            self.closed += 1;
        } else {
            self.connections
                .fail(failure(&self.target, "HTTP connection", &end));
        }
    }
}
