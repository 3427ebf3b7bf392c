//! One subscriber: connects, is cut, comes back, and goes on where it was.

use std::rc::Rc;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::books::Books;
use super::client::{Client, Trouble};
use super::ledger::Verdict;
use super::shared::{Phase, Shared};
use crate::payload::Random;

/// Room for one read.
const READ_BYTES: usize = 64 * 1024;

/// Between two attempts when the server does not take a connection.
const RETRY: Duration = Duration::from_millis(50);

/// How long a subscriber that has everything listens on, for what comes twice.
const LINGER: Duration = Duration::from_millis(200);

/// How a connection ended that did what it should.
enum Left {
    /// It was cut here.
    Cut,
    /// Everything has come over it.
    Finished,
}

pub(super) struct Subscriber {
    shared: Rc<Shared>,
    phase: watch::Receiver<Phase>,
    client: Box<dyn Client>,
    books: Books,
    random: Random,
    kept: Vec<u8>,
    /// Whether it has ever been subscribed.
    has_arrived: bool,
    /// Whether it has connected since publishing ended.
    has_returned: bool,
    replayed: u64,
}

impl Subscriber {
    pub(super) fn new(shared: &Rc<Shared>, client: Box<dyn Client>, seed: u64) -> Self {
        Self {
            shared: shared.clone(),
            phase: shared.phase.subscribe(),
            client,
            books: Books::new(&shared.topics),
            random: Random::new(seed),
            kept: Vec::new(),
            has_arrived: false,
            has_returned: false,
            replayed: 0,
        }
    }

    /// Lives until everything has come, or until nothing more can.
    pub(super) async fn live(mut self) -> Verdict {
        let mut useless_since = None;
        loop {
            match self.visit().await {
                Ok(Left::Finished) => break,
                Ok(Left::Cut) => {
                    useless_since = None;
                    if !self.has_returned {
                        sleep(self.shared.away.mul_f64(self.share())).await;
                    }
                }
                Err(Trouble::Broken(why)) => {
                    self.shared.fail(why);
                    break;
                }
                Err(Trouble::Ended(why)) => {
                    let since = *useless_since.get_or_insert_with(Instant::now);
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
        let (verdict, violation) = self.books.finish(&self.shared.topics, sent);
        if let Some(why) = violation {
            self.shared.fail(why);
        }
        verdict
    }

    /// One connection, from the first byte to the cut.
    async fn visit(&mut self) -> Result<Left, Trouble> {
        let shared = self.shared.clone();
        let url = &shared.target.url;
        let began_ns = shared.now_ns();
        let mut stream = TcpStream::connect(shared.target.address)
            .await
            .map_err(|error| Trouble::Ended(format!("{url}: server not reachable: {error}")))?;
        let lost = |error: std::io::Error| Trouble::Ended(format!("lost: {error}"));
        stream.set_nodelay(true).map_err(lost)?;
        self.kept.clear();
        self.books.begin_again();
        let mut out = self.client.begin();
        let cut_at = Instant::now() + shared.cut_every.mul_f64(2.0 * self.share());
        let mut sent = None;
        if let Phase::Last(count) = *self.phase.borrow_and_update() {
            self.has_returned = true;
            sent = Some(count);
        }
        let mut was_subscribed = false;
        let mut complete_since = None;
        loop {
            if !out.is_empty() {
                stream.write_all(&out).await.map_err(lost)?;
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
                    // Publishing has ended: one last time.
                    self.cut(&stream);
                    return Ok(Left::Cut);
                }
                () = sleep_until(wait_until), if complete_since.is_some() => {
                    return Ok(Left::Finished);
                }
                () = sleep_until(cut_at), if sent.is_none() && may_be_cut => {
                    self.cut(&stream);
                    return Ok(Left::Cut);
                }
                read = stream.read_buf(&mut self.kept) => match read {
                    Ok(0) => return Err(Trouble::Ended("lost: end of stream".into())),
                    Ok(read) => self.read(read, &mut out)?,
                    Err(error) => return Err(lost(error)),
                },
            }
            if self.client.is_subscribed() && !was_subscribed {
                was_subscribed = true;
                shared.note_subscribed(!self.has_arrived, shared.now_ns() - began_ns);
                self.has_arrived = true;
            }
            if complete_since.is_none()
                && sent.is_some_and(|sent| self.books.has_all(&shared.topics, sent))
            {
                complete_since = Some(Instant::now());
            }
        }
    }

    /// Deals with the bytes that came.
    fn read(&mut self, read: usize, out: &mut Vec<u8>) -> Result<(), Trouble> {
        let Self {
            shared,
            client,
            books,
            kept,
            ..
        } = self;
        let before = (books.received(), books.faults());
        let taken = client.take(kept, out, &shared.layout, books);
        shared.note_read(
            read,
            books.received() - before.0,
            books.faults().saturating_sub(before.1),
        );
        shared
            .replayed
            .set(shared.replayed.get() + client.replayed() - self.replayed);
        self.replayed = client.replayed();
        kept.drain(..taken?);
        Ok(())
    }

    /// Prepares for the socket to be closed without a word: with a reset, or with
    /// the end of the stream.
    fn cut(&mut self, stream: &TcpStream) {
        let reset = self.random.next().is_multiple_of(2);
        let socket = SockRef::from(stream);
        let prepared = if reset {
            socket.set_linger(Some(Duration::ZERO))
        } else {
            socket.shutdown(std::net::Shutdown::Write)
        };
        // A socket that is gone already needs no cut.
        let _ = prepared;
        self.shared.note_cut(reset);
    }

    /// A random share of one.
    fn share(&mut self) -> f64 {
        (self.random.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}
