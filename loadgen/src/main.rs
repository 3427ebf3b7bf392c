//! Load generator for the gateway: publishes through it and verifies every
//! delivery. See `loadgen --help`.

mod cli;
mod events;
mod foreign;
mod frame;
mod http;
mod kernel;
mod measure;
mod messenger;
mod net;
mod number;
mod outcome;
mod parsed;
mod payload;
mod process;
mod reference;
mod scenario;
mod schedule;
mod sse;
mod stall;
mod verify;
mod wse;

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use mimalloc::MiMalloc;

use cli::{Client, Options, Scenario, WseInbound};
use net::Target;
use outcome::Outcome;
use payload::Format;
use verify::Wire;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let options = Options::parse();
    let finished = run(&options).and_then(|outcome| {
        print(&outcome, options.common.json.as_deref())?;
        Ok(outcome.failures.is_empty())
    });
    match finished {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("loadgen: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<Outcome, String> {
    let Options {
        scenario, common, ..
    } = options;
    let (headers, settings) = (common.headers.clone(), options.tls_settings());
    let mut target = Target::new(&common.url, &scenario.path(), headers, &settings)?;
    if settings.resume_sessions && !target.is_tls() {
        return Err("--resume-sessions is for wss:// and https://".into());
    }
    if scenario.format() == Format::Msgpack {
        target.add_parameter("format=msgpack");
    }
    if let Some(core) = common.pin {
        pin(core)?;
    }
    match (common.client, scenario) {
        (Client::Tungstenite, _) if scenario.format() != Format::Json => {
            Err("--client tungstenite speaks JSON".into())
        }
        (Client::Tungstenite, Scenario::Fanout(_)) => match scenario.wire() {
            Wire::WebSocket => reference::fanout::run(scenario, &target, common),
            Wire::Sse => Err("--client tungstenite speaks WebSocket only".into()),
            Wire::Foreign(_) => Err("--client tungstenite has no --target".into()),
        },
        (Client::Tungstenite, Scenario::Echo(echo)) => {
            reference::echo::run(scenario, echo, &target, common)
        }
        (Client::Tungstenite, _) => Err("--client tungstenite is for fanout and echo".into()),
        (_, Scenario::Fanout(_) | Scenario::Topics(_) | Scenario::Slow(_) | Scenario::Churn(_)) => {
            scenario::fanout::run(scenario, &target, common)
        }
        (_, Scenario::Wse(wse)) => {
            wse.check()?;
            match &wse.inbound {
                Some(WseInbound::Inbound(backend)) => {
                    scenario::backend::run(scenario, backend, &target, common)
                }
                None => scenario::fanout::run(scenario, &target, common),
            }
        }
        (_, Scenario::Echo(echo)) => scenario::echo::run(scenario, echo, &target, common),
        (_, Scenario::Publish(publish)) => {
            scenario::publish::run(scenario, publish, &target, common)
        }
        (_, Scenario::Connect(connect)) => {
            scenario::connect::run(scenario, connect, &target, common)
        }
        (_, Scenario::Resume(resume)) => scenario::resume::run(scenario, resume, &target, common),
        (_, Scenario::Idle(idle)) => scenario::idle::run(scenario, idle, &target, common),
        (_, Scenario::Backend(backend)) => {
            scenario::backend::run(scenario, backend, &target, common)
        }
        (_, Scenario::Bridge(bridge)) => scenario::bridge::run(scenario, bridge, &target, common),
        (_, Scenario::Messenger(messenger)) => {
            scenario::messenger::run(scenario, messenger, &target, common)
        }
    }
}

fn pin(core: usize) -> Result<(), String> {
    let mut cores = rustix::thread::CpuSet::new();
    if core >= rustix::thread::CpuSet::MAX_CPU {
        return Err(format!("--pin {core}: no such core"));
    }
    cores.set(core);
    rustix::thread::sched_setaffinity(None, &cores)
        .map_err(|error| format!("--pin {core}: {error}"))
}

fn print(outcome: &Outcome, json: Option<&Path>) -> Result<(), String> {
    let text = || serde_json::to_string_pretty(outcome).expect("plain values");
    match json {
        Some(path) if path == "-" => println!("{}", text()),
        Some(path) => {
            print!("{outcome}");
            fs::write(path, text() + "\n")
                .map_err(|error| format!("{}: {error}", path.display()))?;
        }
        None => print!("{outcome}"),
    }
    Ok(())
}
