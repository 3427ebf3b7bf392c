//! The token of a request: where it is found, and whose it is.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use hyper::Request;
use hyper::header::{AUTHORIZATION, COOKIE, HeaderMap, HeaderName, SEC_WEBSOCKET_PROTOCOL};
use percent_encoding::{percent_decode, percent_decode_str};

use super::claim::{Admission, UpgradeRefusal};
use super::session::{Authentication, Denied};
use crate::auth::{Identity, TokenError};
use crate::config::Auth;
use crate::http::{is_own_page, keys_missing, refuse, too_many_failures};
use crate::metrics::Refused;
use crate::process::block_of;
use crate::shard::Shard;

/// The subprotocol that carries a token as the one named behind it, for browsers, which cannot set
/// headers: `new WebSocket(url, ["bearer", token])`.
pub(super) const BEARER_PROTOCOL: &str = "bearer";

/// The parameters of a query that carry a token.
pub(super) const TOKEN_PARAMETERS: [&str; 2] = ["token", "access_token"];

/// Authenticates a request by its token (docs/tokens.md). Sources with different tokens count as an invalid one.
///
/// # Errors
/// The response that refuses the request: a cookie was sent by a page whose origin is not allowed, too many
/// credentials from `address` were wrong, or no token can be checked yet.
pub fn admit<B>(
    shard: &Shard,
    request: &Request<B>,
    address: IpAddr,
    is_required: bool,
) -> Admission<Authentication> {
    let config = &shard.config;
    let without_token = || {
        if is_required {
            Authentication::Refused(Denied::NoToken)
        } else {
            Authentication::Anonymous
        }
    };
    let Some(given) = RequestToken::find(&config.auth, request) else {
        return Ok(without_token());
    };
    // Browsers attach cookies to requests of every page: cross-site WebSocket hijacking (docs/hostile-inputs.md, A14).
    if given.only_cookies && !is_own_page(&config.http.allowed_origins, request.headers()) {
        let why = "A token in a cookie is taken from pages of this host only, or of \
                   http.allowed_origins: the Origin header is another, or missing";
        let answer = Box::new(refuse(403, why, &[]));
        return Err(UpgradeRefusal::new(Refused::Origin, answer, why));
    }
    let token = match given.token {
        Some(token) if token == "dev" && !is_required => return Ok(Authentication::Anonymous),
        Some(token) => token,
        None => {
            return Ok(Authentication::Refused(Denied::Token(TokenError::Several)));
        }
    };
    match check_token(shard, &token, address) {
        Ok(identity) => Ok(Authentication::Known(Box::new(identity))),
        Err(TokenRefusal::Invalid(error)) => Ok(Authentication::Refused(Denied::Token(error))),
        Err(TokenRefusal::KeysMissing) => {
            let why = TokenError::KeySet.to_string();
            let answer = Box::new(keys_missing());
            Err(UpgradeRefusal::new(Refused::KeySet, answer, why))
        }
        Err(TokenRefusal::TooManyFailures(wait)) => {
            let answer = Box::new(too_many_failures(wait));
            let why = "too many wrong credentials from this address";
            Err(UpgradeRefusal::new(Refused::Failures, answer, why))
        }
    }
}

/// Why a token is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TokenRefusal {
    /// It is not valid.
    Invalid(TokenError),
    /// The key set that it would be checked with has not been fetched yet.
    KeysMissing,
    /// It has not been looked at: too many credentials from its address were wrong. So long it has to wait.
    TooManyFailures(Duration),
}

/// The identity that a token from `address` proves.
///
/// Cost: that of [`Authenticator::verify`](crate::auth::Authenticator::verify).
///
/// # Errors
/// Why it is refused. An invalid one counts toward `auth.max_failures_per_minute` of its address.
pub fn check_token(shard: &Shard, token: &str, address: IpAddr) -> Result<Identity, TokenRefusal> {
    let (failures, network) = (&shard.authenticator.failures, block_of(address));
    if let Some(wait) = failures.wait_for(network, Instant::now()) {
        return Err(TokenRefusal::TooManyFailures(wait));
    }
    shard.clock.refresh();
    let now = shard.clock.wall_seconds();
    let verified = shard.authenticator.verify(token, now);
    verified.map_err(|error| match error {
        TokenError::KeySet => TokenRefusal::KeysMissing,
        error => {
            failures.note(network, Instant::now());
            TokenRefusal::Invalid(error)
        }
    })
}

/// Whether a request has any token, valid or not.
pub fn are_given<B>(auth: &Auth, request: &Request<B>) -> bool {
    RequestToken::find(auth, request).is_some()
}

