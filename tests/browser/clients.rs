//! The clients of docs/clients.md, as they stand there, in production behind nginx.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fanfare::config::Config;
use serde_json::{Value, json};

use crate::browser::{Browser, Page};
use crate::nginx::{SECRET, Site, block};
use crate::proxy::Proxy;
use crate::support::{Client, request};
use crate::{DESKTOP, PHONE};

const GUIDE: &str = include_str!("../../docs/clients.md");
/// A rate lasts a minute; much more, since machines may be busy.
const RATE_PATIENCE: Duration = Duration::from_secs(150);
const HISTORY: &str = "[namespace.\"chat.\"]\nhistory_size = 1000\n";

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("it is later than 1970").as_secs()
}

/// A token that is valid for so many seconds.
fn token(user: &str, role: &str, seconds: u64) -> String {
    let claims = json!({ "sub": user, "role": role, "exp": now() + seconds });
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap()
}

/// Publishes as a backend does.
fn publish(site: &Site, topic: &str, data: &Value) {
    post(site, "events", &json!({ "event": topic, "data": data }));
}

fn post(site: &Site, endpoint: &str, body: &Value) {
    let body = body.to_string();
    let head = format!(
        "POST /api/v1/{endpoint} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n",
        token("backend", "service", 600),
        body.len()
    );
    let response = request(site.gateway, (head + &body).as_bytes());
    assert_eq!(response.status, 202, "{response:?}");
}

/// A user's connection that passes nginx by, and has its greeting.
fn connect(site: &Site, user: &str) -> Client {
    let path = format!("/api/v1/ws?token={}", token(user, "user", 600));
    let mut client = Client::connect(site.gateway, &path);
    assert_eq!(client.json()["type"], "connection_established");
    client
}

/// A page with the clients.
fn open<'b>(browser: &'b Browser, site: &Site) -> Page<'b> {
    let page = browser.open(&site.url("empty.html"), DESKTOP);
    prepare(&page);
    page
}

/// Gives a page the clients. `ws` and `sse` have what comes to each.
fn prepare(page: &Page<'_>) {
    for heading in ["WebSocket in a browser", "EventSource", "Who is there"] {
        page.eval(block(GUIDE, heading, "js"));
    }
    page.eval(
        "var note = (more) => {
           const notes = { seen: [], gaps: [], states: [], tokens: 0, refused: 0, changes: [] };
           notes.handlers = {
             onEvent: (topic, data) => { notes.seen.push(data); },
             onGap: (topic, lost) => { notes.gaps.push([topic, lost]); },
             onPresence: (topic, change, seq) => { notes.changes.push(seq); },
             onState: (state, why) => { notes.states.push(why ? `${state}: ${why}` : state); },
             ...more,
           };
           return notes;
         };
         var getToken = (notes) => async (refused) => {
           notes.tokens += 1;
           notes.refused += Number(refused);
           const answer = await fetch('/pages/token', { cache: 'no-store' });
           if (!answer.ok) throw new Error(`no token: ${answer.status}`);
           return answer.text();
         };
         var ws = note(), sse = note(), has = (notes, text) => notes.states.some((state) => state.includes(text));
         var isOpen = (notes) => notes.states.at(-1) === 'open';",
    );
}

/// Starts both clients on the topic `chat.a`, with tokens from `/pages/token`.
fn start(page: &Page<'_>, site: &Site) {
    page.eval(&format!(
        "for (const notes of [ws, sse]) notes.handlers.getToken = getToken(notes);
         ws.client = follow('ws://{0}/api/v1/ws', ['chat.a'], ws.handlers);
         sse.client = listen('http://{0}/api/v1/sse', ['chat.a'], sse.handlers);",
        site.address
    ));
    page.wait("isOpen(ws) && isOpen(sse)");
}

/// Publishes these numbers and waits until both clients have had everything from 0 on once.
fn check(page: &Page<'_>, site: &Site, numbers: std::ops::Range<u32>) {
    for number in numbers.clone() {
        publish(site, "chat.a", &json!(number));
    }
    expect(page, numbers.end);
}

