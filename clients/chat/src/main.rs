//! A chat client of the messenger protocol (docs/chat.md).

mod accounts;
mod backoff;
mod chat;
mod directory;
mod encoding;
mod failure;
mod frame;
mod identity;
mod input;
mod key;
mod link;
mod options;
mod output;
mod private_file;
mod request;
mod seal;
mod server_url;
mod signals;
mod signature;
mod state;
mod transport;
#[cfg(test)]
mod vectors;

use std::path::Path;
use std::process::ExitCode;

use serde_json::Value;
use tokio::runtime::Builder;
use tokio::task::LocalSet;

use accounts::Accounts;
use chat::Chat;
use failure::Failure;
use identity::Identity;
use options::{Cli, Command, Options};
use output::Output;
use signals::Signals;
use state::State;
use transport::Transport;

fn main() -> ExitCode {
    let cli = Cli::read();
    let output = Output::new(cli.options.json);
    match run(cli, &output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let fields = serde_json::json!({ "exit_code": failure.exit_code() });
            // The exit code says it where this cannot be written.
            let _ = output.tell("failure", &format!("fanfare-chat: {failure}"), &fields);
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(cli: Cli, output: &Output) -> Result<(), Failure> {
    if let Some(Command::Keygen { out }) = &cli.command {
        return keygen(out.as_deref(), output);
    }
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Other(error.to_string()))?;
    // Reads and writes of a connection, and a request's.
    let tasks = LocalSet::new();
    tasks.block_on(&runtime, async {
        // From here on a signal is an end in good order.
        let signals = Signals::new()?;
        match cli.command {
            Some(Command::Register) => register(cli.options, output).await,
            _ => {
                let chat = chat(cli.options, output)?;
                chat.run(signals, input::lines()).await
            }
        }
    })
}

fn keygen(out: Option<&Path>, output: &Output) -> Result<(), Failure> {
    let identity = Identity::generate();
    let Some(path) = out else {
        println!("{}", identity.to_base64());
        return Ok(());
    };
    key::create(path, &identity)?;
    output.notice(&format!("a private key is in {}", path.display()))
}

async fn register(options: Options, output: &Output) -> Result<(), Failure> {
    let mut chat = chat(options, output)?;
    chat.register().await
}

fn chat(options: Options, output: &Output) -> Result<Chat<'_>, Failure> {
    let user = options.user_id.clone().unwrap_or_default();
    if user.is_empty() {
        return Err(Failure::Usage(
            "who are you: --user ID, or WS_USER_ID".into(),
        ));
    }
    if options.server.is_exposed() {
        let text = "without TLS, whoever is in between reads what is not encrypted from end to end, and can act as you: use https://";
        output.tell("warning", text, &Value::Null)?;
    }
    let server = options.server.shown();
    let (state, directory) = State::load(options.state.clone(), &server, &user)?;
    if options.insecure_tls && options.server.is_tls {
        let text = "any certificate is accepted (--insecure-tls, INSECURE_TLS): whoever is in between reads what is not encrypted from end to end, and can act as you";
        output.tell("warning", text, &Value::Null)?;
    }
    let transport = Transport::new(options.server.clone(), options.insecure_tls);
    let transport = transport.map_err(Failure::Usage)?;
    // Last: a file is made only where nothing else is wrong.
    let key = key::load(options.key_file.as_deref())?;
    let accounts = Accounts::new(transport, options.debug);
    Ok(Chat::new(
        user, options, key, accounts, directory, state, output,
    ))
}
