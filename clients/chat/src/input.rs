//! What the user types.

use std::io::{self, BufRead, IsTerminal, Read};
use std::thread;

use serde_json::Value;
use tokio::sync::mpsc;

/// Bytes of a line. Longer ones are refused.
const LINE_BYTES_MAX: u64 = 1024 * 1024;
/// Lines that wait to be looked at; then reading pauses.
const LINES_MAX: usize = 16;

/// What `/help` prints.
pub(crate) const HELP: &str = "\
@user text           to one user, encrypted where the user has a key for it
direct user text     the same
!text                to all
/users               who is connected, and who is not
/cmd name [json]     a command to the server, signed; its parameters are JSON
/key [user]          the fingerprint of a user's keys, or of your own: compare it in another way
/trust user          use the keys that the server has of a user since they changed
/help                this
/quit                the end, as Ctrl-D and Ctrl-C";

/// What a line asks for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Input {
    Direct {
        to: String,
        text: String,
    },
    Broadcast(String),
    Command {
        name: String,
        params: Option<Value>,
    },
    Users,
    /// Of a user, or the own.
    Key(Option<String>),
    Trust(String),
    Help,
    Quit,
}

impl Input {
    /// Reads a line; none if it is blank. An error says what would be right.
    pub(crate) fn parse(line: &str) -> Result<Option<Self>, String> {
        let line = line.trim();
        if line.is_empty() {
            return Ok(None);
        }
        let (word, rest) = split(line);
        let input = if let Some(to) = word.strip_prefix('@') {
            direct(to, rest)?
        } else if let Some(text) = line.strip_prefix('!') {
            match text.trim() {
                "" => return Err("there is nothing to say: !text".into()),
                text => Self::Broadcast(text.to_owned()),
            }
        } else {
            match word {
                "direct" => {
                    let (to, text) = split(rest);
                    direct(to, text)?
                }
                "/cmd" => command(rest)?,
                "/trust" if !rest.is_empty() => Self::Trust(rest.to_owned()),
                "/trust" => return Err("whom: /trust user".into()),
                "/key" => Self::Key((!rest.is_empty()).then(|| rest.to_owned())),
                "/users" => Self::Users,
                "/help" => Self::Help,
                "/quit" => Self::Quit,
                _ if word.starts_with('/') => {
                    return Err(format!("there is no {word}; /help has what there is"));
                }
                _ => return Err("to whom: @user text, or !text to all; /help".into()),
            }
        };
        Ok(Some(input))
    }
}

fn direct(to: &str, text: &str) -> Result<Input, String> {
    if to.is_empty() || text.is_empty() {
        return Err("to whom, and what: @user text".into());
    }
    Ok(Input::Direct {
        to: to.to_owned(),
        text: text.to_owned(),
    })
}

fn command(rest: &str) -> Result<Input, String> {
    let (name, params) = split(rest);
    if name.is_empty() {
        return Err("which command: /cmd name [json]; /cmd list_commands lists them".into());
    }
    let params = match params {
        "" => None,
        json => Some(
            serde_json::from_str(json)
                .map_err(|error| format!("the parameters are not JSON: {error}"))?,
        ),
    };
    Ok(Input::Command {
        name: name.to_owned(),
        params,
    })
}

/// The first word, and what comes behind it.
fn split(text: &str) -> (&str, &str) {
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (word, rest.trim())
}

/// Whether a person types, and not a script.
pub(crate) fn is_terminal() -> bool {
    io::stdin().is_terminal()
}

/// Lines of standard input, as they are read; the channel ends with it. The end of a terminal's input is
/// `/quit`; behind the end of a file or pipe the program goes on to receive.
pub(crate) fn lines() -> mpsc::Receiver<Result<Input, String>> {
    let (sender, receiver) = mpsc::channel(LINES_MAX);
    thread::spawn(move || {
        let stdin = io::stdin();
        let is_terminal = is_terminal();
        let mut stdin = stdin.lock();
        while let Some(line) = next_line(&mut stdin) {
            let input = line.and_then(|line| Input::parse(&line)).transpose();
            if let Some(input) = input
                && sender.blocking_send(input).is_err()
            {
                return;
            }
        }
        if is_terminal {
            let _ = sender.blocking_send(Ok(Input::Quit));
        }
    });
    receiver
}

/// The next line; none at the end of the input.
fn next_line(input: &mut impl BufRead) -> Option<Result<String, String>> {
    let mut line = Vec::new();
    let limited = &mut input.take(LINE_BYTES_MAX);
    if limited.read_until(b'\n', &mut line).unwrap_or(0) == 0 {
        return None;
    }
    if line.len() as u64 == LINE_BYTES_MAX && !line.ends_with(b"\n") {
        let _ = input.skip_until(b'\n');
        return Some(Err(format!("a line has at most {LINE_BYTES_MAX} bytes")));
    }
    Some(String::from_utf8(line).map_err(|_| "the line is not UTF-8".into()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lines_are_read() {
        let check = |line: &str, input: Input| {
            assert_eq!(Input::parse(line), Ok(Some(input)), "{line}");
        };
        let direct = |to: &str, text: &str| Input::Direct {
            to: to.into(),
            text: text.into(),
        };
        check("@bob hi there", direct("bob", "hi there"));
        check("  direct bob  hi ! \n", direct("bob", "hi !"));
        check("@bob /quit", direct("bob", "/quit"));
        check("!hello all", Input::Broadcast("hello all".into()));
        check("! @bob", Input::Broadcast("@bob".into()));
        check("/quit\r\n", Input::Quit);
        check("/users", Input::Users);
        check("/trust bob", Input::Trust("bob".into()));
        check("/key bob", Input::Key(Some("bob".into())));
        check("/key", Input::Key(None));
        let command = |params| Input::Command {
            name: "echo".into(),
            params,
        };
        check("/cmd echo", command(None));
        check(
            r#"/cmd echo {"a": [1, 2]}"#,
            command(Some(json!({"a": [1, 2]}))),
        );
        assert_eq!(Input::parse(" \n"), Ok(None));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (line, said) in [
            ("hello", "@user text"),
            ("@bob", "@user text"),
            ("@ hi", "@user text"),
            ("direct bob", "@user text"),
            ("!", "!text"),
            ("/cmd", "/cmd name"),
            ("/cmd echo {", "not JSON"),
            ("/trust", "/trust user"),
            ("/exit", "there is no /exit"),
        ] {
            let problem = Input::parse(line).unwrap_err();
            assert!(problem.contains(said), "{line}: {problem}");
        }
    }

    #[test]
    fn a_line_that_is_too_long_costs_itself_alone() {
        let long = "x".repeat(LINE_BYTES_MAX as usize + 5);
        let text = format!("!one\n{long}\n!two\n\u{0}");
        let mut input = text.as_bytes();
        assert_eq!(next_line(&mut input), Some(Ok("!one\n".into())));
        assert!(next_line(&mut input).unwrap().is_err());
        assert_eq!(next_line(&mut input), Some(Ok("!two\n".into())));
        assert_eq!(next_line(&mut input), Some(Ok("\u{0}".into())));
        assert_eq!(next_line(&mut input), None);
        assert!(next_line(&mut &[0xff, b'\n'][..]).unwrap().is_err());
    }
}
