//! Whatever is registered has an id and a name that can be shown and logged, and a key of 32 bytes, or is refused.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fanfare::auth::is_name;
use fanfare::dialect::messenger::{Registration, RegistrationError};
use serde_json::Value;

pub fn run(body: &[u8]) {
    let Ok(registration) = serde_json::from_slice::<Registration>(body) else {
        return;
    };
    // What is passed over need not be UTF-8.
    let Ok(strict) = serde_json::from_slice::<Value>(body) else {
        return;
    };
    let text = |key: &str| strict[key].as_str().unwrap_or_default();
    match registration.check() {
        Ok(user) => {
            assert!(is_name(&user.id) && *user.id == *text("user_id"));
            assert!(!["server", "system", "broadcast", "sse"].contains(&&*user.id));
            assert!(*user.username == *text("username") && user.username.len() <= 256);
            assert!(!user.username.contains(char::is_control));
            // Each key has one text.
            assert_eq!(STANDARD.encode(user.public_key), text("public_key"));
            assert_ne!(user.public_key, [0; 32]);
            let encryption = STANDARD.decode(&*user.x25519_public_key).expect("base64");
            assert!([0, 32].contains(&encryption.len()));
            assert_eq!(*user.x25519_public_key, *text("x25519_public_key"));
        }
        Err(RegistrationError::NoId) => assert!(text("user_id").is_empty()),
        Err(RegistrationError::Id) => assert!(!is_name(text("user_id"))),
        Err(_) => {}
    }
}
