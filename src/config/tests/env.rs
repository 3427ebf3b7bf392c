//! Variables that other gateways have made common, the environment file, and the TOML that both amount to.

use super::*;

/// Every alias with a value and with what it makes of its key.
const MEANINGS: &[(&str, &str, &str, &str)] = &[
    (
        "SERVER_ADDR",
        "127.0.0.3:82",
        "server.listen",
        "[\"127.0.0.3:82\"]",
    ),
    (
        "DISABLE_HTTP_REDIRECT",
        "yes",
        "server.disable_http_redirect",
        "true",
    ),
    ("TOY_RATE", "2.5", "toy.rate", "2.5"),
    (
        "ALLOWED_ORIGINS",
        "http://localhost:3000",
        "http.allowed_origins",
        "[\"http://localhost:3000\"]",
    ),
    (
        "CORS_ORIGINS",
        "http://localhost, http://localhost:3000,*",
        "http.cors_origins",
        "[\"http://localhost\", \"http://localhost:3000\", \"*\"]",
    ),
    (
        "WS_PING_INTERVAL",
        "45",
        "websocket.ping_interval",
        "\"45s\"",
    ),
    (
        "WS_PING_TIMEOUT",
        "0.5",
        "websocket.ping_timeout",
        "\"500ms\"",
    ),
    ("WS_AUTH_REQUIRED", "False", "events.auth_required", "false"),
    ("WS_AUTH_REQUIRED", "no", "toy.auth_required", "false"),
    ("WS_DEMO_ENABLED", "yes", "events.demo_enabled", "true"),
    ("WS_ENDPOINT", "/mine", "events.endpoint", "\"/mine\""),
    ("WS_MAX_CONNECTIONS", "77", "events.max_connections", "77"),
    ("TOY_PATH", "/socket", "toy.path", "\"/socket\""),
    ("TOY_TIMEOUT", "2.25", "toy.timeout", "\"2250ms\""),
    ("TOY_SIZE", "2048", "toy.size", "\"2KiB\""),
    ("TOY_KEY", "0123456789abcdef", "toy.api_key", "\"(hidden)\""),
    ("JWT_SECRET", SECRET, "auth.jwt_secret", "\"(hidden)\""),
    ("LOG_LEVEL", "warning", "log.level", "\"warn\""),
    ("LOG_FORMAT", "json", "log.format", "\"json\""),
    // Those whose meaning depends on others.
    ("HOST", "127.0.0.2", "server.listen", "[\"127.0.0.2:8080\"]"),
    ("PORT", "81", "server.listen", "[\"127.0.0.1:81\"]"),
    ("DEBUG", "true", "log.level", "\"debug\""),
];

fn show(config: &Config, path: &str) -> Option<String> {
    let (name, key) = path.split_once('.').unwrap();
    let section = config.sections().find(|section| section.name() == name);
    section.unwrap().show(key)
}

/// The configuration of prod mode with these variables, a secret among them.
#[track_caller]
fn of(env: &[(&str, &str)]) -> Config {
    let mut env = env.to_vec();
    env.push(("JWT_SECRET", SECRET));
    accepted(&Given {
        env: &env,
        ..Given::default()
    })
}

#[track_caller]
fn wrong(name: &str, value: &str, message: &str) {
    check(
        &Given {
            env: &[(name, value), ("FANFARE_MODE", "demo")],
            ..Given::default()
        },
        message,
    );
}

#[test]
fn each_common_name_sets_its_key() {
    let config = Config::with_sections(Mode::Prod, TOYS);
    let keys = config.sections().flat_map(|section| section.keys());
    for (alias, _) in keys.flat_map(|key| key.aliases) {
        let is_told = MEANINGS.iter().any(|(name, ..)| name == alias);
        assert!(is_told, "{alias}");
    }
    for (name, value, path, expected) in MEANINGS {
        let plain = show(&of(&[]), path);
        let config = of(&[(name, value)]);
        assert_eq!(show(&config, path).as_deref(), Some(*expected), "{name}");
        assert!(
            *name == "JWT_SECRET" || show(&config, path) != plain,
            "{name}"
        );
    }
    assert_eq!(of(&[]).auth.jwt_secret, Secret::new(SECRET.as_bytes()));
    let key = of(&[("TOY_KEY", "0123456789abcdef")])
        .section::<Toy>()
        .api_key;
    assert_eq!(key.unwrap().expose(), b"0123456789abcdef");
}

