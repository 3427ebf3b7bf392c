//! The program, as a user or a script starts it.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long a test waits for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The program with no environment but UTC.
pub(crate) fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fanfare-chat"));
    command.args(arguments).env_clear().env("TZ", "UTC");
    command
}

/// A running client; it is killed when it is dropped.
pub(crate) struct Client {
    child: Child,
    input: Option<ChildStdin>,
    /// Lines of standard output, and those of standard error behind "err: ".
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Client {
    /// As `user` of the server at `url`, whose keys are in `folder`.
    pub(crate) fn start(url: &str, user: &str, folder: &Path, arguments: &[&str]) -> Self {
        let key = folder.join(format!("{user}.key"));
        let mut command = program(&["--server", url, "--user", user, "--key-file"]);
        command.arg(key).args(arguments);
        Self::of(&mut command)
    }

    pub(crate) fn of(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let errors = BufReader::new(child.stderr.take().unwrap());
        let output = BufReader::new(child.stdout.take().unwrap());
        let of_errors = sender.clone();
        thread::spawn(move || {
            for line in errors.lines().map_while(Result::ok) {
                let _ = of_errors.send(format!("err: {line}"));
            }
        });
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Self {
            input: child.stdin.take(),
            child,
            lines,
            seen: Vec::new(),
        }
    }

    /// As [`Self::start`], and waits until it is connected.
    pub(crate) fn connected(url: &str, user: &str, folder: &Path, arguments: &[&str]) -> Self {
        let mut client = Self::start(url, user, folder, arguments);
        client.line("connected");
        client
    }

    pub(crate) fn say(&mut self, line: &str) {
        let input = self.input.as_mut().unwrap();
        writeln!(input, "{line}").unwrap();
        input.flush().unwrap();
    }

    pub(crate) fn end_input(&mut self) {
        self.input = None;
    }

    /// The next line that contains `part`; others are passed over.
    #[track_caller]
    pub(crate) fn line(&mut self, part: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(deadline - Instant::now()) {
                Ok(line) if line.contains(part) => return line,
                Ok(line) => self.seen.push(line),
                Err(RecvTimeoutError::Timeout) => panic!("no {part:?} in {:#?}", self.seen),
                Err(RecvTimeoutError::Disconnected) => panic!("ended: {part:?}, {:#?}", self.seen),
            }
        }
    }

    /// The next object of an event.
    #[track_caller]
    pub(crate) fn event(&mut self, event: &str) -> Value {
        let line = self.line(&format!("\"event\":\"{event}\""));
        serde_json::from_str(&line).unwrap()
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &pid])
            .status();
        assert!(sent.unwrap().success());
    }

    /// Waits for the end: the exit code, and all that was printed and not asked for.
    #[track_caller]
    pub(crate) fn end(mut self) -> (Option<i32>, Vec<String>) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                // Until both pipes have ended.
                while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
                    self.seen.push(line);
                }
                return (status.code(), std::mem::take(&mut self.seen));
            }
            assert!(
                Instant::now() < deadline,
                "it does not end: {:#?}",
                self.seen
            );
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
