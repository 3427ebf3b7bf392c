//! As much of JSON Schema 2020-12 as the document uses: whether a schema is one,
//! and whether a value fits it.

use serde_json::Value;

use super::document::object;

/// What a schema says, found where it refers to.
pub(super) fn resolve<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema.get("$ref") {
        None => schema,
        Some(target) => {
            let target = target.as_str().expect("a string");
            let pointer = target.strip_prefix('#').expect("a place in the document");
            let found = document.pointer(pointer);
            found.unwrap_or_else(|| panic!("{target} is nowhere"))
        }
    }
}

/// Checks that a schema has only keywords that there are, with values that they
/// may have, and that what it refers to exists.
pub(super) fn check_rules(document: &Value, schema: &Value, place: &str) {
    resolve(document, schema);
    for (key, value) in object(schema) {
        let is_good = match key.as_str() {
            "type" => {
                let names: Vec<_> = match value {
                    Value::Array(names) => names.iter().collect(),
                    name => vec![name],
                };
                !names.is_empty()
                    && names
                        .iter()
                        .all(|name| TYPES.iter().any(|known| *name == known))
            }
            "properties" => {
                for (name, inner) in object(value) {
                    check_rules(document, inner, &format!("{place}.{name}"));
                    for example in inner["examples"].as_array().into_iter().flatten() {
                        check(document, inner, example, &format!("{place}.{name}"));
                    }
                }
                true
            }
            "items" | "additionalProperties" => {
                check_rules(document, value, place);
                true
            }
            "anyOf" => {
                let options = value.as_array().expect(place);
                options
                    .iter()
                    .for_each(|inner| check_rules(document, inner, place));
                !options.is_empty()
            }
            "required" => value.as_array().expect(place).iter().all(|name| {
                let is_known = schema["properties"]
                    .get(name.as_str().expect(place))
                    .is_some();
                is_known || schema.get("properties").is_none()
            }),
            "enum" | "examples" => !value.as_array().expect(place).is_empty(),
            "minimum" | "maximum" | "minLength" | "maxLength" => value.is_u64(),
            "description" | "$ref" => value.is_string(),
            "pattern" => value == TOPIC || value == NAME,
            _ => false,
        };
        assert!(is_good, "{place}: {key}: {value}");
    }
}

/// Checks that `value` fits `schema`.
pub(super) fn check(document: &Value, schema: &Value, value: &Value, place: &str) {
    assert!(
        fits(document, schema, value),
        "{place}: {value} is not {schema}"
    );
}

fn fits(document: &Value, schema: &Value, value: &Value) -> bool {
    if schema.get("$ref").is_some() {
        return fits(document, resolve(document, schema), value);
    }
    object(schema).iter().all(|(key, rule)| match key.as_str() {
        "type" => match rule {
            Value::Array(names) => names.iter().any(|name| is_a(value, name)),
            name => is_a(value, name),
        },
        "enum" => rule.as_array().unwrap().contains(value),
        "anyOf" => {
            let options = rule.as_array().unwrap();
            options.iter().any(|option| fits(document, option, value))
        }
        "required" => value.as_object().is_none_or(|fields| {
            let names = rule.as_array().unwrap();
            names
                .iter()
                .all(|name| fields.contains_key(name.as_str().unwrap()))
        }),
        "properties" => value.as_object().is_none_or(|fields| {
            fields.iter().all(|(name, value)| {
                rule.get(name)
                    .is_none_or(|rule| fits(document, rule, value))
            })
        }),
        "additionalProperties" => value
            .as_object()
            .is_none_or(|fields| fields.values().all(|value| fits(document, rule, value))),
        "items" => value
            .as_array()
            .is_none_or(|items| items.iter().all(|item| fits(document, rule, item))),
        "minimum" => value
            .as_u64()
            .is_none_or(|value| value >= rule.as_u64().unwrap()),
        "maximum" => value
            .as_u64()
            .is_none_or(|value| value <= rule.as_u64().unwrap()),
        "minLength" => value
            .as_str()
            .is_none_or(|text| text.len() as u64 >= rule.as_u64().unwrap()),
        "maxLength" => value
            .as_str()
            .is_none_or(|text| text.len() as u64 <= rule.as_u64().unwrap()),
        "pattern" => value.as_str().is_none_or(|text| {
            if rule == TOPIC {
                return !text.is_empty() && !text.starts_with('#');
            }
            text.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte))
        }),
        _ => true,
    })
}

fn is_a(value: &Value, name: &Value) -> bool {
    match name.as_str().unwrap() {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("{other}"),
    }
}

/// The pattern of topics' names. It does not exclude control characters, which no name has.
const TOPIC: &str = "^[^#]";

/// The pattern of events' names.
const NAME: &str = "^[A-Za-z0-9_.:-]+$";

const TYPES: [&str; 7] = [
    "null", "boolean", "integer", "number", "string", "array", "object",
];
