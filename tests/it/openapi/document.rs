//! The rules of OpenAPI 3.1.0 that a document of ours can break, by their sections
//! of the specification, and what is in it.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::schema;

/// An operation of a document.
pub(super) struct Operation<'a> {
    pub(super) document: &'a Value,
    pub(super) path: &'a str,
    pub(super) method: &'a str,
    pub(super) about: &'a Value,
}

/// All operations of a document.
pub(super) fn operations(document: &Value) -> Vec<Operation<'_>> {
    let paths = document["paths"].as_object().expect("paths").iter();
    paths
        .flat_map(|(path, item)| {
            let methods = item.as_object().expect("an object").iter();
            methods.map(move |(method, about)| Operation {
                document,
                path,
                method,
                about,
            })
        })
        .collect()
}

impl Operation<'_> {
    fn parameters(&self) -> &[Value] {
        self.about["parameters"]
            .as_array()
            .map_or(&[], Vec::as_slice)
    }

    /// Its path and query with the examples of what has to be there.
    pub(super) fn target(&self) -> String {
        let (mut path, mut query) = (self.path.to_owned(), Vec::new());
        for parameter in self.parameters() {
            let name = parameter["name"].as_str().unwrap();
            let value = match &parameter["example"] {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            if parameter["in"] == "path" {
                path = path.replace(&format!("{{{name}}}"), &value);
            } else if parameter["required"] == true {
                query.push(format!("{name}={value}"));
            }
        }
        match query.is_empty() {
            true => path,
            false => format!("{path}?{}", query.join("&")),
        }
    }

    /// Its examples of bodies, each with its type; arrays also as one value a line
    /// where that is documented.
    pub(super) fn bodies(&self) -> Vec<(&'static str, String)> {
        let content = &self.about["requestBody"]["content"];
        let Some(examples) = content["application/json"]["examples"].as_object() else {
            return Vec::new();
        };
        let values: Vec<_> = examples.values().map(|example| &example["value"]).collect();
        let mut bodies: Vec<_> = values
            .iter()
            .map(|value| ("application/json", value.to_string()))
            .collect();
        if content["application/x-ndjson"].is_object() {
            bodies.extend(values.iter().map(|value| {
                let lines = value.as_array().expect("a batch").iter();
                let lines: Vec<_> = lines.map(Value::to_string).collect();
                ("application/x-ndjson", lines.join("\n"))
            }));
        }
        bodies
    }

    /// Its examples without one of the fields that have to be there.
    pub(super) fn bodies_that_lack_something(&self) -> Vec<Value> {
        let content = &self.about["requestBody"]["content"]["application/json"];
        let (mut schema, is_list) = match &content["schema"]["items"] {
            Value::Null => (&content["schema"], false),
            items => (items, true),
        };
        schema = schema::resolve(self.document, schema);
        let mut lacking = Vec::new();
        for (_, example) in self
            .bodies()
            .iter()
            .filter(|(media, _)| *media == "application/json")
        {
            let mut example: Value = serde_json::from_str(example).unwrap();
            let mut push = |names: &[&Value]| {
                let mut value = match is_list {
                    true => example[0].take(),
                    false => example.clone(),
                };
                let whole = value.clone();
                for name in names {
                    value
                        .as_object_mut()
                        .unwrap()
                        .remove(name.as_str().unwrap());
                }
                if is_list {
                    example[0] = whole;
                    lacking.push(Value::from(vec![example[1].clone(), value]));
                } else {
                    lacking.push(value);
                }
            };
            for name in schema["required"].as_array().into_iter().flatten() {
                push(&[name]);
            }
            if let Some(either) = schema["anyOf"].as_array() {
                let names: Vec<_> = either.iter().map(|one| &one["required"][0]).collect();
                push(&names);
            }
        }
        lacking
    }

    /// Whether it cannot be asked without a credential.
    pub(super) fn asks_for_credential(&self) -> bool {
        let security = self.about["security"].as_array().expect("a list");
        !security.is_empty()
            && !security
                .iter()
                .any(|one| one.as_object().unwrap().is_empty())
    }
}

/// Checks a document against the rules.
pub(super) fn check(document: &Value) {
    // 4.8.1, 4.8.2, 4.8.4
    check_keys(
        document,
        &["openapi", "info", "servers", "tags", "paths", "components"],
    );
    assert_eq!(document["openapi"], "3.1.0");
    check_keys(
        &document["info"],
        &["title", "version", "summary", "license"],
    );
    assert!(document["info"]["title"].is_string() && document["info"]["version"].is_string());
    check_keys(&document["info"]["license"], &["name", "identifier"]);
    // 4.8.22: names are unique.
    let tags = names(&document["tags"], "name");
    // 4.8.7
    let components = &document["components"];
    check_keys(components, &["schemas", "securitySchemes"]);
    for (name, schema) in object(&components["schemas"]) {
        assert!(is_component_name(name), "{name}");
        schema::check_rules(document, schema, name);
    }
    for (name, scheme) in object(&components["securitySchemes"]) {
        assert!(is_component_name(name), "{name}");
        // 4.8.27
        match scheme["type"].as_str() {
            Some("http") => assert!(scheme["scheme"].is_string(), "{name}"),
            Some("apiKey") => {
                assert!(
                    ["query", "header", "cookie"]
                        .iter()
                        .any(|place| scheme["in"] == *place)
                );
                assert!(scheme["name"].is_string(), "{name}");
            }
            other => panic!("{name}: {other:?}"),
        }
    }
    let operations = operations(document);
    assert!(operations.len() >= 18);
    let mut ids = BTreeSet::new();
    let mut used_tags = BTreeSet::new();
    for operation in &operations {
        let name = format!("{} {}", operation.method, operation.path);
        // 4.8.10: unique among all operations.
        let id = operation.about["operationId"].as_str().expect(&name);
        assert!(ids.insert(id), "{name}: {id} is there twice");
        for tag in operation.about["tags"].as_array().expect(&name) {
            let tag = tag.as_str().expect(&name);
            assert!(tags.contains(tag), "{name}");
            used_tags.insert(tag);
        }
        check_operation(operation, &name);
    }
    let paths: BTreeSet<_> = operations
        .iter()
        .map(|operation| shape(operation.path))
        .collect();
    let templates = object(&document["paths"]).len();
    assert_eq!(
        paths.len(),
        templates,
        "4.8.8.1: templates that mean the same"
    );
}

