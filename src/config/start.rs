//! What is worth knowing of a configuration when a gateway starts with it: what is open, which limits hold, and what a
//! deployment has likely forgotten.

use std::fmt::Write;

use super::kind::Choice;
use super::{Config, ListenAddress, Mode};
use super::{duration, size};

impl Config {
    /// What is open, who may do what, and which limits hold: a sentence for each subject.
    pub fn summary(&self) -> Vec<String> {
        vec![
            self.what_is_open(),
            self.permissions(),
            self.limits(),
            self.memory(),
        ]
    }

    fn what_is_open(&self) -> String {
        let open = self.open_endpoints();
        match open.is_empty() {
            true => "clients need credentials everywhere".to_owned(),
            false => format!("open to clients without credentials: {}", open.join(", ")),
        }
    }

    fn permissions(&self) -> String {
        let events = &self.clients;
        let wide = match events.wide_patterns {
            true => "as to topics",
            false => "with a claim that covers them",
        };
        let mut text = format!(
            "unless a token or a namespace says otherwise, subscribe: {}; to patterns across namespaces: {wide}; publish: {}",
            events.subscribe.name(),
            events.publish.name(),
        );
        let namespaces = self.namespaces.iter().count();
        if namespaces > 0 {
            let _ = write!(text, "; namespaces: {namespaces}");
        }
        text
    }

    fn limits(&self) -> String {
        let (server, events) = (&self.server, &self.clients);
        let limit = |limits: &[u64]| {
            let set = limits.iter().filter(|limit| **limit > 0).min();
            set.map_or_else(|| "no limit".to_owned(), u64::to_string)
        };
        let per_ip = [
            server.max_connections_per_ip as u64,
            events.max_connections_per_ip as u64,
        ];
        format!(
            "connections: {}; of a user: {}; of an address: {}; messages a minute of a connection: {}; of an address: {}",
            limit(&[server.max_connections as u64, events.max_connections as u64]),
            limit(&[events.max_connections_per_user as u64]),
            limit(&per_ip),
            limit(&[events.frames_per_minute.into()]),
            limit(&[events.frames_per_minute_per_ip.into()]),
        )
    }

    fn memory(&self) -> String {
        let hub = &self.hub;
        let kept = match hub.history_size {
            0 => "none unless a namespace says so".to_owned(),
            messages => format!(
                "{messages} messages of a topic for {}",
                duration::show(hub.history_ttl)
            ),
        };
        format!(
            "memory for what waits to be sent: {}; for histories: {} ({kept})",
            size::show(hub.max_memory),
            size::show(hub.max_history_memory),
        )
    }

    /// What a deployment in prod mode has likely forgotten, each with what to do; nothing in other modes.
    pub fn reminders(&self) -> Vec<String> {
        if self.mode != Mode::Prod {
            return Vec::new();
        }
        let reminders = [
            self.plaintext(),
            self.unnamed_proxy(),
            self.metrics_for_all(),
            self.secret_by_value(),
            self.pages_without_tokens(),
            self.nothing_to_subscribe_to(),
        ];
        reminders.into_iter().flatten().collect()
    }

    /// Tokens that pass a network in the clear.
    fn plaintext(&self) -> Option<String> {
        let internal = self
            .server
            .internal_listen
            .iter()
            .filter(|it| is_beyond(it));
        let clients = self.beyond_loopback().filter(|_| !self.trusts_a_proxy());
        let listen = clients.chain(internal).find(|listen| !listen.tls);
        listen.map(|listen| {
            format!(
                "{listen} takes tokens in the clear from other machines: write it as \"https://{}\" (section [tls]), or \
                 name the proxy that ends TLS in `server.forwarded_from`",
                listen.address
            )
        })
    }

    /// A proxy whose clients all have one address.
    fn unnamed_proxy(&self) -> Option<String> {
        let mut listen = self.server.listen.iter();
        // A proxy at a unix socket is believed as it is.
        let has_port = listen.any(|listen| listen.unix.is_none());
        let is_local = has_port && self.beyond_loopback().next().is_none();
        let (key, limit) = self.limit_of_an_address()?;
        (is_local && !self.trusts_a_proxy()).then(|| {
            format!(
                "only this machine can connect, and no proxy is trusted: clients of a proxy would share one address and its \
                 limits (`{key}` = {limit}); name it as `server.forwarded_from = [\"127.0.0.1/32\"]`"
            )
        })
    }

    /// Counters and documents that every client can read.
    fn metrics_for_all(&self) -> Option<String> {
        let listen = self.beyond_loopback().next()?;
        let is_open = self.server.internal_listen.is_empty() && !self.trusts_a_proxy();
        is_open.then(|| {
            format!(
                "/metrics and /docs are open to all who reach {listen}: give services and operators addresses of their \
                 own, as `server.internal_listen = [\"127.0.0.1:9090\"]`"
            )
        })
    }

    /// A secret that cannot change while the gateway runs.
    fn secret_by_value(&self) -> Option<String> {
        let auth = &self.auth;
        let is_by_value = auth.jwt_secret.is_some() && auth.jwt_secret_file.is_none();
        is_by_value.then(|| {
            "the secret of tokens is given by value (`auth.jwt_secret` or JWT_SECRET), so that changing it takes a restart: \
             put it into a file that only the gateway reads, `auth.jwt_secret_file`"
                .to_owned()
        })
    }

