//! Why connections ended and requests were refused: a bounded number of log lines, and the last ends for those who ask.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use crate::collections::{HashMap, Locked};
use crate::http::Source;

/// A connection that has ended, or a request that was refused. It contains nothing of a token but the verified user.
#[derive(Clone, Debug)]
pub struct End {
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The connection's id; `None` for a request that did not become one.
    pub connection: Option<Box<str>>,
    /// Where the client connected from.
    pub source: Source,
    /// The protocol, and the endpoint within it.
    pub endpoint: (&'static str, &'static str),
    /// The user.
    pub user: Option<Box<str>>,
    /// A token proves the user; if not, it is who the client says it is.
    pub is_verified: bool,
    /// How long the connection was open, in milliseconds.
    pub open_ms: u64,
    /// The close code (RFC 6455 section 7.4) or the status that the client was sent; 0: none.
    pub code: u16,
    /// The label of the reason, as in `/metrics`.
    pub cause: &'static str,
    /// What else is known of the reason; may be empty.
    pub detail: Cow<'static, str>,
    /// Bytes that the client had not been sent yet.
    pub unsent_bytes: u64,
    /// Bytes received from the client.
    pub received_bytes: u64,
    /// Bytes sent to the client.
    pub sent_bytes: u64,
}

/// What is kept of ends, and how often they are logged.
#[derive(Debug)]
pub struct Ends {
    lines_per_second: u32,
    kept: Locked<Kept>,
}

#[derive(Default, Debug)]
struct Kept {
    /// Connections that ended, the last one at the back.
    ended: VecDeque<End>,
    /// Refused requests, likewise: those that were logged, so that a flood of them does not push out the others.
    refused: VecDeque<End>,
    /// By cause. The number of causes bounds it.
    lines: HashMap<&'static str, Lines>,
}

/// The log lines of one cause in the current second.
#[derive(Debug)]
struct Lines {
    began: Instant,
    written: u32,
    left_out: u64,
}

/// Ends that are kept, and refusals, each.
pub const ENDS_KEPT: usize = 10_000;

/// The period that lines are counted in.
const PERIOD: Duration = Duration::from_secs(1);

impl Ends {
    /// Writes at most `lines_per_second` log lines for each cause.
    #[must_use]
    pub fn new(lines_per_second: u32) -> Self {
        Self {
            lines_per_second,
            kept: Locked::default(),
        }
    }

    /// Notes that a connection has ended, and logs it unless its client has ended it itself.
    ///
    /// Cost: a lock, a lookup, and the log line.
    pub fn note_ended(&self, end: End, by_client: bool) {
        let line = match by_client {
            true => None,
            false => self.take_line(end.cause),
        };
        log(&end, "connection ended", line, by_client);
        let mut kept = self.kept.lock();
        push(&mut kept.ended, end);
    }

    /// Notes that a request was refused, and logs it.
    ///
    /// Cost: a lock and a lookup; beyond the lines of its cause nothing else.
    pub fn note_refused(&self, cause: &'static str, end: impl FnOnce() -> End) {
        let Some(left_out) = self.take_line(cause) else {
            return;
        };
        let end = end();
        log(&end, "refused", Some(left_out), false);
        let mut kept = self.kept.lock();
        push(&mut kept.refused, end);
    }

    /// Takes a line of `cause`: returns how many were left out before it. `None`: no more in this second.
    fn take_line(&self, cause: &'static str) -> Option<u64> {
        let now = Instant::now();
        let mut kept = self.kept.lock();
        let lines = kept.lines.entry(cause).or_insert(Lines {
            began: now,
            written: 0,
            left_out: 0,
        });
        if now.saturating_duration_since(lines.began) >= PERIOD {
            (lines.began, lines.written) = (now, 0);
        }
        if lines.written >= self.lines_per_second {
            lines.left_out += 1;
            return None;
        }
        lines.written += 1;
        Some(std::mem::take(&mut lines.left_out))
    }

    /// Logs how many lines were left out in seconds that are over. Called by the control thread.
    pub fn log_left_out(&self) {
        log_left_out(&self.take_left_out(Instant::now()));
    }

    /// Logs how many lines were left out up to now. For the end of the process, which does not wait for the second to
    /// be over.
    pub fn log_all_left_out(&self) {
        log_left_out(&self.take_left_out(Instant::now() + PERIOD));
    }

    fn take_left_out(&self, now: Instant) -> Vec<(&'static str, u64)> {
        let mut kept = self.kept.lock();
        let is_over = |lines: &Lines| now.saturating_duration_since(lines.began) >= PERIOD;
        let over = kept.lines.iter_mut().filter(|(_, lines)| is_over(lines));
        let mut left_out: Vec<_> = over
            .map(|(cause, lines)| (*cause, std::mem::take(&mut lines.left_out)))
            .filter(|(_, left_out)| *left_out > 0)
            .collect();
        left_out.sort_unstable();
        left_out
    }

