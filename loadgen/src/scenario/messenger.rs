//! The messenger: accounts that log in, and stored messages between them.

mod bare;
mod ledger;
mod load;
mod login;
mod logins;
mod users;

use crate::cli::{self, Common, MessengerMode, MessengerUsers, Scenario};
use crate::messenger::Account;
use crate::net::Target;
use crate::outcome::Outcome;
use crate::payload::{Layout, Random};

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

/// New accounts, whose ids end with their numbers.
fn accounts(count: usize, prefix: Option<&str>) -> Result<Vec<Account>, String> {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let seed = since.map_or(0, |since| since.as_nanos() as u64);
    let prefix = match prefix {
        Some(prefix) => prefix.to_owned(),
        None => format!("m{:08x}-", Random::new(seed).next() as u32),
    };
    let account = |number| Account::new(format!("{prefix}{number:0width$}", width = NUMBER_DIGITS));
    (0..count).map(account).collect()
}

/// Digits of a user's number in its id.
const NUMBER_DIGITS: usize = 4;

/// The number of the user with this id.
fn number_of(id: &str) -> Option<usize> {
    let digits = id.get(id.len().checked_sub(NUMBER_DIGITS)?..)?;
    digits.parse().ok()
}

/// Time without progress, and waits, as everywhere.
const TURN_MAX: std::time::Duration = std::time::Duration::from_millis(2);
