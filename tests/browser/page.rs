//! The page at `/`, used as a visitor would.

use std::path::Path;
use std::{fs, process};

use crate::browser::{Browser, Page};
use crate::proxy::Proxy;
use crate::support::TestGateway;
use crate::{DESKTOP, PHONE, gateway, post};
use fanfare::config::Mode;
use rcgen::PublicKeyData;
use serde_json::json;

/// Waits until an element has this text.
fn wait_for_text(page: &Page<'_>, selector: &str, text: &str) {
    let text = json!(text);
    page.wait(&format!(
        "document.querySelector('{selector}').textContent === {text}"
    ));
}

/// Connects and waits until both columns are.
fn connect(page: &Page<'_>) {
    page.click("#connect");
    for column in ["#ws", "#sse"] {
        wait_for_text(page, &format!("{column} .state"), "connected");
    }
}

#[test]
fn what_is_published_on_the_page_shows_in_both_columns() {
    let gateway = TestGateway::start();
    let browser = Browser::start();
    let page = browser.open(&format!("http://{}/", gateway.address), DESKTOP);
    connect(&page);
    page.fill("#data", r#"{"greeting":"<b>hello</b>"}"#);
    page.click("#publish");
    for column in ["#ws", "#sse"] {
        wait_for_text(&page, &format!("{column} .received"), "1");
        assert_eq!(page.text(&format!("{column} li b")), "news");
        let shown = page.text(&format!("{column} li .data"));
        assert_eq!(shown, r#"{"greeting":"<b>hello</b>"}"#);
    }
    page.wait("document.querySelector('#say').textContent.startsWith('Published as number 1,')");
    page.fill("#data", "{oops");
    page.click("#publish");
    assert!(page.text("#say").starts_with("Data is not JSON"));
    page.click("#disconnect");
    assert_eq!(page.text("#ws .state"), "off");
    assert_eq!(page.complaints(), Vec::<String>::new());
}

#[test]
fn over_tls_the_page_uses_it_for_both_columns() {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("page-{}", process::id()));
    fs::create_dir_all(&directory).unwrap();
    let (certificate, key) = (directory.join("page.crt"), directory.join("page.key"));
    fs::write(&certificate, pair.cert.pem()).unwrap();
    fs::write(&key, pair.signing_key.serialize_pem()).unwrap();
    let gateway = TestGateway::with(|config| {
        config.server.listen = vec!["https://127.0.0.1:0".parse().unwrap()];
        config.tls.certificate_file = vec![certificate.clone()];
        config.tls.key_file = vec![key.clone()];
    });
    let browser = Browser::trusting(&pair.signing_key.subject_public_key_info());
    let page = browser.open(
        &format!("https://localhost:{}/", gateway.address.port()),
        DESKTOP,
    );
    connect(&page);
    page.fill("#data", r#"{"greeting":"hello"}"#);
    page.click("#publish");
    for column in ["#ws", "#sse"] {
        wait_for_text(&page, &format!("{column} .received"), "1");
    }
    assert_eq!(page.complaints(), Vec::<String>::new());
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn the_page_resumes_after_its_connections_are_cut() {
    let gateway = gateway();
    let proxy = Proxy::to(gateway.address);
    let browser = Browser::start();
    let page = browser.open(&format!("http://{}/", proxy.address), DESKTOP);
    connect(&page);
    let publish = |number: u32| post(gateway.address, "news", &json!(number));
    (1..=3).for_each(publish);
    wait_for_text(&page, "#ws .received", "3");
    wait_for_text(&page, "#sse .received", "3");
    proxy.close();
    (4..=8).for_each(publish);
    proxy.lead_to(gateway.address);
    for column in ["#ws", "#sse"] {
        wait_for_text(&page, &format!("{column} .received"), "8");
        assert_eq!(page.text(&format!("{column} .gaps")), "0");
    }
    assert!(page.text("#ws ol").contains("news: resumed, 5 missed"));
    assert_ne!(page.text("#sse .reconnects"), "0");
    // The buttons do the same from this side.
    page.click("#ws button");
    page.click("#sse button");
    publish(9);
    for column in ["#ws", "#sse"] {
        wait_for_text(&page, &format!("{column} .received"), "9");
        assert_eq!(page.text(&format!("{column} .gaps")), "0");
    }
}

#[test]
fn a_refusal_is_explained() {
    let gateway = TestGateway::in_mode(Mode::Dev, |_| {});
    let browser = Browser::start();
    let page = browser.open(&format!("http://{}/", gateway.address), DESKTOP);
    page.fill("#token", "nonsense");
    page.click("#connect");
    wait_for_text(&page, "#ws .state", "closed: Authentication failed");
    wait_for_text(
        &page,
        "#sse .state",
        "closed: Invalid or expired token (401)",
    );
    page.wait("/expired token/.test(document.querySelector('#say').textContent)");
    page.wait("/401/.test(document.querySelector('#sse ol').textContent)");
}

/// Writes what the page looks like to `target/screenshots`, for people to look at.
#[test]
fn the_page_can_be_looked_at() {
    let gateway = gateway();
    let browser = Browser::start();
    for (name, size) in [("desktop", DESKTOP), ("phone", PHONE)] {
        let page = browser.open(&format!("http://{}/", gateway.address), size);
        connect(&page);
        for (event, data) in [
            (
                "news",
                json!({ "headline": "The gateway is open", "priority": 5 }),
            ),
            ("news", json!(["any", "JSON", 1.5, null])),
        ] {
            page.fill("#event", event);
            page.fill("#data", &data.to_string());
            page.click("#publish");
        }
        page.click("#stream");
        page.wait("Number(document.querySelector('#sse .rate').textContent) > 5");
        page.wait("Number(document.querySelector('#sse .received').textContent) > 25");
        page.screenshot(&format!("{name}.png"));
        page.prefer("dark");
        page.wait("matchMedia('(prefers-color-scheme: dark)').matches");
        page.screenshot(&format!("{name}-dark.png"));
        let is_too_wide = page.eval("document.documentElement.scrollWidth > innerWidth");
        assert_eq!(is_too_wide, json!(false), "{name}");
    }
}
