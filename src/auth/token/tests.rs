//! Forged, malformed and outdated tokens, signed by the tests.

mod keys;

use jsonwebtoken::Algorithm;
use proptest::prelude::*;

use super::*;
use crate::auth::{TopicAcl, TopicGlobs};
use crate::config::{Config, Mode, Secret};

const NOW: u64 = 1_000_000;
const LEEWAY: u64 = 30;
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const HS256: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

fn verifier() -> TokenVerifier {
    with(|_| {})
}

/// A verifier of the tests' secret, with the configuration altered by `change`.
fn with(change: impl FnOnce(&mut Auth)) -> TokenVerifier {
    let mut auth = Config::for_mode(Mode::Prod).auth;
    auth.jwt_secret = Secret::new(SECRET);
    change(&mut auth);
    TokenVerifier::new(&auth, |_| unreachable!("there is no file")).unwrap()
}

/// A token of these parts, signed with `secret` whatever its header says.
fn signed_with(secret: &[u8], header: &str, claims: &str) -> String {
    let message = format!(
        "{}.{}",
        base64url(header.as_bytes()),
        base64url(claims.as_bytes())
    );
    let key = jsonwebtoken::EncodingKey::from_secret(secret);
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
    format!("{message}.{signature}")
}

fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[track_caller]
fn check(token: &str, expected: Result<&str, TokenError>) {
    let result = verifier().verify(token, NOW);
    assert_eq!(
        result
            .as_ref()
            .map(|identity| identity.user.as_str())
            .map_err(|error| *error),
        expected,
        "{token:.200}"
    );
}

#[track_caller]
fn check_claims(claims: &str, expected: Result<&str, TokenError>) {
    check(&signed_with(SECRET, HS256, claims), expected);
}

