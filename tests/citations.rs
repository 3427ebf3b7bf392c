//! What comments, tests and pages cite is there to be opened.
//!
//! `docs/hostile-inputs.md` has a row for each id that a test's name begins with, and the tests that it
//! names exist where it says. Nothing cites what is not in this repository.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const PAGE: &str = "docs/hostile-inputs.md";

/// Where tests are.
const CODE: &[&str] = &[
    "src",
    "loadgen",
    "tests",
    "benches",
    "examples",
    "fuzz/fuzz_targets",
];

/// Where citations are, besides the code and the pages at the root.
const PAGES: &[&str] = &["docs", "perf"];

/// Folders of what scripts have fetched or compiled.
const FETCHED: &[&str] = &[".installed", "__pycache__"];

/// Citations that only some readers could follow, in halves: this file is looked at, too.
const CLOSED: &[(&str, &str)] = &[("HOST", "ILE"), ("spe", "c/")];

#[test]
fn every_test_that_the_page_names_is_there() {
    let page = fs::read_to_string(PAGE).unwrap();
    let mut missing = Vec::new();
    let mut named = 0;
    for row in page.lines().filter(|line| line.starts_with('|')) {
        for (names, file) in tests_in(last_cell(row)) {
            let code = fs::read_to_string(file).unwrap_or_default();
            let tests = tests_of(&code);
            named += names.len();
            let absent = names.into_iter().filter(|name| !tests.contains(name));
            missing.extend(absent.map(|name| format!("{PAGE}: {name} is no test of {file}")));
        }
    }
    assert!(named > 200, "the page is not read as it is written");
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn every_id_of_a_test_has_one_row() {
    let page = fs::read_to_string(PAGE).unwrap();
    let mut rows = BTreeSet::new();
    let ids = page.lines().filter_map(|line| line.strip_prefix("| "));
    for id in ids.filter_map(|row| row.split(" |").next()) {
        assert!(!is_id(id) || rows.insert(id), "{PAGE}: {id} twice");
    }
    let mut missing = Vec::new();
    for path in code_files() {
        let code = fs::read_to_string(&path).unwrap();
        for name in tests_of(&code) {
            let unknown = ids_of(name)
                .into_iter()
                .filter(|id| !rows.contains(id.as_str()));
            missing.extend(unknown.map(|id| {
                let path = path.display();
                format!("{PAGE} has no row {id}, which {name} of {path} covers")
            }));
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn citations_point_into_the_repository() {
    let closed: Vec<String> = CLOSED
        .iter()
        .map(|(one, two)| format!("{one}{two}"))
        .collect();
    let mut files = Vec::new();
    for dir in CODE.iter().chain(PAGES) {
        collect(Path::new(dir), &mut files);
    }
    for entry in fs::read_dir(".").unwrap() {
        let path = entry.unwrap().path();
        let is_page = path.extension().is_some_and(|ext| ext == "md");
        files.extend(is_page.then_some(path));
    }
    let mut found = Vec::new();
    for path in files {
        let bytes = fs::read(&path).unwrap();
        // A picture has no citations, and any text may be in it by chance.
        let Ok(text) = String::from_utf8(bytes) else {
            continue;
        };
        for (number, line) in (1..).zip(text.lines()) {
            let cited = closed.iter().filter(|name| line.contains(name.as_str()));
            found.extend(cited.map(|name| format!("{}:{number}: {name}", path.display())));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn ids_are_read_from_the_names_of_tests() {
    for (name, ids) in [
        ("h01_h03_h04_heads_are_bounded", "H01 H03 H04"),
        ("case_h3_h4_a_cookie_counts", "case H3 case H4"),
        ("case_h17_a_wildcard", "case H17"),
        ("l01_a_line_is_lost", "case L1"),
        ("t1_t2_times", "case T1 case T2"),
        ("r05_at_the_limit", "R05"),
        ("a_row_without_one", ""),
        ("v2_from", ""),
        ("h2_is_not_spoken", "case H2"),
    ] {
        assert_eq!(ids_of(name).join(" "), ids, "{name}");
    }
}

/// The rows that a test's name says it covers: `h01_` is H01, `case_h1_` and, where there is nothing but
/// cases, `l01_` and `t1_` are cases.
fn ids_of(name: &str) -> Vec<String> {
    let rest = name.strip_prefix("case_");
    let parts = rest.unwrap_or(name).split('_');
    let ids = parts.map_while(|part| {
        let (letter, number) = part.split_at_checked(1)?;
        if !"acfhlmrt".contains(letter) || !(1..=2).contains(&number.len()) {
            return None;
        }
        let row: u8 = number.parse().ok()?;
        let is_case = rest.is_some() || number.len() == 1 || "lt".contains(letter);
        let letter = letter.to_uppercase();
        Some(if is_case {
            format!("case {letter}{row}")
        } else {
            format!("{letter}{row:02}")
        })
    });
    ids.collect()
}

/// Whether the first cell of a row is an id, and not a heading or a crate.
fn is_id(cell: &str) -> bool {
    let id = cell.strip_prefix("case ").unwrap_or(cell);
    id.len() >= 2
        && id.starts_with(|c: char| c.is_ascii_uppercase())
        && id[1..].bytes().all(|byte| byte.is_ascii_digit())
}

fn last_cell(row: &str) -> &str {
    let row = row.trim_end().trim_end_matches('|');
    row.rsplit_once(" | ").map_or("", |(_, cell)| cell)
}

/// The tests that a cell names, by their files: "`one`, `two` (tests/it/some.rs), `three` (src/other.rs)".
fn tests_in(cell: &str) -> Vec<(Vec<&str>, &str)> {
    let mut rest = cell;
    let mut tests = Vec::new();
    while let Some((names, after)) = rest.split_once(" (") {
        let Some((file, after)) = after.split_once(')') else {
            break;
        };
        rest = after;
        if file.ends_with(".rs") {
            // What stands between backticks.
            tests.push((names.split('`').skip(1).step_by(2).collect(), file));
        }
    }
    tests
}

/// The names of the functions below `#[test]`.
fn tests_of(code: &str) -> BTreeSet<&str> {
    let mut is_test = false;
    let mut tests = BTreeSet::new();
    for line in code.lines().map(str::trim) {
        is_test |= line == "#[test]";
        let Some(name) = line.strip_prefix("fn ").filter(|_| is_test) else {
            continue;
        };
        is_test = false;
        tests.extend(name.split('(').next());
    }
    tests
}

fn code_files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    for dir in CODE {
        collect(Path::new(dir), &mut files);
    }
    files.retain(|path| path.extension().is_some_and(|ext| ext == "rs"));
    files
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let is_fetched = FETCHED.iter().any(|name| path.ends_with(name));
        if path.is_dir() && !is_fetched {
            collect(&path, files);
        } else if path.is_file() {
            files.push(path);
        }
    }
}
