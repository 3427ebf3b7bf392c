//! One connection, from its beginning to its end.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::json;
use tokio::time::{Instant as Deadline, MissedTickBehavior, interval, sleep_until, timeout_at};

use super::in_flight::InFlight;
use super::{Chat, Leave, Lines, OUTBOX_MAX, Outgoing};
use crate::failure::Failure;
use crate::link::{Link, PING_EVERY, Received};
use crate::output::shown;
use crate::signals::Signals;

/// How long an end waits for the server's close frame.
const CLOSED_WITHIN: Duration = Duration::from_secs(3);
const POLICY_VIOLATION: u16 = 1008;

/// How a connection ends.
#[derive(Debug)]
pub(super) enum End {
    /// As it was asked for.
    Left(Leave),
    /// The user has another connection.
    Replaced,
    Lost(String),
}

impl Chat<'_> {
    /// Sends and shows until the connection, or the user, ends it.
    pub(super) async fn talk(
        &mut self,
        link: &mut Link,
        signals: &mut Signals,
        lines: &mut Lines,
    ) -> Result<End, Failure> {
        if self.options.auto_announce && !self.is_announced {
            self.is_announced = true;
            let text = format!("{} is now online", self.name());
            self.outbox.push_front(Outgoing::Broadcast(text));
        }
        let mut pings = ticks(PING_EVERY);
        let mut autos = ticks(self.options.auto_interval);
        // The first tick is at once.
        pings.tick().await;
        autos.tick().await;
        loop {
            if self.is_leaving() && self.in_flight.is_none() {
                return Ok(End::Left(Leave::Quit));
            }
            let takes_input = self.takes_input();
            let next_at = self.next_at();
            let next = async {
                match next_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = signals.received() => return Ok(End::Left(Leave::Signal)),
                received = link.next() => match received {
                    Received::Message(text) => self.receive(&text).await?,
                    Received::Closed { code, reason } => {
                        link.answer_close().await;
                        return Ok(self.closed(code, &reason));
                    }
                    Received::Lost(why) => return Ok(lost(&why)),
                },
                line = lines.recv(), if takes_input => self.take(line).await?,
                () = next => if let Some(end) = self.go_on(link).await? {
                    return Ok(end);
                },
                _ = pings.tick() => {
                    if let Err(why) = link.ping().await {
                        return Ok(lost(&why));
                    }
                }
                _ = autos.tick(), if self.options.auto_mode => self.say_automatically(),
            }
        }
    }

    /// Ends a connection in good order, and shows what still comes.
    pub(super) async fn close(&mut self, link: &mut Link) -> Result<(), Failure> {
        let until = Deadline::now() + CLOSED_WITHIN;
        if link.close().await.is_err() {
            return Ok(());
        }
        while let Ok(Received::Message(text)) = timeout_at(until, link.next()).await {
            self.receive(&text).await?;
        }
        Ok(())
    }

    fn closed(&mut self, code: u16, reason: &str) -> End {
        if code == POLICY_VIOLATION && reason.contains("Replaced") {
            return End::Replaced;
        }
        // Of a server that stops, or is restarted, a token stays good.
        if !matches!(code, 1000 | 1001 | 1012) {
            self.token = None;
        }
        lost(&format!(
            "the server has closed it with {code} {}",
            shown(reason)
        ))
    }

    /// Whether all is sent and the user wants the end.
    fn is_leaving(&self) -> bool {
        self.outbox.front() == Some(&Outgoing::Quit)
    }

    /// When waiting for an answer ends, or the next message may be sent.
    fn next_at(&mut self) -> Option<Deadline> {
        if let Some(message) = &self.in_flight {
            return Some(message.until(self.is_leaving()));
        }
        if self.outbox.is_empty() {
            return None;
        }
        Some(Deadline::now() + self.pacer.wait(Instant::now()))
    }

    /// Does what is due by [`Self::next_at`].
    async fn go_on(&mut self, link: &mut Link) -> Result<Option<End>, Failure> {
        let Some(message) = &self.in_flight else {
            let Some(outgoing) = self.outbox.pop_front() else {
                return Ok(None);
            };
            let sent = self.send(link, outgoing).await?;
            return Ok(sent.err().map(|why| lost(&why)));
        };
        if message.is_command() {
            // Its answer may take longer.
            self.in_flight = None;
            return Ok(None);
        }
        self.tell_unconfirmed()?;
        if self.is_leaving() {
            return Ok(Some(End::Left(Leave::Quit)));
        }
        if self.has_acknowledged {
            // Which message a late answer would be of is not known: a new connection has none.
            return Ok(Some(lost("the server confirms nothing")));
        }
        self.awaits_answers = false;
        Ok(None)
    }

    /// Sends one message, or says why it cannot be. The inner error is the connection's; the message is
    /// kept for the next one.
    async fn send(
        &mut self,
        link: &mut Link,
        outgoing: Outgoing,
    ) -> Result<Result<(), String>, Failure> {
        let Some((text, is_encrypted)) = self.compose(&outgoing).await? else {
            return Ok(Ok(()));
        };
        self.debug("sent", &text);
        if let Err(why) = link.send(text).await {
            self.outbox.push_front(outgoing);
            return Ok(Err(why));
        }
        self.pacer.sent();
        if self.awaits_answers {
            self.in_flight = Some(InFlight::new(outgoing, is_encrypted, self.commands));
        }
        Ok(Ok(()))
    }

    fn say_automatically(&mut self) {
        let is_last = self.outbox.back() == Some(&Outgoing::Quit);
        if self.outbox.len() < OUTBOX_MAX && !is_last {
            let now = Timestamp::now().to_zoned_datetime(TimeZone::system());
            let text = format!(
                "Auto message from {} at {}",
                self.name(),
                now.strftime("%H:%M:%S")
            );
            self.outbox.push_back(Outgoing::Broadcast(text));
        }
    }

    fn name(&self) -> &str {
        self.options.username.as_deref().unwrap_or(&self.user)
    }

    /// Shows a frame where that is asked for.
    pub(super) fn debug(&self, what: &str, text: &str) {
        if self.options.debug {
            eprintln!("debug: {what} {}", json!(text));
        }
    }
}

fn lost(why: &str) -> End {
    End::Lost(format!("the connection is lost: {why}"))
}

fn ticks(every: Duration) -> tokio::time::Interval {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
