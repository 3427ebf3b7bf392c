//! The public-key algorithms: each accepts its own tokens only.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair, RsaKeyPair,
};
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::auth::{Grant, KeySet, SigningKey, Terms};
use crate::config::{KeySetAddress, TokenAlgorithm};

/// A key pair as PEM texts.
struct Pair {
    algorithm: TokenAlgorithm,
    private: String,
    public: String,
    public_der: Vec<u8>,
}

fn pem(label: &str, der: &[u8]) -> String {
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        STANDARD.encode(der)
    )
}

fn pair(algorithm: TokenAlgorithm) -> Pair {
    let x509 = |key: PublicKeyX509Der<'_>| key.as_ref().to_vec();
    let (private, public_der) = match algorithm {
        TokenAlgorithm::Hs256 => unreachable!("it has no pairs"),
        TokenAlgorithm::Rs256 => {
            let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
            let private: aws_lc_rs::encoding::Pkcs8V1Der<'_> = pair.as_der().unwrap();
            let private = private.as_ref().to_vec();
            (private, x509(pair.public_key().as_der().unwrap()))
        }
        TokenAlgorithm::Es256 => {
            let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
            let private = pair.to_pkcs8v1().unwrap().as_ref().to_vec();
            (private, x509(pair.public_key().as_der().unwrap()))
        }
        TokenAlgorithm::EdDsa => {
            let pair = Ed25519KeyPair::generate().unwrap();
            let private = pair.to_pkcs8().unwrap().as_ref().to_vec();
            (private, x509(pair.public_key().as_der().unwrap()))
        }
    };
    Pair {
        algorithm,
        private: pem("PRIVATE KEY", &private),
        public: pem("PUBLIC KEY", &public_der),
        public_der,
    }
}

const PAIRS: [TokenAlgorithm; 3] = [
    TokenAlgorithm::Rs256,
    TokenAlgorithm::Es256,
    TokenAlgorithm::EdDsa,
];

fn load(algorithm: TokenAlgorithm, file: &str) -> Result<TokenVerifier, String> {
    let auth = Auth {
        algorithm,
        jwt_public_key_file: Some("key.pem".into()),
        ..Config::for_mode(Mode::Prod).auth
    };
    TokenVerifier::new(&auth, |_| Ok(file.as_bytes().to_vec())).map_err(|error| error.to_string())
}

fn signed(key: &SigningKey) -> String {
    let terms = Terms {
        grant: Grant {
            user: "alice",
            role: None,
            issued_at: NOW,
            expires_at: NOW + 1,
        },
        issuer: None,
        audience: &[],
        rights: None,
        topics: None,
    };
    terms.sign(key).unwrap()
}

#[test]
fn each_algorithm_accepts_its_own_tokens_and_no_others() {
    let pairs = PAIRS.map(pair);
    for own in &pairs {
        let verifier = load(own.algorithm, &own.public).unwrap();
        for other in &pairs {
            let key = SigningKey::of_pem(other.algorithm, other.private.as_bytes(), None).unwrap();
            let user = verifier
                .verify(&signed(&key), NOW)
                .map(|identity| identity.user);
            let expected = if own.algorithm == other.algorithm {
                Ok("alice".to_owned())
            } else {
                Err(TokenError::Algorithm)
            };
            assert_eq!(
                user, expected,
                "{:?} by {:?}",
                other.algorithm, own.algorithm
            );
        }
        let stranger = pair(own.algorithm);
        let key = SigningKey::of_pem(own.algorithm, stranger.private.as_bytes(), None).unwrap();
        let foreign = verifier.verify(&signed(&key), NOW);
        assert_eq!(foreign, Err(TokenError::Signature), "{:?}", own.algorithm);
    }
}

