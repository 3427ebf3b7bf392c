//! The `fanfare` program as its operator meets it: arguments in, text and exit code out.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

#[path = "it/support/free_port.rs"]
mod free_port;
#[path = "cli/gen_cert.rs"]
mod gen_cert;
#[path = "cli/publish_tls.rs"]
mod publish_tls;
#[path = "cli/store.rs"]
mod store;
#[path = "cli/unit.rs"]
mod unit;

use free_port::free_port;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// What a run of the program left.
#[derive(Debug)]
struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

/// `fanfare` with only these variables in its environment, and no environment file but one they name.
fn command(arguments: &[&str], env: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fanfare"));
    command
        .args(arguments)
        .env_clear()
        .env("FANFARE_ENV_FILE", "")
        .envs(env.iter().copied());
    command
}

/// Runs `fanfare` with only these variables in its environment and `stdin` as its input.
fn fanfare_with(arguments: &[&str], env: &[(&str, &str)], stdin: &str) -> Ran {
    let mut child = command(arguments, env)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that fails early does not read its input.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn fanfare(arguments: &[&str]) -> Ran {
    fanfare_with(arguments, &[], "")
}

/// Ends with `code`, nothing on standard output, and `message` on standard error.
#[track_caller]
fn refused(ran: &Ran, code: i32, message: &str) {
    assert_eq!(ran.code, code, "{ran:?}");
    assert_eq!(ran.stdout, "", "{ran:?}");
    assert!(ran.stderr.contains(message), "{ran:?}");
}

#[track_caller]
fn done(ran: &Ran) {
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.stderr, "", "{ran:?}");
}

/// A file of this test run, removed when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, text: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("{}-{name}", std::process::id()));
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn the_version_is_told() {
    for arguments in [["version"], ["--version"]] {
        let ran = fanfare(&arguments);
        done(&ran);
        assert_eq!(
            ran.stdout,
            concat!("fanfare ", env!("CARGO_PKG_VERSION"), "\n")
        );
    }
}

#[test]
fn help_names_every_command_and_exit_code() {
    let ran = fanfare(&["--help"]);
    done(&ran);
    for name in [
        "serve",
        "check-config",
        "default-config",
        "gen-token",
        "gen-cert",
        "publish",
        "doctor",
        "version",
        "Exit codes",
        "78",
    ] {
        assert!(
            ran.stdout.contains(name),
            "{name} is missing in: {}",
            ran.stdout
        );
    }
    for command in [
        "serve",
        "check-config",
        "default-config",
        "gen-token",
        "gen-cert",
        "publish",
        "doctor",
    ] {
        let ran = fanfare(&[command, "--help"]);
        done(&ran);
        assert!(!ran.stdout.contains(SECRET));
    }
}

#[test]
fn wrong_arguments_end_with_2() {
    refused(&fanfare(&[]), 2, "Usage");
    refused(&fanfare(&["sevre"]), 2, "serve");
    refused(
        &fanfare(&["serve", "--mode", "production"]),
        2,
        "demo, dev, prod",
    );
    refused(&fanfare(&["serve", "--listen", "localhost"]), 2, "--listen");
    refused(&fanfare(&["serve", "--shards", "2000"]), 2, "0..=1024");
    refused(
        &fanfare(&["gen-token", "--sub", "a", "--ttl", "3600"]),
        2,
        "10s or 1h",
    );
    refused(
        &fanfare(&["publish", "--event", "a", "--url", "wss://x"]),
        2,
        "https://example.com",
    );
}

#[test]
fn the_default_configuration_checks_once_it_has_credentials() {
    let file = Scratch::new("default.toml", &fanfare(&["default-config"]).stdout);
    refused(
        &fanfare(&["check-config", "--config", file.path()]),
        78,
        "needs credentials",
    );
    let ran = fanfare_with(
        &["check-config", "--config", file.path()],
        &[("JWT_SECRET", SECRET)],
        "",
    );
    done(&ran);
    assert!(
        ran.stdout
            .ends_with("\nmode = \"prod\"\n\n[auth]\njwt_secret = \"(hidden)\"\n"),
        "{}",
        ran.stdout
    );
}

#[test]
fn the_packaged_reference_is_the_default_configuration() {
    let packaged = fs::read_to_string("packaging/fanfare-reference.toml").unwrap();
    let hint = "run: cargo run -- default-config > packaging/fanfare-reference.toml";
    assert!(fanfare(&["default-config"]).stdout == packaged, "{hint}");
}

