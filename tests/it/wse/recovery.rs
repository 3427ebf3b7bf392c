//! Recovery: what a client that comes back has missed, and what a client that sees a gap asks for.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::thread;

use serde_json::{Value, json};

use super::{TOPICS, everywhere};
use crate::support::{WseClient, WseMessage, frame, post_json, wse_gateway, wse_path, wse_publish};

/// Publishes numbers to a topic.
fn publish(address: SocketAddr, topic: &str, numbers: std::ops::RangeInclusive<u64>) {
    let mut client = WseClient::open(address);
    for number in numbers {
        let p = json!({ "topic": topic, "type": "n", "data": { "n": number }, "ack": true });
        client.say(&json!({ "t": "publish", "id": format!("{topic}{number}"), "p": p }));
        client.expect("publish_ack");
    }
}

fn epoch_of(client: &mut WseClient, topic: &str) -> Value {
    let ack = client.subscribe(&[topic]);
    client.unsubscribe(&[topic]);
    ack["recovery"][topic]["epoch"].clone()
}

fn recover(topics: &[&str], positions: &Value) -> Value {
    json!({ "topics": topics, "recover": true, "recovery": positions })
}

/// The messages up to the acknowledgement of a subscription, and that.
#[track_caller]
fn until_ack(client: &mut WseClient) -> (Vec<WseMessage>, Value) {
    let mut messages = Vec::new();
    loop {
        let message = client.next();
        if message.kind() == "subscription_update" && message.payload()["action"] == "subscribe" {
            return (messages, message.payload().clone());
        }
        messages.push(message);
    }
}

/// Sends `subscription_update` messages, each with its action, in one write: none of them is answered before the next
/// one has come.
fn send_at_once(client: &mut WseClient, updates: &[(&str, Value)]) {
    let mut bytes = Vec::new();
    for (action, fields) in updates {
        let mut fields = fields.clone();
        fields["action"] = (*action).into();
        let message = json!({ "c": "WSE", "t": "subscription_update", "p": fields, "v": 1 });
        bytes.extend(frame(0x81, message.to_string().as_bytes()));
    }
    client.client.send_bytes(&bytes);
}

/// Publishes three notes to the inbox of `ann`, whose client this is. Returns the inbox's epoch.
#[track_caller]
fn three_notes(address: SocketAddr, ann: &mut WseClient) -> Value {
    let mut epoch = Value::Null;
    for number in 1..=3 {
        let body = json!({ "user_id": "ann", "type": "note", "payload": { "n": number } });
        post_json(address, "/api/v1/publish", &body);
        epoch = ann.next().json["e"].clone();
    }
    assert!(epoch.is_string());
    epoch
}

fn offsets(messages: &[WseMessage]) -> Vec<u64> {
    messages
        .iter()
        .map(|message| message.json["o"].as_u64().expect("a stamp"))
        .collect()
}

#[test]
fn what_was_missed_comes_first_as_it_was_and_then_the_acknowledgement() {
    everywhere("", |gateway| {
        for topic in TOPICS {
            let mut live = WseClient::open(gateway.address);
            live.subscribe(&[topic]);
            publish(gateway.address, topic, 1..=5);
            let seen: Vec<WseMessage> = (0..5).map(|_| live.next()).collect();
            let epoch = seen[0].json["e"].clone();
            let mut back = WseClient::open(gateway.address);
            back.send_subscribe(&recover(
                &[topic],
                &json!({ topic: { "epoch": epoch, "offset": 2 } }),
            ));
            let (missed, ack) = until_ack(&mut back);
            let texts: Vec<&str> = missed.iter().map(|message| &*message.text).collect();
            let expected: Vec<&str> = seen[2..].iter().map(|message| &*message.text).collect();
            assert_eq!(texts, expected, "as they were");
            assert_eq!(
                ack["recovery"][topic],
                json!({ "epoch": epoch, "offset": 5, "recovered": true, "count": 3 })
            );
            assert_eq!(ack["success_topics"], json!([topic]));
            publish(gateway.address, topic, 6..=6);
            assert_eq!(back.next().json["o"], 6);
            // Nothing was missed.
            let mut back = WseClient::open(gateway.address);
            back.send_subscribe(&recover(
                &[topic],
                &json!({ topic: { "epoch": epoch, "offset": 6 } }),
            ));
            let (missed, ack) = until_ack(&mut back);
            assert!(missed.is_empty(), "{missed:?}");
            assert_eq!(
                ack["recovery"][topic],
                json!({ "epoch": epoch, "offset": 6, "recovered": true, "count": 0 })
            );
        }
    });
}

