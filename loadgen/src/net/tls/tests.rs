use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, ServerConnection, SupportedProtocolVersion};

use super::*;

/// A session that trusts any certificate and the server's side of it, after the handshake.
fn pair(version: &'static SupportedProtocolVersion) -> (TlsSession, ServerConnection) {
    let settings = TlsSettings {
        trust: Trust::Any,
        ..TlsSettings::default()
    };
    let client = TlsClient::new("localhost", &settings).unwrap();
    let mut session = client.session().unwrap();
    let own = rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
    let key = own.signing_key.serialize_pem();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from(own.cert)],
            PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
        )
        .unwrap();
    let mut server = ServerConnection::new(Arc::new(config)).unwrap();
    assert!(session.parameters().is_none());
    while session.is_handshaking() || server.is_handshaking() {
        receive(&mut server, &sent(&mut session, b""));
        let flight = sealed(&mut server);
        assert!(read(&mut session, &flight).0.is_empty());
    }
    assert!(!session.parameters().unwrap().0);
    (session, server)
}

/// What the session writes to a socket that takes everything.
fn sent(session: &mut TlsSession, plain: &[u8]) -> Vec<u8> {
    let (mut out, mut taken) = (Vec::new(), 0);
    session.write(&mut out, plain, &mut taken).unwrap();
    out
}

fn sealed(server: &mut ServerConnection) -> Vec<u8> {
    let mut out = Vec::new();
    while server.wants_write() {
        server.write_tls(&mut out).unwrap();
    }
    out
}

fn sealed_message(server: &mut ServerConnection, plain: &[u8]) -> Vec<u8> {
    server.set_buffer_limit(None);
    server.writer().write_all(plain).unwrap();
    sealed(server)
}

/// The plaintext that the server gets.
fn receive(server: &mut ServerConnection, mut bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    while !bytes.is_empty() {
        server.read_tls(&mut bytes).unwrap();
        let count = server.process_new_packets().unwrap();
        let from = plain.len();
        plain.resize(from + count.plaintext_bytes_to_read(), 0);
        server.reader().read_exact(&mut plain[from..]).unwrap();
    }
    plain
}

/// What one read of these bytes brings.
fn read(session: &mut TlsSession, mut bytes: &[u8]) -> (Vec<u8>, Option<TlsEnd>) {
    let mut ciphertext = vec![0; bytes.len().max(1)];
    let mut plain = vec![0; ciphertext.len() + HELD_BYTES_MAX];
    let read = session.read(&mut bytes, &mut ciphertext, &mut plain);
    let read = read.unwrap();
    plain.truncate(read.plain_bytes);
    (plain, read.end)
}

#[test]
fn records_are_opened_however_reads_cut_them() {
    for version in [&TLS12, &TLS13] {
        check_cuts(pair(version));
    }
}

fn check_cuts((mut session, mut server): (TlsSession, ServerConnection)) {
    let message: Vec<u8> = (0..100 * 1024_u32).map(|at| (at % 251) as u8).collect();
    for cut in [
        1,
        4,
        5,
        6,
        1000,
        4096,
        16 * 1024,
        17_000,
        64 * 1024,
        200_000,
    ] {
        let records = [
            sealed_message(&mut server, b"short"),
            sealed_message(&mut server, &message),
            sealed_message(&mut server, b"last"),
        ]
        .concat();
        let mut plain = Vec::new();
        for bytes in records.chunks(cut) {
            let (more, end) = read(&mut session, bytes);
            assert!(end.is_none(), "{end:?}");
            plain.extend(more);
        }
        assert!(plain == [b"short", &*message, b"last"].concat(), "{cut}");
    }
}

/// A socket with room for so many bytes.
struct Narrow {
    taken: Vec<u8>,
    room: usize,
}

impl Write for Narrow {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(self.room);
        if count == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.room -= count;
        self.taken.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_a_full_socket_does_not_take_stays_queued() {
    let (mut session, mut server) = pair(&TLS13);
    let message = vec![b'x'; 300_000];
    let mut taken = 0;
    let mut socket = Narrow {
        taken: Vec::new(),
        room: 0,
    };
    let mut received = 0;
    while received < message.len() {
        socket.room = 10_000;
        session.write(&mut socket, &message, &mut taken).unwrap();
        received += receive(&mut server, &std::mem::take(&mut socket.taken)).len();
        let queued = message.len() - taken + session.sealed_bytes();
        let missing = message.len() - received;
        // A record that has come in part is both, and each adds its header and tag.
        assert!(queued + 16 * 1024 >= missing, "{queued} {missing}");
        assert!(queued <= missing + 64 * 22, "{queued} {missing}");
        assert_eq!(session.wants_write(), queued > 0);
    }
    assert_eq!((taken, session.sealed_bytes()), (message.len(), 0));
}

#[test]
fn nothing_is_sealed_within_the_handshake() {
    let settings = TlsSettings {
        trust: Trust::Any,
        ..TlsSettings::default()
    };
    let client = TlsClient::new("localhost", &settings).unwrap();
    let mut session = client.session().unwrap();
    let (mut out, mut taken) = (Vec::new(), 0);
    session.write(&mut out, b"request", &mut taken).unwrap();
    assert_eq!(taken, 0);
    assert!(!out.is_empty() && !session.wants_write());
}

#[test]
fn the_end_of_a_stream_is_told_from_its_truncation_and_from_a_fault() {
    let (mut session, mut server) = pair(&TLS13);
    let message = sealed_message(&mut server, b"bye");
    server.send_close_notify();
    let (plain, end) = read(&mut session, &[message, sealed(&mut server)].concat());
    assert_eq!(plain, b"bye");
    assert!(matches!(end, Some(TlsEnd::CloseNotify)), "{end:?}");

    let (mut session, mut server) = pair(&TLS13);
    let message = sealed_message(&mut server, b"bye");
    assert_eq!(read(&mut session, &message).0, b"bye");
    let (_, end) = read(&mut session, b"");
    assert!(matches!(end, Some(TlsEnd::Truncated)), "{end:?}");

    let (mut session, mut server) = pair(&TLS13);
    let mut changed = sealed_message(&mut server, b"bye");
    *changed.last_mut().unwrap() ^= 1;
    let (plain, end) = read(&mut session, &changed);
    assert!(plain.is_empty());
    assert!(matches!(end, Some(TlsEnd::Failed(_))), "{end:?}");
    // The alert that says so.
    assert!(session.wants_write());
}

#[test]
fn a_session_is_closed_with_close_notify() {
    let (mut session, mut server) = pair(&TLS13);
    let mut out = sent(&mut session, b"bye");
    session.close(&mut out);
    assert_eq!(receive(&mut server, &out), b"bye");
    assert!(server.process_new_packets().unwrap().peer_has_closed());
}
