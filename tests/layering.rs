//! Modules import downwards only, and each heavy dependency has one home.
//!
//! The order below is the one drawn in ARCHITECTURE.md. A failure here means
//! either the import is in the wrong place or the drawing is out of date.

use std::fs;
use std::path::{Path, PathBuf};

/// Bottom to top. A module may import from any earlier row.
const LAYERS: &[&[&str]] = &[
    &["collections", "id", "timestamp", "topic"],
    &["config", "metrics"],
    &["json"],
    &["auth", "call", "http", "sse", "ws"],
    &["engine", "net"],
    &["bus", "process"],
    &["shard"],
    &["service"],
    &["conn"],
    &["dialect"],
    &["api"],
    &["reactor"],
    &["server"],
    &["cli"],
];

/// Crates that only the listed modules may name.
const HOMES: &[(&str, &[&str])] = &[
    ("ahash", &["collections"]),
    ("aws_lc_rs", &["auth", "http", "sse"]),
    ("axum", &["api", "dialect", "http", "service"]),
    ("arc_swap", &["auth", "config"]),
    ("atomic_waker", &["bus"]),
    ("base64", &["auth", "http", "sse"]),
    ("clap", &["cli"]),
    ("crossbeam", &["bus"]),
    ("fragile", &["shard"]),
    ("form_urlencoded", &["dialect", "sse"]),
    ("httpdate", &["http"]),
    ("hyper", &["cli", "http", "conn", "dialect"]),
    ("indexmap", &["collections"]),
    ("ipnet", &["config", "http"]),
    ("jsonwebtoken", &["auth"]),
    ("percent_encoding", &["conn", "topic"]),
    ("rmp", &["dialect"]),
    ("rustix", &["net"]),
    ("simd_json", &["json"]),
    ("socket2", &["net"]),
    ("sonic_rs", &["json"]),
    (
        "tokio",
        &[
            "api", "cli", "net", "shard", "service", "conn", "dialect", "reactor", "server",
        ],
    ),
    // Sockets: `cli` posts to a gateway, all else has the types of `net`.
    ("tokio::net", &["cli", "net"]),
    ("tokio_tungstenite", &["ws"]),
    ("toml", &["config"]),
    ("tracing_subscriber", &["cli"]),
    ("uuid", &["call"]),
];

/// What `engine` must not know: it is told what happened, and answers with values.
const IMPURE: &[&str] = &[
    "Atomic",
    "Box<dyn Fn",
    "Cell<",
    "Instant",
    "Mutex",
    "Rc<",
    "SystemTime",
    "async ",
    ".await",
    "mpsc",
    "oneshot",
    "thread",
    "tokio",
];

#[test]
fn the_engine_is_pure() {
    let mut impure = Vec::new();
    // The model that runs it is a test.
    let is_engine = |path: &PathBuf| !path.starts_with("src/engine/model");
    for path in rust_files(Path::new("src/engine"))
        .into_iter()
        .filter(is_engine)
    {
        let text = fs::read_to_string(&path).unwrap();
        for line in text.lines().filter(|line| !is_comment(line)) {
            // Not `Arc<`, which shares what nobody changes.
            let found = IMPURE.iter().find(|name| mentions(line, name));
            impure.extend(found.map(|name| format!("{}: {name}", path.display())));
        }
    }
    assert!(impure.is_empty(), "{}", impure.join("\n"));
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

/// Whether `name` begins a word of `line`.
fn mentions(line: &str, name: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(name)
        .any(|(at, _)| name.starts_with('.') || !line[..at].ends_with(is_part))
}

#[test]
fn imports_point_down() {
    let mut violations = Vec::new();
    for path in rust_files(Path::new("src")) {
        let module = module_of(&path);
        let text = fs::read_to_string(&path).unwrap();
        for line in text.lines().filter(|line| !is_comment(line)) {
            for target in crate_paths(line) {
                if target != module && layer(&target) >= layer(&module) {
                    violations.push(format!("{}: {module} imports {target}", path.display()));
                }
            }
            for (dependency, homes) in HOMES {
                if names(line, dependency) && !homes.contains(&module.as_str()) {
                    violations.push(format!(
                        "{}: {dependency} belongs in {homes:?}",
                        path.display()
                    ));
                }
            }
        }
    }
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

fn layer(module: &str) -> usize {
    LAYERS
        .iter()
        .position(|row| row.contains(&module))
        .unwrap_or_else(|| panic!("{module} has no layer: add it to LAYERS"))
}

/// What two protocols need is further down; none knows another, but for the list of them.
#[test]
fn no_dialect_imports_another() {
    let mut violations = Vec::new();
    for path in rust_files(Path::new("src/dialect")) {
        let own = path.components().nth(2).unwrap();
        let own = Path::new(&own)
            .file_stem()
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        let text = fs::read_to_string(&path).unwrap();
        for line in text.lines().filter(|line| !is_comment(line)) {
            let named = line.split("crate::dialect::").skip(1);
            let named = named.map(|rest| {
                rest.split(|c: char| !c.is_alphanumeric() && c != '_')
                    .next()
            });
            let others = named.flatten().filter(|other| *other != own);
            violations.extend(others.map(|other| format!("{}: imports {other}", path.display())));
        }
    }
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

/// Rooms that are there before any protocol, and speak of none.
const NEUTRAL: &[&str] = &["bus", "conn", "engine", "net", "reactor"];

#[test]
fn what_is_below_the_dialects_names_none() {
    let mut named = Vec::new();
    let is_neutral = |path: &PathBuf| NEUTRAL.contains(&module_of(path).as_str());
    for path in rust_files(Path::new("src")).into_iter().filter(is_neutral) {
        let text = fs::read_to_string(&path).unwrap();
        let code = text.lines().filter(|line| !is_comment(line));
        let names = code.filter(|line| mentions(line, "bridge") || mentions(line, "Bridge"));
        named.extend(names.map(|line| format!("{}: {}", path.display(), line.trim())));
    }
    assert!(named.is_empty(), "{}", named.join("\n"));
}

/// `src/hub/outbox.rs` and `src/hub.rs` both belong to `hub`.
fn module_of(path: &Path) -> String {
    let first = path.components().nth(1).unwrap();
    Path::new(&first)
        .file_stem()
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned()
}

/// The module after each `crate::` in a line.
fn crate_paths(line: &str) -> Vec<String> {
    let after = line
        .match_indices("crate::")
        .map(|(at, token)| &line[at + token.len()..]);
    after
        .map(|rest| {
            rest.chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect()
        })
        .collect()
}

/// Whether `line` has `dependency::` as a path start.
fn names(line: &str, dependency: &str) -> bool {
    line.match_indices(&format!("{dependency}::"))
        .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':'))
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|ext| ext == "rs") && !is_root(&path) {
            files.push(path);
        }
    }
    files
}

/// The crate roots may name every module.
fn is_root(path: &Path) -> bool {
    path.ends_with("src/lib.rs") || path.ends_with("src/main.rs")
}
