//! The grammar of the command line, and the help that teaches it.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};

use super::host_name::HostName;
use super::settings::{EnvFile, Settings, modes};
use crate::config::{
    CONFIG_VARIABLE, Config, Mode, TOKEN_VARIABLE, TokenAlgorithm, parse_duration,
};
use crate::dialect::sections;

/// A WebSocket and SSE gateway tuned for raw throughput.
#[derive(Debug, Parser)]
#[command(name = "fanfare", version, arg_required_else_help = true, after_help = EXAMPLES, max_term_width = 100)]
pub(super) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: CliCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum CliCommand {
    /// Run the gateway until SIGTERM or SIGINT
    ///
    /// Every setting comes from the defaults of the mode, then .env, then the configuration file, then
    /// the environment (FANFARE_SECTION__KEY), then these flags.
    #[command(after_help = serve_help())]
    Serve(Settings),
    /// Check the configuration that `serve` would use, and print what it changes
    ///
    /// Takes the flags of `serve`. Prints the mode and every key that differs from its default there
    /// as TOML, secrets hidden. Ends with 0 when `serve` would accept it, with 78 otherwise.
    ///
    /// With --explain it says instead what holds for a topic, or for the topics of a pattern: which
    /// namespace it is in, each value and where that comes from, and who may subscribe and publish.
    /// Credentials are not asked for then.
    #[command(after_help = CHECK_CONFIG)]
    CheckConfig(Box<CheckConfig>),
    /// Print a configuration file with every key, what it means and its default
    ///
    /// With --from-env, the file that the environment amounts to instead: the mode and every key that
    /// differs from its default there, each with the variable it came from. Secrets are named, not told.
    DefaultConfig(DefaultConfig),
    /// Print a token for a user, signed with the configured secret or a private key
    ///
    /// The secret is that of the configuration (auth.jwt_secret_file, JWT_SECRET, ..) or of
    /// --secret-file; it is never an argument, because every user of a machine can read those. With
    /// the configuration's secret, its issuer, audience and key id are what the token says unless
    /// told otherwise.
    #[command(after_help = GEN_TOKEN)]
    GenToken(Box<GenToken>),
    /// Make a self-signed certificate and its key, to try TLS out
    ///
    /// Writes two PEM files: a certificate for the names given, signed with its own key (ECDSA P-256),
    /// and that key, which only its owner can read. Says what to do with them.
    ///
    /// No client trusts such a certificate unless it is given the file, and browsers warn. What the
    /// public connects to needs a certificate of an authority (docs/tls.md).
    #[command(after_help = GEN_CERT)]
    GenCert(GenCert),
    /// Publish an event to a running gateway
    ///
    /// Sends POST /api/v1/events and prints the answer.
    #[command(after_help = PUBLISH)]
    Publish(Publish),
    /// Ask a running gateway why a user's connections ended, and who is connected
    ///
    /// Sends GET /api/v1/connections with a service's token, and prints for the user, or for an address,
    /// what is connected now and how the last connections and requests ended.
    #[command(after_help = EXPLAIN)]
    Explain(Explain),
    /// Check this host against what the gateway needs of it, and say what to run
    ///
    /// Takes the flags of `serve`, and needs no credentials. Looks at limits of files and memory, queues,
    /// ports, buffers, cores and the kernel's settings, and changes nothing.
    #[command(after_help = DOCTOR)]
    Doctor(Box<Doctor>),
    /// Check, copy or shrink the database of accounts and messages
    ///
    /// Takes the database of the configuration (store.url), or the file that --database names.
    #[command(after_help = STORE)]
    Store(StoreArguments),
    /// Print the version
    Version,
}

