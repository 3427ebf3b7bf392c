//! Engines joined by lanes against a naive model.
//!
//! One to four engines run in memory, as their shards would drive them: clients join, leave, subscribe, publish and
//! resume; sockets and lanes fill, stall and drain; time passes. The reference model has the true state
//! (`oracle.rs`) and what each client may expect (`client.rs`, `track.rs`, `stream.rs`). Every run follows from a
//! seed; a failing seed is printed with the shortest trace found.
//!
//! `FANFARE_MODEL_SEEDS=10000` sets the number of seeds, `FANFARE_MODEL_SEED=7` runs one and prints its trace.

mod apply;
mod client;
pub(super) mod encoder;
mod ended;
mod fairness;
mod generate;
mod label;
mod lanes;
mod node;
mod ops;
mod oracle;
mod peers;
mod queue;
mod random;
mod run;
mod seen;
mod settle;
mod shrink;
mod sockets;
mod stream;
mod tasks;
mod traces;
mod track;
mod world;

use generate::generate;
use run::run;
use seen::Seen;
use shrink::shortest;

/// Seeds of an ordinary test run.
const SEEDS: u64 = 2000;

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a number")),
    )
}

#[test]
fn engines_keep_their_promises() {
    let one = variable("FANFARE_MODEL_SEED");
    let seeds = variable("FANFARE_MODEL_SEEDS").unwrap_or(SEEDS);
    let (first, end) = one.map_or((0, seeds), |seed| (seed, seed + 1));
    let mut seen = Seen::default();
    for seed in first..end {
        let (setup, ops) = generate(seed);
        if one.is_some() {
            println!("{}", shrink::trace(&setup, &ops));
        }
        match run(&setup, &ops) {
            Ok(other) => seen.merge(&other),
            Err(violation) => {
                let (setup, ops) = shortest(setup, ops, violation.check);
                let found = run(&setup, &ops);
                panic!(
                    "seed {seed}: {violation:?}\n\nshortest: {found:?}\n{}",
                    shrink::trace(&setup, &ops)
                );
            }
        }
        if (seed + 1) % 1000 == 0 {
            println!("{} seeds", seed + 1);
        }
    }
    if one.is_some() {
        return;
    }
    for (thing, times) in seen.all() {
        println!("{times:>9} {thing:?}");
    }
    let never: Vec<_> = seen.all().filter(|(_, times)| *times == 0).collect();
    assert!(never.is_empty(), "the model never sees {never:?}");
}
