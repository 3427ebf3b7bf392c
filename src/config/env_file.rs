//! The environment file, usually `.env`: variables for those that the environment does not set.
//!
//! Read as python-dotenv reads it, since that is what such files are written for, with one
//! difference: `${NAME}` is not replaced, and is refused where it would count.

use adotenv::{DiagnosticCode, Dialect, Severity, parse_with};

use super::env::{Given, NoValue};
use super::error::Problem;

/// The variables of `text`, a file called `name`, in their order; a line that is none is a problem,
/// which names the line and does not quote it, since it may hold a secret.
pub(super) fn parse(name: &str, text: &str, problems: &mut Vec<Problem>) -> Vec<Given> {
    // Some editors put a mark in front of UTF-8, which is no part of the first name.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (document, diagnostics) = parse_with(text, Dialect::PYTHON_DOTENV);
    let errors = diagnostics
        .iter()
        .filter(|diagnostic| diagnostic.severity() == Severity::Error);
    problems.extend(errors.map(|error| {
        Problem::Syntax {
            origin: format!("{name}:{}", error.line()),
            reason: match error.code() {
                DiagnosticCode::UnterminatedQuote => "a quote is not closed",
                DiagnosticCode::TrailingText => "there is text behind a closed quote",
                _ => "this is no NAME=value",
            }
            .to_owned(),
        }
    }));
    let entries = document.entries();
    entries
        .map(|entry| Given {
            place: Some(format!("{name}:{}", entry.line())),
            name: entry.key().to_owned(),
            value: match entry.value() {
                None => Err(NoValue::Missing),
                Some(value) if value.contains("${") => Err(NoValue::Reference),
                Some(value) => Ok(value.to_owned()),
            },
        })
        .filter(Given::is_set)
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[(usize, &str, &str)]) {
        let mut problems = Vec::new();
        let given = parse(".env", text, &mut problems);
        assert_eq!(problems, [], "{text:?}");
        let expected = expected.iter().map(|(line, name, value)| Given {
            place: Some(format!(".env:{line}")),
            name: (*name).to_owned(),
            value: Ok((*value).to_owned()),
        });
        assert_eq!(given, expected.collect::<Vec<_>>(), "{text:?}");
    }

    #[track_caller]
    fn refused(text: &str, expected: &str) {
        let mut problems = Vec::new();
        parse(".env", text, &mut problems);
        let told: Vec<_> = problems.iter().map(Problem::to_string).collect();
        assert_eq!(told, [expected], "{text:?}");
    }

    #[test]
    fn files_of_python_programs_are_read() {
        check("", &[]);
        check(
            "\u{feff}PORT=1\r\nHOST=x\r\n",
            &[(1, "PORT", "1"), (2, "HOST", "x")],
        );
        check(
            "# a comment\n\nexport PORT = 8080 # why\n",
            &[(3, "PORT", "8080")],
        );
        check(
            "LOG_FORMAT={time:YYYY-MM-DD HH:mm:ss} | {level} | {message}\nPORT=1",
            &[
                (
                    1,
                    "LOG_FORMAT",
                    "{time:YYYY-MM-DD HH:mm:ss} | {level} | {message}",
                ),
                (2, "PORT", "1"),
            ],
        );
        check(
            "A=\"a # b\\n\"\nB='a # b\\n'",
            &[(1, "A", "a # b\n"), (2, "B", "a # b\\n")],
        );
        check("A=\"1\n2\"\nB=\nC=' '", &[(1, "A", "1\n2")]);
    }

    #[test]
    fn a_secret_arrives_whole() {
        for secret in ["a#b", "pa$$word", "$HOME", "a\\b", "`id`", "a=b", "ä"] {
            check(
                &format!("JWT_SECRET={secret}"),
                &[(1, "JWT_SECRET", secret)],
            );
            check(
                &format!("JWT_SECRET='{secret}'"),
                &[(1, "JWT_SECRET", secret)],
            );
        }
    }

    #[test]
    fn a_line_that_is_none_is_refused_and_not_quoted() {
        refused("A=1\nB='hunter2\n", ".env:2: a quote is not closed");
        refused(
            "A='hunter2' hunter3\n",
            ".env:1: there is text behind a closed quote",
        );
        refused("A=1\n\n=hunter2\n", ".env:3: this is no NAME=value");
        refused("hunter2 hunter3", ".env:1: this is no NAME=value");
    }

    proptest! {
        #[test]
        fn no_text_panics(text: String, lines in "([A-Z_]{0,3}[ =#'\"$\\\\{}]{0,3}[a-z\n\r]{0,3}){0,12}") {
            for text in [text, lines] {
                parse(".env", &text, &mut Vec::new());
            }
        }
    }
}