#[derive(Debug, Args)]
pub(super) struct CheckConfig {
    #[command(flatten)]
    pub settings: Settings,
    /// Say what holds for this topic or pattern
    #[arg(long, value_name = "TOPIC")]
    pub explain: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct DefaultConfig {
    /// The mode whose defaults are printed [default: prod]
    #[arg(long, value_parser = modes())]
    pub mode: Option<Mode>,
    /// Print what the environment and its file set, no other file
    #[arg(long)]
    pub from_env: bool,
    #[command(flatten)]
    pub env_file: EnvFile,
}

#[derive(Debug, Args)]
pub(super) struct GenToken {
    /// The user the token is for
    #[arg(long, value_name = "USER")]
    pub sub: String,
    /// How long the token is valid
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration)]
    pub ttl: Duration,
    /// The role claim
    #[arg(long)]
    pub role: Option<String>,
    /// Configuration file that names the secret
    #[arg(long, value_name = "FILE", env = CONFIG_VARIABLE)]
    pub config: Option<OsString>,
    #[command(flatten)]
    pub env_file: EnvFile,
    /// File that holds the secret, at least 32 bytes; comes before the configuration's
    #[arg(long, value_name = "FILE")]
    pub secret_file: Option<PathBuf>,
    /// File that holds a private key (PEM, PKCS#8), instead of a secret
    #[arg(
        long,
        value_name = "FILE",
        requires = "algorithm",
        conflicts_with = "secret_file"
    )]
    pub key_file: Option<PathBuf>,
    /// The algorithm of the private key
    #[arg(long, requires = "key_file", value_parser = algorithms())]
    pub algorithm: Option<TokenAlgorithm>,
    /// The id of the key (`kid`), where the gateway has one configured
    #[arg(long, value_name = "ID")]
    pub kid: Option<String>,
    /// The issuer claim
    #[arg(long, value_name = "NAME")]
    pub issuer: Option<String>,
    /// The audience claim; repeat it for more
    #[arg(long, value_name = "NAME")]
    pub audience: Vec<String>,
    /// Topic or pattern that may be subscribed to, and then no others; repeat it for more
    #[arg(long, value_name = "GLOB")]
    pub subscribe: Vec<String>,
    /// Topic or pattern that may be published to, and then no others; repeat it for more
    #[arg(long, value_name = "GLOB")]
    pub publish: Vec<String>,
    /// Topic or pattern that may be neither subscribed nor published to; repeat it for more
    #[arg(long, value_name = "GLOB")]
    pub deny: Vec<String>,
    /// Command that may be given, and then no others; repeat it for more
    #[arg(long, value_name = "NAME")]
    pub command: Vec<String>,
    /// Topics that may be used, and then no others, as a glob of bytes (claim `wse_topics`); repeat it for more
    #[arg(long, value_name = "GLOB")]
    pub wse_allow: Vec<String>,
    /// Topics that may not be used, as a glob of bytes (claim `wse_topics`); repeat it for more
    #[arg(long, value_name = "GLOB")]
    pub wse_deny: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct GenCert {
    /// Host that it is for, a DNS name or an IP address; repeat it for more
    #[arg(long = "name", value_name = "NAME", default_values = ["localhost", "127.0.0.1", "::1"])]
    pub names: Vec<HostName>,
    /// How long it is valid; Apple's systems accept no more than 825 days
    #[arg(long, value_name = "N", default_value_t = 365, value_parser = clap::value_parser!(u16).range(1..=3650))]
    pub days: u16,
    /// Where the certificate is written
    #[arg(long, value_name = "FILE", default_value = "fanfare.crt")]
    pub certificate: PathBuf,
    /// Where its key is written
    #[arg(long, value_name = "FILE", default_value = "fanfare.key")]
    pub key: PathBuf,
    /// Write over files that are there
    #[arg(long)]
    pub force: bool,
}

#[derive(Debug, Args)]
pub(super) struct StoreArguments {
    /// What to do
    #[command(subcommand)]
    pub command: StoreCommand,
    /// The database's file, instead of that of the configuration
    #[arg(long, value_name = "FILE", global = true)]
    pub database: Option<PathBuf>,
    /// Configuration file that names the database
    #[arg(long, value_name = "FILE", env = CONFIG_VARIABLE, global = true)]
    pub config: Option<OsString>,
    #[command(flatten)]
    pub env_file: EnvFile,
}

