//! `authenticate`: a new token for a connection that has one, before the old one ends.

use super::{EventsSession, answer, error};
use crate::auth::{Identity, Permissions};
use crate::conn::{Denied, TokenRefusal, check_token, lease_for};
use crate::dialect::events::{NAME, Refusal};
use crate::http::Source;
use crate::id::PeerId;
use crate::json::Raw;
use crate::metrics::Refused;
use crate::shard::{ConnectionUser, RefusedRequest, Shard};
use crate::topic::{self, Selector};

/// The least time between two tokens of a connection that are looked at: checking a signature takes up to 0.1 ms of its
/// shard.
const RENEWAL_MS_MIN: u64 = 100;

impl EventsSession {
    /// Replaces the token of the connection. If the new one is refused the connection keeps the old one, and ends with
    /// it.
    ///
    /// Cost: a signature check; where the rights differ, a permission check for each subscription.
    pub(super) fn authenticate(
        &mut self,
        shard: &Shard,
        peer: PeerId,
        id: Option<Raw<'_>>,
        token: &str,
    ) {
        match self.renewed(shard, id, token) {
            Ok(identity) => {
                shard.renew(
                    peer,
                    lease_for(shard, &identity),
                    ConnectionUser::of(&identity),
                );
                let expires_ms = identity.expires_ms();
                let user = self.user.as_mut().expect("only users renew");
                user.identity = identity;
                answer(shard, peer, |w| {
                    w.authenticated(id.map(Raw::text), expires_ms);
                });
            }
            Err(refusal) => error(shard, peer, &refusal),
        }
    }

    /// The identity of a new token, if the connection may take it over.
    fn renewed(
        &mut self,
        shard: &Shard,
        id: Option<Raw<'_>>,
        token: &str,
    ) -> Result<Identity, Refusal> {
        let failed = |why: String| Refusal::new(id, "AUTHENTICATION_FAILED", why);
        let Some(user) = &mut self.user else {
            let why = "This connection has no user: connect with the token";
            return Err(failed(why.to_owned()));
        };
        let now_ms = shard.clock.now_ms();
        let is_early = |last_ms| now_ms.saturating_sub(last_ms) < RENEWAL_MS_MIN;
        if user.renewal_ms.is_some_and(is_early) {
            let why = "A token was looked at just now; ask again in a moment";
            return Err(Refusal::new(id, "BUSY", why));
        }
        user.renewal_ms = Some(now_ms);
        let source = user.source;
        let refused = |cause: Refused, detail: &str| {
            note_refusal(shard, source, &user.identity.user, (cause, detail));
        };
        let identity = check_token(shard, token, user.source.address).map_err(|why| match why {
            TokenRefusal::Invalid(error) => {
                refused(error.into(), &error.to_string());
                failed(Denied::Token(error).text().to_owned())
            }
            TokenRefusal::KeysMissing => {
                refused(Refused::KeySet, "");
                let why =
                    "The keys that tokens are checked with are not there yet; try again later";
                failed(why.to_owned())
            }
            TokenRefusal::TooManyFailures(wait) => {
                let why = "Too many wrong credentials from this address; try again later";
                refused(Refused::Failures, "");
                // Rounded up, so that a client that waits for it is not refused again.
                let details = format!(r#"{{"retry_after":{}}}"#, wait.as_secs() + 1);
                failed(why.to_owned()).with_details(details)
            }
        })?;
        if identity.user != user.identity.user {
            let why = "The token is another user's: connect with it";
            refused(Refused::Credentials, why);
            return Err(failed(why.to_owned()));
        }
        match self.not_covered(shard, &identity) {
            Some(name) => {
                let why = "The token does not cover what is subscribed to";
                note_refusal(shard, source, &identity.user, (Refused::Credentials, why));
                Err(failed(format!(
                    "The token does not cover `{name}`, which is subscribed to: unsubscribe, or connect with it"
                )))
            }
            None => Ok(identity),
        }
    }

    /// A topic or pattern that the connection reads and that `identity` may not.
    fn not_covered(&self, shard: &Shard, identity: &Identity) -> Option<String> {
        let old = self.identity()?;
        if old.has_permissions_of(identity) {
            return None;
        }
        let (old, new) = (
            Permissions::new(&shard.config, Some(old)),
            Permissions::new(&shard.config, Some(identity)),
        );
        let inbox = topic::inbox_of(&identity.user);
        let selector = Selector::Topic(&inbox);
        if old.may_subscribe(&selector) && !new.may_subscribe(&selector) {
            return Some(inbox);
        }
        let may_read = |name: &str| {
            let selector = Selector::parse(name).expect("it was checked");
            new.may_subscribe(&selector)
        };
        let mut names = self.subscriptions.iter();
        names.find(|name| !may_read(name)).map(ToOwned::to_owned)
    }
}

/// Counts and logs a token that does not replace that of a connection.
fn note_refusal(shard: &Shard, source: Source, user: &str, (cause, detail): (Refused, &str)) {
    shard.note_refused(&RefusedRequest {
        source,
        endpoint: (NAME, "authenticate"),
        user: Some(user),
        status: 0,
        cause,
        detail,
    });
}
