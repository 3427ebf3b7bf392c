//! One subscriber: connects, cuts its connection, and resumes.

use std::rc::Rc;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::client::{ConnectionError, ResumingClient};
use super::shared::{ResumeShared, SubscriberPhase};
use super::subscriber_verifier::SubscriberVerifier;
use super::topic_verifier::ResumeReport;
use crate::net::Stream;
use crate::payload::Random;

/// Room for one read.
const READ_BYTES: usize = 64 * 1024;

/// Between two attempts when the server refuses or ends a connection.
const RETRY: Duration = Duration::from_millis(50);

/// How long a complete subscriber still reads, to catch duplicates.
const LINGER: Duration = Duration::from_millis(200);

/// How a connection ended without an error.
enum ConnectionOutcome {
    /// The subscriber cut it.
    Cut,
    /// The subscriber has every message.
    Complete,
}

pub(super) struct Subscriber {
    shared: Rc<ResumeShared>,
    phase: watch::Receiver<SubscriberPhase>,
    client: Box<dyn ResumingClient>,
    verifier: SubscriberVerifier,
    random: Random,
    /// Bytes read and not consumed yet.
    kept: Vec<u8>,
    /// Whether a subscription was ever confirmed.
    was_subscribed_once: bool,
    /// Whether it connected after publishing ended.
    is_draining: bool,
    replayed: u64,
}

impl Subscriber {
    pub(super) fn new(
        shared: &Rc<ResumeShared>,
        client: Box<dyn ResumingClient>,
        seed: u64,
    ) -> Self {
        Self {
            shared: shared.clone(),
            phase: shared.phase.subscribe(),
            client,
            verifier: SubscriberVerifier::new(&shared.topics),
            random: Random::new(seed),
            kept: Vec::new(),
            was_subscribed_once: false,
            is_draining: false,
            replayed: 0,
        }
    }

    /// Runs until the subscriber has every message, or the run has failed.
    pub(super) async fn run(mut self) -> ResumeReport {
        let mut failing_since = None;
        loop {
            match self.run_connection().await {
                Ok(ConnectionOutcome::Complete) => break,
                Ok(ConnectionOutcome::Cut) => {
                    failing_since = None;
                    if !self.is_draining {
                        sleep(self.shared.away.mul_f64(self.random_fraction())).await;
                    }
                }
                Err(ConnectionError::Violation(why)) => {
                    self.shared.fail(why);
                    break;
                }
                Err(ConnectionError::Ended(why)) => {
                    let since = *failing_since.get_or_insert_with(Instant::now);
                    if !self.client.has_position() || since.elapsed() > self.shared.patience {
                        self.shared.fail(why);
                        break;
                    }
                    self.shared.note_end(why);
                    sleep(RETRY).await;
                }
            }
        }
        let sent = self.shared.published.get();
        let (report, violation) = self.verifier.finish(&self.shared.topics, sent);
        if let Some(why) = violation {
            self.shared.fail(why);
        }
        report
    }

    /// Runs one connection until it ends.
    async fn run_connection(&mut self) -> Result<ConnectionOutcome, ConnectionError> {
        let shared = self.shared.clone();
        let url = &shared.target.url;
        let began_ns = shared.now_ns();
        let mut stream = Stream::connect(&shared.target)
            .await
            .map_err(|end| ConnectionError::Ended(format!("{url}: {end}")))?;
        let lost = |error: std::io::Error| ConnectionError::Ended(format!("lost: {error}"));
        self.kept.clear();
        self.verifier.reconnect();
        let mut out = self.client.begin();
        let cut_at = Instant::now() + shared.cut_every.mul_f64(2.0 * self.random_fraction());
        let mut sent = None;
        if let SubscriberPhase::Draining(count) = *self.phase.borrow_and_update() {
            self.is_draining = true;
            sent = Some(count);
        }
        let mut was_subscribed = false;
        let mut complete_since = None;
        loop {
            if !out.is_empty() {
                stream.write_all(&out).await.map_err(lost)?;
                stream.flush().await.map_err(lost)?;
                out.clear();
            }
            let may_be_cut = self.client.is_subscribed() && self.client.has_position();
            let wait_until = match complete_since {
                Some(since) => since + LINGER,
                None => cut_at,
            };
            self.kept.reserve(READ_BYTES);
            tokio::select! {
                biased;
                _ = self.phase.changed(), if sent.is_none() && may_be_cut => {
                    // Publishing has ended: resume once more.
                    self.cut(&stream);
                    return Ok(ConnectionOutcome::Cut);
                }
                () = sleep_until(wait_until), if complete_since.is_some() => {
                    return Ok(ConnectionOutcome::Complete);
                }
                () = sleep_until(cut_at), if sent.is_none() && may_be_cut => {
                    self.cut(&stream);
                    return Ok(ConnectionOutcome::Cut);
                }
                read = stream.read_buf(&mut self.kept) => match read {
                    Ok(0) => return Err(ConnectionError::Ended("lost: end of stream".into())),
                    Ok(read) => self.read(read, &mut out)?,
                    Err(error) => return Err(lost(error)),
                },
            }
            if self.client.is_subscribed() && !was_subscribed {
                was_subscribed = true;
                shared.note_subscribed(!self.was_subscribed_once, shared.now_ns() - began_ns);
                self.was_subscribed_once = true;
            }
            if complete_since.is_none()
                && sent.is_some_and(|sent| self.verifier.is_complete(&shared.topics, sent))
            {
                complete_since = Some(Instant::now());
            }
        }
    }

    /// Handles `read` new bytes at the end of `kept`.
    fn read(&mut self, read: usize, out: &mut Vec<u8>) -> Result<(), ConnectionError> {
        let Self {
            shared,
            client,
            verifier,
            kept,
            ..
        } = self;
        let before = (verifier.received(), verifier.faults());
        let taken = client.take(kept, out, &shared.layout, verifier);
        shared.note_read(
            read,
            verifier.received() - before.0,
            verifier.faults().saturating_sub(before.1),
        );
        shared
            .replayed
            .set(shared.replayed.get() + client.replayed() - self.replayed);
        self.replayed = client.replayed();
        kept.drain(..taken?);
        Ok(())
    }

    /// Lets the socket close without a close frame or close_notify: by RST or by FIN, at random.
    fn cut(&mut self, stream: &Stream) {
        let reset = self.random.next().is_multiple_of(2);
        let socket = SockRef::from(stream.socket());
        let prepared = if reset {
            socket.set_linger(Some(Duration::ZERO))
        } else {
            socket.shutdown(std::net::Shutdown::Write)
        };
        // Fails where the server closed first.
        let _ = prepared;
        self.shared.note_cut(reset);
    }

    /// A random number from 0 to 1.
    fn random_fraction(&mut self) -> f64 {
        (self.random.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}