/// As it stands, and with every line that is commented out.
#[test]
fn the_packaged_configuration_is_accepted_and_the_one_of_the_documentation() {
    let packaged = fs::read_to_string("packaging/fanfare.toml").unwrap();
    let document = fs::read_to_string("docs/configuration.md").unwrap();
    let shown = blocks(&document, "toml").pop();
    let hint = "docs/configuration.md does not end with packaging/fanfare.toml";
    assert!(
        shown.is_some_and(|shown| shown.trim_end() == packaged.trim_end()),
        "{hint}"
    );

    let (_, page) = document.rsplit_once("```\n").unwrap();
    let lines = packaged.lines().map(|line| line.trim_start_matches('#'));
    let keys = lines
        .filter(|line| !line.starts_with(' '))
        .filter_map(|line| Some(line.split_once(" = ")?.0));
    for key in keys {
        assert!(page.contains(&format!("`{key}`")), "{key} is not explained");
    }

    let secret = Scratch::new("packaged-secret", SECRET);
    let packaged = packaged.replace("/etc/fanfare/keys/jwt_secret", secret.path());
    let file = Scratch::new("packaged.toml", &packaged);
    let ran = fanfare(&["check-config", "--config", file.path()]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");

    let lines = packaged.lines().map(|line| match line.strip_prefix('#') {
        Some(key) if !key.starts_with(' ') => format!("{key}\n"),
        _ => format!("{line}\n"),
    });
    let file = Scratch::new("packaged-whole.toml", &lines.collect::<String>());
    // This reads no certificate.
    let ran = fanfare(&[
        "check-config",
        "--config",
        file.path(),
        "--explain",
        "chat.a",
    ]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    assert!(ran.stdout.contains("history_size = 1000"), "{ran:?}");
}

#[test]
fn flags_come_over_the_environment_and_that_over_the_file() {
    let file = Scratch::new(
        "layers.toml",
        "mode = \"dev\"\n[server]\nshards = 1\nbacklog = 100\n[hub]\nmax_topics = 7\n",
    );
    let env = &[
        ("FANFARE_CONFIG", file.path()),
        ("FANFARE_SERVER__SHARDS", "2"),
        ("FANFARE_SERVER__BACKLOG", "200"),
    ];
    let ran = fanfare_with(
        &[
            "check-config",
            "--mode",
            "demo",
            "--shards",
            "3",
            "--listen",
            "127.0.0.2:8100",
        ],
        env,
        "",
    );
    done(&ran);
    let expected = "\nmode = \"demo\"\n\n[server]\nlisten = [\"127.0.0.2:8100\"]\nshards = 3\nbacklog = 200\n\n[hub]\nmax_topics = 7\n";
    assert!(ran.stdout.ends_with(expected), "{}", ran.stdout);
}

#[test]
fn a_refused_configuration_ends_with_78_and_says_what_to_do() {
    let file = Scratch::new(
        "typo.toml",
        "mode = \"demo\"\n[server]\nlistn = [\"127.0.0.1:1\"]\n",
    );
    for command in ["check-config", "serve"] {
        let ran = fanfare(&[command, "--config", file.path()]);
        refused(
            &ran,
            78,
            "typo.toml:3: unknown key `server.listn`; did you mean `server.listen`?",
        );
        refused(&fanfare(&[command]), 78, "mode \"prod\" needs credentials");
        refused(
            &fanfare(&[command, "--mode", "demo", "--listen", "0.0.0.0:1"]),
            78,
            "--allow-open",
        );
        refused(
            &fanfare(&[command, "--config", "/nonexistent"]),
            78,
            "/nonexistent",
        );
        let ran = fanfare_with(
            &[command, "--mode", "demo"],
            &[("FANFARE_SERVER__SHRADS", "1")],
            "",
        );
        refused(&ran, 78, "did you mean `FANFARE_SERVER__SHARDS`?");
    }
}

#[test]
fn a_namespace_that_no_topic_can_be_in_is_refused() {
    for (section, message) in [
        (
            "topic.\"prices.*\"",
            "the name of one topic; for all that begin with it [namespace.\"prices.\"]",
        ),
        (
            "topics.prices.eu",
            "unknown section `topics.\"prices.eu\"`; did you mean `topic.\"prices.eu\"`?",
        ),
        (
            "namespace.prices",
            "`namespace` cannot be \"prices\"; accepted: a prefix that ends in a separator, as [namespace.\"prices.\"]; for \
             that one topic [topic.\"prices\"]",
        ),
        (
            "\"prices.\"",
            "unknown section `prices.`; did you mean `namespace.\"prices.\"`?",
        ),
        (
            "events.topic.\"prices/#\"",
            "unknown section `events.topic`; did you mean `namespace.\"prices.\"`?",
        ),
        (
            "hub.\"prices.\"",
            "unknown section `hub.\"prices.\"`; did you mean `namespace.\"prices.\"`?",
        ),
        (
            "namespace.\"prices.*.eu\"",
            "`namespace` cannot be \"prices.*.eu\"; accepted: the beginning of topics' names, without `*`, as [namespace.\"prices.\"]",
        ),
        ("namespace.\"prices/eu\"", "as [namespace.\"prices.eu.\"]"),
        ("namespace.\"user:a@b:\"", "as [namespace.\"user:a%40b:\"]"),
        ("namespace.\"*\"", "for all topics set [hub] and [events]"),
        (
            "namespace.a.b.c",
            "as [namespace.\"a.b.c.\"], or a topic, as [topic.\"a.b.c\"]",
        ),
        (
            "[namespace]",
            "`namespace` cannot be a list; accepted: a section, as [namespace.\"chat.\"]",
        ),
    ] {
        let text = format!("mode = \"demo\"\n[{section}]\npublish = \"service\"\n");
        let file = Scratch::new("never.toml", &text);
        for command in ["check-config", "serve"] {
            let ran = fanfare(&[command, "--config", file.path()]);
            refused(&ran, 78, "never.toml:2: ");
            refused(&ran, 78, message);
        }
    }
    let text = format!("mode = \"demo\"\n[namespace.\"{}\"]\n", "a".repeat(129));
    let file = Scratch::new("long.toml", &text);
    let ran = fanfare(&["check-config", "--config", file.path()]);
    refused(&ran, 78, "long.toml:2: ");
    refused(&ran, 78, "at most 128 bytes");
    for inbox in [
        "namespace.\"user:\"",
        "namespace.\"user:a%40b:\"",
        "topic.\"user:a%40b:events\"",
    ] {
        let text = format!("mode = \"demo\"\n[{inbox}]\nhistory_size = 1\n");
        let file = Scratch::new("inbox.toml", &text);
        done(&fanfare(&["check-config", "--config", file.path()]));
    }
}

#[test]
fn a_namespace_that_is_likely_not_meant_is_a_warning() {
    let text = "mode = \"demo\"\n[namespace.\"chat.\"]\npublish = \"service\"\n[namespace.\"chat.vip.\"]\n\
                [namespace.\"ops..\"]\npublish = \"nobody\"\n";
    let file = Scratch::new("likely.toml", text);
    let ran = fanfare(&["check-config", "--config", file.path()]);
    assert_eq!(ran.code, 0, "{ran:?}");
    for warning in [
        "[namespace.\"chat.vip.\"] leaves out `publish`, which is \"everyone\" there by [events] and not \"service\"",
        "[namespace.\"ops..\"] holds only for topics with nothing between two separators",
    ] {
        assert!(ran.stderr.contains(warning), "{ran:?}");
    }
    assert!(
        ran.stdout.contains("\n[namespace.\"chat.vip.\"]\n"),
        "{ran:?}"
    );
}

/// `check-config --explain` with a file: what it prints, and every part of it in order.
#[track_caller]
fn explains(arguments: &[&str], env: &[(&str, &str)], expected: &[&str]) {
    let mut all = vec!["check-config"];
    all.extend(arguments);
    let ran = fanfare_with(&all, env, "");
    done(&ran);
    let mut rest = ran.stdout.as_str();
    for part in expected {
        let at = rest.find(part);
        let at = at.unwrap_or_else(|| panic!("{part:?} is not in {rest}"));
        rest = &rest[at + part.len()..];
    }
}

#[test]
fn a_topic_is_explained() {
    let file = Scratch::new(
        "explain.toml",
        "mode = \"dev\"\n[hub]\nmax_lag = \"2MiB\"\n[topic.\"chat.vip\"]\n[namespace.\"chat.\"]\npublish = \"service\"\n\
         history_size = 7\n[namespace.\"ops.\"]\nsubscribe = \"nobody\"\npublish = \"authenticated\"\n",
    );
    let config = ["--config", file.path(), "--explain"];
    let ask = |topic: &'static str| [config[0], config[1], config[2], topic];
    let env = [
        ("FANFARE_EVENTS__SUBSCRIBE", "authenticated"),
        ("JWT_SECRET", SECRET),
    ];
    explains(
        &ask("chat.lobby"),
        &env,
        &[
            "# chat.lobby is in this namespace",
            "[namespace.\"chat.\"]   # ",
            "explain.toml:5\n",
            "max_lag = \"2MiB\"",
            "# hub.max_lag, ",
            "explain.toml:3\n",
            "priority = 5",
            "# default\n",
            "subscribe = \"authenticated\"",
            "# events.subscribe, FANFARE_EVENTS__SUBSCRIBE\n",
            "publish = \"service\"",
            "explain.toml:6\n",
            "history_size = 7",
            "explain.toml:7\n",
            "presence = false",
            "# hub.presence, default of mode dev\n",
            "# Who may subscribe\n#   Whoever has a valid token.\n",
            "`fanfare.subscribe`: if an entry of it covers chat.lobby",
            "# Who may publish\n#   Services: tokens whose role is \"service\".\n#   Over HTTP: services only",
            "`fanfare.deny`",
        ],
    );
    explains(
        &ask("chat.vip"),
        &env,
        &[
            "# chat.vip has a section of its own.\n[topic.\"chat.vip\"]   # ",
            "explain.toml:4\n",
            "publish = \"everyone\"",
            "being shorter: [namespace.\"chat.\"]",
        ],
    );
    explains(
        &ask("ops.a"),
        &env,
        &[
            "subscribe\n#   Nobody, whatever a token says.\n",
            "publish\n#   Whoever has a valid token.\n",
        ],
    );
    explains(
        &ask("user:a%40b:events"),
        &env,
        &[
            "in no namespace",
            "The user \"a@b\" alone",
            "publish\n#   Services: ",
        ],
    );
    explains(
        &ask("system.metrics"),
        &env,
        &["publish\n#   The gateway alone."],
    );
    // A pattern meets all that its topics may meet.
    explains(
        &ask("*"),
        &env,
        &[
            "# * has topics of 4 namespaces",
            "[topic.\"chat.vip\"]",
            "[namespace.\"chat.\"]",
            "[namespace.\"ops.\"]",
            "# Topics of * in no other namespace",
            "subscribe\n#   Nobody, whatever a token says. The strictest",
            "publish\n#   A publication has one topic",
        ],
    );
    explains(
        &ask("chat.a*"),
        &env,
        &[
            "[namespace.\"chat.\"]",
            "subscribe\n#   Whoever has a valid token. The",
        ],
    );
    explains(
        &ask("user:*"),
        &env,
        &["subscribe\n#   Nobody: no pattern matches inboxes."],
    );
    refused(
        &fanfare_with(
            &[
                "check-config",
                "--config",
                file.path(),
                "--explain",
                "a b\u{7}",
            ],
            &env,
            "",
        ),
        2,
        "\"a b\\u{7}\" is no topic and no pattern: a topic name has only letters, digits and _ . : -",
    );
    refused(
        &fanfare(&["check-config", "--explain", "a*b"]),
        2,
        "`*` stands for a whole segment",
    );
    refused(
        &fanfare(&["check-config", "--explain", ""]),
        2,
        "cannot be empty",
    );
}

#[test]
fn a_topic_is_explained_without_a_file_and_without_credentials() {
    explains(
        &["--mode", "demo", "--explain", "chat.a"],
        &[],
        &[
            "# chat.a is in no namespace",
            "history_size = 1000",
            "default of mode demo",
            "subscribe\n#   Whoever may connect: anybody",
            "publish\n#   Whoever may connect: anybody",
            "all of them are services",
        ],
    );
    let ran = fanfare(&["check-config", "--explain", "chat.a"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.stderr
            .contains("does not start: mode \"prod\" needs credentials"),
        "{ran:?}"
    );
    assert!(ran.stdout.contains("No token is valid yet"), "{ran:?}");
    assert!(
        ran.stdout
            .contains("subscribe\n#   Whoever has a valid token.\n"),
        "{ran:?}"
    );
    let wide = "subscribe\n#   Nobody without a claim: it reaches across namespaces";
    let ran = fanfare(&["check-config", "--explain", "*"]);
    assert!(ran.stdout.contains(wide), "{ran:?}");
    let ran = fanfare(&["check-config", "--explain", "chat.*"]);
    assert!(!ran.stdout.contains("without a claim"), "{ran:?}");
}

#[test]
fn a_warning_does_not_refuse() {
    let ran = fanfare(&[
        "check-config",
        "--mode",
        "demo",
        "--listen",
        "0.0.0.0:1",
        "--allow-open",
    ]);
    assert_eq!(ran.code, 0);
    assert!(
        ran.stderr
            .contains("warning: 0.0.0.0:1 is open to clients without credentials"),
        "{ran:?}"
    );
}

#[test]
fn a_token_is_made_from_the_configured_secret() {
    let file = Scratch::new("secret", &format!("{SECRET}\n"));
    let from_env = fanfare_with(
        &["gen-token", "--sub", "alice", "--ttl", "1m"],
        &[("JWT_SECRET", SECRET)],
        "",
    );
    let from_file = fanfare(&[
        "gen-token",
        "--sub",
        "alice",
        "--role",
        "admin",
        "--secret-file",
        file.path(),
    ]);
    for ran in [from_env, from_file] {
        done(&ran);
        assert_eq!(ran.stdout.trim_end().split('.').count(), 3, "{ran:?}");
        assert!(ran.stdout.starts_with("eyJ"), "{ran:?}");
    }
}

#[test]
fn without_a_good_secret_there_is_no_token() {
    let short = Scratch::new("short-secret", "short\n");
    refused(
        &fanfare(&["gen-token", "--sub", "a", "--secret-file", short.path()]),
        78,
        "it holds 5 bytes",
    );
    refused(
        &fanfare(&["gen-token", "--sub", "a", "--secret-file", "/nonexistent"]),
        78,
        "/nonexistent",
    );
    refused(
        &fanfare_with(
            &["gen-token", "--sub", "a"],
            &[("FANFARE_MODE", "demo")],
            "",
        ),
        78,
        "no secret is configured",
    );
    refused(
        &fanfare_with(&["gen-token", "--sub", ""], &[("JWT_SECRET", SECRET)], ""),
        2,
        "1 to 128 bytes",
    );
}

/// What a token says: its header and its claims.
fn says(ran: &Ran) -> [serde_json::Value; 2] {
    use base64::Engine;
    done(ran);
    let part = |index: usize| {
        let part = ran.stdout.split('.').nth(index).unwrap();
        let json = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part);
        serde_json::from_slice(&json.unwrap()).unwrap()
    };
    [part(0), part(1)]
}

#[test]
fn a_token_says_what_it_is_told_to() {
    let secret = Scratch::new("rights-secret", SECRET);
    let ran = fanfare(&[
        "gen-token",
        "--sub",
        "alice",
        "--secret-file",
        secret.path(),
        "--kid",
        "k1",
        "--issuer",
        "https://issuer",
        "--audience",
        "one",
        "--audience",
        "two",
        "--subscribe",
        "chat.*",
        "--subscribe",
        "news",
        "--publish",
        "chat.lobby",
        "--deny",
        "chat.secret*",
        "--command",
        "echo",
        "--wse-allow",
        "chat.*",
        "--wse-deny",
        "chat.\u{fc} *",
    ]);
    let [header, claims] = says(&ran);
    assert_eq!(
        claims["wse_topics"],
        serde_json::json!({ "allow": ["chat.*"], "deny": ["chat.\u{fc} *"] })
    );
    assert_eq!(
        header,
        serde_json::json!({ "alg": "HS256", "typ": "JWT", "kid": "k1" })
    );
    assert_eq!(claims["iss"], "https://issuer");
    assert_eq!(claims["aud"], serde_json::json!(["one", "two"]));
    assert_eq!(
        claims["fanfare"],
        serde_json::json!({
            "subscribe": ["chat.*", "news"],
            "publish": ["chat.lobby"],
            "deny": ["chat.secret*"],
            "commands": ["echo"],
        })
    );
    let wrong = [
        "gen-token",
        "--sub",
        "a",
        "--secret-file",
        secret.path(),
        "--deny",
        "a**",
    ];
    refused(&fanfare(&wrong), 2, "neither a topic nor a pattern");
    // The gateway's own expectations are met without being told.
    let text = format!(
        "[auth]\njwt_secret = \"{SECRET}\"\njwt_key_id = \"k2\"\nissuer = \"us\"\naudience = [\"here\"]"
    );
    let config = Scratch::new("gen-token.toml", &text);
    let [header, claims] = says(&fanfare(&[
        "gen-token",
        "--sub",
        "a",
        "--config",
        config.path(),
    ]));
    assert_eq!(header["kid"], "k2");
    assert_eq!(
        (&claims["iss"], &claims["aud"][0]),
        (&"us".into(), &"here".into())
    );
    assert!(claims.get("fanfare").is_none());
}

#[test]
fn a_token_is_signed_with_a_private_key() {
    use aws_lc_rs::signature::Ed25519KeyPair;
    use base64::Engine;
    let pair = Ed25519KeyPair::generate().unwrap();
    let private = pair.to_pkcs8().unwrap();
    let private = base64::engine::general_purpose::STANDARD.encode(private.as_ref());
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{private}\n-----END PRIVATE KEY-----\n");
    let file = Scratch::new("key.pem", &pem);
    let with = |algorithm: &str| {
        let arguments = [
            "gen-token",
            "--sub",
            "a",
            "--key-file",
            file.path(),
            "--algorithm",
            algorithm,
        ];
        fanfare(&arguments)
    };
    assert_eq!(says(&with("EdDSA"))[0]["alg"], "EdDSA");
    refused(&with("ES256"), 78, "no private key of ES256");
    refused(&with("HS256"), 2, "possible values");
    let alone = ["gen-token", "--sub", "a", "--key-file", file.path()];
    refused(&fanfare(&alone), 2, "--algorithm");
    // A private key is not what a gateway needs.
    let text = format!(
        "[auth]\nalgorithm = \"EdDSA\"\njwt_public_key_file = \"{}\"",
        file.path()
    );
    let config = Scratch::new("private.toml", &text);
    refused(
        &fanfare(&["check-config", "--config", config.path()]),
        78,
        "a private key",
    );
}

/// The key of a pair as a PEM text.
fn public_pem<K>(pair: &K) -> String
where
    K: aws_lc_rs::signature::KeyPair,
    K::PublicKey: aws_lc_rs::encoding::AsDer<aws_lc_rs::encoding::PublicKeyX509Der<'static>>,
{
    use aws_lc_rs::encoding::AsDer;
    use base64::Engine;
    let der = pair.public_key().as_der().unwrap();
    let text = base64::engine::general_purpose::STANDARD.encode(der.as_ref());
    format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n")
}

#[test]
fn every_kind_of_key_is_accepted_from_the_environment() {
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{Ed25519KeyPair, RsaKeyPair};
    let secret = Scratch::new("env-secret", SECRET);
    let rsa = public_pem(&RsaKeyPair::generate(KeySize::Rsa2048).unwrap());
    let rsa = Scratch::new("env-rsa.pem", &rsa);
    let ed25519 = public_pem(&Ed25519KeyPair::generate().unwrap());
    let ed25519 = Scratch::new("env-ed25519.pem", &ed25519);
    let key_file = "FANFARE_AUTH__JWT_PUBLIC_KEY_FILE";
    let secret_file = "FANFARE_AUTH__JWT_SECRET_FILE";
    let key_set = "https://login.example.com/keys";
    for (algorithm, name, value) in [
        ("HS256", secret_file, secret.path()),
        ("RS256", key_file, rsa.path()),
        ("EdDSA", key_file, ed25519.path()),
        ("RS256", "FANFARE_AUTH__JWKS_URL", key_set),
        ("ES256", "FANFARE_AUTH__JWKS_URL", key_set),
    ] {
        let env = [
            ("FANFARE_AUTH__ALGORITHM", algorithm),
            ("FANFARE_AUTH__ISSUER", "https://login.example.com"),
            ("FANFARE_AUTH__AUDIENCE", "fanfare"),
            // An empty variable is one that is not set, as a drop-in of systemd takes one back.
            if name == secret_file {
                (key_file, "")
            } else {
                (secret_file, "")
            },
            (name, value),
        ];
        let ran = fanfare_with(&["check-config"], &env, "");
        done(&ran);
        assert!(ran.stdout.contains(value), "{ran:?}");
    }
    // Whoever sees every token of the issuer should say which ones are meant.
    let env = [
        ("FANFARE_AUTH__ALGORITHM", "RS256"),
        ("FANFARE_AUTH__ISSUER", "https://login.example.com"),
        ("FANFARE_AUTH__JWKS_URL", key_set),
    ];
    let ran = fanfare_with(&["check-config"], &env, "");
    assert!(
        ran.code == 0 && ran.stderr.contains("`auth.audience` is empty"),
        "{ran:?}"
    );
    let authorities = Scratch::new("env-ca.pem", "no certificate");
    let ca = ("FANFARE_AUTH__JWKS_CA_FILE", authorities.path());
    let ran = fanfare_with(&["check-config"], &[&env[..], &[ca]].concat(), "");
    refused(&ran, 78, "cannot use `auth.jwks_ca_file`");
    // A set in a file is looked at.
    let set = Scratch::new("env-set.json", "{\"keys\":[]}");
    let set = format!("file:{}", set.path());
    let mut env = env;
    env[2].1 = &set;
    let ran = fanfare_with(&["check-config"], &env, "");
    refused(&ran, 78, "it has no key of RS256 that can be used");
}

/// The blocks of a language in a document.
fn blocks<'t>(document: &'t str, language: &str) -> Vec<&'t str> {
    let begin = format!("```{language}\n");
    let blocks = document.split(begin.as_str()).skip(1);
    blocks
        .map(|rest| rest.split("```").next().unwrap())
        .collect()
}

