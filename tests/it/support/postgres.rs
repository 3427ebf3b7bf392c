//! A server of PostgreSQL of its own for a test: Debian's, in a folder that goes with it.

#![allow(
    dead_code,
    reason = "tests of the store and of the program use a part each"
)]

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take to start on a busy machine.
const START_MAX: Duration = Duration::from_secs(60);

/// A server, which is stopped when it is dropped.
pub(crate) struct PostgresServer {
    folder: PathBuf,
    server: Child,
    port: u16,
}

/// Where Debian has the programs, which are in no `PATH`.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql");
    let versions = versions.expect("PostgreSQL is installed: scripts/setup test");
    let mut found: Vec<_> = versions.map(|it| it.unwrap().path().join("bin")).collect();
    found.sort();
    found.pop().expect("a version of PostgreSQL")
}

/// A command as a user that PostgreSQL takes: not root.
fn command(program: &str) -> Command {
    let path = programs().join(program);
    if fs::metadata("/proc/self")
        .map(|it| std::os::unix::fs::MetadataExt::uid(&it))
        .unwrap_or(1)
        != 0
    {
        return Command::new(path);
    }
    let mut command = Command::new("setpriv");
    command.args([
        "--reuid=postgres",
        "--regid=postgres",
        "--clear-groups",
        "--",
    ]);
    command.arg(path);
    command
}

impl PostgresServer {
    /// Starts a server with an empty database.
    pub(crate) fn start() -> Self {
        let name = format!(
            "fanfare-postgres-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        );
        let folder = std::env::temp_dir().join(name.replace(['(', ')'], ""));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        let _ = Command::new("chown")
            .arg("postgres")
            .arg(&folder)
            .stderr(Stdio::null())
            .status();
        let data = folder.join("data");
        let made = command("initdb")
            .args([
                "--auth=trust",
                "--username=fanfare",
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
                "-D",
            ])
            .arg(&data)
            .stdout(Stdio::null())
            .current_dir("/")
            .status();
        assert!(made.expect("initdb runs").success());
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let server = Self::serve(&folder, port);
        let started = Self {
            folder,
            server,
            port,
        };
        started.wait();
        started
    }

    fn wait(&self) {
        let began = Instant::now();
        while !self.is_ready() {
            assert!(began.elapsed() < START_MAX, "PostgreSQL does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Stops the server; its databases stay.
    pub(crate) fn stop(&mut self) {
        let pid = self.server.id().to_string();
        let _ = Command::new("kill").args(["-INT", &pid]).status();
        let _ = self.server.wait();
    }

    /// Starts the server that was stopped.
    pub(crate) fn start_again(&mut self) {
        self.server = Self::serve(&self.folder, self.port);
        self.wait();
    }

    /// Makes a database, and returns its address for `store.url`.
    pub(crate) fn create(&self, name: &str) -> String {
        let made = Command::new(programs().join("createdb"))
            .args([
                "-h",
                "127.0.0.1",
                "-U",
                "fanfare",
                "-p",
                &self.port.to_string(),
                name,
            ])
            .status();
        assert!(made.expect("createdb runs").success());
        format!("postgres://fanfare@127.0.0.1:{}/{name}", self.port)
    }

    fn serve(folder: &Path, port: u16) -> Child {
        command("postgres")
            .args([
                "-c",
                "listen_addresses=127.0.0.1",
                "-c",
                "unix_socket_directories=",
                "-p",
            ])
            .arg(port.to_string())
            .arg("-D")
            .arg(folder.join("data"))
            .current_dir("/")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("postgres runs")
    }

    fn is_ready(&self) -> bool {
        let asked = Command::new(programs().join("pg_isready"))
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string()])
            .stdout(Stdio::null())
            .status();
        asked.expect("pg_isready runs").success()
    }
}

impl PostgresServer {
    /// What a query of one number answers in a database.
    pub(crate) fn count(&self, database: &str, sql: &str) -> i64 {
        let port = self.port.to_string();
        let asked = Command::new(programs().join("psql"))
            .args([
                "-h",
                "127.0.0.1",
                "-U",
                "fanfare",
                "-p",
                &port,
                "-d",
                database,
            ])
            .args(["-At", "-c", sql])
            .output();
        let asked = asked.expect("psql runs");
        let answer = String::from_utf8_lossy(&asked.stdout);
        answer
            .trim()
            .parse()
            .unwrap_or_else(|_| panic!("{asked:?}"))
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        // At once: what is not on its disk yet is of no use to anybody.
        let pid = self.server.id().to_string();
        let _ = Command::new("kill").args(["-QUIT", &pid]).status();
        let _ = self.server.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
