//! The configuration as a whole: refusals, precedence, rules and documents.

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// What a configuration is made from, in the tests' shorthand.
#[derive(Default)]
struct Given<'a> {
    file: &'a str,
    env: &'a [(&'a str, &'a str)],
    flags: &'a [(&'static str, &'static str, &'a str)],
    secret_file: Option<&'a [u8]>,
}

impl Given<'_> {
    fn load(&self) -> Result<Config, ConfigError> {
        let flag = |(section, key, value): &(&'static str, &'static str, &str)| Flag {
            name: "--flag",
            section: (!section.is_empty()).then_some(section),
            key,
            value: (*value).to_owned(),
        };
        let sources = Sources {
            file: Some(("fanfare.toml".to_owned(), self.file.to_owned())),
            env: self
                .env
                .iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            flags: self.flags.iter().map(flag).collect(),
        };
        let secret = self.secret_file.map(<[u8]>::to_vec);
        Config::from_sources(&sources, |_: &Path| {
            secret.ok_or_else(|| io::ErrorKind::NotFound.into())
        })
    }
}

#[track_caller]
fn accepted(given: &Given<'_>) -> Config {
    given.load().unwrap_or_else(|error| panic!("{error}"))
}

/// The demo mode with `file` appended is refused with exactly `message`.
#[track_caller]
fn refused(file: &str, message: &str) {
    check(
        &Given {
            file: &format!("mode = \"demo\"\n{file}"),
            ..Given::default()
        },
        message,
    );
}

