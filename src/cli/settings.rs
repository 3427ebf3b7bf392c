//! The arguments that make a configuration, and making it.

use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::SystemTime;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::escape::escaped;
use super::exit::Exit;
use super::{files, output};
use crate::auth::Keyring;
use crate::config::{
    CONFIG_VARIABLE, Config, Document, ENV_FILE_VARIABLE, Explained, Flag, ListenAddress, Mode,
    Sources,
};
use crate::dialect;
use crate::net::TlsServer;
use crate::server::KeySetSource;

/// The arguments that make a configuration.
#[derive(Debug, Args)]
pub(super) struct Settings {
    /// Configuration file (TOML); `fanfare default-config` prints one
    #[arg(long, value_name = "FILE", env = CONFIG_VARIABLE)]
    config: Option<OsString>,
    #[command(flatten)]
    env_file: EnvFile,
    /// Address to listen on, https://ADDRESS for TLS; repeat it for more [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    listen: Vec<ListenAddress>,
    /// Certificate of the listeners that speak TLS (PEM); repeat it for more hosts
    #[arg(long, value_name = "FILE", value_parser = listed_file)]
    tls_certificate: Vec<String>,
    /// Private key of the certificate (PEM); repeat it in the certificates' order
    #[arg(long, value_name = "FILE", value_parser = listed_file)]
    tls_key: Vec<String>,
    /// Threads that serve connections; 0: one per available core [default: 0]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=1024))]
    shards: Option<u16>,
    /// Where the other defaults come from [default: prod]
    #[arg(long, value_parser = modes())]
    mode: Option<Mode>,
    /// Listen beyond loopback although something is open to clients without credentials
    #[arg(long)]
    allow_open: bool,
}

/// The argument that names an environment file.
#[derive(Debug, Clone, Args)]
pub(super) struct EnvFile {
    /// File of variables that the environment lacks; "": none [default: .env, if there is one]
    #[arg(long = "env-file", value_name = "FILE", env = ENV_FILE_VARIABLE)]
    name: Option<OsString>,
}

/// A configuration, and what went into it that is worth a line in the log.
#[derive(Debug)]
pub(super) struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What is allowed yet likely not meant, a sentence each.
    pub warnings: Vec<String>,
    /// The environment file, if one was read, and how many settings it gives.
    pub env_file: Option<(String, usize)>,
}

/// Reads the name of a mode.
pub(super) fn modes() -> impl TypedValueParser<Value = Mode> {
    let names = PossibleValuesParser::new(["demo", "dev", "prod"]);
    names.try_map(|name| name.parse::<Mode>())
}

impl Settings {
    /// Only files and the environment.
    pub(super) fn of_files(config: Option<OsString>, env_file: EnvFile) -> Self {
        Self {
            config,
            env_file,
            listen: Vec::new(),
            tls_certificate: Vec::new(),
            tls_key: Vec::new(),
            shards: None,
            mode: None,
            allow_open: false,
        }
    }

    /// The configuration of files, environment and flags. What is wrong has been said when this fails.
    pub(super) fn load(&self) -> Result<Loaded, Exit> {
        let sources = self.sources()?;
        let config =
            Config::from_sources(&sources, files::read).map_err(|error| refused(&error))?;
        let keys = Keyring::load(&config.auth, files::read).map_err(|error| refused(&error))?;
        let mut warnings = config.warnings();
        warnings.extend(keys.warnings());
        if let Some(key_set) = KeySetSource::of(&config.auth) {
            key_set.check().map_err(|error| refused(&error))?;
        }
        if config.tls.pairs().next().is_some() {
            let tls = TlsServer::new(&config.tls, files::read).map_err(|error| refused(&error))?;
            warnings.extend(tls.warnings(SystemTime::now()));
        }
        warnings.extend(readable_secrets(&config));
        let settings = sources.settings_of_env_file();
        let env_file = sources.env_file.map(|(name, _)| (name, settings));
        Ok(Loaded {
            config,
            warnings,
            env_file,
        })
    }

    /// The same without its credentials, which are not asked for, and whose files are not read: for what
    /// concerns the host.
    pub(super) fn values(&self) -> Result<Config, Exit> {
        let values = self.sources()?.values();
        values.map_err(|error| refused(&error))
    }

    /// The same, with every value's place.
    pub(super) fn explained(&self) -> Result<Explained, Exit> {
        let explained = self.sources()?.explained();
        explained.map_err(|error| refused(&error))
    }

    fn sources(&self) -> Result<Sources, Exit> {
        Ok(Sources {
            env_file: self.env_file.read()?,
            file: self.read_file()?,
            env: std::env::vars_os().collect(),
            flags: self.flags(),
            sections: dialect::sections(&[]),
        })
    }