#[test]
fn a_position_that_is_none_is_not_recovered_and_the_real_one_is_told() {
    everywhere("", |gateway| {
        publish(gateway.address, "t", 1..=3);
        let mut client = WseClient::open(gateway.address);
        let epoch = epoch_of(&mut client, "t");
        for position in [
            // Of another life of the topic; ahead of the head; no position at all.
            json!({ "epoch": "0badcafe", "offset": 1 }),
            json!({ "epoch": "not hexadecimal", "offset": 1 }),
            json!({ "epoch": epoch, "offset": 4 }),
            json!({ "epoch": epoch, "offset": 1u64 << 60 }),
            json!({ "epoch": null, "offset": 1 }),
            json!({ "epoch": epoch, "offset": -1 }),
            json!({ "epoch": epoch }),
            json!(7),
        ] {
            let mut client = WseClient::open(gateway.address);
            client.send_subscribe(&recover(&["t"], &json!({ "t": position })));
            let (missed, ack) = until_ack(&mut client);
            let start = &ack["recovery"]["t"];
            assert_eq!(start["recovered"], false, "{position}: {ack}");
            assert_eq!(start["epoch"], epoch, "{position}: {ack}");
            assert!(missed.is_empty(), "{position}: {missed:?}");
            assert_eq!(
                (&start["offset"], &start["count"]),
                (&json!(3), &json!(0)),
                "{position}: {ack}"
            );
        }
        // A topic that was never published to.
        client.send_subscribe(&recover(
            &["new"],
            &json!({ "new": { "epoch": "0badcafe", "offset": 1 } }),
        ));
        let (missed, ack) = until_ack(&mut client);
        let start = &ack["recovery"]["new"];
        assert!(missed.is_empty());
        assert_eq!(
            (&start["offset"], &start["recovered"], &start["count"]),
            (&json!(0), &json!(false), &json!(0))
        );
    });
}

#[test]
fn without_recover_positions_say_nothing() {
    everywhere("", |gateway| {
        publish(gateway.address, "t", 1..=3);
        let mut client = WseClient::open(gateway.address);
        let epoch = epoch_of(&mut client, "t");
        let fields =
            json!({ "topics": ["t"], "recovery": { "t": { "epoch": epoch, "offset": 1 } } });
        let ack = client.subscribe_with(&fields);
        assert_eq!(
            ack["recovery"]["t"],
            json!({ "epoch": epoch, "offset": 3, "recovered": false, "count": 0 })
        );
    });
}

#[test]
fn every_topic_has_its_own_position() {
    everywhere("", |gateway| {
        let mut client = WseClient::open(gateway.address);
        let mut positions = json!({});
        for (index, topic) in TOPICS.into_iter().enumerate() {
            publish(gateway.address, topic, 1..=10);
            let epoch = epoch_of(&mut client, topic);
            positions[topic] = json!({ "epoch": epoch, "offset": 2 * index + 1 });
        }
        client.send_subscribe(&recover(&["a", "b", "c", "d", "plain"], &positions));
        let (missed, ack) = until_ack(&mut client);
        assert_eq!(ack["success_topics"], json!(["a", "b", "c", "d", "plain"]));
        for (index, topic) in TOPICS.into_iter().enumerate() {
            let of: Vec<WseMessage> = missed
                .iter()
                .filter(|message| message.json["tp"] == topic)
                .cloned()
                .collect();
            let first = 2 * index as u64 + 2;
            assert_eq!(offsets(&of), (first..=10).collect::<Vec<_>>(), "{topic}");
            assert_eq!(ack["recovery"][topic]["count"], 11 - first);
            assert_eq!(ack["recovery"][topic]["recovered"], true);
            assert_eq!(ack["recovery"][topic]["offset"], 10);
        }
        assert_eq!(ack["recovery"]["plain"]["recovered"], false);
    });
}

