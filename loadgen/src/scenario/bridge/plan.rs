//! Who takes part in a run.

use crate::cli::{Bridge, BridgeLoad, BridgeMode};

/// What a connection that posts does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `/sse/push`, one message a request.
    Push,
    /// `/sse/push/batch`.
    Batch,
    /// `/sse/send`, one call at a time.
    Call,
}

/// Connections, sizes and names of a run.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Names of the users, all of one length, in quotes.
    pub(crate) users: Vec<String>,
    /// Kind of each connection that posts.
    pub(crate) slots: Vec<Kind>,
    /// Messages of a batch, none of them for the same user.
    pub(crate) batch: usize,
    /// Messages that answer a call before the final one.
    pub(crate) answers: u32,
    /// Whether other users try to answer, too.
    pub(crate) intruders: bool,
    /// Messages a second; none sends as fast as answers come.
    pub(crate) rate: Option<f64>,
}

impl Plan {
    /// Reads the command line.
    pub(crate) fn of(bridge: &Bridge) -> Result<Self, String> {
        let load = bridge.load();
        let mut plan = Self {
            users: names(load),
            slots: Vec::new(),
            batch: 1,
            answers: 0,
            intruders: false,
            rate: None,
        };
        match &bridge.mode {
            BridgeMode::Push(push) => {
                plan.slots = vec![Kind::Push; push.connections.into()];
                plan.rate = push.rate;
            }
            BridgeMode::Batch(batch) => {
                plan.slots = vec![Kind::Batch; batch.connections.into()];
                plan.batch = batch.batch;
                plan.rate = batch.rate;
            }
            BridgeMode::Send(send) => {
                let beside = usize::from(send.beside.unwrap_or(0));
                plan.slots = vec![Kind::Push; beside.div_ceil(2)];
                plan.slots.resize(beside, Kind::Batch);
                plan.slots
                    .resize(beside + usize::from(send.calls), Kind::Call);
                plan.batch = send.batch;
                plan.answers = send.answers;
                plan.intruders = send.intruders;
            }
        }
        let (batch, users) = (plan.batch, plan.users.len());
        if plan.slots.contains(&Kind::Batch) && batch > users {
            return Err(format!(
                "--batch {batch} needs as many --users ({users}): two messages of one batch \
                 for the same user have no order that could be checked"
            ));
        }
        if plan.intruders && users < 2 {
            return Err("--intruders needs at least two --users".into());
        }
        Ok(plan)
    }

    /// The name of a user, without quotes.
    pub(crate) fn user(&self, number: usize) -> &str {
        self.users[number].trim_matches('"')
    }
}

fn names(load: &BridgeLoad) -> Vec<String> {
    (0..load.users)
        .map(|number| format!("\"{}{number:05}\"", load.user))
        .collect()
}
