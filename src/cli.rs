//! The command line: what the operator types, and what the exit code says.
//!
//! The topmost layer. It reads arguments, files and the environment, and hands a valid
//! configuration to whoever serves it.

mod arguments;
mod doctor;
mod escape;
mod exit;
mod explain;
mod explain_topic;
mod files;
mod gateway;
mod gen_cert;
mod gen_token;
mod host_name;
mod log_queue;
mod logging;
mod output;
mod publish;
mod settings;
mod store;

use std::fmt::{Display, Write};
use std::process::ExitCode;

use clap::Parser;

use crate::config::{Config, Mode};
use crate::dialect;
use crate::server::unusable_addresses;
use arguments::{Cli, CliCommand, DefaultConfig};
use escape::escaped;
use exit::Exit;
use settings::{Loaded, Settings};

/// Runs the command that the process was started with. `serve` takes over for `fanfare serve`
/// and returns when the gateway has stopped.
pub fn run<E: Display>(serve: impl FnOnce(Config) -> Result<(), E>) -> ExitCode {
    let exit = match Cli::try_parse() {
        Ok(cli) => execute(cli.command, serve),
        Err(error) => {
            // Help and version are asked for and go to standard output.
            let exit = if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Ok
            };
            error.print().map_or(Exit::Failure, |()| exit)
        }
    };
    exit.into()
}

fn execute<E: Display>(command: CliCommand, serve: impl FnOnce(Config) -> Result<(), E>) -> Exit {
    let version = concat!("fanfare ", env!("CARGO_PKG_VERSION"), "\n");
    let done = match command {
        CliCommand::Serve(settings) => start(&settings, serve),
        CliCommand::CheckConfig(arguments) => match &arguments.explain {
            Some(topic) => explain_topic::run(topic, &arguments.settings),
            None => check_config(&arguments.settings),
        },
        CliCommand::DefaultConfig(arguments) => default_config(&arguments),
        CliCommand::GenToken(arguments) => gen_token::run(&arguments),
        CliCommand::GenCert(arguments) => gen_cert::run(&arguments),
        CliCommand::Publish(arguments) => publish::run(&arguments),
        CliCommand::Explain(arguments) => explain::run(&arguments),
        CliCommand::Doctor(arguments) => doctor::run(&arguments),
        CliCommand::Store(arguments) => store::run(&arguments),
        CliCommand::Version => Ok(output::print(version)),
    };
    done.unwrap_or_else(|exit| exit)
}

fn start<E: Display>(
    settings: &Settings,
    serve: impl FnOnce(Config) -> Result<(), E>,
) -> Result<Exit, Exit> {
    let Loaded {
        config,
        warnings,
        env_file,
    } = settings.load()?;
    let _logging = logging::init(&config.log).map_err(|error| {
        output::complain(&format_args!("cannot start the log: {error}"));
        Exit::Failure
    })?;
    if let Some((file, settings)) = env_file {
        tracing::info!(file, settings, "environment file read");
    }
    for line in config.summary() {
        tracing::info!("{line}");
    }
    for warning in warnings.into_iter().chain(config.reminders()) {
        tracing::warn!("{warning}");
    }
    serve(config).map_err(|error| {
        tracing::error!("{error}");
        Exit::Failure
    })?;
    Ok(Exit::Ok)
}

fn check_config(settings: &Settings) -> Result<Exit, Exit> {
    let Loaded {
        config,
        mut warnings,
        env_file,
    } = settings.load()?;
    warnings.extend(unusable_addresses(&config).iter().map(ToString::to_string));
    for warning in warnings {
        output::complain(&format_args!("warning: {warning}"));
    }
    let mut comments = env_file.map_or_else(String::new, |(file, settings)| {
        format!("# {} gives {settings} of the settings.\n", escaped(&file))
    });
    for reminder in config.reminders() {
        let _ = writeln!(comments, "# Note: {}.", escaped(&reminder));
    }
    Ok(output::print(&format!(
        "{comments}# Valid. The mode, and what differs from its defaults:\n{}",
        config.differences()
    )))
}

fn default_config(arguments: &DefaultConfig) -> Result<Exit, Exit> {
    if !arguments.from_env {
        let mode = arguments.mode.unwrap_or(Mode::Prod);
        let config = Config::with_sections(mode, &dialect::sections(&[]));
        return Ok(output::print(&config.default_document()));
    }
    let document = arguments.env_file.document(arguments.mode)?;
    output::warn_of_broken_rules(&document.broken_rules);
    Ok(output::print(&document.text))
}
