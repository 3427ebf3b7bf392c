//! Permissions compared with a model that checks topic by topic.

use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::auth::{Globs, KeySerial, Names, TopicGlobs};
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
        topics: None,
    }
}

/// Ann, who is restricted to topics besides.
fn listed(role: Option<&str>, rights: Option<Rights>, allow: &[&str], deny: &[&str]) -> Identity {
    let globs = |list: &[&str]| TopicGlobs::new(list.iter().copied()).unwrap();
    let acl = TopicAcl {
        allow: globs(allow),
        deny: globs(deny),
    };
    Identity {
        topics: Some(Box::new(acl)),
        ..ann(role, rights)
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
fn the_list_of_topics_takes_away_and_grants_nothing() {
    let config = config(NAMESPACES);
    let user = listed(None, None, &["chat.*", "a b*", "ops.*"], &["chat.admin*"]);
    for (name, expected) in [
        ("chat.a", true),
        ("chat.", true),
        ("chat", false),
        ("chat.admin", false),
        ("chat.administrators.x", false),
        ("chat.*", false),
        ("chat.a*", false),
        ("chat.b*", true),
        ("chat.*.x", false),
        // Allowed by the list, but not by its namespace.
        ("ops.a", false),
        ("news", false),
        ("*", false),
        ("user:ann:events", true),
        ("user:bob:events", false),
    ] {
        subscribes(&config, Some(&user), name, expected);
        if let Ok(Selector::Topic(topic)) = Selector::parse(name) {
            publishes(
                &config,
                Some(&user),
                topic,
                expected && !topic::is_inbox(topic),
            );
        }
    }
    publishes(&config, Some(&user), "a b/c", true);
    // A glob of the claim is compared with a client's own.
    let may = |glob: &str| {
        let selector = Selector::Pattern(Pattern::bytes(glob).unwrap());
        Permissions::new(&config, Some(&user)).may_subscribe(&selector)
    };
    assert!(may("chat.b*") && may("a b?") && !may("chat.*") && !may("chat.?dmin") && !may("*b"));
    // Of two lists the stricter one wins, whichever it is.
    let rights = Rights {
        subscribe: Some(globs(&["chat.*", "news"])),
        publish: Some(globs(&["chat.x"])),
        deny: globs(&["chat.y"]),
        ..Rights::default()
    };
    let user = listed(None, Some(rights), &["*"], &["chat.z"]);
    for (name, expected) in [
        ("chat.x", true),
        ("chat.y", false),
        ("chat.z", false),
        ("news", true),
        ("other", false),
    ] {
        subscribes(&config, Some(&user), name, expected);
        publishes(&config, Some(&user), name, name == "chat.x");
    }
    // No claim is missing where the list refuses.
    let prod = Config::for_mode(crate::config::Mode::Prod);
    let lacks = |who: &Identity| {
        Permissions::new(&prod, Some(who)).lacks_claim(&Selector::parse("c*").unwrap())
    };
    assert!(lacks(&listed(None, None, &["c*"], &[])) && !lacks(&listed(None, None, &["d*"], &[])));
}

#[test]
fn the_list_of_a_services_token_holds_for_inboxes_of_others() {
    let config = config("");
    let service = |allow: &[&str], deny: &[&str]| listed(Some("service"), None, allow, deny);
    for (who, expected) in [
        (service(&[], &[]), true),
        (service(&["*"], &[]), true),
        (service(&["user:b*"], &["user:c*"]), true),
        (service(&["chat.*"], &[]), false),
        (service(&[], &["user:*"]), false),
    ] {
        publishes(&config, Some(&who), "user:bob:events", expected);
        let may = Permissions::new(&config, Some(&who));
        assert_eq!(may.may_read("user:bob:events"), expected, "{who:?}");
    }
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

/// What a token allows and denies by globs of bytes, and the list that it makes of them.
fn acl() -> impl Strategy<Value = (Vec<Pattern>, Vec<Pattern>, TopicAcl)> {
    let globs = || prop::collection::vec("[ab.*?]{1,4}", 0..3);
    (globs(), globs()).prop_map(|(allow, deny)| {
        let read = |list: &[String]| {
            let globs = TopicGlobs::new(list.iter().map(String::as_str)).unwrap();
            let patterns = list.iter().filter_map(|glob| Pattern::bytes(glob));
            (patterns.collect(), globs)
        };
        let ((allowed, allow), (denied, deny)) = (read(&allow), read(&deny));
        (allowed, denied, TopicAcl { allow, deny })
    })
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

    /// What both lists permit is what each permits alone, and the list of topics agrees with its globs tried on names.
    #[test]
    fn of_two_lists_the_stricter_one_wins(
        config in policy(),
        role in select(&[None, Some("service")][..]),
        rights in prop::option::of((prop::option::of(list()), list())),
        acl in acl(),
        asked in selector(),
        topics in prop::collection::vec("[ab. \u{fc}]{1,6}", 50),
    ) {
        let (allow, deny, acl) = acl;
        let rights = rights.map(|(subscribe, deny)| Rights {
            publish: subscribe.clone(), subscribe, deny, ..Rights::default()
        });
        let free = ann(role, rights);
        let bound = Identity { topics: Some(Box::new(acl.clone())), ..free.clone() };
        let (free, bound) = (Permissions::new(&config, Some(&free)), Permissions::new(&config, Some(&bound)));
        let asked = Selector::parse(&asked).unwrap();
        prop_assert_eq!(bound.may_subscribe(&asked), free.may_subscribe(&asked) && acl.permits(&asked));
        let meets = |globs: &[Pattern], topic: &str| globs.iter().any(|glob| glob.matches(topic));
        for topic in &topics {
            let permits = (allow.is_empty() || meets(&allow, topic)) && !meets(&deny, topic);
            let name = Selector::Topic(topic);
            prop_assert_eq!(bound.may_subscribe(&name), free.may_subscribe(&name) && permits);
            prop_assert_eq!(bound.may_publish(topic), free.may_publish(topic) && permits);
        }
    }

    /// A subscription delivers only topics that could have been subscribed to by name.
    #[test]
    fn a15_a_pattern_delivers_nothing_that_its_topics_would_not(
        config in policy(),
        role in select(&[None, Some("service")][..]),
        rights in prop::option::of((prop::option::of(list()), list())),
        acl in prop::option::of(acl()),
        known in any::<bool>(),
        asked in selector(),
        glob in prop::option::of("[ab.*?]{1,5}"),
        topics in prop::collection::vec("[ab. \u{fc}]{1,6}", 200),
    ) {
        let rights = rights.map(|(subscribe, deny)| Rights { subscribe, deny, ..Rights::default() });
        let topics_of_token = acl.map(|(_, _, acl)| Box::new(acl));
        let user = Identity { topics: topics_of_token, ..ann(role, rights) };
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
