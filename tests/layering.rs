//! Modules import downwards only, files not in circles, and each heavy dependency has one home.
//!
//! The order below is the one drawn in ARCHITECTURE.md. A failure here means
//! either the import is in the wrong place or the drawing is out of date.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Bottom to top. A module may import from any earlier row.
const LAYERS: &[&[&str]] = &[
    &["collections", "timestamp", "topic"],
    &["id"],
    &["config", "metrics"],
    &["json"],
    &["auth", "call", "http", "msgpack", "sse", "store", "ws"],
    &["engine", "inbound", "net"],
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
    (
        "aws_lc_rs",
        &["auth", "cli", "dialect", "http", "net", "sse"],
    ),
    ("axum", &["api", "dialect", "http", "service"]),
    ("arc_swap", &["auth", "config", "net"]),
    ("atomic_waker", &["bus", "store"]),
    (
        "base64",
        &["auth", "dialect", "http", "inbound", "sse", "store"],
    ),
    ("clap", &["cli"]),
    ("crossbeam", &["bus", "store"]),
    ("curve25519_dalek", &["dialect"]),
    ("fragile", &["shard"]),
    ("form_urlencoded", &["api", "cli", "dialect", "sse"]),
    ("httpdate", &["http"]),
    ("hyper", &["http", "conn", "dialect", "server"]),
    ("hyper_rustls", &["server"]),
    ("indexmap", &["collections"]),
    ("ipnet", &["config", "http"]),
    ("jsonwebtoken", &["auth"]),
    ("percent_encoding", &["conn", "topic"]),
    // In `net` its tests alone.
    ("rcgen", &["cli", "net"]),
    ("rmp", &["msgpack"]),
    ("rusqlite", &["store"]),
    ("rust_embed", &["api"]),
    ("rustix", &["net"]),
    ("rustls", &["net", "server"]),
    ("rustls_native_certs", &["server"]),
    ("simd_json", &["json"]),
    ("smallvec", &["engine"]),
    ("socket2", &["net"]),
    ("sonic_rs", &["json"]),
    (
        "tokio",
        &[
            "api", "cli", "net", "shard", "service", "conn", "dialect", "reactor", "server",
            "store",
        ],
    ),
    // Sockets are those of `net`; all else has its types.
    ("tokio::net", &["net"]),
    ("tempfile", &["cli", "store"]),
    ("tokio_postgres", &["store"]),
    ("tokio_tungstenite", &["ws"]),
    ("toml", &["config"]),
    ("tracing_subscriber", &["cli"]),
    ("uuid", &["call", "dialect"]),
    ("x509_parser", &["net"]),
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

/// Rooms that may name protocols. All others speak of none: a new protocol changes none of them.
const OF_PROTOCOLS: &[&str] = &["cli", "dialect"];

/// Protocols whose names are words of the gateway: `[backend]` is a section of it, `echo` is a command and a key of
/// `[debug]`, `events` are what is published, and SSE is a transport with a room of its own.
const COMMON_WORDS: &[&str] = &["backend", "echo", "events", "sse"];

/// Where a protocol is named nonetheless.
const NAMED: &[(&str, &str)] = &[
    // A label of `/metrics` that was there before its reason had a name of the gateway's.
    ("src/metrics/counters.rs", "\"bridge_requests_per_minute\""),
    // A claim that tokens of its issuers have; it holds for all protocols.
    ("src/auth/token_error.rs", "\"wse_topics\""),
    ("src/auth/issue.rs", "\"wse_topics\""),
    // Paths that no setting may take, among them the default of one that has sub-paths.
    ("src/config/kind.rs", "\"/wse\""),
];

#[test]
fn what_is_outside_of_the_dialects_names_none() {
    let protocols = fs::read_to_string("src/dialect.rs").unwrap();
    let mut protocols = child_modules(&protocols);
    protocols.retain(|name| !COMMON_WORDS.contains(&name.as_str()));
    assert!(protocols.contains(&"bridge".to_owned()), "{protocols:?}");
    let types: Vec<_> = protocols
        .iter()
        .map(|name| name[..1].to_uppercase() + &name[1..])
        .collect();
    let names: Vec<_> = protocols.iter().chain(&types).collect();
    let mut named = Vec::new();
    let is_neutral = |path: &PathBuf| !OF_PROTOCOLS.contains(&module_of(path).as_str());
    for path in rust_files(Path::new("src")).into_iter().filter(is_neutral) {
        let text = fs::read_to_string(&path).unwrap();
        let allowed = |line: &&str| {
            let exceptions = NAMED.iter().filter(|(file, _)| path.ends_with(file));
            !exceptions.into_iter().any(|(_, text)| line.contains(text))
        };
        let code = text
            .lines()
            .filter(|line| !is_comment(line))
            .filter(allowed);
        let lines = code.filter(|line| names.iter().any(|name| mentions(line, name)));
        named.extend(lines.map(|line| format!("{}: {}", path.display(), line.trim())));
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

#[test]
fn files_of_the_load_generator_form_no_circles() {
    check_circles(Path::new("loadgen/src/main.rs"), Kin::Apart);
}

/// A file and those below it are taken together: the files of `engine/` have the methods of the type in `engine.rs`.
#[test]
fn files_of_the_server_form_no_circles() {
    check_circles(Path::new("src/lib.rs"), Kin::Together);
}

#[test]
fn a_circle_is_found_whichever_way_its_files_name_each_other() {
    // `a` and `b` by paths, `p` and its child by what the parent defines.
    let files = [
        ("", "mod a;\nmod b;\nmod leaf;\nmod p;"),
        ("a", "use crate::{b::{self, B}, leaf};"),
        ("b", "fn f() {\n    super::a::g(crate::leaf::X);\n}"),
        ("leaf", "pub(crate) const X: u8 = 0;"),
        ("p", "mod child;\npub(crate) use child::C;"),
        ("p::child", "use super::D;"),
    ];
    check_found(&files, Kin::Apart, &[&["a", "b"], &["p", "p::child"]]);
    check_found(&files, Kin::Together, &[&["a", "b"]]);
}

#[test]
fn a_circle_through_what_a_parent_hands_on_is_found() {
    let files = [
        ("", "mod p;"),
        ("p", "mod a;\nmod b;\npub use a::{A, Other};\npub use b::B;"),
        ("p::a", "use super::B;"),
        ("p::b", "use crate::p::A;"),
    ];
    check_found(&files, Kin::Together, &[&["p::a", "p::b"]]);
}

#[test]
fn declarations_tests_and_comments_close_no_circle() {
    let files = [
        ("", "mod a;\nmod b;\nfn main() {\n    b::run();\n}"),
        (
            "a",
            "// use crate::b;\npub(in crate::b) struct A;\n#[cfg(test)]\nmod tests {\n    use crate::b::B;\n}",
        ),
        ("b", "mod child;\nuse crate::a::A;\nuse std::net::a::X;"),
        (
            "b::child",
            "#[cfg(test)]\nuse super::B;\nuse super::super::a::A;",
        ),
    ];
    check_found(&files, Kin::Apart, &[]);
}

fn check_found(files: &[(&str, &str)], kin: Kin, expected: &[&[&str]]) {
    let owned = |&(file, text): &(&str, &str)| (file.to_owned(), text.to_owned());
    let edges = edges(&files.iter().map(owned).collect(), kin);
    assert_eq!(circles(&edges), expected, "{edges:#?}");
}

/// Text by module path; the root's is empty.
type Files = BTreeMap<String, String>;

/// The files that each file names.
type Edges = BTreeMap<String, BTreeSet<String>>;

/// Whether a file and those below it may name each other.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kin {
    Together,
    Apart,
}

/// What each file hands on from another, by name: the file that has it.
type HandedOn = BTreeMap<String, BTreeMap<String, String>>;

fn check_circles(root: &Path, kin: Kin) {
    let mut files = Files::new();
    read_modules(root, root.parent().unwrap(), "", &mut files);
    let edges = edges(&files, kin);
    let mut report = String::new();
    for circle in circles(&edges) {
        report += "a circle:\n";
        for file in &circle {
            let inside = edges[*file].iter().filter(|to| circle.contains(&&***to));
            report += &format!(
                "  {file} -> {}\n",
                inside.cloned().collect::<Vec<_>>().join(", ")
            );
        }
    }
    assert!(report.is_empty(), "{report}");
}

/// Reads the file of `module` and the files of all modules below it but tests.
fn read_modules(file: &Path, children: &Path, module: &str, files: &mut Files) {
    let text = fs::read_to_string(file).unwrap();
    for child in child_modules(&without_tests(&text)) {
        let path = children.join(format!("{child}.rs"));
        read_modules(&path, &children.join(&child), &join(module, &child), files);
    }
    files.insert(module.to_owned(), text);
}

fn join(module: &str, child: &str) -> String {
    let separator = if module.is_empty() { "" } else { "::" };
    format!("{module}{separator}{child}")
}

/// The modules that a file declares with `mod x;`.
fn child_modules(text: &str) -> Vec<String> {
    let names = text.lines().filter_map(|line| {
        let (before, name) = line.strip_suffix(';')?.rsplit_once("mod ")?;
        (before.is_empty() || before.starts_with("pub")).then(|| name.to_owned())
    });
    names.collect()
}

/// The code of a formatted file: no comments, and no item under `#[cfg(test)]`.
fn without_tests(text: &str) -> String {
    let mut code = String::new();
    let mut lines = text.lines().filter(|line| !is_comment(line));
    while let Some(line) = lines.next() {
        if line.trim_start() != "#[cfg(test)]" {
            code += line.split(" // ").next().unwrap_or_default();
            code.push('\n');
            continue;
        }
        let indent = &line[..line.len() - line.trim_start().len()];
        // The item ends with a line of its own depth.
        let is_end = |line: &&str| {
            line.strip_prefix(indent)
                .is_some_and(|line| !line.starts_with(' ') && line.ends_with(['}', ';', ',']))
        };
        lines.by_ref().find(is_end);
    }
    code
}

/// Which file names which: a path leads to the file of the deepest module in it, or to the one that its last name is
/// handed on from.
fn edges(files: &Files, kin: Kin) -> Edges {
    let handed_on = match kin {
        Kin::Together => files
            .keys()
            .map(|file| (file.clone(), handed_on(files, file)))
            .collect(),
        Kin::Apart => HandedOn::new(),
    };
    let is_kin = |file: &str, other: &str| {
        let is_below =
            |one: &str, other: &str| one.is_empty() || other.starts_with(&format!("{one}::"));
        kin == Kin::Together && (is_below(file, other) || is_below(other, file))
    };
    let edges_of = |(file, text): (&String, &String)| {
        let mut targets: BTreeSet<String> = paths(&without_tests(text))
            .iter()
            .filter_map(|path| resolve(files, &handed_on, file, path))
            .filter(|target| !is_kin(file, target))
            .collect();
        targets.remove(file);
        (file.clone(), targets)
    };
    files.iter().map(edges_of).collect()
}

/// The names that `file` hands on with `pub use`, and the files that have them.
fn handed_on(files: &Files, file: &str) -> BTreeMap<String, String> {
    let code = without_tests(&files[file]);
    let statements = code.split(';').map(str::trim_start);
    let handed =
        statements.filter(|it| it.starts_with("pub") && it.contains(" use ") && !it.contains('='));
    let handed = handed.flat_map(|it| paths(&format!("{it};")));
    let none = HandedOn::new();
    let of_path =
        |path: Vec<String>| Some((path.last()?.clone(), resolve(files, &none, file, &path)?));
    handed.filter_map(of_path).collect()
}

/// The file that `path`, written in `file`, leads to; none outside of the crate.
fn resolve(files: &Files, handed_on: &HandedOn, file: &str, path: &[String]) -> Option<String> {
    let mut module = match &*path[0] {
        "crate" => String::new(),
        "self" | "super" => file.to_owned(),
        child => files.get(&join(file, child)).map(|_| file.to_owned())?,
    };
    for name in path {
        let below = join(&module, name);
        module = match &**name {
            "crate" | "self" => module,
            "super" => module.rsplit_once("::").map_or("", |it| it.0).to_owned(),
            _ if files.contains_key(&below) => below,
            name => {
                let source = handed_on.get(&module).and_then(|names| names.get(name));
                return Some(source.unwrap_or(&module).clone());
            }
        };
    }
    Some(module)
}

/// All paths of two names or more in `code`, trees of `use` taken apart.
fn paths(code: &str) -> Vec<Vec<String>> {
    // A visibility names a module and imports nothing: let it begin with a name that is none.
    let code = code.replace("pub(in ", "pub(in::");
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let mut paths = Vec::new();
    let mut path: Vec<String> = Vec::new();
    // Whether `path` ends with `::`.
    let mut is_open = false;
    // For every open brace what the paths in it begin with, if it is a tree of `use`.
    let mut braces: Vec<Option<Vec<String>>> = Vec::new();
    let mut rest = &*code;
    while let Some(first) = rest.chars().next() {
        let end = match first {
            c if is_name(c) => rest.find(|c| !is_name(c)).unwrap_or(rest.len()),
            ':' if rest.starts_with("::") => 2,
            c => c.len_utf8(),
        };
        let (token, after) = rest.split_at(end);
        rest = after;
        if token == "::" {
            is_open = true;
            continue;
        }
        if is_open && (is_name(first) || first == '*') {
            path.push(token.to_owned());
            is_open = false;
            continue;
        }
        if is_open && first == '{' {
            braces.push(Some(path.clone()));
            continue;
        }
        let whole = std::mem::take(&mut path);
        if whole.len() > 1 && !(is_open && matches!(first, ',' | '}')) {
            paths.push(whole);
        }
        is_open = false;
        match first {
            c if is_name(c) => path.push(token.to_owned()),
            '{' => braces.push(None),
            '}' => drop(braces.pop()),
            ',' => {
                if let Some(Some(start)) = braces.last() {
                    path.clone_from(start);
                    is_open = true;
                }
            }
            _ => {}
        }
    }
    paths
}

/// The groups of files that reach each other.
fn circles(edges: &Edges) -> Vec<Vec<&str>> {
    let reached: BTreeMap<&str, BTreeSet<&str>> = edges
        .keys()
        .map(|file| {
            let (mut reached, mut open) = (BTreeSet::new(), vec![file]);
            while let Some(next) = open.pop() {
                open.extend(edges[next].iter().filter(|to| reached.insert(&***to)));
            }
            (&**file, reached)
        })
        .collect();
    let mut circles: Vec<Vec<&str>> = Vec::new();
    for (file, reaches) in &reached {
        let circle = reaches.iter().filter(|to| reached[**to].contains(file));
        let circle: Vec<&str> = circle.copied().collect();
        // Others of a circle find the same one.
        if circle.first() == Some(file) {
            circles.push(circle);
        }
    }
    circles
}
