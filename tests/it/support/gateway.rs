//! Gateways: one inside the test process, and one as the program itself.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fanfare::config::{Config, Mode};
use fanfare::dialect::sections;
use fanfare::server::Gateway;

use super::socket::TLS;
use super::{Client, Patience};

/// A gateway in this process. It stops when it is dropped.
pub(crate) struct TestGateway {
    /// Where it listens.
    pub address: SocketAddr,
    /// Where it listens for services, if that is elsewhere.
    pub internal: Option<SocketAddr>,
    gateway: Option<Gateway>,
    _patience: Patience,
}

impl TestGateway {
    /// A demo gateway with one shard.
    pub(crate) fn start() -> Self {
        Self::with(|_| {})
    }

    /// A demo gateway with one shard and whatever `change` makes of its configuration.
    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Self {
        Self::in_mode(Mode::Demo, change)
    }

    /// As [`Self::with`], in another mode.
    pub(crate) fn in_mode(mode: Mode, change: impl FnOnce(&mut Config)) -> Self {
        Self::of(Config::for_mode(mode), change)
    }

    /// A gateway with one shard that `toml` describes, in demo mode unless it says
    /// another.
    pub(crate) fn from_toml(toml: &str, change: impl FnOnce(&mut Config)) -> Self {
        let toml = match toml.contains("mode =") {
            true => toml.to_owned(),
            false => format!("mode = \"demo\"\n{toml}"),
        };
        Self::of(
            Config::from_toml_with(&toml, &sections(&[])).expect("a good file"),
            change,
        )
    }

    fn of(mut config: Config, change: impl FnOnce(&mut Config)) -> Self {
        config.server.listen = vec!["127.0.0.1:0".parse().unwrap()];
        config.server.shards = 1;
        config.server.pin_threads = false;
        config.server.drain_timeout = Duration::from_secs(2);
        change(&mut config);
        // A test that is about TLS has its own.
        if let (Some(identity), []) = (&*TLS, &*config.tls.certificate_file) {
            let server = &mut config.server;
            for listen in server.listen.iter_mut().chain(&mut server.internal_listen) {
                listen.tls = listen.unix.is_none();
            }
            config.tls.certificate_file = vec![identity.pem_file.clone()];
            config.tls.key_file = vec![identity.pem_file.clone()];
        }
        let gateway = Gateway::start(config).expect("a gateway starts on a free port");
        Self {
            address: gateway.addresses[0].address,
            internal: gateway.internal.first().map(|listen| listen.address),
            gateway: Some(gateway),
            _patience: Patience::new(),
        }
    }

    /// Stops as SIGTERM does; returns how long that took.
    pub(crate) fn stop(mut self) -> Duration {
        let began = Instant::now();
        self.gateway.take().unwrap().stop().expect("it stops");
        began.elapsed()
    }
}

impl Drop for TestGateway {
    fn drop(&mut self) {
        if let Some(gateway) = self.gateway.take() {
            let stopped = gateway.stop();
            // A shard that panicked is a failure of every test.
            assert!(std::thread::panicking() || stopped.is_ok(), "{stopped:?}");
        }
    }
}

const CERTIFICATE_FILE: &str = "FANFARE_TLS__CERTIFICATE_FILE";

/// The program, started as a user would. It is killed when it is dropped.
pub(crate) struct Process {
    /// Where it listens.
    pub address: SocketAddr,
    /// All of these, that of `address` first.
    pub addresses: Vec<SocketAddr>,
    child: Child,
    panicked: Arc<AtomicBool>,
    /// What it writes to standard error after it began to listen.
    log: Option<JoinHandle<String>>,
    _patience: Patience,
}

impl Process {
    /// `fanfare serve` in demo mode on a free port, with more arguments.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::with(arguments, &[])
    }

    /// As [`Self::start`], with these variables as its environment.
    pub(crate) fn with(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        // A test that is about TLS has its own.
        let is_about_tls = variables.iter().any(|(name, _)| *name == CERTIFICATE_FILE);
        let identity = TLS.as_ref().filter(|_| !is_about_tls);
        let scheme = if identity.is_some() { "https" } else { "http" };
        let files = identity.into_iter().flat_map(|identity| {
            let variables = [CERTIFICATE_FILE, "FANFARE_TLS__KEY_FILE"];
            variables.map(|variable| (variable, &identity.pem_file))
        });
        let mut child = Command::new(env!("CARGO_BIN_EXE_fanfare"))
            .args(["serve", "--mode", "demo", "--listen"])
            .arg(format!("{scheme}://127.0.0.1:0"))
            .args(arguments)
            .env_clear()
            .env("FANFARE_ENV_FILE", "")
            .envs(files)
            .envs(variables.iter().copied())
            .stderr(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let log = BufReader::new(child.stderr.take().unwrap());
        let mut lines = log.lines().map_while(Result::ok);
        let mut addresses = Vec::new();
        for line in &mut lines {
            if line.contains("listening") {
                addresses.push(address_in(&line));
            }
            if addresses.len() > arguments.iter().filter(|it| **it == "--listen").count() {
                break;
            }
        }
        let address = *addresses.first().expect("it says where it listens");
        let panicked = Arc::new(AtomicBool::new(false));
        let seen = panicked.clone();
        // The pipe must not fill up.
        let log = std::thread::spawn(move || {
            let noted = lines.inspect(|line| {
                if line.contains("panicked") {
                    seen.store(true, Ordering::Relaxed);
                }
            });
            noted.map(|line| line + "\n").collect()
        });
        Self {
            address,
            addresses,
            child,
            panicked,
            log: Some(log),
            _patience: Patience::new(),
        }
    }

    /// Checks that nothing in it has panicked and that it still does its job.
    pub(crate) fn check_alive(&mut self) {
        assert!(!self.panicked.load(Ordering::Relaxed), "something panicked");
        assert_eq!(self.child.try_wait().unwrap(), None, "the program ended");
        let mut client = Client::echo(self.address);
        client.send(0x82, b"alive");
        assert_eq!(client.next().unwrap().payload, b"alive");
    }

    /// The process's id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name, as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([&format!("-{name}"), &self.pid().to_string()])
            .status();
        assert!(status.unwrap().success());
    }

    /// Waits for the end.
    pub(crate) fn wait(self, limit: Duration) -> ExitStatus {
        self.finish(limit).0
    }

    /// Waits for the end; also returns what it said on standard error.
    pub(crate) fn finish(mut self, limit: Duration) -> (ExitStatus, String) {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                let log = self.log.take().expect("taken once").join();
                return (status, log.expect("a reader"));
            }
            assert!(Instant::now() < deadline, "the process does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Resident memory in bytes.
    pub(crate) fn rss(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// CPU time of all threads.
    pub(crate) fn cpu(&self) -> Duration {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
        let nanoseconds: u64 = tasks
            .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok())
            .filter_map(|text| text.split(' ').next()?.parse::<u64>().ok())
            .sum();
        Duration::from_nanos(nanoseconds)
    }
}

/// The address in a line of the log: as text, `address=127.0.0.1:80 `, or as JSON, `"address":"127.0.0.1:80"`.
fn address_in(line: &str) -> SocketAddr {
    let (_, address) = line.split_once("address").unwrap();
    let address = address.trim_start_matches(['=', '"', ':']);
    address.split([' ', '"']).next().unwrap().parse().unwrap()
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(log) = self.log.take().and_then(|log| log.join().ok()) {
            let is_sound = !log.contains("panicked");
            assert!(std::thread::panicking() || is_sound, "{log}");
        }
    }
}
