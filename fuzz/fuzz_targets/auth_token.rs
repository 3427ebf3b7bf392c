//! A token that is taken ends with the one signature over what is before it, and claims that are signed
//! are read or refused, whatever they say.

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fanfare::auth::TokenVerifier;
use fanfare::config::{Config, Mode, Secret};

const SECRET: [u8; 32] = [7; 32];

const NOW: u64 = 1_000_000;

pub fn run(text: &str) {
    let mut auth = Config::for_mode(Mode::Prod).auth;
    auth.jwt_secret = Secret::new(SECRET);
    let verifier = TokenVerifier::new(&auth, |_| Err(std::io::ErrorKind::NotFound.into()))
        .expect("a secret of 32 bytes");
    // The fuzzer has seen tokens signed and brings them back, so any text may be one of them.
    if verifier.verify(text, NOW).is_ok() {
        let (message, _) = text.rsplit_once('.').expect("three parts");
        assert_eq!(signed(message), text);
    }
    let message = |header: &str, claims: &str| {
        format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(claims)
        )
    };
    // The input as claims; and what is before a line feed as the header in front of them.
    let mut tokens = vec![signed(&message(r#"{"alg":"HS256"}"#, text))];
    tokens.extend(
        text.split_once('\n')
            .map(|(header, claims)| signed(&message(header, claims))),
    );
    for token in tokens {
        if let Ok(identity) = verifier.verify(&token, NOW) {
            for name in [
                Some(&identity.user),
                identity.name.as_ref(),
                identity.role.as_ref(),
            ]
            .into_iter()
            .flatten()
            {
                assert!((1..=128).contains(&name.len()) && !name.chars().any(char::is_control));
            }
            assert!(verifier.end_of(&identity) > NOW);
            assert!(verifier.verify(&token, verifier.end_of(&identity)).is_err());
        }
    }
}

fn signed(message: &str) -> String {
    let tag = sign(&Key::new(HMAC_SHA256, &SECRET), message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag))
}