#[test]
fn the_examples_about_tokens_are_true() {
    let document = fs::read_to_string("docs/tokens.md").unwrap();
    let secret = Scratch::new("docs-secret", SECRET);
    let configurations = blocks(&document, "toml");
    assert_eq!(configurations.len(), 8);
    let key = r#"{"kty":"EC","crv":"P-256","x":"axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY",
                  "y":"T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU"}"#;
    let key_set = Scratch::new("docs-key-set", &format!("{{\"keys\":[{key}]}}"));
    for text in configurations {
        let text = text.replace("<the 64 digits>", &"ab".repeat(32)).replace(
            "file:/etc/fanfare/jwks.json",
            &format!("file:{}", key_set.path()),
        );
        let text: String = text
            .lines()
            .map(|line| match line.split_once(" = ") {
                // Files of the reader's; what they hold is tried elsewhere.
                Some((key, _)) if key.ends_with("secret_file") => {
                    format!("{key} = \"{}\"\n", secret.path())
                }
                Some((key, _)) if key.ends_with("public_key_file") => String::new(),
                Some((key, _)) if key.ends_with("_key_id") => String::new(),
                _ => format!("{line}\n"),
            })
            .collect();
        let file = Scratch::new("docs.toml", &format!("mode = \"demo\"\n{text}"));
        done(&fanfare(&["check-config", "--config", file.path()]));
    }
    let command = document
        .lines()
        .find(|line| line.starts_with("fanfare gen-token --sub alice --subscribe"));
    let arguments = command.unwrap().replace('\'', "");
    let arguments: Vec<&str> = arguments.split(' ').skip(1).collect();
    let claims = &says(&fanfare_with(&arguments, &[("JWT_SECRET", SECRET)], ""))[1];
    let shown = blocks(&document, "json")
        .into_iter()
        // A block may have a line for each of several messages.
        .filter_map(|text| serde_json::from_str::<serde_json::Value>(text).ok())
        .find(|value| value.get("fanfare").is_some());
    let mut shown = shown.expect("an example of the claim");
    let frames = shown["fanfare"].as_object_mut().unwrap();
    assert_eq!(frames.remove("frames_per_minute"), Some(600.into()));
    assert_eq!(claims["fanfare"], shown["fanfare"]);
}

