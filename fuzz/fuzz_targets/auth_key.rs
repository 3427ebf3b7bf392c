//! Whatever is in a key's file, it is a key or refused; a private key is never taken for a public one, and
//! no file brings two algorithms.

use fanfare::auth::TokenVerifier;
use fanfare::config::{Config, Mode, Secret, TokenAlgorithm};

pub fn run(input: &[u8]) {
    let read = |_: &std::path::Path| Ok(input.to_vec());
    if let Ok(secret) = Secret::from_file("key".as_ref(), read) {
        assert!(secret.expose().len() >= Secret::LEN_MIN);
        assert!(
            input
                .windows(secret.expose().len())
                .any(|part| part == secret.expose())
        );
    }
    let mut auth = Config::for_mode(Mode::Prod).auth;
    auth.jwt_public_key_file = Some("key".into());
    let algorithms = [
        TokenAlgorithm::Rs256,
        TokenAlgorithm::Es256,
        TokenAlgorithm::EdDsa,
    ];
    let taken = algorithms.into_iter().filter(|&algorithm| {
        auth.algorithm = algorithm;
        TokenVerifier::new(&auth, read).is_ok()
    });
    let taken = taken.count();
    assert!(taken <= 1);
    // What stands around the one block of a file does not count.
    let text = String::from_utf8_lossy(input);
    let blocks: Vec<&str> = text.split("-----BEGIN ").skip(1).collect();
    assert!(taken == 0 || blocks.len() == 1 && !blocks[0].starts_with("PRIVATE KEY"));
}
