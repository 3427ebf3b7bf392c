//! `GET /openapi.json`: the OpenAPI 3.1.0 document of all endpoints.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State as Shared;
use serde_json::{Map, Value, json};

use crate::config::Config;
use crate::http::schema::{Field, FieldPresence, Kind, Schema};
use crate::http::{Answer, respond};
use crate::service::State;
use crate::service::{
    Endpoint, EndpointAccess, EndpointGroup, Operation, Parameter, ParameterPlace, Reply,
};
use crate::topic;

pub(super) static ABOUT: Operation = Operation {
    group: EndpointGroup::Pages,
    summary: "This document",
    doc: "An OpenAPI 3.1 description of all of this.",
    access: EndpointAccess::Open,
    parameters: &[],
    body: None,
    replies: &[Reply::json(
        200,
        "The document.",
        Kind::Object,
        r#"{"openapi":"3.1.0"}"#,
    )],
};

/// Answers with the document.
pub(super) async fn openapi(Shared(state): Shared<Arc<State>>) -> Answer {
    respond(200, "application/json", state.openapi.clone())
}

/// The document of a gateway with these endpoints.
pub(super) fn document(config: &Config, endpoints: &[Endpoint]) -> Value {
    let mut paths = Map::new();
    let mut schemas = BTreeMap::new();
    for endpoint in endpoints {
        let path = paths
            .entry(endpoint.path.clone())
            .or_insert_with(|| json!({}));
        let method = endpoint.method.name().to_ascii_lowercase();
        path[method] = operation(config, endpoint, &mut schemas);
    }
    let tags: Vec<_> = EndpointGroup::ALL
        .iter()
        .map(|group| json!({ "name": group.name(), "description": group.doc() }))
        .collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Fanfare",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "A WebSocket and SSE gateway",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "tags": tags,
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                BEARER: {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key of `auth.api_keys`, or a JSON Web Token.",
                },
                API_KEY: {
                    "type": "apiKey",
                    "in": "header",
                    "name": "X-API-Key",
                    "description": "An API key of `auth.api_keys`.",
                },
                TOKEN: {
                    "type": "apiKey",
                    "in": "query",
                    "name": "token",
                    "description": "A JSON Web Token, where no header can be sent.",
                },
            },
        },
    })
}

/// The names of the security schemes.
const BEARER: &str = "bearer";
const API_KEY: &str = "api_key";
const TOKEN: &str = "token";

type Schemas = BTreeMap<&'static str, Value>;

fn operation(config: &Config, endpoint: &Endpoint, schemas: &mut Schemas) -> Value {
    let about = endpoint.about;
    let mut operation = json!({
        "operationId": endpoint.id(),
        "tags": [about.group.name()],
        "summary": about.summary,
        "description": about.doc,
        "security": security(config, about.access),
        "responses": responses(about, schemas),
    });
    if !about.parameters.is_empty() {
        let parameters = about.parameters.iter();
        operation["parameters"] = parameters
            .map(|parameter| self::parameter(parameter, schemas))
            .collect();
    }
    if let Some(body) = &about.body {
        let examples: Map<String, Value> = body
            .examples
            .iter()
            .map(|example| {
                let name = example.name.replace(' ', "_");
                let value = json!({ "summary": example.name, "value": value(example.json) });
                (name, value)
            })
            .collect();
        let mut content = json!({
            "application/json": { "schema": schema(body.kind, schemas), "examples": examples },
        });
        if body.lines {
            let kind = match body.kind {
                Kind::ListOf(item) => *item,
                other => other,
            };
            content["application/x-ndjson"] = json!({ "schema": schema(kind, schemas) });
        }
        operation["requestBody"] = json!({ "required": true, "content": content });
    }
    operation
}

/// The alternative security requirements; an empty object means that none is required.
fn security(config: &Config, access: EndpointAccess) -> Value {
    match (access, access.is_checked(config)) {
        (EndpointAccess::Client, true) => json!([{ BEARER: [] }, { TOKEN: [] }]),
        (EndpointAccess::Client, false) => json!([{}, { BEARER: [] }, { TOKEN: [] }]),
        (_, true) => json!([{ BEARER: [] }, { API_KEY: [] }]),
        (_, false) => json!([]),
    }
}

