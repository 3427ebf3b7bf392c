//! A headless Chromium, driven over the DevTools protocol.
//!
//! The browser talks on a pipe (`--remote-debugging-pipe`: JSON messages, each
//! ended by a zero byte) instead of a port: nothing else can connect to it, and
//! it ends with this process, whatever happens to a test.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// How long anything may take. Much, since machines may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A running Chromium. It is killed when it is dropped.
pub(crate) struct Browser {
    child: Child,
    wire: RefCell<Wire>,
    profile: PathBuf,
}

/// Both directions of the pipe, and what came that nobody has asked for yet.
struct Wire {
    to: ChildStdin,
    from: Receiver<Value>,
    last_id: u64,
    events: VecDeque<Value>,
}

impl Browser {
    /// Starts Chromium with an empty profile.
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// As [`Self::start`]; a server with this public key is trusted, whatever its certificate. `key` is the
    /// SubjectPublicKeyInfo in DER.
    pub(crate) fn trusting(key: &[u8]) -> Self {
        let hash = digest(&SHA256, key);
        let hash = STANDARD.encode(hash);
        Self::with(&[format!("--ignore-certificate-errors-spki-list={hash}")])
    }

    fn with(arguments: &[String]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let profile = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("chromium-{}-{number}", std::process::id()));
        fs::create_dir_all(&profile).unwrap();
        // Chromium reads from descriptor 3 and writes to descriptor 4.
        let mut child = Command::new("sh")
            .args([
                "-c",
                "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1",
            ])
            .arg("chromium")
            .args(ARGUMENTS)
            .args(arguments)
            .arg(format!("--user-data-dir={}", profile.display()))
            .env("HOME", &profile)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell starts");
        let (sender, from) = mpsc::channel();
        let answers = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || {
            for message in answers.split(0).map_while(Result::ok) {
                let message = serde_json::from_slice(&message).expect("DevTools speak JSON");
                if sender.send(message).is_err() {
                    break;
                }
            }
        });
        let wire = RefCell::new(Wire {
            to: child.stdin.take().unwrap(),
            from,
            last_id: 0,
            events: VecDeque::new(),
        });
        let browser = Self {
            child,
            wire,
            profile,
        };
        browser.call(None, "Browser.getVersion", &json!({}));
        browser
    }

    /// Opens `url` in a new tab of this size.
    pub(crate) fn open(&self, url: &str, (width, height): (u32, u32)) -> Page<'_> {
        let target = self.call(
            None,
            "Target.createTarget",
            &json!({ "url": "about:blank" }),
        );
        let attached = self.call(
            None,
            "Target.attachToTarget",
            &json!({ "targetId": target["targetId"], "flatten": true }),
        );
        let page = Page {
            browser: self,
            session: attached["sessionId"].as_str().unwrap().to_owned(),
            complaints: RefCell::default(),
        };
        for domain in ["Runtime", "Log", "Page", "Network"] {
            page.call(&format!("{domain}.enable"), &json!({}));
        }
        let is_phone = width < 500;
        page.call(
            "Emulation.setDeviceMetricsOverride",
            &json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": is_phone }),
        );
        page.call("Page.navigate", &json!({ "url": url }));
        page.wait("document.readyState === 'complete' && location.href !== 'about:blank'");
        page
    }

    /// Calls a method of the browser or of a tab and returns its result.
    fn call(&self, session: Option<&str>, method: &str, parameters: &Value) -> Value {
        let wire = &mut *self.wire.borrow_mut();
        wire.last_id += 1;
        let id = wire.last_id;
        let mut message = json!({ "id": id, "method": method, "params": parameters });
        if let Some(session) = session {
            message["sessionId"] = session.into();
        }
        let sent = wire.to.write_all(format!("{message}\0").as_bytes());
        assert!(sent.is_ok(), "{MISSING}");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let message = match wire.from.recv_timeout(left) {
                Ok(message) => message,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    panic!("{method}: no answer from Chromium for {PATIENCE:?}")
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => panic!("{MISSING}"),
            };
            if message["id"] == id {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].clone();
            }
            wire.events.push_back(message);
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Its other processes may still be writing for a moment.
        for _ in 0..50 {
            if fs::remove_dir_all(&self.profile).is_ok() {
                break;
            }
            thread::sleep(LOOK_EVERY);
        }
    }
}

