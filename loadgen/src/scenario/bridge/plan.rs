//! The connections and messages of a run.

use crate::cli::{Bridge, BridgeLoad, BridgeMode};

/// What a service's HTTP connection posts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestKind {
    /// `/sse/push`, one message per request.
    Push,
    /// `/sse/push/batch`.
    Batch,
    /// `/sse/send`, one call at a time.
    Call,
}

/// Users, services and messages of a run.
#[derive(Debug)]
pub(crate) struct BridgePlan {
    /// User ids in quotes, all of one length.
    pub(crate) users: Vec<String>,
    /// What each service posts.
    pub(crate) services: Vec<RequestKind>,
    /// Messages of a batch, each for another user.
    pub(crate) batch: usize,
    /// Messages that answer a call before the final one.
    pub(crate) answers: u32,
    /// Whether a user that was not asked answers each call, too.
    pub(crate) intruders: bool,
    /// Messages per second; `None` for a closed loop.
    pub(crate) rate: Option<f64>,
}

impl BridgePlan {
    /// The plan of these options.
    pub(crate) fn of(bridge: &Bridge) -> Result<Self, String> {
        let load = bridge.load();
        let mut plan = Self {
            users: names(load),
            services: Vec::new(),
            batch: 1,
            answers: 0,
            intruders: false,
            rate: None,
        };
        match &bridge.mode {
            BridgeMode::Push(push) => {
                plan.services = vec![RequestKind::Push; push.connections.into()];
                plan.rate = push.rate;
            }
            BridgeMode::Batch(batch) => {
                plan.services = vec![RequestKind::Batch; batch.connections.into()];
                plan.batch = batch.batch;
                plan.rate = batch.rate;
            }
            BridgeMode::Send(send) => {
                let beside = usize::from(send.beside.unwrap_or(0));
                plan.services = vec![RequestKind::Push; beside.div_ceil(2)];
                plan.services.resize(beside, RequestKind::Batch);
                plan.services
                    .resize(beside + usize::from(send.calls), RequestKind::Call);
                plan.batch = send.batch;
                plan.answers = send.answers;
                plan.intruders = send.intruders;
            }
        }
        let (batch, users) = (plan.batch, plan.users.len());
        if plan.services.contains(&RequestKind::Batch) && batch > users {
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

    /// A user id without quotes.
    pub(crate) fn user(&self, number: usize) -> &str {
        self.users[number].trim_matches('"')
    }
}

fn names(load: &BridgeLoad) -> Vec<String> {
    (0..load.users)
        .map(|number| format!("\"{}{number:05}\"", load.user))
        .collect()
}
