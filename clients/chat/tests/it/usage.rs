//! Arguments, keys, and exit codes.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::thread;

use tempfile::tempdir;

use crate::client::{Client, program};
use crate::server::Server;

fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = program(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

#[track_caller]
fn check(arguments: &[&str], code: i32, said: &str) {
    let (found, _, errors) = run(arguments);
    assert_eq!(found, Some(code), "{errors}");
    assert!(errors.contains(said), "{errors}");
}

#[test]
fn keys_are_made_and_kept_private() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("alice.key");
    let file = path.to_str().unwrap();
    check(&["keygen", "--out", file], 0, "a private key is in");
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    check(&["keygen", "--out", file], 3, "cannot be made");
    let (code, first, _) = run(&["keygen"]);
    let (_, second, _) = run(&["keygen"]);
    assert_eq!((code, first.trim().len()), (Some(0), 88));
    assert_ne!(first, second);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    check(&["--user", "alice", "--key-file", file], 3, "chmod 600");
}

#[test]
fn what_is_wrong_is_said_with_what_to_do() {
    check(&[], 2, "--user ID, or WS_USER_ID");
    check(&["--user", "alice"], 2, "--key-file FILE");
    check(&["--server", "localhost"], 2, "it begins with https://");
    check(&["--rate", "-1"], 2, "");
    check(&["--rate", "1e7"], 2, "a second");
    check(&["--nonsense"], 2, "--nonsense");
    let (code, help, _) = run(&["--help"]);
    assert_eq!(code, Some(0));
    for part in [
        "WS_SERVER_URL",
        "WS_PRIVATE_KEY",
        "Exit codes",
        "keygen",
        "--json",
    ] {
        assert!(help.contains(part), "{part}: {help}");
    }
}

#[test]
fn the_environment_is_enough() {
    let server = Server::start();
    let (_, key, _) = run(&["keygen"]);
    let environment = |key: &str| {
        let mut command = program(&[]);
        command.env("WS_SERVER_URL", server.url());
        command
            .env("WS_USER_ID", "alice")
            .env("WS_USERNAME", "Alice");
        command
            .env("WS_PRIVATE_KEY", key)
            .env("INSECURE_TLS", "true");
        command
            .env("AUTO_MODE", "false")
            .env("DEBUG", "")
            .env("AUTO_ANNOUNCE", "0");
        // As the gateway takes them: no limit, and not set.
        command
            .env("MESSAGE_RATE_LIMIT", "0")
            .env("MESSAGE_BURST_LIMIT", "")
            .env("WS_STATE_FILE", "");
        command
    };
    let mut client = Client::of(&mut environment(key.trim()));
    client.line("registered");
    client.line("connected as alice");
    client.say("/quit");
    assert_eq!(client.end().0, Some(0));
    let (code, lines) = Client::of(&mut environment("c2VjcmV0")).end();
    assert_eq!(code, Some(3));
    let lines = lines.join("\n");
    assert!(
        lines.contains("WS_PRIVATE_KEY") && !lines.contains("c2VjcmV0"),
        "{lines}"
    );
}

#[test]
fn accounts_are_their_keys() {
    let server = Server::start();
    let folder = tempdir().unwrap();
    let key = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (one, two) = (key("one.key"), key("two.key"));
    let url = server.url();
    let register = |user: &'static str, key: &str| {
        run(&[
            "register",
            "--server",
            &url,
            "--user",
            user,
            "--key-file",
            key,
        ])
    };
    assert_eq!(register("alice", &one).0, Some(0));
    assert_eq!(
        register("alice", &one).0,
        Some(0),
        "it is the account's key"
    );
    let (code, _, errors) = register("alice", &two);
    assert_eq!(code, Some(4));
    assert!(errors.contains("has another key"), "{errors}");
    let (code, _, errors) = register("system", &two);
    assert_eq!(code, Some(4));
    assert!(errors.contains("400 Reserved user ID"), "{errors}");
    let port = TcpListener::bind("127.0.0.1:0").unwrap();
    let nowhere = format!("http://{}", port.local_addr().unwrap());
    drop(port);
    let arguments = [
        "register",
        "--server",
        &nowhere,
        "--user",
        "alice",
        "--key-file",
        &one,
    ];
    check(&arguments, 5, "cannot be reached");
}

