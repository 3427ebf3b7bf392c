//! `GET /openapi.json`: the OpenAPI 3.1.0 document of all endpoints.

use std::iter;
use std::sync::Arc;

use axum::extract::State as Shared;
use serde_json::{Map, Value, json};

use crate::config::Config;
use crate::http::{Answer, respond};
use crate::service::{Endpoint, State};

/// The operations of no protocol, and what all operations refer to. Each at its default path, with the credentials that
/// it takes where some are required.
const DOCUMENT: &str = include_str!("openapi.json");

/// Answers with the document.
pub(super) async fn openapi(Shared(state): Shared<Arc<State>>) -> Answer {
    respond(200, "application/json", state.openapi.clone())
}

/// The document of a gateway with these endpoints, which are described here or by one of the `protocols`.
///
/// # Panics
/// An endpoint is not described, or a description is not JSON.
pub(super) fn document(config: &Config, protocols: &[&str], endpoints: &[Endpoint]) -> Value {
    let mut document = Value::Null;
    for part in protocols.iter().chain([&DOCUMENT]) {
        let part = serde_json::from_str(part).expect("a description is JSON");
        merge(&mut document, part);
    }
    let mut paths = Map::new();
    for endpoint in endpoints {
        let method = endpoint.method.as_str().to_ascii_lowercase();
        let mut operation = document["paths"][endpoint.described_at][&method].clone();
        assert!(
            operation.is_object(),
            "no openapi.json has {}",
            endpoint.described_at
        );
        operation["operationId"] = operation_id(&method, &endpoint.path).into();
        operation["security"] = security(config, endpoint, &operation);
        let parameters = operation
            .get_mut("parameters")
            .and_then(Value::as_array_mut);
        for parameter in parameters.into_iter().flatten() {
            resolve(parameter, &document);
        }
        let responses = operation["responses"].as_object_mut();
        for response in responses.into_iter().flat_map(Map::values_mut) {
            resolve(response, &document);
        }
        // A parameter that takes the rest of a path.
        let path = paths
            .entry(endpoint.path.replace("{*", "{"))
            .or_insert_with(|| json!({}));
        path[method] = operation;
    }
    document["paths"] = paths.into();
    if let Some(components) = document["components"].as_object_mut() {
        components.retain(|name, _| !["parameters", "responses"].contains(&&**name));
    }
    document["info"]["version"] = env!("CARGO_PKG_VERSION").into();
    document
}

/// Adds what `part` has to `document`: members of objects, and items of lists behind those there are.
fn merge(document: &mut Value, part: Value) {
    match (document, part) {
        (Value::Object(all), Value::Object(part)) => {
            for (name, value) in part {
                merge(all.entry(name).or_insert(Value::Null), value);
            }
        }
        (Value::Array(all), Value::Array(part)) => all.extend(part),
        (place, part) => *place = part,
    }
}

/// A name that is unique among operations.
fn operation_id(method: &str, path: &str) -> String {
    let words = path.split(|c: char| !c.is_ascii_alphanumeric());
    let words = words.filter(|word| !word.is_empty());
    iter::once(method)
        .chain(words)
        .collect::<Vec<_>>()
        .join("_")
}

/// The alternative security requirements of an operation; an empty object means that none is required.
fn security(config: &Config, endpoint: &Endpoint, operation: &Value) -> Value {
    let described = &operation["security"];
    let is_for_clients = described[1].get("token").is_some();
    let asks = endpoint.asks.unwrap_or(config.clients.auth_required);
    match (asks, is_for_clients) {
        (true, _) => described.clone(),
        (false, true) => json!([{}, described[0], described[1]]),
        (false, false) => json!([]),
    }
}

/// Replaces a reference to a component by the component.
fn resolve(part: &mut Value, document: &Value) {
    if let Some(reference) = part["$ref"].as_str() {
        let pointer = reference.trim_start_matches('#');
        *part = document
            .pointer(pointer)
            .expect("references are to components")
            .clone();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{directory, history};
    use crate::topic::{NAME_BYTES_MAX, TOPIC_BYTES_MAX};

    #[test]
    fn the_document_names_the_limits_that_hold() {
        let document: Value = serde_json::from_str(DOCUMENT).unwrap();
        let listed = &document["components"]["parameters"]["Limit"];
        assert_eq!(listed["schema"]["maximum"], directory::LIMIT_MAX);
        let history = &document["paths"]["/api/v1/topics/{topic}/history"]["get"];
        assert_eq!(
            history["parameters"][2]["schema"]["maximum"],
            history::LIMIT_MAX
        );
        let schemas = &document["components"]["schemas"];
        for topic in [
            &history["parameters"][0]["schema"],
            &schemas["History"]["properties"]["topic"],
            &schemas["Publication"]["properties"]["topic"],
        ] {
            assert_eq!(topic["maxLength"], TOPIC_BYTES_MAX);
        }
        let limits = [NAME_BYTES_MAX, TOPIC_BYTES_MAX];
        let limits = limits.map(|bytes| format!("\"maxLength\": {bytes}"));
        let events = include_str!("../dialect/events/openapi.json");
        for document in [DOCUMENT, events] {
            let lengths = document.matches("maxLength").count();
            let known = limits.iter().map(|limit| document.matches(limit).count());
            assert_eq!(known.sum::<usize>(), lengths);
            assert!(lengths > 0);
        }
    }
}
