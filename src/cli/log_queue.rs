//! Log lines on their way to standard error, written by a thread of their own.
//!
//! Standard error may be full, broken or not be read from. That costs lines, which are counted
//! (`fanfare_log_lines_lost_total`), and never the time of a thread that serves.

use std::io::{self, ErrorKind, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use crate::metrics;

/// Where lines are put for the thread that writes them.
#[derive(Debug, Clone)]
pub(super) struct LogQueue {
    entries: Sender<Entry>,
    /// Bytes of the lines that have not been written.
    waiting: Arc<AtomicUsize>,
}

/// What the thread is given.
#[derive(Debug)]
enum Entry {
    /// A line with its line break.
    Line(Vec<u8>),
    /// Say that everything before this has been written.
    Flush(Sender<()>),
}

impl LogQueue {
    /// Starts the thread, which writes to `out` as long as the process runs.
    ///
    /// # Errors
    /// There can be no more threads.
    pub(super) fn start(out: impl Write + Send + 'static) -> io::Result<Self> {
        let (entries, receiver) = mpsc::channel();
        let waiting = Arc::<AtomicUsize>::default();
        let queue = Self {
            entries,
            waiting: waiting.clone(),
        };
        let out = Output {
            out,
            is_mid_line: false,
        };
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write_lines(out, &receiver, &waiting))?;
        Ok(queue)
    }

    /// Queues `line`, which ends with a line break. It is lost where [`WAITING_BYTES_MAX`] are waiting.
    pub(super) fn push(&self, line: Vec<u8>) {
        let len = line.len();
        let waiting = self.waiting.fetch_add(len, Ordering::Relaxed);
        if waiting + len > WAITING_BYTES_MAX || self.entries.send(Entry::Line(line)).is_err() {
            self.waiting.fetch_sub(len, Ordering::Relaxed);
            metrics::lose_log_line();
        }
    }

    /// Waits until all lines have been written, [`FLUSH_TIME_MAX`] at most.
    pub(super) fn flush(&self) {
        let (done, is_done) = mpsc::channel();
        let _ = self.entries.send(Entry::Flush(done));
        let _ = is_done.recv_timeout(FLUSH_TIME_MAX);
    }
}

fn write_lines(mut out: Output<impl Write>, entries: &Receiver<Entry>, waiting: &AtomicUsize) {
    let mut told = metrics::log_lines_lost();
    for entry in entries {
        match entry {
            Entry::Line(line) => {
                let written = out.write_line(&line);
                let before = waiting.fetch_sub(line.len(), Ordering::Relaxed);
                if written.is_err() {
                    metrics::lose_log_line();
                } else if before == line.len() {
                    // There is room for one more.
                    let lost = metrics::log_lines_lost();
                    if lost > told {
                        tracing::warn!(lines = lost - told, "log lines were lost");
                        told = lost;
                    }
                }
            }
            Entry::Flush(done) => {
                let _ = done.send(());
            }
        }
    }
}

/// What lines are written to.
struct Output<W> {
    out: W,
    /// Whether only a part of the last line was taken.
    is_mid_line: bool,
}

impl<W: Write> Output<W> {
    /// Writes all of `line`, and waits where `out` does not take it now.
    fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        if self.is_mid_line {
            self.write_all(b"\n")?;
            self.is_mid_line = false;
        }
        self.write_all(line)
    }

    fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.out.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(taken) => {
                    bytes = &bytes[taken..];
                    self.is_mid_line = !bytes.is_empty();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Another process has made it non-blocking.
                Err(error) if error.kind() == ErrorKind::WouldBlock => pause(),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the log's thread serves no connections"
)]
fn pause() {
    thread::sleep(Duration::from_millis(10));
}

/// Bytes of lines that wait to be written.
const WAITING_BYTES_MAX: usize = 1024 * 1024;

/// At the end of the process, the time for what has not been written.
const FLUSH_TIME_MAX: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::sync::mpsc::SyncSender;

    use super::*;

    /// Takes at most so many bytes at a time, and fails in between as it is told.
    struct Fickle {
        outcomes: Vec<Result<usize, ErrorKind>>,
        taken: Sender<Vec<u8>>,
    }

    impl Write for Fickle {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = self
                .outcomes
                .pop()
                .unwrap_or(Ok(usize::MAX))?
                .min(bytes.len());
            self.taken.send(bytes[..taken].to_vec()).unwrap();
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[track_caller]
    fn check(outcomes: &[Result<usize, ErrorKind>], expected: &str) {
        let (taken, written) = mpsc::channel();
        let outcomes = outcomes.iter().rev().copied().collect();
        let queue = LogQueue::start(Fickle { outcomes, taken }).unwrap();
        for line in ["one\n", "two\n", "three\n"] {
            queue.push(line.into());
        }
        queue.flush();
        let written: Vec<u8> = written.try_iter().flatten().collect();
        assert_eq!(String::from_utf8(written).unwrap(), expected);
    }

    #[test]
    fn l01_a_line_that_cannot_be_written_is_lost_and_counted() {
        let before = metrics::log_lines_lost();
        check(&[Err(ErrorKind::BrokenPipe)], "two\nthree\n");
        check(&[Ok(4), Err(ErrorKind::StorageFull)], "one\nthree\n");
        // What follows half a line is on a line of its own.
        check(&[Ok(2), Err(ErrorKind::StorageFull)], "on\ntwo\nthree\n");
        assert!(metrics::log_lines_lost() >= before + 3);
    }

    #[test]
    fn l01_a_line_is_written_in_pieces_and_when_there_is_room_again() {
        let again = [
            Ok(1),
            Err(ErrorKind::WouldBlock),
            Ok(1),
            Err(ErrorKind::Interrupted),
        ];
        check(&again, "one\ntwo\nthree\n");
    }

    /// Blocks for ever.
    struct Stuck(SyncSender<()>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.send(());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn l01_a_log_that_nobody_reads_delays_nobody_and_stays_bounded() {
        let (taken, _never_read) = mpsc::sync_channel(0);
        let queue = LogQueue::start(Stuck(taken)).unwrap();
        let before = metrics::log_lines_lost();
        for _ in 0..2_000 {
            queue.push(vec![b'x'; 1024]);
        }
        assert!(metrics::log_lines_lost() >= before + 900);
        assert!(queue.waiting.load(Ordering::Relaxed) <= WAITING_BYTES_MAX);
        queue.flush();
    }
}
