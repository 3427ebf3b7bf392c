//! A subscriber over Server-Sent Events (WHATWG HTML 9.2): resumes with the id of the last complete
//! event.

use std::rc::Rc;

use serde::Deserialize;

use super::client::{ConnectionError, ResumingClient};
use super::subscriber_verifier::SubscriberVerifier;
use super::topics::RunTopics;
use crate::net::{Target, handshake};
use crate::payload::Layout;

pub(super) struct Sse {
    target: Target,
    topics: Rc<RunTopics>,
    /// The id of the last complete event; empty before the first.
    last_id: String,
    is_open: bool,
    event: SseEvent,
}

/// The event that is being read.
#[derive(Default)]
struct SseEvent {
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
    pub(super) fn new(target: &Target, topics: &Rc<RunTopics>) -> Self {
        Self {
            target: target.clone(),
            topics: Rc::clone(topics),
            last_id: String::new(),
            is_open: false,
            event: SseEvent::default(),
        }
    }

    /// One line without its end.
    fn line(&mut self, line: &[u8], layout: &Layout, verifier: &mut SubscriberVerifier) {
        if line.is_empty() {
            return self.dispatch(layout, verifier);
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

    fn dispatch(&mut self, layout: &Layout, verifier: &mut SubscriberVerifier) {
        let event = std::mem::take(&mut self.event);
        let has_id = event.id.is_some();
        if let Some(id) = event.id {
            self.last_id = id;
        }
        if !event.has_data {
            // An id alone states the position.
        } else if let Some(topic) = self.topics.number(&event.name) {
            verifier.event(topic, layout, &event.data);
        } else if event.name == "gap" {
            match serde_json::from_slice::<Gap>(&event.data) {
                Ok(gap) => {
                    for (topic, name) in self.topics.names().iter().enumerate() {
                        if gap.event.as_ref().is_none_or(|event| event == name) {
                            verifier.gap(topic, gap.lost);
                        }
                    }
                }
                Err(_) => verifier.corrupt(),
            }
        }
        if has_id {
            verifier.commit_all_gaps();
        }
    }
}

impl ResumingClient for Sse {
    fn begin(&mut self) -> Vec<u8> {
        self.is_open = false;
        self.event = SseEvent::default();
        let last_id = Some(&*self.last_id).filter(|id| !id.is_empty());
        let topics = self.topics.names().iter().map(String::as_str);
        self.target.stream_request(topics, last_id)
    }

    fn take(
        &mut self,
        bytes: &[u8],
        _out: &mut Vec<u8>,
        layout: &Layout,
        verifier: &mut SubscriberVerifier,
    ) -> Result<usize, ConnectionError> {
        let mut taken = 0;
        if !self.is_open {
            match handshake::stream_response(bytes).map_err(ConnectionError::from)? {
                Some(head_bytes) => taken = head_bytes,
                None => return Ok(0),
            }
            self.is_open = true;
        }
        while let Some(end) = bytes[taken..].iter().position(|&byte| byte == b'\n') {
            let line = &bytes[taken..taken + end];
            self.line(line.strip_suffix(b"\r").unwrap_or(line), layout, verifier);
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

    /// An event stream does not announce replayed messages.
    fn replayed(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::super::client::check_cuts;
    use super::super::topic_verifier::source_of;
    use super::*;
    use crate::net::TlsSettings;

    const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";

    fn client() -> Sse {
        let settings = TlsSettings::default();
        let target =
            Target::new("ws://127.0.0.1:80/?token=x", "/ws", Vec::new(), &settings).unwrap();
        Sse::new(&target, &Rc::new(RunTopics::new("t", 1)))
    }

    fn event(layout: &Layout, sequence: u32) -> String {
        let mut data = Vec::new();
        layout.write(&mut data, source_of(0), sequence, 5);
        let data = String::from_utf8(data).unwrap();
        format!("id: c{sequence}\nevent: t\ndata: {data}\n\n")
    }

    #[test]
    fn it_resumes_with_the_id_of_the_last_complete_event() {
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
        let (mut client, mut verifier, _) = check_cuts(&layout, stream.as_bytes(), client);
        let topics = RunTopics::new("t", 1);
        assert_eq!(verifier.finish(&topics, 2).0.counts.received, 2);
        let again = String::from_utf8(client.begin()).unwrap();
        assert!(
            again.starts_with("GET /api/v1/sse?token=x&topics=t HTTP/1.1\r\n"),
            "{again}"
        );
        assert!(again.contains("\r\nLast-Event-ID: c1\r\n"), "{again}");
    }

    #[test]
    fn events_and_gaps_are_counted_by_topic() {
        let layout = Layout::new(64, 1);
        let topics = Rc::new(RunTopics::new("t", 2));
        let settings = TlsSettings::default();
        let target = Target::new("ws://127.0.0.1:80", "/ws", Vec::new(), &settings).unwrap();
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
        let mut verifier = SubscriberVerifier::new(&topics);
        let mut out = Vec::new();
        client
            .take(stream.as_bytes(), &mut out, &layout, &mut verifier)
            .unwrap();
        let (report, violation) = verifier.finish(&topics, 4);
        assert_eq!(
            (report.counts.lost, report.announced_lost, violation),
            (0, 1, None)
        );
    }

    #[test]
    fn a_gap_is_counted() {
        let layout = Layout::new(64, 1);
        let gap = "event: gap\ndata: {\"event\":\"t\",\"lost\":2,\"reason\":\"x\"}\n\n";
        let stream = [HEAD, &event(&layout, 0), gap, &event(&layout, 3)].concat();
        let (_, mut verifier, _) = check_cuts(&layout, stream.as_bytes(), client);
        let (report, _) = verifier.finish(&RunTopics::new("t", 1), 4);
        assert_eq!(
            (report.gaps, report.announced_lost, report.counts.lost),
            (1, 2, 0)
        );
    }

    #[test]
    fn a_refusal_is_an_end() {
        let layout = Layout::new(64, 1);
        let refusal = b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nfull";
        let mut verifier = SubscriberVerifier::new(&RunTopics::new("t", 1));
        let taken = client().take(refusal, &mut Vec::new(), &layout, &mut verifier);
        assert!(matches!(taken, Err(ConnectionError::Ended(why)) if why.contains("503: full")));
    }
}
