//! docs/chat.md and packaging/compose.yaml say what the program takes.

use std::collections::BTreeSet;

use crate::client::program;

const PAGE: &str = include_str!("../../../../docs/chat.md");
const COMPOSE: &str = include_str!("../../../../packaging/compose.yaml");

fn help() -> String {
    let output = program(&["--help"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// The cells of each row of the first table below a heading.
fn rows(heading: &str) -> Vec<Vec<&'static str>> {
    let (_, section) = PAGE.split_once(heading).unwrap();
    let lines = section.lines().skip_while(|line| !line.starts_with('|'));
    let lines = lines.take_while(|line| line.starts_with('|')).skip(2);
    lines
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

/// Words of `text` that begin with `prefix`.
fn words<'a>(text: &'a str, prefix: &str) -> BTreeSet<&'a str> {
    let is_word = |it: char| it.is_ascii_alphanumeric() || matches!(it, '-' | '_');
    let words = text.split(|it| !is_word(it));
    words
        .filter(|word| word.starts_with(prefix) && *word != prefix)
        .collect()
}

#[test]
fn the_table_has_each_option_with_its_variable() {
    let help = help();
    let told: BTreeSet<&str> = rows("## Options")
        .iter()
        .map(|row| row[0].trim_matches('`'))
        .collect();
    let mut options = words(&help, "--");
    options.remove("--help");
    options.remove("--version");
    let missing: Vec<_> = options.difference(&told).collect();
    assert!(missing.is_empty(), "{missing:?} are not told of");
    for row in rows("## Options") {
        let (option, variable) = (row[0].trim_matches('`'), row[1].trim_matches('`'));
        let variable_said = match variable {
            "WS_PRIVATE_KEY" | "SSL_CERT_FILE" | "" => variable.to_owned(),
            _ => format!("[env: {variable}="),
        };
        let found = help
            .split("\n      --")
            .find(|part| format!("--{part}").starts_with(option));
        let part = if option.is_empty() {
            &*help
        } else {
            found.unwrap()
        };
        assert!(part.contains(&variable_said), "{row:?}");
        let default = row[2].trim_matches('`');
        if !matches!(default, "" | "the id" | "the system's") {
            assert!(part.contains(&format!("[default: {default}]")), "{row:?}");
        }
    }
}

#[test]
fn the_exit_codes_are_those_of_the_help() {
    let help = help();
    let codes = rows("## Exit codes");
    assert_eq!(codes.len(), 8);
    for row in codes {
        assert!(help.contains(&format!("{} ", row[0])), "{row:?}");
    }
}

#[test]
fn the_containers_have_variables_that_the_program_knows() {
    let help = help();
    let (_, environments) = COMPOSE.split_once("x-environment").unwrap();
    for prefix in ["WS_", "AUTO_", "INSECURE_"] {
        for variable in words(environments, prefix) {
            assert!(help.contains(variable), "{variable}");
        }
    }
}
