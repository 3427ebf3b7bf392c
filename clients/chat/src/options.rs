//! Arguments and environment.

use std::env;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{FalseyValueParser, Resettable};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use crate::server_url::ServerUrl;

const AFTER_HELP: &str = "\
Exit codes: 0 ended as asked, 1 unexpected, 2 wrong arguments, 3 the key or state file, 4 refused by the server,
5 the server cannot be reached (--no-reconnect, register), 6 another connection of the user has taken over,
7 something that a script has said was not sent, or not confirmed.

Environment: WS_PRIVATE_KEY, the private key as `keygen` prints it; SSL_CERT_FILE, a PEM file of certificates to trust.

  fanfare-chat --server http://127.0.0.1:8080 --user alice --key-file alice.key";

/// Messages a second, where there is no limit.
const RATE_MAX: f64 = 1e6;
/// The options that `register` uses.
const OF_REGISTER: &[&str] = &[
    "server",
    "user_id",
    "username",
    "key_file",
    "state",
    "insecure_tls",
    "json",
    "debug",
];

/// Talks to other users of a gateway that speaks the messenger protocol: direct messages, encrypted from end to
/// end, and broadcasts.
#[derive(Debug, Parser)]
#[command(name = "fanfare-chat", version, after_help = AFTER_HELP, max_term_width = 120)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) options: Options,
}

impl Cli {
    /// Reads arguments and environment; ends the program where they are wrong, or ask for help.
    pub(crate) fn read() -> Self {
        let mut matches = command().get_matches();
        let is_variable = matches.value_source("server") == Some(ValueSource::EnvVariable);
        let mut cli = Self::from_arg_matches_mut(&mut matches).unwrap_or_else(|error| error.exit());
        if is_variable {
            cli.options.server.option = "WS_SERVER_URL";
        }
        cli
    }
}

/// All commands; each shows the options that it uses, and takes the others all the same.
fn command() -> clap::Command {
    let command = Cli::command().mut_args(without_empty);
    let options: Vec<Arg> = command.get_arguments().cloned().collect();
    let hide = |command: clap::Command, used: &[&str]| {
        let others = options.iter().filter(|it| it.is_global_set());
        let others = others.filter(|it| !used.contains(&it.get_id().as_str()));
        command.args(others.map(|it| it.clone().hide(true)))
    };
    command
        .mut_subcommand("keygen", |it| hide(it, &["json"]))
        .mut_subcommand("register", |it| hide(it, OF_REGISTER))
}

/// An option whose variable is empty is not set.
fn without_empty(option: Arg) -> Arg {
    let value = option.get_env().and_then(env::var_os);
    match value.is_some_and(|it| it.is_empty()) {
        true => option.env(Resettable::Reset),
        false => option,
    }
}

/// Something else than a chat.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Makes a private key, and prints it or writes it to a file that only its owner reads
    Keygen {
        /// The file; it must not be there yet
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Registers the user, or shows that the account has this key
    Register,
}

/// What each command takes.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The server
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "WS_SERVER_URL",
        default_value = "https://localhost:443",
        value_parser = ServerUrl::parse,
    )]
    pub(crate) server: ServerUrl,
    /// The user's id
    #[arg(long = "user", global = true, value_name = "ID", env = "WS_USER_ID")]
    pub(crate) user_id: Option<String>,
    /// The name that the id is registered with, if it is not the id itself
    #[arg(long, global = true, value_name = "NAME", env = "WS_USERNAME")]
    pub(crate) username: Option<String>,
    /// The file of the private key, which is made where there is none
    #[arg(long, global = true, value_name = "FILE", env = "WS_PRIVATE_KEY_FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// A file that remembers which messages were seen and the keys of users
    #[arg(long, global = true, value_name = "FILE", env = "WS_STATE_FILE")]
    pub(crate) state: Option<PathBuf>,
    /// When to encrypt direct messages
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "WHEN",
        env = "WS_ENCRYPTION",
        default_value = "preferred"
    )]
    pub(crate) encryption: Encryption,
    /// Broadcasts "NAME is now online" once it is connected
    #[arg(long, global = true, env = "AUTO_ANNOUNCE", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
    pub(crate) auto_announce: bool,
    /// Broadcasts "Auto message from NAME at HH:MM:SS" again and again
    #[arg(long, global = true, env = "AUTO_MODE", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
    pub(crate) auto_mode: bool,
    /// Seconds between these
    #[arg(
        long,
        global = true,
        value_name = "SECONDS",
        env = "AUTO_INTERVAL",
        default_value = "30",
        value_parser = seconds,
    )]
    pub(crate) auto_interval: Duration,
    /// Messages a second that the server allows; more are sent later; 0 for no limit
    #[arg(
        long,
        global = true,
        value_name = "NUMBER",
        env = "MESSAGE_RATE_LIMIT",
        default_value = "5",
        value_parser = rate,
    )]
    pub(crate) rate: f64,
    /// Messages at once that the server allows
    #[arg(
        long,
        global = true,
        value_name = "NUMBER",
        env = "MESSAGE_BURST_LIMIT",
        default_value = "10",
        value_parser = clap::value_parser!(u32).range(1..),
    )]
    pub(crate) burst: u32,
    /// The origin to come from, for servers that allow some only
    #[arg(long, global = true, value_name = "ORIGIN", env = "WS_ORIGIN")]
    pub(crate) origin: Option<String>,
    /// Accepts any certificate: whoever is in between reads and changes what is not encrypted from end to end
    #[arg(long, global = true, env = "INSECURE_TLS", action = ArgAction::SetTrue, value_parser = insecure)]
    pub(crate) insecure_tls: bool,
    /// Ends when the connection does, or when there is none
    #[arg(long, global = true)]
    pub(crate) no_reconnect: bool,
    /// Prints one JSON object a line
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Tells requests and messages on standard error, without tokens
    #[arg(long, global = true, env = "DEBUG", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
    pub(crate) debug: bool,
}

/// When direct messages are encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Encryption {
    /// Always: to users without a key for it nothing is sent
    Required,
    /// To users who have a key for it
    Preferred,
    /// Never
    Off,
}

/// The switch that costs safety: set by what is certainly meant so.
fn insecure(text: &str) -> Result<bool, String> {
    match &*text.to_ascii_lowercase() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "" | "0" | "false" | "no" | "off" => Ok(false),
        _ => Err("true or false".into()),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.1..=86400.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("from 0.1 to 86400 seconds".into()),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        // As the gateway's: there is no limit.
        Ok(0.0) => Ok(RATE_MAX),
        Ok(rate) if (0.01..=RATE_MAX).contains(&rate) => Ok(rate),
        _ => Err("from 0.01 to 1000000 a second, or 0 for no limit".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_as_clap_wants_them() {
        command().debug_assert();
    }

    #[test]
    fn limits_are_kept() {
        assert_eq!(seconds("30"), Ok(Duration::from_secs(30)));
        assert!(seconds("0").is_err() && seconds("nan").is_err() && seconds("x").is_err());
        assert_eq!(rate("0.5"), Ok(0.5));
        assert!(insecure("Yes") == Ok(true) && insecure("off") == Ok(false));
        assert!(insecure("maybe").is_err() && insecure("none").is_err());
        assert_eq!(rate("0"), Ok(RATE_MAX));
        assert!(rate("0.001").is_err() && rate("inf").is_err());
    }
}
