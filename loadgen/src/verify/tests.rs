use super::*;
use crate::wse::Encoding;

const SHAPE: Shape = Shape {
    topics: 2,
    publishers: 2,
    complete: 2,
    passing: 1,
    slow: 1,
};

fn layout() -> Layout {
    Layout::new(64, 3)
}

fn verifier() -> Verifier {
    let owners = vec![0, 0, 1, 1, 2, 2, 3, 3];
    let names = vec!["t0".into(), "t1".into()];
    Verifier::new(layout(), SHAPE, Wire::WebSocket, names, owners)
}

fn event(topic: u32, publisher: u16, sequence: u32) -> String {
    let mut data = Vec::new();
    layout().write(&mut data, Source { topic, publisher }, sequence, 5);
    let data = String::from_utf8(data).unwrap();
    format!(
        r#"{{"type":"event","event":"t{topic}","event_type":"t{topic}","data":{data},"event_id":"x","timestamp":"2026-01-01T00:00:00.000Z"}}"#
    )
}

/// Feeds events of topic 0 to replica 0 as (publisher, sequence).
fn check(deliveries: &[(u16, u32)], expected: Counts) {
    let mut verifier = verifier();
    verifier.begin(0, 0, 10);
    for &(publisher, sequence) in deliveries {
        verifier.event(event(0, publisher, sequence).as_bytes());
    }
    verifier.end();
    assert_eq!(verifier.counts(), expected, "{deliveries:?}");
}

#[test]
fn planted_faults_are_counted_exactly() {
    let none = Counts::default();
    let received = |received| Counts { received, ..none };
    check(&[(0, 0), (0, 1), (1, 0), (0, 2)], received(4));
    // Lost: 1 and 2.
    let lost = Counts {
        lost: 2,
        ..received(2)
    };
    check(&[(0, 0), (0, 3)], lost);
    // Lost at the very start.
    let lost = Counts {
        lost: 1,
        ..received(1)
    };
    check(&[(0, 1)], lost);
    let duplicated = Counts {
        duplicated: 1,
        ..received(2)
    };
    check(&[(0, 0), (0, 1), (0, 0)], duplicated);
    // Two changed places.
    let reordered = Counts {
        reordered: 1,
        ..received(3)
    };
    check(&[(0, 0), (0, 2), (0, 1)], reordered);
    // Late, and then once more.
    let both = Counts {
        reordered: 1,
        duplicated: 1,
        ..received(3)
    };
    check(&[(0, 0), (0, 2), (0, 1), (0, 1)], both);
    // Late from the middle of a gap; its ends stay lost.
    let middle = Counts {
        reordered: 1,
        lost: 2,
        ..received(3)
    };
    check(&[(0, 0), (0, 4), (0, 2)], middle);
}

#[test]
fn corrupt_and_misrouted_events_are_counted() {
    let mut verifier = verifier();
    verifier.begin(0, 0, 10);
    for sequence in 0..10 {
        verifier.event(event(0, 0, sequence).as_bytes());
    }
    let good = event(0, 0, 10);
    let wrong_name = good.replace("t0", "t1");
    let padding_changed = {
        let at = good.find("\",\"event_id").unwrap() - 1;
        let mut bytes = good.clone().into_bytes();
        bytes[at] ^= 1;
        String::from_utf8(bytes).unwrap()
    };
    for bad in [&wrong_name, &padding_changed, &good[..good.len() - 1]] {
        verifier.event(bad.as_bytes());
    }
    // From the future, and from a publisher that does not exist.
    verifier.event(event(0, 7, 0).as_bytes());
    // Of another connection.
    verifier.begin(1, 0, 10);
    verifier.event(event(0, 0, 10).as_bytes());
    verifier.end();
    let counts = verifier.counts();
    assert_eq!(counts.received, 10);
    assert_eq!((counts.corrupt, counts.misrouted), (2, 3));
    assert_eq!(counts.lost + counts.duplicated + counts.reordered, 0);
}

