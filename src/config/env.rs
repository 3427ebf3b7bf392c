//! The environment as settings: `FANFARE_SECTION__KEY`, and the names that
//! other tools have made common.

use std::ffi::{OsStr, OsString};
use std::net::{IpAddr, SocketAddr};

use super::error::Problem;
use super::layers::{Setting, Target, nearest};
use super::raw::Raw;
use super::{Config, Mode};

/// Names the configuration file, where `--config` does not.
pub const CONFIG_VARIABLE: &str = "FANFARE_CONFIG";
/// Holds the token of `fanfare publish`, where `--token` does not.
pub const TOKEN_VARIABLE: &str = "FANFARE_TOKEN";

/// A variable that sets a key.
#[derive(Debug)]
pub(super) struct Variable<'a> {
    /// Its own name.
    name: String,
    /// The section its name speaks of, in the spelling of the file.
    section: Option<String>,
    /// The key, likewise.
    key: String,
    /// Its value; `None` when it is not Unicode.
    value: Option<std::borrow::Cow<'a, str>>,
}

/// The variables that are ours, those of the common names first, so that `FANFARE_*` comes over them.
pub(super) fn names(env: &[(OsString, OsString)]) -> Vec<Variable<'_>> {
    let value = |name: &str| {
        env.iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_os_str())
    };
    let mut variables = Vec::new();
    if let Some(listen) = host_and_port(value("HOST"), value("PORT")) {
        variables.push(Variable::of(
            "HOST and PORT",
            "server",
            "listen",
            Some(listen.to_string().into()),
        ));
    }
    for (name, section, key) in ALIASES {
        if let Some(value) = value(name) {
            let value = value.to_str().map(|value| match key {
                // Elsewhere these are seconds without a unit.
                &("ping_interval" | "ping_timeout") if is_number(value) => {
                    format!("{value}s").into()
                }
                _ => value.into(),
            });
            variables.push(Variable::of(name, section, key, value));
        }
    }
    for (name, value) in env {
        let Some(path) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else {
            continue;
        };
        if OTHERS.iter().any(|other| name == other) {
            continue;
        }
        let path = path.to_ascii_lowercase();
        let (section, key) = path
            .split_once("__")
            .map_or((None, path.as_str()), |(section, key)| (Some(section), key));
        variables.push(Variable {
            name: name.to_string_lossy().into_owned(),
            section: section.map(str::to_owned),
            key: key.to_owned(),
            value: value.to_str().map(Into::into),
        });
    }
    variables
}

/// Adds every variable to `settings`; those that set nothing are problems.
pub(super) fn settings<'a>(
    variables: &'a [Variable<'_>],
    settings: &mut Vec<Setting<'a>>,
    problems: &mut Vec<Problem>,
) {
    let known = known();
    for variable in variables {
        let target = variable.target();
        if variable.name.starts_with(PREFIX) && !known.contains(&variable.name) {
            problems.push(Problem::Unknown {
                origin: "environment".to_owned(),
                what: "variable",
                name: variable.name.clone(),
                nearest: nearest(&variable.name.to_ascii_uppercase(), known.clone()),
            });
            continue;
        }
        match &variable.value {
            Some(value) => settings.push(Setting {
                origin: variable.name.clone(),
                target,
                raw: Raw::Word(value),
            }),
            None => problems.push(Problem::Value {
                origin: variable.name.clone(),
                key: target.path(),
                given: "a value that is not Unicode".to_owned(),
                accepted: "Unicode text".to_owned(),
            }),
        }
    }
}

impl<'a> Variable<'a> {
    fn of(name: &str, section: &str, key: &str, value: Option<std::borrow::Cow<'a, str>>) -> Self {
        Self {
            name: name.to_owned(),
            section: Some(section.to_owned()),
            key: key.to_owned(),
            value,
        }
    }

    fn target(&self) -> Target<'_> {
        self.section
            .as_deref()
            .map_or(Target::Top(&self.key), |section| {
                Target::Key(section, &self.key)
            })
    }
}

/// The address that `HOST` and `PORT` name together. Shells set `HOST` for
/// themselves, so it counts only as an address and beside a port.
fn host_and_port(host: Option<&OsStr>, port: Option<&OsStr>) -> Option<SocketAddr> {
    let host: IpAddr = host?.to_str()?.parse().ok()?;
    let port: u16 = port?.to_str()?.parse().ok()?;
    Some(SocketAddr::new(host, port))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Every variable that sets a key.
fn known() -> Vec<String> {
    let config = Config::for_mode(Mode::Prod);
    let mut known = vec![variable_name(Target::Top("mode"))];
    for (section, keys) in config.sections() {
        known.extend(
            keys.keys()
                .iter()
                .map(|key| variable_name(Target::Key(section, key.name))),
        );
    }
    known
}

/// The variable that sets the key of `target`.
fn variable_name(target: Target<'_>) -> String {
    match target {
        Target::Top(key) => format!("{PREFIX}{key}"),
        Target::Key(section, key) | Target::Namespace(section, key) => {
            format!("{PREFIX}{section}__{key}")
        }
    }
    .to_ascii_uppercase()
}

/// What the names of our variables begin with.
const PREFIX: &str = "FANFARE_";

/// Our variables that set no key.
const OTHERS: &[&str] = &[CONFIG_VARIABLE, TOKEN_VARIABLE];

/// Common names and the key each one sets, later ones over earlier.
const ALIASES: &[(&str, &str, &str)] = &[
    ("SERVER_ADDR", "server", "listen"),
    ("WS_AUTH_REQUIRED", "events", "auth_required"),
    ("WS_DEMO_ENABLED", "events", "demo_enabled"),
    ("WS_ENDPOINT", "events", "endpoint"),
    ("WS_MAX_CONNECTIONS", "events", "max_connections"),
    ("WS_PING_INTERVAL", "websocket", "ping_interval"),
    ("WS_PING_TIMEOUT", "websocket", "ping_timeout"),
    ("JWT_SECRET", "auth", "jwt_secret"),
    ("ALLOWED_ORIGINS", "http", "allowed_origins"),
    ("CORS_ORIGINS", "http", "cors_origins"),
];
