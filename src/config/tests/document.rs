//! The printed documents agree with what is read.

use super::*;

/// The default document as it is, and with every default taken out of its comment.
fn documents(mode: Mode) -> [String; 2] {
    let text = Config::with_sections(mode, TOYS).default_document();
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
        let defaults = Config::with_sections(mode, TOYS);
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
    let config = Config::with_sections(Mode::Prod, TOYS);
    let text = config.default_document();
    for section in config.sections() {
        let name = section.name();
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
            config.clients.auth_required,
            config.clients.demo_enabled,
            config.debug.echo
        ),
        (true, false, false)
    );
}
