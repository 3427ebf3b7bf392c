//! Two threads, the time in which they are measured, and what they used of it.

use std::fs;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use crate::{Common, Outcome};

/// How often it is looked whether a thread has given up.
const LOOK: Duration = Duration::from_millis(50);

/// Where a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Buffers grow to their size and caches fill.
    Warming,
    Measuring,
    /// Nothing new is begun.
    Stopping,
    /// The generator has ended.
    Over,
}

/// What the threads of a run share. The clock of all times is [`Self::now_ns`].
#[derive(Debug)]
pub(crate) struct Shared {
    epoch: Instant,
    phase: AtomicU8,
    count: AtomicU64,
}

impl Shared {
    pub(crate) fn new() -> Self {
        Self {
            epoch: Instant::now(),
            phase: AtomicU8::new(Phase::Warming as u8),
            count: AtomicU64::new(0),
        }
    }

    /// Nanoseconds since this value was made.
    pub(crate) fn now_ns(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }

    /// Adds to what the mode counts. One thread of a run does.
    pub(crate) fn add(&self, count: u64) {
        let sum = self.count.load(Ordering::Relaxed) + count;
        self.count.store(sum, Ordering::Relaxed);
    }

    pub(crate) fn is_measuring(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == Phase::Measuring as u8
    }

    /// Whether the run is at `phase` or further.
    pub(crate) fn has_reached(&self, phase: Phase) -> bool {
        self.phase.load(Ordering::Relaxed) >= phase as u8
    }

    fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }
}

/// What happened while it was measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) wall_ns: f64,
    pub(crate) count: u64,
    /// CPU time of the two threads.
    pub(crate) server_ns: u64,
    pub(crate) generator_ns: u64,
    /// The part of the server's CPU that it spent in the kernel.
    pub(crate) server_kernel_share: f64,
}

/// Runs the two threads on their cores, and says what they returned.
///
/// Both go on until [`Phase::Stopping`]; the end of one must end the other, by the
/// sockets between them or by [`Phase::Over`].
pub(crate) fn run<S: Send, G: Send>(
    common: &Common,
    shared: &Shared,
    server: impl FnOnce() -> Outcome<S> + Send,
    generator: impl FnOnce() -> Outcome<G> + Send,
) -> Outcome<(S, G, Window)> {
    thread::scope(|scope| {
        let server = Worker::start(scope, common.server_core, server)?;
        let generator = Worker::start(scope, common.generator_core, generator)?;
        let duration = Duration::from_secs_f64(common.duration);
        let wait = |time: Duration| {
            let until = Instant::now() + time;
            while Instant::now() < until && !server.has_ended() && !generator.has_ended() {
                thread::park_timeout(LOOK.min(until - Instant::now()));
            }
        };
        let sample = || -> Outcome<_> {
            let count = shared.count.load(Ordering::Relaxed);
            Ok((
                shared.now_ns(),
                count,
                server.cpu_ns()?,
                generator.cpu_ns()?,
                server.ticks()?,
            ))
        };
        wait(duration / 5);
        let from = sample();
        shared.enter(Phase::Measuring);
        wait(duration);
        let to = sample();
        shared.enter(Phase::Stopping);
        let generated = generator.join();
        shared.enter(Phase::Over);
        // Where the server has failed, the generator only saw its sockets end.
        let served = server.join()?;
        let generated = generated?;
        let (from, to) = (from?, to?);
        let window = Window {
            wall_ns: (to.0 - from.0) as f64,
            count: to.1 - from.1,
            server_ns: to.2 - from.2,
            generator_ns: to.3 - from.3,
            server_kernel_share: kernel_share(from.4, to.4),
        };
        Ok((served, generated, window))
    })
}

/// A thread on a core of its own, whose CPU time others may look at.
struct Worker<'scope, T> {
    thread: ScopedJoinHandle<'scope, Outcome<T>>,
    /// The kernel's folder of its counters.
    counters: String,
}

impl<'scope, T: Send + 'scope> Worker<'scope, T> {
    fn start<'env>(
        scope: &'scope Scope<'scope, 'env>,
        core: usize,
        work: impl FnOnce() -> Outcome<T> + Send + 'scope,
    ) -> Outcome<Self> {
        let (started, start) = mpsc::channel();
        let thread = scope.spawn(move || {
            started.send(rustix::thread::gettid())?;
            pin(core)?;
            work()
        });
        let id = start.recv()?.as_raw_nonzero();
        Ok(Self {
            thread,
            counters: format!("/proc/self/task/{id}"),
        })
    }

    fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Nanoseconds on a processor so far, up to the scheduler's last look at it (a few
    /// milliseconds).
    fn cpu_ns(&self) -> Outcome<u64> {
        let schedstat = self.read("schedstat")?;
        let first = schedstat.split_ascii_whitespace().next();
        Ok(first.unwrap_or_default().parse()?)
    }

    /// CPU time in its own code and in the kernel, in ticks of the clock.
    fn ticks(&self) -> Outcome<[u64; 2]> {
        let stat = self.read("stat")?;
        let after_name = stat.rsplit_once(')').map_or("", |(_, after)| after);
        let mut fields = after_name.split_ascii_whitespace().skip(11);
        let mut next = || fields.next().unwrap_or_default().parse();
        Ok([next()?, next()?])
    }

    fn read(&self, counters: &str) -> Outcome<String> {
        let path = format!("{}/{counters}", self.counters);
        fs::read_to_string(&path).map_err(|error| format!("{path}: {error}").into())
    }

    fn join(self) -> Outcome<T> {
        self.thread.join().map_err(|_| "a thread panicked")?
    }
}

fn kernel_share(from: [u64; 2], to: [u64; 2]) -> f64 {
    let [user, kernel] = [0, 1].map(|part| (to[part] - from[part]) as f64);
    kernel / (user + kernel).max(1.0)
}

/// Puts this thread on a core.
pub(crate) fn pin(core: usize) -> Outcome<()> {
    let mut cores = rustix::thread::CpuSet::new();
    cores.set(core);
    rustix::thread::sched_setaffinity(None, &cores)
        .map_err(|error| format!("core {core}: {error}").into())
}
