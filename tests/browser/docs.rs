//! The examples of `docs/clients.md`, run as they stand there.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;

use serde_json::{Value, json};

use crate::browser::{Browser, PATIENCE};
use crate::proxy::Proxy;
use crate::support::{TestGateway, request};
use crate::{DESKTOP, gateway, post};

const GUIDE: &str = include_str!("../../docs/clients.md");

/// The code blocks of a language below a heading, with the proxy's address in
/// place of the usual one.
fn examples(heading: &str, language: &str, proxy: &Proxy) -> Vec<String> {
    let (_, section) = GUIDE
        .split_once(&format!("\n## {heading}\n"))
        .unwrap_or_else(|| panic!("no section {heading}"));
    let section = section.split("\n## ").next().expect("the section itself");
    let fence = format!("```{language}\n");
    let blocks = section.split(&fence).skip(1);
    let code = blocks.map(|block| block.split("```").next().expect("the block itself"));
    code.map(|code| code.replace("127.0.0.1:8080", &proxy.address.to_string()))
        .collect()
}

/// Publishes 0 until a follower has it, then 1 to 3, cuts it off, publishes 4 to
/// 6, lets it come back, and publishes 7. `has` says whether it has a number.
fn put_through_a_cut(gateway: &TestGateway, proxy: &Proxy, mut has: impl FnMut(u32) -> bool) {
    let publish = |number: u32| post(gateway.address, "news", &json!(number));
    let mut wait_for = |number: u32, act: &dyn Fn()| {
        let deadline = std::time::Instant::now() + PATIENCE;
        while !has(number) {
            assert!(std::time::Instant::now() < deadline, "{number} never comes");
            act();
            thread::sleep(std::time::Duration::from_millis(50));
        }
    };
    wait_for(0, &|| publish(0));
    (1..=3).for_each(publish);
    wait_for(3, &|| {});
    proxy.close();
    (4..=6).for_each(publish);
    proxy.lead_to(gateway.address);
    publish(7);
    wait_for(7, &|| {});
}

/// Runs the JavaScript below a heading through [`put_through_a_cut`]. What it
/// logs must be the numbers, each once.
fn check_script(heading: &str, end: &str) {
    let gateway = gateway();
    let proxy = Proxy::to(gateway.address);
    let browser = Browser::start();
    let page = browser.open(&format!("http://{}/health/live", proxy.address), DESKTOP);
    page.eval("var said = []; console.log = console.warn = (...what) => { said.push(what); }");
    for example in examples(heading, "js", &proxy) {
        page.eval(&example);
    }
    put_through_a_cut(&gateway, &proxy, |number| {
        page.eval(&format!("said.some(([, data]) => data === {number})")) == json!(true)
    });
    let expected: Vec<Value> = (1..=7).map(|number| json!(["news", number])).collect();
    assert_eq!(
        page.eval("said.filter(([, data]) => data !== 0)"),
        json!(expected)
    );
    page.eval(end);
}

#[test]
fn the_websocket_example_misses_nothing() {
    check_script("WebSocket in a browser", "client.stop()");
}

#[test]
fn the_event_source_example_misses_nothing() {
    check_script("EventSource", "listener.stop()");
}

/// The JavaScript of a document, with the gateway's address in place of the usual one.
fn scripts(document: &str, gateway: &TestGateway) -> Vec<String> {
    let blocks = document.split("\n```js\n").skip(1);
    let scripts = blocks.map(|block| block.split("\n```").next().expect("the block itself"));
    let address = gateway.address.to_string();
    scripts
        .map(|script| script.replace("127.0.0.1:8080", &address))
        .collect()
}

/// Runs a document's script behind `before`, which makes what it does with an
/// event push it to `said`; what is published to `topic` must be among that.
fn check_reader(script: &str, gateway: &TestGateway, before: &str, topic: &str) {
    let browser = Browser::start();
    let page = browser.open(&format!("http://{}/health/live", gateway.address), DESKTOP);
    page.eval(before);
    page.eval(script);
    let deadline = std::time::Instant::now() + PATIENCE;
    while page.eval("said.some(data => data.includes('17'))") != json!(true) {
        assert!(
            std::time::Instant::now() < deadline,
            "nothing comes: {script}"
        );
        post(gateway.address, topic, &json!(17));
        thread::sleep(std::time::Duration::from_millis(50));
    }
}