#[test]
fn more_than_is_kept_gives_the_newest_behind_their_position() {
    everywhere("[hub]\nhistory_size = 4\n", |gateway| {
        for topic in TOPICS {
            publish(gateway.address, topic, 1..=20);
            let mut client = WseClient::open(gateway.address);
            let epoch = epoch_of(&mut client, topic);
            client.send_subscribe(&recover(
                &[topic],
                &json!({ topic: { "epoch": epoch, "offset": 1 } }),
            ));
            let (before, ack) = until_ack(&mut client);
            // First where it goes on, since clients drop what does not follow on; then the loss, and the newest.
            let position = before.first().expect("a position");
            assert_eq!(
                (position.kind(), &position.payload()["action"]),
                ("subscription_update", &json!("recover"))
            );
            let start = &position.payload()["recovery"][topic];
            let (stamped, told): (Vec<WseMessage>, Vec<WseMessage>) = before[1..]
                .iter()
                .cloned()
                .partition(|message| message.json.get("o").is_some());
            let came = offsets(&stamped);
            let first = came[0];
            assert_eq!(start["offset"], first - 1, "{start}");
            assert_eq!(
                (&start["epoch"], &start["recovered"]),
                (&epoch, &json!(false))
            );
            assert_eq!(came, (first..=20).collect::<Vec<_>>());
            assert!(came.len() >= 4 && came.len() < 19, "{came:?}");
            assert_eq!(told.len(), 1, "{told:?}");
            assert_eq!(told[0].kind(), "gap");
            assert_eq!(
                told[0].payload(),
                &json!({ "topic": topic, "lost": first - 2 })
            );
            let end =
                json!({ "epoch": epoch, "offset": 20, "recovered": false, "count": came.len() });
            assert_eq!(ack["recovery"][topic], end);
            publish(gateway.address, topic, 21..=21);
            assert_eq!(client.next().json["o"], 21);
        }
    });
}

#[test]
fn a_topic_that_is_read_already_is_replayed() {
    everywhere("", |gateway| {
        for topic in TOPICS {
            publish(gateway.address, topic, 1..=6);
            let mut client = WseClient::open(gateway.address);
            let ack = client.subscribe(&[topic]);
            let epoch = &ack["recovery"][topic]["epoch"];
            client.send_subscribe(&recover(
                &[topic],
                &json!({ topic: { "epoch": epoch, "offset": 2 } }),
            ));
            let (missed, ack) = until_ack(&mut client);
            assert_eq!(offsets(&missed), [3, 4, 5, 6]);
            assert_eq!(
                ack["recovery"][topic],
                json!({ "epoch": epoch, "offset": 6, "recovered": true, "count": 4 })
            );
            assert_eq!(ack["topics"], json!([topic]));
            // From a position that is none.
            client.send_subscribe(&recover(
                &[topic],
                &json!({ topic: { "epoch": "0badcafe", "offset": 2 } }),
            ));
            let (missed, ack) = until_ack(&mut client);
            assert!(missed.is_empty());
            assert_eq!(
                ack["recovery"][topic],
                json!({ "epoch": epoch, "offset": 6, "recovered": false, "count": 0 })
            );
            publish(gateway.address, topic, 7..=7);
            assert_eq!(client.next().json["o"], 7, "it is read as before, once");
            client.has_nothing();
        }
    });
}

#[test]
fn a_topic_that_is_read_already_gives_the_newest_if_older_are_gone() {
    everywhere("[hub]\nhistory_size = 4\n", |gateway| {
        publish(gateway.address, "t", 1..=20);
        let mut client = WseClient::open(gateway.address);
        let ack = client.subscribe(&["t"]);
        let epoch = &ack["recovery"]["t"]["epoch"];
        client.send_subscribe(&recover(
            &["t"],
            &json!({ "t": { "epoch": epoch, "offset": 1 } }),
        ));
        let (before, ack) = until_ack(&mut client);
        let position = &before[0].payload()["recovery"]["t"];
        let stamped: Vec<WseMessage> = before
            .iter()
            .filter(|message| message.json.get("o").is_some())
            .cloned()
            .collect();
        let came = offsets(&stamped);
        assert_eq!(position["offset"], came[0] - 1, "{before:?}");
        assert_eq!(came, (came[0]..=20).collect::<Vec<_>>());
        assert!(
            before.iter().any(|message| message.kind() == "gap"),
            "{before:?}"
        );
        assert_eq!(
            ack["recovery"]["t"],
            json!({ "epoch": epoch, "offset": 20, "recovered": false, "count": came.len() })
        );
    });
}

