//! Formats: JSON, compressed JSON and MessagePack, in both directions.

use serde_json::{Value, json};

use super::everywhere;
use crate::support::{
    WseApp, WseClient, WseForm, deflate, post_json, wse_gateway, wse_hello, wse_publish,
};

/// A payload whose message is this many bytes in topic `t`, with type `x`, at offset `offset`.
fn sized(epoch: &str, offset: u64, len: usize) -> Value {
    let frame =
        format!(r#"{{"tp":"t","e":"{epoch}","o":{offset},"c":"U","t":"x","p":{{"d":""}},"v":1}}"#);
    json!({ "d": "y".repeat(len - frame.len()) })
}

fn zlib_client(address: std::net::SocketAddr) -> WseClient {
    let mut client = WseClient::greeted(address, "/wse");
    client.hello(&json!({ "compression": true }));
    client
}

#[test]
fn large_messages_are_compressed_for_those_who_say_that_they_can() {
    everywhere("[events]\nmax_message_size = \"1MiB\"\n", |gateway| {
        let mut plain = WseClient::open(gateway.address);
        let mut zlib = zlib_client(gateway.address);
        let ack = zlib.subscribe(&["t"]);
        plain.subscribe(&["t"]);
        let epoch = ack["recovery"]["t"]["epoch"].as_str().unwrap();
        for (offset, (len, form)) in [
            (1023, WseForm::Text),
            (1024, WseForm::Zlib),
            (100_000, WseForm::Zlib),
            (200, WseForm::Text),
        ]
        .into_iter()
        .enumerate()
        {
            let offset = offset as u64 + 1;
            let data = sized(epoch, offset, len);
            assert_eq!(wse_publish(gateway.address, "t", "x", &data), offset);
            let message = zlib.next();
            assert_eq!((message.form, message.text.len()), (form, len));
            let other = plain.next();
            assert_eq!((other.form, &other.text), (WseForm::Text, &message.text));
            assert_eq!(message.payload(), &data);
        }
    });
}

#[test]
fn compressed_messages_are_small_and_made_of_zlib() {
    let gateway = wse_gateway(1, "");
    let mut client = zlib_client(gateway.address);
    client.subscribe(&["t"]);
    wse_publish(
        gateway.address,
        "t",
        "x",
        &json!({ "list": vec![json!({ "bid": 1.25 }); 1000] }),
    );
    let frame = client.client.next().unwrap();
    assert_eq!(frame.first, 0x82);
    assert!(
        frame.payload.starts_with(b"C:\x78"),
        "{:?}",
        &frame.payload[..4]
    );
    assert!(frame.payload.len() < 1000, "{}", frame.payload.len());
}

#[test]
fn who_has_permessage_deflate_gets_no_second_compression() {
    let gateway = wse_gateway(1, "");
    let offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";
    let mut client = WseClient {
        client: crate::support::Client::connect_with(gateway.address, "/wse", offer),
        ready: Value::Null,
    };
    if !client.client.head.contains("permessage-deflate") {
        return;
    }
    let unpack = |client: &mut WseClient| -> String {
        let frame = client.client.next().expect("a frame, not the end");
        let bytes = match frame.first {
            0x81 => frame.payload,
            0xc1 => {
                let mut out = Vec::with_capacity(1 << 20);
                let packed = [&frame.payload[..], &[0, 0, 0xff, 0xff]].concat();
                flate2::Decompress::new_with_window_bits(false, 15)
                    .decompress_vec(&packed, &mut out, flate2::FlushDecompress::Sync)
                    .unwrap();
                out
            }
            first => panic!("a text frame, not {first:x}"),
        };
        String::from_utf8(bytes).unwrap()
    };
    let until = |client: &mut WseClient, kind: &str| -> Value {
        loop {
            let message: Value = serde_json::from_str(&unpack(client)).unwrap();
            if message["t"] == kind {
                return message;
            }
        }
    };
    client.say(&wse_hello(&json!({ "compression": true })));
    until(&mut client, "server_hello");
    client.send_subscribe(&json!({ "topics": ["t"] }));
    until(&mut client, "subscription_update");
    let data = json!({ "d": "z".repeat(50_000) });
    wse_publish(gateway.address, "t", "x", &data);
    assert_eq!(until(&mut client, "x")["p"], data);
}

#[test]
fn with_format_msgpack_topics_and_direct_messages_are_messagepack() {
    everywhere("[backend]\nenabled = true\n", |gateway| {
        let mut app = WseApp::attach(gateway.address);
        let mut client =
            WseClient::open_at(gateway.address, "/wse?client_version=2&format=msgpack");
        let data = json!({ "i": 2, "f": 1.5, "s": "ä", "n": null, "l": [true, -1, 1u64 << 40], "big": "y".repeat(5000) });
        client.settle();
        client.subscribe(&["t"]);
        wse_publish(gateway.address, "t", "x", &data);
        let message = client.next();
        assert_eq!((message.form, message.kind()), (WseForm::Msgpack, "x"));
        assert_eq!(message.payload(), &data);
        assert_eq!(
            (&message.json["tp"], &message.json["o"]),
            (&json!("t"), &json!(1))
        );
        assert!(message.json["e"].is_string());
        app.run(&json!({ "op": "send", "conn": client.id(), "type": "direct", "data": data }));
        let message = client.next();
        assert_eq!((message.form, message.kind()), (WseForm::Msgpack, "direct"));
        assert_eq!(message.payload(), &data);
        let body = json!({ "user_id": client.user(), "type": "note", "payload": data });
        post_json(gateway.address, "/api/v1/publish", &body);
        let message = client.next();
        assert_eq!(
            (message.form, message.kind(), message.payload()),
            (WseForm::Msgpack, "note", &data)
        );
        // Control is text for every client.
        client.send("ping", &json!({ "timestamp": 1 }));
        assert_eq!(client.next().form, WseForm::Text);
    });
}

/// A message in every form that is understood: first byte and payload of its frame.
fn forms(message: &Value) -> Vec<(u8, Vec<u8>)> {
    let text = message.to_string();
    let packed = rmp_serde::to_vec_named(message).unwrap();
    let prefixed = format!("U{text}");
    vec![
        (0x81, text.clone().into_bytes()),
        (0x82, text.clone().into_bytes()),
        (0x82, [b"C:", &deflate(text.as_bytes())[..]].concat()),
        (0x82, deflate(text.as_bytes())),
        (0x82, [b"M:", &packed[..]].concat()),
        (0x82, packed),
        (0x82, [b"C:", &deflate(prefixed.as_bytes())[..]].concat()),
    ]
}

#[test]
fn a_client_may_speak_in_every_form() {
    everywhere("[backend]\nenabled = true\n", |gateway| {
        let mut app = WseApp::attach(gateway.address);
        for path in ["/wse", "/wse?format=msgpack"] {
            let count = forms(&json!({})).len();
            for index in 0..count {
                let mut client = WseClient::open_at(gateway.address, path);
                let ping = json!({ "c": "WSE", "t": "ping", "p": { "timestamp": 42 }, "v": 1 });
                let (first, payload) = forms(&ping).swap_remove(index);
                client.client.send(first, &payload);
                let pong = client.next();
                assert_eq!(
                    (pong.kind(), &pong.payload()["client_timestamp"]),
                    ("PONG", &json!(42)),
                    "form {index}"
                );
                let own =
                    json!({ "c": "U", "t": "order", "p": { "n": 7, "s": "ä" }, "id": "i", "v": 1 });
                let (first, payload) = forms(&own).swap_remove(index);
                client.client.send(first, &payload);
                let told = app.next("message");
                assert_eq!(
                    (&told["type"], &told["id"], &told["dialect"]),
                    (&json!("order"), &json!("i"), &json!("wse"))
                );
                assert_eq!(told["data"], own, "form {index}");
            }
        }
    });
}

#[test]
fn what_is_not_what_it_says_is_an_error() {
    everywhere("", |gateway| {
        let mut client = WseClient::open(gateway.address);
        let good = deflate(br#"{"t":"ping"}"#);
        for bytes in [
            [b"C:", &good[..good.len() - 3]].concat(),
            good[..good.len() - 3].to_vec(),
            b"M:\xc1".to_vec(),
            b"M:\x81".to_vec(),
            [b"C:", &deflate(b"\xff\xfe")[..]].concat(),
        ] {
            client.client.send(0x82, &bytes);
            client.error("INVALID_MESSAGE");
        }
        client.has_nothing();
        // More than a megabyte in a kilobyte.
        client
            .client
            .send(0x82, &[b"C:", &deflate(&vec![b' '; 2 << 20])[..]].concat());
        assert_eq!(client.until_close().1, Some(1009));
    });
}

#[test]
fn messagepack_is_as_deep_as_64_and_no_deeper() {
    let gateway = wse_gateway(1, "");
    let mut client = WseClient::open(gateway.address);
    let mut deep = b"M:".to_vec();
    deep.extend([0x81, 0xa1, b'p'].repeat(100_000));
    deep.push(0xc0);
    client.client.send(0x82, &deep);
    client.error("INVALID_MESSAGE");
    let text = [
        b"{\"p\":".repeat(100_000),
        b"1".to_vec(),
        b"}".repeat(100_000),
    ]
    .concat();
    client.client.send(0x81, &text);
    client.error("INVALID_MESSAGE");
    client.has_nothing();
}
