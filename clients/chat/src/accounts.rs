//! Accounts on the server: registration, login, and the keys of users.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use hyper::Method;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::encoding::{decode, decode_array, decode_url, encode};
use crate::identity::Identity;
use crate::request::{Answer, ask};
use crate::transport::Transport;

/// What is escaped in paths and queries: everything but unreserved characters (RFC 3986).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
/// A token is renewed when it has not longer than that.
const RENEWED_BEFORE: u64 = 60;

/// Why the server has not done what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ApiError {
    /// It cannot be reached, or its answer is none of this protocol.
    Unreachable(String),
    /// The address cannot be right.
    WrongServer(String),
    /// It has refused for the time being.
    Later(Answer),
    /// It has refused.
    Refused(Answer),
}

impl ApiError {
    /// How long the server asks to wait.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Later(answer) => answer.retry_after,
            Self::Unreachable(_) | Self::WrongServer(_) | Self::Refused(_) => None,
        }
    }
}

impl From<Answer> for ApiError {
    fn from(answer: Answer) -> Self {
        match answer.status {
            408 | 425 | 429 | 500..=599 => Self::Later(answer),
            _ => Self::Refused(answer),
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) | Self::WrongServer(why) => f.write_str(why),
            Self::Later(answer) | Self::Refused(answer) => {
                write!(f, "the server says: {}", answer.shown())
            }
        }
    }
}

/// What came of a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Registration {
    New,
    /// The id is someone's; whose, a login shows.
    Exists,
}

/// What came of a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Login {
    Done(Token),
    /// There is no such account.
    Unknown,
    /// The account has another key.
    OtherKey,
}

/// What a connection is opened with. Its debug form does not show it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Token {
    text: String,
    /// Seconds since 1970, if it says.
    expires_at: Option<u64>,
}

impl Token {
    fn new(text: String) -> Self {
        let claims = text.split('.').nth(1).and_then(decode_url);
        let claims: Option<Value> = claims.and_then(|it| serde_json::from_slice(&it).ok());
        let expires_at = claims.and_then(|claims| claims["exp"].as_u64());
        Self { text, expires_at }
    }

    /// Whether it will be good for a while.
    pub(crate) fn is_good(&self, now: SystemTime) -> bool {
        let now = now.duration_since(UNIX_EPOCH).map_or(0, |it| it.as_secs());
        self.expires_at.is_none_or(|end| end > now + RENEWED_BEFORE)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token {{ expires_at: {:?}, .. }}", self.expires_at)
    }
}

/// The public keys of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PublicKeys {
    /// Ed25519.
    pub(crate) signing: [u8; 32],
    /// X25519; none if nothing can be encrypted to the user.
    pub(crate) agreement: Option<[u8; 32]>,
}

impl PublicKeys {
    /// What people compare: the first half of the SHA-256 of both keys, in groups.
    pub(crate) fn fingerprint(&self) -> String {
        let mut keys = self.signing.to_vec();
        keys.extend(self.agreement.iter().flatten());
        let digest = digest(&SHA256, &keys);
        let groups = digest.as_ref()[..16].chunks(2);
        let groups: Vec<String> = groups
            .map(|it| format!("{:02x}{:02x}", it[0], it[1]))
            .collect();
        groups.join(" ")
    }
}

/// Who is there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct UserList {
    pub(crate) online: Vec<String>,
    pub(crate) offline: Vec<String>,
}

/// The accounts of one server.
#[derive(Debug)]
pub(crate) struct Accounts {
    pub(crate) transport: Transport,
    is_debug: bool,
}

impl Accounts {
    /// Of a server; with `is_debug` requests are told on standard error.
    pub(crate) fn new(transport: Transport, is_debug: bool) -> Self {
        Self {
            transport,
            is_debug,
        }
    }

    /// Whether an id is someone's.
    pub(crate) async fn exists(&self, user: &str) -> Result<bool, ApiError> {
        let path = format!("/auth/check-userid/{}", escaped(user));
        let answer = self.ask(Method::GET, &path, None).await?;
        let answer: Value = self.json(200, answer)?;
        let exists = answer["exists"].as_bool();
        exists.ok_or_else(|| self.foreign("it does not say whether an id exists"))
    }

    /// Registers an id with the public keys of `identity`.
    pub(crate) async fn register(
        &self,
        user: &str,
        username: &str,
        identity: &Identity,
    ) -> Result<Registration, ApiError> {
        let body = json!({
            "user_id": user,
            "username": username,
            "public_key": encode(identity.public_key()),
            "x25519_public_key": encode(&identity.x25519_public_key()),
        });
        let answer = self.ask(Method::POST, "/auth/register", Some(body)).await?;
        match answer.status {
            201 => Ok(Registration::New),
            409 => Ok(Registration::Exists),
            // Older servers.
            500 if answer.text.contains("UNIQUE constraint") => Ok(Registration::Exists),
            _ => Err(answer.into()),
        }
    }

