//! TLS handshakes: what a connection over TLS costs at least.
//!
//! The server accepts, shakes hands by rustls (RFC 8446), answers the upgrade with a greeting
//! behind it, and closes as `connect` does, with close_notify behind the close frame. All other
//! frames it ignores. It is alone in its process, so that `loadgen connect --pid` measures it as it
//! measures a gateway.

use std::convert::Infallible;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use rustix::event::epoll::EventFlags;
use rustls::crypto::aws_lc_rs::{self, Ticketer};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};
use slab::Slab;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::connect::{BLANK_LINE, SERVER_CLOSE};
use crate::sockets::{Poller, accept, listen};
use crate::{Common, Outcome, window};

/// The listener's key; connections have those of their places.
const LISTENER: u64 = u64::MAX;

/// Of the size of the gateway's.
const GREETING: &str = r#"{"type":"connection_established","client_id":"00000000-0000-0000-0000-000000000000","time":0}"#;

/// First byte of a close frame.
const CLOSE: u8 = 0x88;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Where to listen; port 0 is any, which is printed.
    #[arg(long, default_value = "127.0.0.1:8443")]
    listen: String,

    /// Certificate, with those between it and its root, PEM.
    #[arg(long, value_name = "PEM")]
    certificate: PathBuf,

    /// Its private key, PEM.
    #[arg(long, value_name = "PEM")]
    key: PathBuf,
}

/// Serves until the process is killed.
pub(crate) fn run(options: &Options, common: &Common) -> Outcome<Infallible> {
    let read = |path: &PathBuf| {
        std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
    };
    let config = config(&read(&options.certificate)?, &read(&options.key)?)?;
    window::pin(common.server_core)?;
    let listener = listen(&options.listen)?;
    println!("listening on {}", listener.local_addr()?);
    serve(&listener, &config)
}

/// The defaults of rustls, with tickets that need no memory. There is no early data.
fn config(certificates: &[u8], key: &[u8]) -> Outcome<Arc<ServerConfig>> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificates).collect();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain?, PrivateKeyDer::from_pem_slice(key)?)?;
    config.ticketer = Ticketer::new()?;
    Ok(Arc::new(config))
}

fn serve(listener: &TcpListener, config: &Arc<ServerConfig>) -> Outcome<Infallible> {
    let poller = Poller::new()?;
    poller.add(listener, LISTENER, EventFlags::IN)?;
    let mut guests: Slab<Guest> = Slab::new();
    let mut events = Vec::new();
    loop {
        poller.wait(&mut events, None)?;
        for event in &events {
            let key = event.data.u64();
            if key == LISTENER {
                accept(listener, |socket| {
                    let place = guests.vacant_entry();
                    poller.add(&socket, place.key() as u64, EventFlags::IN)?;
                    place.insert(Guest {
                        socket,
                        tls: ServerConnection::new(config.clone())?,
                        step: Step::Head(Vec::new()),
                    });
                    Ok(())
                })?;
            } else if !matches!(guests[key as usize].turn(), Ok(Turn::Open)) {
                // One that fails, such as by a reset, ends nobody else.
                guests.remove(key as usize);
            }
        }
    }
}

struct Guest {
    socket: TcpStream,
    tls: ServerConnection,
    step: Step,
}

enum Step {
    /// What has come of the head.
    Head(Vec<u8>),
    Greeted,
    /// Only the end is due.
    Closing,
}

#[derive(Debug, PartialEq, Eq)]
enum Turn {
    Open,
    Ended,
}

impl Guest {
    /// Reads once and answers.
    fn turn(&mut self) -> Outcome<Turn> {
        match self.tls.read_tls(&mut self.socket) {
            Ok(0) => return Ok(Turn::Ended),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Turn::Open),
            Err(error) => return Err(error.into()),
        }
        let read = self.tls.process_new_packets();
        let bytes = read
            .as_ref()
            .map_or(0, |read| read.plaintext_bytes_to_read());
        if bytes > 0 {
            let mut plain = vec![0; bytes];
            self.tls.reader().read_exact(&mut plain)?;
            self.answer(&plain)?;
        }
        // An alert, too.
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.socket)?;
        }
        read?;
        if matches!(self.step, Step::Closing) && bytes > 0 {
            self.socket.shutdown(Shutdown::Write)?;
        }
        Ok(Turn::Open)
    }

    fn answer(&mut self, bytes: &[u8]) -> Outcome<()> {
        match &mut self.step {
            Step::Head(head) => {
                head.extend_from_slice(bytes);
                if head.ends_with(BLANK_LINE) {
                    let response = response(head)?;
                    self.tls.writer().write_all(&response)?;
                    self.step = Step::Greeted;
                }
            }
            Step::Greeted if bytes.first() == Some(&CLOSE) => {
                self.tls.writer().write_all(SERVER_CLOSE)?;
                self.tls.send_close_notify();
                self.step = Step::Closing;
            }
            Step::Greeted | Step::Closing => {}
        }
        Ok(())
    }
}

/// The answer to an upgrade, and the greeting.
fn response(head: &[u8]) -> Outcome<Vec<u8>> {
    let key = str::from_utf8(head)?
        .lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key"))
        .ok_or("a request without Sec-WebSocket-Key")?
        .1;
    let accept = derive_accept_key(key.as_bytes());
    let mut response = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )
    .into_bytes();
    response.extend([0x81, GREETING.len() as u8]);
    response.extend_from_slice(GREETING.as_bytes());
    Ok(response)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::thread;

    use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

    use super::*;

    #[test]
    fn a_guest_is_greeted_over_tls_and_its_close_is_answered() {
        let own = rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
        let (certificate, key) = (own.cert.pem(), own.signing_key.serialize_pem());
        let server = config(certificate.as_bytes(), key.as_bytes()).unwrap();
        let listener = listen((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        // Serves until the test program ends.
        thread::spawn(move || serve(&listener, &server).map_err(|error| panic!("{error}")));
        let mut roots = RootCertStore::empty();
        roots.add(own.cert.into()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let client = Arc::new(client);
        for _ in 0..2 {
            let name = "localhost".try_into().unwrap();
            let tls = ClientConnection::new(client.clone(), name).unwrap();
            let mut stream = StreamOwned::new(tls, TcpStream::connect(address).unwrap());
            let request = b"GET / HTTP/1.1\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
            stream.write_all(request).unwrap();
            let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
            let mut answer = vec![0; head.len() + 2 + GREETING.len()];
            stream.read_exact(&mut answer).unwrap();
            let expected = [
                head.as_bytes(),
                &[0x81, GREETING.len() as u8],
                GREETING.as_bytes(),
            ];
            assert_eq!(answer, expected.concat());
            stream.write_all(crate::connect::CLIENT_CLOSE).unwrap();
            let mut rest = Vec::new();
            // Fails without close_notify.
            stream.read_to_end(&mut rest).unwrap();
            assert_eq!(rest, SERVER_CLOSE);
        }
    }
}
