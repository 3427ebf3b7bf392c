//! The security log.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{Account, Folder, gateway, post, post_with, verify};
use crate::support::{Process, TestGateway};

/// What comes behind the time of each line.
fn events(path: &str) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines = text.lines().map(|line| {
        let (time, event) = line.split_once("] ").unwrap();
        assert_eq!(time.len(), "[2026-11-21T07:34:31.524Z".len(), "{line}");
        event.to_owned()
    });
    lines.collect()
}

#[test]
fn m22_each_registration_and_login_is_a_line() {
    let folder = Folder::new("audit");
    let path = folder.path("security.log");
    let gateway = gateway(|settings| settings.security_log_file = Some(path.clone().into()));
    let address = gateway.address;
    let alice = Account::registered(address, "alice");
    post(address, "/auth/register", &alice.registration());
    let token = alice.token(address);
    verify(
        address,
        &alice
            .answer(&alice.challenge(address))
            .as_object_mut()
            .map(|body| {
                body["signature"] = alice.sign(b"another").into();
                json!(body)
            })
            .unwrap(),
    );
    verify(address, &json!({ "user_id": "x | Status: SUCCESS\n[2026" }));
    drop(gateway);
    let line = |name: &str, user: &str, status: &str| {
        format!("SECURITY EVENT: {name} | User: {user} | IP: 127.0.0.1 | Status: {status}")
    };
    assert_eq!(
        events(&path),
        [
            line("REGISTRATION_SUCCESS", "alice", "SUCCESS | -"),
            line(
                "REGISTRATION_FAILED",
                "alice",
                "FAILED | User already exists"
            ),
            line("LOGIN", "alice", "SUCCESS | -"),
            line("LOGIN", "alice", "FAILED | Authentication failed"),
            line(
                "LOGIN",
                r"x \u{7c} Status: SUCCESS\u{a}[2026",
                "FAILED | User not found"
            ),
        ]
    );
    let text = fs::read_to_string(&path).unwrap();
    assert!(!text.contains(&token) && !text.contains(token.rsplit('.').next().unwrap()));
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o640
    );
}

#[test]
fn a_client_behind_a_proxy_is_named_if_the_proxy_is_trusted() {
    for (trusted, expected) in [(true, "203.0.113.7"), (false, "127.0.0.1")] {
        let folder = Folder::new(&format!("audit-proxy-{trusted}"));
        let path = folder.path("security.log");
        let gateway = TestGateway::with(|config| {
            let settings: &mut fanfare::dialect::messenger::MessengerSettings =
                config.section_mut();
            settings.security_log_file = Some(path.clone().into());
            if trusted {
                config.server.forwarded_from = vec!["127.0.0.1/32".parse().unwrap()];
            }
        });
        let body = Account::new("alice").registration().to_string();
        let headers = "X-Forwarded-For: 203.0.113.7\r\n";
        post_with(gateway.address, "/auth/register", headers, body.as_bytes());
        drop(gateway);
        assert!(events(&path)[0].contains(&format!("| IP: {expected} |")));
    }
}

#[test]
fn the_log_is_opened_again_at_sighup() {
    let folder = Folder::new("audit-hup");
    let (path, moved) = (folder.path("security.log"), folder.path("security.log.1"));
    let gateway = Process::with(&[], &[("SECURITY_LOG_FILE", &path)]);
    Account::registered(gateway.address, "alice");
    let until = |is_so: &dyn Fn() -> bool| {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !is_so() {
            assert!(Instant::now() < deadline, "it does not happen");
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    until(&|| events(&path).len() == 1);
    fs::rename(&path, &moved).unwrap();
    gateway.signal("HUP");
    until(&|| fs::exists(&path).unwrap());
    Account::registered(gateway.address, "bob");
    until(&|| events(&path).len() == 1);
    assert!(events(&path)[0].contains("bob") && events(&moved).len() == 1);
}

#[test]
fn a_log_or_a_folder_that_cannot_be_opened_is_told_at_the_start() {
    let folder = Folder::new("audit-none");
    let nowhere = folder.path("none/security.log");
    for (key, value) in [("security_log_file", &nowhere), ("static_dir", &nowhere)] {
        let toml = format!("mode = \"demo\"\n[messenger]\n{key} = \"{value}\"");
        let sections = fanfare::dialect::sections(&[]);
        let mut config = fanfare::config::Config::from_toml_with(&toml, &sections).unwrap();
        config.server.listen = vec!["127.0.0.1:0".parse().unwrap()];
        config.server.shards = 1;
        let error = fanfare::server::Gateway::start(config)
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with(&format!("cannot use `messenger.{key}`: ")),
            "{error}"
        );
    }
}