/// An event as the gateway packs it.
fn packed_event(sequence: u32) -> Vec<u8> {
    #[derive(serde::Serialize)]
    struct PackedEvent<'a> {
        r#type: &'a str,
        event: &'a str,
        event_type: &'a str,
        data: &'a str,
        event_id: &'a str,
        timestamp: &'a str,
    }
    let text = event(0, 0, sequence);
    let event: serde_json::Value = serde_json::from_str(&text).unwrap();
    let field = |name: &str| event[name].as_str().unwrap();
    let event = PackedEvent {
        r#type: field("type"),
        event: field("event"),
        event_type: field("event_type"),
        data: field("data"),
        event_id: field("event_id"),
        timestamp: field("timestamp"),
    };
    rmp_serde::to_vec_named(&event).unwrap()
}

#[test]
fn every_changed_byte_is_a_fault() {
    check_changes(Format::Json, |sequence| event(0, 0, sequence).into_bytes());
}

#[test]
fn every_changed_byte_of_a_packed_event_is_a_fault() {
    check_changes(Format::Msgpack, packed_event);
}

fn check_changes(format: Format, event: impl Fn(u32) -> Vec<u8>) {
    let verify = |bytes: &[u8]| {
        let layout = Layout::with_format(format, 64, 3);
        let owners = vec![0, 0, 1, 1, 2, 2, 3, 3];
        let mut verifier = Verifier::new(
            layout,
            SHAPE,
            Wire::WebSocket,
            vec!["t0".into(), "t1".into()],
            owners,
        );
        verifier.begin(0, 0, 10);
        verifier.event(&event(0));
        verifier.event(bytes);
        verifier.end();
        assert_eq!(verifier.parses() > 1, bytes != event(1));
        verifier.counts()
    };
    let good = event(1);
    let find = |what: &str| {
        let mut windows = good.windows(what.len());
        windows
            .position(|window| window == what.as_bytes())
            .unwrap()
    };
    let (tail, data) = (find("event_id"), find("fanfare") - 1);
    assert_eq!((verify(&good).received, verify(&good).faults()), (2, 0));
    for at in 0..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 0x01;
        // Event ids, timestamps and the send time may be anything well-formed.
        let is_free = at >= tail - 1 || (data + 24..data + 40).contains(&at);
        if !is_free {
            assert!(verify(&bytes).faults() > 0, "byte {at} of {good:x?}");
        }
    }
}

#[test]
fn what_never_came_is_lost_in_the_end() {
    let mut verifier = verifier();
    for replica in 0..2 {
        verifier.begin(replica as u32, replica, 10);
        for sequence in 0..3 {
            verifier.event(event(0, 0, sequence).as_bytes());
        }
        verifier.end();
    }
    let verdict = verifier.finish(&[5, 0, 0, 0]);
    assert_eq!(verdict.counts.lost, 4);
    assert_eq!(verdict.topics_disagreeing, None);
    assert_eq!(verifier.take_delivered(0), 6);
    assert_eq!(verifier.take_delivered(0), 0);
}

#[test]
fn two_orders_of_two_publishers_disagree() {
    let feed = |orders: [&[(u16, u32)]; 2]| {
        let mut verifier = verifier();
        for (replica, order) in orders.into_iter().enumerate() {
            verifier.begin(replica as u32, replica, 10);
            for &(publisher, sequence) in order {
                verifier.event(event(1, publisher, sequence).as_bytes());
            }
            verifier.end();
        }
        let verdict = verifier.finish(&[0, 0, 2, 1]);
        assert_eq!(verdict.counts.faults(), 0);
        verdict.topics_disagreeing
    };
    let one: &[_] = &[(0, 0), (1, 0), (0, 1)];
    assert_eq!(feed([one, one]), Some(0));
    assert_eq!(feed([one, &[(0, 0), (0, 1), (1, 0)]]), Some(1));
}

#[test]
fn passing_replicas_start_anywhere_and_slow_ones_keep_their_own_counts() {
    let mut verifier = verifier();
    for life in 0..2 {
        verifier.begin(2, 2, 10);
        verifier.event(event(0, 0, 70 + life * 100).as_bytes());
        verifier.event(event(0, 0, 72 + life * 100).as_bytes());
        verifier.end();
        verifier.restart(2);
    }
    verifier.begin(3, 3, 10);
    verifier.event(event(0, 0, 0).as_bytes());
    verifier.event(event(0, 0, 9).as_bytes());
    verifier.end();
    let counts = verifier.counts();
    assert_eq!((counts.received, counts.lost), (4, 2));
    let slow = verifier.slow_counts();
    assert_eq!((slow.received, slow.lost), (2, 8));
    assert_eq!(verifier.take_delivered(0), 0);
}