#[test]
fn each_common_name_means_the_same_in_an_environment_file() {
    for (name, value, ..) in MEANINGS {
        for line in [
            format!("{name}={value}"),
            format!("export {name} = '{value}' # a comment"),
            format!("OTHER\nFOO={SECRET}\n{name}=none\n{name}=\"{value}\"\n"),
        ] {
            let env_file = format!("JWT_SECRET={SECRET}\n{line}");
            let config = accepted(&Given {
                env_file: &env_file,
                ..Given::default()
            });
            assert_eq!(config, of(&[(name, value)]), "{env_file}");
        }
    }
}

#[test]
fn an_environment_file_counts_below_the_file_and_the_environment() {
    let given = Given {
        env_file: "FANFARE_MODE=demo\nWS_PING_INTERVAL=11\nWS_PING_TIMEOUT=11\nTOY_PATH=/eleven\n\
                   FANFARE_SERVER__SHARDS=11\nSHELL=/bin/x",
        file: "[websocket]\nping_timeout = \"22s\"\n[toy]\npath = \"/two\"",
        env: &[("TOY_PATH", "/three"), ("FANFARE_SERVER__BACKLOG", "33")],
        ..Given::default()
    };
    let config = accepted(&given);
    assert_eq!(config.mode, Mode::Demo);
    assert_eq!(config.websocket.ping_interval, Duration::from_secs(11));
    assert_eq!(config.websocket.ping_timeout, Duration::from_secs(22));
    assert_eq!(config.section::<Toy>().path, "/three");
    assert_eq!((config.server.shards, config.server.backlog), (11, 33));
    assert_eq!(given.sources().settings_of_env_file(), 5);
}

#[test]
fn mistakes_in_an_environment_file_are_told_with_their_lines() {
    for (env_file, message) in [
        (
            "# a comment\n\nPORT=70000",
            ".env:3: PORT: `server.listen` cannot be \"70000\"; accepted: a port from 1 to 65535",
        ),
        (
            "HOST=example.com",
            ".env:1: HOST: `server.listen` cannot be \"example.com\"; accepted: an IP address or localhost",
        ),
        (
            "FANFARE_SERVER__SHRADS=1",
            ".env:1: unknown variable `FANFARE_SERVER__SHRADS`; did you mean `FANFARE_SERVER__SHARDS`?",
        ),
        (
            "FANFARE_CONFIG=x\nFANFARE_TOKEN=x",
            ".env:1: `FANFARE_CONFIG` counts in the environment only; take it out of this file",
        ),
        (
            "TOY_PATH",
            ".env:1: TOY_PATH: `toy.path` cannot be nothing; accepted: a value, as NAME=value",
        ),
        (
            "JWT_SECRET=${SECRET}0123456789abcdef0123456789abcdef",
            ".env:1: JWT_SECRET: `auth.jwt_secret` cannot be a value with ${; accepted: the value itself, since this \
             file replaces nothing; in the environment it may have ${",
        ),
        ("PORT='81", ".env:1: a quote is not closed"),
        (
            "JWT_SECRET=hunter2",
            ".env:1: JWT_SECRET: `auth.jwt_secret` cannot be the value given (not shown); accepted: a text of at least \
             32 bytes, as printed by `openssl rand -hex 32`",
        ),
    ] {
        let given = Given {
            env_file,
            flags: &[("", "mode", "demo")],
            ..Given::default()
        };
        check(&given, message);
    }
}