/// The token of a request. Empty tokens are ignored.
#[derive(Debug)]
pub struct RequestToken<'r> {
    /// `None` if sources have different tokens.
    pub token: Option<Cow<'r, str>>,
    /// The token came in cookies only.
    pub only_cookies: bool,
}

impl<'r> RequestToken<'r> {
    /// The token of `request` in any of the sources that `auth` allows; `None` if there is none.
    pub fn find<B>(auth: &Auth, request: &'r Request<B>) -> Option<Self> {
        let headers = request.headers();
        let query = request.uri().query().filter(|_| auth.token_in_query);
        let mut meant = query_tokens(query.unwrap_or(""))
            .chain(bearer_tokens(headers).map(Cow::Borrowed))
            .chain(protocol_tokens(headers).map(Cow::Borrowed))
            .filter(|token| !token.is_empty())
            .peekable();
        let only_cookies = meant.peek().is_none();
        let cookies = cookie_tokens(headers, &auth.cookie_name).filter(|token| !token.is_empty());
        let mut all = meant.chain(cookies);
        let token = all.next()?;
        let agreed = all.all(|other| other == token);
        Some(Self {
            token: agreed.then_some(token),
            only_cookies,
        })
    }
}

/// `?token=` and `?access_token=` (RFC 6750 section 2.3), percent-decoded. Bytes that are not UTF-8 are replaced, which makes an invalid token.
fn query_tokens(query: &str) -> impl Iterator<Item = Cow<'_, str>> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .filter(|(name, _)| TOKEN_PARAMETERS.contains(name))
        .map(|(_, value)| value)
        .map(|value| percent_decode_str(value).decode_utf8_lossy())
}

fn bearer_tokens(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    texts(headers, AUTHORIZATION).filter_map(token_of_bearer)
}

/// The token behind the scheme `Bearer`.
fn token_of_bearer(credentials: &str) -> Option<&str> {
    let (scheme, token) = credentials.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The tokens in cookies called `name`. Other cookies may have any bytes. A cookie without a value is ignored: sites
/// clear cookies by emptying them.
fn cookie_tokens<'h>(headers: &'h HeaderMap, name: &str) -> impl Iterator<Item = Cow<'h, str>> {
    let lines = headers.get_all(COOKIE).into_iter();
    lines
        .flat_map(|line| line.as_bytes().split(|&byte| byte == b';'))
        .filter_map(move |cookie| {
            let value = cookie.trim_ascii().strip_prefix(name.as_bytes())?;
            Some(token_of_cookie(value.strip_prefix(b"=")?))
        })
        // What pages write that have none.
        .filter(|token| !matches!(&**token, "" | "undefined" | "null"))
}

/// The token in a cookie's value: with or without the scheme `Bearer`, quotes (Python's libraries quote a value with a
/// space) and percent-encoding (JavaScript's libraries). Bytes that are not UTF-8 are replaced, which makes an invalid
/// token.
fn token_of_cookie(value: &[u8]) -> Cow<'_, str> {
    match percent_decode(value).decode_utf8_lossy() {
        Cow::Borrowed(text) => Cow::Borrowed(bare_token(text)),
        Cow::Owned(text) => Cow::Owned(bare_token(&text).to_owned()),
    }
}

/// A token without quotes and scheme.
fn bare_token(text: &str) -> &str {
    let text = text.trim();
    let inner = text
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    let credentials = inner.unwrap_or(text).trim();
    token_of_bearer(credentials).unwrap_or(credentials)
}

/// The subprotocols that directly follow `bearer` in the list.
fn protocol_tokens(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let mut is_next = false;
    texts(headers, SEC_WEBSOCKET_PROTOCOL)
        .flat_map(|line| line.split(','))
        .filter_map(move |protocol| {
            let protocol = protocol.trim();
            let is_token = std::mem::replace(&mut is_next, protocol == BEARER_PROTOCOL);
            (is_token && !is_next).then_some(protocol)
        })
}

