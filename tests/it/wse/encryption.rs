//! End-to-end encryption: keys agreed on in the hello or by a request, and everything but heartbeats encrypted.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, agree};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::everywhere;
use crate::support::{
    WseApp, WseClient, WseForm, WseMessage, deflate, wse_gateway, wse_hello, wse_path, wse_publish,
};

/// A client's pair of keys.
struct Pair(PrivateKey);

impl Pair {
    fn new() -> Self {
        Self(PrivateKey::generate(&ECDH_P256).unwrap())
    }

    fn public(&self) -> String {
        STANDARD.encode(self.0.compute_public_key().unwrap())
    }

    /// The key that follows from the gateway's public one, as clients of 2.x derive it.
    fn key(&self, public: &Value) -> Key {
        let point = STANDARD
            .decode(public.as_str().expect("a public key"))
            .unwrap();
        assert_eq!((point.len(), point[0]), (65, 4), "an uncompressed point");
        let public = UnparsedPublicKey::new(&ECDH_P256, point);
        agree(&self.0, public, "agreement", |shared| {
            let secret = Salt::new(HKDF_SHA256, &[]).extract(shared);
            let info = [&b"wse-encryption/aes-gcm-key"[..]];
            let key: UnboundKey = secret.expand(&info, &AES_256_GCM).unwrap().into();
            Ok(Key(LessSafeKey::new(key)))
        })
        .unwrap()
    }
}

struct Key(LessSafeKey);

impl Key {
    fn seal(&self, text: &[u8]) -> Vec<u8> {
        let mut iv = [0; 12];
        aws_lc_rs::rand::fill(&mut iv).unwrap();
        let mut sealed = text.to_vec();
        let nonce = Nonce::assume_unique_for_key(iv);
        self.0
            .seal_in_place_append_tag(nonce, Aad::empty(), &mut sealed)
            .unwrap();
        [b"E:", &iv[..], &sealed].concat()
    }

    fn open(&self, payload: &[u8]) -> Option<Vec<u8>> {
        let (iv, sealed) = payload.strip_prefix(b"E:")?.split_first_chunk::<12>()?;
        let mut text = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*iv);
        let len = self
            .0
            .open_in_place(nonce, Aad::empty(), &mut text)
            .ok()?
            .len();
        text.truncate(len);
        Some(text)
    }
}

/// A client whose connection is encrypted.
pub(crate) struct Secret {
    pub wse: WseClient,
    pair: Pair,
    key: Key,
}

impl Secret {
    pub(crate) fn open(address: std::net::SocketAddr, path: &str) -> Self {
        let mut wse = WseClient::greeted(address, path);
        let pair = Pair::new();
        let mut hello = wse_hello(&json!({ "encryption": true, "compression": true }));
        hello["p"]["encryption_public_key"] = pair.public().into();
        wse.say(&hello);
        let answer = wse.next();
        assert_eq!(
            (answer.kind(), answer.form),
            ("server_hello", WseForm::Text)
        );
        assert_eq!(answer.payload()["features"]["encryption"], true);
        let key = pair.key(&answer.payload()["encryption_public_key"]);
        Self { wse, pair, key }
    }

    /// Sends a message, encrypted.
    pub(crate) fn say(&mut self, message: &Value) {
        let sealed = self.key.seal(message.to_string().as_bytes());
        self.wse.client.send(0x82, &sealed);
    }

    /// The next message, which has to be encrypted.
    #[track_caller]
    fn next(&mut self) -> WseMessage {
        let mut frame = self.wse.client.next().expect("a frame, not the end");
        while frame.payload.starts_with(br#"{"c":"WSE","t":"PING""#) {
            frame = self.wse.client.next().expect("a frame, not the end");
        }
        let text = String::from_utf8_lossy(&frame.payload);
        assert_eq!(frame.first, 0x82, "in clear: {text}");
        assert!(frame.payload.starts_with(b"E:"), "in clear: {text}");
        let text = self
            .key
            .open(&frame.payload)
            .expect("encrypted with the key");
        let plain = WseMessage::of_text(&text);
        assert_eq!(plain.form, WseForm::Text, "text, which clients decode");
        plain
    }

