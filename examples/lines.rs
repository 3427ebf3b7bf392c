//! A protocol of one's own: lines over a WebSocket at `/lines` (docs/extending.md).
//!
//! ```text
//! sub news          from the client: subscribe
//! + news            subscribed; everything that is published from here on comes
//! pub news hello    publish
//! news "hello"      a message of a topic, as JSON
//! ? news 3          three messages are lost, because the client reads too slowly
//! ! why             what was asked for cannot be had
//! ```
//!
//! cargo run --release --example lines [CONFIGURATION FILE]

use std::rc::Rc;

use fanfare::config::kind::{Parsed, Size};
use fanfare::config::{Config, KIB, MIB, Section, SectionRules};
use fanfare::conn::{
    Admission, Claimed, Dialect, Flow, Quota, Record, Registry, Route, Session, WebSocketClaim,
    agree, check_upgrade, take_slot,
};
use fanfare::dialect::{Protocol, sections};
use fanfare::engine::{Begin, Confirmation, Format, Outcome, Post, Publication, PublishResult};
use fanfare::http::{Source, refuse};
use fanfare::id::{FormatId, Gather, PeerId, Priority, UserKey};
use fanfare::metrics::CounterId;
use fanfare::section;
use fanfare::shard::{ConnectionInfo, Disconnect, Shard};
use fanfare::topic::check_topic;
use fanfare::ws::encode::put_frame;
use fanfare::ws::{OpCode, Payload};
use hyper::Request;

section! {
    /// Lines over a WebSocket.
    struct LinesSettings("lines", mode) {
        /// The path that clients connect to.
        path: String = "/lines".to_owned(), PATH;
        /// Payload bytes of a line. Beyond it: closed with 1009.
        max_line_size: usize = 64 * KIB, Size(KIB..=MIB);
    }
}

impl SectionRules for LinesSettings {}

const PATH: Parsed<String> = Parsed {
    read: |text| text.starts_with('/').then(|| text.to_owned()),
    show: String::clone,
    accepts: "a path, as \"/lines\"",
};

/// The protocol with its section of the configuration.
const LINES: &[Protocol] = &[Protocol(Lines::register, Some(LinesSettings::make))];

/// The protocol: which requests are its own, and what becomes of them.
#[derive(Debug)]
struct Lines {
    format: FormatId,
    settings: LinesSettings,
    received: CounterId,
}

impl Lines {
    /// Reads the settings, and registers how messages are written and what is counted.
    fn register(config: &Config, registry: &mut Registry) -> Box<dyn Dialect> {
        // Each message is a frame of its own, and no client comes back for what it missed.
        let format = (registry.formats).register(Gather::Each, false, |_| Box::new(LineFormat));
        let counters = &mut registry.counters;
        Box::new(Self {
            format,
            settings: config.section(),
            received: counters.register("lines_total", "Lines received from clients."),
        })
    }
}

impl Dialect for Lines {
    fn name(&self) -> &'static str {
        "lines"
    }

    fn route(&self, path: &str) -> Option<Route> {
        (path == self.settings.path).then_some(Route::Connection)
    }

    fn claim(
        &self,
        shard: &Rc<Shard>,
        request: &Request<()>,
        source: Source,
    ) -> Admission<Claimed> {
        let upgrade = check_upgrade(shard, request, |status, why, headers| {
            Box::new(refuse(status, why, headers))
        })?;
        let slot = take_slot(shard, source.address)?;
        let (head, agreed) = agree(shard, &upgrade, false);
        Ok(Claimed::WebSocket(Box::new(WebSocketClaim {
            head,
            agreed,
            message_bytes_max: self.settings.max_line_size,
            record: Record {
                format: self.format,
                user: UserKey::NONE,
                session: Box::new(LineSession(self.received)),
                slot,
                info: Some(ConnectionInfo::new(source, &("lines", ""), None)),
                lease: None,
                quota: Quota::default(),
            },
        })))
    }
}

/// How a publication is written, once for all subscribers.
#[derive(Debug)]
struct LineFormat;

impl Format for LineFormat {
    fn encode(&mut self, publication: &Publication<'_>, _: u64, out: &mut Vec<u8>) {
        let line = [publication.topic.as_bytes(), b" ", publication.data].concat();
        put_frame(out, OpCode::Text, &line);
    }
}

/// One connection's side.
#[derive(Debug)]
struct LineSession(CounterId);

impl Session for LineSession {
    fn begin(&mut self, _: &Shard, _: PeerId) -> Flow {
        Flow::Continue
    }

    fn message(&mut self, shard: &Shard, peer: PeerId, payload: Payload<'_>) -> Flow {
        let Payload::Text(line) = payload else {
            return Flow::End(Disconnect::Unsupported);
        };
        shard.counters.registered(self.0).add(1);
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let (topic, text) = rest.split_once(' ').unwrap_or((rest, ""));
        if let Err(why) = check_topic(topic) {
            say(shard, peer, &format!("! {topic}: {why}"));
            return Flow::Continue;
        }
        match verb {
            "sub" => subscribe(shard, peer, topic),
            "pub" => publish(shard, peer, topic, text),
            _ => {
                say(shard, peer, "! say: sub TOPIC, or pub TOPIC TEXT");
                Flow::Continue
            }
        }
    }