#[test]
fn tokens_and_keys_are_in_no_output() {
    let server = Server::start();
    let folder = tempdir().unwrap();
    let mut client = Client::connected(&server.url(), "alice", folder.path(), &["--debug"]);
    client.say("@alice hi");
    client.line("alice -> alice");
    client.say("/quit");
    let (code, lines) = client.end();
    assert_eq!(code, Some(0));
    let key = fs::read_to_string(folder.path().join("alice.key")).unwrap();
    assert!(
        lines
            .iter()
            .any(|line| line.contains("debug: POST /auth/login"))
    );
    for secret in ["e30", key.trim(), &key[..40]] {
        assert!(
            !lines.iter().any(|line| line.contains(secret)),
            "{lines:#?}"
        );
    }
}

#[test]
fn a_server_with_tls_has_to_be_trusted() {
    let (server, certificate) = Server::start_tls();
    let folder = tempdir().unwrap();
    let pem = folder.path().join("server.pem");
    fs::write(&pem, certificate).unwrap();
    let url = format!("wss://localhost:{}", server.address.port());
    let client = |change: fn(&mut Command, &Path), pem: &Path| {
        let mut command = program(&["--server", &url, "--user", "alice", "--no-reconnect"]);
        command
            .arg("--key-file")
            .arg(folder.path().join("alice.key"));
        change(&mut command, pem);
        Client::of(&mut command)
    };
    let (code, lines) = client(|_, _| {}, &pem).end();
    assert_eq!(code, Some(5), "{lines:?}");
    assert!(lines.join("\n").contains("--insecure-tls"), "{lines:?}");
    for change in [
        |command: &mut Command, _: &Path| _ = command.env("INSECURE_TLS", "true"),
        |command: &mut Command, pem: &Path| _ = command.env("SSL_CERT_FILE", pem),
    ] {
        let mut client = client(change, &pem);
        client.line("connected as alice");
        client.say("@alice over TLS");
        client.line("[VERIFIED] [ENCRYPTED]: over TLS");
        client.say("/quit");
        assert_eq!(client.end().0, Some(0));
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let plain = format!("https://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let mut command = program(&["register", "--insecure-tls", "--server", &plain]);
    command
        .args(["--user", "alice", "--key-file"])
        .arg(folder.path().join("alice.key"));
    let (code, lines) = Client::of(&mut command).end();
    assert_eq!(code, Some(5));
    assert!(lines.join("\n").contains("does it speak TLS?"), "{lines:?}");
}

#[test]
fn a_refused_account_leaves_no_key_file() {
    let server = Server::start();
    let folder = tempdir().unwrap();
    let url = server.url();
    let key = |name: &str| folder.path().join(name);
    let run_as = |command: &[&str], user: &str, file: &str| {
        let path = key(file);
        let mut arguments = command.to_vec();
        arguments.extend(["--server", &url, "--user", user, "--no-reconnect"]);
        arguments.extend(["--key-file", path.to_str().unwrap()]);
        run(&arguments)
    };
    let (code, _, errors) = run_as(&["register"], "alice", "alice.key");
    assert_eq!(code, Some(0));
    assert!(errors.contains("a new private key is in"), "{errors}");
    for command in [&["register"][..], &[]] {
        for user in ["alice", "system"] {
            let (code, _, errors) = run_as(command, user, "other.key");
            assert_eq!(code, Some(4), "{errors}");
            assert!(!errors.contains("new private key"), "{errors}");
            assert!(!key("other.key").exists(), "{command:?} {user}");
        }
    }
    // A key that was there before is the user's.
    let file = key("kept.key");
    check(&["keygen", "--out", file.to_str().unwrap()], 0, "");
    assert_eq!(run_as(&["register"], "alice", "kept.key").0, Some(4));
    assert!(file.exists() && key("alice.key").exists());
}

#[test]
fn certificates_that_cannot_be_trusted_are_said() {
    let folder = tempdir().unwrap();
    let empty = folder.path().join("empty.pem");
    fs::write(&empty, "no certificate").unwrap();
    let missing = folder.path().join("missing.pem");
    for (file, said) in [
        (&empty, "there is no certificate in it"),
        (&missing, "No such file"),
    ] {
        let mut command = program(&["--server", "https://localhost:1", "--user", "alice"]);
        let key = folder.path().join("alice.key");
        command.arg("--key-file").arg(&key).arg("--no-reconnect");
        let (code, lines) = Client::of(command.env("SSL_CERT_FILE", file)).end();
        let lines = lines.join("\n");
        assert_eq!(code, Some(2), "{lines}");
        let file = file.display().to_string();
        assert!(lines.contains("SSL_CERT_FILE: "), "{lines}");
        assert!(lines.contains(&file) && lines.contains(said), "{lines}");
        assert!(!key.exists());
    }
}

#[test]
fn a_switch_that_costs_safety_is_said_and_not_set_by_mistake() {
    let (server, _) = Server::start_tls();
    let folder = tempdir().unwrap();
    let url = format!("https://localhost:{}", server.address.port());
    let start = |value: &str| {
        let mut command = program(&["--server", &url, "--user", "alice", "--no-reconnect"]);
        let key = folder.path().join("alice.key");
        command.arg("--key-file").arg(key);
        Client::of(command.env("INSECURE_TLS", value))
    };
    for value in ["maybe", "none", "disabled"] {
        let (code, lines) = start(value).end();
        assert_eq!(code, Some(2), "{lines:?}");
    }
    for value in ["off", "", "FALSE"] {
        let (code, lines) = start(value).end();
        assert_eq!(code, Some(5), "{lines:?}");
    }
    let mut client = start("Yes");
    client.line("err: !!! any certificate is accepted");
    client.line("connected as alice");
}

#[test]
fn an_address_that_cannot_be_right_is_said_in_the_words_it_was_given_with() {
    let folder = tempdir().unwrap();
    for (status, body, code, said) in [
        (
            400,
            r#"{"detail":"this port speaks TLS: use https:// or wss://"}"#,
            2,
            "speaks TLS: use https:// in",
        ),
        (
            404,
            r#"{"detail":"\"Not\u001b Found\""}"#,
            5,
            "(404 \"Not\\u{1b} Found\"): is",
        ),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        thread::spawn(move || {
            for _ in 0..2 {
                let (mut stream, _) = listener.accept().unwrap();
                let _ = stream.read(&mut [0; 4096]);
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                );
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        let key = folder.path().join("alice.key");
        let start = |command: &mut Command| {
            command.args(["--user", "alice", "--no-reconnect", "--key-file"]);
            let (found, lines) = Client::of(command.arg(&key)).end();
            assert_eq!(found, Some(code), "{lines:?}");
            lines.join("\n")
        };
        let lines = start(&mut program(&["--server", &url]));
        assert!(lines.contains(&format!("{said} --server")), "{lines}");
        let lines = start(program(&[]).env("WS_SERVER_URL", &url));
        assert!(lines.contains(&format!("{said} WS_SERVER_URL")), "{lines}");
    }
}

#[test]
fn a_command_shows_the_options_that_it_uses() {
    let help = |command: &str| run(&[command, "--help"]).1;
    let keygen = help("keygen");
    assert!(keygen.contains("--out") && keygen.contains("--json"));
    assert!(
        !keygen.contains("--server") && !keygen.contains("--rate"),
        "{keygen}"
    );
    let register = help("register");
    for used in ["--server", "--user", "--username", "--key-file", "--state"] {
        assert!(register.contains(used), "{used}: {register}");
    }
    for other in ["--encryption", "--auto-mode", "--burst", "--no-reconnect"] {
        assert!(!register.contains(other), "{other}: {register}");
    }
}