#[test]
fn a02_the_public_key_is_no_secret_in_any_spelling() {
    for pair in PAIRS.map(pair) {
        let verifier = load(pair.algorithm, &pair.public).unwrap();
        let x = base64url(&pair.public_der);
        let name = pair.algorithm.name();
        let secrets = [
            pair.public.clone().into_bytes(),
            pair.public.trim_end().as_bytes().to_vec(),
            pair.public.replace('\n', "\r\n").into_bytes(),
            pair.public_der.clone(),
            format!(r#"{{"kty":"oct","k":"{x}"}}"#).into_bytes(),
            x.into_bytes(),
            Vec::new(),
        ];
        for secret in &secrets {
            for header in [HS256.to_owned(), format!(r#"{{"alg":"{name}"}}"#)] {
                let forged = signed_with(secret, &header, r#"{"sub":"alice","exp":1000001}"#);
                let refused = verifier.verify(&forged, NOW).unwrap_err();
                let expected = [TokenError::Algorithm, TokenError::Signature];
                assert!(expected.contains(&refused), "{name}: {refused:?}");
            }
        }
    }
}

#[test]
fn a01_public_key_algorithms_take_no_forged_header() {
    for pair in PAIRS.map(pair) {
        let verifier = load(pair.algorithm, &pair.public).unwrap();
        let key = SigningKey::of_pem(pair.algorithm, pair.private.as_bytes(), None).unwrap();
        let good = signed(&key);
        let (message, signature) = good.rsplit_once('.').unwrap();
        let payload = message.split_once('.').unwrap().1;
        for alg in [
            "none", "None", "nOnE", "", "HS256", "HS512", "PS256", "ES384", "RS512",
        ] {
            let header = base64url(format!(r#"{{"alg":"{alg}"}}"#).as_bytes());
            for forged in [
                format!("{header}.{payload}.{signature}"),
                format!("{header}.{payload}."),
                format!("{header}.{payload}"),
            ] {
                assert!(verifier.verify(&forged, NOW).is_err(), "{alg}");
            }
        }
    }
}

#[test]
fn a11_degenerate_cut_and_extended_signatures_are_refused() {
    for pair in PAIRS.map(pair) {
        let verifier = load(pair.algorithm, &pair.public).unwrap();
        let key = SigningKey::of_pem(pair.algorithm, pair.private.as_bytes(), None).unwrap();
        let good = signed(&key);
        let (message, signature) = good.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let with = |bytes: &[u8]| format!("{message}.{}", base64url(bytes));
        assert!(verifier.verify(&with(&signature), NOW).is_ok());
        let mut hostile = vec![
            vec![0; signature.len()],
            vec![0xff; signature.len()],
            [&signature[..], &[0]].concat(),
            [&[0], &signature[..]].concat(),
            signature[..signature.len() - 1].to_vec(),
            // ECDSA in ASN.1 with r = s = 0.
            vec![0x30, 6, 2, 1, 0, 2, 1, 0],
            Vec::new(),
        ];
        for at in [0, signature.len() / 2, signature.len() - 1] {
            let mut flipped = signature.clone();
            flipped[at] ^= 1;
            hostile.push(flipped);
        }
        for bytes in hostile {
            let refused = verifier.verify(&with(&bytes), NOW);
            assert_eq!(
                refused,
                Err(TokenError::Signature),
                "{:?} {bytes:?}",
                pair.algorithm
            );
        }
    }
}

/// A DER element.
fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let len = u16::try_from(body.len()).unwrap().to_be_bytes();
    let mut out = vec![tag];
    match body.len() {
        0..=127 => out.push(len[1]),
        128..=255 => out.extend([0x81, len[1]]),
        _ => out.extend([0x82, len[0], len[1]]),
    }
    out.extend(body);
    out
}

#[test]
fn a11_weak_and_wrong_keys_are_refused_at_the_start() {
    let check = |algorithm: TokenAlgorithm, file: &str, reason: &str| {
        let error = load(algorithm, file).unwrap_err();
        assert!(error.contains(reason), "{error}");
        assert!(error.contains("key.pem"), "{error}");
    };
    let modulus = [&[0, 0xc1][..], &[0x5b; 127]].concat();
    let rsa = der(0x30, &[&der(2, &[&modulus]), &[2, 3, 1, 0, 1]]);
    let oid = [6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 5, 0];
    let small = der(0x30, &[&der(0x30, &[&oid]), &der(3, &[&[0], &rsa])]);
    for file in [pem("PUBLIC KEY", &small), pem("RSA PUBLIC KEY", &rsa)] {
        check(TokenAlgorithm::Rs256, &file, "at least 2048 are needed");
    }
    let p384 = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
    let p384: PublicKeyX509Der<'_> = p384.public_key().as_der().unwrap();
    let p384 = pem("PUBLIC KEY", p384.as_ref());
    check(TokenAlgorithm::Es256, &p384, "no public key of ES256");
    let pairs = PAIRS.map(pair);
    for own in &pairs {
        for other in pairs
            .iter()
            .filter(|other| other.algorithm != own.algorithm)
        {
            check(own.algorithm, &other.public, "no public key of");
        }
        check(own.algorithm, &own.private, "a private key");
        check(own.algorithm, "", "not PEM");
        check(own.algorithm, "0123456789abcdef0123456789abcdef", "not PEM");
        let cut = &own.public_der[..own.public_der.len() - 1];
        check(own.algorithm, &pem("PUBLIC KEY", cut), "no public key of");
        check(
            own.algorithm,
            &pem("CERTIFICATE", &own.public_der),
            "`PUBLIC KEY` is needed",
        );
    }
}

#[test]
fn two_keys_without_ids_are_tried_one_after_the_other() {
    for algorithm in PAIRS {
        let (current, previous) = (pair(algorithm), pair(algorithm));
        let auth = Auth {
            algorithm,
            jwt_public_key_file: Some("current".into()),
            previous_public_key_file: Some("previous".into()),
            ..Config::for_mode(Mode::Prod).auth
        };
        let verifier = TokenVerifier::new(&auth, |path| {
            let key = if path.ends_with("current") {
                &current
            } else {
                &previous
            };
            Ok(key.public.clone().into_bytes())
        })
        .unwrap();
        let serial = |pair: &Pair, id: Option<&str>| {
            let id = id.map(str::to_owned);
            let key = SigningKey::of_pem(algorithm, pair.private.as_bytes(), id).unwrap();
            verifier
                .verify(&signed(&key), NOW)
                .map(|identity| identity.key)
        };
        let (first, second) = (serial(&current, None), serial(&previous, None));
        assert!(first.is_ok() && second.is_ok() && first != second);
        assert_eq!(serial(&current, Some("x")), first);
        assert_eq!(serial(&previous, Some("x")), second);
        assert_eq!(serial(&pair(algorithm), None), Err(TokenError::Signature));
    }
}

/// A set of these public keys under their ids.
fn set(keys: &[(&str, &Pair)]) -> KeySet {
    let key = |(id, pair): &(&str, &Pair)| {
        // The last 32 bytes of an Ed25519 key's DER are the key.
        let x = URL_SAFE_NO_PAD.encode(&pair.public_der[pair.public_der.len() - 32..]);
        format!(r#"{{"kty":"OKP","crv":"Ed25519","kid":"{id}","x":"{x}"}}"#)
    };
    let keys: Vec<_> = keys.iter().map(key).collect();
    let text = format!(r#"{{"keys":[{}]}}"#, keys.join(","));
    KeySet::parse(TokenAlgorithm::EdDsa, text.as_bytes()).unwrap()
}

#[test]
fn a04_a05_a07_a_key_of_the_set_is_found_by_its_id_and_one_that_is_missed_is_noted() {
    let [a, b, own] = [(); 3].map(|()| pair(TokenAlgorithm::EdDsa));
    let auth = Auth {
        algorithm: TokenAlgorithm::EdDsa,
        jwks_url: KeySetAddress::parse("https://127.0.0.1/keys"),
        ..Config::for_mode(Mode::Prod).auth
    };
    let verifier = TokenVerifier::new(&auth, |_| unreachable!("there is no file")).unwrap();
    let check = |verifier: &TokenVerifier, pair: &Pair, id: Option<&str>| {
        let id = id.map(str::to_owned);
        let key = SigningKey::of_pem(pair.algorithm, pair.private.as_bytes(), id).unwrap();
        let verified = verifier.verify(&signed(&key), NOW);
        (
            verified.map(|identity| identity.key),
            verifier.keys.take_missed(),
        )
    };
    // Before the set is there it is fetched in any case, and a wrong key is not told from one that will come.
    let early = check(&verifier, &a, Some("a"));
    assert_eq!(early.0, Err(TokenError::KeySet));
    assert!(verifier.keys.take_set(set(&[("a", &a), ("b", &b)])));
    let (first, missed) = check(&verifier, &a, Some("a"));
    assert!(first.is_ok() && !missed);
    let long = "x".repeat(129);
    for (pair, id, expected, missed) in [
        (&a, Some("b"), TokenError::Signature, false),
        (&a, Some("A"), TokenError::Key, true),
        (&a, Some("a "), TokenError::Key, true),
        (&a, Some(""), TokenError::Key, true),
        (&a, Some("../../etc/passwd"), TokenError::Key, true),
        (&a, Some(&*long), TokenError::Key, false),
        (&a, None, TokenError::Key, false),
        (&own, Some("a"), TokenError::Signature, false),
    ] {
        let refused = check(&verifier, pair, id);
        assert_eq!(refused, (Err(expected), missed), "{id:?}");
    }
    // A key that stays is the same key, and a set of one needs no ids.
    assert!(verifier.keys.take_set(set(&[("a", &a)])));
    assert_eq!(check(&verifier, &a, None), (first, false));
    assert_eq!(verifier.keys.serials().len(), 1);
    assert!(!verifier.keys.take_set(set(&[("a", &a)])));
    // A key of the configuration beside the set.
    let auth = Auth {
        jwt_public_key_file: Some("own".into()),
        ..auth
    };
    let verifier = TokenVerifier::new(&auth, |_| Ok(own.public.clone().into_bytes())).unwrap();
    assert_eq!(check(&verifier, &a, Some("a")).0, Err(TokenError::KeySet));
    assert!(check(&verifier, &own, Some("x")).0.is_ok());
    assert!(verifier.keys.take_set(set(&[("a", &a), ("b", &b)])));
    assert!(check(&verifier, &own, Some("x")).0.is_ok());
    assert!(check(&verifier, &a, Some("a")).0.is_ok());
    assert_eq!(
        check(&verifier, &a, Some("x")),
        (Err(TokenError::Signature), true)
    );
}
