//! `fanfare doctor`: the host against what the gateway needs of it. Looks, and changes nothing; only a key set is
//! fetched, where one is configured.

mod accepting;
mod amount;
mod buffers;
mod cgroup;
mod clients;
mod configured;
mod congestion;
mod conntrack;
mod cores;
mod cpu_list;
mod files;
mod finding;
mod governor;
mod host;
mod interrupts;
mod kernel;
mod key_set;
mod memory;
mod needs;
mod pages;
mod ports;
mod quota;
mod report;
#[cfg(test)]
mod testing;
mod unit;

use super::arguments::Doctor;
use super::exit::Exit;
use super::output;
use finding::Finding;
use host::Host;
use needs::Needs;
use report::Report;

/// Looks at the host and prints what was found.
pub(super) fn run(arguments: &Doctor) -> Result<Exit, Exit> {
    let config = arguments.settings.values()?;
    let needs = Needs::of(&config, arguments.connections.map(u64::from));
    let host = Host::at(&arguments.root);
    let findings = CHECKS.iter().flat_map(|check| check(&host, &needs));
    let report = Report::new(&needs, findings.collect());
    let text = if arguments.json {
        report.json()
    } else {
        report.text()
    };
    match output::print(&text) {
        Exit::Ok if !report.is_healthy() => Err(Exit::Failure),
        exit => Ok(exit),
    }
}

/// What is looked at, what stops connections first.
const CHECKS: [fn(&Host, &Needs<'_>) -> Vec<Finding>; 16] = [
    configured::check,
    key_set::check,
    files::check,
    conntrack::check,
    memory::check,
    accepting::check,
    ports::check,
    clients::check,
    buffers::check,
    congestion::check,
    cores::check,
    quota::check,
    interrupts::check,
    governor::check,
    pages::check,
    kernel::check,
];