#[test]
fn a_topic_that_a_pattern_reads_is_replayed_and_not_subscribed_to() {
    everywhere("", |gateway| {
        publish(gateway.address, "chat.1", 1..=5);
        let mut client = WseClient::open(gateway.address);
        let epoch = epoch_of(&mut client, "chat.1");
        client.subscribe(&["chat.*"]);
        client.send_subscribe(&recover(
            &["chat.1"],
            &json!({ "chat.1": { "epoch": epoch, "offset": 3 } }),
        ));
        let (missed, ack) = until_ack(&mut client);
        assert_eq!(offsets(&missed), [4, 5]);
        assert_eq!(
            ack["recovery"]["chat.1"],
            json!({ "epoch": epoch, "offset": 5, "recovered": true, "count": 2 })
        );
        assert_eq!(ack["topics"], json!(["chat.*"]));
        // Once each, and no more when the pattern has ended.
        publish(gateway.address, "chat.1", 6..=6);
        assert_eq!(client.next().json["o"], 6);
        client.unsubscribe(&["chat.*"]);
        publish(gateway.address, "chat.1", 7..=7);
        client.subscribe(&["after"]);
        publish(gateway.address, "after", 1..=1);
        assert_eq!(client.next().json["tp"], "after");
    });
}

#[test]
fn the_inbox_is_replayed_to_its_user() {
    everywhere("", |gateway| {
        let mut client = WseClient::of(gateway.address, "ann");
        client.settle();
        let inbox = "user:ann:events";
        let epoch = three_notes(gateway.address, &mut client);
        let mut back = WseClient::of(gateway.address, "ann");
        back.send_subscribe(&recover(
            &[inbox],
            &json!({ inbox: { "epoch": epoch, "offset": 1 } }),
        ));
        let (missed, ack) = until_ack(&mut back);
        assert_eq!(offsets(&missed), [2, 3]);
        assert_eq!(ack["recovery"][inbox]["recovered"], true);
        let mut other = WseClient::of(gateway.address, "bob");
        other.send_subscribe(&recover(
            &[inbox],
            &json!({ inbox: { "epoch": epoch, "offset": 1 } }),
        ));
        let (missed, ack) = until_ack(&mut other);
        assert!(missed.is_empty());
        assert_eq!(ack["failed_topics"], json!([inbox]));
    });
}

#[test]
fn an_inbox_that_a_token_denies_is_not_replayed_to_its_user_either() {
    everywhere("", |gateway| {
        let mut client = WseClient::of(gateway.address, "ann");
        client.settle();
        let inbox = "user:ann:events";
        let epoch = three_notes(gateway.address, &mut client);
        let claims = json!({ "fanfare": { "deny": ["user:ann:*"] } });
        let mut denied = WseClient::open_at(gateway.address, &wse_path("ann", &claims));
        let fields = recover(&[inbox], &json!({ inbox: { "epoch": epoch, "offset": 1 } }));
        for _ in 0..2 {
            let (ack, error) = denied.subscribe_failing(&fields);
            assert_eq!(
                (&ack["failed_topics"], &ack["success_topics"]),
                (&json!([inbox]), &json!([])),
                "{ack}"
            );
            assert!(ack.get("recovery").is_none(), "{ack}");
            assert_eq!(error["details"]["topics"], json!([inbox]));
        }
        // Nothing comes behind that, and nothing of what is new: what homes had said before is there first.
        three_notes(gateway.address, &mut client);
        denied.settle();
    });
}

#[test]
fn a_topic_that_is_left_and_taken_again_while_it_is_replayed_is_replayed() {
    everywhere("", |gateway| {
        for topic in TOPICS {
            publish(gateway.address, topic, 1..=6);
            for _ in 0..5 {
                let mut client = WseClient::open(gateway.address);
                let ack = client.subscribe(&[topic]);
                let epoch = &ack["recovery"][topic]["epoch"];
                let plain = json!({ "topics": [topic] });
                let repair = recover(&[topic], &json!({ topic: { "epoch": epoch, "offset": 2 } }));
                send_at_once(
                    &mut client,
                    &[
                        ("subscribe", repair.clone()),
                        ("unsubscribe", plain.clone()),
                        ("subscribe", plain),
                        ("subscribe", repair),
                    ],
                );
                // Once: before it was left, where its home is here, and else behind that.
                let mut came: Vec<u64> = Vec::new();
                while came.len() < 4 {
                    let message = client.next();
                    assert_ne!(message.kind(), "gap", "{message:?}");
                    came.extend(message.json["o"].as_u64());
                }
                assert_eq!(came, [3, 4, 5, 6], "{topic}");
            }
        }
    });
}

