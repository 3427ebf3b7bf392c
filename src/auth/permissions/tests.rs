//! Permissions compared with a model that checks topic by topic.

use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::auth::{Globs, KeySerial, Names};
use crate::topic::Pattern;

fn globs(list: &[&'static str]) -> Globs {
    Globs::new(list.iter().copied()).unwrap()
}

fn ann(role: Option<&str>, rights: Option<Rights>) -> Identity {
    Identity {
        token_id: None,
        issued_at: None,
        user: "ann".to_owned(),
        name: None,
        role: role.map(str::to_owned),
        expires_at: 0,
        key: KeySerial::default(),
        rights: rights.map(Box::new),
    }
}

fn config(text: &str) -> Config {
    Config::from_toml(&format!("mode = \"demo\"\n{text}")).unwrap()
}

#[track_caller]
fn subscribes(config: &Config, who: Option<&Identity>, name: &str, expected: bool) {
    let selector = Selector::parse(name).unwrap();
    let may = Permissions::new(config, who).may_subscribe(&selector);
    assert_eq!(may, expected, "{name} by {who:?}");
}

#[track_caller]
fn publishes(config: &Config, who: Option<&Identity>, topic: &str, expected: bool) {
    let may = Permissions::new(config, who).may_publish(topic);
    assert_eq!(may, expected, "{topic} by {who:?}");
}

const NAMESPACES: &str = r#"
    [namespace."internal."]
    subscribe = "nobody"
    publish = "nobody"
    [namespace."internal.public."]
    subscribe = "everyone"
    [namespace."ops."]
    subscribe = "service"
    publish = "service"
    [namespace."members."]
    subscribe = "authenticated"
    publish = "authenticated"
"#;

#[test]
fn without_a_claim_the_namespace_decides() {
    let config = config(NAMESPACES);
    let (user, service) = (ann(None, None), ann(Some("service"), None));
    for (name, anonymous, known, of_service) in [
        ("news", true, true, true),
        ("internal.a", false, false, false),
        ("internal.public.a", true, true, true),
        ("internal.public.*", true, true, true),
        ("internal.pub*", false, false, false),
        ("internal.*", false, false, false),
        ("ops.a", false, false, true),
        ("ops.*", false, false, true),
        ("members.a", false, true, true),
        ("members.*", false, true, true),
        ("m*", false, true, true),
        ("n*", true, true, true),
        ("*", false, false, false),
        ("*.a", false, false, false),
        ("in*", false, false, false),
    ] {
        subscribes(&config, None, name, anonymous);
        subscribes(&config, Some(&user), name, known);
        subscribes(&config, Some(&service), name, of_service);
    }
    publishes(&config, None, "news", true);
    publishes(&config, None, "members.a", false);
    publishes(&config, Some(&user), "members.a", true);
    publishes(&config, Some(&user), "ops.a", false);
    publishes(&config, Some(&service), "ops.a", true);
    publishes(&config, Some(&service), "internal.a", false);
    assert!(Permissions::of_service(&config).may_publish("ops.a"));
    assert!(!Permissions::of_service(&config).may_publish("internal.a"));
}

#[test]
fn a_claim_replaces_the_default_and_deny_wins() {
    let config = config(NAMESPACES);
    let user = ann(
        None,
        Some(Rights {
            subscribe: Some(globs(&["chat.*", "ops.*", "internal.*", "news"])),
            publish: Some(globs(&["chat.*", "internal.a"])),
            deny: globs(&["chat.secret*"]),
            ..Rights::default()
        }),
    );
    for (name, expected) in [
        ("chat.a", true),
        ("chat.secret", false),
        ("chat.secrets.x", false),
        ("chat.*", false),
        ("chat.s*", false),
        ("chat.a*", true),
        ("chat.*.x", false),
        ("ops.*", true),
        ("internal.a", false),
        ("internal.public.a", true),
        ("news", true),
        ("newspaper", false),
        ("members.a", false),
        ("*", false),
    ] {
        subscribes(&config, Some(&user), name, expected);
    }
    publishes(&config, Some(&user), "chat.a", true);
    publishes(&config, Some(&user), "chat.secret.x", false);
    publishes(&config, Some(&user), "news", false);
    publishes(&config, Some(&user), "internal.a", false);
    let nothing = ann(
        None,
        Some(Rights {
            subscribe: Some(globs(&[])),
            ..Rights::default()
        }),
    );
    subscribes(&config, Some(&nothing), "news", false);
    publishes(&config, Some(&nothing), "news", true);
}

#[test]
fn a15_an_inbox_is_its_users_alone() {
    let closed = config("[namespace.\"user:\"]\nsubscribe = \"nobody\"");
    let config = config("");
    let everything = Rights {
        subscribe: Some(globs(&["*", "user:*", "user:bob:events"])),
        publish: Some(globs(&["*", "user:bob:events"])),
        ..Rights::default()
    };
    let denied = Rights {
        deny: globs(&["user:ann:*"]),
        ..Rights::default()
    };
    for rights in [None, Some(everything)] {
        let user = ann(Some("admin"), rights);
        for (name, expected) in [
            ("user:ann:events", true),
            ("user:ann:a:b", true),
            ("user:ann", false),
            ("user:ann:*", false),
            ("user:*", false),
            ("user:*:events", false),
            ("user:bob:events", false),
            ("user:annb:events", false),
            ("user:an:events", false),
            ("user::events", false),
        ] {
            subscribes(&config, Some(&user), name, expected);
            subscribes(&config, None, name, false);
        }
        subscribes(&closed, Some(&user), "user:ann:events", false);
        publishes(&config, Some(&user), "user:ann:events", false);
        publishes(&config, Some(&user), "user:bob:events", false);
    }
    subscribes(
        &config,
        Some(&ann(None, Some(denied))),
        "user:ann:events",
        false,
    );
    publishes(
        &config,
        Some(&ann(Some("service"), None)),
        "user:bob:events",
        true,
    );
    let of_service = Permissions::of_service(&config);
    assert!(of_service.may_publish("user:bob:events") && of_service.may_read("user:bob:events"));
    assert!(!Permissions::of_service(&closed).may_read("user:bob:events"));
    assert!(!Permissions::new(&config, None).may_read("user:bob:events"));
}

#[test]
fn a15_in_prod_a_pattern_across_namespaces_takes_a_claim_that_covers_it() {
    let prod = Config::for_mode(crate::config::Mode::Prod);
    let config = |text: &str| {
        let text = format!("[events]\nwide_patterns = false\n{text}");
        config(&text)
    };
    let claim = |list: &[&'static str], deny: &[&'static str]| {
        ann(
            None,
            Some(Rights {
                subscribe: Some(globs(list)),
                deny: globs(deny),
                ..Rights::default()
            }),
        )
    };
    let (user, service) = (ann(None, None), ann(Some("service"), None));
    for wide in ["*", "c*", "*.a", "*:a"] {
        subscribes(&prod, Some(&user), wide, false);
        subscribes(&prod, Some(&service), wide, false);
        subscribes(&prod, Some(&claim(&["*"], &[])), wide, true);
    }
    subscribes(&prod, Some(&claim(&["c*"], &[])), "ch*", true);
    subscribes(&prod, Some(&claim(&["c*"], &[])), "*", false);
    for narrow in ["chat.a", "chat.*", "chat:*", "chat.*.b"] {
        subscribes(&prod, Some(&user), narrow, true);
        subscribes(&prod, None, narrow, false);
    }
    let lacks = |config: &Config, who: &Identity, name: &str| {
        Permissions::new(config, Some(who)).lacks_claim(&Selector::parse(name).unwrap())
    };
    let (open, closed) = (
        config(""),
        config("[namespace.\"chat.\"]\nsubscribe = \"nobody\""),
    );
    assert!(lacks(&open, &user, "*") && lacks(&open, &claim(&["c*"], &[]), "*"));
    // No claim would help, or none is needed.
    assert!(!lacks(&closed, &user, "*") && !lacks(&open, &claim(&["*"], &["x"]), "*"));
    assert!(!lacks(&open, &claim(&["*"], &[]), "*") && !lacks(&open, &user, "chat.*"));
}

#[test]
fn commands_are_listed_or_all() {
    let config = config("");
    let may = |list: Option<&[&'static str]>, name: &str| {
        let commands = list.map(|list| Names::new(list.iter().copied()).unwrap());
        let user = ann(
            None,
            Some(Rights {
                commands,
                ..Rights::default()
            }),
        );
        Permissions::new(&config, Some(&user)).may_command(name)
    };
    assert!(may(None, "echo") && may(Some(&["*"]), "echo") && may(Some(&["x", "echo"]), "echo"));
    assert!(!may(Some(&[]), "echo") && !may(Some(&["ech"]), "echo"));
    assert!(Permissions::new(&config, None).may_command("echo"));
}

const WORDS: &[&str] = &["a", "b", "ab", "*", "a*"];

fn selector() -> impl Strategy<Value = String> {
    prop::collection::vec(select(WORDS), 1..4)
        .prop_map(|words| words.join("."))
        .prop_filter("a topic or a pattern", |text| Selector::parse(text).is_ok())
}

fn list() -> impl Strategy<Value = Globs> {
    prop::collection::vec(selector(), 0..4)
        .prop_map(|list| Globs::new(list.iter().map(String::as_str)).unwrap())
}

fn access() -> impl Strategy<Value = Access> {
    select(
        &[
            Access::Everyone,
            Access::Authenticated,
            Access::Service,
            Access::Nobody,
        ][..],
    )
}

prop_compose! {
    fn policy()(default in access(), prefixes in prop::collection::btree_map(
        select(&["a", "a.", "a.a", "b", "ab.", "a.b."][..]), access(), 0..4), wide in any::<bool>()) -> Config {
        use std::fmt::Write;
        let mut text = format!("[events]\nsubscribe = \"{}\"\nwide_patterns = {wide}\n", name_of(default));
        for (prefix, access) in prefixes {
            let section = crate::config::section_of(prefix);
            let _ = writeln!(text, "[{section}]\nsubscribe = \"{}\"", name_of(access));
        }
        config(&text)
    }
}

fn name_of(access: Access) -> &'static str {
    match access {
        Access::Everyone => "everyone",
        Access::Authenticated => "authenticated",
        Access::Service => "service",
        Access::Nobody => "nobody",
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// A subscription delivers only topics that could have been subscribed to by name.
    #[test]
    fn a15_a_pattern_delivers_nothing_that_its_topics_would_not(
        config in policy(),
        role in select(&[None, Some("service")][..]),
        rights in prop::option::of((prop::option::of(list()), list())),
        known in any::<bool>(),
        asked in selector(),
        glob in prop::option::of("[ab.*?]{1,5}"),
        topics in prop::collection::vec("[ab. \u{fc}]{1,6}", 200),
    ) {
        let rights = rights.map(|(subscribe, deny)| Rights { subscribe, deny, ..Rights::default() });
        let user = ann(role, rights);
        let may = Permissions::new(&config, known.then_some(&user));
        let asked = match &glob {
            Some(glob) => Selector::Pattern(Pattern::bytes(glob).unwrap()),
            None => Selector::parse(&asked).unwrap(),
        };
        let allowed = may.may_subscribe(&asked);
        for topic in &topics {
            let delivered = match &asked {
                Selector::Topic(name) => *name == topic,
                Selector::Pattern(pattern) => pattern.matches(topic),
            };
            let by_name = may.may_subscribe(&Selector::Topic(topic));
            prop_assert!(!(allowed && delivered) || by_name, "{asked:?} delivers {topic}");
        }
    }
}