/// One tab.
pub(crate) struct Page<'a> {
    browser: &'a Browser,
    session: String,
    /// Errors and warnings that the console showed, and uncaught exceptions.
    complaints: RefCell<Vec<String>>,
}

impl Page<'_> {
    fn call(&self, method: &str, parameters: &Value) -> Value {
        self.browser.call(Some(&self.session), method, parameters)
    }

    /// The value of a JavaScript expression; a promise is waited for.
    pub(crate) fn eval(&self, expression: &str) -> Value {
        let answer = self.call(
            "Runtime.evaluate",
            &json!({
                "expression": expression, "awaitPromise": true, "returnByValue": true,
                "userGesture": true,
            }),
        );
        let exception = &answer["exceptionDetails"];
        assert!(exception.is_null(), "{expression}: {exception:#}");
        answer["result"]["value"].clone()
    }

    /// Waits until a JavaScript expression is true.
    pub(crate) fn wait(&self, condition: &str) {
        self.wait_for(condition, PATIENCE);
    }

    /// As [`Self::wait`], for what takes its time.
    pub(crate) fn wait_for(&self, condition: &str, patience: Duration) {
        let deadline = Instant::now() + patience;
        while self.eval(condition) != json!(true) {
            if Instant::now() > deadline {
                let text = self.eval("document.body.innerText");
                let text = text.as_str().unwrap_or("");
                let complaints = self.complaints();
                panic!("not within {patience:?}: {condition}\n{text}\n{complaints:?}");
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    /// The text of the first element that a selector finds.
    pub(crate) fn text(&self, selector: &str) -> String {
        let text = self.eval(&format!("document.querySelector({selector:?}).textContent"));
        text.as_str().expect("a text").to_owned()
    }

    /// Clicks the first element that a selector finds.
    pub(crate) fn click(&self, selector: &str) {
        self.eval(&format!("document.querySelector({selector:?}).click()"));
    }

    /// Writes into an input.
    pub(crate) fn fill(&self, selector: &str, text: &str) {
        let text = json!(text);
        self.eval(&format!(
            "document.querySelector({selector:?}).value = {text}"
        ));
    }

    /// Shows the page as somebody who prefers `light` or `dark` sees it.
    pub(crate) fn prefer(&self, scheme: &str) {
        let feature = json!({ "name": "prefers-color-scheme", "value": scheme });
        self.call(
            "Emulation.setEmulatedMedia",
            &json!({ "features": [feature] }),
        );
    }

    /// Writes what is seen as a PNG to this path below `target/`.
    pub(crate) fn screenshot(&self, name: &str) {
        // What is behind another tab is not drawn.
        self.call("Page.bringToFront", &json!({}));
        let image = self.call("Page.captureScreenshot", &json!({ "format": "png" }));
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../screenshots");
        fs::create_dir_all(&directory).unwrap();
        let bytes = decode_base64(image["data"].as_str().expect("an image"));
        assert!(bytes.starts_with(b"\x89PNG"), "it is a PNG");
        fs::write(directory.join(name), bytes).unwrap();
    }

    /// What the console has complained about so far, and uncaught exceptions.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let mut complaints = self.complaints.borrow_mut();
        let events = &mut self.browser.wire.borrow_mut().events;
        while let Some(event) = events.pop_front() {
            let details = &event["params"];
            let complaint = match event["method"].as_str() {
                Some("Runtime.exceptionThrown") => details["exceptionDetails"].to_string(),
                Some("Runtime.consoleAPICalled") if details["type"] != "log" => details.to_string(),
                Some("Log.entryAdded") => details["entry"].to_string(),
                _ => continue,
            };
            complaints.push(complaint);
        }
        complaints.clone()
    }
}

fn decode_base64(text: &str) -> Vec<u8> {
    STANDARD.decode(text).expect("base64")
}

/// What a machine without Chromium is told.
const MISSING: &str = "Chromium does not run: the command `chromium` is missing or fails. \
     Run `scripts/setup test`, which installs Debian's package";

const ARGUMENTS: &[&str] = &[
    "--headless=new",
    "--remote-debugging-pipe",
    // Tests run as root in containers, where the sandbox cannot.
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-default-apps",
    "--no-first-run",
    "--no-proxy-server",
    "--hide-scrollbars",
    "--lang=en",
    "--font-render-hinting=none",
];
