//! No text is a valid token but one signed with the secret, and none brings the check down.

#![no_main]

use fanfare::auth::TokenVerifier;
use fanfare::config::{Config, Mode, Secret};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let mut auth = Config::for_mode(Mode::Prod).auth;
    auth.jwt_secret = Secret::new([7; 32]);
    let verifier = TokenVerifier::new(&auth, |_| Err(std::io::ErrorKind::NotFound.into()))
        .expect("a secret of 32 bytes");
    // Nobody guesses 32 bytes of HMAC.
    assert!(verifier.verify(text, 1_000_000).is_err());
});
