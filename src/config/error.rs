//! The errors of a configuration: all of them at once, each with a remedy.

use std::fmt::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;

use super::{ListenAddress, Secret, SocketPath};

/// All that is wrong with a configuration. `Display` writes a line for each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// What is wrong. Never empty.
    pub problems: Vec<Problem>,
}

impl ConfigError {
    pub(super) fn unless_empty(problems: Vec<Problem>) -> Result<(), Self> {
        match problems.is_empty() {
            true => Ok(()),
            false => Err(Self { problems }),
        }
    }
}

/// One thing that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The file is not TOML.
    #[error("{origin}: {reason}")]
    Syntax {
        /// File and line.
        origin: String,
        /// The parser's message.
        reason: String,
    },
    /// A name that means nothing.
    #[error("{origin}: unknown {what} `{name}`{}", suggestion(nearest.as_deref()))]
    Unknown {
        /// Where it was given.
        origin: String,
        /// `key`, `section` or `variable`.
        what: &'static str,
        /// What was given.
        name: String,
        /// The known name most like it, if one is.
        nearest: Option<String>,
    },
    /// A variable in a file that only the environment may have.
    #[error("{origin}: `{name}` counts in the environment only; take it out of this file")]
    Misplaced {
        /// File and line.
        origin: String,
        /// The variable.
        name: String,
    },
    /// A value that its key does not accept.
    #[error("{origin}: `{key}` cannot be {given}; accepted: {accepted}")]
    Value {
        /// Where it was given.
        origin: String,
        /// The key.
        key: String,
        /// The value, unless it is secret.
        given: String,
        /// The accepted values.
        accepted: String,
    },
    /// Both ways to give the secret are used.
    #[error(
        "both `auth.jwt_secret` and `auth.jwt_secret_file` are set (JWT_SECRET sets the first): leave one of them out"
    )]
    TwoSecrets,
    /// Both ways to give a protocol's secret are used.
    #[error("both `{value}` and `{file}` are set: leave one of them out")]
    SecretTwice {
        /// The key of the secret itself.
        value: &'static str,
        /// The key of its file.
        file: &'static str,
    },
    /// The secret's file does not hold a secret.
    #[error("`{key}`: cannot use {}: {reason}", path.display())]
    SecretFile {
        /// The key that names the file.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// The error.
        reason: String,
    },
    /// A key that the algorithm does not use.
    #[error(
        "`{key}` is set and `auth.algorithm` is \"{algorithm}\", which does not use it: leave it out and set `{instead}`, \
         or set the key's algorithm"
    )]
    KeyOfOtherAlgorithm {
        /// The key.
        key: &'static str,
        /// The algorithm.
        algorithm: &'static str,
        /// What the algorithm uses instead.
        instead: &'static str,
    },
    /// A second key without a first.
    #[error(
        "a previous key is set and no current one: set `auth.jwt_secret_file` or `auth.jwt_public_key_file`"
    )]
    PreviousKeyAlone,
    /// Key ids that do not tell the keys apart.
    #[error(
        "`auth.jwt_key_id` and `auth.previous_key_id` tell two keys apart: set both, different, or none; the second only with a previous key"
    )]
    KeyIds,
    /// A key set of any issuer.
    #[error(
        "`auth.jwks_url` is set and `auth.issuer` is not: a key set belongs to one issuer, and a token of another one \
         must not count; set it to the `iss` of the tokens"
    )]
    KeySetWithoutIssuer,
    /// Authorities for a set that is not fetched.
    #[error(
        "`auth.jwks_ca_file` is set and no key set is fetched: leave it out, or set `auth.jwks_url` to an https:// address"
    )]
    KeySetAuthorities,
    /// Production without any credentials to check against.
    #[error(
        "mode \"prod\" needs credentials to check clients against: set `auth.jwt_secret_file` to a file of at least {} \
         bytes (`openssl rand -hex 32`) or the environment variable JWT_SECRET, or `auth.algorithm` and \
         `auth.jwt_public_key_file` or `auth.jwks_url`, or list services in `auth.api_keys`; \
         to try the gateway out without any, use `--mode demo`",
        Secret::LEN_MIN
    )]
    NoCredentials,
    /// Something is open and a listener is not on loopback.
    #[error(
        "{listen} can be reached from other machines while open to clients without credentials: {open}; listen on \
         127.0.0.1 or [::1], or close these, or say `--allow-open` (`server.allow_open = true`) if that is what you want"
    )]
    OpenBeyondLoopback {
        /// The first such listener.
        listen: ListenAddress,
        /// What is open, by key and value.
        open: String,
    },
    /// An address that two listeners have.
    #[error("two listeners have the address {0}: give each one its own port")]
    ListensTwice(SocketAddr),
    /// A path that two listeners have.
    #[error("two listeners have the unix socket {0}: give each one its own path")]
    SocketTwice(SocketPath),
    /// A unix socket where several processes listen.
    #[error(
        "`server.share_port` is on, and the unix socket {0} is of one process: leave one of them out"
    )]
    SocketShared(SocketPath),
    /// A listener of TLS without a certificate.
    #[error(
        "the listener {listen} speaks TLS, for which it needs a certificate: set `tls.certificate_file` and \
         `tls.key_file`; to try it out, `fanfare gen-cert` makes both"
    )]
    NoCertificate {
        /// The listener.
        listen: ListenAddress,
    },
    /// Certificates and keys that are no pairs.
    #[error(
        "`tls.certificate_file` has {certificates} and `tls.key_file` {keys}: each certificate has its key at the \
         same place of the other list"
    )]
    CertificatePairs {
        /// The number of certificate files.
        certificates: usize,
        /// The number of key files.
        keys: usize,
    },
    /// Certificates of clients, and no authority that may have issued them, or the other way round.
    #[error(
        "`tls.client_certificates` = \"{asked}\" {}",
        if *.has_ca {
            "asks no client for a certificate, so that `tls.client_ca_file` is not used: say \"optional\" or \"required\""
        } else {
            "needs `tls.client_ca_file`, the certificates of those who may issue them"
        }
    )]
    ClientCertificates {
        /// The value of the key.
        asked: &'static str,
        /// Whether authorities are given.
        has_ca: bool,
    },
    /// An IPv4 address in the form of IPv6.
    #[error(
        "the listener {listen} is an IPv4 address in IPv6's form, which cannot be listened on: write {plain}"
    )]
    MappedAddress {
        /// The listener.
        listen: SocketAddr,
        /// The same as IPv4 writes it.
        plain: SocketAddr,
    },
    /// A path of a protocol that has another meaning.
    #[error(
        "`{key}` is \"{path}\", and `{taken}` with all that is below it belongs to other endpoints of the gateway: choose another path"
    )]
    PathTaken {
        /// The key.
        key: &'static str,
        /// Its value.
        path: String,
        /// What it collides with.
        taken: &'static str,
    },
    /// One path with two meanings.
    #[error("`{first}` and `{second}` are both \"{path}\": choose different paths")]
    PathTwice {
        /// A key.
        first: &'static str,
        /// The other key.
        second: &'static str,
        /// The value of both.
        path: String,
    },
    /// A client could lag further than the log reaches.
    #[error(
        "`{key}` ({lag}) is above `hub.max_log_size` ({log}): a client cannot lag further than the log reaches; lower the first or raise the second"
    )]
    LagBeyondLog {
        /// The key of the lag.
        key: String,
        /// Its value.
        lag: String,
        /// The size of the log.
        log: String,
    },
    /// More prefixes than are looked through for a topic.
    #[error("{given} namespaces are given; accepted: at most {max}")]
    TooManyNamespaces {
        /// How many.
        given: usize,
        /// The limit.
        max: usize,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.problems.iter().enumerate() {
            if at > 0 {
                f.write_char('\n')?;
            }
            // Names come from a file as they are, and a quoted one may hold anything.
            for c in problem.to_string().chars() {
                if c.is_control() {
                    write!(f, "{}", c.escape_default())?;
                } else {
                    f.write_char(c)?;
                }
            }
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

fn suggestion(nearest: Option<&str>) -> String {
    nearest
        .map(|name| format!("; did you mean `{name}`?"))
        .unwrap_or_default()
}
