//! Records against the library's own client, in memory.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use proptest::prelude::*;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, ConnectionTrafficSecrets, RootCertStore};
use tokio::io::ReadBuf;

use super::TlsServer;
use super::record::{RECORD_BYTES_MAX, SEALED_BYTES_MAX, with_scratch};
use super::session::{Sealed, TlsSession};
use crate::config::{Config, Mode, Tls};

/// The files of a gateway with one certificate of `name`, and the certificate.
fn files(name: &str) -> (Vec<u8>, Vec<u8>, CertificateDer<'static>) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed([name.to_owned()]).unwrap();
    (
        cert.pem().into_bytes(),
        signing_key.serialize_pem().into_bytes(),
        cert.der().clone(),
    )
}

fn settings() -> Tls {
    let mut tls = Config::for_mode(Mode::Demo).tls;
    tls.certificate_file = vec!["c".into()];
    tls.key_file = vec!["k".into()];
    tls
}

/// A session of the gateway, and a client whose handshake with it is done.
struct Pair {
    session: TlsSession,
    client: ClientConnection,
    /// What the session has received and not given back.
    opened: Vec<u8>,
}

impl Pair {
    fn new(max_fragment_size: Option<usize>) -> Self {
        let (chain, key, certificate) = files("a.example");
        let read = |path: &Path| match path.to_str() {
            Some("c") => Ok(chain.clone()),
            _ => Ok(key.clone()),
        };
        let server = TlsServer::new(&settings(), read).unwrap();
        Self::of(&server, &[&certificate], max_fragment_size)
    }

