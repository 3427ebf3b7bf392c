//! `GET /docs`: the HTML documentation of all endpoints, generated once at the start. Its script is optional.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;

use axum::extract::State as Shared;

use crate::config::Config;
use crate::http::Answer;
use crate::http::schema::{Field, FieldPresence, Kind, Schema};
use crate::service::State;
use crate::service::{
    Endpoint, EndpointAccess, EndpointGroup, Method, Operation, ParameterPlace, Reply, RequestBody,
};

/// The page around the operations, with style and script inline; it loads nothing.
const PAGE: &str = include_str!("docs.html");

/// The origin in examples. The page's script replaces it by its own origin.
const ORIGIN: &str = "http://127.0.0.1:8080";

pub(super) static ABOUT: Operation = Operation {
    group: EndpointGroup::Pages,
    summary: "This page",
    doc: "Every operation with its fields, an example and its responses.",
    access: EndpointAccess::Open,
    parameters: &[],
    body: None,
    replies: &[Reply::text(
        200,
        "The page.",
        "text/html",
        "<!doctype html>",
    )],
};

/// Answers with the page.
pub(super) async fn docs(Shared(state): Shared<Arc<State>>) -> Answer {
    state.docs.answer()
}

/// The page of a gateway with these endpoints.
pub(super) fn html(config: &Config, endpoints: &[Endpoint]) -> String {
    let (mut list, mut operations) = (String::new(), String::new());
    let mut shown = BTreeSet::new();
    for group in EndpointGroup::ALL {
        let mut members = endpoints
            .iter()
            .filter(|endpoint| endpoint.about.group == group)
            .peekable();
        if members.peek().is_none() {
            continue;
        }
        let (name, doc) = (group.name(), prose(group.doc()));
        let _ = write!(list, "<h2>{name}</h2><ul>");
        let _ = write!(operations, "<h2 id=\"{name}\">{name}</h2><p>{doc}</p>");
        for endpoint in members {
            let (id, method, path) = (endpoint.id(), badge(endpoint), escape(&endpoint.path));
            let _ = write!(list, "<li><a href=\"#{id}\">{method}{path}</a></li>");
            put_operation(&mut operations, config, endpoint, &mut shown);
        }
        list.push_str("</ul>");
    }
    PAGE.replace("{{version}}", env!("CARGO_PKG_VERSION"))
        .replace("{{mode}}", &config.mode.to_string())
        .replace("{{list}}", &list)
        .replace("{{operations}}", &operations)
}

fn put_operation(
    out: &mut String,
    config: &Config,
    endpoint: &Endpoint,
    shown: &mut BTreeSet<&'static str>,
) {
    let about = endpoint.about;
    let (id, method, path) = (endpoint.id(), badge(endpoint), escape(&endpoint.path));
    let _ = write!(
        out,
        "<section id=\"{id}\"><h3>{method}<code>{path}</code></h3><p class=\"summary\">{}</p><p>{}</p>",
        prose(about.summary),
        prose(about.doc),
    );
    if let Some(who) = who(about.access, config) {
        let _ = write!(out, "<p class=\"access\">{}</p>", prose(who));
    }
    put_parameters(out, about);
    if let Some(body) = &about.body {
        put_body(out, body, shown);
    }
    put_examples(out, config, endpoint);
    put_replies(out, about);
    out.push_str("</section>");
}

/// The required credentials, if any.
fn who(access: EndpointAccess, config: &Config) -> Option<&'static str> {
    match access {
        _ if !access.is_checked(config) => None,
        EndpointAccess::Open => None,
        EndpointAccess::Service => Some(
            "For services: an API key, as `Authorization: Bearer` or `X-API-Key`, or a token whose role is `service`.",
        ),
        EndpointAccess::BridgeService => Some(
            "For services: the bridge's key or an API key, as `Authorization: Bearer` or `X-API-Key`, or a token \
             whose role is `service`.",
        ),
        EndpointAccess::Client => Some(
            "With a token: `Authorization: Bearer`, `?token=`, the subprotocol `bearer`, or the cookie.",
        ),
    }
}

