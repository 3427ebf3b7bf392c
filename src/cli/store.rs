//! `fanfare store`: what an operator does to the database of accounts and messages.

use std::path::{Path, PathBuf};

use super::arguments::{StoreArguments, StoreCommand};
use super::escape::escaped;
use super::exit::Exit;
use super::output;
use super::settings::Settings;
use crate::store::{Checked, StoreError, backup, check, vacuum};

/// Does it and prints what it has found.
pub(super) fn run(arguments: &StoreArguments) -> Result<Exit, Exit> {
    let path = database(arguments)?;
    let path = &*path;
    let done = match &arguments.command {
        StoreCommand::Check => check(path).map(|checked| told("whole", path, &checked)),
        StoreCommand::Backup { file } => {
            backup(path, file).map(|checked| told("copied and whole", file, &checked))
        }
        StoreCommand::Vacuum => vacuum(path).map(|(before, after)| {
            let path = path.display().to_string();
            let path = escaped(&path);
            format!("{path} had {before} bytes and has {after} bytes\n")
        }),
    };
    match done {
        Ok(text) => Ok(output::print(&text)),
        Err(error) => {
            output::complain(&error);
            Err(match error {
                StoreError::InUse(_) => Exit::TryAgain,
                StoreError::Damaged { .. }
                | StoreError::NotDatabase(_)
                | StoreError::Foreign(_)
                | StoreError::Older(_) => Exit::Data,
                _ => Exit::Failure,
            })
        }
    }
}

/// The file that is named, or that of the configuration.
fn database(arguments: &StoreArguments) -> Result<PathBuf, Exit> {
    if let Some(file) = &arguments.database {
        return Ok(file.clone());
    }
    let settings = Settings::of_files(arguments.config.clone(), arguments.env_file.clone());
    let url = settings.values()?.store.url;
    let Some(url) = url else {
        output::complain(
            &"no store is configured: set `store.url`, or name its file with --database",
        );
        return Err(Exit::Config);
    };
    match url.strip_prefix("sqlite:") {
        Some(path) => Ok(path.into()),
        None => {
            output::complain(&"`store.url` is no file of SQLite: use the tools of its database");
            Err(Exit::Usage)
        }
    }
}

fn told(how: &str, path: &Path, checked: &Checked) -> String {
    let path = path.display().to_string();
    let path = escaped(&path);
    let Checked {
        users,
        messages,
        pending,
        bytes,
    } = checked;
    format!(
        "{path} is {how}: {users} users, {messages} messages, {pending} of them pending, {bytes} bytes\n"
    )
}