#[test]
fn host_and_port_are_an_address_and_each_has_a_default() {
    for (env_file, env, expected) in [
        (
            "",
            &[("HOST", "127.0.0.2"), ("PORT", "81")][..],
            "127.0.0.2:81",
        ),
        ("", &[("HOST", "[::1]"), ("PORT", "81")], "[::1]:81"),
        ("", &[("HOST", "localhost")], "127.0.0.1:8080"),
        ("", &[("PORT", "81")], "127.0.0.1:81"),
        // What a shell says of its machine.
        ("", &[("HOST", "my-laptop")], "127.0.0.9:9"),
        ("", &[("HOST", "my-laptop"), ("PORT", "81")], "127.0.0.1:81"),
        (
            "HOST=127.0.0.2\nPORT=81",
            &[("HOST", "my-laptop")],
            "127.0.0.9:9",
        ),
        // They come over the file, which comes over an environment file, but for what completes them.
        ("HOST=127.0.0.2\nPORT=81", &[], "127.0.0.9:9"),
        ("HOST=127.0.0.2\nPORT=81", &[("PORT", "82")], "127.0.0.2:82"),
        (
            "HOST=127.0.0.2\nPORT=81",
            &[("HOST", "127.0.0.3")],
            "127.0.0.3:81",
        ),
        (
            "HOST=127.0.0.2\nPORT=81",
            &[("HOST", "my-laptop"), ("PORT", "82")],
            "127.0.0.2:82",
        ),
        // SERVER_ADDR wins, wherever it is, and so do our own names.
        (
            "",
            &[("PORT", "81"), ("SERVER_ADDR", "127.0.0.3:83")],
            "127.0.0.3:83",
        ),
        (
            "",
            &[("PORT", "none"), ("SERVER_ADDR", "127.0.0.3:83")],
            "127.0.0.3:83",
        ),
        (
            "PORT=81",
            &[("SERVER_ADDR", "127.0.0.3:83")],
            "127.0.0.3:83",
        ),
        ("SERVER_ADDR=127.0.0.3:83", &[("PORT", "81")], "127.0.0.9:9"),
        (
            "",
            &[
                ("SERVER_ADDR", "127.0.0.3:83"),
                ("FANFARE_SERVER__LISTEN", "127.0.0.4:84"),
            ],
            "127.0.0.4:84",
        ),
    ] {
        let config = accepted(&Given {
            env_file,
            file: "mode = \"demo\"\n[server]\nlisten = [\"127.0.0.9:9\"]",
            env,
            ..Given::default()
        });
        let listen: Vec<_> = config
            .server
            .listen
            .iter()
            .map(ListenAddress::to_string)
            .collect();
        assert_eq!(listen, [expected], "{env_file:?} {env:?}");
    }
    for port in ["0", "70000", "abc", "+80"] {
        let message = "`server.listen` cannot be PORT; accepted: a port from 1 to 65535";
        wrong(
            "PORT",
            port,
            &format!("PORT: {}", message.replace("PORT", &format!("{port:?}"))),
        );
    }
}

#[test]
fn l04_what_kubernetes_says_of_a_service_of_our_name_is_passed_over() {
    let links = [
        ("FANFARE_SERVICE_HOST", "10.96.14.7"),
        ("FANFARE_SERVICE_PORT", "8080"),
        ("FANFARE_SERVICE_PORT_HTTP", "8080"),
        ("FANFARE_PORT", "tcp://10.96.14.7:8080"),
        ("FANFARE_PORT_8080_TCP", "tcp://10.96.14.7:8080"),
        ("FANFARE_PORT_8080_TCP_PROTO", "tcp"),
        ("FANFARE_PORT_8080_TCP_PORT", "8080"),
        ("FANFARE_PORT_8080_TCP_ADDR", "10.96.14.7"),
        ("FANFARE_INTERNAL_SERVICE_HOST", "10.96.14.8"),
        ("FANFARE_INTERNAL_PORT", "udp://10.96.14.8:53"),
        ("FANFARE_INTERNAL_PORT_53_UDP", "udp://10.96.14.8:53"),
    ];
    let plain = of(&[]);
    assert_eq!(of(&links), plain);
    for (name, value) in [
        ("FANFARE_PORT", "9000"),
        ("FANFARE_HOST", "0.0.0.0"),
        ("FANFARE_PORT_8080", "1"),
        ("FANFARE_PORT_8080_TCP_NAME", "1"),
        ("FANFARE_SERVER__SERVICE_HOST", "1"),
    ] {
        let env = [(name, value), ("FANFARE_MODE", "demo")];
        let given = Given {
            env: &env,
            ..Given::default()
        };
        let error = given.load().unwrap_err().to_string();
        assert!(error.contains("unknown variable"), "{name}: {error}");
    }
}

