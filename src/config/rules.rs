//! The rules that join several keys: credentials, exposure, lag.

use std::io;
use std::iter;
use std::net::SocketAddr;
use std::path::Path;

use super::error::Problem;
use super::secret::Secret;
use super::section::{ReadFile, Section, SectionRules};
use super::setting::Target;
use super::size;
use super::{Auth, Config, KeySetAddress, ListenAddress, Mode, TokenAlgorithm};

impl Config {
    /// Whether there is anything that a client's credentials could be checked against.
    pub fn has_credentials(&self) -> bool {
        self.auth.has_token_key() || !self.auth.api_keys.is_empty()
    }

    /// The settings that give access to clients without credentials, by key and value.
    pub fn open_endpoints(&self) -> Vec<&'static str> {
        let sections = self.sections();
        sections
            .flat_map(|section| section.open_endpoints(self.mode))
            .collect()
    }

    /// Warnings about valid but probably unintended settings, a sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.clients.auth_required && !self.has_credentials() {
            let unusable = "tokens are asked for and none can be valid: set `auth.jwt_secret_file` or JWT_SECRET, \
                            or `auth.algorithm` and `auth.jwt_public_key_file` or `auth.jwks_url`, or list services in \
                            `auth.api_keys`";
            warnings.push(unusable.to_owned());
        }
        if self.auth.jwks_url.is_some() && self.auth.audience.is_empty() {
            let all = "`auth.jwks_url` is set and `auth.audience` is empty: every token of the issuer is accepted, also \
                       one that it made for another application";
            warnings.push(all.to_owned());
        }
        let open = self.open_endpoints().join(", ");
        let beyond = self.listens_beyond_loopback();
        if let (Some(listen), false) = (beyond, open.is_empty()) {
            warnings.push(format!(
                "{listen} is open to clients without credentials: {open}"
            ));
        }
        let speaks_tls = self.server.listeners().any(|listen| listen.tls);
        if self.tls.pairs().next().is_some() && !speaks_tls {
            let unused = "there is a certificate and no listener of TLS: write one in `server.listen` as \
                          \"https://0.0.0.0:443\"";
            warnings.push(unused.to_owned());
        }
        if let (Some(redirect), false) = (self.server.redirect(), speaks_tls) {
            warnings.push(format!(
                "`server.redirect_http` sends the clients of {redirect} to https://, which this gateway does not \
                 speak: write a listener as \"https://0.0.0.0:443\" in `server.listen`, unless a proxy speaks it"
            ));
        }
        warnings.extend(self.passed_over.0.iter().cloned());
        warnings.extend(self.namespaces.warnings());
        warnings
    }

    /// The files that hold secrets, each with the path of its key.
    pub fn secret_files(&self) -> Vec<(String, &Path)> {
        let sections = self.sections();
        let files = sections.flat_map(|section| {
            let files = section.secret_files().into_iter();
            files.map(|(key, file)| (Target::Key(section.name(), key).path(), file))
        });
        files.collect()
    }

    /// Replaces the keys that name a file with a secret by the files' contents. Those of keys that change while
    /// the gateway runs are not among them, but for `auth.jwt_secret_file`, whose secret has to be there.
    pub(super) fn read_secrets(
        &mut self,
        mut read: impl FnMut(&Path) -> io::Result<Vec<u8>>,
    ) -> Vec<Problem> {
        let registered = self.registered.iter_mut().map(|section| &mut **section);
        let sections = iter::once(&mut self.auth as &mut dyn Section).chain(registered);
        sections
            .filter_map(|section| section.read_secrets(&mut read).err())
            .collect()
    }

    /// Every rule that the whole breaks.
    pub(super) fn broken_rules(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.mode == Mode::Prod && !self.has_credentials() {
            problems.push(Problem::NoCredentials);
        }
        let open = self.open_endpoints();
        let beyond = self.listens_beyond_loopback();
        if let (Some(listen), false, false) = (beyond, open.is_empty(), self.server.allow_open) {
            problems.push(Problem::OpenBeyondLoopback {
                listen,
                open: open.join(", "),
            });
        }
        problems.extend(self.mapped_addresses());
        if self.tls.pairs().next().is_none()
            && let Some(listen) = self.server.listeners().find(|listen| listen.tls)
        {
            problems.push(Problem::NoCertificate {
                listen: listen.clone(),
            });
        }
        problems.extend(self.sections().flat_map(SectionRules::broken_rules));
        problems.extend(self.lags_beyond_log());
        let namespaces = self.namespaces.iter().count();
        if namespaces > NAMESPACES_MAX {
            problems.push(Problem::TooManyNamespaces {
                given: namespaces,
                max: NAMESPACES_MAX,
            });
        }
        problems
    }

    /// The first listener that other machines can reach.
    fn listens_beyond_loopback(&self) -> Option<ListenAddress> {
        let mut listen = self.server.listeners();
        let beyond = listen.find(|listen| !is_loopback(listen.address));
        beyond.cloned()
    }

    fn mapped_addresses(&self) -> impl Iterator<Item = Problem> {
        let listen = self.server.listeners().map(|listen| listen.address);
        listen.chain(self.server.redirect()).filter_map(|listen| {
            let ip = listen.ip().to_canonical();
            let plain = SocketAddr::new(ip, listen.port());
            (listen.is_ipv6() && ip.is_ipv4()).then_some(Problem::MappedAddress { listen, plain })
        })
    }

    fn lags_beyond_log(&self) -> impl Iterator<Item = Problem> {
        let log = self.hub.max_log_size;
        let hub = (Target::Key("hub", "max_lag").path(), self.hub.max_lag);
        let given = self.namespaces.given.iter();
        let given = given.filter_map(|(prefix, keys)| {
            Some((Target::Namespace(prefix, "max_lag").path(), keys.max_lag?))
        });
        let beyond = iter::once(hub)
            .chain(given)
            .filter(move |(_, lag)| *lag > log);
        beyond.map(move |(key, lag)| Problem::LagBeyondLog {
            key,
            lag: size::show(lag),
            log: size::show(log),
        })
    }
}

