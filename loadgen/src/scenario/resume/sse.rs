//! A subscriber over Server-Sent Events (WHATWG HTML 9.2): comes back with the
//! id of the last event that was complete.

use std::rc::Rc;

use serde::Deserialize;

use super::books::Books;
use super::client::{Client, Trouble};
use super::topics::Topics;
use crate::net::{Target, handshake};
use crate::payload::Layout;

pub(super) struct Sse {
    target: Target,
    topics: Rc<Topics>,
    /// The id of the last complete event; empty before the first.
    last_id: String,
    is_open: bool,
    event: Event,
}

/// The event that is being read.
#[derive(Default)]
struct Event {
    name: String,
    data: Vec<u8>,
    has_data: bool,
    id: Option<String>,
}

/// The data of a `gap` event.
#[derive(Deserialize)]
struct Gap {
    event: Option<String>,
    lost: Option<u64>,
}

impl Sse {
    pub(super) fn new(target: &Target, topics: &Rc<Topics>) -> Self {
        Self {
            target: target.clone(),
            topics: Rc::clone(topics),
            last_id: String::new(),
            is_open: false,
            event: Event::default(),
        }
    }

    /// One line without its end.
    fn line(&mut self, line: &[u8], layout: &Layout, books: &mut Books) {
        if line.is_empty() {
            return self.dispatch(layout, books);
        }
        let colon = line.iter().position(|&byte| byte == b':');
        let (field, value) = line.split_at(colon.unwrap_or(line.len()));
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        let text = || String::from_utf8_lossy(value).into_owned();
        match field {
            b"id" if !value.contains(&0) => self.event.id = Some(text()),
            b"event" => self.event.name = text(),
            b"data" => {
                if self.event.has_data {
                    self.event.data.push(b'\n');
                }
                self.event.has_data = true;
                self.event.data.extend_from_slice(value);
            }
            _ => {}
        }
    }

    fn dispatch(&mut self, layout: &Layout, books: &mut Books) {
        let event = std::mem::take(&mut self.event);
        let is_moved = event.id.is_some();
        if let Some(id) = event.id {
            self.last_id = id;
        }
        if !event.has_data {
            // It says where the stream stands, or nothing.
        } else if let Some(topic) = self.topics.number(&event.name) {
            books.event(topic, layout, &event.data);
        } else if event.name == "gap" {
            match serde_json::from_slice::<Gap>(&event.data) {
                Ok(gap) => {
                    for (topic, name) in self.topics.names().iter().enumerate() {
                        if gap.event.as_ref().is_none_or(|event| event == name) {
                            books.gap(topic, gap.lost);
                        }
                    }
                }
                Err(_) => books.corrupt(),
            }
        }
        if is_moved {
            books.keep_all_told();
        }
    }
}

impl Client for Sse {
    fn begin(&mut self) -> Vec<u8> {
        self.is_open = false;
        self.event = Event::default();
        let last_id = Some(&*self.last_id).filter(|id| !id.is_empty());
        let topics = self.topics.names().iter().map(String::as_str);
        self.target.stream_request(topics, last_id)
    }

    fn take(
        &mut self,
        bytes: &[u8],
        _out: &mut Vec<u8>,
        layout: &Layout,
        books: &mut Books,
    ) -> Result<usize, Trouble> {
        let mut taken = 0;
        if !self.is_open {
            match handshake::stream_response(bytes).map_err(Trouble::from)? {
                Some(head_bytes) => taken = head_bytes,
                None => return Ok(0),
            }
            self.is_open = true;
        }
        while let Some(end) = bytes[taken..].iter().position(|&byte| byte == b'\n') {
            let line = &bytes[taken..taken + end];
            self.line(line.strip_suffix(b"\r").unwrap_or(line), layout, books);
            taken += end + 1;
        }
        Ok(taken)
    }

    fn is_subscribed(&self) -> bool {
        self.is_open
    }

    fn has_position(&self) -> bool {
        !self.last_id.is_empty()
    }

