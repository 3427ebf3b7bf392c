//! The examples of docs/sse.md, run by a shell as they are written there.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};

use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

use crate::support::{TestGateway, needs_plaintext, request};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const DOCUMENT: &str = include_str!("../../docs/sse.md");
/// The id that the page shows.
const SHOWN_ID: &str = "AaXw1pDTNAABAADYR0cfrWnUVg";

/// The blocks of a language on the page.
fn blocks(language: &str) -> Vec<&'static str> {
    let begin = format!("\n```{language}\n");
    let blocks = DOCUMENT.split(begin.as_str()).skip(1);
    blocks
        .map(|rest| rest.split("\n```").next().unwrap())
        .collect()
}

/// A command of the page while it runs.
struct Running {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Running {
    /// Starts a command, which shows the response's head as well.
    fn start(gateway: &TestGateway, command: &str) -> Self {
        let claims = json!({ "sub": "ann", "exp": 4_000_000_000_u64 });
        let key = EncodingKey::from_secret(SECRET.as_bytes());
        let token = jsonwebtoken::encode(&Header::default(), &claims, &key).unwrap();
        let command = command
            .replace("127.0.0.1:8080", &gateway.address.to_string())
            .replace("curl ", "exec curl -si --max-time 20 ");
        let mut child = Command::new("bash")
            .args(["-c", &command])
            .env("TOKEN", token)
            .stdout(Stdio::piped())
            .spawn()
            .expect("bash and curl are there");
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output }
    }

    /// The next line.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// The next lines up to an empty one.
    fn block(&mut self) -> Vec<String> {
        let lines = self.output.by_ref().lines().map(|line| line.unwrap());
        lines
            .map(|line| line.trim_end().to_owned())
            .take_while(|line| !line.is_empty())
            .collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn publish(gateway: &TestGateway, data: &str) {
    let body = format!(r#"{{"event":"orders","data":{data}}}"#);
    let text = format!(
        "POST /api/v1/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    assert_eq!(request(gateway.address, text.as_bytes()).status, 202);
}

/// Lines with the values that are different every time taken out.
fn shape(lines: &[String]) -> Vec<String> {
    let lines = lines.iter().map(|line| match line.split_once(": ") {
        Some((field @ ("id" | "retry" | "date"), _)) => format!("{field}: *"),
        _ => line.clone(),
    });
    lines.collect()
}

/// The value of a block's `field`.
fn field<'b>(block: &'b [String], field: &str) -> &'b str {
    let values = block.iter().filter_map(|line| line.strip_prefix(field));
    values
        .filter_map(|rest| rest.strip_prefix(": "))
        .next()
        .unwrap_or_else(|| panic!("no {field} in {block:?}"))
}

#[test]
fn every_command_shows_what_the_page_says() {
    if needs_plaintext("the commands are for plain HTTP") {
        return;
    }
    let gateway = TestGateway::from_toml(&format!("[auth]\njwt_secret = \"{SECRET}\""), |_| {});
    let (commands, shown) = (blocks("sh"), blocks("text"));
    let ([first, with_token, resuming], [stream, gap]) = (&commands[..], &shown[..]) else {
        panic!("other examples than these: {commands:?} {shown:?}");
    };
    let stream: Vec<String> = stream.lines().map(str::to_owned).collect();
    let data = field(&stream, "data").to_owned();
    let mut id = String::new();
    for command in [first, with_token] {
        let mut running = Running::start(&gateway, command);
        let mut seen = running.block();
        seen.push(String::new());
        seen.extend(["retry", "id"].map(|_| running.line()));
        publish(&gateway, &data);
        let event = running.block();
        field(&event, "id").clone_into(&mut id);
        seen.extend(event);
        assert_eq!(shape(&seen), shape(&stream), "{command}");
    }

    publish(&gateway, "\"missed\"");
    let mut running = Running::start(&gateway, &resuming.replace(SHOWN_ID, &id));
    let missed = (0..4)
        .map(|_| running.block())
        .find(|block| block.iter().any(|line| line == "event: orders"));
    assert_eq!(field(&missed.expect("the event"), "data"), "\"missed\"");

    // Another gateway's id, as the one on the page is.
    let mut running = Running::start(&gateway, resuming);
    let told = (0..4).map(|_| running.block());
    let mut told = told.filter(|block| block.iter().any(|line| line == "event: gap"));
    // Of two topics: the second one has the id.
    let mut told = told.nth(1).expect("the gap is told");
    told.retain(|line| !line.starts_with("retry: "));
    let keys = |block: &[String]| {
        let data: Value = serde_json::from_str(field(block, "data")).expect("JSON");
        let keys: Vec<String> = data.as_object().unwrap().keys().cloned().collect();
        (block.len(), keys)
    };
    let gap: Vec<String> = gap.lines().map(str::to_owned).collect();
    assert_eq!(keys(&told), keys(&gap), "{told:?}");
}