#[test]
fn an_identity_comes_from_the_claims() {
    let claims = r#"{"sub":"alice","name":"Alice A.","role":"admin","exp":1000001,"nbf":999999,"iat":1,"jti":{"x":[1]}}"#;
    let identity = verifier()
        .verify(&signed_with(SECRET, HS256, claims), NOW)
        .unwrap();
    let text = |text: &str| Some(text.to_owned());
    let expected = Identity {
        token_id: None,
        issued_at: Some(1),
        user: "alice".to_owned(),
        name: text("Alice A."),
        role: text("admin"),
        expires_at: 1_000_001,
        key: identity.key,
        rights: None,
        topics: None,
    };
    assert_eq!(identity, expected);
    assert_eq!(verifier().end_of(&identity), 1_000_031);
    check_claims(
        r#"{"user_id":"bob","username":"Bob","exp":1000001}"#,
        Ok("bob"),
    );
    check_claims(r#"{"user_id":"bob","sub":"bob","exp":1000001}"#, Ok("bob"));
}

#[test]
fn a_token_without_a_single_user_is_refused() {
    for claims in [
        r#"{"exp":1000001}"#,
        r#"{"sub":"alice","user_id":"bob","exp":1000001}"#,
        r#"{"sub":null,"exp":1000001}"#,
        r#"{"sub":null,"user_id":null,"exp":1000001}"#,
    ] {
        check_claims(claims, Err(TokenError::User));
    }
    for claims in [
        r#"{"sub":"","exp":1000001}"#,
        r#"{"sub":7,"exp":1000001}"#,
        r#"{"sub":["alice"],"exp":1000001}"#,
        r#"{"sub":"a\u0000b","exp":1000001}"#,
        r#"{"sub":"a\u001b[2J","exp":1000001}"#,
        &format!(r#"{{"sub":"{}","exp":1000001}}"#, "x".repeat(129)),
    ] {
        check_claims(claims, Err(TokenError::Claim(Claim::Sub)));
    }
    for payload in [
        r#"[1000001,0,0,"x","y","alice","alice"]"#,
        r#"{"sub":"alice","exp":1000001} 1"#,
        r#"{"sub":"alice","exp":1000001"#,
        "",
    ] {
        check_claims(payload, Err(TokenError::Payload));
    }
}

#[test]
fn t4_what_is_shown_of_a_user_may_be_null_and_a_role_a_list() {
    let shown = |claims: &str| {
        let claims = format!(r#"{{"sub":"a","exp":1000001,{claims}}}"#);
        let identity = verifier().verify(&signed_with(SECRET, HS256, &claims), NOW);
        identity.map(|identity| (identity.name, identity.role))
    };
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(shown(r#""name":null,"role":null"#), Ok((None, None)));
    assert_eq!(shown(r#""name":"","role":"""#), Ok((None, None)));
    assert_eq!(
        shown(r#""name":null,"username":"Ann""#),
        Ok((text("Ann"), None))
    );
    for (role, expected) in [
        (r#"["admin"]"#, text("admin")),
        (r#"["admin","user"]"#, text("admin")),
        (r#"["user","service","admin"]"#, text("service")),
        ("[]", None),
        (r#"["","admin"]"#, text("admin")),
    ] {
        assert_eq!(shown(&format!(r#""role":{role}"#)), Ok((None, expected)));
    }
    let control = r#"["a\u0000"]"#;
    for role in [
        "1",
        "true",
        "{}",
        "[1]",
        "[null]",
        r#"[["admin"]]"#,
        control,
    ] {
        assert_eq!(
            shown(&format!(r#""role":{role}"#)),
            Err(TokenError::Claim(Claim::Role)),
            "{role}"
        );
    }
    check_claims(r#"{"sub":"a","user_id":null,"exp":1000001}"#, Ok("a"));
    check_claims(r#"{"sub":null,"user_id":"b","exp":1000001}"#, Ok("b"));
}

#[test]
fn without_a_secret_no_token_is_valid() {
    let verifier = with(|auth| auth.jwt_secret = None);
    let token = signed_with(b"", HS256, r#"{"sub":"alice","exp":1000001}"#);
    assert_eq!(verifier.verify(&token, NOW), Err(TokenError::Signature));
}

#[test]
fn a09_issuer_and_audience_are_matched_to_the_byte() {
    let verifier = with(|auth| {
        auth.issuer = Some("https://issuer".to_owned());
        auth.audience = vec!["api".to_owned(), "gateway".to_owned()];
    });
    let check = |claims: &str, expected: Result<&str, TokenError>| {
        let claims = format!(r#"{{"sub":"a","exp":1000001{claims}}}"#);
        let result = verifier.verify(&signed_with(SECRET, HS256, &claims), NOW);
        let user = result.as_ref().map(|identity| identity.user.as_str());
        assert_eq!(user.map_err(|error| *error), expected, "{claims}");
    };
    let good = r#","iss":"https://issuer""#;
    for aud in [
        r#""api""#,
        r#""gateway""#,
        r#"["x","api"]"#,
        r#"["gateway"]"#,
    ] {
        check(&format!(r#"{good},"aud":{aud}"#), Ok("a"));
    }
    for aud in [
        r#""""#,
        r#""ap""#,
        r#""apis""#,
        r#""API""#,
        r#""api ""#,
        "[]",
        r#"["x"]"#,
        r#"["api,gateway"]"#,
    ] {
        check(&format!(r#"{good},"aud":{aud}"#), Err(TokenError::Audience));
    }
    check(good, Err(TokenError::Audience));
    for aud in [
        "1",
        "{}",
        "true",
        r#"["api",1]"#,
        r#"[["api"]]"#,
        r#"{"api":1}"#,
    ] {
        check(
            &format!(r#"{good},"aud":{aud}"#),
            Err(TokenError::Claim(Claim::Aud)),
        );
    }
    check(&format!(r#"{good},"aud":null"#), Err(TokenError::Audience));
    check(r#","aud":"api","iss":null"#, Err(TokenError::Issuer));
    check(r#","aud":"api""#, Err(TokenError::Issuer));
    for iss in [
        r#""""#,
        r#""https://issue""#,
        r#""https://issuer/""#,
        r#""HTTPS://issuer""#,
    ] {
        check(
            &format!(r#","aud":"api","iss":{iss}"#),
            Err(TokenError::Issuer),
        );
    }
    for iss in ["1", r#"["https://issuer"]"#] {
        check(
            &format!(r#","aud":"api","iss":{iss}"#),
            Err(TokenError::Claim(Claim::Iss)),
        );
    }
    check_claims(
        r#"{"sub":"a","exp":1000001,"iss":"x","aud":["y"]}"#,
        Ok("a"),
    );
    check_claims(
        r#"{"sub":"a","exp":1000001,"aud":1}"#,
        Err(TokenError::Claim(Claim::Aud)),
    );
    check_claims(
        r#"{"sub":"a","exp":1000001,"aud":null,"iss":null}"#,
        Ok("a"),
    );
}

#[test]
fn a04_a_token_names_one_of_the_configured_keys_to_the_byte() {
    let check = |verifier: &TokenVerifier, kid: &str, expected: Result<(), TokenError>| {
        let header = format!(r#"{{"alg":"HS256"{kid}}}"#);
        let token = signed_with(SECRET, &header, r#"{"sub":"a","exp":1000001}"#);
        assert_eq!(
            verifier.verify(&token, NOW).map(drop),
            expected,
            "{kid:.99}"
        );
    };
    let long = format!(r#","kid":"{}""#, "k".repeat(5_000));
    let hostile = [
        r#","kid":"../../dev/null""#,
        r#","kid":"' UNION SELECT""#,
        r#","kid":"k1\u0000""#,
        r#","kid":"k""#,
        r#","kid":"K1""#,
        r#","kid":"k11""#,
        r#","kid":"""#,
        &long,
    ];
    let (named, unnamed) = (
        with(|auth| auth.jwt_key_id = Some("k1".to_owned())),
        verifier(),
    );
    for kid in hostile {
        check(&named, kid, Err(TokenError::Key));
        // T3: a key without an id is tried, whatever the token's `kid`.
        check(&unnamed, kid, Ok(()));
    }
    check(&named, "", Err(TokenError::Key));
    check(&named, r#","kid":"k1""#, Ok(()));
    check(&unnamed, "", Ok(()));
    check(&named, r#","kid":7"#, Err(TokenError::Algorithm));
}

#[test]
fn what_a_token_permits_is_read_exactly() {
    let rights = |claim: &str| {
        let claims = format!(r#"{{"sub":"a","exp":1000001,"fanfare":{claim}}}"#);
        let identity = verifier().verify(&signed_with(SECRET, HS256, &claims), NOW);
        identity.map(|identity| identity.rights.expect("the claim is there"))
    };
    let all = rights(
        r#"{"subscribe":["a.*","b"],"publish":[],"deny":["a.x*"],"commands":["echo"],"frames_per_minute":7}"#,
    )
    .unwrap();
    let globs = |list: &[&'static str]| crate::auth::Globs::new(list.iter().copied()).unwrap();
    assert_eq!(all.subscribe, Some(globs(&["a.*", "b"])));
    assert_eq!(all.publish, Some(globs(&[])));
    assert_eq!(all.deny, globs(&["a.x*"]));
    assert!(all.commands.as_ref().unwrap().contains("echo"));
    assert_eq!(all.frames_per_minute, Some(7));
    assert_eq!(*rights("{}").unwrap(), crate::auth::Rights::default());
    for wrong in [
        "null",
        "[]",
        r#""*""#,
        r#"{"subscirbe":["a"]}"#,
        r#"{"subscribe":null}"#,
        r#"{"subscribe":"*"}"#,
        r#"{"subscribe":["a b"]}"#,
        r#"{"subscribe":["**"]}"#,
        r#"{"subscribe":[""]}"#,
        r#"{"subscribe":[1]}"#,
        r#"{"subscribe":["a"],"subscribe":["*"]}"#,
        r#"{"deny":null}"#,
        r#"{"deny":["a",null]}"#,
        r#"{"commands":[""]}"#,
        r#"{"frames_per_minute":-1}"#,
        r#"{"frames_per_minute":1.5}"#,
        r#"{"frames_per_minute":"9"}"#,
    ] {
        assert_eq!(
            rights(wrong),
            Err(TokenError::Claim(Claim::Fanfare)),
            "{wrong}"
        );
    }
}

#[test]
fn the_topics_that_a_token_lists_are_read_exactly() {
    let topics = |claim: &str| {
        let name = Claim::Topics;
        let claims = format!(r#"{{"sub":"a","exp":1000001,"{name}":{claim}}}"#);
        let identity = verifier().verify(&signed_with(SECRET, HS256, &claims), NOW);
        identity.map(|identity| *identity.topics.expect("the claim is there"))
    };
    let acl = |allow: &[&'static str], deny: &[&'static str]| {
        let globs = |list: &[&'static str]| TopicGlobs::new(list.iter().copied()).unwrap();
        TopicAcl {
            allow: globs(allow),
            deny: globs(deny),
        }
    };
    let many = |count: usize| format!(r#"{{"deny":[{}]}}"#, vec![r#""a""#; count].join(","));
    assert_eq!(topics("{}"), Ok(acl(&[], &[])));
    assert_eq!(
        topics(r#"{"allow":["a b/*","a**?"],"deny":["*:\u00fc"]}"#),
        Ok(acl(&["a b/*", "a**?"], &["*:\u{fc}"]))
    );
    topics(&many(TopicGlobs::GLOBS_MAX)).unwrap();
    for wrong in [
        "null",
        "[]",
        r#"[["a"],[]]"#,
        r#""*""#,
        r#"{"allow":null}"#,
        r#"{"allow":"*"}"#,
        r#"{"allow":[""]}"#,
        r#"{"allow":[1]}"#,
        r##"{"allow":["#a"]}"##,
        r#"{"allow":["a\n"]}"#,
        r#"{"denied":["a"]}"#,
        r#"{"deny":["a"],"deny":[]}"#,
        r#"{"deny":["a",null]}"#,
        &format!(r#"{{"deny":["{}"]}}"#, "x".repeat(257)),
        &many(TopicGlobs::GLOBS_MAX + 1),
    ] {
        assert_eq!(
            topics(wrong),
            Err(TokenError::Claim(Claim::Topics)),
            "{wrong}"
        );
    }
}

#[test]
fn times_are_checked_with_the_leeway() {
    let at = |exp: u64, nbf: u64| {
        signed_with(
            SECRET,
            HS256,
            &format!(r#"{{"sub":"a","exp":{exp},"nbf":{nbf}}}"#),
        )
    };
    check(&at(NOW - LEEWAY + 1, 0), Ok("a"));
    check(&at(NOW - LEEWAY, 0), Err(TokenError::Expired));
    check(&at(NOW + 1, NOW + LEEWAY), Ok("a"));
    check(
        &at(NOW + 100, NOW + LEEWAY + 1),
        Err(TokenError::NotYetValid),
    );
    check(&at(u64::MAX, u64::MAX), Err(TokenError::NotYetValid));
    check(&at(u64::MAX, 0), Ok("a"));
}

#[test]
fn a01_the_token_does_not_choose_the_algorithm() {
    let claims = r#"{"sub":"alice","exp":1000001}"#;
    let part = |text: &str| base64url(text.as_bytes());
    let good = signed_with(SECRET, HS256, claims);
    let signature = good.rsplit('.').next().unwrap();
    check(&good, Ok("alice"));
    let names = [
        "none", "None", "NONE", "nOnE", "none ", "", "hs256", "HS256 ", "HS384", "HS512", "RS256",
        "RS384", "RS512", "ES256", "ES384", "ES512", "ES256K", "PS256", "PS384", "PS512", "EdDSA",
        "HMAC", "\\u0000", "A128KW", "dir",
    ];
    for name in names {
        let header = format!(r#"{{"alg":"{name}","typ":"JWT"}}"#);
        let signed = signed_with(SECRET, &header, claims);
        let unsigned = format!("{}.{}", part(&header), part(claims));
        let forgeries = [
            signed.clone(),
            unsigned.clone(),
            format!("{unsigned}."),
            format!("{unsigned}.{signature}"),
            format!("{unsigned}.AA"),
            format!("{unsigned}.{}", part(claims)),
            format!("{unsigned}..{signature}"),
            format!("{signed}."),
            format!(".{signed}"),
        ];
        for forgery in forgeries {
            assert!(
                verifier().verify(&forgery, NOW).is_err(),
                "{name}: {forgery}"
            );
        }
    }
    for header in [
        r#"{"typ":"JWT"}"#,
        r#"{"alg":null}"#,
        r#"{"alg":["HS256"]}"#,
        r#"{"alg":"HS256","alg":"HS256"}"#,
        "{}",
        "[]",
        "null",
        "",
    ] {
        assert!(
            verifier()
                .verify(&signed_with(SECRET, header, claims), NOW)
                .is_err(),
            "{header}"
        );
    }
}

#[test]
fn a01_an_absent_wrong_or_cut_signature_is_refused() {
    let good = signed_with(SECRET, HS256, r#"{"sub":"alice","exp":1000001}"#);
    for len in 0..good.len() {
        assert!(
            verifier().verify(&good[..len], NOW).is_err(),
            "cut at {len}"
        );
    }
    check(
        &signed_with(
            b"another secret of thirty-two byte",
            HS256,
            r#"{"sub":"alice","exp":1000001}"#,
        ),
        Err(TokenError::Signature),
    );
    check(&format!("{good}="), Err(TokenError::Malformed));
    check(&format!(" {good}"), Err(TokenError::Malformed));
}

#[test]
fn a02_a_public_key_is_no_hs256_secret() {
    // An attacker would sign with the public key, if the gateway had one; the verifier has only its secret.
    let pem = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n-----END PUBLIC KEY-----";
    for key in [
        pem.to_owned(),
        format!("{pem}\n"),
        pem.replace('\n', "\r\n"),
        String::new(),
    ] {
        for header in [HS256, r#"{"alg":"RS256"}"#, r#"{"alg":"ES256"}"#] {
            let forged = signed_with(key.as_bytes(), header, r#"{"sub":"alice","exp":1000001}"#);
            assert!(verifier().verify(&forged, NOW).is_err(), "{header}");
        }
    }
}

#[test]
fn a03_a_header_that_brings_keys_or_addresses_is_refused() {
    for extra in [
        r#""jku":"https://example.com/keys""#,
        r#""x5u":"https://example.com/cert""#,
        r#""x5c":["AA"]"#,
        r#""jwk":{"kty":"oct","k":"AA"}"#,
        r#""crit":["exp"]"#,
        r#""zip":"DEF""#,
    ] {
        let header = format!(r#"{{"alg":"HS256",{extra}}}"#);
        check(
            &signed_with(SECRET, &header, r#"{"sub":"alice","exp":1000001}"#),
            Err(TokenError::Algorithm),
        );
    }
}

#[test]
fn a08_times_of_a_wrong_type_are_refused() {
    let wrong = [
        r#""1000001""#,
        r#""now""#,
        "1e308",
        "1e16",
        "-1",
        "-0.5",
        "-1000001",
        "null",
        "true",
        "[]",
        "[1000001]",
        "{}",
        "18446744073709551616",
    ];
    for value in wrong {
        check_claims(
            &format!(r#"{{"sub":"a","exp":{value}}}"#),
            Err(TokenError::Claim(Claim::Exp)),
        );
        check_claims(
            &format!(r#"{{"sub":"a","exp":1000001,"nbf":{value}}}"#),
            Err(TokenError::Claim(Claim::Nbf)),
        );
        // T1: `iat` has no effect.
        check_claims(
            &format!(r#"{{"sub":"a","exp":1000001,"iat":{value}}}"#),
            Ok("a"),
        );
    }
    check_claims(r#"{"sub":"a"}"#, Err(TokenError::Claim(Claim::Exp)));
    check_claims(
        r#"{"sub":"a","exp":1e400}"#,
        Err(TokenError::Claim(Claim::Exp)),
    );
}

#[test]
fn t2_times_may_have_a_fraction_or_an_exponent() {
    let check = |exp: &str, nbf: &str, expected: Result<&str, TokenError>| {
        check_claims(
            &format!(r#"{{"sub":"a","exp":{exp},"nbf":{nbf}}}"#),
            expected,
        );
    };
    check("1000001.5", "999999.336421", Ok("a"));
    check("1.7e9", "0", Ok("a"));
    check("1e6", "1e6", Ok("a"));
    check("1000001.0", "1000030.9", Ok("a"));
    check("999970.9", "0", Err(TokenError::Expired));
    check("1000001", "1000031.0", Err(TokenError::NotYetValid));
}

#[test]
fn a10_repeated_claims_are_refused() {
    let exp = Err(TokenError::Claim(Claim::Exp));
    check_claims(
        r#"{"sub":"a","sub":"b","exp":1000001}"#,
        Err(TokenError::Claim(Claim::Sub)),
    );
    check_claims(r#"{"sub":"a","exp":1,"exp":1000001}"#, exp);
    check_claims(r#"{"sub":"a","exp":1000001,"\u0065xp":1000001}"#, exp);
}

#[test]
fn a10_oversized_tokens_are_refused() {
    check(&"x".repeat(10_000_000), Err(TokenError::TooLong));
    check(&".".repeat(100_000), Err(TokenError::TooLong));
    check(
        &".".repeat(TokenVerifier::TOKEN_LEN_MAX),
        Err(TokenError::Malformed),
    );
}

#[test]
fn a10_deep_json_is_refused_or_passed_over() {
    let deep = format!("{}1{}", "[".repeat(2_000), "]".repeat(2_000));
    check_claims(
        &format!(r#"{{"sub":{deep},"exp":1000001}}"#),
        Err(TokenError::Claim(Claim::Sub)),
    );
    check_claims(
        &format!(r#"{{"sub":"a","exp":{deep}}}"#),
        Err(TokenError::Claim(Claim::Exp)),
    );
    check_claims(
        &format!(r#"{{"sub":"a","exp":1000001,"x":{deep}}}"#),
        Ok("a"),
    );
    let header = format!(r#"{{"alg":"HS256","x":{deep}}}"#);
    check(
        &signed_with(SECRET, &header, r#"{"sub":"a","exp":1000001}"#),
        Err(TokenError::Algorithm),
    );
}

proptest! {
    #[test]
    fn no_text_is_accepted_or_panics(token in "[A-Za-z0-9_.-]{0,200}|.{0,50}") {
        prop_assert!(verifier().verify(&token, NOW).is_err());
    }

    #[test]
    fn a01_a_changed_token_is_refused(at in 0_usize..110, to in "[A-Za-z0-9_.-]") {
        let good = signed_with(SECRET, HS256, r#"{"sub":"alice","exp":1000001}"#);
        let mut forged = good.clone();
        let at = at % (good.len() - 1);
        forged.replace_range(at..=at, &to);
        prop_assume!(forged != good);
        prop_assert!(verifier().verify(&forged, NOW).is_err());
    }
}