fn check_operation(operation: &Operation<'_>, name: &str) {
    let (document, about) = (operation.document, operation.about);
    check_keys(
        about,
        &[
            "operationId",
            // An extension (section 4.9): what else than an API key it takes, in words.
            "x-key",
            "tags",
            "summary",
            "description",
            "security",
            "responses",
            "parameters",
            "requestBody",
        ],
    );
    // 4.8.8
    assert!(operation.path.starts_with('/'), "{name}");
    assert!(["get", "post"].contains(&operation.method), "{name}");
    // 4.8.12
    let mut seen = BTreeSet::new();
    for parameter in operation.parameters() {
        check_keys(
            parameter,
            &["name", "in", "required", "description", "schema", "example"],
        );
        let place = parameter["in"].as_str().expect(name);
        let field = parameter["name"].as_str().expect(name);
        assert!(["path", "query", "header"].contains(&place), "{name}");
        assert!(
            seen.insert((place, field)),
            "{name}: {field} is there twice"
        );
        assert!(
            place != "path" || parameter["required"] == true,
            "{name}: {field}"
        );
        assert!(
            place != "path" || operation.path.contains(&format!("{{{field}}}")),
            "{name}: {field}"
        );
        schema::check_rules(document, &parameter["schema"], name);
        let mut example = parameter["example"].clone();
        if parameter["schema"]["type"] == "string" && !example.is_string() {
            example = example.to_string().into();
        }
        schema::check(document, &parameter["schema"], &example, name);
    }
    for template in operation.path.split('{').skip(1) {
        let field = template.split('}').next().unwrap();
        assert!(
            seen.contains(&("path", field)),
            "{name}: {field} is not described"
        );
    }
    // 4.8.13
    if let Some(body) = about.get("requestBody") {
        assert_ne!(operation.method, "get", "{name}");
        check_keys(body, &["required", "content"]);
        check_content(document, &body["content"], name);
    }
    // 4.8.16: at least one, and one for success.
    let responses = object(&about["responses"]);
    assert!(
        responses.keys().any(|status| status < &"400".to_owned()),
        "{name}"
    );
    for (status, response) in responses {
        let number: u16 = status.parse().expect(name);
        assert!((100..600).contains(&number), "{name}: {status}");
        // 4.8.17
        check_keys(response, &["description", "content"]);
        assert!(response["description"].is_string(), "{name}: {status}");
        if response.get("content").is_some() {
            check_content(document, &response["content"], name);
        }
    }
    // 4.8.30
    for requirement in about["security"].as_array().expect(name) {
        for (scheme, scopes) in object(requirement) {
            let schemes = &document["components"]["securitySchemes"];
            assert!(schemes[scheme].is_object(), "{name}: {scheme}");
            assert_eq!(scopes, &Value::Array(Vec::new()), "{name}");
        }
    }
}

/// 4.8.14: media types, with examples that fit.
fn check_content(document: &Value, content: &Value, name: &str) {
    assert!(!object(content).is_empty(), "{name}");
    for (media, body) in object(content) {
        assert!(media.contains('/'), "{name}: {media}");
        check_keys(body, &["schema", "example", "examples"]);
        assert!(
            !(body.get("example").is_some() && body.get("examples").is_some()),
            "{name}"
        );
        schema::check_rules(document, &body["schema"], name);
        if let Some(example) = body.get("example") {
            schema::check(document, &body["schema"], example, name);
        }
        for (key, example) in body.get("examples").map(object).into_iter().flatten() {
            assert!(is_component_name(key), "{name}: {key}");
            check_keys(example, &["summary", "value"]);
            schema::check(document, &body["schema"], &example["value"], name);
        }
    }
}

fn check_keys(value: &Value, known: &[&str]) {
    for key in object(value).keys() {
        assert!(known.contains(&&**key), "{key} in {value}");
    }
}

pub(super) fn object(value: &Value) -> &Map<String, Value> {
    value
        .as_object()
        .unwrap_or_else(|| panic!("no object: {value}"))
}

fn names<'a>(list: &'a Value, key: &str) -> BTreeSet<&'a str> {
    let items = list.as_array().expect("a list");
    let names: BTreeSet<_> = items
        .iter()
        .map(|item| item[key].as_str().unwrap())
        .collect();
    assert_eq!(names.len(), items.len(), "{list}");
    names
}

fn is_component_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// A path without the names of its parameters.
fn shape(path: &str) -> String {
    let parts = path
        .split('{')
        .map(|part| part.split_once('}').map_or(part, |(_, rest)| rest));
    parts.collect::<Vec<_>>().join("{}")
}