/// Waits until both clients have had everything from 0 on once.
fn expect(page: &Page<'_>, end: u32) {
    let last = end - 1;
    page.wait(&format!(
        "ws.seen.includes({last}) && sse.seen.includes({last})"
    ));
    let all: Vec<u32> = (0..end).collect();
    assert_eq!(page.eval("ws.seen"), json!(all));
    assert_eq!(page.eval("sse.seen"), json!(all));
}

#[test]
fn clients_survive_restarts_of_nginx_and_of_the_gateway() {
    let mut site = Site::start(HISTORY, |_| {});
    site.write("token", &token("ann", "user", 600));
    let browser = Browser::start();
    let page = open(&browser, &site);
    start(&page, &site);
    check(&page, &site, 0..5);

    site.stop_nginx();
    (5..10).for_each(|number| publish(&site, "chat.a", &json!(number)));
    page.wait("has(ws, 'waiting: connection lost') && has(sse, 'waiting')");
    site.start_nginx();
    check(&page, &site, 10..12);
    assert_eq!(page.eval("[ws.gaps, sse.gaps]"), json!([[], []]));

    // An EventSource gives up at the answer of the proxy.
    site.stop_gateway();
    page.wait("has(ws, 'waiting: Server shutdown') && has(sse, '(502)')");
    site.start_gateway();
    page.wait("ws.gaps.length === 1 && sse.gaps.length === 1 && isOpen(ws) && isOpen(sse)");
    check(&page, &site, 12..15);
    let gap = json!([["chat.a", null]]);
    assert_eq!(page.eval("[ws.gaps, sse.gaps]"), json!([gap, gap]));
    // And once more, now with positions of the new gateway.
    site.stop_nginx();
    (15..20).for_each(|number| publish(&site, "chat.a", &json!(number)));
    site.start_nginx();
    expect(&page, 20);
    assert_eq!(page.eval("[ws.gaps, sse.gaps]"), json!([gap, gap]));
    page.eval("ws.client.stop(), sse.client.stop()");
    assert_eq!(
        page.eval("[ws.states.at(-1), sse.states.at(-1)]"),
        json!(["ended: stopped", "ended: stopped"])
    );
}

