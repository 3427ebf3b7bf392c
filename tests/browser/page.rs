//! The page at `/`, used as a visitor would.

use fanfare::config::Mode;

use crate::browser::Browser;
use crate::proxy::Proxy;
use crate::support::TestGateway;
use crate::{DESKTOP, PHONE, post};

#[test]
fn what_is_published_on_the_page_shows_in_both_columns() {
    let gateway = TestGateway::start();
    let browser = Browser::start();
    let page = browser.open(&format!("http://{}/", gateway.address), DESKTOP);
    page.click("#connect");
    page.wait("document.querySelector('#ws .state').textContent === 'connected'");
    page.wait("document.querySelector('#sse .state').textContent === 'connected'");
    page.fill("#data", r#"{"greeting":"<b>hello</b>"}"#);
    page.click("#publish");
    for column in ["#ws", "#sse"] {
        page.wait(&format!(
            "document.querySelector('{column} .received').textContent === '1'"
        ));
        assert_eq!(page.text(&format!("{column} li b")), "news");
        let shown = page.text(&format!("{column} li .data"));
        assert_eq!(shown, r#"{"greeting":"<b>hello</b>"}"#);
    }
    page.wait("/^Published as number 1,/.test(document.querySelector('#say').textContent)");
    page.fill("#data", "{oops");
    page.click("#publish");
    assert!(page.text("#say").starts_with("Data is not JSON"));
    page.click("#disconnect");
    assert_eq!(page.text("#ws .state"), "off");
    assert_eq!(page.complaints(), Vec::<String>::new());
}