    /// Logs in: signs a challenge for a token.
    pub(crate) async fn login(&self, user: &str, identity: &Identity) -> Result<Login, ApiError> {
        let body = json!({ "user_id": user });
        let answer = self.ask(Method::POST, "/auth/login", Some(body)).await?;
        let answer: Value = self.json(200, answer)?;
        let challenge = answer["challenge"].as_str().and_then(decode);
        let challenge = challenge.ok_or_else(|| self.foreign("its challenge is not base64"))?;
        let body = json!({ "user_id": user, "signature": identity.sign(&challenge) });
        let path = "/auth/login?verify=true";
        let answer = self.ask(Method::POST, path, Some(body)).await?;
        match (answer.status, &*answer.text) {
            (401, "User not found") => Ok(Login::Unknown),
            (401, "Authentication failed") => Ok(Login::OtherKey),
            // The challenge was used, or was too old: another one will do.
            (400, "No challenge found") => Err(ApiError::Later(answer)),
            _ => {
                let answer: Value = self.json(200, answer)?;
                let token = answer["token"].as_str();
                let token = token.ok_or_else(|| self.foreign("it gives no token"))?;
                Ok(Login::Done(Token::new(token.to_owned())))
            }
        }
    }

    /// The public keys of a user; none if there is no such user.
    pub(crate) async fn keys(&self, user: &str) -> Result<Option<PublicKeys>, ApiError> {
        let path = format!("/auth/users/{}", escaped(user));
        let answer = self.ask(Method::GET, &path, None).await?;
        // 400: no id that users have.
        if matches!(answer.status, 404 | 400) {
            return Ok(None);
        }
        let answer: Value = self.json(200, answer)?;
        let signing = answer["public_key"].as_str().and_then(decode_array);
        let agreement = answer["x25519_public_key"].as_str().and_then(decode_array);
        Ok(signing.map(|signing| PublicKeys { signing, agreement }))
    }

    /// Who is connected, and who is not.
    pub(crate) async fn users(&self) -> Result<UserList, ApiError> {
        let answer = self.ask(Method::GET, "/active-users", None).await?;
        self.json(200, answer)
    }

    /// The path of a connection that has seen all messages up to `after`.
    pub(crate) fn websocket(&self, token: &Token, after: Option<i64>) -> String {
        let mut path = format!("/ws?token={}&ack=true", escaped(&token.text));
        if let Some(after) = after {
            path.push_str(&format!("&after={after}"));
        }
        self.transport.url.websocket(&path)
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Answer, ApiError> {
        let shown = format!("{method} {path}");
        let body = body.map(|body| body.to_string());
        let answer = ask(&self.transport, method, path, body).await;
        if self.is_debug {
            // Not the text: it may be a token.
            match &answer {
                Ok(answer) => eprintln!("debug: {shown}: {}", answer.status),
                Err(error) => eprintln!("debug: {shown}: {error}"),
            }
        }
        let answer = answer.map_err(ApiError::Unreachable)?;
        let url = &self.transport.url;
        if !url.is_tls && answer.status == 400 && is_of_tls_port(&answer.text) {
            let (server, option) = (url.shown(), url.option);
            let text = format!("{server} speaks TLS: use https:// in {option}");
            return Err(ApiError::WrongServer(text));
        }
        Ok(answer)
    }

    fn json<T: for<'de> Deserialize<'de>>(
        &self,
        status: u16,
        answer: Answer,
    ) -> Result<T, ApiError> {
        if answer.status != status {
            // 404 of a path of the protocol itself: it is another kind of server.
            return Err(match answer.status {
                404 | 405 => self.foreign(&answer.shown()),
                _ => answer.into(),
            });
        }
        serde_json::from_str(&answer.text).map_err(|error| self.foreign(&error.to_string()))
    }

    fn foreign(&self, why: &str) -> ApiError {
        let server = self.transport.url.shown();
        let option = self.transport.url.option;
        ApiError::Unreachable(format!(
            "{server} does not speak the messenger protocol ({why}): is {option} right, and messenger.enabled set there?"
        ))
    }
}

/// Whether a text is how ports that speak TLS answer without it: those of this gateway, and of nginx.
fn is_of_tls_port(text: &str) -> bool {
    text.contains("speaks TLS") || text.contains("HTTPS port")
}

fn escaped(text: &str) -> impl fmt::Display {
    utf8_percent_encode(text, ESCAPED)
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    #[test]
    fn a_token_is_good_until_a_minute_before_its_end() {
        let claims = URL_SAFE_NO_PAD.encode(r#"{"user_id":"a","exp":1000}"#);
        let token = Token::new(format!("e30.{claims}.s"));
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        assert!(token.is_good(at(939)));
        assert!(!token.is_good(at(940)) && !token.is_good(at(2000)));
        assert!(Token::new("opaque".into()).is_good(at(2000)));
        assert!(!format!("{token:?}").contains("e30"));
    }

    #[test]
    fn a_fingerprint_is_of_both_keys() {
        let keys = |agreement| PublicKeys {
            signing: [0; 32],
            agreement,
        };
        // printf of 32 zero bytes | sha256sum
        let one = "6668 7aad f862 bd77 6c8f c18b 8e9f 8e20";
        assert_eq!(keys(None).fingerprint(), one);
        assert_ne!(keys(Some([0; 32])).fingerprint(), one);
    }

    #[test]
    fn ids_are_escaped() {
        assert_eq!(escaped("a/b c?é").to_string(), "a%2Fb%20c%3F%C3%A9");
        assert_eq!(escaped("a-b.c_d~1").to_string(), "a-b.c_d~1");
    }

    #[test]
    fn what_may_succeed_later_is_told_from_what_will_not() {
        let answer = |status| Answer {
            status,
            text: String::new(),
            retry_after: Some(Duration::from_secs(3)),
        };
        for status in [429, 500, 503, 507] {
            let error = ApiError::from(answer(status));
            assert_eq!(
                error.retry_after(),
                Some(Duration::from_secs(3)),
                "{status}"
            );
        }
        assert_eq!(ApiError::from(answer(400)), ApiError::Refused(answer(400)));
    }
}