#[test]
fn a_token_is_asked_for_anew_and_what_is_wrong_with_it_is_shown() {
    let mut site = Site::start(HISTORY, |config| config.auth.leeway = Duration::ZERO);
    let good = token("ann", "user", 600);
    let browser = Browser::start();
    let page = open(&browser, &site);
    let ends = now() + 10;
    site.write("token", &token("ann", "user", 10));
    start(&page, &site);
    check(&page, &site, 0..1);

    // It expires. A stream comes back; a WebSocket goes on with the new one, and has not been away.
    site.write("token", &good);
    page.wait("ws.tokens === 2 && sse.tokens >= 2 && isOpen(sse)");
    while now() <= ends + 1 {
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(page.eval("ws.states"), json!(["connecting", "open"]));
    check(&page, &site, 1..3);

    // It cannot be had.
    site.remove("token");
    let restart = |site: &mut Site| {
        page.eval("ws.states.length = sse.states.length = 0");
        site.stop_nginx();
        publish(site, "chat.a", &json!("missed"));
        site.start_nginx();
    };
    restart(&mut site);
    page.wait("has(ws, 'no token: 404') && has(sse, 'no token: 404')");

    // It is refused, again and again, and ever more slowly.
    site.write("token", "nonsense");
    page.eval(
        "var began = performance.now(); ws.tokens = sse.tokens = ws.refused = sse.refused = 0;",
    );
    page.wait("has(ws, 'waiting: Authentication failed') && has(sse, '(401)')");
    page.wait("ws.refused >= 2 && sse.refused >= 2");
    let most = page.eval(
        "Math.max(ws.tokens, sse.tokens) - 1 <= (performance.now() - began) / 500 || ws.tokens",
    );
    assert_eq!(most, json!(true));

    // And all is well again.
    site.write("token", &good);
    page.wait("ws.client.reconnect(), isOpen(ws) || ws.states.at(-1) !== 'connecting'");
    page.wait("isOpen(ws) && isOpen(sse)");
    publish(&site, "chat.a", &json!(3));
    page.wait("ws.seen.at(-1) === 3 && sse.seen.at(-1) === 3");
    let all = json!([0, 1, 2, "missed", 3]);
    assert_eq!(page.eval("[ws.seen, sse.seen]"), json!([all, all]));
    assert_eq!(page.eval("[ws.gaps, sse.gaps]"), json!([[], []]));
}

#[test]
fn without_a_callback_a_refused_token_is_the_end() {
    let site = Site::start(HISTORY, |_| {});
    let browser = Browser::start();
    let page = open(&browser, &site);
    page.eval(&format!(
        "follow('ws://{0}/api/v1/ws?token=nonsense', ['chat.a'], ws.handlers);
         listen('http://{0}/api/v1/sse?token=nonsense', ['chat.a'], sse.handlers);",
        site.address
    ));
    page.wait("ws.states.at(-1) === 'ended: Authentication failed'");
    page.wait("/^ended: .*[(]401[)]$/.test(sse.states.at(-1))");
    // What will never be is not tried again either.
    page.eval("sse = note()");
    site.write("token", &token("ann", "user", 600));
    page.eval(&format!(
        "sse.handlers.getToken = getToken(sse);
         listen('http://{}/api/v1/sse', ['chat.*'], sse.handlers);",
        site.address
    ));
    page.wait("/^ended: .*[(]400[)]$/.test(sse.states.at(-1))");
}

#[test]
fn a_cookie_is_enough_from_the_own_page_and_from_one_that_is_listed() {
    let pages = Site::start("", |_| {});
    let toml = format!(
        "token_in_query = false\n[http]\ncors_origins = [\"http://{0}\"]\n{HISTORY}",
        pages.address
    );
    let site = Site::start(&toml, |_| {});
    let allowed = format!("allowed_origins = [\"http://{}\"]\n", pages.address);
    let toml = toml.replace("[http]\n", &format!("[http]\n{allowed}"));
    let listed = Site::start(&toml, |_| {});
    let cookie = format!(
        "document.cookie = 'access_token={}; path=/'",
        token("ann", "user", 600)
    );
    // Cookies do not know ports, so the second page has the cookie, too.
    for (page_of, site, credentials) in [(&site, &site, "false"), (&pages, &listed, "true")] {
        let browser = Browser::start();
        let page = open(&browser, page_of);
        page.eval(&cookie);
        page.eval(&format!(
            "follow('ws://{0}/api/v1/ws', ['chat.a'], ws.handlers);
             listen('http://{0}/api/v1/sse', ['chat.a'], {{ withCredentials: {credentials}, ...sse.handlers }});",
            site.address
        ));
        page.wait("isOpen(ws) && isOpen(sse)");
        check(&page, site, 0..3);
    }
}

#[test]
fn a_subscription_over_the_rate_of_its_address_is_made_later() {
    let mut site = Site::start(HISTORY, |config| {
        config.clients.frames_per_minute_per_ip = 5;
    });
    site.write("token", &token("ann", "user", 600));
    let browser = Browser::start();
    let page = open(&browser, &site);
    start(&page, &site);
    check(&page, &site, 0..1);
    // Somebody else there uses up the rest.
    let path = format!("/api/v1/ws?token={}", token("bob", "user", 600));
    let mut other = Client::connect(site.address, &path);
    assert_eq!(other.json()["type"], "connection_established");
    let mut answer = json!({ "type": "pong" });
    while answer["type"] == "pong" {
        other.say(&json!({ "type": "ping" }));
        answer = other.json();
    }
    assert_eq!(answer["code"], "RATE_LIMIT_EXCEEDED");
    site.stop_nginx();
    site.start_nginx();
    page.wait("has(ws, 'waiting: Too many requests')");
    (1..75).for_each(|number| publish(&site, "chat.a", &json!(number)));
    page.wait_for("ws.seen.at(-1) === 74", RATE_PATIENCE);
    expect(&page, 75);
    assert_eq!(page.eval("[ws.gaps, sse.gaps]"), json!([[], []]));
}

#[test]
fn presence_moves_no_position() {
    let mut site = Site::start(
        "[namespace.\"chat.\"]\nhistory_size = 1000\npresence = true\npresence_grace = \"10ms\"\n",
        |_| {},
    );
    site.write("token", &token("ann", "user", 600));
    let browser = Browser::start();
    let page = open(&browser, &site);
    page.eval(
        "var here = [], users;
         ws = note({
           onPresence: (topic, change, seq) => users.changed(change, seq),
           onState: (state, why) => { ws.states.push(state); if (state === 'open') users.load(); },
         });
         users = roster('chat.a', (request) => ws.client.ask(request), (names) => { here = names; });",
    );
    start(&page, &site);
    let here = |names: Value| page.wait(&format!("String(here.toSorted()) === String({names})"));
    here(json!(["ann"]));
    check(&page, &site, 0..2);
    let mut others: Vec<Client> = ["bob", "eve", "joe"]
        .into_iter()
        .map(|user| {
            let mut client = connect(&site, user);
            client.subscribe(&["chat.a"]);
            client
        })
        .collect();
    here(json!(["ann", "bob", "eve", "joe"]));
    check(&page, &site, 2..4);
    others.remove(0);
    here(json!(["ann", "eve", "joe"]));
    page.wait("sse.changes.length >= 4");

    // Nobody tells her while she is away, and she comes back to the roster as it is.
    site.stop_nginx();
    others.remove(0);
    let mut bob = connect(&site, "bob");
    bob.subscribe(&["chat.a"]);
    (4..6).for_each(|number| publish(&site, "chat.a", &json!(number)));
    site.start_nginx();
    here(json!(["ann", "bob", "joe"]));
    expect(&page, 6);
    // Joins behind the newest event, and another cut: nothing is missing.
    let mut eve = connect(&site, "eve");
    eve.subscribe(&["chat.a"]);
    here(json!(["ann", "bob", "eve", "joe"]));
    site.stop_nginx();
    site.start_nginx();
    page.wait("isOpen(ws) && isOpen(sse)");
    check(&page, &site, 6..8);
    assert_eq!(page.eval("[ws.gaps, sse.gaps]"), json!([[], []]));
}

/// With a pattern more topics may be known than can be asked for.
#[test]
fn a_pattern_of_many_topics_comes_back() {
    let mut site = Site::start(HISTORY, |_| {});
    site.write("token", &token("ann", "user", 600));
    let browser = Browser::start();
    let page = open(&browser, &site);
    page.eval(&format!(
        "ws.handlers.getToken = getToken(ws);
         ws.client = follow('ws://{}/api/v1/ws', ['chat.a', 'chat.b.*'], ws.handlers);",
        site.address
    ));
    page.wait("isOpen(ws)");
    publish(&site, "chat.a", &json!("a"));
    for number in 0..60 {
        publish(&site, &format!("chat.b.{number}"), &json!(number));
    }
    page.wait("ws.seen.length === 61");
    site.stop_nginx();
    publish(&site, "chat.a", &json!("missed"));
    publish(&site, "chat.b.59", &json!("missed, too"));
    site.start_nginx();
    page.wait("ws.seen.length === 63");
    // Of the oldest nobody can say whether something is missing.
    assert_eq!(page.eval("ws.gaps"), json!([[null, null]]));
}

#[test]
fn events_with_names_of_their_own_and_the_inbox_come_back() {
    let mut site = Site::start(
        &format!("{HISTORY}[namespace.\"user:\"]\nhistory_size = 10\n"),
        |_| {},
    );
    site.write("token", &token("ann", "user", 600));
    let browser = Browser::start();
    let page = open(&browser, &site);
    page.eval("sse.handlers.types = ['order.paid']");
    start(&page, &site);
    let mut number = 0;
    let mut publish = |site: &Site| {
        let body = json!({ "topic": "chat.a", "type": "order.paid", "payload": number });
        post(site, "publish", &body);
        let body =
            json!({ "event": "hello", "data": format!("for ann {number}"), "user_id": "ann" });
        post(site, "events", &body);
        number += 1;
    };
    publish(&site);
    page.wait("ws.seen.length === 2 && sse.seen.length === 1");
    site.stop_nginx();
    publish(&site);
    site.start_nginx();
    page.wait("isOpen(ws) && isOpen(sse)");
    publish(&site);
    page.wait("ws.seen.includes(2) && ws.seen.includes('for ann 2') && sse.seen.includes(2)");
    // Topics have no order among them.
    let numbers = "(seen) => seen.filter(Number.isInteger)";
    let texts = "(seen) => seen.filter((data) => !Number.isInteger(data))";
    let ordered = json!([0, 1, 2]);
    assert_eq!(page.eval(&format!("({numbers})(ws.seen)")), ordered);
    assert_eq!(page.eval("sse.seen"), ordered);
    let for_ann = json!(["for ann 0", "for ann 1", "for ann 2"]);
    assert_eq!(page.eval(&format!("({texts})(ws.seen)")), for_ann);
    assert_eq!(page.eval("[ws.gaps, sse.gaps]"), json!([[], []]));
}

/// A network that goes away tells nobody.
#[test]
fn a_connection_that_is_silent_is_asked_and_given_up() {
    let gateway = crate::gateway();
    let proxy = Proxy::to(gateway.address);
    let browser = Browser::start();
    let url = format!("http://{}/health/live", gateway.address);
    let page = browser.open(&url, DESKTOP);
    prepare(&page);
    page.eval(&format!(
        "var every = setInterval;
         setInterval = (act, ms) => every(act, ms / 50);
         ws.client = follow('ws://{}/api/v1/ws/demo', ['news'], ws.handlers);",
        proxy.address
    ));
    page.wait("isOpen(ws)");
    let publish = |number: u32| crate::post(gateway.address, "news", &json!(number));
    publish(0);
    page.wait("ws.seen.length === 1");
    proxy.silence();
    publish(1);
    page.wait("has(ws, 'waiting: no answer') && isOpen(ws)");
    publish(2);
    page.wait("ws.seen.length === 3");
    assert_eq!(page.eval("[ws.seen, ws.gaps]"), json!([[0, 1, 2], []]));
}

/// Every row of the table of close codes is what the client does.
#[test]
fn the_client_does_what_the_table_of_close_codes_says() {
    let site = Site::start("", |_| {});
    let browser = Browser::start();
    let page = open(&browser, &site);
    page.eval(
        "var closing = (code, reason) => {
           const real = WebSocket;
           WebSocket = class { constructor() { setTimeout(() => this.onclose({ code, reason })); } };
           const notes = note({ getToken: () => 'a token' });
           const client = follow('ws://x', [], notes.handlers);
           return new Promise((resolve) => setTimeout(() => {
             client.stop();
             WebSocket = real;
             resolve(notes.states[1]);
           }, 50));
         }",
    );
    let (_, table) = GUIDE.split_once("\n## Close codes\n").expect("a section");
    let rows: Vec<Vec<&str>> = table
        .split("\n## ")
        .next()
        .unwrap()
        .lines()
        .filter(|line| line.starts_with("| 1") || line.starts_with("| 4"))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    assert!(rows.len() > 15, "{rows:?}");
    for row in rows {
        let [_, code, reason, what, _] = row[..] else {
            panic!("{row:?}")
        };
        let reason = if reason.starts_with('(') { "" } else { reason };
        let state = page.eval(&format!("closing({code}, {reason:?})"));
        let expected = if what.starts_with("no:") || what == "no" {
            "ended: "
        } else {
            "waiting: "
        };
        assert!(
            state.as_str().unwrap().starts_with(expected),
            "{row:?}: {state}"
        );
    }
}

