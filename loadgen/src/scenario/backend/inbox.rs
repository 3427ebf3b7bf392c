//! What members receive: batches are read, and every object is held against what clients did.

use hdrhistogram::Histogram;

use super::app_message::{AppHead, AppMessages};
use super::batch::{BatchReader, Body, Object, Step};
use super::clients::{ClientPhase, Clients, NORMAL};
use super::group_numbers::Numbered;
use super::ledger::{Ledger, Receipt};
use super::lifecycles::Lifecycles;
use super::members::Members;
use crate::payload;
use crate::verify::{Counts, new_histogram};

/// Close code of a client that a reset ended.
const NO_CODE: u64 = 0;

/// What came, and what should have.
#[derive(Debug)]
pub(crate) struct Inbox {
    pub(crate) messages: AppMessages,
    reader: BatchReader,
    pub(crate) ledger: Ledger,
    pub(crate) lifecycles: Lifecycles,
    /// From a message's time of sending to the read that brought it.
    pub(crate) latency: Histogram<u64>,
    /// A send time, and messages with it that are not in `latency` yet.
    run: (u128, u64),
    /// Whether what comes is of a run before this one, and how much was.
    pub(crate) discarding: bool,
    pub(crate) discarded: u64,
    /// The last frame that was not understood.
    pub(crate) last_corrupt: String,
}

impl Inbox {
    pub(crate) fn new(clients: usize, messages: AppMessages) -> Self {
        Self {
            messages,
            reader: BatchReader::new(clients),
            ledger: Ledger::new(clients),
            lifecycles: Lifecycles::new(clients),
            latency: new_histogram(),
            run: (0, 0),
            discarding: false,
            discarded: 0,
            last_corrupt: String::new(),
        }
    }

    /// Faults of deliveries so far.
    pub(crate) fn faults(&self) -> u64 {
        // What is missing may have been refused.
        let lost = 0;
        let counts = self.ledger.counts;
        Counts { lost, ..counts }.faults()
    }

    /// Objects that were parsed whole.
    pub(crate) fn parses(&self) -> u64 {
        self.reader.parses()
    }

    /// A batch has come to a member.
    pub(crate) fn batch(
        &mut self,
        members: &mut Members,
        clients: &mut Clients,
        number: usize,
        batch: &[u8],
        now_ns: u64,
    ) {
        let session = members.session(number);
        let mut rest = batch;
        while let Some(step) = self.reader.next(&self.messages, &mut rest) {
            let Step::Object(object) = step else {
                return self.count_corrupt(batch);
            };
            members.count_object(number, object.seq);
            if self.discarding {
                self.discarded += 1;
                continue;
            }
            let Object { n, again, body, .. } = object;
            let Body::Message { head, conn } = body else {
                self.event(clients, n, again, &body, batch);
                continue;
            };
            let AppHead {
                client,
                sequence,
                time,
            } = head;
            if let Some(conn) = conn {
                self.lifecycles.message(&conn, client, again);
            }
            match self.ledger.receive(session, n, again, client, sequence) {
                Receipt::First => {}
                Receipt::NotNew => continue,
            }
            members.count_message(number);
            clients.touch(client);
            if time != self.run.0 {
                self.record_run(now_ns);
                self.run.0 = time;
            }
            self.run.1 += 1;
        }
    }

    /// Records the messages with one send time.
    pub(crate) fn record_run(&mut self, now_ns: u64) {
        let count = std::mem::take(&mut self.run.1);
        if count > 0
            && let Some(sent_ns) = payload::time_ns(self.run.0)
        {
            let latency = now_ns.saturating_sub(sent_ns).max(1);
            self.latency.saturating_record_n(latency, count);
        }
    }

    /// An object that is no message.
    #[cold]
    fn event(&mut self, clients: &Clients, n: u64, again: bool, body: &Body<'_>, batch: &[u8]) {
        let (number, is_first, left) = match body {
            Body::Connect { conn } => {
                let (number, is_first) = self.lifecycles.connect(conn, again);
                (number, is_first, false)
            }
            Body::Disconnect { conn, code } => {
                let Some((number, is_first, client)) = self.lifecycles.disconnect(conn, again)
                else {
                    return;
                };
                if let Some(client) = client {
                    self.reader.forget(client);
                    let expected = match clients.phase(client) {
                        ClientPhase::Reset => NO_CODE,
                        _ => NORMAL.into(),
                    };
                    self.lifecycles.faults.wrong_codes += u64::from(is_first && *code != expected);
                }
                (number, is_first, true)
            }
            Body::Gap { lost } => {
                self.ledger.told_lost += lost;
                return;
            }
            Body::Other => {
                self.ledger.counts.other += 1;
                return;
            }
            Body::Message { .. } | Body::Corrupt => return self.count_corrupt(batch),
        };
        let object = Numbered::connection(number, left);
        self.ledger.receive_event(n, again, is_first, object);
    }

    fn count_corrupt(&mut self, batch: &[u8]) {
        self.ledger.counts.corrupt += 1;
        self.last_corrupt = String::from_utf8_lossy(batch).into_owned();
    }
}