/// The rows of a document's tables whose first cell is a name in backticks, as
/// their cells without backticks.
fn rows(document: &str) -> Vec<Vec<String>> {
    let rows = document.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells = row.trim_matches('|').split(" | ");
        cells.map(|cell| cell.trim().replace('`', "")).collect()
    })
    .collect()
}

/// The defaults of a mode by path, as `events.auth_required`, namespaces left out.
fn defaults(mode: &str) -> BTreeMap<String, String> {
    let text = fanfare(&["default-config", "--mode", mode]).stdout;
    let mut section = "";
    let mut defaults = BTreeMap::new();
    for line in text.lines() {
        if let Some(name) = line.trim_start_matches('#').strip_prefix('[') {
            section = name.trim_end_matches(']');
        } else if let Some((key, value)) = line.strip_prefix('#').and_then(|l| l.split_once(" = "))
            && !section.starts_with("namespace")
            && !key.starts_with(' ')
        {
            defaults.insert(format!("{section}.{key}"), value.to_owned());
        }
    }
    defaults
}

#[test]
fn the_examples_about_configuration_are_true() {
    let document = fs::read_to_string("docs/configuration.md").unwrap();
    let secret = Scratch::new("docs-configuration-secret", SECRET);
    let configurations = blocks(&document, "toml");
    assert_eq!(configurations.len(), 3);
    for text in configurations {
        // An excerpt has no credentials.
        let env = [("JWT_SECRET", SECRET)];
        let env = if text.contains("mode =") {
            &[][..]
        } else {
            &env
        };
        let text = text
            .replace("/etc/fanfare/keys/jwt_secret", secret.path())
            .replace("\"...\"", &format!("\"{SECRET}\""));
        let file = Scratch::new("docs-configuration.toml", &text);
        done(&fanfare_with(
            &["check-config", "--config", file.path()],
            env,
            "",
        ));
    }
}

#[test]
fn the_table_of_modes_has_all_that_differs() {
    let document = fs::read_to_string("docs/configuration.md").unwrap();
    let [demo, dev, prod] = ["demo", "dev", "prod"].map(defaults);
    let differ = demo
        .iter()
        .filter(|(key, value)| dev.get(*key) != Some(value) || prod.get(*key) != Some(value));
    let mut expected: Vec<Vec<String>> = differ
        .map(|(key, demo)| {
            vec![
                key.clone(),
                demo.clone(),
                dev[key].clone(),
                prod[key].clone(),
            ]
        })
        .collect();
    let mut shown: Vec<_> = rows(&document)
        .into_iter()
        .filter(|row| row.len() == 4)
        .collect();
    expected.sort();
    shown.sort();
    assert_eq!(shown, expected);
}

#[test]
fn the_table_of_variables_has_all_of_them() {
    let document = fs::read_to_string("docs/configuration.md").unwrap();
    let mut shown = Vec::new();
    for row in rows(&document) {
        let [variable, path, example] = row.as_slice() else {
            continue;
        };
        let key = path.split('.').next_back().unwrap();
        let example = if matches!(variable.as_str(), "JWT_SECRET" | "SSE_API_KEY") {
            SECRET
        } else {
            example
        };
        // Credentials, and something open beyond the default.
        let mut env = vec![("JWT_SECRET", SECRET), (variable, example)];
        env.dedup_by_key(|(name, _)| *name);
        let ran = fanfare_with(&["check-config"], &env, "");
        assert_eq!(ran.code, 0, "{ran:?}");
        let sets = ran
            .stdout
            .lines()
            .any(|line| line.starts_with(&format!("{key} = ")));
        assert!(sets, "{variable}: {ran:?}");
        shown.push(variable.clone());
    }
    let help = fanfare(&["serve", "--help"]).stdout;
    let (_, help) = help.split_once("Environment:\n").unwrap();
    // A line that goes on stands further in.
    let names = help
        .lines()
        .take_while(|line| !line.is_empty())
        .filter(|line| !line.starts_with("    "));
    let mut expected: Vec<&str> = names
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| !name.starts_with("FANFARE_"))
        .collect();
    expected.sort_unstable();
    shown.sort();
    assert_eq!(shown, expected);
}

