//! What applications are told of a connection that begins (docs/backend.md).

use std::borrow::Cow;

use hyper::Request;

use super::credentials::{RequestToken, TOKEN_PARAMETERS};
use super::record::Record;
use crate::auth::claims_of;
use crate::inbound::{ConnectFields, ObjectWriter};
use crate::shard::Shard;

/// The fields of the object that tells applications of the connection that `request` becomes. Empty if none is told.
///
/// Cost: one comparison where applications cannot attach; otherwise the token's claims are parsed once more.
pub(super) fn announcement<B>(shard: &Shard, request: &Request<B>, record: &Record) -> Vec<u8> {
    let mut fields = Vec::new();
    let info = record.info.as_deref();
    let Some(info) = info.filter(|_| shard.announces() && record.session.is_announced()) else {
        return fields;
    };
    let config = &shard.config;
    let is_verified = info.user.as_deref().is_some_and(|user| user.is_verified);
    let token = RequestToken::find(&config.auth, request).filter(|_| is_verified);
    let token = token.and_then(|found| found.token);
    let claims = token.and_then(|token| claims_of(&token));
    let names = config.backend.headers.iter();
    let headers: Vec<(&str, Cow<'_, str>)> = names
        .filter_map(|name| {
            let value = request.headers().get(name)?;
            Some((name.as_str(), String::from_utf8_lossy(value.as_bytes())))
        })
        .collect();
    let headers: Vec<(&str, &str)> = headers
        .iter()
        .map(|(name, value)| (*name, &**value))
        .collect();
    let uri = request.uri();
    let connect = ConnectFields {
        endpoint: info.endpoint.1,
        is_verified,
        claims: claims.as_deref(),
        address: &info.source.address.to_string(),
        path: uri.path(),
        query: &without_token(uri.query().unwrap_or("")),
        headers: &headers,
        time_ms: shard.clock.wall_ms(),
    };
    ObjectWriter::put_connect(&mut fields, &connect);
    fields
}

/// A query without tokens.
fn without_token(query: &str) -> String {
    let pairs = query.split('&').filter(|pair| {
        let name = pair.split('=').next().unwrap_or("");
        !TOKEN_PARAMETERS.contains(&name)
    });
    pairs.collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_told_without_its_token() {
        for (query, told) in [
            ("", ""),
            ("token=a.b.c", ""),
            ("access_token=a.b.c&x", "x"),
            ("a=1&token=a.b.c&b=token", "a=1&b=token"),
            ("token=a&token=b&tokens=1&x", "tokens=1&x"),
        ] {
            assert_eq!(without_token(query), told);
        }
    }
}
