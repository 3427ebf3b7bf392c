//! Messages of the wse protocol made to hurt (hostile-inputs.md M17 to M19, M21).

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use serde_json::{Value, json};

use crate::support::{Client, TestGateway};

const LIMIT: usize = 64 * 1024;

fn gateway() -> TestGateway {
    TestGateway::from_toml("[wse]\nmax_message_size = \"64KiB\"\n", |_| {})
}

/// The next message that is neither the greeting nor a heartbeat.
fn next(client: &mut Client) -> Value {
    loop {
        let got = client.json();
        if got["t"] != "server_ready" && got["t"] != "PING" {
            return got;
        }
    }
}

/// The code of the error that answers a frame.
#[track_caller]
fn refused(client: &mut Client, first: u8, payload: &[u8]) -> String {
    client.send(first, payload);
    let got = next(client);
    let code = got["p"]["code"].as_str();
    code.unwrap_or_else(|| panic!("{got}")).to_owned()
}

/// The connection goes on.
#[track_caller]
fn check_alive(client: &mut Client) {
    client.send(0x81, br#"{"t":"ping","p":{"timestamp":7}}"#);
    let got = next(client);
    assert_eq!(
        (&got["t"], &got["p"]["client_timestamp"]),
        (&"PONG".into(), &7.into()),
        "{got}"
    );
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut packed = ZlibEncoder::new(b"C:".to_vec(), Compression::best());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

#[test]
fn m17_what_is_no_envelope_is_answered_and_the_connection_stays() {
    let gateway = gateway();
    let mut client = Client::connect(gateway.address, "/wse");
    for text in [
        "",
        "x",
        "[]",
        "WSE",
        "WSE{",
        "WSE {}",
        "SU{}",
        "{}{}",
        r#"{"t":"ping""#,
        r#"{"t":"\ud800"}"#,
        r#"{"t":"x","p":{"a":NaN}}"#,
        "PING:123456789012345678901",
        "PING:-1",
        &"{\"a\":".repeat(10_000),
        &"[".repeat(LIMIT),
    ] {
        let code = refused(&mut client, 0x81, text.as_bytes());
        assert_eq!(code, "INVALID_MESSAGE", "{text:.60}");
    }
    // Fields of other kinds than they have are none.
    for text in [
        "{}",
        r#"{"t":5,"type":null,"p":[],"id":{},"cid":[],"seq":-1,"pri":"x","sig":{}}"#,
        r#"{"t":"","p":0}"#,
    ] {
        assert_eq!(
            refused(&mut client, 0x81, text.as_bytes()),
            "INVALID_MESSAGE",
            "{text}"
        );
    }
    for (text, code) in [
        (
            r#"{"t":"subscription_update","p":{"action":[],"topics":{}}}"#,
            "INVALID_ACTION",
        ),
        (
            r#"{"t":"subscription_update","p":{"action":"subscribe","topics":[1]}}"#,
            "INVALID_SUBSCRIPTION",
        ),
        (r#"{"t":"publish","p":[]}"#, "INVALID_MESSAGE"),
        (r#"{"t":"batch","p":{"messages":{}}}"#, "INVALID_MESSAGE"),
        (
            r#"{"t":"presence_update","p":{"topic":"a","data":1}}"#,
            "INVALID_MESSAGE",
        ),
    ] {
        assert_eq!(refused(&mut client, 0x81, text.as_bytes()), code, "{text}");
    }
    check_alive(&mut client);
}

#[test]
fn m18_what_is_compressed_has_the_limit_of_what_it_holds() {
    let gateway = gateway();
    let mut client = Client::connect(gateway.address, "/wse");
    let good = zlib(br#"{"t":"ping"}"#);
    for bad in [
        &good[..good.len() - 1],
        &[&good[..], b"x"].concat(),
        b"\x78\x9c",
        b"C:\x78\x9c\xff\xff\xff\xff",
    ] {
        assert_eq!(
            refused(&mut client, 0x82, bad),
            "INVALID_MESSAGE",
            "{bad:?}"
        );
    }
    assert_eq!(
        refused(&mut client, 0x82, &zlib(b"\xff\xfe")),
        "INVALID_MESSAGE"
    );
    // A message of the limit passes.
    let mut full = br#"{"t":"ping","p":{"timestamp":7},"x":""#.to_vec();
    full.resize(LIMIT - 2, b'x');
    full.extend(br#""}"#);
    client.send(0x82, &zlib(&full));
    assert_eq!(next(&mut client)["t"], "PONG");
    // One byte more is the end, and so is whatever a few bytes claim to be.
    for len in [LIMIT + 1, 40 << 20] {
        let mut client = Client::connect(gateway.address, "/wse");
        client.send(0x82, &zlib(&vec![b' '; len]));
        assert_eq!(client.until_close(), Some(1009), "{len}");
    }
    check_alive(&mut client);
}

#[test]
fn m19_announced_lengths_and_depths_of_messagepack_are_not_believed() {
    let gateway = gateway();
    let mut client = Client::connect(gateway.address, "/wse");
    let deep = [&b"M:\x81\xa1t"[..], &b"\x91".repeat(10_000), b"\xc0"].concat();
    for bad in [
        &b"M:"[..],
        b"M:\xdf\xff\xff\xff\xff",
        b"M:\x81\xa1t\xdd\xff\xff\xff\xff",
        b"M:\x81\xa1t\xdb\xff\xff\xff\xffx",
        b"M:\x81\xa1t\xa4ping!",
        b"M:\xc1",
        &deep,
    ] {
        assert_eq!(
            refused(&mut client, 0x82, bad),
            "INVALID_MESSAGE",
            "{bad:.20?}"
        );
    }
    check_alive(&mut client);
}

#[test]
fn m21_a_position_that_proves_nothing_is_answered_with_the_topics_own() {
    let gateway = gateway();
    let mut client = Client::connect(gateway.address, "/wse");
    client.send(
        0x81,
        br#"{"t":"publish","p":{"topic":"a","data":1},"cid":1}"#,
    );
    assert_eq!(next(&mut client)["t"], "publish_ack");
    let positions = [
        r#"{"a":{"epoch":"","offset":0}}"#,
        r#"{"a":{"epoch":"zz","offset":0}}"#,
        r#"{"a":{"epoch":"ffffffffffffffffff","offset":0}}"#,
        r#"{"a":{"epoch":"1","offset":18446744073709551615}}"#,
        r#"{"a":{"epoch":"1","offset":-1}}"#,
        r#"{"a":{"epoch":"1","offset":1.5}}"#,
        r#"{"a":{"epoch":1,"offset":1}}"#,
        r#"{"a":{"epoch":"1","offset":99999999999999999999999}}"#,
        r#"{"a":{"epoch":null,"offset":null}}"#,
        r#"{"a":7,"b":{"epoch":"1","offset":1}}"#,
        "[]",
        "null",
    ];
    for (published, recovery) in (1..).zip(positions) {
        let mut client = Client::connect(gateway.address, "/wse");
        let text = format!(
            r#"{{"t":"subscription_update","p":{{"action":"subscribe","topics":["a"],"recover":true,"recovery":{recovery}}}}}"#
        );
        client.send(0x81, text.as_bytes());
        let got = next(&mut client);
        let place = &got["p"]["recovery"]["a"];
        assert_eq!(
            (&place["offset"], &place["recovered"]),
            (&json!(published), &json!(false)),
            "{recovery}: {got}"
        );
        // A gap may follow, and whatever it was, messages do.
        client.send(
            0x81,
            br#"{"t":"publish","p":{"topic":"a","data":{"more":1}}}"#,
        );
        let event = loop {
            let got = next(&mut client);
            if got["tp"] == "a" {
                break got;
            }
            assert_eq!(got["t"], "gap", "{recovery}: {got}");
        };
        assert_eq!(event["p"]["more"], 1, "{recovery}: {event}");
    }
}
