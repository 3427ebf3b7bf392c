//! Standard output for results, standard error for everything else.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use super::exit::Exit;

/// Writes a result. A reader that has seen enough (`| head`) is not a failure.
pub(super) fn print(text: &str) -> Exit {
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Ok(()) => Exit::Ok,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Exit::Ok,
        Err(error) => {
            complain(&format_args!("cannot write to standard output: {error}"));
            Exit::Failure
        }
    }
}

/// Writes a message for the operator. Where even that fails nobody is listening.
pub(super) fn complain(message: &impl Display) {
    let _ = writeln!(io::stderr(), "fanfare: {message}");
}

/// Warns of rules of the configuration that do not hold, where it is only looked at.
pub(super) fn warn_of_broken_rules(problems: &[impl Display]) {
    for problem in problems {
        complain(&format_args!(
            "warning: with this alone the gateway does not start: {problem}"
        ));
    }
}