    /// An event stream does not announce what it repeats.
    fn replayed(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::super::client::check_cuts;
    use super::super::ledger::source_of;
    use super::*;

    const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";

    fn client() -> Sse {
        let target = Target::new("ws://127.0.0.1:80/?token=x", "/ws", Vec::new()).unwrap();
        Sse::new(&target, &Rc::new(Topics::new("t", 1)))
    }

    fn event(layout: &Layout, sequence: u32) -> String {
        let mut data = Vec::new();
        layout.write(&mut data, source_of(0), sequence, 5);
        let data = String::from_utf8(data).unwrap();
        format!("id: c{sequence}\nevent: t\ndata: {data}\n\n")
    }

    #[test]
    fn it_comes_back_with_the_id_of_the_last_complete_event() {
        let layout = Layout::new(64, 1);
        let cut = event(&layout, 2);
        let stream = [
            HEAD,
            ": a comment\n\nretry: 5\n\n",
            &event(&layout, 0),
            &event(&layout, 1).replace('\n', "\r\n"),
            &cut[..cut.len() - 1],
        ]
        .concat();
        let (mut client, mut books, _) = check_cuts(&layout, stream.as_bytes(), client);
        let topics = Topics::new("t", 1);
        assert_eq!(books.finish(&topics, 2).0.counts.received, 2);
        let again = String::from_utf8(client.begin()).unwrap();
        assert!(
            again.starts_with("GET /api/v1/sse?token=x&topics=t HTTP/1.1\r\n"),
            "{again}"
        );
        assert!(again.contains("\r\nLast-Event-ID: c1\r\n"), "{again}");
    }

    #[test]
    fn events_and_gaps_are_their_topics() {
        let layout = Layout::new(64, 1);
        let topics = Rc::new(Topics::new("t", 2));
        let target = Target::new("ws://127.0.0.1:80", "/ws", Vec::new()).unwrap();
        let mut client = Sse::new(&target, &topics);
        let request = String::from_utf8(client.begin()).unwrap();
        assert!(
            request.starts_with("GET /api/v1/sse?topics=t.0,t.1 "),
            "{request}"
        );
        let of = |topic: usize, sequence| {
            let mut data = Vec::new();
            layout.write(&mut data, source_of(topic), sequence, 5);
            let data = String::from_utf8(data).unwrap();
            format!("id: c{topic}{sequence}\nevent: t.{topic}\ndata: {data}\n\n")
        };
        let gap = "event: gap\ndata: {\"event\":\"t.1\",\"lost\":1,\"reason\":\"x\"}\n\n";
        let stream = [HEAD, &of(0, 0), gap, &of(1, 1), &of(0, 1)].concat();
        let mut books = Books::new(&topics);
        let mut out = Vec::new();
        client
            .take(stream.as_bytes(), &mut out, &layout, &mut books)
            .unwrap();
        let (verdict, violation) = books.finish(&topics, 4);
        assert_eq!(
            (verdict.counts.lost, verdict.told_lost, violation),
            (0, 1, None)
        );
    }

    #[test]
    fn a_gap_is_counted() {
        let layout = Layout::new(64, 1);
        let gap = "event: gap\ndata: {\"event\":\"t\",\"lost\":2,\"reason\":\"x\"}\n\n";
        let stream = [HEAD, &event(&layout, 0), gap, &event(&layout, 3)].concat();
        let (_, mut books, _) = check_cuts(&layout, stream.as_bytes(), client);
        let (verdict, _) = books.finish(&Topics::new("t", 1), 4);
        assert_eq!(
            (verdict.gaps, verdict.told_lost, verdict.counts.lost),
            (1, 2, 0)
        );
    }

    #[test]
    fn a_refusal_is_an_end() {
        let layout = Layout::new(64, 1);
        let refusal = b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nfull";
        let mut books = Books::new(&Topics::new("t", 1));
        let taken = client().take(refusal, &mut Vec::new(), &layout, &mut books);
        assert!(matches!(taken, Err(Trouble::Ended(why)) if why.contains("503: full")));
    }
}
