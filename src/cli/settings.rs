//! The arguments that make a configuration, and making it.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::exit::Exit;
use super::{files, output};
use crate::auth::Keyring;
use crate::config::{CONFIG_VARIABLE, Config, Flag, Mode, Sources};

/// The arguments that make a configuration.
#[derive(Debug, Args)]
pub(super) struct Settings {
    /// Configuration file (TOML); `fanfare default-config` prints one
    #[arg(long, value_name = "FILE", env = CONFIG_VARIABLE)]
    config: Option<PathBuf>,
    /// Address to listen on; repeat it for more [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    listen: Vec<SocketAddr>,
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

/// Reads the name of a mode.
pub(super) fn modes() -> impl TypedValueParser<Value = Mode> {
    let names = PossibleValuesParser::new(["demo", "dev", "prod"]);
    names.try_map(|name| name.parse::<Mode>())
}

impl Settings {
    /// Only a file, if any, and the environment.
    pub(super) fn of_file(config: Option<PathBuf>) -> Self {
        Self {
            config,
            listen: Vec::new(),
            shards: None,
            mode: None,
            allow_open: false,
        }
    }

    /// The configuration of file, environment and flags. What is wrong has been said when this fails.
    pub(super) fn load(&self) -> Result<Config, Exit> {
        let file = self.read_file()?;
        let sources = Sources {
            file,
            env: std::env::vars_os().collect(),
            flags: self.flags(),
        };
        let refuse = |error: &dyn std::fmt::Display| {
            output::complain(&format_args!("the configuration is refused:\n{error}"));
            Exit::Config
        };
        let config = Config::from_sources(&sources, files::read).map_err(|error| refuse(&error))?;
        Keyring::load(&config.auth, files::read).map_err(|error| refuse(&error))?;
        Ok(config)
    }

    fn read_file(&self) -> Result<Option<(String, String)>, Exit> {
        let Some(path) = &self.config else {
            return Ok(None);
        };
        let refuse = |reason: &dyn std::fmt::Display| {
            output::complain(&format_args!(
                "cannot use the configuration file {}: {reason}",
                path.display()
            ));
            Exit::Config
        };
        let bytes = files::read(path).map_err(|error| refuse(&error))?;
        let text = String::from_utf8(bytes).map_err(|_| refuse(&"it is not UTF-8 text"))?;
        Ok(Some((path.display().to_string(), text)))
    }

    fn flags(&self) -> Vec<Flag> {
        let listen: Vec<_> = self.listen.iter().map(SocketAddr::to_string).collect();
        let values = [
            (
                "--mode",
                None,
                "mode",
                self.mode.map(|mode| mode.to_string()),
            ),
            (
                "--listen",
                Some("server"),
                "listen",
                (!listen.is_empty()).then(|| listen.join(",")),
            ),
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