#[track_caller]
fn check(given: &Given<'_>, message: &str) {
    let error = given.load().expect_err("refused");
    assert_eq!(error.to_string(), message);
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_known_one() {
    refused(
        "[server]\nlistn = []",
        "fanfare.toml:3: unknown key `server.listn`; did you mean `server.listen`?",
    );
    refused(
        "shards = 2",
        "fanfare.toml:2: unknown key `shards`; did you mean `server.shards`?",
    );
    refused(
        "[hub]\ndeflate = true",
        "fanfare.toml:3: unknown key `hub.deflate`; did you mean `websocket.deflate`?",
    );
    refused(
        "[hub]\nfrobnicate = 1",
        "fanfare.toml:3: unknown key `hub.frobnicate`",
    );
    refused(
        "[servre]\nshards = 2",
        "fanfare.toml:2: unknown section `servre`; did you mean `server`?",
    );
    refused(
        "[namespace.\"chat.\"]\nprioritty = 1",
        "fanfare.toml:3: unknown key `namespace.\"chat.\".prioritty`; did you mean `namespace.\"chat.\".priority`?",
    );
}

#[test]
fn a_wrong_value_is_refused_with_what_is_accepted() {
    refused(
        "[server]\nshards = -1",
        "fanfare.toml:3: `server.shards` cannot be -1; accepted: a whole number from 0 to 1024",
    );
    refused(
        "[server]\nshards = \"2\"",
        "fanfare.toml:3: `server.shards` cannot be \"2\"; accepted: a whole number from 0 to 1024",
    );
    refused(
        "[server]\npin_threads = 1",
        "fanfare.toml:3: `server.pin_threads` cannot be 1; accepted: true or false",
    );
    refused(
        "[http]\nmax_head_size = 16384",
        "fanfare.toml:3: `http.max_head_size` cannot be 16384; \
         accepted: a size with its unit (B, KiB, MiB, GiB) from \"8KiB\" to \"1MiB\"",
    );
    refused(
        "[websocket]\nping_interval = \"2 h\"",
        "fanfare.toml:3: `websocket.ping_interval` cannot be \"2 h\"; \
         accepted: a duration with its unit (us, ms, s, m, h) from \"1s\" to \"1h\"",
    );
    refused(
        "[server]\nlisten = [\"localhost:80\"]",
        "fanfare.toml:3: `server.listen` cannot be a list; accepted: a list of 1 to 64, without repetition, of: \
         an IP address with a port, as \"127.0.0.1:8080\" or \"[::1]:8080\"",
    );
    refused(
        "[hub]\nslow_consumer = \"wait\"",
        "fanfare.toml:3: `hub.slow_consumer` cannot be \"wait\"; \
         accepted: one of \"disconnect\", \"drop-oldest\", \"drop-lowest\", \"conflate\"",
    );
    refused(
        "[namespace.a]\npriority = 4",
        "fanfare.toml:3: `namespace.a.priority` cannot be 4; accepted: one of 1, 3, 5, 8, 10",
    );
    refused(
        "server = 1",
        "fanfare.toml:2: `server` cannot be 1; accepted: a section, as [server]",
    );
    refused(
        "[namespace.\"\"]\npriority = 5",
        "fanfare.toml:2: `namespace` cannot be an empty prefix; accepted: a prefix; for all topics set [hub] and [events]",
    );
    check(
        &Given {
            file: "mode = \"production\"",
            env: &[("JWT_SECRET", SECRET)],
            ..Given::default()
        },
        "fanfare.toml:1: `mode` cannot be \"production\"; accepted: one of \"demo\", \"dev\", \"prod\"",
    );
}

#[test]
fn what_is_not_toml_is_refused_with_its_line() {
    let error = Config::from_toml("mode = \"demo\"\n[server\n").unwrap_err();
    assert!(
        error.to_string().starts_with("configuration:2: "),
        "{error}"
    );
    let error = Config::from_toml("mode = \"demo\"\nmode = \"dev\"\n").unwrap_err();
    assert!(
        error.to_string().starts_with("configuration:2: "),
        "{error}"
    );
}

#[test]
fn every_mistake_is_told_at_once() {
    let file = "mode = \"demo\"\n[server]\nshards = -1\nlistn = []\n[hub]\nmax_lag = 5";
    let error = Given {
        file,
        env: &[("FANFARE_X", "1")],
        ..Given::default()
    }
    .load()
    .unwrap_err();
    assert_eq!(error.problems.len(), 4, "{error}");
}

#[test]
fn control_characters_of_a_value_are_not_repeated() {
    let error = Config::from_toml("mode = \"\\u001b[2J\\n\"").unwrap_err();
    assert!(!error.to_string().chars().any(char::is_control), "{error}");
}

#[test]
fn later_layers_come_over_earlier_ones() {
    let file =
        "mode = \"demo\"\n[server]\nshards = 1\n[log]\nlevel = \"warn\"\n[hub]\nmax_topics = 5";
    let env: &[_] = &[
        ("FANFARE_SERVER__SHARDS", "2"),
        ("FANFARE_LOG__LEVEL", "debug"),
    ];
    let config = accepted(&Given {
        file,
        env,
        flags: &[("server", "shards", "3")],
        ..Given::default()
    });
    assert_eq!(config.server.shards, 3);
    assert_eq!(config.log.level, LogLevel::Debug);
    assert_eq!(config.hub.max_topics, 5);
    assert_eq!(config.server.backlog, 4096);
}

#[test]
fn a_mode_sets_defaults_that_any_layer_may_change() {
    let config = accepted(&Given {
        file: "[events]\nauth_required = true",
        flags: &[("", "mode", "demo")],
        ..Given::default()
    });
    assert_eq!(
        (config.mode, config.events.auth_required, config.debug.echo),
        (Mode::Demo, true, true)
    );
    let env: &[_] = &[("FANFARE_MODE", "dev")];
    let config = accepted(&Given {
        file: "mode = \"demo\"",
        env,
        ..Given::default()
    });
    assert_eq!(
        (
            config.mode,
            config.events.auth_required,
            config.events.demo_enabled
        ),
        (Mode::Dev, true, true)
    );
}

#[test]
fn lists_of_the_environment_are_separated_by_commas() {
    let env: &[_] = &[
        ("FANFARE_MODE", "demo"),
        ("FANFARE_SERVER__LISTEN", "127.0.0.1:1, [::1]:2"),
    ];
    let config = accepted(&Given {
        env,
        ..Given::default()
    });
    let expected: [SocketAddr; 2] = ["127.0.0.1:1".parse().unwrap(), "[::1]:2".parse().unwrap()];
    assert_eq!(config.server.listen, expected);
}

#[test]
fn an_unknown_variable_of_ours_is_refused_and_a_foreign_one_is_not() {
    check(
        &Given {
            env: &[("FANFARE_SERVER__LISTN", ""), ("PATH", "/bin")],
            flags: &[("", "mode", "demo")],
            ..Given::default()
        },
        "environment: unknown variable `FANFARE_SERVER__LISTN`; did you mean `FANFARE_SERVER__LISTEN`?",
    );
    accepted(&Given {
        env: &[(TOKEN_VARIABLE, "x"), (CONFIG_VARIABLE, "y")],
        flags: &[("", "mode", "demo")],
        ..Given::default()
    });
}

#[test]
fn a_wrong_variable_is_named() {
    check(
        &Given {
            env: &[("FANFARE_SERVER__SHARDS", "many")],
            flags: &[("", "mode", "demo")],
            ..Given::default()
        },
        "FANFARE_SERVER__SHARDS: `server.shards` cannot be \"many\"; accepted: a whole number from 0 to 1024",
    );
}

#[cfg(unix)]
#[test]
fn a_secret_that_is_not_unicode_is_refused() {
    use std::os::unix::ffi::OsStringExt;

    let env = vec![("JWT_SECRET".into(), OsString::from_vec(vec![0xff; 40]))];
    let error = Config::from_sources(
        &Sources {
            env,
            ..Sources::default()
        },
        |_| Err(io::ErrorKind::NotFound.into()),
    );
    let message = "JWT_SECRET: `auth.jwt_secret` cannot be a value that is not Unicode; accepted: Unicode text";
    assert_eq!(error.unwrap_err().to_string(), message);
}

#[test]
fn common_variables_work_and_ours_come_over_them() {
    let env: &[_] = &[
        ("JWT_SECRET", SECRET),
        ("WS_AUTH_REQUIRED", "0"),
        ("WS_DEMO_ENABLED", "true"),
    ];
    let config = accepted(&Given {
        env,
        ..Given::default()
    });
    assert_eq!(config.auth.jwt_secret, Secret::new(SECRET.as_bytes()));
    assert_eq!(
        (config.events.auth_required, config.events.demo_enabled),
        (false, true)
    );

    let listen = |env: &[(&str, &str)]| {
        accepted(&Given {
            env,
            flags: &[("", "mode", "demo")],
            ..Given::default()
        })
        .server
        .listen[0]
            .to_string()
    };
    assert_eq!(
        listen(&[("HOST", "127.0.0.2"), ("PORT", "81")]),
        "127.0.0.2:81"
    );
    assert_eq!(
        listen(&[("HOST", "my-laptop"), ("PORT", "81")]),
        "127.0.0.1:8080"
    );
    assert_eq!(listen(&[("HOST", "127.0.0.2")]), "127.0.0.1:8080");
    assert_eq!(
        listen(&[
            ("HOST", "127.0.0.2"),
            ("PORT", "81"),
            ("SERVER_ADDR", "127.0.0.3:82")
        ]),
        "127.0.0.3:82"
    );
    assert_eq!(
        listen(&[
            ("FANFARE_SERVER__LISTEN", "127.0.0.4:83"),
            ("SERVER_ADDR", "127.0.0.3:82")
        ]),
        "127.0.0.4:83"
    );
}

#[test]
fn production_does_not_start_without_credentials() {
    for file in ["", "mode = \"prod\"", "[events]\nauth_required = false"] {
        let error = Config::from_toml(file).unwrap_err();
        assert_eq!(error.problems, [Problem::NoCredentials]);
        assert!(error.to_string().contains("jwt_secret_file"), "{error}");
    }
    let keys = format!("[auth]\napi_keys = [\"sha256:{}\"]", "ab".repeat(32));
    assert!(Config::from_toml(&keys).is_ok());
}

#[test]
fn a_short_secret_is_refused_and_never_shown() {
    check(
        &Given {
            env: &[("JWT_SECRET", "hunter2")],
            ..Given::default()
        },
        "JWT_SECRET: `auth.jwt_secret` cannot be the value given (not shown); accepted: a text of at least 32 bytes, \
         as printed by `openssl rand -hex 32`",
    );
    let error = Config::from_toml("[auth]\napi_keys = [\"hunter2\"]").unwrap_err();
    assert!(!error.to_string().contains("hunter2"), "{error}");
}

#[test]
fn a_secret_file_is_read_without_its_newline() {
    let file = "[auth]\njwt_secret_file = \"/run/secret\"";
    for end in ["", "\n", "\r\n"] {
        let bytes = format!("{SECRET}{end}");
        let config = accepted(&Given {
            file,
            secret_file: Some(bytes.as_bytes()),
            ..Given::default()
        });
        assert_eq!(config.auth.jwt_secret, Secret::new(SECRET.as_bytes()));
    }
    let short = Given {
        file,
        secret_file: Some(b"short\n"),
        ..Given::default()
    };
    check(
        &short,
        "`auth.jwt_secret_file`: cannot use /run/secret: it holds 5 bytes and a secret has at least 32 \
         (`openssl rand -hex 32`)",
    );
    check(
        &Given {
            file,
            ..Given::default()
        },
        "`auth.jwt_secret_file`: cannot use /run/secret: entity not found",
    );
    let both = Given {
        file,
        env: &[("JWT_SECRET", SECRET)],
        ..Given::default()
    };
    assert_eq!(both.load().unwrap_err().problems, [Problem::TwoSecrets]);
}

#[test]
fn what_is_open_stays_on_loopback_unless_asked_for_by_name() {
    let open = |mode: &str, listen: &str, more: &str| {
        let file = format!("mode = \"{mode}\"\n[server]\nlisten = [\"{listen}\"]\n{more}");
        Given {
            file: &file,
            env: &[("JWT_SECRET", SECRET)],
            ..Given::default()
        }
        .load()
        .err()
        .map(|error| error.problems)
    };
    let refused = |listen: &str, open: &str| {
        Some(vec![Problem::OpenBeyondLoopback {
            listen: listen.parse().unwrap(),
            open: open.to_owned(),
        }])
    };
    let demo = "events.auth_required = false, events.demo_enabled = true, debug.echo = true";
    assert_eq!(open("demo", "0.0.0.0:80", ""), refused("0.0.0.0:80", demo));
    assert_eq!(open("demo", "[::]:80", ""), refused("[::]:80", demo));
    assert_eq!(
        open("dev", "10.0.0.1:80", ""),
        refused(
            "10.0.0.1:80",
            "events.demo_enabled = true, debug.echo = true"
        )
    );
    assert_eq!(
        open("prod", "10.0.0.1:80", "[debug]\necho = true"),
        refused("10.0.0.1:80", "debug.echo = true")
    );
    assert_eq!(open("demo", "127.0.0.1:80", ""), None);
    assert_eq!(open("demo", "127.8.8.8:80", ""), None);
    assert_eq!(open("demo", "[::1]:80", ""), None);
    assert_eq!(open("demo", "[::ffff:127.0.0.1]:80", ""), None);
    assert_eq!(open("prod", "0.0.0.0:80", ""), None);
    assert_eq!(open("demo", "0.0.0.0:80", "allow_open = true"), None);
}

#[test]
fn warnings_name_what_is_likely_not_meant() {
    let warnings = |file: &str| Config::from_toml(file).unwrap().warnings();
    assert_eq!(warnings("mode = \"demo\""), [""; 0]);
    assert!(
        warnings("mode = \"dev\"")[0].starts_with("tokens are asked for and none can be valid")
    );
    let open = "mode = \"demo\"\n[server]\nallow_open = true\nlisten = [\"0.0.0.0:1\"]";
    assert!(warnings(open)[0].starts_with("0.0.0.0:1 is open to clients without credentials"));
}

#[test]
fn the_longest_prefix_decides() {
    let file = "mode = \"demo\"\n[hub]\nmax_lag_messages = 7\n[namespace.chat]\npriority = 8\n\
                [namespace.\"chat.vip\"]\nslow_consumer = \"conflate\"\nmax_lag = \"2MiB\"\nmax_message_size = \"2KiB\"";
    let config = Config::from_toml(file).unwrap();
    let room = config.namespace("chat.room");
    assert_eq!(
        (room.priority, room.slow_consumer, room.max_lag_messages),
        (Priority::High, SlowConsumer::Disconnect, 7)
    );
    let vip = config.namespace("chat.vip.1");
    assert_eq!(
        (vip.priority, vip.slow_consumer, vip.max_lag),
        (Priority::Normal, SlowConsumer::Conflate, 2 * MIB)
    );
    assert_eq!(vip.max_message_size, 2 * KIB);
    assert_eq!(
        config.namespace("cha"),
        Config::from_toml("mode = \"demo\"\n[hub]\nmax_lag_messages = 7")
            .unwrap()
            .namespace("x")
    );
}

#[test]
fn a_lag_beyond_the_log_is_refused() {
    refused(
        "[hub]\nmax_log_size = \"8MiB\"\n[namespace.\"a.\"]\nmax_lag = \"9MiB\"",
        "`hub.max_lag` (16MiB) is above `hub.max_log_size` (8MiB): a client cannot lag further than the log reaches; \
         lower the first or raise the second\n\
         `namespace.\"a.\".max_lag` (9MiB) is above `hub.max_log_size` (8MiB): a client cannot lag further than the \
         log reaches; lower the first or raise the second",
    );
}

#[test]
fn more_than_1000_namespaces_are_refused() {
    let file: String = (0..1001)
        .map(|at| format!("[namespace.n{at}]\npriority = 1\n"))
        .collect();
    refused(&file, "1001 namespaces are given; accepted: at most 1000");
}

/// The default document as it is, and with every default taken out of its comment.
fn documents(mode: Mode) -> [String; 2] {
    let text = Config::default_document(mode);
    let is_key = |line: &str| {
        line.starts_with('#')
            && !line.starts_with("# ")
            && !line.ends_with("\"...\"")
            && line.len() > 1
    };
    let uncommented = text
        .lines()
        .map(|line| if is_key(line) { &line[1..] } else { line });
    let uncommented = uncommented.collect::<Vec<_>>().join("\n");
    [text, uncommented]
}

#[test]
fn the_default_document_reads_back_to_the_defaults() {
    for mode in [Mode::Demo, Mode::Dev, Mode::Prod] {
        let defaults = Config::for_mode(mode);
        for file in documents(mode) {
            let config = accepted(&Given {
                file: &file,
                env: &[("JWT_SECRET", SECRET)],
                ..Given::default()
            });
            assert_eq!(
                config.namespace("chat.room"),
                defaults.namespace("chat.room")
            );
            let mut config = Config {
                namespaces: defaults.namespaces.clone(),
                ..config
            };
            assert!(config.auth.jwt_secret.take().is_some());
            assert_eq!(config, defaults);
        }
    }
}

#[test]
fn every_key_is_explained_and_written_in_the_default_document() {
    let text = Config::default_document(Mode::Prod);
    for (name, section) in Config::for_mode(Mode::Prod).sections() {
        assert!(text.contains(&format!("\n[{name}]\n")), "{name}");
        for key in section.keys() {
            assert!(!key.about.is_empty(), "{name}.{} has no comment", key.name);
            assert!(
                text.contains(&format!("\n#{} = ", key.name)),
                "{name}.{}",
                key.name
            );
        }
    }
    assert!(
        text.lines().all(|line| line.len() <= 110),
        "a line is too long to read"
    );
}

#[test]
fn every_key_can_be_set_by_its_variable() {
    let defaults = Config::for_mode(Mode::Demo);
    for (name, section) in defaults.sections() {
        for key in section.keys() {
            let Some(value) = section.show(key.name) else {
                continue;
            };
            let value = value.trim_matches(['[', ']']).replace('"', "");
            let variable = format!("FANFARE_{name}__{}", key.name).to_uppercase();
            let config = accepted(&Given {
                env: &[("FANFARE_MODE", "demo"), (&variable, &value)],
                ..Given::default()
            });
            assert_eq!(config, defaults, "{variable}={value}");
        }
    }
}

#[test]
fn differences_show_what_was_changed_and_no_secret() {
    let file = format!(
        "mode = \"dev\"\n[auth]\njwt_secret = \"{SECRET}\"\napi_keys = [\"sha256:{}\"]\n[hub]\nmax_lag = \"2MiB\"\n\
         [server]\nshards = 0\n[namespace.\"chat.\"]\npriority = 8",
        "ab".repeat(32)
    );
    let expected = "mode = \"dev\"\n\n[hub]\nmax_lag = \"2MiB\"\n\n[auth]\njwt_secret = \"(hidden)\"\n\
                    api_keys = [\"(hidden)\"]\n\n[namespace.\"chat.\"]\npriority = 8\n";
    let config = Config::from_toml(&file).unwrap();
    assert_eq!(config.differences(), expected);
    assert!(!format!("{config:?}").contains(SECRET));
}

#[test]
fn the_defaults_are_those_documented() {
    let config = Config::for_mode(Mode::Prod);
    assert_eq!(config.server.handshake_timeout, Duration::from_secs(10));
    assert_eq!(config.http.max_head_size, 16 * KIB);
    assert_eq!(config.websocket.max_unfinished_bytes, 256 * MIB);
    assert_eq!(config.hub.max_memory, GIB);
    assert_eq!(
        (
            config.events.auth_required,
            config.events.demo_enabled,
            config.debug.echo
        ),
        (true, false, false)
    );
}

proptest! {
    #[test]
    fn no_text_panics(text: String) {
        let _ = Config::from_toml(&text);
    }

    #[test]
    fn no_value_panics(at in 0_usize..8, key in 0_usize..12, value in "[-0-9a-zA-Z\"\\[\\]., ]{0,24}") {
        let config = Config::for_mode(Mode::Demo);
        let (name, section) = config.sections()[at];
        let key = section.keys()[key % section.keys().len()].name;
        let _ = Config::from_toml(&format!("mode = \"demo\"\n[{name}]\n{key} = {value}"));
    }
}