    #[track_caller]
    pub(crate) fn expect(&mut self, kind: &str) -> Value {
        let message = self.next();
        assert_eq!(message.kind(), kind, "{message:?}");
        message.payload().clone()
    }

    pub(crate) fn subscribe(&mut self, topics: &[&str]) -> Value {
        let p = json!({ "action": "subscribe", "topics": topics });
        self.say(&json!({ "c": "WSE", "t": "subscription_update", "p": p, "v": 1 }));
        self.expect("subscription_update")
    }
}

#[test]
fn everything_is_encrypted_but_heartbeats() {
    let toml = "[backend]\nenabled = true\n[http]\nmax_body_size = \"2MiB\"\n[events]\nmax_message_size = \"1MiB\"\n[hub]\npresence = true\npresence_grace = \"0s\"\n";
    everywhere(toml, |gateway| {
        let mut app = WseApp::attach(gateway.address);
        let mut secret = Secret::open(gateway.address, &wse_path("ann", &json!({})));
        let conn = app.next("connect")["conn"].clone();
        let ack = secret.subscribe(&["t"]);
        assert_eq!(ack["success_topics"], json!(["t"]));
        assert_eq!(secret.expect("presence_state")["topic"], "t");
        assert_eq!(secret.expect("presence_join")["user_id"], "ann");
        wse_publish(gateway.address, "t", "x", &json!({ "n": 1 }));
        let message = secret.next();
        assert_eq!(
            (message.kind(), &message.json["tp"], &message.json["o"]),
            ("x", &json!("t"), &json!(1))
        );
        // Large ones are not compressed inside: clients decode text.
        let large = json!({ "d": "x".repeat(300_000) });
        wse_publish(gateway.address, "t", "x", &large);
        assert_eq!(secret.expect("x"), large);
        app.run(&json!({ "op": "send", "conn": conn, "type": "direct", "data": { "n": 2 } }));
        assert_eq!(secret.expect("direct"), json!({ "n": 2 }));
        app.run(&json!({ "op": "send", "user": "ann", "type": "note", "data": { "n": 3 } }));
        assert_eq!(secret.expect("note"), json!({ "n": 3 }));
        secret.say(&json!({ "t": "subscription_update", "p": {} }));
        assert_eq!(secret.expect("error")["code"], "INVALID_ACTION");
        let own = json!({ "t": "order", "id": "i", "p": { "n": 4 } });
        secret.say(&own);
        let told = app.next("message");
        assert_eq!(told["data"], own);
        app.run(&json!({ "op": "reply", "to": told["n"], "data": {} }));
        let answer = secret.next();
        assert_eq!(
            (answer.kind(), &answer.json["cid"]),
            ("response", &json!("i"))
        );
        // An encrypted ping is answered, in text and in clear, or clients think that nobody is there.
        secret.say(&json!({ "c": "WSE", "t": "ping", "p": { "timestamp": 5 }, "v": 1 }));
        let pong = secret.wse.next();
        assert!(
            pong.text
                .starts_with(r#"{"c":"WSE","t":"PONG","p":{"client_timestamp":5,"#),
            "{pong:?}"
        );
        // What comes in clear is understood, as it is on its way when the hello is answered.
        secret.wse.send("ping", &json!({ "timestamp": 6 }));
        assert_eq!(secret.wse.expect("PONG")["client_timestamp"], 6);
        secret.wse.send_subscribe(&json!({ "topics": ["u"] }));
        assert_eq!(
            secret.expect("subscription_update")["success_topics"],
            json!(["u"])
        );
        // Compressed inside is understood, too.
        let inside = [
            b"C:",
            &deflate(own.to_string().replace("\"i\"", "\"j\"").as_bytes())[..],
        ]
        .concat();
        let sealed = secret.key.seal(&inside);
        secret.wse.client.send(0x82, &sealed);
        assert_eq!(app.next("message")["id"], "j");
    });
}

#[test]
fn pings_of_the_gateway_are_in_clear() {
    let gateway = wse_gateway(1, "[wse]\nping_interval = \"1s\"\n");
    let mut secret = Secret::open(gateway.address, "/wse");
    let ping = secret.wse.next_of_all();
    assert!(
        ping.text.starts_with(r#"{"c":"WSE","t":"PING","#),
        "{ping:?}"
    );
}

#[test]
fn an_encrypted_reader_gets_all_that_others_get() {
    everywhere(
        "[events]\nmax_message_size = \"1MiB\"\n[hub]\nmax_stall = \"10m\"\n",
        |gateway| {
            let mut secret = Secret::open(gateway.address, "/wse");
            let mut packed = Secret::open(gateway.address, "/wse?format=msgpack");
            let mut clear = WseClient::open(gateway.address);
            secret.subscribe(&["t"]);
            packed.subscribe(&["t"]);
            clear.subscribe(&["t"]);
            let mut publisher = WseClient::open(gateway.address);
            for number in 0..300_usize {
                let filler = "x".repeat([0, 100, 125, 126, 5_000, 70_000][number % 6]);
                let data = json!({ "n": number, "filler": filler });
                publisher.send(
                    "publish",
                    &json!({ "topic": "t", "type": "x", "data": data }),
                );
            }
            for number in 0..300 {
                let message = clear.next();
                assert_eq!(message.payload()["n"], number);
                for other in [&mut secret, &mut packed] {
                    assert_eq!(other.next().text, message.text);
                }
            }
        },
    );
}

#[test]
fn a_key_that_is_none_is_told_and_the_connection_goes_on_in_clear() {
    everywhere("", |gateway| {
        let mut bad = [0_u8; 65];
        bad[0] = 4;
        for key in [
            json!("x"),
            json!(""),
            json!(STANDARD.encode(bad)),
            json!(STANDARD.encode([4; 64])),
            json!(7),
        ] {
            let mut client = WseClient::greeted(gateway.address, "/wse");
            let mut hello = wse_hello(&json!({ "encryption": true }));
            hello["p"]["encryption_public_key"] = key.clone();
            client.say(&hello);
            let mut message = client.next();
            if key.is_string() && key != "" {
                assert_eq!(
                    message.payload()["code"],
                    "KEY_EXCHANGE_FAILED",
                    "{message:?}"
                );
                assert_eq!(message.payload()["recoverable"], true);
            }
            while message.kind() != "server_hello" {
                message = client.next();
            }
            assert_eq!(
                message.payload()["features"]["encryption"],
                false,
                "{key}: {message:?}"
            );
            client.subscribe(&["t"]);
        }
    });
}

#[test]
fn encryption_is_asked_for_later_and_ended() {
    everywhere("", |gateway| {
        let mut client = WseClient::open(gateway.address);
        client.subscribe(&["t"]);
        let status = client.ask(
            "encryption_request",
            &json!({ "action": "status" }),
            "encryption_response",
        );
        let algorithms = json!({ "encryption": "AES-GCM-256", "signing": "HMAC-SHA256", "key_exchange": "ECDH-P256" });
        assert_eq!(
            (&status["enabled"], &status["algorithms"]),
            (&json!(false), &algorithms)
        );
        client.send("encryption_request", &json!({ "action": "what" }));
        client.error("INVALID_ACTION");
        client.send("key_rotation_request", &json!({}));
        client.error("ENCRYPTION_REQUIRED");
        let pair = Pair::new();
        let asked = json!({ "action": "enable", "public_key": pair.public() });
        let answer = client.ask("encryption_request", &asked, "encryption_response");
        assert_eq!(
            (&answer["enabled"], &answer["algorithms"]),
            (&json!(true), &algorithms)
        );
        let key = pair.key(&answer["public_key"]);
        let mut secret = Secret {
            wse: client,
            pair,
            key,
        };
        wse_publish(gateway.address, "t", "x", &json!({ "n": 1 }));
        assert_eq!(secret.expect("x"), json!({ "n": 1 }));
        secret.say(&json!({ "t": "encryption_request", "p": { "action": "status" } }));
        assert_eq!(secret.expect("encryption_response")["enabled"], true);
        secret.say(&json!({ "t": "encryption_request", "p": { "action": "disable" } }));
        assert_eq!(secret.expect("encryption_response")["enabled"], false);
        wse_publish(gateway.address, "t", "x", &json!({ "n": 2 }));
        assert_eq!(secret.wse.expect("x"), json!({ "n": 2 }));
    });
}

#[test]
fn a_rotated_key_replaces_the_old_one_behind_the_answer() {
    everywhere("", |gateway| {
        let mut secret = Secret::open(gateway.address, "/wse");
        secret.subscribe(&["t"]);
        for is_new_pair in [false, true] {
            let pair = if is_new_pair { Some(Pair::new()) } else { None };
            let p = match &pair {
                Some(pair) => json!({ "public_key": pair.public() }),
                None => json!({}),
            };
            secret.say(&json!({ "t": "key_rotation_request", "p": p }));
            let answer = secret.expect("key_rotation_response");
            assert_eq!(answer["success"], true, "{answer}");
            assert!(answer["timestamp"].is_string());
            if let Some(pair) = pair {
                secret.pair = pair;
            }
            let new = secret.pair.key(&answer["new_public_key"]);
            let old = std::mem::replace(&mut secret.key, new);
            // What was on its way is understood.
            let late = old.seal(br#"{"t":"config_request"}"#);
            secret.wse.client.send(0x82, &late);
            secret.expect("config_response");
            wse_publish(gateway.address, "t", "x", &json!({}));
            secret.expect("x");
            secret.say(&json!({ "t": "config_request" }));
            secret.expect("config_response");
            // And no more once the new one is used.
            let later = old.seal(br#"{"t":"config_request"}"#);
            secret.wse.client.send(0x82, &later);
            assert_eq!(secret.expect("error")["code"], "INVALID_MESSAGE");
        }
    });
}

#[test]
fn what_cannot_be_decrypted_is_an_error() {
    everywhere("", |gateway| {
        let mut clear = WseClient::open(gateway.address);
        clear.client.send(0x82, &[b"E:", &[7; 40][..]].concat());
        clear.error("ENCRYPTION_REQUIRED");
        let mut secret = Secret::open(gateway.address, "/wse");
        let good = secret.key.seal(br#"{"t":"config_request"}"#);
        let mut altered = good.clone();
        altered[20] ^= 1;
        for bad in [
            altered,
            good[..good.len() - 1].to_vec(),
            b"E:".to_vec(),
            [b"E:", &[0; 27][..]].concat(),
        ] {
            secret.wse.client.send(0x82, &bad);
            assert_eq!(secret.expect("error")["code"], "INVALID_MESSAGE");
        }
        secret.wse.client.send(0x82, &good);
        secret.expect("config_response");
    });
}

#[test]
fn what_was_missed_is_encrypted_as_well() {
    everywhere("", |gateway| {
        for number in 1..=5 {
            wse_publish(gateway.address, "t", "x", &json!({ "n": number }));
        }
        let mut secret = Secret::open(gateway.address, "/wse");
        let ack = secret.subscribe(&["t"]);
        let mut position = ack["recovery"]["t"].clone();
        position["offset"] = json!(2);
        let p = json!({ "action": "subscribe", "topics": ["t"], "recover": true, "recovery": { "t": position } });
        for is_new in [false, true] {
            if is_new {
                secret = Secret::open(gateway.address, "/wse");
            }
            secret.say(&json!({ "t": "subscription_update", "p": p }));
            for offset in 3..=5 {
                assert_eq!(secret.next().json["o"], offset);
            }
            assert_eq!(
                secret.expect("subscription_update")["recovery"]["t"]["recovered"],
                true
            );
        }
    });
}