    /// With a client that trusts these certificates.
    fn of(
        server: &TlsServer,
        trusted: &[&CertificateDer<'static>],
        max_fragment_size: Option<usize>,
    ) -> Self {
        let mut roots = RootCertStore::empty();
        for certificate in trusted {
            roots.add((*certificate).clone()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.max_fragment_size = max_fragment_size;
        config.enable_secret_extraction = true;
        let name = ServerName::try_from("a.example").unwrap();
        let mut pair = Self {
            session: TlsSession::new(server.config()).unwrap(),
            client: ClientConnection::new(Arc::new(config), name).unwrap(),
            opened: Vec::new(),
        };
        while pair.session.handshake().is_none() || pair.client.is_handshaking() {
            pair.send(usize::MAX);
            let sealed = pair.session.take_sealed();
            pair.receive(&sealed);
        }
        pair
    }

    /// Takes the keys of the client, which is not used any more.
    fn with_secrets(mut self) -> (Self, Secrets) {
        let client = std::mem::replace(&mut self.client, Self::new(None).client);
        let (next, secrets) = client.dangerous_extract_secrets().unwrap().tx;
        let ConnectionTrafficSecrets::Aes256Gcm { key, iv } = secrets else {
            panic!("the cipher that both prefer");
        };
        let key = UnboundKey::new(&AES_256_GCM, key.as_ref()).unwrap();
        let secrets = Secrets {
            key: LessSafeKey::new(key),
            iv: iv.as_ref().try_into().unwrap(),
            next,
        };
        (self, secrets)
    }

    /// Gives the session what the client has to send, in pieces.
    fn send(&mut self, piece: usize) {
        let mut bytes = Vec::new();
        while self.client.wants_write() {
            self.client.write_tls(&mut bytes).unwrap();
        }
        for piece in bytes.chunks(piece.min(RECORD_BYTES_MAX)) {
            self.give(piece).unwrap();
        }
    }

    /// Gives the session these bytes.
    fn give(&mut self, bytes: &[u8]) -> Result<(), rustls::Error> {
        let mut input = self.session.take_received();
        input.extend_from_slice(bytes);
        let mut buffer = vec![0; 1000];
        let mut buffer = ReadBuf::new(&mut buffer);
        let outcome = self.session.open(&mut input, &mut buffer);
        self.opened.extend_from_slice(buffer.filled());
        self.opened.extend(self.session.take_opened());
        outcome
    }

    /// Gives the client these bytes. Returns the plaintext.
    fn receive(&mut self, mut bytes: &[u8]) -> Vec<u8> {
        let mut plaintext = Vec::new();
        while !bytes.is_empty() {
            self.client.read_tls(&mut bytes).unwrap();
            let state = self.client.process_new_packets().unwrap();
            let mut read = vec![0; state.plaintext_bytes_to_read()];
            self.client.reader().read_exact(&mut read).unwrap();
            plaintext.extend(read);
        }
        plaintext
    }

    fn seal(&mut self, plaintext: &[u8]) -> Vec<u8> {
        with_scratch(|scratch| {
            let what = Sealed::Traffic(plaintext);
            let sealed = self.session.seal(what, &mut scratch.sealed).unwrap();
            scratch.sealed[..sealed].to_vec()
        })
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// What is sent arrives, however it is cut into records and into reads; the session holds nothing of it.
    #[test]
    fn what_is_sent_arrives_however_it_is_cut(
        sizes in prop::collection::vec(0..60_000_usize, 1..5),
        piece in 1..30_000_usize,
        fragment in prop::option::of(64..16_000_usize),
    ) {
        let mut pair = Pair::new(fragment);
        for size in sizes {
            let sent: Vec<u8> = (0..size).map(|at| at as u8).collect();
            pair.client.writer().write_all(&sent).unwrap();
            pair.send(piece);
            prop_assert_eq!(&std::mem::take(&mut pair.opened), &sent);
            prop_assert!(pair.session.take_received().is_empty());
            let sealed = pair.seal(&sent[..size.min(SEALED_BYTES_MAX)]);
            prop_assert_eq!(pair.receive(&sealed), &sent[..size.min(SEALED_BYTES_MAX)]);
            if size % 3 == 0 {
                pair.client.refresh_traffic_keys().unwrap();
            }
        }
    }

    /// No bytes make it fail in another way than with an error.
    #[test]
    fn r06_any_bytes_are_refused_or_waited_for(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        begins_well in any::<bool>(),
        piece in 1..100_usize,
    ) {
        let mut pair = Pair::new(None);
        let bytes = if begins_well { [&[22, 3, 3, 1, 0][..], &bytes].concat() } else { bytes };
        for piece in bytes.chunks(piece) {
            if pair.give(piece).is_err() {
                break;
            }
            // The session writes between two reads, whatever was received so far.
            pair.seal(b"x");
        }
        prop_assert!(pair.opened.is_empty());
    }
}

/// A write while a message has been received in part, of which the library has opened what there is.
#[test]
fn r07_a_message_in_parts_does_not_disturb_a_write() {
    let (mut pair, secrets) = Pair::new(None).with_secrets();
    let update_of_keys = [24, 0, 0, 1, 0];
    for (number, part) in update_of_keys.chunks(2).enumerate() {
        let record = secrets.seal(number as u64, HANDSHAKE, part);
        pair.give(&record).unwrap();
        assert!(!pair.seal(b"not disturbed").is_empty());
    }
    // With its keys of before the update, nothing can be opened any more.
    let record = secrets.seal(3, HANDSHAKE, b"x");
    pair.give(&record).unwrap_err();
}

/// Nothing but what RFC 8446 section 4.6 has comes after a handshake.
#[test]
fn r07_no_second_handshake_begins() {
    for message in [CLIENT_HELLO, FINISHED] {
        let (mut pair, secrets) = Pair::new(None).with_secrets();
        let record = secrets.seal(0, HANDSHAKE, &[message, 0, 0, 0]);
        pair.give(&record).unwrap_err();
        // The peer is told.
        assert!(!pair.session.take_sealed().is_empty());
    }
}

/// What the library keeps of a message that is not complete has a limit, beyond which nothing is waited for.
#[test]
fn r07_a_message_that_never_ends_is_not_kept() {
    let (mut pair, secrets) = Pair::new(None).with_secrets();
    let begin = [&[24, 0, 255, 255][..], &[0; 16_000]].concat();
    pair.give(&secrets.seal(0, HANDSHAKE, &begin)).unwrap();
    let held = pair.session.take_received();
    assert!(held.len() < RECORD_BYTES_MAX);
    let record = secrets.seal(1, HANDSHAKE, &[0; 16_000]);
    pair.give(&[held, record].concat()).unwrap_err();
    assert!(pair.session.take_received().is_empty());
}

/// Updates of keys are answered by one each at most, and too many in a row end the session.
#[test]
fn r07_updates_of_keys_are_bounded() {
    let mut pair = Pair::new(None);
    for _ in 0..20 {
        pair.client.refresh_traffic_keys().unwrap();
        pair.send(usize::MAX);
    }
    let sealed = pair.seal(b"x");
    assert!(sealed.len() < 200, "{}", sealed.len());
    assert_eq!(pair.receive(&sealed), b"x");
    let flood = (0..40).try_for_each(|_| {
        pair.client.refresh_traffic_keys().unwrap();
        let mut bytes = Vec::new();
        pair.client.write_tls(&mut bytes).unwrap();
        pair.give(&bytes)
    });
    flood.unwrap_err();
}

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const FINISHED: u8 = 20;

/// The keys of a client, to seal what the library's would not.
struct Secrets {
    key: LessSafeKey,
    iv: [u8; 12],
    next: u64,
}

impl Secrets {
    /// A record of this type (RFC 8446 section 5.2), `number` records after the handshake.
    fn seal(&self, number: u64, kind: u8, content: &[u8]) -> Vec<u8> {
        let mut nonce = self.iv;
        let number = (self.next + number).to_be_bytes();
        for (byte, number) in nonce[4..].iter_mut().zip(number) {
            *byte ^= number;
        }
        let mut inner = [content, &[kind]].concat();
        let len = u16::try_from(inner.len() + 16).unwrap().to_be_bytes();
        let header = [23, 3, 3, len[0], len[1]];
        let nonce = Nonce::assume_unique_for_key(nonce);
        let sealed = self
            .key
            .seal_in_place_append_tag(nonce, Aad::from(header), &mut inner);
        sealed.unwrap();
        [&header[..], &inner].concat()
    }
}

#[test]
fn a_changed_file_is_used_and_a_wrong_one_is_not() {
    let (chain, key, certificate) = files("a.example");
    let (other_chain, other_key, other_certificate) = files("a.example");
    let held = RefCell::new((chain.clone(), key.clone()));
    let read = |path: &Path| match path.to_str() {
        Some("c") => Ok(held.borrow().0.clone()),
        _ => Ok(held.borrow().1.clone()),
    };
    let server = TlsServer::new(&settings(), read).unwrap();
    let shown = || {
        let pair = Pair::of(&server, &[&certificate, &other_certificate], None);
        pair.client.peer_certificates().unwrap()[0].clone()
    };
    assert_eq!(shown(), certificate);
    assert!(!server.reload(read).unwrap(), "nothing has changed");
    for (wrong_chain, wrong_key, why) in [
        (&other_chain, &key, "the key is not that of the certificate"),
        (&b"no PEM".to_vec(), &key, "no certificate"),
        (&chain, &chain, "no private key"),
        (
            &chain,
            &b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"
                .to_vec(),
            "the key is encrypted",
        ),
    ] {
        *held.borrow_mut() = (wrong_chain.clone(), wrong_key.clone());
        let error = server.reload(read).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
        assert_eq!(shown(), certificate);
    }
    let error = server
        .reload(|_| Err(std::io::ErrorKind::PermissionDenied.into()))
        .unwrap_err();
    assert!(error.to_string().contains("chmod 640"), "{error}");
    let debug = format!("{server:?}");
    assert!(!debug.contains("PRIVATE") && debug.len() < 5000, "{debug}");
    let warnings = |days: u64| {
        let now = SystemTime::UNIX_EPOCH + Duration::from_hours(24 * days);
        server.warnings(now).concat()
    };
    // Certificates of tests are valid until the year 4096.
    assert_eq!(warnings(20_000), "");
    let until = 776_506;
    let soon = warnings(until - 3);
    assert!(
        soon.contains("the certificate c expires in 3 days, at 4096-01-01"),
        "{soon}"
    );
    let late = warnings(until + 1);
    assert!(late.contains("has expired"), "{late}");
    *held.borrow_mut() = (other_chain, other_key);
    assert!(server.reload(read).unwrap());
    assert_eq!(shown(), other_certificate);
}