    /// The last ends and refusals that `is_wanted`, the newest first, `limit` of them at most.
    ///
    /// Cost: a lock, and a look at up to 2 × [`ENDS_KEPT`].
    #[must_use]
    pub fn last(&self, limit: usize, is_wanted: impl Fn(&End) -> bool) -> Vec<End> {
        let kept = self.kept.lock();
        let newest = |ends: &VecDeque<End>| -> Vec<End> {
            let wanted = ends.iter().rev().filter(|end| is_wanted(end));
            wanted.take(limit).cloned().collect()
        };
        let mut ends = newest(&kept.ended);
        ends.extend(newest(&kept.refused));
        drop(kept);
        ends.sort_by_key(|end| std::cmp::Reverse(end.at_ms));
        ends.truncate(limit);
        ends
    }
}

fn push(ends: &mut VecDeque<End>, end: End) {
    if ends.len() >= ENDS_KEPT {
        ends.pop_front();
    }
    ends.push_back(end);
}

/// Logs an end. `line`: the lines that were left out before; `None`: only for those who debug.
fn log_left_out(left_out: &[(&'static str, u64)]) {
    for (cause, left_out) in left_out {
        tracing::info!(cause, left_out, "more connections ended or were refused");
    }
}

fn log(end: &End, what: &str, line: Option<u64>, by_client: bool) {
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                cause = end.cause,
                detail = text(&end.detail),
                code = number(u64::from(end.code)),
                address = %end.source.address,
                forwarded = end.source.is_forwarded.then_some(true),
                user = end.user.as_deref().filter(|_| end.is_verified),
                claimed_user = end.user.as_deref().filter(|_| !end.is_verified),
                protocol = text(end.endpoint.0),
                endpoint = text(end.endpoint.1),
                connection = end.connection.as_deref(),
                seconds = end.connection.as_ref().map(|_| Seconds(end.open_ms)).map(tracing::field::display),
                unsent_bytes = number(end.unsent_bytes),
                left_out = line.and_then(number),
                "{what}"
            )
        };
    }
    match line {
        Some(_) => line!(info),
        None if by_client => line!(debug),
        None => line!(trace),
    }
}

fn text(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn number(number: u64) -> Option<u64> {
    (number > 0).then_some(number)
}

/// Milliseconds, written as seconds.
struct Seconds(u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(cause: &'static str, user: &str, at_ms: u64) -> End {
        End {
            at_ms,
            connection: None,
            source: Source {
                address: [127, 0, 0, 1].into(),
                is_forwarded: false,
            },
            endpoint: ("events", "prod"),
            user: Some(user.into()),
            is_verified: true,
            open_ms: 0,
            code: 1008,
            cause,
            detail: Cow::Borrowed(""),
            unsent_bytes: 0,
            received_bytes: 0,
            sent_bytes: 0,
        }
    }

    #[test]
    fn lines_are_bounded_by_cause_and_those_left_out_are_counted() {
        let ends = Ends::new(3);
        for _ in 0..10_000 {
            ends.note_refused("a", || end("a", "ann", 1));
        }
        ends.note_refused("b", || end("b", "bob", 2));
        assert_eq!(ends.take_left_out(Instant::now()), []);
        let later = Instant::now() + PERIOD;
        assert_eq!(ends.take_left_out(later), [("a", 9_997)]);
        assert_eq!(ends.take_left_out(later), []);
        assert_eq!(ends.last(100, |_| true).len(), 4);
    }

    #[test]
    fn the_last_ends_are_kept_and_refusals_do_not_push_them_out() {
        let ends = Ends::new(1_000_000);
        ends.note_ended(end("slow", "ann", 1), false);
        for at_ms in 2..2 + 2 * ENDS_KEPT as u64 {
            ends.note_refused("a", || end("a", "bob", at_ms));
        }
        let of = |user: &str| {
            let last = ends.last(2, |end| end.user.as_deref() == Some(user));
            last.iter().map(|end| end.at_ms).collect::<Vec<_>>()
        };
        assert_eq!(of("ann"), [1]);
        assert_eq!(of("bob"), [20_001, 20_000]);
        assert_eq!(ends.kept.lock().refused.len(), ENDS_KEPT);
        for at_ms in 0..ENDS_KEPT as u64 {
            ends.note_ended(end("gone", "eve", at_ms), true);
        }
        assert!(of("ann").is_empty());
    }
}
