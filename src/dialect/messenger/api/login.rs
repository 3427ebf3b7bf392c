//! `POST /auth/login`: a challenge, and with `?verify=true` the token for its signature.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::Request;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::{
    MessengerHandle, answer_of, count, json, note_refused, object_of, refused, text, text_later,
};
use crate::auth::is_name;
use crate::dialect::messenger::account::is_signed;
use crate::dialect::messenger::audit::AuditEvent;
use crate::dialect::messenger::challenge::Challenge;
use crate::http::{Answer, Rejection};
use crate::metrics::Refused;
use crate::process::block_of;
use crate::service::{State, source_of};
use crate::store::User;

/// What a client sends. A field that is missing is empty.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Login {
    user_id: Option<String>,
    signature: Option<String>,
    /// Which of its challenges it has signed; any of them, where it does not say.
    challenge: Option<String>,
}

/// A login that fails: the answer, as status and text.
type LoginFailure = (u16, &'static str);

const NO_CHALLENGE: LoginFailure = (400, "No challenge found");
const NO_USER: LoginFailure = (401, "User not found");
const NO_BASE64: LoginFailure = (400, "Invalid signature encoding");
const WRONG: LoginFailure = (401, "Authentication failed");

/// Answers with a challenge, or with a token for the signature of one.
pub(super) async fn login(
    messenger: MessengerHandle,
    state: Arc<State>,
    request: Request,
) -> Result<Answer, Rejection> {
    let source = source_of(&request);
    let limit = (&messenger.requests, "messenger.requests_per_minute");
    count(&state, limit, source)?;
    let query = request.uri().query().unwrap_or("");
    let verifies = form_urlencoded::parse(query.as_bytes())
        .any(|(name, value)| name == "verify" && value == "true");
    let network = block_of(source.address);
    let failures = &state.authenticator.failures;
    if verifies && let Some(wait) = failures.wait_for(network, Instant::now()) {
        let why = "Too many wrong credentials from this address; try again later";
        let answer = text_later(429, why, wait.as_secs() + 1);
        return Err(note_refused(
            &state,
            source,
            (Refused::Failures, ""),
            answer,
        ));
    }
    let login: Login = object_of(&state, request).await?;
    let id = login.user_id.clone().unwrap_or_default();
    if id.is_empty() {
        return Ok(text(400, "User ID is required"));
    }
    state.shard.clock.refresh();
    let now = state.shard.clock.now_ms();
    if !verifies {
        let challenges = &messenger.challenges;
        // No account has an id that could not be a name.
        let challenge = match is_name(&id) {
            true => challenges.issue(&id, messenger.store().is_registered(&id), network, now),
            false => challenges.issue("", false, network, now),
        };
        let body = serde_json::json!({ "challenge": STANDARD.encode(challenge) });
        return Ok(json(body.to_string()));
    }
    let note = |failed| {
        messenger.note(
            &state,
            AuditEvent {
                name: "LOGIN",
                user: &id,
                address: source.address,
                failed,
            },
        );
    };
    let waiting = messenger.challenges.waiting(&id, now);
    if waiting.is_empty() && is_name(&id) {
        note(Some(NO_CHALLENGE.1));
        return Ok(text(NO_CHALLENGE.0, NO_CHALLENGE.1));
    }
    let user = match is_name(&id) {
        true => answer_of(messenger.store().user(&id)).await,
        false => Ok(None),
    };
    let verified = match user {
        Ok(user) => verify(&login, user.as_ref(), &waiting),
        Err(why) => {
            note(Some(&why.to_string()));
            return Ok(refused(why));
        }
    };
    // Of two requests with one signature the first one has the token.
    let verified =
        verified.and_then(
            |challenge| match messenger.challenges.take(&id, &challenge) {
                true => Ok(()),
                false => Err(NO_CHALLENGE),
            },
        );
    if let Err((status, why)) = verified {
        note(Some(why));
        let answer = text(status, why);
        if status != 401 {
            return Ok(answer);
        }
        failures.note(network, Instant::now());
        return Err(note_refused(
            &state,
            source,
            (Refused::Credentials, why),
            answer,
        ));
    }
    let keys = &state.authenticator.tokens.keys;
    let issued = messenger.tokens.issue(keys, &id, state.unix_seconds());
    let Some(issued) = issued else {
        return Ok(text(
            503,
            "There is no key that tokens could be signed with",
        ));
    };
    note(None);
    let body = serde_json::json!({ "token": issued.token, "expires_at": issued.expires_at });
    Ok(json(body.to_string()))
}

/// The challenge that the user has signed.
fn verify(
    login: &Login,
    user: Option<&User>,
    waiting: &[Challenge],
) -> Result<Challenge, LoginFailure> {
    let user = user.ok_or(NO_USER)?;
    let signature = STANDARD.decode(login.signature.as_deref().unwrap_or_default());
    let signature = signature.map_err(|_| NO_BASE64)?;
    let said = login.challenge.as_deref().filter(|said| !said.is_empty());
    let is_meant = |it: &&Challenge| said.is_none_or(|said| STANDARD.encode(it) == said);
    let is_right = |it: &&Challenge| is_signed(&user.public_key, *it, &signature);
    let mut meant = waiting.iter().filter(is_meant).peekable();
    if meant.peek().is_none() {
        return Err(NO_CHALLENGE);
    }
    meant.find(is_right).copied().ok_or(WRONG)
}
