//! Which keys of a set are used.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair,
};
use serde_json::json;

use super::*;

/// A key of each algorithm as a JWK, without a `kid`, and the same as DER.
fn pair(algorithm: TokenAlgorithm) -> (Value, Vec<u8>) {
    let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let der = |key: PublicKeyX509Der<'_>| key.as_ref().to_vec();
    match algorithm {
        TokenAlgorithm::Hs256 => unreachable!("it has no pairs"),
        TokenAlgorithm::Rs256 => {
            let pair = RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
            let numbers: PublicKeyComponents<Vec<u8>> = pair.public_key().into();
            let jwk = json!({ "kty": "RSA", "n": text(&numbers.n), "e": text(&numbers.e) });
            (jwk, der(pair.public_key().as_der().unwrap()))
        }
        TokenAlgorithm::Es256 => {
            let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
            let point = pair.public_key().as_ref();
            let jwk = json!({
                "kty": "EC", "crv": "P-256", "x": text(&point[1..33]), "y": text(&point[33..])
            });
            (jwk, der(pair.public_key().as_der().unwrap()))
        }
        TokenAlgorithm::EdDsa => {
            let pair = Ed25519KeyPair::generate().unwrap();
            let key = pair.public_key().as_ref();
            let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": text(key) });
            (jwk, der(pair.public_key().as_der().unwrap()))
        }
    }
}

const ALGORITHMS: [TokenAlgorithm; 3] = [
    TokenAlgorithm::Rs256,
    TokenAlgorithm::Es256,
    TokenAlgorithm::EdDsa,
];

fn with(jwk: &Value, members: &[(&str, Value)]) -> Value {
    let mut jwk = jwk.clone();
    for (name, value) in members {
        jwk[*name] = value.clone();
    }
    jwk
}

fn named(jwk: &Value, id: &str) -> Value {
    with(jwk, &[("kid", json!(id))])
}

fn parse(algorithm: TokenAlgorithm, keys: &[Value]) -> Result<KeySet, KeySetError> {
    KeySet::parse(algorithm, json!({ "keys": keys }).to_string().as_bytes())
}

/// Why the only key of a set is not used.
fn refusal(algorithm: TokenAlgorithm, jwk: &Value) -> String {
    match parse(algorithm, std::slice::from_ref(jwk)) {
        Err(KeySetError::NoKey { unused, .. }) => unused.concat(),
        other => panic!("{jwk}: {other:?}"),
    }
}

#[test]
fn a_key_of_a_set_is_the_key_of_its_pem_file() {
    for algorithm in ALGORITHMS {
        let (jwk, der) = pair(algorithm);
        let set = parse(algorithm, &[named(&jwk, "a")]).unwrap();
        let same = TokenKey::of_der(algorithm, &der, Some("a")).unwrap();
        assert!(set.keys[0].is_same_as(&same), "{jwk}");
        assert!(set.unused.is_empty());
    }
    // A zero before the number, as some libraries write it.
    let (jwk, der) = pair(TokenAlgorithm::Rs256);
    let n = URL_SAFE_NO_PAD.decode(jwk["n"].as_str().unwrap()).unwrap();
    let padded = URL_SAFE_NO_PAD.encode([&[0], &n[..]].concat());
    let set = parse(
        TokenAlgorithm::Rs256,
        &[with(&jwk, &[("n", json!(padded))])],
    );
    let same = TokenKey::of_der(TokenAlgorithm::Rs256, &der, None).unwrap();
    assert!(set.unwrap().keys[0].is_same_as(&same));
}

#[test]
fn a01_a02_a_set_does_not_choose_the_algorithm() {
    let pairs = ALGORITHMS.map(|algorithm| (algorithm, pair(algorithm).0));
    for (algorithm, jwk) in &pairs {
        for (other, _) in &pairs {
            assert_eq!(
                parse(*other, std::slice::from_ref(jwk)).is_ok(),
                algorithm == other
            );
        }
        assert!(parse(TokenAlgorithm::Hs256, std::slice::from_ref(jwk)).is_err());
        for alg in ["none", "HS256", "RS384", "PS256", "ES384", ""] {
            let reason = refusal(*algorithm, &with(jwk, &[("alg", json!(alg))]));
            assert!(reason.contains("its `alg` is"), "{reason}");
        }
        let own = with(
            jwk,
            &[("alg", json!(algorithm.name())), ("use", json!("sig"))],
        );
        assert!(parse(*algorithm, &[own]).is_ok());
    }
    let secret = json!({ "kty": "oct", "k": URL_SAFE_NO_PAD.encode([7; 32]), "kid": "a" });
    let reason = refusal(TokenAlgorithm::Rs256, &secret);
    assert!(
        reason.contains("the key \"a\" is not used: it is a secret"),
        "{reason}"
    );
}