#[test]
fn a_topic_that_is_taken_left_and_taken_again_at_once_is_recovered_or_its_loss_is_told() {
    everywhere("", |gateway| {
        for topic in TOPICS {
            publish(gateway.address, topic, 1..=6);
            let epoch = epoch_of(&mut WseClient::open(gateway.address), topic);
            for _ in 0..5 {
                let mut client = WseClient::open(gateway.address);
                let plain = json!({ "topics": [topic] });
                let again = recover(&[topic], &json!({ topic: { "epoch": epoch, "offset": 2 } }));
                send_at_once(
                    &mut client,
                    &[
                        ("subscribe", plain.clone()),
                        ("unsubscribe", plain),
                        ("subscribe", again),
                    ],
                );
                let (mut before, _) = until_ack(&mut client);
                let (missed, ack) = until_ack(&mut client);
                before.extend(missed);
                assert_eq!(ack["topics"], json!([topic]), "{ack}");
                let is_told = ack["recovery"][topic]["recovered"] == false
                    || before.iter().any(|message| message.kind() == "gap");
                before.retain(|message| message.json.get("o").is_some());
                assert!(
                    is_told || offsets(&before) == [3, 4, 5, 6],
                    "{topic}: {ack} {before:?}"
                );
            }
        }
    });
}

#[test]
fn a_topic_without_history_says_so() {
    everywhere("[namespace.\"live.\"]\nhistory_size = 0\n", |gateway| {
        wse_publish(gateway.address, "live.1", "x", &json!({}));
        let mut client = WseClient::open(gateway.address);
        client.send_subscribe(&recover(
            &["live.1", "t"],
            &json!({ "live.1": { "epoch": "0badcafe", "offset": 0 } }),
        ));
        let (missed, ack) = until_ack(&mut client);
        assert!(missed.is_empty());
        let start = ack["recovery"].get("live.1");
        assert!(
            start.is_none_or(|start| start["epoch"].is_null() && start["recovered"] == false),
            "{ack}"
        );
        assert!(ack["recovery"]["t"]["epoch"].is_string());
        wse_publish(gateway.address, "live.1", "x", &json!({}));
        assert!(client.next().json.get("tp").is_none());
    });
}

/// What the published clients do with stamps: they drop what they have, and what does not follow on, for which they
/// then ask.
#[derive(Default)]
struct Model {
    positions: BTreeMap<String, (String, u64)>,
    seen: BTreeMap<String, Vec<u64>>,
    skipped: u64,
}

impl Model {
    /// Takes a message. Returns what has to be asked for.
    fn take(&mut self, message: &WseMessage) -> Option<Value> {
        if message.kind() == "subscription_update" {
            for (topic, start) in message.payload()["recovery"]
                .as_object()
                .into_iter()
                .flatten()
            {
                let Some(epoch) = start["epoch"].as_str() else {
                    continue;
                };
                let place = (epoch.to_owned(), start["offset"].as_u64().unwrap());
                match (start["recovered"] == true, self.positions.get(topic)) {
                    (true, Some(known)) => assert!(
                        place.1 <= known.1 || place.0 != known.0,
                        "ahead of what came"
                    ),
                    (false, Some(known)) if known.0 == place.0 && known.1 < place.1 => {
                        self.skipped += place.1 - known.1;
                        self.positions.insert(topic.clone(), place);
                    }
                    _ => {
                        self.positions.insert(topic.clone(), place);
                    }
                }
            }
            return None;
        }
        let topic = message.json["tp"].as_str()?;
        let (epoch, offset) = (
            message.json["e"].as_str().unwrap(),
            message.json["o"].as_u64().unwrap(),
        );
        let known = self
            .positions
            .get(topic)
            .filter(|known| known.0 == epoch)
            .map(|known| known.1);
        match known {
            Some(last) if offset <= last => return None,
            Some(last) if offset > last + 1 => {
                let fields = recover(
                    &[topic],
                    &json!({ topic: { "epoch": epoch, "offset": last } }),
                );
                return Some(fields);
            }
            _ => {}
        }
        self.positions
            .insert(topic.to_owned(), (epoch.to_owned(), offset));
        let n = message.payload()["n"].as_u64().unwrap();
        self.seen.entry(topic.to_owned()).or_default().push(n);
        None
    }

