//! What a service manager is told (sd_notify(3)), by a socket that takes its place.

use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::support::{Client, Process};

const PATIENCE: Duration = Duration::from_secs(20);

/// A socket that states are sent to.
struct Manager {
    socket: UnixDatagram,
    /// The value of `NOTIFY_SOCKET`.
    name: String,
    path: Option<PathBuf>,
}

impl Manager {
    fn at_path(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("fanfare-{name}-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let name = path.to_str().unwrap().to_owned();
        Self::of(UnixDatagram::bind(&path).unwrap(), name, Some(path))
    }

    fn abstract_name(name: &str) -> Self {
        let name = format!("fanfare-{name}-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        Self::of(socket, format!("@{name}"), None)
    }

    fn of(socket: UnixDatagram, name: String, path: Option<PathBuf>) -> Self {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, name, path }
    }

    fn start(&self, more: &[(&str, &str)]) -> Process {
        let variables = [&[("NOTIFY_SOCKET", &*self.name)], more].concat();
        Process::with(&["--shards", "2"], &variables)
    }

    /// The lines of the next state.
    fn next(&self) -> Vec<String> {
        let mut state = [0; 1024];
        // A wait is interrupted when the machine is paused.
        let len = loop {
            match self.socket.recv(&mut state) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                received => break received.expect("a state"),
            }
        };
        let text = str::from_utf8(&state[..len]).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = std::fs::remove_file(path);
        }
    }
}

#[test]
fn it_is_told_of_the_start_of_a_reload_and_of_the_end() {
    for manager in [
        Manager::at_path("manager"),
        Manager::abstract_name("manager"),
    ] {
        let process = manager.start(&[]);
        let ready = manager.next();
        let status = format!("STATUS=listening on {}", process.address);
        assert_eq!(ready[0], "READY=1");
        assert!(
            ready[1].replace("https://", "").starts_with(&status),
            "{ready:?}"
        );
        let client = Client::echo(process.address);
        for _ in 0..2 {
            process.signal("HUP");
            let reloading = manager.next();
            assert_eq!(reloading[0], "RELOADING=1");
            let at = reloading[1].strip_prefix("MONOTONIC_USEC=").unwrap();
            assert!(at.parse::<u64>().unwrap() > 0);
            assert_eq!(manager.next(), ["READY=1"]);
        }
        process.signal("TERM");
        let stopping = ["STOPPING=1", "STATUS=closing 1 connections"];
        assert_eq!(manager.next(), stopping);
        drop(client);
        let (status, log) = process.finish(PATIENCE);
        assert!(status.success(), "{log}");
    }
}

#[test]
fn it_is_told_that_all_shards_work_several_times_within_its_limit() {
    let manager = Manager::abstract_name("watchdog");
    let limit = Duration::from_secs(2);
    let limit_us = limit.as_micros().to_string();
    let process = manager.start(&[("WATCHDOG_USEC", &limit_us)]);
    assert_eq!(manager.next()[0], "READY=1");
    let began = Instant::now();
    for _ in 0..3 {
        assert_eq!(manager.next(), ["WATCHDOG=1"]);
    }
    assert!(began.elapsed() > limit / 4, "they are no burst");
    // It goes on while clients are closed.
    let _stubborn = Client::echo(process.address);
    process.signal("TERM");
    let mut pings = 0;
    let mut is_stopping = false;
    while pings < 2 {
        match &*manager.next()[0] {
            "STOPPING=1" => is_stopping = true,
            "WATCHDOG=1" => pings += usize::from(is_stopping),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn a_process_that_is_not_meant_is_not_watched() {
    let manager = Manager::abstract_name("other");
    let process = manager.start(&[("WATCHDOG_USEC", "200000"), ("WATCHDOG_PID", "1")]);
    assert_eq!(manager.next()[0], "READY=1");
    std::thread::sleep(Duration::from_millis(500));
    process.signal("TERM");
    assert_eq!(manager.next()[0], "STOPPING=1");
}
