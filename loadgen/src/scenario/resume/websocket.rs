//! A subscriber over WebSocket: subscribes with `recover`, and takes its
//! position from the `event_id` of what it gets.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::client::{Client, Trouble};
use super::ledger::Ledger;
use crate::frame::{self, FIN, Split, opcode};
use crate::net::{End, Target, handshake};
use crate::payload::{Layout, Random};

/// Epoch and offset, as they were written.
type Position = (String, String);

pub(super) struct WebSocket {
    target: Target,
    topic: String,
    /// What every event of the topic begins with.
    prefix: Vec<u8>,
    random: Random,
    /// The newest message that this subscriber has, or where it began.
    position: Option<Position>,
    /// Where it goes on after a gap that is about to be told.
    renewed: Option<Position>,
    replayed: u64,
    /// The handshake's key, until it is answered.
    key: Option<String>,
    is_subscribed: bool,
}

/// Any frame that a subscriber may get.
#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    event: Option<&'a str>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    event_id: Option<&'a str>,
    #[serde(borrow)]
    topics: Option<std::collections::BTreeMap<&'a str, Begun<'a>>>,
    lost: Option<u64>,
    code: Option<&'a str>,
    message: Option<String>,
}

/// How the topic begins, in a confirmation.
#[derive(Deserialize)]
struct Begun<'a> {
    #[serde(borrow)]
    epoch: &'a RawValue,
    #[serde(borrow)]
    offset: &'a RawValue,
    recovered: Option<bool>,
    count: Option<u64>,
}