#[test]
fn a_value_of_a_lenient_name_that_its_key_refuses_is_passed_over() {
    for value in ["often", "-1", "NaN", "inf", "1e9", "5,0"] {
        let config = of(&[("TOY_RATE", value)]);
        assert_eq!(config.section::<Toy>().rate, 5.0, "{value}");
        let warned = format!(
            "passed over: TOY_RATE: `toy.rate` cannot be {value:?}; accepted: a number from 0 to 1000000"
        );
        assert_eq!(config.warnings(), [warned]);
    }
    // What is below it counts.
    let given = Given {
        file: "mode = \"demo\"\n[toy]\nrate = 7",
        env: &[("TOY_RATE", "often")],
        ..Given::default()
    };
    assert_eq!(accepted(&given).section::<Toy>().rate, 7.0);
    wrong(
        "FANFARE_TOY__RATE",
        "often",
        "FANFARE_TOY__RATE: `toy.rate` cannot be \"often\"; accepted: a number from 0 to 1000000",
    );
}

#[test]
fn l05_an_empty_variable_is_one_that_is_not_set() {
    let plain = of(&[]);
    let names = MEANINGS.iter().map(|(name, ..)| *name);
    let ours = ["FANFARE_SERVER__LISTEN", "FANFARE_HTTP__CORS_ORIGINS"];
    for name in names.filter(|name| *name != "JWT_SECRET").chain(ours) {
        for empty in ["", " ", "\r\n"] {
            assert_eq!(of(&[(name, empty)]), plain, "{name}={empty:?}");
        }
        let env_file = format!("JWT_SECRET={SECRET}\n{name}=\n{name}=' '");
        let given = Given {
            env_file: &env_file,
            ..Given::default()
        };
        assert_eq!(accepted(&given), plain, "{env_file}");
    }
    // One of the environment leaves the file's, and a secret is none.
    let given = |env_file| Given {
        env_file,
        env: &[("JWT_SECRET", ""), ("PORT", "")],
        ..Given::default()
    };
    let env_file = format!("JWT_SECRET={SECRET}\nPORT=81");
    let config = accepted(&given(&env_file));
    assert_eq!(config.auth.jwt_secret, Secret::new(SECRET.as_bytes()));
    assert_eq!(config.server.listen[0].address.port(), 81);
    assert!(given("").load().unwrap_err().problems == [Problem::NoCredentials]);
}

#[test]
fn l06_white_space_around_a_value_does_not_count() {
    for (name, value, path, _) in MEANINGS {
        if *name == "JWT_SECRET" {
            continue;
        }
        let expected = show(&of(&[(name, value)]), path);
        for padded in [
            format!("{value} "),
            format!("{value}\r"),
            format!(" \t{value}\r\n"),
        ] {
            assert_eq!(show(&of(&[(name, &padded)]), path), expected, "{padded:?}");
        }
    }
    let config = of(&[
        ("FANFARE_SERVER__SHARDS", " 2\r"),
        ("FANFARE_SERVER__ALLOW_OPEN", "true "),
        ("FANFARE_LOG__LEVEL", "warn\n"),
    ]);
    assert_eq!((config.server.shards, config.server.allow_open), (2, true));
    assert_eq!(config.log.level, LogLevel::Warn);
}

#[test]
fn l10_a_secret_of_the_environment_with_white_space_is_known_as_such() {
    let config = accepted(&Given {
        env: &[("JWT_SECRET", &format!("{SECRET}\n"))],
        ..Given::default()
    });
    let secret = config.auth.jwt_secret.unwrap();
    assert_eq!(secret.expose(), SECRET.as_bytes());
    assert!(secret.is_padded());
}

#[test]
fn l06_between_commas_there_may_be_nothing() {
    let config = of(&[("CORS_ORIGINS", "https://a.example,, http://b.example ,")]);
    assert_eq!(
        show(&config, "http.cors_origins").as_deref(),
        Some("[\"https://a.example\", \"http://b.example\"]")
    );
}