/// What is done to a database.
#[derive(Debug, Subcommand)]
pub(super) enum StoreCommand {
    /// Check that the database is whole; a gateway may be using it
    Check,
    /// Copy the database to a new file, and check the copy; a gateway may be using the database
    Backup {
        /// Where the copy is written; nothing is written over
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Give back the room of what was deleted; no gateway may be using the database
    Vacuum,
}

#[derive(Debug, Args)]
pub(super) struct Publish {
    #[command(flatten)]
    pub gateway: GatewayArguments,
    /// The event's name: letters, digits and _ . : - (1 to 128 of them)
    #[arg(long, value_name = "NAME")]
    pub event: String,
    /// The event's data, any JSON; read from standard input when left out
    #[arg(long, value_name = "JSON")]
    pub data: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Explain {
    /// What is known of this user
    #[arg(long, value_name = "USER", required_unless_present = "ip")]
    pub user: Option<String>,
    /// What is known of clients at this address
    #[arg(long, value_name = "ADDRESS")]
    pub ip: Option<IpAddr>,
    /// How many connections, and how many of the last ends
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub limit: u16,
    /// Print the gateway's answer as it is, which is JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub gateway: GatewayArguments,
}

/// Where a running gateway is, and how it is asked.
#[derive(Debug, Args)]
pub(super) struct GatewayArguments {
    /// The gateway; https:// where it speaks TLS
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    pub url: String,
    /// File of the certificates to trust (PEM), instead of this machine's authorities
    ///
    /// Authorities, or the gateway's own certificate where it is self-signed, as that of `fanfare
    /// gen-cert`. Without it, what the machine trusts or SSL_CERT_FILE names.
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Trust any certificate: for trying out only
    ///
    /// Neither who has issued the certificate nor the host that it is for is looked at. Whoever is on
    /// the way can pretend to be the gateway, and gets the token and what is sent. Use --ca-file
    /// instead wherever the file can be had.
    #[arg(long, conflicts_with = "ca_file")]
    pub insecure: bool,
    /// Token of a service or user; better kept in the environment
    #[arg(long, env = TOKEN_VARIABLE, hide_env_values = true)]
    pub token: Option<String>,
    /// How long to wait for the answer
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub timeout: Duration,
}

#[derive(Debug, Args)]
pub(super) struct Doctor {
    #[command(flatten)]
    pub settings: Settings,
    /// Connections to be held at once [default: server.max_connections]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    pub connections: Option<u32>,
    /// Print a JSON document
    #[arg(long)]
    pub json: bool,
    /// Where /proc, /sys and /etc of the host are, as in a container that has them mounted and runs
    /// in its network and pid namespaces (--network host --pid host)
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub root: PathBuf,
}

fn algorithms() -> impl TypedValueParser<Value = TokenAlgorithm> {
    let names = PossibleValuesParser::new(["RS256", "ES256", "EdDSA"]);
    names.try_map(|name| TokenAlgorithm::parse(&name).ok_or("no such algorithm"))
}

fn duration(text: &str) -> Result<Duration, String> {
    let parsed = parse_duration(text).filter(|duration| !duration.is_zero());
    parsed.ok_or_else(|| {
        "a duration is written with its unit (us, ms, s, m, h), as 10s or 1h".to_owned()
    })
}

const EXAMPLES: &str = "\
Examples:
  fanfare serve --mode demo                      everything open, on 127.0.0.1:8080, to try it out
  fanfare publish --event news --data '{\"n\":1}'  to everybody who subscribed to news
  fanfare default-config > fanfare.toml          every setting explained
  fanfare check-config --config fanfare.toml     what is wrong with it, or what it changes
  fanfare serve --config fanfare.toml            production: needs credentials configured
  fanfare doctor --config fanfare.toml           what this host lacks for it
  fanfare explain --user ann                     why was ann dropped?

Exit codes:
  0 done, 1 failed while running, 2 wrong arguments, 78 configuration refused
  (publish has more: fanfare publish --help)";

/// The help of `serve`, with the variables that sections have registered.
fn serve_help() -> String {
    let config = Config::with_sections(Mode::Prod, &sections(&[]));
    let variables = config.common_variables().into_iter();
    let line = |(name, text): (&str, String)| {
        format!(
            "  {name:<23}{}\n",
            text.replace('\n', "\n                         ")
        )
    };
    let mut lines: Vec<_> = variables.map(line).collect();
    let first = lines.remove(0);
    SERVE
        .replace("{first}", &first)
        .replace("{common}", &lines.concat())
}

const SERVE: &str = "\
Examples:
  fanfare serve --mode demo
  fanfare serve --config /etc/fanfare/fanfare.toml
  JWT_SECRET=$(openssl rand -hex 32) fanfare serve --listen 0.0.0.0:8080
  fanfare serve --config fanfare.toml --listen https://0.0.0.0:443 \\
    --tls-certificate fullchain.pem --tls-key privkey.pem
  FANFARE_WEBSOCKET__PING_INTERVAL=10s fanfare serve --mode dev --shards 2

Environment:
  FANFARE_SECTION__KEY   any key of the file; lists are separated by commas
  FANFARE_CONFIG         the configuration file
  FANFARE_ENV_FILE       the environment file
{first}  HOST                   server.listen with PORT or 8080, unless SERVER_ADDR is set; passed over
                         when it is neither an address nor localhost
  PORT                   server.listen with HOST or 127.0.0.1, unless SERVER_ADDR is set
{common}  DEBUG                  true: log.level = \"debug\", unless LOG_LEVEL is set; passed over when it
                         is neither true nor false

An empty variable is one that is not set, and white space around a value does not count. What
Kubernetes says of a Service called fanfare (FANFARE_SERVICE_HOST, ..) is passed over.

The environment file (.env) has the same variables as NAME=value lines. It counts below the
configuration file and the environment; other names in it are passed over.

While anything is open to clients without credentials (demo and dev mode), only loopback
addresses are accepted, unless --allow-open says otherwise.

Exit codes:
  0 stopped by a signal, 1 failed while running, 2 wrong arguments, 78 configuration refused";

const CHECK_CONFIG: &str = "\
Examples:
  fanfare check-config --config fanfare.toml
  fanfare check-config --config fanfare.toml --explain chat.lobby
  fanfare check-config --mode demo --explain 'chat.*'

Exit codes:
  0 accepted or explained, 2 wrong arguments, 78 configuration refused";

const GEN_TOKEN: &str = "\
Examples:
  JWT_SECRET=... fanfare gen-token --sub alice --ttl 8h
  fanfare gen-token --sub billing --role service --config /etc/fanfare/fanfare.toml
  export FANFARE_TOKEN=$(fanfare gen-token --sub ci --secret-file secret)
  fanfare gen-token --sub alice --subscribe 'chat.*' --publish chat.lobby --secret-file secret
  fanfare gen-token --sub alice --algorithm EdDSA --key-file key.pem --kid 2026-11

Exit codes:
  0 printed, 1 cannot print, 2 wrong arguments, 78 configuration refused or without a secret";

const GEN_CERT: &str = "\
Examples:
  fanfare gen-cert                               fanfare.crt and fanfare.key, for this machine
  fanfare gen-cert --name gateway.internal --name '*.gateway.internal' --name 10.0.0.5
  fanfare gen-cert --force --days 30             both anew
  fanfare serve --mode demo --listen https://127.0.0.1:8443 \\
    --tls-certificate fanfare.crt --tls-key fanfare.key

Exit codes:
  0 written, 1 cannot write or a file is there already, 2 wrong arguments";

const STORE: &str = "\
Examples:
  fanfare store check --config /etc/fanfare/fanfare.toml
  fanfare store backup /backup/store-$(date +%F).db --config /etc/fanfare/fanfare.toml
  fanfare store check --database /backup/store-2026-11-29.db

A copy is restored by stopping the gateway, removing the database's files (FILE, FILE-wal, FILE-shm),
and putting the copy in the place of FILE.

Exit codes:
  0  done
  1  a file cannot be used, or the copy's is there already
  2  wrong arguments
  65 the database is damaged, or is none of a gateway
  75 a gateway is using the database, which has to be stopped for that
  78 the configuration is refused, or names no database";

const EXPLAIN: &str = "\
Examples:
  fanfare explain --user ann                     why was ann dropped?
  fanfare explain --ip 192.0.2.7 --limit 100     all that came from an address
  FANFARE_TOKEN=$(fanfare gen-token --sub ops --role service --config /etc/fanfare/fanfare.toml) \\
    fanfare explain --user ann

Kept are the last 10,000 ends of connections and as many refusals, until the gateway restarts. The
log has a line for each as well.

Exit codes:
  0  printed
  1  failed for another reason
  2  wrong arguments
  65 what answers refuses the question, as where there is no such endpoint
  69 no gateway answers there, or its certificate is not accepted
  75 the gateway is busy, try again later (429, 503)
  77 the gateway does not accept the token, which has to be a service's (401, 403)";

const PUBLISH: &str = "\
Examples:
  fanfare publish --event news --data '{\"title\":\"hello\"}'
  date +%s | fanfare publish --event clock.tick
  FANFARE_TOKEN=... fanfare publish --url http://10.0.0.5:8080 --event news --data 1
  fanfare publish --url https://localhost:8443 --ca-file fanfare.crt --event news --data 1

Exit codes:
  0  accepted
  1  failed for another reason
  2  wrong arguments
  65 data is not JSON, or the gateway refuses the event
  69 no gateway answers there, or its certificate is not accepted
  75 the gateway is busy, try again later (429, 503)
  77 the gateway does not accept the token (401, 403)";

const DOCTOR: &str = "\
Examples:
  fanfare doctor --config /etc/fanfare/fanfare.toml
  fanfare doctor --connections 1000000           what must be raised for a million
  fanfare doctor --json | jq '.findings[] | select(.level == \"fail\")'

Each finding is one of
  FAIL     what is configured cannot be had: connections will be refused or cut off
  warn     it works, and not as well as it would, or not under load
  note     a choice with two sides, or a fact worth knowing
  unknown  it cannot be read here, as in a container; nothing is assumed
  ok

Each of the first three says why it matters, the command that changes it now, and the file
that keeps it over a reboot. Limits of files, memory and processor time are those of
fanfare.service where it is installed, else those of the shell that runs this command: a
gateway started from there has them, too.

Exit codes:
  0 nothing fails or warns, 1 something does, 2 wrong arguments, 78 configuration refused";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_grammar_is_sound() {
        Cli::command().debug_assert();
    }
}