fn responses(about: &Operation, schemas: &mut Schemas) -> Value {
    let mut responses = Map::new();
    for reply in about.all_replies() {
        let mut content = Map::new();
        if let Some((kind, example)) = reply.json {
            let body = json!({ "schema": schema(kind, schemas), "example": value(example) });
            content.insert("application/json".to_owned(), body);
        }
        if let Some((media, example)) = reply.text {
            let body = json!({ "schema": { "type": "string" }, "example": example });
            content.insert(media.to_owned(), body);
        }
        let mut response = json!({ "description": reply.doc });
        if !content.is_empty() {
            response["content"] = content.into();
        }
        responses.insert(reply.status.to_string(), response);
    }
    responses.into()
}

fn parameter(parameter: &Parameter, schemas: &mut Schemas) -> Value {
    let field = &parameter.field;
    json!({
        "name": field.name,
        "in": parameter.place.name(),
        "required": parameter.place == ParameterPlace::Path || field.is_required(),
        "description": field.doc,
        "schema": schema(field.kind, schemas),
        "example": value(field.example),
    })
}

/// The schema of a value. Schemas that it refers to are added to `schemas`.
fn schema(kind: Kind, schemas: &mut Schemas) -> Value {
    match kind {
        Kind::Any => json!({}),
        Kind::String => json!({ "type": "string" }),
        Kind::Topic => json!({
            "type": "string",
            "pattern": "^[A-Za-z0-9_.:-]+$",
            "minLength": 1,
            "maxLength": topic::NAME_BYTES_MAX,
        }),
        Kind::Id => json!({ "type": ["string", "number"] }),
        Kind::Number => json!({ "type": ["number", "string"] }),
        Kind::Integer(min, max) => {
            let mut schema = json!({ "type": "integer", "minimum": min });
            if max < u64::MAX {
                schema["maximum"] = max.into();
            }
            schema
        }
        Kind::Boolean => json!({ "type": "boolean" }),
        Kind::OneOf(values) => {
            json!({ "enum": values.iter().copied().map(value).collect::<Vec<_>>() })
        }
        Kind::Object => json!({ "type": "object" }),
        Kind::MapOf(kind) => {
            json!({ "type": "object", "additionalProperties": schema(*kind, schemas) })
        }
        Kind::ListOf(kind) => json!({ "type": "array", "items": schema(*kind, schemas) }),
        Kind::Of(object) => {
            if !schemas.contains_key(object.name()) {
                let described = object_schema(object, schemas);
                schemas.insert(object.name(), described);
            }
            json!({ "$ref": format!("#/components/schemas/{}", object.name()) })
        }
    }
}

fn object_schema(object: &dyn Schema, schemas: &mut Schemas) -> Value {
    let mut properties = Map::new();
    for field in object.fields() {
        properties.insert(field.name.to_owned(), property(field, schemas));
    }
    let fields = object.fields().iter();
    let required: Vec<_> = fields
        .clone()
        .filter(|field| field.is_required())
        .map(|field| field.name)
        .collect();
    let mut schema = json!({
        "type": "object",
        "description": object.doc(),
        "properties": properties,
    });
    if !required.is_empty() {
        schema["required"] = required.into();
    }
    for field in fields {
        if let FieldPresence::Unless(other) = field.presence {
            schema["anyOf"] = json!([{ "required": [field.name] }, { "required": [other] }]);
        }
    }
    schema
}

fn property(field: &Field, schemas: &mut Schemas) -> Value {
    let mut schema = schema(field.kind, schemas);
    if field.nullable {
        match schema.get_mut("type") {
            Some(Value::Array(names)) => names.push("null".into()),
            Some(name) => *name = json!([name, "null"]),
            None => schema = json!({ "anyOf": [schema, { "type": "null" }] }),
        }
    }
    schema["description"] = field.doc.into();
    schema["examples"] = json!([value(field.example)]);
    schema
}

/// Parses a JSON text of this crate.
fn value(json: &str) -> Value {
    serde_json::from_str(json).expect("examples are JSON")
}