    /// What the engine has to tell, in the words of the protocol.
    fn outcome(&mut self, shard: &Shard, peer: PeerId, outcome: Outcome) {
        match outcome {
            Outcome::Confirmed(confirmation) => confirm(shard, peer, &confirmation),
            Outcome::Gap(gap) => {
                let topic = gap.topic.as_deref().unwrap_or("*");
                let lost = gap
                    .lost
                    .map_or_else(|| "some".to_owned(), |lost| lost.to_string());
                say(shard, peer, &format!("? {topic} {lost}"));
            }
            _ => {}
        }
    }

    fn end(&mut self, shard: &Shard, peer: PeerId) {
        shard.engine(|engine| engine.end_subscriptions(peer));
    }
}

fn subscribe(shard: &Shard, peer: PeerId, topic: &str) -> Flow {
    if !shard.engine(|engine| engine.may_subscribe(peer, &[topic], false)) {
        // The same message comes again after the next flush.
        return Flow::Wait;
    }
    let (subscribed, confirmation) = shard.engine(|engine| {
        let ticket = engine.begin_subscription(peer);
        let subscribed = engine.subscribe(peer, topic, Begin::Live, ticket);
        (subscribed, engine.confirm(ticket))
    });
    if subscribed.is_err() {
        say(shard, peer, &format!("! {topic}: too many topics"));
    }
    // Otherwise the topic lives on another shard, and the confirmation is an outcome.
    if let Some(confirmation) = confirmation {
        confirm(shard, peer, &confirmation);
    }
    Flow::Continue
}

fn confirm(shard: &Shard, peer: PeerId, confirmation: &Confirmation) {
    for start in confirmation.starts() {
        say(shard, peer, &format!("+ {}", start.name));
    }
    // From here on messages are written.
    shard.engine(|engine| engine.go_on(confirmation));
}

fn publish(shard: &Shard, peer: PeerId, topic: &str, text: &str) -> Flow {
    // Data is JSON, so that clients of every protocol can read it.
    let data = serde_json::to_vec(text).expect("a text is JSON");
    let post = Post::event(topic, &data);
    match shard.engine(|engine| engine.publish(peer, &post, "")) {
        PublishResult::Busy => return Flow::Wait,
        PublishResult::TooManyTopics => say(shard, peer, "! too many topics"),
        PublishResult::Stored(_) | PublishResult::Forwarded => {}
    }
    Flow::Continue
}

fn say(shard: &Shard, peer: PeerId, line: &str) {
    shard.send(peer, Priority::High, OpCode::Text, line.as_bytes());
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let text = match std::env::args().nth(1) {
        Some(file) => std::fs::read_to_string(file)?,
        None => "mode = \"demo\"".to_owned(),
    };
    let config = Config::from_toml_with(&text, &sections(LINES))?;
    let path = config.section::<LinesSettings>().path;
    println!("ws://{}{path}", config.server.listen[0].address);
    Ok(fanfare::server::run_with(config, LINES)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fanfare::server::Gateway;
    use std::io::Write;
    use std::net::TcpStream;
    use tokio_tungstenite::tungstenite::{Message, connect};

    #[test]
    fn clients_of_two_protocols_hear_each_other() {
        let text = "mode = \"demo\"\n[lines]\npath = \"/talk\"";
        let mut config = Config::from_toml_with(text, &sections(LINES)).unwrap();
        config.server.listen = vec!["127.0.0.1:0".parse().unwrap()];
        config.server.shards = 2;
        config.server.pin_threads = false;
        config.server.drain_timeout = std::time::Duration::from_millis(500);
        let gateway = Gateway::start_with(config, LINES).unwrap();
        let connect = |path: &str| {
            connect(format!("ws://{}{path}", gateway.addresses[0].address))
                .unwrap()
                .0
        };
        let (mut lines, mut events) = (connect("/talk"), connect("/api/v1/ws"));
        // Topics of both shards.
        for topic in ["a", "b", "c", "d"] {
            let mut ask = |line: &str| {
                lines.send(Message::text(line)).unwrap();
                lines.read().unwrap().into_text().unwrap().to_string()
            };
            assert_eq!(ask(&format!("sub {topic}")), format!("+ {topic}"));
            assert_eq!(
                ask(&format!("pub {topic} hello")),
                format!("{topic} \"hello\"")
            );
            assert!(ask("what?").starts_with("! "));
            let publish = format!(r#"{{"type":"publish","event":"{topic}","data":{{"n":1}}}}"#);
            events.send(Message::text(publish)).unwrap();
            let heard = lines.read().unwrap().into_text().unwrap();
            assert_eq!(heard.as_str(), format!(r#"{topic} {{"n":1}}"#));
        }
        let mut scrape = TcpStream::connect(gateway.addresses[0].address).unwrap();
        let request = b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        scrape.write_all(request).unwrap();
        let metrics = std::io::read_to_string(scrape).unwrap();
        assert!(metrics.contains(r#""lines_total":12,"#), "{metrics}");
        gateway.stop().unwrap();
    }
}
