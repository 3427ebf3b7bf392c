//! The log on standard error: one line per event, whatever text it carries.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::borrow::Cow;
use std::io::{self, Write};
use std::{panic, thread};

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tracing::Level;
use tracing_subscriber::fmt::MakeWriter;

use super::escape::{escaped, escaped_json};
use super::log_queue::LogQueue;
use crate::config::{Log, LogFormat, LogLevel};

/// The log of the process. Dropped, it waits a moment for lines that are not written yet.
#[derive(Debug)]
pub(super) struct Logging(LogQueue);

/// Starts the log of the process; called once, before anything is logged.
///
/// # Errors
/// The thread that writes it could not be made.
pub(super) fn init(log: &Log) -> io::Result<Logging> {
    outlive_full_files()?;
    let queue = LogQueue::start(io::stderr())?;
    let lines = queue.clone();
    let builder = tracing_subscriber::fmt()
        .with_max_level(level(log.level))
        .with_ansi(false)
        .with_target(false)
        .log_internal_errors(false)
        .with_writer(OneLine {
            make: move || LineWriter(lines.clone()),
            escape: match log.format {
                LogFormat::Text => escaped,
                LogFormat::Json => escaped_json,
            },
        });
    let started = match log.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.expect("the log is started once");
    panic::set_hook(Box::new(log_panic));
    Ok(Logging(queue))
}

impl Drop for Logging {
    fn drop(&mut self) {
        self.0.flush();
    }
}

/// Makes a file that may not grow any more (`ulimit -f`) an error of `write`, instead of the end of the process.
fn outlive_full_files() -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_io().build()?;
    let _guard = runtime.enter();
    // The handler stays when this is gone.
    drop(signal(SignalKind::from_raw(SIGXFSZ))?);
    Ok(())
}

/// Logs a panic instead of writing it to standard error, which may block.
fn log_panic(panic: &panic::PanicHookInfo<'_>) {
    let thread = thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        tracing::error!(thread, %backtrace, "{panic}");
    } else {
        tracing::error!(thread, "{panic}");
    }
}

/// Gives whole lines to the thread that writes them.
struct LineWriter(LogQueue);

impl Write for LineWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn level(level: LogLevel) -> Level {
    match level {
        LogLevel::Error => Level::ERROR,
        LogLevel::Warn => Level::WARN,
        LogLevel::Info => Level::INFO,
        LogLevel::Debug => Level::DEBUG,
        LogLevel::Trace => Level::TRACE,
    }
}

/// Makes writers that keep each event on its line.
#[derive(Debug)]
struct OneLine<M> {
    make: M,
    escape: Escape,
}

/// Spells control characters out.
type Escape = fn(&str) -> Cow<'_, str>;

/// Writes events with their control characters spelled out.
#[derive(Debug)]
struct OneLineWriter<W> {
    to: W,
    escape: Escape,
}

impl<'a, W: Write + 'a, M: Fn() -> W> MakeWriter<'a> for OneLine<M> {
    type Writer = OneLineWriter<W>;

    fn make_writer(&'a self) -> Self::Writer {
        OneLineWriter {
            to: (self.make)(),
            escape: self.escape,
        }
    }
}

impl<W: Write> Write for OneLineWriter<W> {
    /// Takes one whole event, which the subscriber writes in a single call with its newline.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let line = event.strip_suffix(b"\n").unwrap_or(event);
        let text = String::from_utf8_lossy(line);
        let mut line = (self.escape)(&text).into_owned();
        line.push('\n');
        self.to.write_all(line.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// "File size limit exceeded".
const SIGXFSZ: i32 = 25;

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    thread_local! {
        static WRITTEN: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }

    /// Collects what the thread of the test logs.
    struct Sink;

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            WRITTEN.with_borrow_mut(|written| written.extend_from_slice(bytes));
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const FOREIGN: &str = "a\nINFO forged\r\x1b[2J\u{9b}31m";

    fn log_foreign_text() -> String {
        tracing::info!(user = FOREIGN, debug = ?FOREIGN, display = %FOREIGN, "hello {FOREIGN}");
        String::from_utf8(WRITTEN.take()).unwrap()
    }

    #[track_caller]
    fn check(text: &str) {
        let line = text.strip_suffix('\n').expect("a whole line");
        assert!(line.contains("hello"), "{line:?}");
        assert!(!line.chars().any(char::is_control), "{line:?}");
    }

    #[test]
    fn foreign_text_stays_on_its_line() {
        let builder = |escape: Escape| {
            tracing_subscriber::fmt()
                .with_ansi(false)
                .with_writer(OneLine {
                    make: || Sink,
                    escape,
                })
        };
        check(&tracing::subscriber::with_default(
            builder(escaped).finish(),
            log_foreign_text,
        ));
        let json = tracing::subscriber::with_default(
            builder(escaped_json).json().finish(),
            log_foreign_text,
        );
        check(&json);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["fields"]["user"], FOREIGN);
    }
}