impl Config {
    /// Whether a credential is asked for by whoever looks at clients or ends what they have: wherever there is one, also
    /// where clients need none.
    pub fn asks_operators(&self) -> bool {
        let auth = &self.auth;
        self.clients.auth_required || auth.has_token_key() || !auth.api_keys.is_empty()
    }
}

impl Auth {
    /// Whether there is a key that tokens can be checked with.
    pub fn has_token_key(&self) -> bool {
        self.has_own_key() || self.jwks_url.is_some()
    }

    /// Whether the configuration itself has or names a current key.
    fn has_own_key(&self) -> bool {
        self.jwt_secret.is_some()
            || self.jwt_secret_file.is_some()
            || self.jwt_public_key_file.is_some()
    }

    /// The file of the second key, if there is one.
    pub fn previous_key_file(&self) -> Option<&Path> {
        let file = self.previous_secret_file.as_deref();
        file.or(self.previous_public_key_file.as_deref())
    }
}

impl SectionRules for Auth {
    fn read_secrets(&mut self, read: ReadFile<'_>) -> Result<(), Problem> {
        let Some(path) = &self.jwt_secret_file else {
            return Ok(());
        };
        if self.jwt_secret.is_some() {
            return Err(Problem::TwoSecrets);
        }
        self.jwt_secret = Some(secret_of("auth.jwt_secret_file", path, read)?);
        Ok(())
    }

    fn broken_rules(&self) -> Vec<Problem> {
        let of_secrets = [
            ("auth.jwt_secret", self.jwt_secret.is_some()),
            (
                "auth.previous_secret_file",
                self.previous_secret_file.is_some(),
            ),
        ];
        let of_key_pairs = [
            (
                "auth.jwt_public_key_file",
                self.jwt_public_key_file.is_some(),
            ),
            (
                "auth.previous_public_key_file",
                self.previous_public_key_file.is_some(),
            ),
            ("auth.jwks_url", self.jwks_url.is_some()),
        ];
        let (foreign, own) = match self.algorithm {
            TokenAlgorithm::Hs256 => (&of_key_pairs[..], &of_secrets[..]),
            TokenAlgorithm::Rs256 | TokenAlgorithm::Es256 | TokenAlgorithm::EdDsa => {
                (&of_secrets[..], &of_key_pairs[..])
            }
        };
        let algorithm = self.algorithm.name();
        let mut problems: Vec<Problem> = foreign
            .iter()
            .filter(|(_, is_set)| *is_set)
            .map(|(key, _)| Problem::KeyOfOtherAlgorithm {
                key,
                algorithm,
                instead: own[0].0,
            })
            .collect();
        if self.previous_key_file().is_some() && !self.has_own_key() {
            problems.push(Problem::PreviousKeyAlone);
        }
        let ids = (&self.jwt_key_id, &self.previous_key_id);
        let fits = match (self.previous_key_file().is_some(), ids) {
            (false, (_, previous)) => previous.is_none(),
            (true, (Some(id), Some(previous))) => id != previous,
            (true, (id, previous)) => id.is_none() && previous.is_none(),
        };
        if !fits {
            problems.push(Problem::KeyIds);
        }
        if self.jwks_url.is_some() && self.issuer.is_none() {
            problems.push(Problem::KeySetWithoutIssuer);
        }
        let is_url = matches!(self.jwks_url, Some(KeySetAddress::Url(_)));
        if self.jwks_ca_file.is_some() && !is_url {
            problems.push(Problem::KeySetAuthorities);
        }
        problems
    }
}

/// The secret in the file that `key` names.
///
/// # Errors
/// The file does not hold one.
pub fn secret_of(key: &'static str, path: &Path, read: ReadFile<'_>) -> Result<Secret, Problem> {
    Secret::from_file(path, read).map_err(|reason| Problem::SecretFile {
        key,
        path: path.to_owned(),
        reason,
    })
}

/// Whether only this machine can reach `listen`.
fn is_loopback(listen: SocketAddr) -> bool {
    listen.ip().to_canonical().is_loopback()
}

/// Prefixes of one configuration: each is compared when a topic appears.
const NAMESPACES_MAX: usize = 1000;