/// Runs a document's script, which answers what alice is asked.
fn check_user(script: &str, gateway: &TestGateway) {
    let browser = Browser::start();
    let page = browser.open(&format!("http://{}/health/live", gateway.address), DESKTOP);
    page.eval(script);
    let deadline = std::time::Instant::now() + PATIENCE;
    let body = r#"{"user_id":"alice","data":{"message":"Deploy?"}}"#;
    let question = format!(
        "POST /sse/send HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    loop {
        let answers = request(gateway.address, question.as_bytes()).body;
        if answers.contains(r#""heard":"Deploy?""#) && answers.contains(r#""answer":"yes""#) {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "{answers}");
        thread::sleep(std::time::Duration::from_millis(50));
    }
}

#[test]
fn the_first_examples_show_what_is_published() {
    let gateway = gateway();
    let before = "var said = []; console.log = what => { said.push(what); }";
    let scripts_of_readme = scripts(include_str!("../../README.md"), &gateway);
    let [websocket, events, client, user] = &scripts_of_readme[..] else {
        panic!("four examples");
    };
    for script in [websocket, events] {
        check_reader(script, &gateway, before, "news");
    }
    let before_client = include_str!("../../examples/follow.js").to_owned()
        + "var said = []; console.log = (...what) => { said.push(String(what)); };
           fetch = async () => ({ text: async () => 'dev' });";
    check_reader(client, &gateway, &before_client, "news");
    check_user(user, &gateway);
    let before =
        "var said = []; var show = what => { said.push(String(what)); }; var reload = show";
    let [script] = &scripts(include_str!("../../docs/sse.md"), &gateway)[..] else {
        panic!("one example");
    };
    check_reader(script, &gateway, before, "stock");
}

#[test]
fn the_curl_examples_miss_nothing() {
    let gateway = gateway();
    let proxy = Proxy::to(gateway.address);
    let [follow, publish] = &examples("curl", "bash", &proxy)[..] else {
        panic!("two examples");
    };
    let mut script = Command::new("bash")
        .args(["-c", follow])
        .stdout(Stdio::piped())
        .spawn()
        .expect("bash");
    let lines = BufReader::new(script.stdout.take().unwrap()).lines();
    let (sender, comes) = mpsc::channel();
    thread::spawn(move || {
        lines
            .map_while(Result::ok)
            .try_for_each(|line| sender.send(line))
    });
    let mut said: Vec<String> = Vec::new();
    put_through_a_cut(&gateway, &proxy, |number| {
        said.extend(comes.try_iter());
        said.contains(&format!("news {number}"))
    });
    let published = Command::new("bash").args(["-c", publish]).output().unwrap();
    assert!(published.stdout.starts_with(b"{\"status\":\"accepted\""));
    said.push(comes.recv_timeout(PATIENCE).expect("what curl published"));
    script.kill().unwrap();
    script.wait().unwrap();
    said.retain(|line| line != "news 0");
    let mut expected: Vec<String> = (1..=7).map(|number| format!("news {number}")).collect();
    expected.push(r#"news {"hello":"world"}"#.to_owned());
    assert_eq!(said, expected);
}

#[test]
fn every_close_code_is_in_the_guide() {
    let source = include_str!("../../src/shard/disconnect.rs");
    let (_, source) = source.split_once("pub fn close(self").expect("a method");
    let mut count = 0;
    for (code, reason) in source.lines().filter_map(|line| {
        let (_, pair) = line.trim().split_once("=> (")?;
        pair.trim_end_matches(['"', ')', ',']).split_once(", \"")
    }) {
        // A protocol error has the code that names how.
        let code = code.parse().unwrap_or(1002);
        let row = format!("\n| {code} | {reason} |");
        assert!(GUIDE.contains(&row), "{row}");
        count += 1;
    }
    // Those of a protocol alone.
    let bridge = include_str!("../../src/dialect/bridge.rs");
    let own = bridge.lines().filter_map(|line| {
        let (_, pair) = line.trim().split_once(": cause(\"")?;
        let (_, reason) = pair
            .trim_end_matches(['"', ')', ','])
            .split_once("\", \"")?;
        Some(reason)
    });
    for reason in own {
        let row = format!("\n| 1008 | {reason} |");
        assert!(GUIDE.contains(&row), "{row}");
        count += 1;
    }
    assert!(count > 13, "{count}");
}