/// A gateway that answers one request with `answer`; joined, it tells what it was asked.
fn gateway(answer: &'static str) -> (String, thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serving = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        let mut buffer = [0; 4096];
        while !request.ends_with(b"}") {
            let read = stream.read(&mut buffer).unwrap();
            assert_ne!(read, 0, "the request broke off");
            request.extend_from_slice(&buffer[..read]);
        }
        stream.write_all(answer.as_bytes()).unwrap();
        String::from_utf8(request).unwrap()
    });
    (url, serving)
}

#[test]
fn an_event_is_posted_byte_for_byte_and_the_answer_printed() {
    let answer = "HTTP/1.1 202 Accepted\r\ntransfer-encoding: chunked\r\n\r\n13\r\n{\"status\":\"accepted\r\n2\r\n\"}\r\n0\r\n\r\n";
    let (url, serving) = gateway(answer);
    let env = [("FANFARE_TOKEN", "the.token")];
    let ran = fanfare_with(
        &["publish", "--url", &url, "--event", "news"],
        &env,
        "{\"n\": 1.0}\n",
    );
    done(&ran);
    assert_eq!(ran.stdout, "202 {\"status\":\"accepted\"}\n");
    let request = serving.join().unwrap();
    assert!(
        request.starts_with("POST /api/v1/events HTTP/1.1\r\n"),
        "{request}"
    );
    assert!(
        request.contains("\r\nauthorization: Bearer the.token\r\n"),
        "{request}"
    );
    assert!(
        request.ends_with("\r\n\r\n{\"event\":\"news\",\"data\":{\"n\": 1.0}}"),
        "{request}"
    );
}

#[test]
fn a_refusal_of_the_gateway_is_an_exit_code() {
    let cases = [
        ("HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n", 77),
        (
            "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n",
            75,
        ),
        (
            "HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\n\r\n",
            65,
        ),
        (
            "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n",
            1,
        ),
        ("220 smtp.example.com ready\r\n", 69),
        ("", 69),
    ];
    for (answer, code) in cases {
        let (url, serving) = gateway(answer);
        let ran = fanfare(&["publish", "--url", &url, "--event", "a", "--data", "{}"]);
        assert_eq!(ran.code, code, "{ran:?}");
        serving.join().unwrap();
    }
}

#[test]
fn an_answer_cannot_drive_the_terminal() {
    let (url, serving) = gateway("HTTP/1.1 202 Accepted\r\ncontent-length: 6\r\n\r\n\x1b[2J\r\n");
    let ran = fanfare(&["publish", "--url", &url, "--event", "a", "--data", "{}"]);
    assert_eq!(ran.stdout, "202 \\u{1b}[2J\n");
    serving.join().unwrap();
}

#[test]
fn an_event_that_cannot_be_sent_has_its_exit_code() {
    refused(
        &fanfare(&["publish", "--event", "a", "--data", "{"]),
        65,
        "not JSON",
    );
    let url = format!("http://127.0.0.1:{}", free_port());
    refused(
        &fanfare(&["publish", "--url", &url, "--event", "a", "--data", "1"]),
        69,
        "cannot connect",
    );
    refused(
        &fanfare(&["publish", "--event", "a", "--data", "1", "--token", "a\nb"]),
        2,
        "visible ASCII",
    );
    // The listener's backlog accepts the connection; nobody answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let ran = fanfare(&[
        "publish",
        "--url",
        &url,
        "--event",
        "a",
        "--data",
        "1",
        "--timeout",
        "100ms",
    ]);
    refused(&ran, 69, "no answer in time");
}

/// A working directory of this test run, removed when dropped.
struct Directory(PathBuf);

