//! One run and its result.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use super::ops::{Op, Setup};
use super::oracle::{Check, Violation};
use super::seen::{Seen, Thing};
use super::world::World;

thread_local! {
    /// Panics on this thread are recorded, not printed.
    static IS_SILENT: Cell<bool> = const { Cell::new(false) };
    /// Where the engine panicked.
    static PLACE: Cell<Option<String>> = const { Cell::new(None) };
}

/// Runs `ops`, then completes pending work and ends all connections. Returns what was seen.
pub(super) fn run(setup: &Setup, ops: &[Op]) -> Result<Seen, Violation> {
    run_and_tell(setup, ops, false)
}

/// As [`run`]; if `is_verbose`, prints each step.
pub(super) fn run_and_tell(setup: &Setup, ops: &[Op], is_verbose: bool) -> Result<Seen, Violation> {
    watch_panics();
    IS_SILENT.set(true);
    let done = catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::new(*setup);
        world.oracle.is_verbose = is_verbose;
        for op in ops {
            if is_verbose {
                println!("{op:?}");
            }
            world.apply(op);
        }
        world.finish();
        let mut seen = world.oracle.seen;
        seen.add(Thing::LaneFull, world.mesh.full.get());
        seen
    }));
    IS_SILENT.set(false);
    done.map_err(|why| violation_of(&*why))
}

fn violation_of(why: &(dyn Any + Send)) -> Violation {
    if let Some(violation) = why.downcast_ref::<Violation>() {
        return violation.clone();
    }
    let text = why.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| why.downcast_ref::<&str>().copied());
    let place = PLACE.take().unwrap_or_default();
    Violation {
        check: Check::Panic,
        detail: format!("{} at {place}", text.unwrap_or_default()),
    }
}

/// Suppresses the output of panics: shrinking causes thousands of them.
fn watch_panics() {
    static WATCHED: Once = Once::new();
    WATCHED.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !IS_SILENT.get() {
                return before(panic);
            }
            PLACE.set(panic.location().map(ToString::to_string));
        }));
    });
}