#[test]
fn l08_a_list_is_refused_with_what_is_wrong_in_it() {
    let accepted = "accepted: a list of 1 to 64, without repetition, of: an IP address with a port, as \
                    \"127.0.0.1:8080\" or \"[::1]:8080\"; of TLS as \"https://127.0.0.1:8443\", \
                    a unix socket as \"unix:/run/fanfare.sock\"";
    for (value, told) in [
        (
            "[::1]:81,127.0.0.1:81, [::1]:81",
            "a list with \"[::1]:81\" twice, as items 1 and 3",
        ),
        (
            "127.0.0.1:81,localhost:81",
            "a list with \"localhost:81\" as item 2",
        ),
        ("localhost:81", "\"localhost:81\""),
        (",", "\",\""),
    ] {
        let told = format!("SERVER_ADDR: `server.listen` cannot be {told}; {accepted}");
        wrong("SERVER_ADDR", value, &told);
    }
    refused(
        "[server]\nlisten = []",
        &format!("fanfare.toml:3: `server.listen` cannot be an empty list; {accepted}"),
    );
    wrong(
        "SERVER_ADDR",
        "[::ffff:127.0.0.1]:81",
        "the listener [::ffff:127.0.0.1]:81 is an IPv4 address in IPv6's form, which cannot be listened on: write \
         127.0.0.1:81",
    );
}

#[test]
fn a_server_addr_may_be_a_port_alone() {
    let config = of(&[("SERVER_ADDR", ":82, [::1]:83")]);
    assert_eq!(
        show(&config, "server.listen").as_deref(),
        Some("[\"0.0.0.0:82\", \"[::1]:83\"]")
    );
}

#[test]
fn debug_sets_the_level_unless_log_level_does() {
    for (env_file, env, expected) in [
        ("", &[("DEBUG", "True")][..], LogLevel::Debug),
        ("DEBUG=true", &[], LogLevel::Debug),
        ("", &[("DEBUG", "false")], LogLevel::Info),
        (
            "",
            &[("DEBUG", "1"), ("LOG_LEVEL", "ERROR")],
            LogLevel::Error,
        ),
        ("LOG_LEVEL=ERROR", &[("DEBUG", "1")], LogLevel::Error),
        ("DEBUG=1", &[("LOG_LEVEL", "critical")], LogLevel::Error),
        (
            "",
            &[("DEBUG", "1"), ("FANFARE_LOG__LEVEL", "warn")],
            LogLevel::Warn,
        ),
        // L6: what is no flag is another program's.
        ("", &[("DEBUG", "app:*")], LogLevel::Info),
        ("DEBUG=release", &[("DEBUG", "*")], LogLevel::Info),
        ("DEBUG=${X}\nDEBUG", &[], LogLevel::Info),
    ] {
        let config = accepted(&Given {
            env_file,
            env,
            flags: &[("", "mode", "demo")],
            ..Given::default()
        });
        assert_eq!(config.log.level, expected, "{env_file:?} {env:?}");
    }
}

#[test]
fn a_wrong_value_is_told_as_it_was_written() {
    wrong(
        "WS_PING_INTERVAL",
        "0.5",
        "WS_PING_INTERVAL: `websocket.ping_interval` cannot be \"0.5\"; accepted: seconds, as 30 or 0.5, or a duration \
         with its unit (us, ms, s, m, h) from \"1s\" to \"1h\"",
    );
    wrong(
        "LOG_LEVEL",
        "verbose",
        "LOG_LEVEL: `log.level` cannot be \"verbose\"; accepted: one of TRACE, DEBUG, INFO, WARN, WARNING, ERROR, FATAL, \
         CRITICAL",
    );
    wrong(
        "LOG_FORMAT",
        "{level}",
        "LOG_FORMAT: `log.format` cannot be \"{level}\"; accepted: \"json\", \"text\", or a template with {message} or \
         %(message)s, which means \"text\"",
    );
    wrong(
        "CORS_ORIGINS",
        "localhost:3000",
        "CORS_ORIGINS: `http.cors_origins` cannot be \"localhost:3000\"; accepted: a list of 0 to 1000, without \
         repetition, of: \"*\" for all without cookies, or an origin as browsers write it, in lower case without path \
         and default port, as \"https://app.example.com\" or \"http://localhost:3000\", or with any first label or port, as \
         \"https://*.example.com\" or \"http://localhost:*\"",
    );
}

