//! The messenger: accounts that log in, and stored messages between them.

mod accounts;
mod bare;
mod ledger;
mod load;
mod login;
mod logins;
mod users;

use crate::cli::{self, Common, MessengerMode, MessengerUsers, Scenario};
use crate::net::Target;
use crate::outcome::Outcome;
use crate::payload::Layout;

use accounts::accounts;
use ledger::Audience;
use load::Load;

/// Runs the scenario.
pub(crate) fn run(
    scenario: &Scenario,
    options: &cli::Messenger,
    target: &Target,
    common: &Common,
) -> Result<Outcome, String> {
    match &options.mode {
        MessengerMode::Login(options) => login::run(scenario, options, target, common),
        MessengerMode::Direct(options) => {
            let mut load = load(&options.users, Audience::One, target, common)?;
            match options.rate {
                Some(rate) => load.run_on_schedule(rate)?,
                None => load.run_at_most(options.in_flight, options.database.as_deref())?,
            }
            Ok(load.report(super::outcome(scenario, target, common, "messages")))
        }
        MessengerMode::Broadcast(options) => {
            let mut load = load(&options.users, Audience::Others, target, common)?;
            load.run_on_schedule(options.rate)?;
            Ok(load.report(super::outcome(scenario, target, common, "deliveries")))
        }
    }
}

/// Registers the users, logs them in and connects them.
fn load<'a>(
    options: &MessengerUsers,
    audience: Audience,
    target: &Target,
    common: &'a Common,
) -> Result<Load<'a>, String> {
    let accounts = accounts(options.users, options.user.as_deref())?;
    let names: Vec<String> = accounts.iter().map(|it| it.id.clone()).collect();
    let tokens = logins::register_all(accounts, target, common)?;
    let layout = Layout::new(options.payload, common.seed);
    Load::connect(names, tokens, (audience, layout), target, common)
}
