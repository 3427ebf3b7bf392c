//! `fanfare publish`: one event to a running gateway.

use std::io::{self, IsTerminal, Read};

use http::Method;
use serde::de::IgnoredAny;

use super::arguments::Publish;
use super::exit::Exit;
use super::gateway::Gateway;
use super::output;

/// Sends the event and prints the answer.
pub(super) fn run(arguments: &Publish) -> Result<Exit, Exit> {
    // Before the data is read, which may be typed in.
    let gateway = Gateway::at(&arguments.gateway)?;
    let body = data(arguments).and_then(|data| body(&arguments.event, &data));
    let body = body.map_err(|reason| {
        output::complain(&reason);
        Exit::Data
    })?;
    let answer = gateway.ask(Method::POST, "/api/v1/events", Some(body))?;
    let printed = answer.print();
    Ok(match answer.exit() {
        Exit::Ok => printed,
        exit => exit,
    })
}

fn data(arguments: &Publish) -> Result<String, String> {
    if let Some(data) = &arguments.data {
        return Ok(data.clone());
    }
    if io::stdin().is_terminal() {
        output::complain(&"reading the data from the terminal; end it with Ctrl-D");
    }
    let mut data = String::new();
    let read = io::stdin()
        .lock()
        .take(DATA_LEN_MAX + 1)
        .read_to_string(&mut data);
    read.map_err(|error| format!("cannot read the data from standard input: {error}"))?;
    if data.len() as u64 > DATA_LEN_MAX {
        return Err(
            "the data on standard input is larger than any gateway accepts (1 GiB)".to_owned(),
        );
    }
    Ok(data)
}

/// The request's body. The data is checked and passed on byte for byte.
fn body(event: &str, data: &str) -> Result<String, String> {
    serde_json::from_str::<IgnoredAny>(data)
        .map_err(|error| format!("the data is not JSON: {error}"))?;
    Ok(format!(
        "{{\"event\":{},\"data\":{}}}",
        serde_json::Value::from(event),
        data.trim_ascii()
    ))
}

/// Bytes read from standard input: the most that `http.max_body_size` can be.
const DATA_LEN_MAX: u64 = 1024 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_passed_on_byte_for_byte() {
        let body = |data: &str| body("a\"b", data);
        assert_eq!(
            body(" {\"n\": 1.0e0, \"n\": 2}\n").unwrap(),
            r#"{"event":"a\"b","data":{"n": 1.0e0, "n": 2}}"#
        );
        for data in ["", "{", "1 2", "1},\"x\":{", "nul", "'a'"] {
            assert!(body(data).is_err(), "{data}");
        }
    }
}
