//! A subscriber over WebSocket: subscribes to all topics at once with `recover`, and takes its
//! positions from the `event_id` of events.

use std::rc::Rc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::client::{ConnectionError, ResumingClient};
use super::subscriber_verifier::SubscriberVerifier;
use super::topics::RunTopics;
use crate::cli::Encoding;
use crate::frame::{self, FIN, FrameSplit, opcode};
use crate::net::{End, Target, handshake};
use crate::payload::{Layout, Random};

/// Epoch, as the server wrote it, and offset.
type EventPosition = (String, u64);

pub(super) struct WebSocket {
    target: Target,
    encoding: Encoding,
    topics: Rc<RunTopics>,
    random: Random,
    /// By topic: the newest message received, or where the subscription began.
    positions: Vec<Option<EventPosition>>,
    /// By topic: the position after a gap that the confirmation announced.
    after_gap: Vec<Option<EventPosition>>,
    replayed: u64,
    /// Sec-WebSocket-Key of the upgrade, until it is answered.
    key: Option<String>,
    is_subscribed: bool,
}

/// The fields of all frames that a subscriber may get.
#[derive(Deserialize)]
struct SubscriberFrame<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    event: Option<&'a str>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    event_id: Option<&'a str>,
    #[serde(borrow)]
    topics: Option<std::collections::BTreeMap<&'a str, TopicStart<'a>>>,
    lost: Option<u64>,
    #[serde(borrow)]
    messages: Option<Vec<&'a RawValue>>,
    code: Option<&'a str>,
    message: Option<String>,
}

/// Where a topic starts, in a confirmation.
#[derive(Deserialize)]
struct TopicStart<'a> {
    #[serde(borrow)]
    epoch: &'a RawValue,
    #[serde(borrow)]
    offset: &'a RawValue,
    recovered: Option<bool>,
    count: Option<u64>,
}

impl WebSocket {
    pub(super) fn new(
        target: &Target,
        topics: &Rc<RunTopics>,
        encoding: Encoding,
        seed: u64,
    ) -> Self {
        let count = topics.names().len();
        let mut target = target.clone();
        if let Some(parameter) = encoding.parameter() {
            target.add_parameter(parameter);
        }
        Self {
            target,
            encoding,
            topics: Rc::clone(topics),
            random: Random::new(seed),
            positions: vec![None; count],
            after_gap: vec![None; count],
            replayed: 0,
            key: None,
            is_subscribed: false,
        }
    }

    fn send(&mut self, out: &mut Vec<u8>, op: u8, payload: &[u8]) {
        let mask = self.random.mask();
        frame::encode(out, op, mask, |out| out.extend_from_slice(payload));
    }

