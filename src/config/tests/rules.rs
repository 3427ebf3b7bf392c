//! The rules that join several keys, and namespaces.

use super::*;
use crate::id::Priority;

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
fn keys_are_those_of_the_algorithm() {
    let problems = |auth: &str| {
        let file = format!("mode = \"demo\"\n[auth]\n{auth}");
        let sources = Given {
            file: &file,
            secret_file: Some(SECRET.as_bytes()),
            ..Given::default()
        };
        sources
            .load()
            .map_or_else(|error| error.problems, |_| Vec::new())
    };
    let foreign = |key, algorithm, instead| Problem::KeyOfOtherAlgorithm {
        key,
        algorithm,
        instead,
    };
    let (secret, public) = ("auth.jwt_secret", "auth.jwt_public_key_file");
    for (auth, expected) in [
        ("algorithm = \"ES256\"\njwt_public_key_file = \"k\"", vec![]),
        (
            "jwt_public_key_file = \"k\"",
            vec![foreign(public, "HS256", secret)],
        ),
        (
            "algorithm = \"EdDSA\"\njwt_secret_file = \"k\"",
            vec![foreign(secret, "EdDSA", public)],
        ),
        (
            "algorithm = \"RS256\"\njwt_public_key_file = \"k\"\nprevious_secret_file = \"p\"",
            vec![foreign("auth.previous_secret_file", "RS256", public)],
        ),
        (
            "previous_secret_file = \"p\"",
            vec![Problem::PreviousKeyAlone],
        ),
        ("jwt_secret_file = \"k\"\njwt_key_id = \"a\"", vec![]),
        (
            "jwt_secret_file = \"k\"\nprevious_key_id = \"a\"",
            vec![Problem::KeyIds],
        ),
        (
            "jwt_secret_file = \"k\"\nprevious_secret_file = \"p\"",
            vec![],
        ),
        (
            "jwt_secret_file = \"k\"\nprevious_secret_file = \"p\"\njwt_key_id = \"a\"",
            vec![Problem::KeyIds],
        ),
        (
            "jwt_secret_file = \"k\"\nprevious_secret_file = \"p\"\njwt_key_id = \"a\"\nprevious_key_id = \"a\"",
            vec![Problem::KeyIds],
        ),
        (
            "jwt_secret_file = \"k\"\nprevious_secret_file = \"p\"\njwt_key_id = \"a\"\nprevious_key_id = \"b\"",
            vec![],
        ),
        (
            "algorithm = \"RS256\"\nissuer = \"i\"\njwks_url = \"https://a/\"\njwks_ca_file = \"c\"",
            vec![],
        ),
        (
            "algorithm = \"ES256\"\nissuer = \"i\"\njwks_url = \"file:/k\"\njwt_public_key_file = \"p\"",
            vec![],
        ),
        (
            "issuer = \"i\"\njwks_url = \"https://a/\"",
            vec![foreign("auth.jwks_url", "HS256", secret)],
        ),
        (
            "algorithm = \"RS256\"\njwks_url = \"https://a/\"",
            vec![Problem::KeySetWithoutIssuer],
        ),
        (
            "algorithm = \"RS256\"\nissuer = \"i\"\njwks_url = \"file:/k\"\njwks_ca_file = \"c\"",
            vec![Problem::KeySetAuthorities],
        ),
        (
            "algorithm = \"RS256\"\nissuer = \"i\"\njwks_url = \"https://a/\"\nprevious_public_key_file = \"p\"",
            vec![Problem::PreviousKeyAlone],
        ),
    ] {
        assert_eq!(problems(auth), expected, "{auth}");
    }
    refused(
        "[auth]\nalgorithm = \"RS256\"\nissuer = \"i\"\njwks_url = \"http://a.example/keys\"",
        "fanfare.toml:5: `auth.jwks_url` cannot be \"http://a.example/keys\"; accepted: https://HOST/PATH without user \
         and password, or file:/PATH; http:// only of this machine (127.0.0.1, [::1], localhost), since on any other \
         way keys could be exchanged",
    );
    refused(
        "[auth]\njwt_public_key_file = \"k\"",
        "`auth.jwt_public_key_file` is set and `auth.algorithm` is \"HS256\", which does not use it: leave it out \
         and set `auth.jwt_secret`, or set the key's algorithm",
    );
    // A public key is a credential to check against.
    let file = "[auth]\nalgorithm = \"RS256\"\njwt_public_key_file = \"k\"";
    assert!(Config::from_toml(file).is_ok());
}

