//! File, environment and flags, later ones over earlier.

use super::*;

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
        (config.mode, config.clients.auth_required, config.debug.echo),
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
            config.clients.auth_required,
            config.clients.demo_enabled
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
    let expected: [ListenAddress; 2] = ["127.0.0.1:1".parse().unwrap(), "[::1]:2".parse().unwrap()];
    assert_eq!(config.server.listen, expected);
}

#[test]
fn an_unknown_variable_of_ours_is_refused_and_a_foreign_one_is_not() {
    check(
        &Given {
            env: &[("FANFARE_SERVER__LISTN", "x"), ("PATH", "/bin")],
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
fn variables_are_written_in_capitals_only() {
    // Two spellings of one variable would have no order among them.
    let env: &[_] = &[("FANFARE_MODE", "demo"), ("FANFARE_server__shards", "1")];
    check(
        &Given {
            env,
            ..Given::default()
        },
        "environment: unknown variable `FANFARE_server__shards`; did you mean `FANFARE_SERVER__SHARDS`?",
    );
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
        (config.clients.auth_required, config.clients.demo_enabled),
        (false, true)
    );
}

#[test]
fn networks_are_read_with_and_without_their_length() {
    let server = accepted(&Given {
        file: "mode = \"demo\"\n[server]\nproxy_protocol_from = [\"10.0.0.0/8\", \"fd00::1\"]",
        env: &[("FANFARE_SERVER__FORWARDED_FROM", "192.0.2.1, 2001:db8::/32")],
        ..Given::default()
    })
    .server;
    let shown =
        |networks: &[ipnet::IpNet]| networks.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        shown(&server.proxy_protocol_from),
        ["10.0.0.0/8", "fd00::1/128"]
    );
    assert_eq!(
        shown(&server.forwarded_from),
        ["192.0.2.1/32", "2001:db8::/32"]
    );
    refused(
        "[server]\nforwarded_from = [\"10.0.0.0/33\"]",
        "fanfare.toml:3: `server.forwarded_from` cannot be a list with \"10.0.0.0/33\"; accepted: a list of 0 to 1000, without repetition, \
         of: a network, as \"10.0.0.0/8\" or \"fd00::/8\", or an address",
    );
}

#[test]
fn every_key_can_be_set_by_its_variable() {
    let defaults = Config::with_sections(Mode::Demo, TOYS);
    for section in defaults.sections() {
        let name = section.name();
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
fn a_section_that_is_not_registered_has_the_defaults_of_the_mode() {
    let mut config = Config::for_mode(Mode::Prod);
    assert!(config.section::<Toy>().auth_required);
    config.section_mut::<Toy>().auth_required = false;
    config.section_mut::<Toy>().size = KIB;
    let toy = config.section::<Toy>();
    assert_eq!((toy.auth_required, toy.size), (false, KIB));
    assert_eq!(config.clone(), config);
    assert_ne!(Config::with_sections(Mode::Prod, TOYS), config);
    assert!(
        config
            .differences()
            .contains("[toy]\nauth_required = false\nsize = \"1KiB\"\n")
    );
}

#[test]
#[should_panic(expected = "a section has the name of another")]
fn a_registered_section_has_a_name_of_its_own() {
    Config::with_sections(Mode::Prod, &[Toy::make, Toy::make]);
}