#[test]
fn what_is_no_key_for_signatures_is_not_used() {
    let (rsa, _) = pair(TokenAlgorithm::Rs256);
    let (ec, _) = pair(TokenAlgorithm::Es256);
    let (ed, _) = pair(TokenAlgorithm::EdDsa);
    let check = |algorithm, jwk: &Value, members: &[(&str, Value)], expected: &str| {
        let reason = refusal(algorithm, &with(jwk, members));
        assert!(reason.contains(expected), "{reason}");
    };
    let rs = TokenAlgorithm::Rs256;
    check(
        rs,
        &rsa,
        &[("use", json!("enc"))],
        "its `use` is \"enc\", not \"sig\"",
    );
    check(rs, &rsa, &[("use", json!(7))], "its `use` is no text");
    check(
        rs,
        &rsa,
        &[("key_ops", json!(["sign"]))],
        "its `key_ops` do not",
    );
    check(
        rs,
        &rsa,
        &[("key_ops", json!("verify"))],
        "its `key_ops` do not",
    );
    check(rs, &rsa, &[("d", json!("AQAB"))], "its private half (`d`)");
    check(rs, &rsa, &[("n", json!("AQAB"))], "it is ");
    check(
        rs,
        &rsa,
        &[("n", json!("A+/="))],
        "its `n` is not base64url",
    );
    check(
        rs,
        &rsa,
        &[("n", json!("A".repeat(1 << 20)))],
        "its `n` is too long",
    );
    check(
        rs,
        &rsa,
        &[("e", json!("AQ"))],
        "it is no public key of RS256",
    );
    check(rs, &rsa, &[("e", json!(""))], "its numbers are no RSA key");
    check(rs, &rsa, &[("kid", json!("x".repeat(129)))], "its `kid` is");
    check(rs, &rsa, &[("kid", json!(""))], "its `kid` is empty");
    check(rs, &rsa, &[("kid", json!(1))], "its `kid` is no text");
    let es = TokenAlgorithm::Es256;
    check(
        es,
        &ec,
        &[("crv", json!("P-384"))],
        "its `crv` is \"P-384\"",
    );
    check(
        es,
        &ec,
        &[("x", json!("AQAB"))],
        "its `x` has 3 bytes, not 32",
    );
    let elsewhere = URL_SAFE_NO_PAD.encode([1; 32]);
    check(
        es,
        &ec,
        &[("y", json!(elsewhere))],
        "it is no public key of",
    );
    let ed25519 = TokenAlgorithm::EdDsa;
    check(ed25519, &ed, &[("crv", json!("X25519"))], "its `crv` is");
    let weak = RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
    let numbers: PublicKeyComponents<Vec<u8>> = weak.public_key().into();
    let half = URL_SAFE_NO_PAD.encode([&numbers.n[..127], &[1]].concat());
    check(rs, &rsa, &[("n", json!(half))], "an RSA key of 1024 bits");
}

#[test]
fn a04_ids_of_a_set_differ_and_the_first_of_two_counts() {
    let [a, b, c] = [(); 3].map(|()| pair(TokenAlgorithm::EdDsa).0);
    let rsa = pair(TokenAlgorithm::Rs256).0;
    let ed25519 = TokenAlgorithm::EdDsa;
    // A key that cannot be used does not take the id of one that can.
    let keys = [
        named(&rsa, "k"),
        named(&b, "k"),
        named(&a, "k"),
        named(&c, "A"),
    ];
    let set = parse(ed25519, &keys).unwrap();
    assert_eq!(set.ids().collect::<Vec<_>>(), ["A", "k"]);
    let first = parse(ed25519, &[named(&b, "k")]).unwrap();
    assert!(set.keys[1].is_same_as(&first.keys[0]));
    assert_eq!(set.unused.len(), 2);
    assert!(set.unused[1].ends_with("an earlier key has its `kid`"));
    // The order of a set means nothing.
    let other = parse(ed25519, &[keys[3].clone(), keys[1].clone()]).unwrap();
    assert!(
        set.keys
            .iter()
            .zip(&other.keys)
            .all(|(a, b)| a.is_same_as(b))
    );
    // Without an id a key is used when it is alone.
    assert_eq!(parse(ed25519, &[rsa, a.clone()]).unwrap().len(), 1);
    let set = parse(ed25519, &[a.clone(), named(&b, "b")]).unwrap();
    assert_eq!(set.ids().collect::<Vec<_>>(), ["b"]);
    assert_eq!(set.unused.len(), 1);
    assert!(parse(ed25519, &[a, b]).is_err());
}

#[test]
fn what_is_no_set_is_refused() {
    let rs = TokenAlgorithm::Rs256;
    let key = pair(rs).0;
    for text in [
        "",
        "[]",
        "{}",
        "<html>",
        "{\"keys\":{}}",
        "{\"keys\":[1]}",
        "{\"keys\":[],\"keys\":[]}",
        "{\"keys\":[]} x",
    ] {
        let refused = KeySet::parse(rs, text.as_bytes());
        assert!(
            matches!(refused, Err(KeySetError::Malformed { .. })),
            "{text}"
        );
    }
    let deep = format!(
        "{{\"keys\":[{{\"x\":{}{}}}]}}",
        "[".repeat(10_000),
        "]".repeat(10_000)
    );
    assert!(matches!(
        KeySet::parse(rs, deep.as_bytes()),
        Err(KeySetError::Malformed { .. })
    ));
    let empty = parse(rs, &[]).unwrap_err();
    assert_eq!(empty.to_string(), "it has no key of RS256 that can be used");
    let named = |number: usize| named(&key, &number.to_string());
    let most: Vec<_> = (0..KeySet::LEN_MAX).map(named).collect();
    assert_eq!(parse(rs, &most).unwrap().len(), KeySet::LEN_MAX);
    let more: Vec<_> = (0..=KeySet::LEN_MAX).map(named).collect();
    assert_eq!(parse(rs, &more).unwrap_err(), KeySetError::TooMany(101));
}