impl Directory {
    /// Makes it, with `.env` in it.
    fn new(name: &str, env_file: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join(".env"), env_file).unwrap();
        Self(path)
    }

    fn command(&self, arguments: &[&str], env: &[(&str, &str)]) -> Command {
        let mut command = command(arguments, env);
        command.current_dir(&self.0);
        if !env.iter().any(|(name, _)| *name == "FANFARE_ENV_FILE") {
            command.env_remove("FANFARE_ENV_FILE");
        }
        command
    }

    /// Runs `fanfare` in it.
    fn fanfare(&self, arguments: &[&str], env: &[(&str, &str)]) -> Ran {
        let output = self.command(arguments, env).output().unwrap();
        Ran {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Runs `fanfare serve` in it until it listens; what it has logged by then.
    fn serve(&self, arguments: &[&str], env: &[(&str, &str)]) -> Vec<String> {
        let arguments = [&["serve"], arguments].concat();
        let mut child = self
            .command(&arguments, env)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let mut lines = Vec::new();
        for line in log.lines().map_while(Result::ok) {
            lines.push(line);
            if lines.last().is_some_and(|line| line.contains("listening")) {
                break;
            }
        }
        let _ = child.kill();
        child.wait().unwrap();
        lines
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What `serve` says before it listens: what is open, which limits hold, and in prod mode what was forgotten.
#[test]
fn serve_says_what_is_open_which_limits_hold_and_what_a_deployment_forgot() {
    let directory = Directory::new("summary", "");
    let secret = Scratch::new("summary-secret", SECRET);
    let good = [
        ("FANFARE_AUTH__JWT_SECRET_FILE", secret.path()),
        ("FANFARE_SERVER__FORWARDED_FROM", "127.0.0.1"),
        ("SERVER_ADDR", "127.0.0.1:0"),
    ];
    let log = directory.serve(&[], &good).join("\n");
    for line in [
        "INFO clients need credentials everywhere",
        "subscribe: authenticated; to patterns across namespaces: with a claim that covers them; publish: service",
        "of a user: no limit; of an address: no limit; messages a minute of a connection: 100;",
        "for histories: 256MiB (100 messages of a topic for 2m)",
    ] {
        assert!(log.contains(line), "{line}: {log}");
    }
    let warns = |log: &str| -> Vec<String> {
        let lines = log.lines().filter(|line| line.contains("WARN"));
        // The machine may have fewer files than connections.
        let lines = lines.filter(|line| !line.contains("limit of open files"));
        lines.map(str::to_owned).collect()
    };
    assert_eq!(warns(&log), Vec::<String>::new());

    let forgotten = [("JWT_SECRET", SECRET), ("SERVER_ADDR", "0.0.0.0:0")];
    let warnings = warns(&directory.serve(&[], &forgotten).join("\n"));
    assert_eq!(warnings.len(), 3, "{warnings:?}");
    for (warning, part) in warnings.iter().zip([
        "takes tokens in the clear from other machines",
        "/metrics and /docs are open to all",
        "auth.jwt_secret_file",
    ]) {
        assert!(warning.contains(part), "{warnings:?}");
    }
    let log = directory.serve(&["--mode", "demo", "--listen", "127.0.0.1:0"], &[]);
    let log = log.join("\n");
    assert!(
        log.contains("open to clients without credentials: events.auth_required = false"),
        "{log}"
    );
    assert_eq!(warns(&log), Vec::<String>::new());
}

/// A second gateway on a port (`server.share_port`) says that it has topics of its own; the first has nothing to say.
#[test]
fn a_gateway_that_shares_a_port_says_that_topics_are_not_shared() {
    let said = "another process is on this port";
    let (mut log, writer) = std::io::pipe().unwrap();
    let share = [("FANFARE_SERVER__SHARE_PORT", "true")];
    let first = Serving::start("", writer, &[], &share);
    let directory = Directory::new("share", "");
    let address = first.address.to_string();
    let second = directory.serve(&["--mode", "demo", "--listen", &address], &share);
    assert!(second.join("\n").contains(said), "{second:?}");
    first.stops();
    let mut of_first = String::new();
    log.read_to_string(&mut of_first).unwrap();
    assert!(!of_first.contains(said), "{of_first}");
}

const DEMO: &[&str] = &["check-config", "--mode", "demo"];

#[test]
fn an_environment_file_is_read_by_every_command_that_needs_the_configuration() {
    let env_file = format!("JWT_SECRET={SECRET}\nSERVER_ADDR=127.0.0.1:0\nPATH=/nowhere\n");
    let directory = Directory::new("dotenv", &env_file);
    let ran = directory.fanfare(&["check-config"], &[]);
    done(&ran);
    let expected = "# Valid. The mode, and what differs from its defaults:\n\
                    mode = \"prod\"\n\n[server]\nlisten = [\"127.0.0.1:0\"]\n\n[auth]\njwt_secret = \"(hidden)\"\n";
    let notes = ran.stdout.strip_suffix(expected).expect("it is valid");
    let begin = "# .env gives 2 of the settings.\n# Note: ";
    assert!(notes.starts_with(begin), "{notes}");
    assert!(
        notes.contains("# Note: the secret of tokens is given by value"),
        "{notes}"
    );
    done(&directory.fanfare(&["gen-token", "--sub", "alice"], &[]));
    let ran = directory.fanfare(&["default-config", "--from-env"], &[]);
    done(&ran);
    assert!(ran.stdout.contains("# .env:2: SERVER_ADDR\n"), "{ran:?}");
    assert!(!ran.stdout.contains(SECRET), "{ran:?}");
    let log = directory.serve(&[], &[]).join("\n");
    let said = "environment file read file=\".env\" settings=2";
    assert!(log.contains(said) && log.contains("listening"), "{log}");
    // Where none is wanted, none is read.
    refused(
        &directory.fanfare(&["check-config", "--env-file", ""], &[]),
        78,
        "needs credentials",
    );
    refused(
        &directory.fanfare(&["check-config"], &[("FANFARE_ENV_FILE", "")]),
        78,
        "needs credentials",
    );
}

#[test]
fn an_environment_file_can_be_named_and_then_has_to_be_there() {
    let directory = Directory::new("named", "PORT=8181\n");
    let other = Scratch::new("other.env", "PORT=8182\n");
    for (arguments, env, port) in [
        (&[][..], &[][..], "8181"),
        (&["--env-file", other.path()], &[], "8182"),
        (&[], &[("FANFARE_ENV_FILE", other.path())], "8182"),
        (&[], &[("PORT", "8183")], "8183"),
        (&["--listen", "127.0.0.1:8184"], &[("PORT", "8183")], "8184"),
    ] {
        let ran = directory.fanfare(&[DEMO, arguments].concat(), env);
        done(&ran);
        let listen = format!("listen = [\"127.0.0.1:{port}\"]");
        assert!(ran.stdout.contains(&listen), "{ran:?}");
    }
    for command in ["check-config", "serve", "gen-token", "default-config"] {
        let mut arguments = vec![command, "--env-file", "absent.env"];
        match command {
            "gen-token" => arguments.extend(["--sub", "a"]),
            "default-config" => arguments.push("--from-env"),
            _ => {}
        }
        refused(
            &directory.fanfare(&arguments, &[]),
            78,
            "cannot use the environment file absent.env",
        );
    }
    fs::write(directory.0.join(".env"), b"PORT=\xff").unwrap();
    refused(&directory.fanfare(DEMO, &[]), 78, "it is not UTF-8 text");
    // Python keeps whole environments in directories of that name.
    fs::remove_file(directory.0.join(".env")).unwrap();
    done(&directory.fanfare(DEMO, &[]));
    fs::create_dir(directory.0.join(".env")).unwrap();
    done(&directory.fanfare(DEMO, &[]));
}

#[test]
fn a_mistake_in_a_variable_ends_with_78_and_names_it() {
    let directory = Directory::new("mistakes", "# mine\nLOG_LEVEL=loud\n");
    for command in ["check-config", "serve"] {
        let arguments = [command, "--mode", "demo"];
        refused(
            &directory.fanfare(&arguments, &[]),
            78,
            ".env:2: LOG_LEVEL: `log.level` cannot be \"loud\"; accepted: one of TRACE, DEBUG, INFO, WARN",
        );
        refused(
            &fanfare_with(&arguments, &[("PORT", "70000")], ""),
            78,
            "PORT: `server.listen` cannot be \"70000\"; accepted: a port from 1 to 65535",
        );
        refused(
            &fanfare_with(&arguments, &[("HOST", "0.0.0.0")], ""),
            78,
            "--allow-open",
        );
        refused(
            &fanfare_with(&arguments, &[("WS_PATH", "/health/ws")], ""),
            78,
            "`bridge.ws_path` is \"/health/ws\"",
        );
    }
}

#[test]
fn log_level_log_format_and_debug_change_the_log() {
    let directory = Directory::new("log", "SERVER_ADDR=127.0.0.1:0\nFANFARE_MODE=demo\n");
    let log = directory.serve(&[], &[("LOG_FORMAT", "json")]);
    for line in &log {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
    assert!(log.join("\n").contains("\"settings\":2"), "{log:?}");
    let template = "{time:YYYY-MM-DD HH:mm:ss} | {level} | {message}";
    let log = directory.serve(&[], &[("LOG_FORMAT", template)]).join("\n");
    assert!(log.contains(" INFO ") && !log.contains(" DEBUG "), "{log}");
}

#[test]
fn the_printed_environment_is_a_configuration_file() {
    let env = [
        ("FANFARE_MODE", "dev"),
        ("HOST", "127.0.0.2"),
        ("PORT", "8000"),
        ("DEBUG", "true"),
        ("WS_PATH", "/socket"),
        ("SSE_PATH", "/push"),
        ("CORS_ORIGINS", "http://localhost:3000,*"),
        ("PUBLIC_ACCOUNTS", "helpdesk, ops,"),
        ("SSE_RESPONSE_TIMEOUT", "0.5"),
        ("JWT_SECRET", SECRET),
    ];
    let printed = fanfare_with(&["default-config", "--from-env"], &env, "");
    done(&printed);
    let file = Scratch::new("printed.toml", &printed.stdout);
    let secret = [("JWT_SECRET", SECRET)];
    let from_file = fanfare_with(&["check-config", "--config", file.path()], &secret, "");
    done(&from_file);
    let from_env = fanfare_with(&["check-config"], &env, "");
    assert_eq!(from_file.stdout, from_env.stdout);
    // What it lacks is said, and does not keep it from being printed.
    let ran = fanfare_with(&["default-config", "--from-env"], &[("PORT", "8000")], "");
    assert_eq!(ran.code, 0);
    assert!(ran.stderr.contains("needs credentials"), "{ran:?}");
    assert!(
        ran.stdout.contains("listen = [\"127.0.0.1:8000\"]"),
        "{ran:?}"
    );
    refused(
        &fanfare_with(&["default-config", "--from-env"], &[("PORT", "x")], ""),
        78,
        "PORT: `server.listen`",
    );
}

/// A host made of files, removed when dropped.
struct FakeHost(PathBuf);

impl FakeHost {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let root = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("{}-{name}", std::process::id()));
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Self(root)
    }

    fn doctor(&self, arguments: &[&str]) -> Ran {
        let root = self.0.to_str().unwrap();
        fanfare(&[&["doctor", "--root", root], arguments].concat())
    }
}

impl Drop for FakeHost {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const LIMITS: &str = "Max open files            1024                 20000                files";

#[test]
fn the_doctor_says_what_to_raise_for_so_many_connections() {
    let files = [
        ("proc/self/limits", LIMITS),
        ("proc/sys/net/core/somaxconn", "128\n"),
    ];
    let host = FakeHost::new("small-host", &files);
    let ran = host.doctor(&["--connections", "200000"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (1, ""), "{ran:?}");
    for line in [
        "server.max_connections = 200000",
        "LimitNOFILE=262144",
        "sysctl -w net.core.somaxconn=4096",
        "cat >> /etc/sysctl.d/90-fanfare.conf <<'END'\nnet.core.somaxconn = 4096\nEND",
        "tuning.md",
    ] {
        assert!(ran.stdout.contains(line), "{line} is missing in: {ran:?}");
    }
    // The configuration is that of `serve`: a backlog that fits is no finding.
    let backlog = ["--connections", "1000", "--mode", "demo"];
    let env = [("FANFARE_SERVER__BACKLOG", "128")];
    let arguments = [
        &["doctor", "--root", host.0.to_str().unwrap()],
        &backlog[..],
    ]
    .concat();
    let ran = fanfare_with(&arguments, &env, "");
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    assert!(!ran.stdout.contains("as root"), "{ran:?}");
}

#[test]
fn the_doctor_assumes_nothing_that_it_cannot_read() {
    let host = FakeHost::new("bare-host", &[("proc/unreadable", "")]);
    let ran = host.doctor(&["--json"]);
    done(&ran);
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(report["connections"], 100_000);
    let findings = report["findings"].as_array().unwrap();
    let unknown = findings
        .iter()
        .filter(|finding| finding["level"] == "unknown");
    assert!(unknown.count() > 10, "{report}");
    assert!(
        findings
            .iter()
            .all(|finding| finding["level"] == "unknown" || finding["level"] == "ok"),
        "{report}"
    );
}

#[test]
fn the_doctor_looks_at_this_machine_without_credentials() {
    let ran = fanfare(&["doctor", "--json"]);
    assert!(ran.code == 0 || ran.code == 1, "{ran:?}");
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let is_grave = report["level"] == "warn" || report["level"] == "fail";
    assert_eq!(ran.code == 1, is_grave, "{report}");
    refused(
        &fanfare(&["doctor", "--connections", "0"]),
        2,
        "0 is not in",
    );
    let wrong = [("FANFARE_SERVER__BACKLOG", "many")];
    refused(&fanfare_with(&["doctor"], &wrong, ""), 78, "server.backlog");
}

/// How long something that must happen may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// What comes within it was not held up by the gateway's handshake timeout of 10 s.
const PROMPTLY: Duration = Duration::from_secs(6);

/// `fanfare serve` with a standard error of the test's choice. It is killed when it is dropped.
struct Serving {
    address: SocketAddr,
    child: Child,
}

impl Serving {
    /// In demo mode, started by `sh` after these commands of its.
    fn start(
        first: &str,
        stderr: impl Into<Stdio>,
        arguments: &[&str],
        env: &[(&str, &str)],
    ) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let program = env!("CARGO_BIN_EXE_fanfare");
        let script = format!("{first}\nexec {program} serve --mode demo --listen {address} \"$@\"");
        let child = Command::new("sh")
            .args(["-c", &script, "sh"])
            .args(arguments)
            .env_clear()
            .env("FANFARE_ENV_FILE", "")
            .envs(env.iter().copied())
            .stderr(stderr)
            .spawn()
            .unwrap();
        let serving = Self { address, child };
        serving.answers("/health", PATIENCE);
        serving
    }

    /// The answer to a GET, if there is one within a second.
    fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(self.address).ok()?;
        let patience = Some(Duration::from_secs(1));
        stream.set_read_timeout(patience).unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.starts_with("HTTP/1.1 ").then_some(answer)
    }

    /// The answer to a GET, which comes before `limit` is over.
    #[track_caller]
    fn answers(&self, path: &str, limit: Duration) -> String {
        let start = Instant::now();
        loop {
            if let Some(answer) = self.get(path) {
                return answer;
            }
            assert!(start.elapsed() < limit, "no answer to {path}");
            pause();
        }
    }

    fn lost_lines(&self) -> u64 {
        let metrics = self.answers("/metrics?format=prometheus", PATIENCE);
        let name = "\nfanfare_log_lines_lost_total ";
        let (_, lost) = metrics.split_once(name).unwrap();
        lost.lines().next().unwrap().parse().unwrap()
    }

    /// Ends at SIGTERM, with 0.
    #[track_caller]
    fn stops(mut self) {
        let id = self.child.id().to_string();
        let killed = Command::new("kill").args(["-TERM", &id]).status();
        assert!(killed.unwrap().success());
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait().unwrap() {
                assert_eq!(status.code(), Some(0));
                return;
            }
            pause();
        }
        panic!("it does not stop");
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[expect(clippy::disallowed_methods, reason = "a test waits for a process")]
fn pause() {
    thread::sleep(Duration::from_millis(20));
}

#[test]
fn l01_the_gateway_serves_and_stops_when_the_reader_of_its_log_has_gone() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let gateway = Serving::start("", writer, &[], &[]);
    assert!(gateway.lost_lines() > 0);
    gateway.stops();
}

#[test]
fn l01_the_gateway_serves_and_stops_when_nobody_reads_its_log() {
    let (_reader, mut writer) = std::io::pipe().unwrap();
    // As much as a pipe takes.
    writer.write_all(&[b'x'; 64 * 1024]).unwrap();
    let gateway = Serving::start("", writer, &[], &[("LOG_LEVEL", "trace")]);
    gateway.stops();
}

#[test]
fn l02_the_gateway_serves_and_stops_when_its_log_cannot_grow() {
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let gateway = Serving::start("", full, &[], &[]);
    assert!(gateway.lost_lines() > 0);
    gateway.stops();
    // A file at its limit would end the process with SIGXFSZ.
    let log = Scratch::new("limited.log", "");
    let file = fs::File::options().append(true).open(log.path()).unwrap();
    // Nor could a database grow.
    let without = [("FANFARE_MESSENGER__ENABLED", "false")];
    let gateway = Serving::start("ulimit -f 0", file, &[], &without);
    assert!(gateway.lost_lines() > 0);
    gateway.stops();
    // One that is closed is none.
    Serving::start("exec 2>&-", Stdio::null(), &[], &[]).stops();
}

#[test]
fn l03_connections_are_accepted_again_when_there_are_descriptors_whatever_the_log_does() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let gateway = Serving::start("ulimit -n 60", writer, &["--shards", "2"], &[]);
    let connect = |_| TcpStream::connect(gateway.address).unwrap();
    let crowd: Vec<_> = (0..80).map(connect).collect();
    let start = Instant::now();
    // The oldest make room.
    for _ in 0..5 {
        gateway.answers("/health", PROMPTLY);
    }
    drop(crowd);
    gateway.answers("/health", PROMPTLY);
    assert!(start.elapsed() < PATIENCE);
    gateway.stops();
}

/// What an upgrade on a new connection is answered with, and the connection.
fn upgrade(address: SocketAddr) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = "GET /api/v1/ws/demo HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).expect("an answer") > 0 {
        head.push(byte[0]);
    }
    (stream, String::from_utf8(head).unwrap())
}