#[test]
fn events_of_a_stream_are_checked_as_strictly() {
    let owners = vec![0, 0, 1, 1, 2, 2, 3, 3];
    let names = vec!["t0".into(), "t1".into()];
    let mut verifier = Verifier::new(layout(), SHAPE, Wire::Sse, names, owners);
    let text = |sequence: u32| {
        let mut text = b"event: t0\ndata: ".to_vec();
        let source = Source {
            topic: 0,
            publisher: 0,
        };
        layout().write(&mut text, source, sequence, 5);
        text.push(b'\n');
        text
    };
    verifier.begin(0, 0, 10);
    verifier.first_event(&text(0));
    verifier.event(&text(1));
    assert_eq!(verifier.parses(), 1, "the second one is what was expected");
    let mut two_lines = text(2);
    two_lines.extend(b"data: x\n");
    let mut misnamed = text(2);
    misnamed[8] = b'1';
    let mut changed = text(2);
    changed[60] ^= 1;
    for bad in [&two_lines[..], &changed, b"data: x\n", b"\n", b""] {
        verifier.event(bad);
    }
    verifier.event(&misnamed);
    verifier.event(b"event: gap\ndata: {}\n");
    verifier.event(&text(3));
    verifier.end();
    let expected = Counts {
        received: 3,
        lost: 1,
        corrupt: 5,
        misrouted: 1,
        other: 1,
        ..Counts::default()
    };
    assert_eq!(verifier.counts(), expected);
}

#[test]
fn messages_of_other_products_are_checked_as_strictly() {
    let around = [
        (Foreign::Nchan, "", ""),
        (Foreign::Uwebsockets, "", ""),
        (Foreign::DurableStreams, "", ""),
        (Foreign::Nats, "MSG t0 1 64\r\n", "\r\n"),
        (
            Foreign::Centrifugo,
            r#"{"push":{"channel":"t0","pub":{"data":"#,
            r#","info":{"client":"x"}}}}"#,
        ),
        (
            Foreign::Sockudo,
            r#"{"event":"client-m","channel":"private-t0","data":"#,
            "}",
        ),
        (
            Foreign::Wse,
            r#"{"c":"U","t":"event","p":{"topic":"t0","data":"#,
            "}}",
        ),
    ];
    let shape = Shape {
        topics: 1,
        publishers: 1,
        complete: 1,
        passing: 0,
        slow: 0,
    };
    let source = Source {
        topic: 0,
        publisher: 0,
    };
    for (foreign, before, tail) in around {
        let message = |sequence| {
            let mut bytes = before.as_bytes().to_vec();
            layout().write(&mut bytes, source, sequence, 5);
            bytes.extend_from_slice(tail.as_bytes());
            bytes
        };
        let verify = |messages: &[Vec<u8>]| {
            let names = vec!["t0".into()];
            let wire = Wire::Foreign(foreign);
            let mut verifier = Verifier::new(layout(), shape, wire, names, vec![0]);
            verifier.begin(0, 0, 10);
            for message in messages {
                verifier.event(message);
            }
            verifier.end();
            (verifier.counts(), verifier.parses())
        };
        let received = |received| Counts {
            received,
            ..Counts::default()
        };
        // The first teaches, the others are compared in place.
        let good = [message(0), message(1), message(2)];
        assert_eq!(verify(&good), (received(3), 1), "{foreign:?}");
        let (counts, _) = verify(&[message(0), message(2), message(2)]);
        let expected = Counts {
            lost: 1,
            duplicated: 1,
            ..received(2)
        };
        assert_eq!(counts, expected, "{foreign:?}");
        // Another time that has passed is as good as the one that was sent.
        let time = before.len() + 24..before.len() + 40;
        let data = before.len()..message(1).len() - tail.len();
        for at in data.filter(|at| !time.contains(at)) {
            let mut changed = message(1);
            changed[at] ^= 1;
            let (counts, _) = verify(&[message(0), changed]);
            assert_ne!(counts.faults(), 0, "{foreign:?} at {at}");
        }
    }
}

