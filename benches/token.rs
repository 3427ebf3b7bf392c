//! A credential, from text to an identity.

use std::hint::black_box;

use criterion::Criterion;
use fanfare::auth::{Grant, TokenVerifier, issue};
use fanfare::config::{Config, Mode, Secret};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::Value;

const NOW: u64 = 1_795_258_153;
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

pub(crate) fn bench(criterion: &mut Criterion) {
    let secret = Secret::new(SECRET).expect("long enough");
    let grant = Grant {
        user: "ann",
        role: Some("service"),
        issued_at: NOW,
        // The library looks at the clock of the machine.
        expires_at: u64::MAX / 2,
    };
    let token = issue(&grant, &secret).expect("names are legal");
    let mut auth = Config::for_mode(Mode::Prod).auth;
    auth.jwt_secret = Some(secret);
    let verifier = TokenVerifier::new(&auth, |_| unreachable!("there is no file")).expect("a key");
    let mut group = criterion.benchmark_group("token/HS256");
    group.bench_function("ours", |bencher| {
        bencher.iter(|| verifier.verify(black_box(&token), NOW).expect("legal"));
    });
    group.bench_function("the library's decode", |bencher| {
        bencher.iter(|| {
            let key = DecodingKey::from_secret(SECRET);
            let validation = Validation::new(Algorithm::HS256);
            jsonwebtoken::decode::<Value>(black_box(&token), &key, &validation).expect("legal")
        });
    });
    group.finish();
}