#[test]
fn r05_at_the_limit_of_descriptors_new_clients_are_told_so_and_health_answers() {
    let gateway = Serving::start("ulimit -n 60", Stdio::null(), &["--shards", "2"], &[]);
    let mut connections = Vec::new();
    let refused = loop {
        let (stream, head) = upgrade(gateway.address);
        if !head.starts_with("HTTP/1.1 101 ") {
            break head;
        }
        connections.push(stream);
        assert!(connections.len() < 60, "more than there are descriptors");
    };
    assert_eq!(connections.len(), 12);
    let is_refusal = |head: &str| {
        let head = head.to_ascii_lowercase();
        head.starts_with("http/1.1 503 ") && head.contains("\r\nretry-after: 1\r\n")
    };
    assert!(is_refusal(&refused), "{refused}");
    // Nor do those that say nothing take what health is asked for with.
    let _silent: Vec<_> = (0..50)
        .map(|_| TcpStream::connect(gateway.address).unwrap())
        .collect();
    for _ in 0..5 {
        gateway.answers("/health", PROMPTLY);
        let (_, head) = upgrade(gateway.address);
        assert!(is_refusal(&head), "{head}");
    }
    let metrics = gateway.answers("/metrics?format=prometheus", PATIENCE);
    let (_, refused) = metrics
        .split_once("\nfanfare_refused_total{reason=\"connections\"} ")
        .unwrap();
    // Some of the silent ones, too, if they came faster than others could make room.
    let refused: u64 = refused.lines().next().unwrap().parse().unwrap();
    assert!(refused >= 6, "{refused}");
    // Those that are connected are served, and one that leaves makes room.
    drop(connections.pop());
    let start = Instant::now();
    while !upgrade(gateway.address).1.starts_with("HTTP/1.1 101 ") {
        assert!(start.elapsed() < PATIENCE, "there is no room again");
        pause();
    }
    drop(connections);
    gateway.stops();
}

#[test]
fn r05_a_client_that_there_is_no_descriptor_for_is_told_so() {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    let gateway = Serving::start("", Stdio::null(), &["--shards", "1"], &[]);
    let id = gateway.child.id();
    let pid = Pid::from_raw(id.try_into().unwrap());
    // Lowered by somebody who the gateway has not heard of.
    let limit = |current| {
        let limit = Rlimit {
            current: Some(current),
            maximum: Some(1024),
        };
        prlimit(pid, Resource::Nofile, limit).unwrap();
    };
    limit(64);
    let silent: Vec<_> = (0..64)
        .map(|_| TcpStream::connect(gateway.address).unwrap())
        .collect();
    for _ in 0..3 {
        let answer = gateway.answers("/health", PROMPTLY);
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.contains("\r\nretry-after: 1\r\n"), "{answer}");
        assert!(answer.contains("LimitNOFILE="), "{answer}");
    }
    limit(1024);
    let start = Instant::now();
    while !gateway
        .answers("/health", PATIENCE)
        .starts_with("HTTP/1.1 200 ")
    {
        assert!(start.elapsed() < PATIENCE, "there are descriptors again");
        pause();
    }
    drop(silent);
    gateway.stops();
}

