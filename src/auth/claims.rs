//! The claims of a token (RFC 7519 section 4) that are evaluated.
//!
//! A claim of a wrong type is refused, and named in the error; it is not treated as absent.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::mem;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::identity::SERVICE_ROLE;
use super::name::is_name;
use super::rights::Rights;
use super::texts::Texts;
use super::token_error::{Claim, TokenError};
use super::topic_acl::TopicAcl;

/// The claims that are evaluated; others are ignored.
#[derive(Debug, Default)]
pub(super) struct Claims {
    pub(super) exp: Option<u64>,
    pub(super) nbf: Option<u64>,
    pub(super) iss: Option<String>,
    pub(super) aud: Option<Texts>,
    pub(super) sub: Option<String>,
    pub(super) user_id: Option<String>,
    pub(super) name: Option<String>,
    pub(super) username: Option<String>,
    pub(super) role: Option<String>,
    pub(super) fanfare: Option<Box<Rights>>,
    pub(super) topics: Option<Box<TopicAcl>>,
    pub(super) iat: Option<u64>,
    pub(super) jti: Option<String>,
}

impl Claims {
    /// Reads the claims of `payload`. The error names a claim that is repeated or of a wrong type.
    pub(super) fn read(payload: &[u8]) -> Result<Self, TokenError> {
        let mut at = None;
        let mut json = serde_json::Deserializer::from_slice(payload);
        let claims = json.deserialize_map(ClaimsVisitor { current: &mut at });
        let claims = claims.and_then(|claims| json.end().map(|()| claims));
        claims.map_err(|_| at.map_or(TokenError::Payload, TokenError::Claim))
    }
}

struct ClaimsVisitor<'a> {
    /// The claim being read.
    current: &'a mut Option<Claim>,
}

impl<'de> Visitor<'de> for ClaimsVisitor<'_> {
    type Value = Claims;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Claims, A::Error> {
        let mut claims = Claims::default();
        let mut seen = [false; Claim::NAMES.len()];
        while let Some(name) = map.next_key::<Cow<'_, str>>()? {
            let known = Claim::NAMES.iter().find(|(known, _)| *known == name);
            let Some(&(_, claim)) = known else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            *self.current = Some(claim);
            if mem::replace(&mut seen[claim as usize], true) {
                return Err(de::Error::custom("repeated"));
            }
            let name = |name: Option<ClaimName>| name.map(|ClaimName(name)| name);
            match claim {
                Claim::Exp => claims.exp = Some(map.next_value::<NumericDate>()?.0),
                Claim::Nbf => claims.nbf = Some(map.next_value::<NumericDate>()?.0),
                Claim::Iss => claims.iss = map.next_value()?,
                Claim::Aud => claims.aud = map.next_value()?,
                Claim::Sub => claims.sub = name(map.next_value()?),
                Claim::UserId => claims.user_id = name(map.next_value()?),
                Claim::Name => claims.name = map.next_value::<DisplayName>()?.0,
                Claim::Username => claims.username = map.next_value::<DisplayName>()?.0,
                Claim::Role => claims.role = map.next_value::<DisplayName>()?.0,
                Claim::Iat => {
                    let date: Lenient<NumericDate> = map.next_value()?;
                    claims.iat = date.value().map(|NumericDate(at)| at);
                }
                Claim::Jti => claims.jti = map.next_value::<Lenient<String>>()?.value(),
                Claim::Fanfare => claims.fanfare = Some(map.next_value::<StrictObject<_>>()?.0),
                Claim::Topics => claims.topics = Some(map.next_value::<StrictObject<_>>()?.0),
            }
            *self.current = None;
        }
        Ok(claims)
    }
}

/// A claim without which a token is valid: of a wrong type, it is as if it were missing.
#[derive(Deserialize)]
#[serde(untagged)]
enum Lenient<T> {
    Right(T),
    Wrong(IgnoredAny),
}

impl<T> Lenient<T> {
    fn value(self) -> Option<T> {
        match self {
            Self::Right(value) => Some(value),
            Self::Wrong(IgnoredAny) => None,
        }
    }
}

/// Seconds of Unix time (RFC 7519 section 2). A fraction is cut off, as most libraries do.
#[derive(Deserialize)]
#[serde(try_from = "serde_json::Number")]
struct NumericDate(u64);

impl TryFrom<serde_json::Number> for NumericDate {
    type Error = &'static str;

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the fraction is cut off, and the range is checked"
    )]
    fn try_from(number: serde_json::Number) -> Result<Self, Self::Error> {
        let fractional = number.as_f64();
        let fractional = fractional.filter(|it| (0.0..FRACTIONAL_SECONDS_END).contains(it));
        let whole = number.as_u64();
        let seconds = whole.or_else(|| fractional.map(|it| it as u64));
        seconds.map(Self).ok_or("no time")
    }
}

/// A name in an identity.
struct ClaimName(String);

impl<'de> Deserialize<'de> for ClaimName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        if is_name(&name) {
            Ok(Self(name))
        } else {
            Err(de::Error::custom("no name"))
        }
    }
}

/// A display name or a role: a string, or a list of strings, of which the service role is taken if present,
/// otherwise the first. `null` and the empty string, which some issuers write for a missing value, are `None`.
#[derive(Deserialize)]
#[serde(try_from = "Option<Texts>")]
struct DisplayName(Option<String>);

impl TryFrom<Option<Texts>> for DisplayName {
    type Error = &'static str;

    fn try_from(texts: Option<Texts>) -> Result<Self, Self::Error> {
        let mut counts: Option<String> = None;
        for text in texts.iter().flat_map(Texts::iter) {
            if !text.is_empty() && !is_name(text) {
                return Err("no name");
            }
            if counts.is_none() || text == SERVICE_ROLE {
                counts = Some(text.to_owned()).filter(|text| !text.is_empty());
            }
        }
        Ok(Self(counts))
    }
}

/// An object only: serde's derived visitors would also accept an array of the fields.
struct StrictObject<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for StrictObject<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = StrictObject<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<StrictObject<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(StrictObject)
            }
        }

        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

/// From here on a floating-point number does not identify a single second.
const FRACTIONAL_SECONDS_END: f64 = 9_007_199_254_740_992.0;
