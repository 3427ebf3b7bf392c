//! A plain `EventSource`, as every browser has it: it must resume by itself.

use serde_json::json;

use crate::browser::{Browser, Page};
use crate::proxy::Proxy;
use crate::{DESKTOP, gateway, post};

/// A page with an `EventSource` of the topic `news` that is open. `got` has what comes.
fn listen<'a>(browser: &'a Browser, proxy: &Proxy) -> Page<'a> {
    let page = browser.open(&format!("http://{}/health/live", proxy.address), DESKTOP);
    page.eval(
        "var got = [], gaps = [];
         var source = new EventSource('/api/v1/sse?topics=news');
         source.addEventListener('news', ({ data }) => { got.push(JSON.parse(data)); });
         source.addEventListener('gap', ({ data }) => { gaps.push(JSON.parse(data)); });",
    );
    page.wait("source.readyState === EventSource.OPEN");
    page
}

#[test]
fn an_event_source_resumes_after_its_connection_is_cut() {
    let gateway = gateway();
    let proxy = Proxy::to(gateway.address);
    let browser = Browser::start();
    let page = listen(&browser, &proxy);
    for round in 0..3 {
        let first = round * 10;
        (first..first + 5).for_each(|number| post(gateway.address, "news", &json!(number)));
        page.wait(&format!("got.length === {}", first + 5));
        proxy.close();
        (first + 5..first + 10).for_each(|number| post(gateway.address, "news", &json!(number)));
        proxy.lead_to(gateway.address);
        page.wait(&format!("got.length >= {}", first + 10));
    }
    let expected: Vec<u32> = (0..30).collect();
    assert_eq!(page.eval("got"), json!(expected));
    assert_eq!(page.eval("gaps"), json!([]));
}

#[test]
fn case_c6_an_event_source_without_an_event_yet_begins_anew_and_one_with_an_id_does_not() {
    let gateway = gateway();
    let proxy = Proxy::to(gateway.address);
    let browser = Browser::start();
    let page = listen(&browser, &proxy);
    page.eval("var opened = 1; source.onopen = () => { opened += 1; }");
    let cut = |missed: &str| {
        let opened = page.eval("opened").as_u64().unwrap();
        proxy.close();
        post(gateway.address, "news", &json!(missed));
        proxy.lead_to(gateway.address);
        page.wait(&format!("opened > {opened}"));
    };
    // By the standard no id counts before its block has ended; the page loads its state at `open`.
    cut("before the first event");
    post(gateway.address, "news", &json!("first"));
    page.wait("got.length === 1");
    // From now on it has one, whether or not there is an event on each connection.
    cut("second");
    page.wait("got.length === 2");
    cut("third");
    page.wait("got.length === 3");
    let expected = json!(["first", "second", "third"]);
    assert_eq!(page.eval("got"), expected);
    assert_eq!(page.eval("gaps"), json!([]));
}

#[test]
fn an_event_source_comes_back_after_a_restart_and_is_told_of_the_gap() {
    let first = gateway();
    let proxy = Proxy::to(first.address);
    let browser = Browser::start();
    let page = listen(&browser, &proxy);
    post(first.address, "news", &json!("before"));
    page.wait("got.length === 1");
    proxy.close();
    first.stop();
    let second = gateway();
    post(second.address, "news", &json!("meanwhile"));
    proxy.lead_to(second.address);
    page.wait("gaps.length === 1 && source.readyState === EventSource.OPEN");
    assert_eq!(page.eval("gaps[0].event"), json!("news"));
    post(second.address, "news", &json!("after"));
    page.wait("got.at(-1) === 'after'");
    assert_eq!(page.eval("gaps.length"), json!(1));
}