impl WebSocket {
    pub(super) fn new(target: &Target, topic: &str, seed: u64) -> Self {
        let prefix =
            format!(r#"{{"type":"event","event":"{topic}","event_type":"{topic}","data":"#);
        Self {
            target: target.clone(),
            topic: topic.to_owned(),
            prefix: prefix.into_bytes(),
            random: Random::new(seed),
            position: None,
            renewed: None,
            replayed: 0,
            key: None,
            is_subscribed: false,
        }
    }

    fn put(&mut self, out: &mut Vec<u8>, op: u8, payload: &[u8]) {
        let mask = self.random.mask();
        frame::encode(out, op, mask, |out| out.extend_from_slice(payload));
    }

    fn subscribe(&mut self, out: &mut Vec<u8>) {
        let topic = &self.topic;
        let recover = match &self.position {
            None => String::new(),
            Some((epoch, offset)) => {
                format!(r#","recover":{{"{topic}":{{"epoch":"{epoch}","offset":{offset}}}}}"#)
            }
        };
        let text = format!(r#"{{"type":"subscribe","events":["{topic}"]{recover}}}"#);
        self.put(out, opcode::TEXT, text.as_bytes());
    }

    fn text(
        &mut self,
        text: &[u8],
        out: &mut Vec<u8>,
        layout: &Layout,
        ledger: &mut Ledger,
    ) -> Result<(), Trouble> {
        if let Some((data, id)) = self.usual_event(text, layout.bytes()) {
            ledger.event(layout, data);
            let id = (id.0.to_owned(), id.1.to_owned());
            self.position = Some(id);
            return Ok(());
        }
        let Ok(frame) = serde_json::from_slice::<Frame<'_>>(text) else {
            ledger.corrupt();
            return Ok(());
        };
        match frame.kind {
            "connection_established" => self.subscribe(out),
            "subscription_confirmed" => self.confirmed(frame)?,
            "event" => {
                let position = frame.event_id.and_then(|id| id.split_once('-'));
                let (Some(data), Some((epoch, offset))) = (frame.data, position) else {
                    ledger.corrupt();
                    return Ok(());
                };
                ledger.event(layout, data.get().as_bytes());
                self.position = Some((epoch.to_owned(), offset.to_owned()));
            }
            "gap" if frame.event == Some(&self.topic) => {
                ledger.gap(frame.lost);
                if let Some(renewed) = self.renewed.take() {
                    self.position = Some(renewed);
                    ledger.keep_told();
                }
            }
            "error" => {
                let code = frame.code.unwrap_or("no code");
                let message = frame.message.unwrap_or_default();
                return Err(Trouble::Broken(format!("error {code}: {message}")));
            }
            _ => {}
        }
        Ok(())
    }

    /// Data and id of an event in its usual form; anything else takes the long way.
    ///
    /// Cost: a comparison of the beginning and a search in the last 100 bytes.
    fn usual_event<'a>(
        &self,
        text: &'a [u8],
        data_bytes: usize,
    ) -> Option<(&'a [u8], (&'a str, &'a str))> {
        let (data, rest) = text
            .strip_prefix(&*self.prefix)?
            .split_at_checked(data_bytes)?;
        let id = rest.strip_prefix(br#","event_id":""#)?;
        let end = id.iter().position(|&byte| byte == b'"')?;
        let (epoch, offset) = str::from_utf8(&id[..end]).ok()?.split_once('-')?;
        (rest.last() == Some(&b'}')).then_some((data, (epoch, offset)))
    }

    fn confirmed(&mut self, frame: Frame<'_>) -> Result<(), Trouble> {
        self.is_subscribed = true;
        let topics = frame.topics.unwrap_or_default();
        let begun = topics.get(&*self.topic).ok_or_else(|| {
            let topic = &self.topic;
            Trouble::Broken(format!(
                "the confirmation does not say where {topic} begins: is resuming supported?"
            ))
        })?;
        let number = |raw: &RawValue| raw.get().trim_matches('"').to_owned();
        let position = || (number(begun.epoch), number(begun.offset));
        match (&self.position, begun.recovered) {
            // What was missed follows; until it is here, the old position holds.
            (Some(_), Some(true)) => self.replayed += begun.count.unwrap_or(0),
            (Some(_), None) => {
                return Err(Trouble::Broken("`recover` was not answered".into()));
            }
            // A gap follows; until it is here, the old position holds.
            (Some(_), Some(false)) => self.renewed = Some(position()),
            (None, _) => self.position = Some(position()),
        }
        Ok(())
    }
}

impl Client for WebSocket {
    fn begin(&mut self) -> Vec<u8> {
        let key = handshake::key();
        let request = self.target.request(&key);
        self.key = Some(key);
        self.renewed = None;
        self.is_subscribed = false;
        request
    }

    fn take(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
        layout: &Layout,
        ledger: &mut Ledger,
    ) -> Result<usize, Trouble> {
        let mut taken = 0;
        if let Some(key) = &self.key {
            match handshake::response(bytes, key).map_err(Trouble::from)? {
                Some(head_bytes) => taken = head_bytes,
                None => return Ok(0),
            }
            self.key = None;
        }
        loop {
            let rest = &bytes[taken..];
            match frame::split(rest) {
                Split::Partial { .. } => return Ok(taken),
                Split::Invalid(problem) => return Err(Trouble::from(End::Protocol(problem))),
                Split::Frame {
                    first,
                    head,
                    payload,
                } => {
                    let content = &rest[head..head + payload];
                    match first {
                        TEXT => self.text(content, out, layout, ledger)?,
                        PING => self.put(out, opcode::PONG, content),
                        CLOSE => return Err(Trouble::from(End::closed(content))),
                        _ => {
                            let what = format!("a frame that begins with {first:#04x}");
                            return Err(Trouble::Broken(what));
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
        self.position.is_some()
    }

    fn replayed(&self) -> u64 {
        self.replayed
    }
}

const TEXT: u8 = FIN | opcode::TEXT;
const PING: u8 = FIN | opcode::PING;
const CLOSE: u8 = FIN | opcode::CLOSE;

#[cfg(test)]
mod tests {
    use super::super::client::check_cuts;
    use super::super::ledger::SOURCE;
    use super::*;

    fn client() -> WebSocket {
        let target = Target::new("ws://127.0.0.1:80", "/ws", Vec::new()).unwrap();
        WebSocket::new(&target, "t", 1)
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
        layout.write(&mut data, SOURCE, sequence, 5);
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

    /// Feeds frames to a client whose upgrade is done; returns its position.
    fn check(frames: &[Vec<u8>], layout: &Layout, expected: Option<(&str, &str)>) -> Ledger {
        let stream = frames.concat();
        let (client, ledger, _) = check_cuts(layout, &stream, || {
            let mut client = client();
            client.key = None;
            Upgraded(client)
        });
        let position = client.0.position.as_ref();
        let position = position.map(|(epoch, offset)| (&**epoch, &**offset));
        assert_eq!(position, expected);
        ledger
    }

    /// A client that begins behind the upgrade.
    struct Upgraded(WebSocket);

    impl Client for Upgraded {
        fn begin(&mut self) -> Vec<u8> {
            Vec::new()
        }
        fn take(
            &mut self,
            bytes: &[u8],
            out: &mut Vec<u8>,
            layout: &Layout,
            ledger: &mut Ledger,
        ) -> Result<usize, Trouble> {
            self.0.take(bytes, out, layout, ledger)
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
        check(std::slice::from_ref(&begin), &layout, Some(("9", "7")));
        let frames = [begin, event(&layout, 0, ""), event(&layout, 1, r#""x":1,"#)];
        let mut ledger = check(&frames, &layout, Some(("9", "9")));
        assert_eq!(ledger.finish(2).counts.received, 2);
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
        check(&[first.clone(), recovered], &layout, Some(("9", "8")));
        let lost = confirmed(r#"{"epoch":10,"offset":50,"recovered":false,"count":0}"#);
        check(&[first.clone(), lost.clone()], &layout, Some(("9", "8")));
        let gap = frame(r#"{"type":"gap","event":"t","lost":null}"#);
        let mut ledger = check(&[first, lost, gap], &layout, Some(("10", "50")));
        assert_eq!(ledger.finish(30).told_lost, 29);
    }

    #[test]
    fn ends_and_faults_are_told_apart() {
        let layout = Layout::new(64, 1);
        let take = |bytes: &[u8]| {
            let mut client = client();
            client.position = Some(("9".into(), "7".into()));
            let (mut out, mut ledger) = (Vec::new(), Ledger::default());
            client.take(bytes, &mut out, &layout, &mut ledger)
        };
        assert!(matches!(take(b"\x88\x02\x03\xF5"), Err(Trouble::Ended(_))));
        assert!(matches!(take(b"\xC1\x00"), Err(Trouble::Broken(_))));
        let error = frame(r#"{"type":"error","code":"X","message":"y"}"#);
        assert_eq!(take(&error), Err(Trouble::Broken("error X: y".into())));
        let silent = confirmed(r#"{"epoch":9,"offset":7}"#);
        assert!(matches!(take(&silent), Err(Trouble::Broken(_))));
    }
}
