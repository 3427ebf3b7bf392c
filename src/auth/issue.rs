//! Issues tokens: for operators, for tests, and for protocols that log users in.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;

use super::name::is_name;
use super::rights::Rights;
use super::signing::SigningKey;
use super::topic_acl::TopicAcl;
use crate::config::Secret;

/// The standard claims of a token.
#[derive(Debug, Clone, Serialize)]
pub struct Grant<'a> {
    /// The user.
    #[serde(rename = "sub")]
    pub user: &'a str,
    /// The role, in the application's terms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'a str>,
    /// When it was issued, in seconds of Unix time.
    #[serde(rename = "iat")]
    pub issued_at: u64,
    /// When it expires, in seconds of Unix time.
    #[serde(rename = "exp")]
    pub expires_at: u64,
}

/// All claims of a token.
#[derive(Debug, Clone, Serialize)]
pub struct Terms<'a> {
    /// The standard claims.
    #[serde(flatten)]
    pub grant: Grant<'a>,
    /// The issuer.
    #[serde(rename = "iss", skip_serializing_if = "Option::is_none")]
    pub issuer: Option<&'a str>,
    /// The recipients.
    #[serde(rename = "aud", skip_serializing_if = "<[_]>::is_empty")]
    pub audience: &'a [String],
    /// The user's rights; `None` leaves them to the gateway's configuration.
    #[serde(rename = "fanfare", skip_serializing_if = "Option::is_none")]
    pub rights: Option<&'a Rights>,
    /// The topics that the user is restricted to; `None` for no such restriction.
    #[serde(rename = "wse_topics", skip_serializing_if = "Option::is_none")]
    pub topics: Option<&'a TopicAcl>,
}

impl Terms<'_> {
    /// Signs the claims; `None` if a verifier would refuse the user or the role, or if the key cannot sign.
    #[must_use]
    pub fn sign(&self, key: &SigningKey) -> Option<String> {
        let is_valid = is_name(self.grant.user) && self.grant.role.is_none_or(is_name);
        is_valid.then(|| token_of(self, key))?
    }
}

/// The token with these claims, a JSON object; `None` if the key cannot sign.
pub(super) fn token_of(claims: &impl Serialize, key: &SigningKey) -> Option<String> {
    #[derive(Serialize)]
    struct TokenHeader<'a> {
        alg: &'a str,
        typ: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        kid: Option<&'a str>,
    }
    let header = TokenHeader {
        alg: key.algorithm().name(),
        typ: "JWT",
        kid: key.id.as_deref(),
    };
    let mut token = part(&header);
    token.push('.');
    token.push_str(&part(claims));
    let signature = key.sign(token.as_bytes()).ok()?;
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    Some(token)
}

/// Signs `grant` with HS256; `None` if a verifier would refuse the user or the role.
#[must_use]
pub fn issue(grant: &Grant<'_>, secret: &Secret) -> Option<String> {
    let terms = Terms {
        grant: grant.clone(),
        issuer: None,
        audience: &[],
        rights: None,
        topics: None,
    };
    terms.sign(&SigningKey::of_secret(secret, None))
}

fn part(value: &impl Serialize) -> String {
    let json = serde_json::to_vec(value).expect("texts, numbers and lists of them are JSON");
    URL_SAFE_NO_PAD.encode(json)
}

#[cfg(test)]
mod tests {
    use super::super::TokenVerifier;
    use super::*;
    use crate::config::{Auth, Config, Mode};

    #[test]
    fn what_is_issued_is_accepted() {
        let secret = Secret::new([7; 32]).unwrap();
        let auth = Auth {
            jwt_secret: Some(secret.clone()),
            ..Config::for_mode(Mode::Prod).auth
        };
        let grant = Grant {
            user: "alice",
            role: Some("admin"),
            issued_at: 1_000,
            expires_at: 2_000,
        };
        let token = issue(&grant, &secret).unwrap();
        let verifier = TokenVerifier::new(&auth, |_| unreachable!("there is no file"));
        let identity = verifier.unwrap().verify(&token, 1_500).unwrap();
        assert_eq!(
            (
                identity.user.as_str(),
                identity.role.as_deref(),
                identity.expires_at
            ),
            ("alice", Some("admin"), 2_000)
        );
    }

    #[test]
    fn what_would_be_refused_is_not_issued() {
        let secret = Secret::new([7; 32]).unwrap();
        for user in ["", "a\nb", &"x".repeat(129)] {
            assert_eq!(
                issue(
                    &Grant {
                        user,
                        role: None,
                        issued_at: 0,
                        expires_at: 1
                    },
                    &secret
                ),
                None
            );
        }
        assert_eq!(
            issue(
                &Grant {
                    user: "a",
                    role: Some(""),
                    issued_at: 0,
                    expires_at: 1
                },
                &secret
            ),
            None
        );
    }
}