#[test]
fn the_clients_on_the_page_are_the_files() {
    for (heading, file) in [
        (
            "WebSocket in a browser",
            include_str!("../../examples/follow.js"),
        ),
        ("EventSource", include_str!("../../examples/listen.js")),
        ("Who is there", include_str!("../../examples/roster.js")),
    ] {
        assert!(
            block(GUIDE, heading, "js") == file,
            "{heading} is not what the file has"
        );
    }
}

/// What a user of the chat has on the page: messages, and `bad` lines.
fn lines(page: &Page<'_>, bad: bool) -> Vec<String> {
    let kind = if bad { ".bad" } else { ":not(.bad):not(.wait)" };
    let lines = page.eval(&format!(
        "[...document.querySelectorAll('#lines li{kind}')].map((line) => line.textContent)"
    ));
    serde_json::from_value(lines).unwrap()
}

fn says(page: &Page<'_>, text: &str) {
    page.eval(&format!(
        "$('text').value = {text:?}; $('say').requestSubmit()"
    ));
}

fn wait_for_line(page: &Page<'_>, line: &str) {
    page.wait_for(
        &format!("[...document.querySelectorAll('#lines li:not(.wait)')].some((item) => item.textContent === {line:?})"),
        RATE_PATIENCE,
    );
}