    fn request(&self, topics: &[&str]) -> Value {
        let positions: BTreeMap<&String, Value> = self
            .positions
            .iter()
            .map(|(topic, (epoch, offset))| (topic, json!({ "epoch": epoch, "offset": offset })))
            .collect();
        recover(topics, &json!(positions))
    }
}

#[test]
fn who_comes_back_again_and_again_while_others_publish_misses_nothing() {
    const EACH: u64 = 300;
    everywhere("[hub]\nhistory_size = 10000\n", |gateway| {
        let address = gateway.address;
        let mut model = Model::default();
        // It knows where each topic begins.
        let mut first = WseClient::open(address);
        first.send_subscribe(&json!({ "topics": TOPICS }));
        model.take(&first.next());
        let publishers: Vec<_> = TOPICS
            .into_iter()
            .map(|topic| thread::spawn(move || publish(address, topic, 1..=EACH)))
            .collect();
        let mut rounds = 0;
        let is_done = |model: &Model| {
            TOPICS.iter().all(|topic| {
                model
                    .seen
                    .get(*topic)
                    .is_some_and(|seen| seen.len() as u64 == EACH)
            })
        };
        while !is_done(&model) {
            rounds += 1;
            assert!(rounds < 10_000, "{:?}", model.positions);
            let mut client = WseClient::greeted(address, "/wse");
            client.hello(&json!({ "compression": true }));
            client.send_subscribe(&model.request(&TOPICS));
            for _ in 0..60 {
                if is_done(&model) {
                    break;
                }
                let message = client.next();
                if let Some(repair) = model.take(&message) {
                    client.send_subscribe(&repair);
                }
            }
        }
        for publisher in publishers {
            publisher.join().unwrap();
        }
        assert_eq!(model.skipped, 0, "nothing was passed over");
        for topic in TOPICS {
            assert_eq!(model.seen[topic], (1..=EACH).collect::<Vec<_>>(), "{topic}");
        }
    });
}

/// What 2.5.1 sends when it reconnects: all its topics in one message.
#[test]
fn a_topic_and_a_pattern_that_covers_it_come_back_in_one_message() {
    everywhere("", |gateway| {
        for topics in [["short.x", "short.*"], ["short.*", "short.x"]] {
            let topic = "short.x";
            let mut model = Model::default();
            let mut first = WseClient::open(gateway.address);
            first.send_subscribe(&json!({ "topics": [topic] }));
            model.take(&first.next());
            publish(gateway.address, topic, 1..=4);
            model.take(&first.next());
            drop(first);
            let mut back = WseClient::open(gateway.address);
            back.send_subscribe(&model.request(&topics));
            while model.seen[topic].len() < 4 && model.skipped == 0 {
                assert_eq!(model.take(&back.next()), None, "it follows on");
            }
            assert_eq!(model.skipped, 0, "{topics:?}: passed over in silence");
            assert_eq!(model.seen[topic], [1, 2, 3, 4], "{topics:?}");
        }
    });
}

#[test]
fn many_equal_requests_are_answered_and_cost_no_more_than_a_few_replays() {
    let gateway = wse_gateway(1, "");
    publish(gateway.address, "t", 1..=50);
    let mut client = WseClient::open(gateway.address);
    let ack = client.subscribe(&["t"]);
    let epoch = &ack["recovery"]["t"]["epoch"];
    let request = recover(&["t"], &json!({ "t": { "epoch": epoch, "offset": 10 } }));
    for _ in 0..100 {
        client.send_subscribe(&request);
    }
    client.send("ping", &json!({ "timestamp": 4242 }));
    let (mut acks, mut last) = (0, 10);
    // Each replay is whole and in order, however many there are.
    loop {
        let message = client.next();
        match message.kind() {
            "PONG" if message.payload()["client_timestamp"] == 4242 && acks > 0 => break,
            "PONG" => client.send("ping", &json!({ "timestamp": 4242 })),
            "subscription_update" => {
                acks += 1;
                // One that was answered meanwhile says only that the topic is read.
                assert!(last == 50 || last == 10, "{last}");
                last = 10;
            }
            _ => {
                let offset = message.json["o"].as_u64().unwrap();
                assert_eq!(offset, last + 1);
                last = offset;
            }
        }
    }
    assert!(acks <= 100);
}