    fn read_file(&self) -> Result<Option<(String, String)>, Exit> {
        let Some(name) = self.config.as_deref().filter(|name| !is_unset(name)) else {
            return Ok(None);
        };
        let path = Path::new(name);
        let bytes = files::read(path);
        let bytes = bytes.map_err(|error| unusable("configuration", path, &error))?;
        text("configuration", path, bytes).map(Some)
    }

    fn flags(&self) -> Vec<Flag> {
        let listen: Vec<_> = self.listen.iter().map(ListenAddress::to_string).collect();
        let list = |items: &[String]| (!items.is_empty()).then(|| items.join(","));
        let values = [
            (
                "--mode",
                None,
                "mode",
                self.mode.map(|mode| mode.to_string()),
            ),
            ("--listen", Some("server"), "listen", list(&listen)),
            (
                "--tls-certificate",
                Some("tls"),
                "certificate_file",
                list(&self.tls_certificate),
            ),
            ("--tls-key", Some("tls"), "key_file", list(&self.tls_key)),
            (
                "--shards",
                Some("server"),
                "shards",
                self.shards.map(|shards| shards.to_string()),
            ),
            (
                "--allow-open",
                Some("server"),
                "allow_open",
                self.allow_open.then(|| true.to_string()),
            ),
        ];
        let given = values
            .into_iter()
            .filter_map(|(name, section, key, value)| {
                Some(Flag {
                    name,
                    section,
                    key,
                    value: value?,
                })
            });
        given.collect()
    }
}

impl EnvFile {
    /// Name and text of the file; `None` where none is named and there is none, or the name is empty.
    fn read(&self) -> Result<Option<(String, String)>, Exit> {
        let path = match &self.name {
            Some(name) if name.is_empty() => return Ok(None),
            Some(name) => Path::new(name),
            None => Path::new(DEFAULT_ENV_FILE),
        };
        match files::read(path) {
            Ok(bytes) => text("environment", path, bytes).map(Some),
            // A directory of that name is no setting of ours; in one that may not be entered there is nothing.
            Err(_) if self.name.is_none() && !path.is_file() => Ok(None),
            Err(error) => Err(unusable("environment", path, &error)),
        }
    }

    /// The TOML file that this file, the environment and `mode` amount to. What is wrong has been said
    /// when this fails.
    pub(super) fn document(&self, mode: Option<Mode>) -> Result<Document, Exit> {
        let mode = mode.map(|mode| Flag {
            name: "--mode",
            section: None,
            key: "mode",
            value: mode.to_string(),
        });
        let sources = Sources {
            env_file: self.read()?,
            file: None,
            env: std::env::vars_os().collect(),
            flags: mode.into_iter().collect(),
            sections: dialect::sections(&[]),
        };
        sources.document().map_err(|error| refused(&error))
    }
}

/// A sentence for each file with a secret that every user of this machine may read or change.
fn readable_secrets(config: &Config) -> impl Iterator<Item = String> {
    let files = config.secret_files().into_iter();
    files.filter_map(|(key, path)| {
        let mode = fs::metadata(path).ok()?.permissions().mode();
        (mode & OTHERS != 0).then(|| {
            let path = path.display().to_string();
            format!(
                "`{key}`: every user of this machine may read or change {path} (mode {:04o}): `chmod 0640 {path}`, \
                 and the gateway's user as its owner or in its group",
                mode & 0o7777
            )
        })
    })
}

/// The name of a file of which there may be several. Commas divide them.
fn listed_file(name: &str) -> Result<String, String> {
    if name.trim().is_empty() || name.contains(',') {
        return Err(
            "accepted: the name of a file; one with a comma is written in the configuration file"
                .to_owned(),
        );
    }
    Ok(name.to_owned())
}

/// Whether `name` is the value of an empty variable, which is one that is not set.
fn is_unset(name: &OsStr) -> bool {
    let is_empty = |value: OsString| value.is_empty();
    name.is_empty() && std::env::var_os(CONFIG_VARIABLE).is_some_and(is_empty)
}

/// Says that the configuration is refused.
fn refused(error: &dyn Display) -> Exit {
    output::complain(&format_args!("the configuration is refused:\n{error}"));
    Exit::Config
}

/// Says that a file cannot be used.
fn unusable(kind: &str, path: &Path, reason: &dyn Display) -> Exit {
    let path = path.display().to_string();
    output::complain(&format_args!(
        "cannot use the {kind} file {}: {reason}",
        escaped(&path)
    ));
    Exit::Config
}

/// Name and text of a file that holds `bytes`.
fn text(kind: &str, path: &Path, bytes: Vec<u8>) -> Result<(String, String), Exit> {
    match String::from_utf8(bytes) {
        Ok(text) => Ok((path.display().to_string(), text)),
        Err(_) => Err(unusable(kind, path, &"it is not UTF-8 text")),
    }
}

/// What those may do with a file who are neither its owner nor in its group.
const OTHERS: u32 = 0o007;

/// The environment file where none is named, in the working directory.
const DEFAULT_ENV_FILE: &str = ".env";
