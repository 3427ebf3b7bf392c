//! One connection, from its beginning to its end.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::json;
use tokio::time::{Instant as Deadline, MissedTickBehavior, interval, sleep, timeout_at};

use super::{Chat, Lines, OUTBOX_MAX, Outgoing, UNCONFIRMED_MAX};
use crate::failure::Failure;
use crate::frame::BROADCAST;
use crate::link::{Link, PING_EVERY, Received};
use crate::signals::Signals;

/// How long an end waits for the server to confirm the last messages.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(1);
/// How long it waits for the server's close frame.
const CLOSED_WITHIN: Duration = Duration::from_secs(3);
const POLICY_VIOLATION: u16 = 1008;

/// How a connection ends.
#[derive(Debug)]
pub(super) enum End {
    /// As the user, or a signal, wants it.
    Quit,
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
        let mut leaves_at = None;
        loop {
            if leaves_at.is_some() && self.unconfirmed.is_empty() {
                return Ok(End::Quit);
            }
            let is_leaving = leaves_at.is_some();
            let has_next = !self.outbox.is_empty() && !is_leaving;
            let takes_input = self.takes_input() && !is_leaving;
            let pause = self.pause();
            let leave = async {
                match leaves_at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = signals.received() => return Ok(End::Quit),
                () = leave => return Ok(End::Quit),
                received = link.next() => match received {
                    Received::Message(text) => self.receive(&text).await?,
                    Received::Closed { code, reason } => {
                        link.answer_close().await;
                        return Ok(self.closed(code, &reason));
                    }
                    Received::Lost(why) => return Ok(lost(&why)),
                },
                line = lines.recv(), if takes_input => self.take(line).await?,
                () = sleep(pause), if has_next => match self.outbox.pop_front() {
                    Some(Outgoing::Quit) | None => {
                        leaves_at = Some(Deadline::now() + CONFIRMED_WITHIN);
                    }
                    Some(outgoing) => {
                        if let Err(why) = self.send(link, outgoing).await? {
                            return Ok(lost(&why));
                        }
                    }
                },
                _ = pings.tick() => {
                    if let Err(why) = link.ping().await {
                        return Ok(lost(&why));
                    }
                }
                _ = autos.tick(), if self.options.auto_mode && !is_leaving => self.say_automatically(),
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
            reason.escape_debug()
        ))
    }

    /// How long the next message has to wait.
    fn pause(&mut self) -> Duration {
        match self.outbox.front() {
            Some(Outgoing::Quit) | None => Duration::ZERO,
            Some(_) => self.pacer.wait(Instant::now()),
        }
    }

    /// Sends one message, or says why it cannot be. The inner error is the connection's; the message is
    /// kept for the next one.
    async fn send(
        &mut self,
        link: &mut Link,
        outgoing: Outgoing,
    ) -> Result<Result<(), String>, Failure> {
        let Some(text) = self.compose(&outgoing).await? else {
            return Ok(Ok(()));
        };
        self.debug("sent", &text);
        if let Err(why) = link.send(text).await {
            self.outbox.push_front(outgoing);
            return Ok(Err(why));
        }
        self.pacer.sent();
        let recipient = match outgoing {
            Outgoing::Direct { to, .. } => to,
            Outgoing::Broadcast(_) => BROADCAST.to_owned(),
            Outgoing::Command { .. } | Outgoing::Quit => return Ok(Ok(())),
        };
        if self.unconfirmed.len() >= UNCONFIRMED_MAX {
            self.unconfirmed.pop_front();
        }
        self.unconfirmed.push_back(recipient);
        Ok(Ok(()))
    }

    fn say_automatically(&mut self) {
        if self.outbox.len() < OUTBOX_MAX {
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