fn put_parameters(out: &mut String, about: &Operation) {
    if about.parameters.is_empty() {
        return;
    }
    out.push_str("<h4>Parameters</h4><table><thead><tr><th>name</th><th>type</th><th></th></tr></thead><tbody>");
    for parameter in about.parameters {
        let mut note = match parameter.place {
            ParameterPlace::Query => String::new(),
            place => format!(" <i>{}</i>", place.name()),
        };
        note.push_str(presence(&parameter.field));
        put_field(out, &parameter.field, &note);
    }
    out.push_str("</tbody></table>");
}

/// `shown`: the objects whose fields have been listed already.
fn put_body(out: &mut String, body: &RequestBody, shown: &mut BTreeSet<&'static str>) {
    let (object, is_list) = match body.kind {
        Kind::Of(object) => (object, false),
        Kind::ListOf(Kind::Of(object)) => (*object, true),
        _ => return,
    };
    let _ = write!(out, "<h4>RequestBody</h4><p>{}", prose(object.doc()));
    if is_list {
        out.push_str(" An array of them");
        out.push_str(match body.lines {
            true => ", or one a line as <code>application/x-ndjson</code>.",
            false => ".",
        });
    }
    out.push_str("</p>");
    if shown.insert(object.name()) {
        put_fields(out, object);
    } else {
        put_folded_fields(out, object);
    }
}

fn put_folded_fields(out: &mut String, object: &dyn Schema) {
    out.push_str("<details><summary>Fields</summary>");
    put_fields(out, object);
    out.push_str("</details>");
}

fn put_fields(out: &mut String, object: &dyn Schema) {
    out.push_str("<table><thead><tr><th>field</th><th>type</th><th></th></tr></thead><tbody>");
    for field in object.fields() {
        let mut note = presence(field).to_owned();
        if let FieldPresence::Unless(other) = field.presence {
            let _ = write!(note, " <b>required</b> without <code>{other}</code>");
        }
        put_field(out, field, &note);
        if let Kind::Of(inner) = field.kind {
            for inner in inner.fields() {
                let name = format!("{}.{}", field.name, inner.name);
                put_named_field(out, &name, inner, presence(inner));
            }
        }
    }
    out.push_str("</tbody></table>");
}

fn presence(field: &Field) -> &'static str {
    match field.is_required() {
        true => " <b>required</b>",
        false => "",
    }
}

fn put_field(out: &mut String, field: &Field, note: &str) {
    put_named_field(out, field.name, field, note);
}

fn put_named_field(out: &mut String, name: &str, field: &Field, note: &str) {
    let _ = write!(
        out,
        "<tr><td><code>{}</code>{note}</td><td>{}{}</td><td>{} <span class=\"like\">e.g. <code>{}</code></span></td></tr>",
        escape(name),
        escape(&kind_name(field.kind)),
        if field.nullable { " or null" } else { "" },
        prose(field.doc),
        escape(field.example),
    );
}

/// The type of a value, in words.
fn kind_name(kind: Kind) -> String {
    match kind {
        Kind::Any => "any JSON".to_owned(),
        Kind::String => "string".to_owned(),
        Kind::Topic => "topic name".to_owned(),
        Kind::Id => "string or number".to_owned(),
        Kind::Number => "number or numeric string".to_owned(),
        Kind::Integer(min, u64::MAX) => format!("whole number from {min}"),
        Kind::Integer(min, max) => format!("whole number, {min} to {max}"),
        Kind::Boolean => "true or false".to_owned(),
        Kind::OneOf(values) => values.join(" or "),
        Kind::Object | Kind::Of(_) | Kind::MapOf(_) => "object".to_owned(),
        Kind::ListOf(item) => format!("array of: {}", kind_name(*item)),
    }
}