#[test]
fn origins_and_access_are_read_from_file_and_environment() {
    let config = accepted(&Given {
        file: "mode = \"demo\"\n[events]\nsubscribe = \"authenticated\"\n\
               [namespace.\"ops.\"]\nsubscribe = \"service\"\npublish = \"nobody\"",
        env: &[
            (
                "ALLOWED_ORIGINS",
                "https://a.example.com, https://*.example.org",
            ),
            ("CORS_ORIGINS", ","),
        ],
        ..Given::default()
    });
    assert_eq!(config.http.allowed_origins.len(), 2);
    assert!(config.http.allowed_origins[1].matches("https://x.example.org"));
    assert!(config.http.cors_origins.is_empty());
    let of = |topic: &str| {
        let namespace = config.namespace(topic);
        (namespace.subscribe, namespace.publish)
    };
    assert_eq!(of("ops.a"), (Access::Service, Access::Nobody));
    assert_eq!(of("news"), (Access::Authenticated, Access::Everyone));
    refused(
        "[http]\nallowed_origins = [\"*\"]",
        "fanfare.toml:3: `http.allowed_origins` cannot be a list with \"*\"; accepted: a list of 0 to 1000, without repetition, of: an \
         origin as browsers write it, in lower case without path and default port, as \"https://app.example.com\" or \
         \"http://localhost:3000\", or with any first label or port, as \"https://*.example.com\" or \"http://localhost:*\"",
    );
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
    let demo = "events.auth_required = false, events.demo_enabled = true, toy.auth_required = false, \
                debug.echo = true";
    assert_eq!(open("demo", "0.0.0.0:80", ""), refused("0.0.0.0:80", demo));
    assert_eq!(open("demo", "[::]:80", ""), refused("[::]:80", demo));
    assert_eq!(
        open("dev", "10.0.0.1:80", ""),
        refused(
            "10.0.0.1:80",
            "events.demo_enabled = true, toy.auth_required = false, debug.echo = true"
        )
    );
    assert_eq!(
        open("prod", "10.0.0.1:80", "[debug]\necho = true"),
        refused("10.0.0.1:80", "debug.echo = true")
    );
    assert_eq!(open("demo", "127.0.0.1:80", ""), None);
    assert_eq!(open("demo", "127.8.8.8:80", ""), None);
    assert_eq!(open("demo", "[::1]:80", ""), None);
    assert_eq!(open("prod", "0.0.0.0:80", ""), None);
    assert_eq!(open("demo", "0.0.0.0:80", "allow_open = true"), None);
    // A listener for services is one like any other.
    let internal = |address: &str| format!("internal_listen = [\"{address}\"]");
    let loopback = "127.0.0.1:80";
    let beyond = internal("10.0.0.1:81");
    assert_eq!(
        open("demo", loopback, &beyond),
        refused("10.0.0.1:81", demo)
    );
    assert_eq!(open("demo", loopback, &internal("127.0.0.1:81")), None);
    assert_eq!(open("prod", "0.0.0.0:80", &beyond), None);
    assert_eq!(
        open("demo", loopback, &internal(loopback)),
        Some(vec![Problem::ListensTwice(loopback.parse().unwrap())])
    );
    let mapped = open("demo", loopback, &internal("[::ffff:127.0.0.1]:81"));
    assert!(matches!(
        &mapped.unwrap()[..],
        [Problem::MappedAddress { .. }]
    ));
}

