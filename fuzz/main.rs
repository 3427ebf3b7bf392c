//! All fuzz targets in one program, since one for each took longer to build than a short run of all of them takes.
//! `FUZZ_TARGET` names the one to run, as `scripts/fuzz` does.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::{Corpus, fuzz_target};

/// Runs a target on its input, if these bytes are one.
fn on<'a, T: Arbitrary<'a>>(bytes: &'a [u8], run: impl FnOnce(T)) -> Corpus {
    match T::arbitrary_take_rest(Unstructured::new(bytes)) {
        Ok(input) => {
            run(input);
            Corpus::Keep
        }
        Err(_) => Corpus::Reject,
    }
}

macro_rules! targets {
    ($($name:ident)*) => {
        mod fuzz_targets {
            $(pub mod $name;)*
        }

        /// Each with the file of its name.
        const TARGETS: &[(&str, fn(&[u8]) -> Corpus)] =
            &[$((stringify!($name), |bytes| on(bytes, fuzz_targets::$name::run))),*];
    };
}

targets! {
    auth_key auth_token backend_frame bridge_inbound bridge_validation config_env config_toml events_command
    events_msgpack http_credentials http_guard http_head http_headers http_queries jwks messenger_command
    messenger_frame messenger_registration proxy_header sse_cursor tls_handshake topic_pattern ws_decode
    ws_deflate ws_handshake wse_encrypted wse_message wse_packed
}

static TARGET: LazyLock<fn(&[u8]) -> Corpus> = LazyLock::new(|| {
    let wanted = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let Some((_, target)) = TARGETS.iter().find(|(name, _)| *name == wanted) else {
        let names: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
        panic!("FUZZ_TARGET is {wanted:?}, and none of: {}", names.join(" "));
    };
    *target
});

fuzz_target!(|bytes: &[u8]| -> Corpus { TARGET(bytes) });
