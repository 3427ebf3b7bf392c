//! Challenges that accounts sign to log in: random, answered once, and only for a time.
//!
//! The table is two generations of bounded size. When the newer one is full or as old as challenges get, it becomes the
//! older one, whose challenges are given up: nothing is searched for, and memory is bounded, whatever comes.

use std::net::IpAddr;

use aws_lc_rs::rand;

use crate::collections::HashMap;
use crate::process::Locked;

/// What an account signs.
pub(super) type Challenge = [u8; 32];

/// The challenges that have not been answered.
#[derive(Debug)]
pub(super) struct Challenges {
    lifetime_ms: u64,
    /// Challenges of accounts that are kept.
    len_max: usize,
    of_accounts: Locked<Generations>,
    /// Those of ids that no account has, which get challenges like others. They take nothing from accounts.
    of_others: Locked<Generations>,
}

/// The challenges of one table.
#[derive(Debug, Default)]
struct Generations {
    newer: Generation,
    older: Generation,
}

#[derive(Debug, Default)]
struct Generation {
    began_ms: u64,
    len: usize,
    by_user: HashMap<Box<str>, Vec<Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    challenge: Challenge,
    until_ms: u64,
    /// The network that it was given to.
    network: IpAddr,
}

impl Challenges {
    /// A table for `len_max` challenges of accounts, and a quarter as many of others, that live so long.
    pub(super) fn new(len_max: usize, lifetime_ms: u64) -> Self {
        Self {
            lifetime_ms,
            len_max,
            of_accounts: Locked::default(),
            of_others: Locked::default(),
        }
    }

    /// A new challenge for `user`, who asks from `network`. Of those that it has beyond [`PER_USER_MAX`] the oldest is
    /// given up of the network that has most, so that others who ask for the same user do not displace its own.
    ///
    /// Cost: a lock, a lookup and 32 random bytes, whether there is such an account or not.
    pub(super) fn issue(
        &self,
        user: &str,
        is_account: bool,
        network: IpAddr,
        now_ms: u64,
    ) -> Challenge {
        let mut challenge = Challenge::default();
        rand::fill(&mut challenge).expect("the system has random bytes");
        // Of two generations.
        let (table, len_max) = match is_account {
            true => (&self.of_accounts, self.len_max / 2),
            false => (&self.of_others, self.len_max / 8),
        };
        let mut table = table.lock();
        table.turn(now_ms, (self.lifetime_ms, len_max));
        let newer = &mut table.newer;
        let waiting = match newer.by_user.get_mut(user) {
            Some(waiting) => waiting,
            None => newer.by_user.entry(user.into()).or_default(),
        };
        if waiting.len() >= PER_USER_MAX {
            waiting.remove(to_give_up(waiting));
            newer.len -= 1;
        }
        waiting.push(Waiting {
            challenge,
            until_ms: now_ms + self.lifetime_ms,
            network,
        });
        newer.len += 1;
        challenge
    }

    /// The challenges that `user` can answer, the newest first: at most twice [`PER_USER_MAX`].
    pub(super) fn waiting(&self, user: &str, now_ms: u64) -> Vec<Challenge> {
        let mut found = Vec::new();
        for table in [&self.of_accounts, &self.of_others] {
            let table = table.lock();
            for generation in [&table.newer, &table.older] {
                let waiting = generation.by_user.get(user).into_iter().flatten().rev();
                let valid = waiting.filter(|it| now_ms < it.until_ms);
                found.extend(valid.map(|it| it.challenge));
            }
        }
        found
    }

    /// Takes a challenge out of the table. Returns whether it was there: of several that answer the same one, one is
    /// told so.
    pub(super) fn take(&self, user: &str, challenge: &Challenge) -> bool {
        let tables = [&self.of_accounts, &self.of_others];
        tables.into_iter().any(|table| {
            let table = &mut *table.lock();
            table.newer.take(user, challenge) || table.older.take(user, challenge)
        })
    }
}

impl Generations {
    /// Begins a new generation, if it is time.
    fn turn(&mut self, now_ms: u64, (lifetime_ms, len_max): (u64, usize)) {
        if self.newer.len < len_max && now_ms < self.newer.began_ms + lifetime_ms {
            return;
        }
        let next = Generation {
            began_ms: now_ms,
            ..Generation::default()
        };
        self.older = std::mem::replace(&mut self.newer, next);
    }
}

impl Generation {
    fn take(&mut self, user: &str, challenge: &Challenge) -> bool {
        let Some(waiting) = self.by_user.get_mut(user) else {
            return false;
        };
        let Some(at) = waiting.iter().position(|it| it.challenge == *challenge) else {
            return false;
        };
        waiting.remove(at);
        self.len -= 1;
        if waiting.is_empty() {
            self.by_user.remove(user);
        }
        true
    }
}

/// Which of a user's challenges is given up for another: the oldest of the network that has most.
fn to_give_up(waiting: &[Waiting]) -> usize {
    let of_network = |at: usize| {
        let same = waiting
            .iter()
            .filter(|it| it.network == waiting[at].network);
        same.count()
    };
    let most = (0..waiting.len()).map(of_network).max();
    (0..waiting.len())
        .find(|&at| Some(of_network(at)) == most)
        .unwrap_or(0)
}

/// Challenges of one user in a generation.
const PER_USER_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const AWAY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    #[test]
    fn a_challenge_is_answered_once_and_in_time() {
        let challenges = Challenges::new(100, 1000);
        let first = challenges.issue("alice", true, HOME, 0);
        let second = challenges.issue("alice", true, HOME, 10);
        assert_eq!(challenges.waiting("alice", 999), [second, first]);
        assert_eq!(challenges.waiting("alice", 1000), [second]);
        assert_eq!(challenges.waiting("bob", 0), [[0; 32]; 0]);
        assert!(!challenges.take("bob", &first));
        assert!(challenges.take("alice", &first) && !challenges.take("alice", &first));
        assert!(challenges.take("alice", &second));
        assert!(challenges.waiting("alice", 20).is_empty());
    }

    #[test]
    fn a23_who_asks_for_another_user_does_not_displace_its_challenges() {
        let challenges = Challenges::new(1000, 1000);
        let own = challenges.issue("alice", true, HOME, 0);
        for _ in 0..100 {
            challenges.issue("alice", true, AWAY, 1);
        }
        let waiting = challenges.waiting("alice", 2);
        assert_eq!(waiting.len(), PER_USER_MAX);
        assert!(waiting.contains(&own));
    }

    #[test]
    fn a23_ids_without_end_take_no_memory_without_end_and_nothing_from_accounts() {
        let challenges = Challenges::new(64, 1000);
        let own = challenges.issue("alice", true, HOME, 0);
        for number in 0..10_000 {
            challenges.issue(&number.to_string(), false, AWAY, 1);
        }
        assert_eq!(challenges.waiting("alice", 2), [own]);
        for number in 0..10_000 {
            challenges.issue(&format!("u{number}"), true, AWAY, 3);
            let table = challenges.of_accounts.lock();
            assert!(table.newer.len <= 32 && table.older.len <= 32);
            assert!(table.newer.by_user.len() == table.newer.len);
        }
        assert!(challenges.waiting("alice", 4).is_empty());
        assert_eq!(challenges.waiting("u9999", 4).len(), 1);
    }
}