/// The file printed for `given`, with the secrets left in the environment, makes the same configuration.
#[track_caller]
fn stands_for_itself(given: &Given<'_>) -> String {
    let config = accepted(given);
    let document = given.sources().document().unwrap();
    assert_eq!(document.broken_rules, [], "{}", document.text);
    let is_secret = |name: &str| matches!(name, "JWT_SECRET" | "TOY_KEY");
    let env = given.env.iter().copied();
    let secrets: Vec<_> = env.filter(|(name, _)| is_secret(name)).collect();
    let again = accepted(&Given {
        file: &document.text,
        env: &secrets,
        ..Given::default()
    });
    assert_eq!(again, config, "{}", document.text);
    document.text
}

#[test]
fn the_printed_file_stands_for_the_environment() {
    for mode in ["demo", "dev", "prod"] {
        let mut all = vec![("FANFARE_MODE", mode), ("JWT_SECRET", SECRET)];
        for (name, value, ..) in MEANINGS {
            let env = [all[0], all[1], (name, value)];
            let text = stands_for_itself(&Given {
                env: &env,
                ..Given::default()
            });
            assert!(
                !text.contains(SECRET) && !text.contains("0123456789abcdef"),
                "{text}"
            );
            all.push((name, value));
        }
        stands_for_itself(&Given {
            env: &all,
            ..Given::default()
        });
    }
}

#[test]
fn the_printed_file_names_where_each_key_comes_from_and_no_secret() {
    let given = Given {
        env_file: "PORT=81\nTOY_KEY=0123456789abcdef\nWS_PING_TIMEOUT=10\n",
        env: &[
            ("FANFARE_MODE", "dev"),
            ("HOST", "127.0.0.2"),
            ("JWT_SECRET", SECRET),
            ("TOY_TIMEOUT", "0.5"),
            ("FANFARE_HUB__MAX_TOPICS", "5"),
        ],
        ..Given::default()
    };
    let expected = "\
# The configuration that the environment amounts to. Each key has the variable it came from above it.

# FANFARE_MODE
mode = \"dev\"

[server]
# HOST and .env:1: PORT
listen = [\"127.0.0.2:81\"]

[hub]
# FANFARE_HUB__MAX_TOPICS
max_topics = 5

[toy]
# TOY_TIMEOUT
timeout = \"500ms\"
# .env:2: TOY_KEY
# A secret: put it here and let only the gateway read this file, or leave it in the environment.
#api_key = \"...\"

[auth]
# JWT_SECRET
# A secret: put it into a file that only the gateway reads, and name that file here.
#jwt_secret_file = \"...\"
";
    assert_eq!(given.sources().document().unwrap().text, expected);
}

#[test]
fn a_file_is_printed_although_it_needs_more_and_not_when_a_value_is_wrong() {
    let document = |env| {
        let given = Given {
            env,
            ..Given::default()
        };
        given.sources().document()
    };
    let lacking = document(&[("PORT", "81")]).unwrap();
    assert_eq!(lacking.broken_rules, [Problem::NoCredentials]);
    assert!(lacking.text.contains("listen = [\"127.0.0.1:81\"]"));
    let twice = [
        ("JWT_SECRET", SECRET),
        ("FANFARE_AUTH__JWT_SECRET_FILE", "/x"),
    ];
    assert_eq!(
        document(&twice).unwrap().broken_rules,
        [Problem::TwoSecrets]
    );
    let error = document(&[("PORT", "0"), ("LOG_LEVEL", "x")]).unwrap_err();
    assert_eq!(error.problems.len(), 2, "{error}");
}

proptest! {
    #[test]
    fn no_value_of_a_common_name_panics(
        at in 0..MEANINGS.len(),
        any: String,
        likely in "[-+.,:/*@ 0-9a-zA-Z_{}\\[\\]$]{0,24}",
        in_file: bool,
    ) {
        let (name, ..) = MEANINGS[at];
        for value in [any, likely] {
            let line = format!("{name}={value}");
            let env = [("FANFARE_MODE", "demo"), (name, value.as_str())];
            let given = Given {
                env_file: if in_file { &line } else { "" },
                env: &env[..if in_file { 1 } else { 2 }],
                ..Given::default()
            };
            let _ = given.sources().settings_of_env_file();
            let Ok(mut config) = given.load() else { continue };
            config.auth.jwt_secret = None;
            config.section_mut::<Toy>().api_key = None;
            let printed = given.sources().document().unwrap();
            prop_assert_eq!(Config::from_toml_with(&printed.text, TOYS).unwrap(), config);
        }
    }
}