    /// Subscribes to all topics, from their positions.
    fn subscription(&self) -> String {
        let names = self.topics.names();
        let recover = names.iter().zip(&self.positions);
        let recover: Vec<String> = recover
            .filter_map(|(name, position)| {
                let (epoch, offset) = position.as_ref()?;
                Some(format!(
                    r#""{name}":{{"epoch":"{epoch}","offset":{offset}}}"#
                ))
            })
            .collect();
        let recover = match recover.is_empty() {
            true => String::new(),
            false => format!(r#","recover":{{{}}}"#, recover.join(",")),
        };
        let names = names.join(r#"",""#);
        format!(r#"{{"type":"subscribe","events":["{names}"]{recover}}}"#)
    }

    fn text(
        &mut self,
        text: &[u8],
        out: &mut Vec<u8>,
        layout: &Layout,
        verifier: &mut SubscriberVerifier,
    ) -> Result<(), ConnectionError> {
        if let Some((topic, data, position)) = self.common_event(text, layout.bytes()) {
            verifier.event_at(topic, position, layout, data);
            self.set_position(topic, position);
            return Ok(());
        }
        let Ok(frame) = serde_json::from_slice::<SubscriberFrame<'_>>(text) else {
            verifier.corrupt();
            return Ok(());
        };
        let topic = frame.event.and_then(|name| self.topics.number(name));
        match frame.kind {
            "connection_established" => {
                let subscription = self.subscription();
                match self.encoding {
                    Encoding::Json | Encoding::Batch => {
                        self.send(out, opcode::TEXT, subscription.as_bytes());
                    }
                    Encoding::Msgpack => {
                        let subscription: serde_json::Value =
                            serde_json::from_str(&subscription).expect("it is JSON");
                        let packed = rmp_serde::to_vec(&subscription).expect("plain values");
                        self.send(out, opcode::BINARY, &packed);
                    }
                }
            }
            "batch" if self.encoding == Encoding::Batch => {
                for message in frame.messages.unwrap_or_default() {
                    self.text(message.get().as_bytes(), out, layout, verifier)?;
                }
            }
            "subscription_confirmed" => self.confirmed(frame, verifier)?,
            "event" => {
                let position = frame.event_id.and_then(position);
                let (Some(topic), Some(data), Some(position)) = (topic, frame.data, position)
                else {
                    verifier.corrupt();
                    return Ok(());
                };
                verifier.event_at(topic, position, layout, data.get().as_bytes());
                self.set_position(topic, position);
            }
            "gap" => {
                if let Some(topic) = topic {
                    verifier.gap_after_confirmation(topic, frame.lost);
                    if let Some(after_gap) = self.after_gap[topic].take() {
                        self.positions[topic] = Some(after_gap);
                        verifier.commit_gaps(topic);
                    }
                }
            }
            "error" => {
                let code = frame.code.unwrap_or("no code");
                let message = frame.message.unwrap_or_default();
                return Err(ConnectionError::Violation(format!(
                    "error {code}: {message}"
                )));
            }
            _ => {}
        }
        Ok(())
    }

    /// A MessagePack frame, handled as the same in JSON.
    fn packed(
        &mut self,
        packed: &[u8],
        out: &mut Vec<u8>,
        layout: &Layout,
        verifier: &mut SubscriberVerifier,
    ) -> Result<(), ConnectionError> {
        match rmp_serde::from_slice::<serde_json::Value>(packed) {
            Ok(frame) => self.text(frame.to_string().as_bytes(), out, layout, verifier),
            Err(_) => {
                verifier.corrupt();
                Ok(())
            }
        }
    }

    /// Topic, data and position of an event in its usual form; [`Self::text`] parses all others.
    ///
    /// Cost: a lookup of the name and a search in the last 100 bytes.
    fn common_event<'a>(
        &self,
        text: &'a [u8],
        data_bytes: usize,
    ) -> Option<(usize, &'a [u8], (&'a str, u64))> {
        let rest = text.strip_prefix(br#"{"type":"event","event":""#)?;
        let end = rest.iter().position(|&byte| byte == b'"')?;
        let (name, rest) = rest.split_at(end);
        let topic = self.topics.number(str::from_utf8(name).ok()?)?;
        let rest = rest.strip_prefix(br#"","event_type":""#)?;
        let rest = rest.strip_prefix(name)?.strip_prefix(br#"","data":"#)?;
        let (data, rest) = rest.split_at_checked(data_bytes)?;
        let id = rest.strip_prefix(br#","event_id":""#)?;
        let end = id.iter().position(|&byte| byte == b'"')?;
        let position = position(str::from_utf8(&id[..end]).ok()?)?;
        (rest.last() == Some(&b'}')).then_some((topic, data, position))
    }

    fn set_position(&mut self, topic: usize, (epoch, offset): (&str, u64)) {
        match &mut self.positions[topic] {
            Some((known, at)) if known == epoch => *at = offset,
            position => *position = Some((epoch.to_owned(), offset)),
        }
    }

    fn confirmed(
        &mut self,
        frame: SubscriberFrame<'_>,
        verifier: &mut SubscriberVerifier,
    ) -> Result<(), ConnectionError> {
        self.is_subscribed = true;
        let begun = frame.topics.unwrap_or_default();
        for (topic, name) in self.topics.names().iter().enumerate() {
            let begun = begun.get(&**name).ok_or_else(|| {
                ConnectionError::Violation(format!(
                    "the confirmation does not say where {name} begins: is resuming supported?"
                ))
            })?;
            let number = |raw: &RawValue| raw.get().trim_matches('"').to_owned();
            let epoch = number(begun.epoch);
            let offset = number(begun.offset).parse().map_err(|_| {
                ConnectionError::Violation(format!("{name} begins at {}", begun.offset))
            })?;
            // Events follow this offset.
            let from = match (&self.positions[topic], begun.recovered) {
                // Replayed messages follow; until they arrive, the old position holds.
                (Some((_, had)), Some(true)) => {
                    self.replayed += begun.count.unwrap_or(0);
                    *had
                }
                (Some(_), None) => {
                    return Err(ConnectionError::Violation(
                        "`recover` was not answered".into(),
                    ));
                }
                // A gap follows; until it arrives, the old position holds. Retained messages
                // come after it.
                (Some(_), Some(false)) => {
                    self.after_gap[topic] = Some((epoch.clone(), offset));
                    0
                }
                (None, _) => {
                    self.positions[topic] = Some((epoch.clone(), offset));
                    offset
                }
            };
            verifier.confirm(topic, &epoch, from);
        }
        Ok(())
    }
}

/// Epoch and offset of an `event_id`.
fn position(event_id: &str) -> Option<(&str, u64)> {
    let (epoch, offset) = event_id.split_once('-')?;
    Some((epoch, offset.parse().ok()?))
}

impl ResumingClient for WebSocket {
    fn begin(&mut self) -> Vec<u8> {
        let key = handshake::key();
        let request = self.target.request(&key);
        self.key = Some(key);
        self.after_gap.fill(None);
        self.is_subscribed = false;
        request
    }

    fn take(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
        layout: &Layout,
        verifier: &mut SubscriberVerifier,
    ) -> Result<usize, ConnectionError> {
        let mut taken = 0;
        if let Some(key) = &self.key {
            match handshake::response(bytes, key).map_err(ConnectionError::from)? {
                Some(head_bytes) => taken = head_bytes,
                None => return Ok(0),
            }
            self.key = None;
        }
        loop {
            let rest = &bytes[taken..];
            match frame::split(rest) {
                FrameSplit::Partial { .. } => return Ok(taken),
                FrameSplit::Invalid(problem) => {
                    return Err(ConnectionError::from(End::Protocol(problem)));
                }
                FrameSplit::Frame {
                    first,
                    head,
                    payload,
                } => {
                    let content = &rest[head..head + payload];
                    match first {
                        TEXT if self.encoding != Encoding::Msgpack => {
                            self.text(content, out, layout, verifier)?;
                        }
                        BINARY if self.encoding == Encoding::Msgpack => {
                            self.packed(content, out, layout, verifier)?;
                        }
                        PING => self.send(out, opcode::PONG, content),
                        CLOSE => return Err(ConnectionError::from(End::closed(content))),
                        _ => {
                            let what = format!("a frame that begins with {first:#04x}");
                            return Err(ConnectionError::Violation(what));
                        }
                    }
                    taken += head + payload;
                }
            }
        }
    }

    fn is_subscribed(&self) -> bool {
        self.is_subscribed
    }

    fn has_position(&self) -> bool {
        self.positions.iter().all(Option::is_some)
    }

    fn replayed(&self) -> u64 {
        self.replayed
    }
}

const TEXT: u8 = FIN | opcode::TEXT;
const BINARY: u8 = FIN | opcode::BINARY;
const PING: u8 = FIN | opcode::PING;
const CLOSE: u8 = FIN | opcode::CLOSE;

#[cfg(test)]
mod tests {
    use super::super::client::check_cuts;
    use super::super::topic_verifier::{ResumeReport, source_of};
    use super::*;
    use crate::net::TlsSettings;

    /// Messages of a run.
    const SENT: u32 = 30;

    fn client() -> WebSocket {
        let settings = TlsSettings::default();
        let target = Target::new("ws://127.0.0.1:80", "/ws", Vec::new(), &settings).unwrap();
        WebSocket::new(&target, &Rc::new(RunTopics::new("t", 1)), Encoding::Json, 1)
    }

    fn frame(text: &str) -> Vec<u8> {
        assert!((126..65536).contains(&text.len()) || text.len() < 126);
        let mut out = vec![TEXT];
        if text.len() < 126 {
            out.push(text.len() as u8);
        } else {
            out.push(126);
            out.extend((text.len() as u16).to_be_bytes());
        }
        out.extend(text.as_bytes());
        out
    }

    fn event(layout: &Layout, sequence: u32, more: &str) -> Vec<u8> {
        let mut data = Vec::new();
        layout.write(&mut data, source_of(0), sequence, 5);
        let data = String::from_utf8(data).unwrap();
        let id = format!("9-{}", sequence + 8);
        frame(&format!(
            r#"{{"type":"event",{more}"event":"t","event_type":"t","data":{data},"event_id":"{id}","timestamp":"Z"}}"#
        ))
    }

    fn confirmed(topic: &str) -> Vec<u8> {
        frame(&format!(
            r#"{{"type":"subscription_confirmed","events":["t"],"topics":{{"t":{topic}}}}}"#
        ))
    }

    /// Feeds frames to an upgraded client and compares its position.
    fn check(frames: &[Vec<u8>], layout: &Layout, expected: Option<(&str, u64)>) -> ResumeReport {
        let stream = frames.concat();
        let (client, mut verifier, _) = check_cuts(layout, &stream, || {
            let mut client = client();
            client.key = None;
            Upgraded(client)
        });
        let position = client.0.positions[0].as_ref();
        let position = position.map(|(epoch, offset)| (&**epoch, *offset));
        assert_eq!(position, expected);
        let (report, violation) = verifier.finish(&RunTopics::new("t", 1), SENT);
        assert_eq!(violation, None);
        report
    }

    /// A client that starts after the upgrade.
    struct Upgraded(WebSocket);

    impl ResumingClient for Upgraded {
        fn begin(&mut self) -> Vec<u8> {
            Vec::new()
        }
        fn take(
            &mut self,
            bytes: &[u8],
            out: &mut Vec<u8>,
            layout: &Layout,
            verifier: &mut SubscriberVerifier,
        ) -> Result<usize, ConnectionError> {
            self.0.take(bytes, out, layout, verifier)
        }
        fn is_subscribed(&self) -> bool {
            self.0.is_subscribed()
        }
        fn has_position(&self) -> bool {
            self.0.has_position()
        }
        fn replayed(&self) -> u64 {
            self.0.replayed()
        }
    }

    #[test]
    fn the_position_is_the_last_events_however_it_is_written() {
        let layout = Layout::new(64, 1);
        let begin = confirmed(r#"{"epoch":"9","offset":7}"#);
        check(&[], &layout, None);
        check(std::slice::from_ref(&begin), &layout, Some(("9", 7)));
        let frames = [begin, event(&layout, 0, ""), event(&layout, 1, r#""x":1,"#)];
        let report = check(&frames, &layout, Some(("9", 9)));
        assert_eq!(report.counts.received, 2);
    }

    #[test]
    fn a_confirmed_recovery_leaves_the_position_until_events_come() {
        let layout = Layout::new(64, 1);
        let first = [
            confirmed(r#"{"epoch":9,"offset":7}"#),
            event(&layout, 0, ""),
        ]
        .concat();
        let recovered = confirmed(r#"{"epoch":9,"offset":50,"recovered":true,"count":42}"#);
        check(&[first.clone(), recovered], &layout, Some(("9", 8)));
        let lost = confirmed(r#"{"epoch":10,"offset":50,"recovered":false,"count":0}"#);
        check(&[first.clone(), lost.clone()], &layout, Some(("9", 8)));
        let gap = frame(r#"{"type":"gap","event":"t","lost":null}"#);
        let report = check(&[first, lost, gap], &layout, Some(("10", 50)));
        assert_eq!(report.announced_lost, u64::from(SENT) - 1);
    }

    #[test]
    fn an_event_is_the_same_in_every_encoding() {
        let layout = Layout::new(64, 1);
        let begin = r#"{"type":"subscription_confirmed","topics":{"t":{"epoch":"9","offset":0}}}"#;
        let mut data = Vec::new();
        layout.write(&mut data, source_of(0), 0, 5);
        let data = String::from_utf8(data).unwrap();
        let event = format!(r#"{{"type":"event","event":"t","data":{data},"event_id":"9-1"}}"#);
        let batch = format!(r#"{{"type":"batch","messages":[{event}],"count":1}}"#);
        let packed = |text: &str| {
            let value: serde_json::Value = serde_json::from_str(text).unwrap();
            let packed = rmp_serde::to_vec(&value).unwrap();
            [&[BINARY, packed.len() as u8][..], &packed].concat()
        };
        let check = |encoding, stream: &[u8], parameter: &str| {
            let topics = Rc::new(RunTopics::new("t", 1));
            let settings = TlsSettings::default();
            let target = Target::new("ws://127.0.0.1:80", "/ws", Vec::new(), &settings).unwrap();
            let mut client = WebSocket::new(&target, &topics, encoding, 1);
            assert!(
                client.target.url.ends_with(parameter),
                "{}",
                client.target.url
            );
            let (mut out, mut verifier) = (Vec::new(), SubscriberVerifier::new(&topics));
            verifier.reconnect();
            client
                .take(stream, &mut out, &layout, &mut verifier)
                .unwrap();
            assert_eq!(client.positions[0], Some(("9".to_owned(), 1)));
            assert_eq!(
                (verifier.received(), verifier.finish(&topics, 1).1),
                (1, None)
            );
        };
        check(
            Encoding::Json,
            &[frame(begin), frame(&event)].concat(),
            "/ws",
        );
        check(
            Encoding::Batch,
            &[frame(begin), frame(&batch)].concat(),
            "/ws?batch=true",
        );
        check(
            Encoding::Msgpack,
            &[packed(begin), packed(&event)].concat(),
            "/ws?format=msgpack",
        );
    }

    #[test]
    fn ends_and_faults_are_told_apart() {
        let layout = Layout::new(64, 1);
        let take = |bytes: &[u8]| {
            let mut client = client();
            client.positions[0] = Some(("9".into(), 7));
            let (mut out, mut verifier) = (Vec::new(), SubscriberVerifier::new(&client.topics));
            client.take(bytes, &mut out, &layout, &mut verifier)
        };
        assert!(matches!(
            take(b"\x88\x02\x03\xF5"),
            Err(ConnectionError::Ended(_))
        ));
        assert!(matches!(
            take(b"\xC1\x00"),
            Err(ConnectionError::Violation(_))
        ));
        let error = frame(r#"{"type":"error","code":"X","message":"y"}"#);
        assert_eq!(
            take(&error),
            Err(ConnectionError::Violation("error X: y".into()))
        );
        let silent = confirmed(r#"{"epoch":9,"offset":7}"#);
        assert!(matches!(take(&silent), Err(ConnectionError::Violation(_))));
    }

    #[test]
    fn one_request_subscribes_to_all_topics_from_their_positions() {
        let (layout, topics) = (Layout::new(64, 1), Rc::new(RunTopics::new("t", 2)));
        let settings = TlsSettings::default();
        let target = Target::new("ws://127.0.0.1:80", "/ws", Vec::new(), &settings).unwrap();
        let mut client = WebSocket::new(&target, &topics, Encoding::Json, 1);
        let of = |topic: usize, sequence: u32| {
            let mut data = Vec::new();
            layout.write(&mut data, source_of(topic), sequence, 5);
            let data = String::from_utf8(data).unwrap();
            frame(&format!(
                r#"{{"type":"event","event":"t.{topic}","event_type":"t.{topic}","data":{data},"event_id":"9-{}"}}"#,
                sequence + 1
            ))
        };
        let confirmed = frame(
            r#"{"type":"subscription_confirmed","topics":{"t.0":{"epoch":9,"offset":0},"t.1":{"epoch":9,"offset":0}}}"#,
        );
        let mut check = |stream: &[Vec<u8>], expected: Option<&str>| {
            let (mut out, mut verifier) = (Vec::new(), SubscriberVerifier::new(&topics));
            verifier.reconnect();
            let stream = stream.concat();
            client
                .take(&stream, &mut out, &layout, &mut verifier)
                .unwrap();
            assert_eq!(verifier.finish(&topics, 0).1.as_deref(), expected);
        };
        check(&[confirmed, of(0, 0), of(1, 0), of(1, 1)], None);
        // An event before the confirmation of the next connection.
        let early = Some("topic 1: an event before the confirmation");
        check(&[of(1, 2)], early);
        let at = |offset| Some(("9".to_owned(), offset));
        assert_eq!(client.positions, [at(1), at(3)]);
        assert_eq!(
            client.subscription(),
            r#"{"type":"subscribe","events":["t.0","t.1"],"recover":{"t.0":{"epoch":"9","offset":1},"t.1":{"epoch":"9","offset":3}}}"#
        );
    }
}
