//! Questions and answers: what an echo, or a confirmed burst of inbound messages,
//! costs at least.
//!
//! The server reads whatever is there and answers every so many bytes by so many
//! bytes, all that are due in one write: echo is a frame for a frame, inbound a small
//! answer for a burst. The generator has a fixed number of questions on the way on each
//! connection, checks what comes byte for byte, and asks again, all that a read allows
//! in one write.

use std::collections::VecDeque;
use std::net::TcpStream;

use clap::Args;
use hdrhistogram::Histogram;
use rustix::event::epoll::EventFlags;

use crate::cycle::Cycle;
use crate::report::{Latency, Measured, new_histogram};
use crate::sockets::{Arrived, GENERATOR_READ_BYTES, Poller, SERVER_READ_BYTES, pairs};
use crate::window::{self, Phase, Shared};
use crate::{Common, Outcome};

mod peer;
use peer::Peer;

#[derive(Debug, Args)]
pub(crate) struct Echo {
    /// Loopback connections.
    #[arg(long, default_value_t = 100)]
    connections: usize,

    /// Frames that each connection has on the way.
    #[arg(long, default_value_t = 32)]
    in_flight: u64,

    /// Bytes of a frame to the server, header included.
    #[arg(long, default_value_t = 136)]
    frame: usize,

    /// Bytes of a frame back [default: as many]
    #[arg(long)]
    answer: Option<usize>,
}

#[derive(Debug, Args)]
pub(crate) struct Inbound {
    /// Loopback connections.
    #[arg(long, default_value_t = 100)]
    connections: usize,

    /// Frames of one write, which has one answer.
    #[arg(long, default_value_t = 64)]
    burst: u64,

    /// Bursts that each connection has on the way.
    #[arg(long, default_value_t = 2)]
    window: u64,

    /// Bytes of a frame, header included.
    #[arg(long, default_value_t = 183)]
    frame: usize,

    /// Bytes of an answer.
    #[arg(long, default_value_t = 64)]
    answer: usize,
}

/// What is exchanged.
#[derive(Debug)]
pub(crate) struct Plan {
    mode: &'static str,
    unit: &'static str,
    connections: usize,
    /// Bytes.
    question: usize,
    answer: usize,
    /// Questions that each connection has on the way.
    in_flight: u64,
    /// What a question counts.
    units: u64,
}

impl From<Echo> for Plan {
    fn from(options: Echo) -> Self {
        Self {
            mode: "echo",
            unit: "echoes",
            connections: options.connections,
            question: options.frame,
            answer: options.answer.unwrap_or(options.frame),
            in_flight: options.in_flight,
            units: 1,
        }
    }
}

impl From<Inbound> for Plan {
    fn from(options: Inbound) -> Self {
        Self {
            mode: "inbound",
            unit: "publications",
            connections: options.connections,
            question: options.frame * options.burst as usize,
            answer: options.answer,
            in_flight: options.window,
            units: options.burst,
        }
    }
}

/// Measures one exchange.
pub(crate) fn run(plan: &Plan, common: &Common) -> Outcome<Measured> {
    let (servers, generators) = pairs(plan.connections)?;
    let shared = Shared::new();
    let (questions, answers) = (Cycle::new(plan.question), Cycle::new(plan.answer));
    let (served, asked, window) = window::run(
        common,
        &shared,
        || serve(servers, &questions, &answers),
        || ask(generators, plan, &questions, &answers, &shared),
    )?;
    let mut measured = Measured::new(plan.mode, plan.unit, window);
    measured.connections = plan.connections;
    measured.wire_bytes_per_message = plan.answer;
    measured.messages_per_read = Some(asked.answers as f64 / asked.reads.max(1) as f64);
    measured.latency_us = Latency::of(&asked.latency);
    let what = "bytes that the server read do not match those sent";
    measured.must_match(what, &asked.written, &served);
    measured.must_match("bytes were changed", &0, &asked.wrong);
    Ok(measured)
}