#[test]
fn l04_the_gateway_starts_in_a_pod_beside_a_service_of_its_name() {
    let env = [
        ("FANFARE_SERVICE_HOST", "10.96.14.7"),
        ("FANFARE_SERVICE_PORT", "8080"),
        ("FANFARE_PORT", "tcp://10.96.14.7:8080"),
        ("FANFARE_PORT_8080_TCP", "tcp://10.96.14.7:8080"),
        ("FANFARE_PORT_8080_TCP_PROTO", "tcp"),
        ("FANFARE_PORT_8080_TCP_PORT", "8080"),
        ("FANFARE_PORT_8080_TCP_ADDR", "10.96.14.7"),
    ];
    done(&fanfare_with(DEMO, &env, ""));
    refused(
        &fanfare_with(DEMO, &[("FANFARE_PORT", "8080")], ""),
        78,
        "unknown variable `FANFARE_PORT`",
    );
}

#[test]
fn l05_an_empty_variable_is_one_that_is_not_set() {
    let names = [
        "LOG_LEVEL",
        "PORT",
        "HOST",
        "DEBUG",
        "JWT_SECRET",
        "CORS_ORIGINS",
        "FANFARE_CONFIG",
        "FANFARE_MODE",
    ];
    let empty = names.map(|name| (name, ""));
    let ran = fanfare_with(DEMO, &empty, "");
    done(&ran);
    assert_eq!(ran.stdout, fanfare(DEMO).stdout);
    // A flag that is empty is a mistake.
    refused(
        &fanfare(&[DEMO, &["--config", ""]].concat()),
        78,
        "cannot use",
    );
    let (url, serving) = gateway("HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n");
    let arguments = ["publish", "--url", &url, "--event", "a", "--data", "{}"];
    done(&fanfare_with(&arguments, &[("FANFARE_TOKEN", "")], ""));
    assert!(!serving.join().unwrap().contains("authorization"));
}

#[test]
fn l07_in_a_directory_that_may_not_be_entered_there_is_no_environment_file() {
    let directory = Directory::new("closed", "PORT=none\n");
    let program = directory.0.with_extension("program");
    fs::copy(env!("CARGO_BIN_EXE_fanfare"), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    // Root may enter every directory, so the program is run as nobody.
    let somebody = if is_root {
        "setpriv --reuid=65534 --clear-groups"
    } else {
        ""
    };
    let run = |mode: &str| {
        let script = format!("chmod {mode} . && exec {somebody} \"$0\" check-config --mode demo");
        let mut command = Command::new("sh");
        command.args(["-c", &script]).arg(&program);
        command.env_clear().current_dir(&directory.0);
        command.output().unwrap()
    };
    let entered = run("755");
    let closed = run("600");
    let _ = fs::remove_file(&program);
    fs::set_permissions(&directory.0, fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(entered.status.code(), Some(78), "{entered:?}");
    assert_eq!(closed.status.code(), Some(0), "{closed:?}");
}

#[test]
fn l08_what_cannot_be_listened_on_is_said_as_it_is() {
    let check = |addresses: &[&str], message: &str| {
        let listen = addresses.iter().flat_map(|address| ["--listen", address]);
        let listen: Vec<_> = listen.collect();
        refused(&fanfare(&[DEMO, &listen].concat()), 78, message);
        let serve = ["serve", "--mode", "demo"];
        refused(&fanfare(&[&serve[..], &listen].concat()), 78, message);
    };
    check(
        &["127.0.0.1:9000", "127.0.0.1:9000"],
        "--listen: `server.listen` cannot be a list with \"127.0.0.1:9000\" twice, as items 1 and 2; accepted",
    );
    check(
        &["[::ffff:127.0.0.1]:9000"],
        "is an IPv4 address in IPv6's form, which cannot be listened on: write 127.0.0.1:9000",
    );
    // What another machine may have, or another user may do, is a warning of check-config.
    let foreign = ["--allow-open", "--listen", "192.0.2.1:9000"];
    let ran = fanfare(&[DEMO, &foreign].concat());
    let why = "cannot listen on 192.0.2.1:9000: Cannot assign requested address (os error 99); no network interface";
    assert!(ran.code == 0 && ran.stderr.contains(why), "{ran:?}");
    let serve = ["serve", "--mode", "demo"];
    refused(&fanfare(&[&serve[..], &foreign].concat()), 1, why);
    // A port that is in use is one of the gateway that runs.
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let in_use = other.local_addr().unwrap().to_string();
    done(&fanfare(&[DEMO, &["--listen", &in_use]].concat()));
    let ran = fanfare(&[&serve[..], &["--listen", &in_use]].concat());
    refused(&ran, 1, "another program listens there");
}

#[test]
fn a_secret_that_every_user_may_read_is_warned_of() {
    let [secret, previous] = ["open-secret", "open-previous"].map(|it| Scratch::new(it, SECRET));
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = Scratch::new("open.crt", &own.cert.pem());
    let private = Scratch::new("open.key", &own.signing_key.serialize_pem());
    let text = format!(
        "[server]\nlisten = [\"https://127.0.0.1:8443\"]\n[tls]\ncertificate_file = \"{}\"\nkey_file = \"{}\"\n\
         [auth]\njwt_secret_file = \"{}\"\nprevious_secret_file = \"{}\"",
        certificate.path(),
        private.path(),
        secret.path(),
        previous.path()
    );
    let config = Scratch::new("open.toml", &text);
    let check = || fanfare(&["check-config", "--config", config.path()]);
    done(&check());
    for (file, key) in [
        (&secret, "auth.jwt_secret_file"),
        (&previous, "auth.previous_secret_file"),
        (&private, "tls.key_file"),
    ] {
        for mode in [0o640, 0o400] {
            fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
            done(&check());
        }
        for mode in [0o644, 0o602] {
            fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
            let (ran, path) = (check(), file.path());
            let warning = format!(
                "warning: `{key}`: every user of this machine may read or change {path} (mode 0{mode:o}): \
                 `chmod 0640 {path}`"
            );
            assert!(ran.code == 0 && ran.stderr.contains(&warning), "{ran:?}");
            assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
        }
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o600)).unwrap();
    }
}

#[test]
fn l10_white_space_behind_a_secret_is_taken_off_with_a_warning() {
    let plain = Scratch::new("plain-secret", &format!("{SECRET}\n"));
    let padded = Scratch::new("padded-secret", &format!("\u{feff}{SECRET} \r\n\n"));
    let text = format!(
        "[auth]\njwt_secret_file = \"{}\"\nprevious_secret_file = \"{}\"",
        plain.path(),
        padded.path()
    );
    let config = Scratch::new("padded.toml", &text);
    let ran = fanfare(&["check-config", "--config", config.path()]);
    let warning = format!(
        "warning: the secret {} has white space around it",
        padded.path()
    );
    assert!(
        ran.code == 0 && ran.stderr.starts_with(&format!("fanfare: {warning}")),
        "{ran:?}"
    );
    assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
    let ran = fanfare_with(
        &["check-config"],
        &[("JWT_SECRET", &format!("{SECRET}\n"))],
        "",
    );
    assert!(
        ran.stderr
            .contains("the secret `auth.jwt_secret` has white space"),
        "{ran:?}"
    );
    let ran = fanfare(&["gen-token", "--sub", "a", "--secret-file", padded.path()]);
    assert!(
        ran.code == 0 && ran.stderr.contains("warning: white space"),
        "{ran:?}"
    );
}

#[test]
fn t5_the_log_says_why_tokens_are_refused_and_nothing_of_them() {
    let log = Scratch::new("refused.log", "");
    let file = fs::File::options().append(true).open(log.path()).unwrap();
    let gateway = Serving::start(
        "",
        file,
        &[],
        &[("JWT_SECRET", SECRET), ("WS_AUTH_REQUIRED", "true")],
    );
    for secret in ["hunter2", "hunter3.x.y", "hunter4"] {
        let answer = gateway.answers(&format!("/api/v1/sse?topics=a&token={secret}"), PATIENCE);
        assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    }
    gateway.stops();
    let log = fs::read_to_string(log.path()).unwrap();
    let refused = "detail=\"token is malformed\"";
    assert_eq!(log.matches(refused).count(), 3, "{log}");
    assert!(!log.contains("hunter"), "{log}");
}