fn put_examples(out: &mut String, config: &Config, endpoint: &Endpoint) {
    let about = endpoint.about;
    let is_socket = about.all_replies().iter().any(|reply| reply.status == 101);
    let mut target = format!("{}{}", ORIGIN, endpoint.path);
    let mut separator = '?';
    for parameter in about.parameters {
        let field = &parameter.field;
        let value = field.example.trim_matches('"');
        match parameter.place {
            ParameterPlace::Path => target = target.replace(&format!("{{{}}}", field.name), value),
            ParameterPlace::Query if field.is_required() => {
                let _ = write!(target, "{separator}{}={value}", field.name);
                separator = '&';
            }
            ParameterPlace::Query | ParameterPlace::Header => {}
        }
    }
    if is_socket {
        let target = target.replacen("http", "ws", 1);
        let token = match about.access.is_checked(config) {
            true => r#", ["bearer", token]"#,
            false => "",
        };
        let code = format!(
            "const socket = new WebSocket(\"{target}\"{token});\nsocket.onmessage = ({{ data }}) => console.log(data);"
        );
        put_code(out, "JavaScript", &code);
        return;
    }
    let is_stream = about
        .replies
        .iter()
        .any(|reply| matches!(reply.text, Some(("text/event-stream", _))));
    let mut command = String::from(if is_stream { "curl -N" } else { "curl" });
    if target.contains(['&', '?', '*']) {
        let _ = write!(command, " '{target}'");
    } else {
        let _ = write!(command, " {target}");
    }
    if about.access.is_checked(config) {
        let name = match about.access {
            EndpointAccess::Client => "TOKEN",
            _ => "API_KEY",
        };
        let _ = write!(command, " \\\n  -H \"Authorization: Bearer ${name}\"");
    }
    match &about.body {
        None => put_code(out, "curl", &command),
        Some(body) => {
            for example in body.examples {
                let json = example.json.replace('\'', r"'\''");
                let code = format!(
                    "{command} \\\n  -H 'Content-Type: application/json' \\\n  -d '{json}'"
                );
                put_code(out, &format!("curl, {}", example.name), &code);
            }
        }
    }
}

fn put_code(out: &mut String, title: &str, code: &str) {
    let _ = write!(
        out,
        "<figure><figcaption>{}<button type=\"button\">Copy</button></figcaption><pre><code>{}</code></pre></figure>",
        escape(title),
        escape(code),
    );
}

fn put_replies(out: &mut String, about: &Operation) {
    out.push_str("<h4>Responses</h4><table class=\"replies\"><tbody>");
    for reply in about.all_replies() {
        let class = match reply.status {
            ..400 => "good",
            _ => "bad",
        };
        let _ = write!(
            out,
            "<tr><td class=\"{class}\">{}</td><td>{}",
            reply.status,
            prose(reply.doc)
        );
        let json = reply.json.map(|(_, example)| example);
        let text = reply.text.map(|(_, example)| example);
        for example in json.into_iter().chain(text) {
            let example = escape(example.trim_end());
            let _ = match reply.status {
                ..400 => write!(out, "<pre><code>{example}</code></pre>"),
                _ => write!(out, " <span class=\"like\"><code>{example}</code></span>"),
            };
        }
        if let Some((Kind::Of(object), _)) = reply.json
            && reply.status < 400
        {
            put_folded_fields(out, object);
        }
        out.push_str("</td></tr>");
    }
    out.push_str("</tbody></table>");
}

fn badge(endpoint: &Endpoint) -> String {
    let replies = endpoint.about.replies;
    let (class, name) = match endpoint.method {
        Method::Get if replies.iter().any(|reply| reply.status == 101) => ("ws", "WS"),
        Method::Get => ("get", "GET"),
        Method::Post => ("post", "POST"),
    };
    format!("<span class=\"method {class}\">{name}</span>")
}

/// Text with code between backticks, as markup.
fn prose(text: &str) -> String {
    let mut out = String::new();
    for (index, part) in text.split('`').enumerate() {
        let part = escape(part);
        match index % 2 {
            0 => out.push_str(&part),
            _ => {
                let _ = write!(out, "<code>{part}</code>");
            }
        }
    }
    out
}

/// Escapes text for HTML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(
            prose("a `<b>` & \"c\""),
            "a <code>&lt;b&gt;</code> &amp; &quot;c&quot;"
        );
    }
}
