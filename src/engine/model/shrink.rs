//! Finds a shorter run with the same failure.

use std::fmt::Write;

use super::ops::{Op, Setup};
use super::oracle::Check;
use super::run::run;

/// Runs tried at most.
const RUNS_MAX: usize = 6000;

/// Whether a run fails in the same check. Hash maps with random keys make some runs differ from time to time.
/// time to the next.
fn fails(check: Check, setup: &Setup, ops: &[Op]) -> bool {
    (0..TRIES).any(|_| run(setup, ops).is_err_and(|violation| violation.check == check))
}

/// Attempts of each run.
const TRIES: usize = 3;

/// The shortest run found that fails in `check`: chunks of operations are removed, from halves down to single ones, and
/// limits of the setup are lifted.
pub(super) fn shortest(mut setup: Setup, mut ops: Vec<Op>, check: Check) -> (Setup, Vec<Op>) {
    let mut runs = 0;
    let mut chunk = ops.len() / 2;
    while chunk > 0 && runs < RUNS_MAX {
        let before = ops.len();
        let mut at = ops.len();
        while at > 0 && runs < RUNS_MAX {
            let from = at.saturating_sub(chunk);
            let mut shorter = ops.clone();
            shorter.drain(from..at);
            runs += 1;
            if fails(check, &setup, &shorter) {
                ops = shorter;
            }
            at = from;
        }
        if ops.len() == before || chunk > 1 {
            chunk /= 2;
        }
    }
    for simpler in simpler(&setup) {
        if fails(check, &simpler(setup), &ops) {
            setup = simpler(setup);
        }
    }
    (setup, ops)
}

type Simpler = fn(Setup) -> Setup;

fn simpler(_: &Setup) -> Vec<Simpler> {
    vec![
        |setup| Setup {
            engines: 1,
            ..setup
        },
        |setup| Setup {
            engines: 2,
            ..setup
        },
        |setup| Setup {
            engines: 3,
            ..setup
        },
        |setup| Setup {
            lag_bytes: 1 << 20,
            ..setup
        },
        |setup| Setup {
            lag_messages: 0,
            ..setup
        },
        |setup| Setup {
            lane_items: 100,
            ..setup
        },
        |setup| Setup {
            lane_batches: 8,
            ..setup
        },
        |setup| Setup {
            log_bytes: 1 << 20,
            ..setup
        },
        |setup| Setup {
            backlog_bytes: 1 << 20,
            ..setup
        },
        |setup| Setup {
            memory: usize::MAX,
            ..setup
        },
        |setup| Setup {
            topics: 1000,
            ..setup
        },
        |setup| Setup {
            outbox_messages: 1000,
            ..setup
        },
        |setup| Setup {
            history: 0,
            ..setup
        },
        |setup| Setup {
            grace_ms: 0,
            ..setup
        },
    ]
}

/// A run in a form that can be pasted into a test.
pub(super) fn trace(setup: &Setup, ops: &[Op]) -> String {
    let mut text = format!("{setup:?},\n&[\n");
    for op in ops {
        writeln!(text, "    {op:?},").expect("memory takes everything");
    }
    text.push_str("]\n");
    text
}
