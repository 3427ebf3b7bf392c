//! What is refused in a file, and in which words.

use super::*;

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
        "fanfare.toml:3: `server.listen` cannot be a list with \"localhost:80\"; accepted: a list of 1 to 64, without repetition, of: \
         an IP address with a port, as \"127.0.0.1:8080\" or \"[::1]:8080\"; of TLS as \"https://127.0.0.1:8443\", \
         a unix socket as \"unix:/run/fanfare.sock\"",
    );
    refused(
        "[hub]\nslow_consumer = \"wait\"",
        "fanfare.toml:3: `hub.slow_consumer` cannot be \"wait\"; \
         accepted: one of \"disconnect\", \"drop-oldest\", \"drop-lowest\", \"conflate\"",
    );
    refused(
        "[namespace.\"a.\"]\npriority = 4",
        "fanfare.toml:3: `namespace.\"a.\".priority` cannot be 4; accepted: one of 1, 3, 5, 8, 10",
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
fn a_prefix_with_an_unquoted_dot_is_told_to_be_quoted() {
    refused(
        "[namespace.chat.vip]\npriority = 8",
        "fanfare.toml:2: `namespace.chat.vip` cannot be a section; \
         accepted: a prefix in quotes, as [namespace.\"chat.vip.\"], or a topic, as [topic.\"chat.vip\"]",
    );
    refused(
        "[namespace.chat]\npriority = 8",
        "fanfare.toml:2: `namespace` cannot be \"chat\"; accepted: a prefix that ends in a separator, as \
         [namespace.\"chat.\"]; for that one topic [topic.\"chat\"]",
    );
    refused(
        "[topic.chat.lobby]\npriority = 8",
        "fanfare.toml:2: `topic.chat.lobby` cannot be a section; \
         accepted: a prefix in quotes, as [namespace.\"chat.lobby.\"], or a topic, as [topic.\"chat.lobby\"]",
    );
    refused(
        "[topic.\"chat.*\"]\npriority = 8",
        "fanfare.toml:2: `topic` cannot be \"chat.*\"; accepted: the name of one topic; for all that begin with it \
         [namespace.\"chat.\"]",
    );
    refused(
        "[topic.\"chat.\"]\npriority = 8",
        "fanfare.toml:2: `topic` cannot be \"chat.\"; accepted: the name of one topic; for all that begin with it \
         [namespace.\"chat.\"]",
    );
    refused(
        "[topic.\"*\"]\npriority = 8",
        "fanfare.toml:2: `topic` cannot be \"*\"; accepted: the name of one topic; for all topics set [hub] and [events]",
    );
    refused(
        "[topic.\"a b\"]\npriority = 8",
        "fanfare.toml:2: `topic` cannot be \"a b\"; accepted: the name of one topic, as [topic.\"a.b\"]; names have \
         letters, digits and _ . : -",
    );
    refused(
        "[topic.news]\nprioritty = 1",
        "fanfare.toml:3: unknown key `topic.\"news\".prioritty`; did you mean `topic.\"news\".priority`?",
    );
    refused(
        "[namespace.\"internal.*\"]\npublish = \"nobody\"",
        "fanfare.toml:2: `namespace` cannot be \"internal.*\"; accepted: the beginning of topics' names, without `*`, \
         as [namespace.\"internal.\"]; names have letters, digits and _ . : -",
    );
    refused(
        "[namespace]\nchat = 1",
        "fanfare.toml:3: `namespace.chat` cannot be 1; accepted: a section, as [namespace.\"chat.\"]",
    );
}

#[test]
fn the_header_of_a_namespace_that_is_not_toml_is_told_to_be_quoted() {
    for (header, section) in [
        ("[namespace.chat.]", "namespace.\"chat.\""),
        ("  [ namespace.chat.]", ""),
        ("[namespace.user:]  # inboxes", "namespace.\"user:\""),
        ("[namespace.chat.*]", "namespace.\"chat.\""),
        ("[[namespace.chat:]]", "namespace.\"chat:\""),
        ("[namespace.\"chat.]", "namespace.\"chat.\""),
        ("[server.x.]", ""),
    ] {
        let file = format!("mode = \"demo\"\n{header}\npublish = \"service\"\n");
        let error = Config::from_toml(&file).unwrap_err().to_string();
        assert!(error.starts_with("configuration:2: "), "{error}");
        let hint = format!("; a prefix is written in quotes: [{section}]");
        assert_eq!(
            error.ends_with(&hint),
            !section.is_empty(),
            "{header}: {error}"
        );
    }
}

#[test]
fn an_item_of_a_list_that_is_not_accepted_is_named() {
    let list = "[server]\nlisten = [\"127.0.0.1:80\", \"localhost:80\", \"x\"]";
    refused(
        list,
        "fanfare.toml:3: `server.listen` cannot be a list with \"localhost:80\" as item 2; accepted: a list of 1 to 64, \
         without repetition, of: an IP address with a port, as \"127.0.0.1:8080\" or \"[::1]:8080\"; of TLS as \
         \"https://127.0.0.1:8443\", a unix socket as \"unix:/run/fanfare.sock\"",
    );
    let keys = format!("api_keys = [\"sha256:{}\", \"key\"]", "ab".repeat(32));
    let error = Config::from_toml(&format!("[auth]\n{keys}")).unwrap_err();
    let told = "cannot be a list with the value given (not shown) as item 2; accepted: ";
    assert!(error.to_string().contains(told), "{error}");
}

#[test]
fn numbers_are_written_in_any_of_tomls_ways() {
    for shards in ["16", "0x10", "0o20", "0b1_0000", "+16", "1_6"] {
        let file = format!("mode = \"demo\"\nserver.shards = {shards}");
        assert_eq!(
            Config::from_toml(&file).unwrap().server.shards,
            16,
            "{shards}"
        );
    }
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
fn control_characters_of_a_file_are_not_repeated() {
    for file in [
        r#"mode = "\u001b[2J\n""#,
        r#""\u001b[2J" = 1"#,
        r#"["\u001b[2J"]"#,
    ] {
        let error = Config::from_toml(file).unwrap_err();
        assert!(!error.to_string().chars().any(char::is_control), "{error}");
    }
}

proptest! {
    #[test]
    fn no_text_panics(text: String) {
        let _ = Config::from_toml(&text);
    }

    #[test]
    fn no_value_panics(at in 0_usize..9, key in 0_usize..16, value in "[-0-9a-zA-Z\"\\[\\]., ]{0,24}") {
        let config = Config::with_sections(Mode::Demo, TOYS);
        let section = config.sections().nth(at).unwrap();
        let name = section.name();
        let key = section.keys()[key % section.keys().len()].name;
        let _ = Config::from_toml_with(&format!("mode = \"demo\"\n[{name}]\n{key} = {value}"), TOYS);
    }
}