#[test]
fn the_chat_opens_as_a_file_beside_a_demo_gateway() {
    let gateway = crate::gateway();
    let browser = Browser::start();
    let url = format!(
        "file://{}/examples/chat.html?gateway=ws://{}/api/v1/ws",
        env!("CARGO_MANIFEST_DIR"),
        gateway.address
    );
    let page = browser.open(&url, PHONE);
    page.eval("$('join').requestSubmit()");
    page.wait("$('state').textContent === 'open'");
    says(&page, "<b>hello</b>");
    page.wait("document.querySelector('#lines li:not(.wait)') !== null");
    assert!(lines(&page, false)[0].ends_with("<b>hello</b>"));
    page.screenshot("chat-phone.png");
}

/// Production, presence and history, two shards, nginx, two users: each sees every
/// message once or is told, whatever is restarted, also over the rate.
#[test]
fn two_users_chat_through_restarts_and_over_the_rate() {
    let toml = block(GUIDE, "A chat", "toml");
    let mut site = Site::start(toml, |config: &mut Config| {
        assert_eq!(config.clients.frames_per_minute, 100);
    });
    let browser = Browser::start();
    let pages = ["ann", "bob"].map(|user| {
        site.write(&format!("token-{user}"), &token(user, "user", 600));
        let url = site.url(&format!("chat.html?tokens=/pages/token-{user}"));
        let page = browser.open(&url, DESKTOP);
        page.eval("$('join').requestSubmit()");
        page.wait("$('state').textContent === 'open'");
        page
    });
    let [ann, bob] = &pages;
    let both_see = |line: &str| pages.iter().for_each(|page| wait_for_line(page, line));
    for page in &pages {
        page.wait("$('users').textContent === 'Here: ann, bob'");
    }
    let mut expected = vec!["annhello".to_owned(), "bobhi".to_owned()];
    says(ann, "hello");
    both_see("annhello");
    says(bob, "hi");
    both_see("bobhi");

    // A message's own word about who it is from does not count.
    ann.eval("client.publish('chat.lobby', { publisher: 'bob', from: 'bob', guest: 'bob', text: 'trust me' })");
    both_see("anntrust me");
    expected.push("anntrust me".to_owned());

    // What is said while there is no connection goes out with the next one.
    site.stop_nginx();
    bob.wait("$('state').className === 'waiting'");
    says(bob, "anybody here?");
    site.start_nginx();
    both_see("bobanybody here?");
    expected.push("bobanybody here?".to_owned());
    pages
        .iter()
        .for_each(|page| assert_eq!(lines(page, true), Vec::<String>::new()));

    site.stop_gateway();
    site.start_gateway();
    both_see("Some messages are missing here");
    for page in &pages {
        page.wait(
            "$('state').textContent === 'open' && $('users').textContent === 'Here: ann, bob'",
        );
    }

    // More than a minute allows.
    for number in 0..150 {
        says(ann, &number.to_string());
        expected.push(format!("ann{number}"));
    }
    wait_for_line(bob, "ann50");
    ann.wait("document.querySelectorAll('#lines .wait').length > 0");
    ann.screenshot("chat-over-the-rate.png");
    both_see("ann149");
    says(bob, "that was a lot");
    both_see("bobthat was a lot");
    expected.push("bobthat was a lot".to_owned());
    for (page, name) in pages.iter().zip(["chat-ann.png", "chat-bob.png"]) {
        page.screenshot(name);
        assert_eq!(lines(page, false), expected);
        assert_eq!(lines(page, true), ["Some messages are missing here"]);
    }
    // Who comes later sees what was said last.
    site.write("token-cat", &token("cat", "user", 600));
    let cat = browser.open(&site.url("chat.html?tokens=/pages/token-cat"), DESKTOP);
    cat.eval("$('join').requestSubmit()");
    wait_for_line(&cat, "bobthat was a lot");
    assert_eq!(lines(&cat, false), expected[expected.len() - 50..]);
    assert_eq!(
        ann.complaints()
            .into_iter()
            .filter(|text| !text.contains("WebSocket connection to"))
            .collect::<Vec<_>>(),
        Vec::<String>::new()
    );
}