fn texts(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter();
    values.filter_map(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Mode};
    use hyper::header::HeaderValue;

    /// The token of a request with this query and these headers: `None` for no credential,
    /// `Some(None)` for some that disagree; and whether only cookies have it.
    #[track_caller]
    fn check(query: &str, headers: &[(&str, &str)], expected: Option<(Option<&str>, bool)>) {
        let mut request = Request::get(format!("/x?{query}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).unwrap();
        let auth = Config::for_mode(Mode::Prod).auth;
        let given = RequestToken::find(&auth, &request);
        let given = given
            .as_ref()
            .map(|given| (given.token.as_deref(), given.only_cookies));
        assert_eq!(given, expected, "{query} {headers:?}");
    }

    #[test]
    fn a_token_is_found_in_each_place() {
        let a = Some((Some("a.b.c"), false));
        check("", &[], None);
        check("x=1&token=a.b.c", &[], a);
        check("token=a%2Eb%2ec", &[], a);
        check("token=%FF", &[], Some((Some("\u{fffd}"), false)));
        check("Token=a.b.c&xtoken=a.b.c", &[], None);
        check("", &[("authorization", "bEaReR  a.b.c ")], a);
        check("", &[("authorization", "Basic a.b.c")], None);
        check("", &[("sec-websocket-protocol", "bearer, a.b.c")], a);
        check("", &[("sec-websocket-protocol", "chat,bearer,a.b.c,x")], a);
        check("", &[("sec-websocket-protocol", "Bearer, a.b.c")], None);
        check("", &[("sec-websocket-protocol", "bearer")], None);
        let cookie = Some((Some("a.b.c"), true));
        check("", &[("cookie", "x=y; access_token=a.b.c;z=")], cookie);
        check("", &[("cookie", "xaccess_token=a; access_tokens=b")], None);
        check("", &[("cookie", "access_token=; access_token=\"\"")], None);
    }

    #[test]
    fn case_h4_a_cookie_has_its_token_in_each_of_the_usual_forms() {
        let expected = Some((Some("a.b.c"), true));
        for value in [
            "a.b.c",
            "\"a.b.c\"",
            "Bearer a.b.c",
            "\"Bearer a.b.c\"",
            "\"bearer  a.b.c\" ",
            "Bearer%20a.b.c",
            "%22Bearer%20a.b.c%22",
            "a%2Eb.c",
        ] {
            let cookie = format!("x=y; access_token={value}; z=1");
            check("", &[("cookie", &cookie)], expected);
        }
        let cookie = [("cookie", "access_token=\"Bearer a.b.c\"")];
        check("token=a.b.c", &cookie, Some((Some("a.b.c"), false)));
        for (value, token) in [("\"a.b.c", "\"a.b.c"), ("Basic a.b.c", "Basic a.b.c")] {
            let cookie = format!("access_token={value}");
            check("", &[("cookie", &cookie)], Some((Some(token), true)));
        }
    }

    #[test]
    fn case_h3_bytes_of_one_cookie_do_not_spoil_the_others() {
        let check = |cookie: &[u8], expected: Option<&str>| {
            let cookie = HeaderValue::from_bytes(cookie).unwrap();
            let request = Request::get("/x").header(COOKIE, cookie).body(()).unwrap();
            let given = RequestToken::find(&Config::for_mode(Mode::Prod).auth, &request);
            assert_eq!(given.and_then(|given| given.token).as_deref(), expected);
        };
        check(b"n=Zo\xc3\xab; access_token=a.b.c", Some("a.b.c"));
        check(b"n=Zo\xeb; access_token=a.b.c; \xff=\xfe", Some("a.b.c"));
        check(b"access_token=a.\xeb.c", Some("a.\u{fffd}.c"));
        check(b"\xeb", None);
    }

    #[test]
    fn t6_an_empty_token_is_none() {
        check("token=", &[], None);
        check("token=t&token=", &[], Some((Some("t"), false)));
        check("", &[("authorization", "Bearer ")], None);
        check("", &[("cookie", "access_token=")], None);
        check("", &[("sec-websocket-protocol", "bearer, ")], None);
        let cookie = [("cookie", "access_token=t")];
        check("token=", &cookie, Some((Some("t"), true)));
    }

    #[test]
    fn sources_that_disagree_are_no_token() {
        let same = [("authorization", "Bearer t"), ("cookie", "access_token=t")];
        check("token=t", &same, Some((Some("t"), false)));
        let none = Some((None, false));
        check("token=t&token=u", &[], none);
        check("token=u", &same, none);
        check(
            "",
            &[("authorization", "Bearer t"), ("authorization", "Bearer u")],
            none,
        );
        check(
            "",
            &[("authorization", "Bearer t"), ("cookie", "access_token=u")],
            none,
        );
        check("token=t", &[("sec-websocket-protocol", "bearer, u")], none);
        check(
            "",
            &[("cookie", "access_token=t; access_token=u")],
            Some((None, true)),
        );
    }

    #[test]
    fn a13_the_query_is_not_looked_at_where_that_is_configured() {
        let request = Request::get("/x?token=t").body(()).unwrap();
        let auth = Auth {
            token_in_query: false,
            ..Config::for_mode(Mode::Prod).auth
        };
        assert!(RequestToken::find(&auth, &request).is_none());
    }
}