#[test]
fn tls_needs_its_files() {
    let tls = "https://127.0.0.1:8443".parse::<ListenAddress>().unwrap();
    let pairs = |certificates, keys| Problem::CertificatePairs { certificates, keys };
    let clients = |asked, has_ca| Problem::ClientCertificates { asked, has_ca };
    let listen = "server.listen = [\"http://127.0.0.1:8080\", \"https://127.0.0.1:8443\"]\n";
    for (file, expected) in [
        (
            listen.to_owned(),
            vec![Problem::NoCertificate {
                listen: tls.clone(),
            }],
        ),
        (
            format!("{listen}tls.certificate_file = \"c\"\ntls.key_file = [\"k\"]"),
            vec![],
        ),
        (
            "tls.certificate_file = [\"c\", \"d\"]\ntls.key_file = \"k\"".to_owned(),
            vec![pairs(2, 1)],
        ),
        (
            "tls.client_ca_file = \"ca\"".to_owned(),
            vec![clients("off", true)],
        ),
        (
            "tls.client_certificates = \"required\"".to_owned(),
            vec![clients("required", false)],
        ),
        (
            "server.listen = [\"127.0.0.1:80\"]\nserver.redirect_http = \"127.0.0.1:80\""
                .to_owned(),
            vec![Problem::ListensTwice("127.0.0.1:80".parse().unwrap())],
        ),
        (
            format!(
                "{}tls.certificate_file = \"c\"\ntls.key_file = \"k\"",
                listen.replace("8080", "8443")
            ),
            vec![Problem::ListensTwice("127.0.0.1:8443".parse().unwrap())],
        ),
        // Whatever stands before it is the same each time, and no port.
        (
            "server.listen = [\"unix:/a\", \"unix:/b\", \"127.0.0.1:0\", \"127.0.0.1:80\"]\n\
             server.internal_listen = [\"127.0.0.1:0\", \"127.0.0.1:80\"]"
                .to_owned(),
            vec![Problem::ListensTwice("127.0.0.1:80".parse().unwrap())],
        ),
        (
            "server.listen = [\"unix:/a\", \"unix:/b\"]\nserver.internal_listen = [\"unix:/b\"]"
                .to_owned(),
            vec![Problem::SocketTwice(SocketPath::new("/b").unwrap())],
        ),
        (
            "server.listen = [\"unix:/a\"]\nserver.share_port = true".to_owned(),
            vec![Problem::SocketShared(SocketPath::new("/a").unwrap())],
        ),
        // Only this machine reaches one, whatever is open, and its mode says who.
        (
            "server.listen = [\"unix:/a\"]\nserver.unix_socket_mode = \"0666\"".to_owned(),
            vec![],
        ),
    ] {
        let found = Config::from_toml(&format!("mode = \"demo\"\n{file}"));
        let found = found.map_or_else(|error| error.problems, |_| Vec::new());
        assert_eq!(found, expected, "{file}");
    }
    assert_eq!(tls.to_string(), "https://127.0.0.1:8443");
    for wrong in [
        "https://127.0.0.1",
        "wss://127.0.0.1:1",
        "https://localhost:1",
        "https://127.0.0.1:1/a",
        "unix:relative",
        "https://unix:/a",
        "unix:",
    ] {
        wrong.parse::<ListenAddress>().unwrap_err();
    }
}

#[test]
fn what_a_registered_section_breaks_is_told() {
    refused(
        "[toy]\npath = \"/twice\"",
        "`toy.path` and `toy.other` are both \"/twice\": choose different paths",
    );
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
    let file = "mode = \"demo\"\n[hub]\nmax_lag_messages = 7\n[namespace.\"chat.\"]\npriority = 8\n\
                [namespace.\"chat.vip.\"]\nslow_consumer = \"conflate\"\nmax_lag = \"2MiB\"\nmax_message_size = \"2KiB\"";
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
fn a_topic_has_a_section_of_its_own() {
    let file = "mode = \"demo\"\n[namespace.\"chat.\"]\npublish = \"service\"\npriority = 8\n\
                [topic.\"chat.lobby\"]\npublish = \"authenticated\"\n[topic.news]\nsubscribe = \"nobody\"\n\
                [topic.\"user:ann:events\"]\nhistory_size = 7\n";
    let config = Config::from_toml(file).unwrap();
    let publish = |topic: &str| config.namespace(topic).publish;
    assert_eq!(publish("chat.lobby"), Access::Authenticated);
    assert_eq!(publish("chat.lobby.a"), Access::Service);
    assert_eq!(publish("chat.lobbyist"), Access::Service);
    // What it leaves out is not taken from the shorter one.
    assert_eq!(config.namespace("chat.lobby").priority, Priority::Normal);
    assert_eq!(config.namespace("news").subscribe, Access::Nobody);
    assert_eq!(config.namespace("newspaper").subscribe, Access::Everyone);
    assert_eq!(config.namespace("user:ann:events").history_size, 7);
    // A pattern meets the topic that it matches.
    let met = |pattern: &str| {
        let mut scopes = Vec::new();
        let selector = crate::topic::Selector::parse(pattern).unwrap();
        config.namespaces.all(&selector, |scope, _| {
            scopes.push(scope.unwrap_or(""));
            true
        });
        scopes
    };
    assert_eq!(met("chat.*"), ["chat.lobby", "chat."]);
    assert_eq!(met("chat.a*"), ["chat."]);
    assert_eq!(met("*"), ["chat.lobby", "chat.", "news", ""]);
    assert_eq!(met("new*"), ["news", ""]);
    let again = Config::from_toml(&config.differences()).unwrap();
    assert_eq!(again.namespaces, config.namespaces);
}

#[test]
fn a_namespace_without_a_key_holds() {
    let file =
        "mode = \"demo\"\n[namespace.\"chat.\"]\npresence = true\n[namespace.\"chat.vip.\"]\n";
    let config = Config::from_toml(file).unwrap();
    assert!(config.namespace("chat.a").presence);
    assert!(!config.namespace("chat.vip.a").presence);
    assert_eq!(
        Config::from_toml(&config.differences()).unwrap().namespaces,
        config.namespaces
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
        .map(|at| format!("[namespace.\"n{at}.\"]\npriority = 1\n"))
        .collect();
    refused(&file, "1001 namespaces are given; accepted: at most 1000");
}