    /// Web pages of all the world that need no token.
    fn pages_without_tokens(&self) -> Option<String> {
        let is_open = !self.open_endpoints().is_empty() && self.http.allowed_origins.is_empty();
        is_open.then(|| {
            "every web page may connect, since something is open without credentials: list yours in \
             `http.allowed_origins`"
                .to_owned()
        })
    }

    /// Clients that may connect without a token and do nothing.
    fn nothing_to_subscribe_to(&self) -> Option<String> {
        let events = &self.clients;
        let namespaces = self.namespaces.iter().map(|(_, namespace)| namespace);
        let mut all = namespaces.chain([self.namespaces.default()]);
        let is_open = !events.auth_required || events.demo_enabled;
        let is_closed = all.all(|namespace| namespace.subscribe > super::Access::Everyone);
        (is_open && is_closed).then(|| {
            format!(
                "clients may connect without a token and subscribe to nothing, by `events.subscribe` = \"{}\": set it to \
                 \"everyone\", or ask for tokens",
                events.subscribe.name()
            )
        })
    }

    /// The listeners of clients that other machines can reach.
    fn beyond_loopback(&self) -> impl Iterator<Item = &ListenAddress> {
        let listen = self.server.listen.iter();
        listen.filter(|listen| is_beyond(listen))
    }

    /// A limit that counts what comes from one address, by its key, if one is set.
    pub fn limit_of_an_address(&self) -> Option<(&'static str, u64)> {
        let (server, events) = (&self.server, &self.clients);
        let limits = [
            (
                "auth.max_failures_per_minute",
                u64::from(self.auth.max_failures_per_minute),
            ),
            (
                "server.max_connections_per_ip",
                server.max_connections_per_ip as u64,
            ),
            (
                "events.max_connections_per_ip",
                events.max_connections_per_ip as u64,
            ),
            (
                "events.frames_per_minute_per_ip",
                events.frames_per_minute_per_ip.into(),
            ),
        ];
        limits.into_iter().find(|(_, limit)| *limit > 0)
    }

    /// Whether a proxy is named that may say who its clients are.
    pub fn trusts_a_proxy(&self) -> bool {
        let server = &self.server;
        !server.forwarded_from.is_empty() || !server.proxy_protocol_from.is_empty()
    }
}

/// Whether other machines can reach a listener.
fn is_beyond(listen: &ListenAddress) -> bool {
    !listen.address.ip().to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCAL: &str = "[server]\nforwarded_from = [\"127.0.0.1/32\"]\n";

    /// What is said of a file in prod mode, beside its credentials, which are of another key pair.
    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let keys = "[auth]\nalgorithm = \"ES256\"\njwt_public_key_file = \"key.pem\"\n";
        let config = Config::from_toml(&format!("mode = \"prod\"\n{text}{keys}")).unwrap();
        let reminders = config.reminders();
        assert_eq!(reminders.len(), expected.len(), "{reminders:?}");
        for (reminder, expected) in reminders.iter().zip(expected) {
            assert!(reminder.contains(expected), "{reminders:?}");
        }
    }

    #[test]
    fn a_deployment_is_told_what_it_forgot_and_of_nothing_else() {
        check(LOCAL, &[]);
        check("", &["`auth.max_failures_per_minute` = 60"]);
        let public = "[server]\nlisten = [\"127.0.0.1:1\", \"0.0.0.0:8080\"]\n";
        check(
            public,
            &[
                "write it as \"https://0.0.0.0:8080\"",
                "/metrics and /docs are open to all who reach 0.0.0.0:8080",
            ],
        );
        let internal = format!("{public}internal_listen = [\"127.0.0.1:9090\"]\n");
        check(&internal, &["in the clear"]);
        check(&format!("{public}forwarded_from = [\"10.0.0.0/8\"]\n"), &[]);
        check(
            &format!("{LOCAL}[events]\nauth_required = false\n"),
            &[
                "every web page may connect",
                "subscribe to nothing, by `events.subscribe` = \"authenticated\"",
            ],
        );
        let open = "[events]\nauth_required = false\n[http]\nallowed_origins = [\"https://a.example\"]\n\
                    [namespace.\"news.\"]\nsubscribe = \"everyone\"\n";
        check(&format!("{LOCAL}{open}"), &[]);
        let secret = "mode = \"prod\"\n[auth]\njwt_secret = \"0123456789abcdef0123456789abcdef\"";
        let config = Config::from_toml(&format!("{secret}\n{LOCAL}")).unwrap();
        assert!(config.reminders()[0].contains("given by value"));
        let demo =
            Config::from_toml(&format!("mode = \"demo\"\n{public}allow_open = true")).unwrap();
        assert!(demo.reminders().is_empty());
    }

    #[test]
    fn a_summary_says_what_holds() {
        let summary = |mode| Config::for_mode(mode).summary().join("\n");
        let prod = summary(Mode::Prod);
        for part in [
            "clients need credentials everywhere",
            "subscribe: authenticated; to patterns across namespaces: with a claim that covers them; publish: service",
            "connections: 100000; of a user: no limit; of an address: no limit; messages a minute of a connection: 100;",
            "memory for what waits to be sent: 1GiB; for histories: 256MiB (100 messages of a topic for 2m)",
        ] {
            assert!(prod.contains(part), "{part}: {prod}");
        }
        let demo = summary(Mode::Demo);
        assert!(
            demo.contains("without credentials: events.auth_required = false, events.demo_enabled"),
            "{demo}"
        );
        assert!(demo.contains("publish: everyone"), "{demo}");
    }
}
