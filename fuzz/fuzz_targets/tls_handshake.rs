//! Whatever a peer sends instead of a handshake is refused or waited for, alike however it was cut.

use std::path::Path;
use std::sync::LazyLock;

use fanfare::config::{Config, Mode};
use fanfare::net::{TlsServer, receive};

static SERVER: LazyLock<TlsServer> = LazyLock::new(|| {
    let mut tls = Config::for_mode(Mode::Demo).tls;
    tls.certificate_file = vec!["certificate".into()];
    tls.key_file = vec!["key".into()];
    let pair = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
    let read = |path: &Path| match path.to_str() {
        Some("key") => Ok(pair.signing_key.serialize_pem().into_bytes()),
        _ => Ok(pair.cert.pem().into_bytes()),
    };
    TlsServer::new(&tls, read).unwrap()
});

pub fn run(input: &[u8]) {
    let Some((&piece, bytes)) = input.split_first() else {
        return;
    };
    let whole = receive(&SERVER, bytes, usize::MAX);
    let cut = receive(&SERVER, bytes, usize::from(piece) + 1);
    // A ServerHello is random, and its length is not.
    assert_eq!(whole == 0, cut == 0);
}
