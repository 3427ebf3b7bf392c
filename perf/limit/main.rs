//! What this machine can do without any gateway: one thread that serves bare
//! loopback sockets, and one that loads it.
//!
//! ```text
//! cargo run --release --example limit -- --connections 1000 --frame 256 --join 1,16,64,256
//! cargo run --release --example limit -- paced --connections 200 --rate 1000
//! cargo run --release --example limit -- echo --connections 100 --in-flight 32
//! cargo run --release --example limit -- connect --concurrency 64
//! cargo run --release --example limit -- inbound --connections 100 --burst 64
//! cargo run --release --example limit -- tls --certificate cert.pem --key key.pem
//! ```
//!
//! Each mode does what a scenario of `loadgen` makes a server do, and nothing
//! else: the reads and writes, but no parsing, no routing, no memory of its own.
//! A server has to do at least that, so these are the figures to divide a
//! gateway's by. The two threads are pinned to a core each; CPU time is that of
//! the serving thread, and the other one's share is told, since a figure is the
//! server's limit only where the generator had time left. Every mode verifies
//! what it counts, and fails if a byte is missing. `tls` is the serving side alone, which
//! `loadgen connect --pid` loads and measures like a gateway.

mod connect;
mod cycle;
mod exchange;
mod fanout;
mod paced;
mod report;
mod rounds;
mod sockets;
mod tls;
mod window;

use clap::{Args, Parser, Subcommand};

use report::Measured;

/// Anything that ends a run.
type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The bare-socket limit of this machine.
#[derive(Debug, Parser)]
#[command(name = "limit", args_conflicts_with_subcommands = true)]
struct Limit {
    #[command(subcommand)]
    mode: Option<Mode>,

    #[command(flatten)]
    fanout: fanout::Options,

    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Subcommand)]
enum Mode {
    /// Write joined frames to one connection after the other (the default).
    Fanout(fanout::Options),
    /// Write one frame to every connection on a schedule: latency.
    Paced(paced::Options),
    /// Answer every frame with one: rate and latency.
    Echo(exchange::Echo),
    /// Read bursts of frames, with one small answer to each.
    Inbound(exchange::Inbound),
    /// Accept, read a request, greet, and close.
    Connect(connect::Options),
    /// The same over TLS by rustls, for `loadgen connect --url wss://`, until it is killed.
    Tls(tls::Options),
}

/// What every mode understands.
#[derive(Debug, Clone, Args)]
struct Common {
    /// Seconds to measure; a fifth of it is for warming up before.
    #[arg(long, global = true, default_value_t = 3.0)]
    duration: f64,

    /// Core of the thread that stands for the server.
    #[arg(long, global = true, alias = "sender-core", default_value_t = 0)]
    server_core: usize,

    /// Core of the thread that loads it.
    #[arg(long, global = true, alias = "receiver-core", default_value_t = 1)]
    generator_core: usize,

    /// Print one JSON array, in loadgen's terms, instead of a table.
    #[arg(long, global = true)]
    json: bool,
}

impl Limit {
    fn run(self) -> Outcome<Vec<Measured>> {
        let common = &self.common;
        Ok(match self.mode.unwrap_or(Mode::Fanout(self.fanout)) {
            Mode::Fanout(fanout) => fanout::run(&fanout, common)?,
            Mode::Paced(paced) => vec![paced::run(&paced, common)?],
            Mode::Echo(echo) => vec![exchange::run(&echo.into(), common)?],
            Mode::Inbound(inbound) => vec![exchange::run(&inbound.into(), common)?],
            Mode::Connect(connect) => vec![connect::run(&connect, common)?],
            Mode::Tls(tls) => match tls::run(&tls, common)? {},
        })
    }
}

fn main() -> Outcome<()> {
    let limit = Limit::parse();
    let json = limit.common.json;
    let all = limit.run()?;
    if json {
        println!("{}", serde_json::to_string_pretty(&all)?);
    } else {
        report::print(&all);
    }
    let failures: Vec<&str> = all.iter().flat_map(Measured::failures).collect();
    if failures.is_empty() {
        Ok(())
    } else {
        Err(failures.join("; ").into())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// A run of a twentieth of a second, both threads on one core: the first is always there.
    fn check(arguments: &str) {
        let all = [
            "limit",
            "--server-core",
            "0",
            "--generator-core",
            "0",
            "--duration",
            "0.05",
        ];
        let (mode, rest) = arguments.split_once(' ').expect("a mode and arguments");
        let command = [&all[..1], &[mode], &all[1..]].concat();
        let limit = Limit::parse_from(command.into_iter().chain(rest.split(' ')));
        for measured in limit.run().unwrap() {
            assert_eq!(measured.failures().next(), None, "{arguments}");
        }
    }

    #[test]
    fn the_command_line_is_sound() {
        Limit::command().debug_assert();
        let limit = Limit::parse_from(["limit", "--join", "3,5", "--json"]);
        assert!(limit.mode.is_none() && limit.common.json);
    }

    #[test]
    fn every_mode_accounts_for_every_byte() {
        check("fanout --connections 5 --join 1,64");
        check("fanout --connections 5 --join 1000 --send-buffer 16384 --work 100");
        check("paced --connections 5 --rate 1000");
        check("echo --connections 5 --in-flight 8");
        check("echo --connections 2 --in-flight 1 --frame 49 --answer 110");
        // More on the way than the sockets take.
        check("echo --connections 2 --in-flight 40000 --frame 300");
        check("inbound --connections 5");
        check("connect --concurrency 5");
    }
}