/// Answers until all connections end; returns the bytes read.
fn serve(sockets: Vec<TcpStream>, questions: &Cycle, answers: &Cycle) -> Outcome<u64> {
    let poller = Poller::of(&sockets)?;
    let mut peers: Vec<_> = sockets.into_iter().map(Peer::new).map(Some).collect();
    let mut open = peers.len();
    let mut read = 0;
    let mut buffer = vec![0; SERVER_READ_BYTES];
    let mut events = Vec::new();
    while open > 0 {
        poller.wait(&mut events, None)?;
        for event in &events {
            let number = event.data.u64();
            let place = &mut peers[number as usize];
            let Some(peer) = place else {
                continue;
            };
            let flags = event.flags;
            if flags.contains(EventFlags::OUT) {
                peer.write(answers)?;
            }
            match peer.read(&mut buffer)? {
                Arrived::Bytes(count) => {
                    read += count as u64;
                    let due = questions.ends(peer.read - count as u64, peer.read);
                    peer.owe(due, answers);
                    peer.write(answers)?;
                }
                Arrived::Nothing => {}
                Arrived::End => {
                    *place = None;
                    open -= 1;
                    continue;
                }
            }
            peer.update_interest(&poller, number)?;
        }
    }
    Ok(read)
}

struct Asked {
    written: u64,
    answers: u64,
    reads: u64,
    /// Reads that brought other bytes than were due.
    wrong: u64,
    /// Of the measured time.
    latency: Histogram<u64>,
}

/// One connection of the generator.
struct Asker {
    peer: Peer,
    /// When the questions without an answer were asked, and how many then; oldest first.
    waiting: VecDeque<(u64, u64)>,
}

impl Asker {
    fn ask(&mut self, count: u64, questions: &Cycle, now_ns: u64) -> Outcome<()> {
        self.waiting.push_back((now_ns, count));
        self.peer.owe(count, questions);
        self.peer.write(questions)
    }

    /// Takes the time of the oldest question.
    fn answered(&mut self) -> Option<u64> {
        let (asked_ns, left) = self.waiting.front_mut()?;
        let asked_ns = *asked_ns;
        *left -= 1;
        if *left == 0 {
            self.waiting.pop_front();
        }
        Some(asked_ns)
    }
}

/// Asks until the run stops, and waits for all answers.
fn ask(
    sockets: Vec<TcpStream>,
    plan: &Plan,
    questions: &Cycle,
    answers: &Cycle,
    shared: &Shared,
) -> Outcome<Asked> {
    let poller = Poller::of(&sockets)?;
    let mut askers = Vec::with_capacity(sockets.len());
    for socket in sockets {
        let mut asker = Asker {
            peer: Peer::new(socket),
            waiting: VecDeque::new(),
        };
        asker.ask(plan.in_flight, questions, shared.now_ns())?;
        asker.peer.update_interest(&poller, askers.len() as u64)?;
        askers.push(Some(asker));
    }
    let mut asked = Asked {
        written: 0,
        answers: 0,
        reads: 0,
        wrong: 0,
        latency: new_histogram(),
    };
    let mut open = askers.len();
    let mut buffer = vec![0; GENERATOR_READ_BYTES];
    let mut events = Vec::new();
    while open > 0 {
        poller.wait(&mut events, None)?;
        for event in &events {
            let number = event.data.u64();
            let place = &mut askers[number as usize];
            let Some(asker) = place else {
                continue;
            };
            let flags = event.flags;
            if flags.contains(EventFlags::OUT) {
                asker.peer.write(questions)?;
            }
            match asker.peer.read(&mut buffer)? {
                Arrived::Bytes(count) => {
                    let now_ns = shared.now_ns();
                    let (from, to) = (asker.peer.read - count as u64, asker.peer.read);
                    asked.reads += 1;
                    asked.wrong += u64::from(!answers.matches(from, &buffer[..count]));
                    let answered = answers.ends(from, to);
                    let measuring = shared.is_measuring();
                    for _ in 0..answered {
                        let asked_ns = asker.answered().ok_or("an answer too many")?;
                        if measuring {
                            asked.latency.saturating_record((now_ns - asked_ns).max(1));
                        }
                    }
                    asked.answers += answered;
                    shared.add(answered * plan.units);
                    if !shared.has_reached(Phase::Stopping) {
                        if answered > 0 {
                            asker.ask(answered, questions, shared.now_ns())?;
                        }
                    } else if asker.waiting.is_empty() {
                        asked.written += asker.peer.written;
                        *place = None;
                        open -= 1;
                        continue;
                    }
                }
                Arrived::Nothing => {}
                Arrived::End => return Err("the server closed a connection".into()),
            }
            asker.peer.update_interest(&poller, number)?;
        }
    }
    Ok(asked)
}
