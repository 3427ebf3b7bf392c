//! The users of a run, and what all of its parts go by.

use crate::messenger::Account;
use crate::payload::Random;

/// New accounts, whose ids end with their numbers.
pub(super) fn accounts(count: usize, prefix: Option<&str>) -> Result<Vec<Account>, String> {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let seed = since.map_or(0, |since| since.as_nanos() as u64);
    let prefix = match prefix {
        Some(prefix) => prefix.to_owned(),
        None => format!("m{:08x}-", Random::new(seed).next() as u32),
    };
    let account = |number| Account::new(format!("{prefix}{number:0NUMBER_DIGITS$}"));
    (0..count).map(account).collect()
}

/// Digits of a user's number in its id.
const NUMBER_DIGITS: usize = 4;

/// The number of the user with this id.
pub(super) fn number_of(id: &str) -> Option<usize> {
    let digits = id.get(id.len().checked_sub(NUMBER_DIGITS)?..)?;
    digits.parse().ok()
}

/// Longest wait for events, so that windows open and close on time.
pub(super) const TURN_MAX: std::time::Duration = std::time::Duration::from_millis(2);
