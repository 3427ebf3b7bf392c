//! A browser as the user of the bridge protocol: examples/bridge_user.html, and the
//! script of docs/bridge.md, asked by examples/bridge_backend.py.

use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::DESKTOP;
use crate::browser::Browser;
use crate::support::TestGateway;

const GUIDE: &str = include_str!("../../docs/bridge.md");
const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");

/// Asks alice as the example does.
fn ask(gateway: &TestGateway, arguments: &[&str]) -> Child {
    Command::new("python3")
        .arg(format!("{EXAMPLES}/bridge_backend.py"))
        .args(["--url", &format!("http://{}", gateway.address)])
        .args(arguments)
        .env_remove("SSE_API_KEY")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python3 is there")
}

/// What the example printed, when it has ended well.
fn answers(backend: Child) -> String {
    let output = backend.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_page_of_the_example_answers_with_a_click() {
    let gateway = TestGateway::start();
    let browser = Browser::start();
    let url = format!(
        "file://{EXAMPLES}/bridge_user.html?gateway=ws://{}/ws&user=alice",
        gateway.address
    );
    let page = browser.open(&url, DESKTOP);
    page.click("#button");
    page.wait("document.querySelector('#state').textContent.startsWith('Connected as alice')");
    let backend = ask(
        &gateway,
        &[
            "alice",
            "<b>Deploy?</b>",
            "--option",
            "Yes",
            "--option",
            "Later",
        ],
    );
    page.wait("document.querySelectorAll('article button').length === 2");
    // A message is text, whatever stands in it.
    assert_eq!(page.text("article p"), "<b>Deploy?</b>");
    page.click("article button:last-of-type");
    let said = answers(backend);
    assert_eq!(said.matches("part ").count(), 3, "{said}");
    assert!(said.ends_with("final  Later\n"), "{said}");
    assert_eq!(page.complaints(), Vec::<String>::new());

    // The first connection is not disturbed, and the second is told why it ends.
    let second = browser.open(&url, DESKTOP);
    second.click("#button");
    second.wait("document.querySelector('#state').textContent.includes('already connected')");
    assert!(page.text("#state").starts_with("Connected"));
}

#[test]
fn the_script_of_the_guide_answers() {
    let gateway = TestGateway::start();
    let browser = Browser::start();
    let page = browser.open(&format!("http://{}/health", gateway.address), DESKTOP);
    let (_, rest) = GUIDE.split_once("\n```js\n").expect("the page has one");
    let script = rest.split("\n```").next().unwrap();
    let script = script.replace("127.0.0.1:8080", &gateway.address.to_string());
    page.eval(&script.replace("const socket", "window.socket"));
    page.wait("socket.readyState === 1");
    assert_eq!(answers(ask(&gateway, &["alice", "Ready?"])), "final  Yes\n");
    page.eval("socket.close()");
    assert_eq!(page.eval("socket.readyState >= 2"), json!(true));
}