/// A message of wse with its offset.
fn stamped(sequence: u32, epoch: &str, offset: u64) -> String {
    let mut data = Vec::new();
    let source = Source {
        topic: 0,
        publisher: 0,
    };
    layout().write(&mut data, source, sequence, 5);
    let data = String::from_utf8(data).unwrap();
    format!(
        r#"{{"tp":"t0","e":"{epoch}","o":{offset},"c":"U","t":"m","p":{{"data":{data}}},"v":1}}"#
    )
}

/// Feeds messages of wse as (sequence, offset) to the two subscribers of a topic.
fn check_stamps(deliveries: [&[(u32, u64)]; 2], expected: Counts) -> Verifier {
    let shape = Shape {
        topics: 1,
        publishers: 1,
        complete: 2,
        passing: 0,
        slow: 0,
    };
    let wire = Wire::Foreign(Foreign::Gateway(Encoding::Json));
    let mut verifier = Verifier::new(layout(), shape, wire, vec!["t0".into()], vec![0, 1]);
    for (replica, deliveries) in deliveries.into_iter().enumerate() {
        verifier.begin(replica as u32, replica, 10);
        for &(sequence, offset) in deliveries {
            verifier.event(stamped(sequence, "e1", offset).as_bytes());
        }
        verifier.end();
    }
    assert_eq!(verifier.counts(), expected, "{deliveries:?}");
    verifier
}

#[test]
fn offsets_follow_each_other_from_wherever_a_topic_begins() {
    let counts = |received, misnumbered| Counts {
        received,
        misnumbered,
        ..Counts::default()
    };
    let all: Vec<_> = (0..200).map(|at| (at, u64::from(at) + 95)).collect();
    let verifier = check_stamps([&all, &all], counts(400, 0));
    // One to learn from; the length of the number changes on the fast path.
    assert_eq!(verifier.parses(), 1);
    check_stamps([&all, &[(0, 95), (1, 97), (2, 97)]], counts(203, 1));
    // The same messages at other offsets, at one of the subscribers.
    check_stamps([&all, &[(0, 94), (1, 95)]], counts(202, 2));
}

#[test]
fn offsets_of_missing_and_late_messages_are_known() {
    let counts = |received, lost, reordered, duplicated, misnumbered| Counts {
        received,
        lost,
        reordered,
        duplicated,
        misnumbered,
        ..Counts::default()
    };
    let first: &[_] = &[(0, 5), (1, 6), (2, 7), (3, 8)];
    let check = |second, expected| check_stamps([first, second], expected);
    check(&[(0, 5), (3, 8)], counts(6, 2, 0, 0, 0));
    // A message that is left out has an offset of its own.
    check(&[(0, 5), (3, 6)], counts(6, 2, 0, 0, 1));
    check(&[(0, 5), (2, 7), (1, 6)], counts(7, 0, 1, 0, 0));
    check(&[(0, 5), (2, 6), (1, 7)], counts(7, 0, 1, 0, 2));
    check(&[(0, 5), (0, 5)], counts(5, 0, 0, 1, 0));
    check(&[(0, 5), (0, 6)], counts(5, 0, 0, 1, 1));
    // Missing where the topic begins.
    check_stamps([&[(1, 6)], &[(0, 5)]], counts(2, 1, 0, 0, 0));
}

#[test]
fn another_epoch_is_a_fault() {
    let mut verifier = check_stamps(
        [&[(0, 5)], &[(0, 5)]],
        Counts {
            received: 2,
            ..Counts::default()
        },
    );
    verifier.begin(0, 0, 10);
    for (sequence, epoch) in [(1, "e2"), (2, "e1")] {
        let text = stamped(sequence, epoch, u64::from(sequence) + 5);
        verifier.event(text.as_bytes());
    }
    verifier.end();
    assert_eq!(verifier.counts().misnumbered, 1);
}
