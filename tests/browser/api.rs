//! The page at `/docs`, which shows `/openapi.json`.

use serde_json::{Value, json};

use crate::browser::{Browser, Page};
use crate::support::{TestGateway, request};
use crate::{DESKTOP, PHONE};
use fanfare::config::{Mode, Secret};
use fanfare::dialect::bridge::BridgeSettings;

/// The document of a gateway.
fn document(gateway: &TestGateway) -> Value {
    let head = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    request(gateway.address, head).json()
}

/// Waits until the page shows what it has read.
fn open<'a>(browser: &'a Browser, gateway: &TestGateway, anchor: &str) -> Page<'a> {
    let url = format!("http://{}/docs{anchor}", gateway.address);
    let page = browser.open(&url, DESKTOP);
    page.wait("document.querySelector('section:last-of-type .replies') !== null");
    page
}

#[test]
fn every_operation_is_shown_with_all_that_the_document_says() {
    let gateway = TestGateway::start();
    let document = document(&gateway);
    let browser = Browser::start();
    let page = open(&browser, &gateway, "");
    let mut count = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for operation in item.as_object().unwrap().values() {
            count += 1;
            let id = operation["operationId"].as_str().unwrap();
            assert_eq!(page.text(&format!("#{id} h3 code")), *path);
            let link = format!("document.querySelectorAll('nav a[href=\"#{id}\"]').length");
            assert_eq!(page.eval(&link), json!(1), "{id}");
            // Code is marked up, and nothing else is.
            let text = page.text(&format!("#{id}")).replace('`', "");
            let mut words = vec![
                operation["summary"].clone(),
                operation["description"].clone(),
            ];
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                words.extend([parameter["name"].clone(), parameter["description"].clone()]);
            }
            for (status, response) in operation["responses"].as_object().unwrap() {
                words.extend([json!(status), response["description"].clone()]);
            }
            let body = &operation["requestBody"]["content"]["application/json"];
            for example in body["examples"].as_object().into_iter().flatten() {
                words.extend([
                    example.1["summary"].clone(),
                    json!(example.1["value"].to_string()),
                ]);
            }
            let schema = match &body["schema"]["items"] {
                Value::Null => &body["schema"],
                items => items,
            };
            if let Some(reference) = schema["$ref"].as_str() {
                let schema = document.pointer(reference.trim_start_matches('#')).unwrap();
                for (name, field) in schema["properties"].as_object().unwrap() {
                    words.extend([json!(name), field["description"].clone()]);
                }
            }
            for word in words {
                let word = word.as_str().unwrap().replace('`', "");
                assert!(text.contains(&word), "{id}: {word}");
            }
        }
    }
    assert_eq!(
        page.eval("document.querySelectorAll('section').length"),
        json!(count)
    );
    assert_eq!(page.complaints(), Vec::<String>::new());
}

#[test]
fn the_page_is_filtered_and_an_anchor_is_where_it_begins() {
    let gateway = TestGateway::start();
    let browser = Browser::start();
    let page = open(&browser, &gateway, "#get_metrics");
    page.wait("document.querySelector(':target')?.id === 'get_metrics'");
    page.wait("scrollY > 0");
    let shown = "document.querySelectorAll('section:not([hidden])').length";
    let all = page.eval(shown);
    let filter = |text: &str| {
        page.fill("#filter", text);
        page.eval("document.querySelector('#filter').dispatchEvent(new Event('input'))");
    };
    filter("prometheus TEXT");
    page.wait(&format!("{shown} < {all}"));
    assert!(
        !page
            .eval("document.querySelector('#get_metrics').hidden")
            .as_bool()
            .unwrap()
    );
    filter("");
    page.wait(&format!("{shown} === {all}"));
}

#[test]
fn what_is_shown_is_what_is_configured() {
    let gateway = TestGateway::in_mode(Mode::Prod, |config| {
        config.auth.jwt_secret = Secret::new([7; 32]);
        config.section_mut::<BridgeSettings>().push_path = "/notify".to_owned();
    });
    let browser = Browser::start();
    let page = open(&browser, &gateway, "");
    assert!(page.text("nav p").contains("prod mode"));
    let example = page.text("#post_notify figure code");
    let address = gateway.address;
    assert!(
        example.starts_with(&format!("curl http://{address}/notify")),
        "{example}"
    );
    assert!(
        example.contains("-H \"Authorization: Bearer $API_KEY\""),
        "{example}"
    );
    assert!(
        page.text("#post_notify .access")
            .contains("the bridge's key")
    );
    assert!(
        page.text("#get_api_v1_ws figure code")
            .contains(r#", ["bearer", token])"#)
    );
    let access = "document.querySelectorAll('#get_health .access').length";
    assert_eq!(page.eval(access), json!(0));
}

/// Writes what the page looks like to `target/screenshots`, for people to look at.
#[test]
fn the_documentation_can_be_looked_at() {
    let gateway = TestGateway::start();
    let browser = Browser::start();
    let page = open(&browser, &gateway, "");
    page.screenshot("docs.png");
    page.prefer("dark");
    page.wait("matchMedia('(prefers-color-scheme: dark)').matches");
    page.screenshot("docs-dark.png");
    let phone = browser.open(&format!("http://{}/docs", gateway.address), PHONE);
    phone.wait("document.querySelector('section:last-of-type .replies') !== null");
    let is_too_wide = phone.eval("document.documentElement.scrollWidth > innerWidth");
    assert_eq!(is_too_wide, json!(false));
}
