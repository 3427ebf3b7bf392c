//! `fanfare gen-token`: a token for a user, on standard output.

use std::time::{SystemTime, UNIX_EPOCH};

use super::arguments::GenToken;
use super::exit::Exit;
use super::settings::Settings;
use super::{files, output};
use crate::auth::{self, Grant};
use crate::config::Secret;

/// Signs and prints the token.
pub(super) fn run(arguments: &GenToken) -> Exit {
    let secret = match secret(arguments) {
        Ok(secret) => secret,
        Err(exit) => return exit,
    };
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |now| now.as_secs());
    // A token of less than a second would be void at once.
    let ttl_secs = arguments.ttl.as_secs().max(1);
    let grant = Grant {
        user: &arguments.sub,
        role: arguments.role.as_deref(),
        issued_at: now,
        expires_at: now.saturating_add(ttl_secs),
    };
    let Some(token) = auth::issue(&grant, &secret) else {
        output::complain(&"a user and a role have 1 to 128 bytes without control characters");
        return Exit::Usage;
    };
    output::print(&format!("{token}\n"))
}

fn secret(arguments: &GenToken) -> Result<Secret, Exit> {
    let Some(path) = &arguments.secret_file else {
        let config = Settings::of_file(arguments.config.clone()).load()?;
        return config.auth.jwt_secret.ok_or_else(|| {
            output::complain(&"no secret is configured: set auth.jwt_secret_file or JWT_SECRET, or use --secret-file");
            Exit::Config
        });
    };
    Secret::from_file(path, files::read).map_err(|reason| {
        output::complain(&format_args!("cannot use {}: {reason}", path.display()));
        Exit::Config
    })
}
