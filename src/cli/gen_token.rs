//! `fanfare gen-token`: a token for a user, on standard output.

use std::time::{SystemTime, UNIX_EPOCH};

use super::arguments::GenToken;
use super::exit::Exit;
use super::settings::Settings;
use super::{files, output};
use crate::auth::{Globs, Grant, Names, Rights, SigningKey, Terms, TopicAcl, TopicGlobs};
use crate::config::Secret;

/// Signs and prints the token.
pub(super) fn run(arguments: &GenToken) -> Result<Exit, Exit> {
    Ok(output::print(&format!("{}\n", sign(arguments)?)))
}

fn sign(arguments: &GenToken) -> Result<String, Exit> {
    let Signer {
        key,
        issuer,
        audience,
    } = signer(arguments)?;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |now| now.as_secs());
    // A token of less than a second would be void at once.
    let ttl_secs = arguments.ttl.as_secs().max(1);
    let (rights, topics) = (rights(arguments)?, topics(arguments)?);
    let terms = Terms {
        grant: Grant {
            user: &arguments.sub,
            role: arguments.role.as_deref(),
            issued_at: now,
            expires_at: now.saturating_add(ttl_secs),
        },
        issuer: issuer.as_deref(),
        audience: &audience,
        rights: rights.as_ref(),
        topics: topics.as_ref(),
    };
    terms.sign(&key).ok_or_else(|| {
        output::complain(&"a user and a role have 1 to 128 bytes without control characters");
        Exit::Usage
    })
}

/// What a token is signed with and what it says of that.
struct Signer {
    key: SigningKey,
    issuer: Option<String>,
    audience: Vec<String>,
}

fn signer(arguments: &GenToken) -> Result<Signer, Exit> {
    let id = arguments.kid.clone();
    let told = |key| Signer {
        key,
        issuer: arguments.issuer.clone(),
        audience: arguments.audience.clone(),
    };
    let (path, key) = match (&arguments.key_file, &arguments.secret_file) {
        (Some(path), _) => {
            let algorithm = arguments.algorithm.expect("clap asks for it");
            let bytes = files::read(path).map_err(|error| error.to_string());
            let key = bytes.and_then(|bytes| SigningKey::of_pem(algorithm, &bytes, id));
            (path, key)
        }
        (None, Some(path)) => {
            let secret = Secret::from_file(path, files::read);
            if secret.as_ref().is_ok_and(Secret::is_padded) {
                output::complain(&format_args!(
                    "warning: white space at the end of {} and a byte order mark are no part of the secret",
                    path.display()
                ));
            }
            (
                path,
                secret.map(|secret| SigningKey::of_secret(&secret, id)),
            )
        }
        (None, None) => return configured(arguments),
    };
    key.map(told).map_err(|reason| {
        output::complain(&format_args!("cannot use {}: {reason}", path.display()));
        Exit::Config
    })
}

/// The secret of the configuration, and what its gateway expects of tokens.
fn configured(arguments: &GenToken) -> Result<Signer, Exit> {
    let auth = Settings::of_files(arguments.config.clone(), arguments.env_file.clone())
        .load()?
        .config
        .auth;
    let Some(secret) = &auth.jwt_secret else {
        output::complain(
            &"no secret is configured: set auth.jwt_secret_file or JWT_SECRET, or use --secret-file or --key-file",
        );
        return Err(Exit::Config);
    };
    let audience = if arguments.audience.is_empty() {
        auth.audience
    } else {
        arguments.audience.clone()
    };
    Ok(Signer {
        key: SigningKey::of_secret(secret, arguments.kid.clone().or(auth.jwt_key_id)),
        issuer: arguments.issuer.clone().or(auth.issuer),
        audience,
    })
}

/// The claim `fanfare`, if anything is said about it.
fn rights(arguments: &GenToken) -> Result<Option<Rights>, Exit> {
    let globs = |list: &'_ [String]| {
        Globs::new(list.iter().map(String::as_str)).map_err(|glob| {
            output::complain(&format_args!("{glob:?} is neither a topic nor a pattern"));
            Exit::Usage
        })
    };
    let listed = |list: &[String]| match list {
        [] => Ok(None),
        list => globs(list).map(Some),
    };
    let commands = match &arguments.command[..] {
        [] => None,
        list => Some(Names::new(list.iter().map(String::as_str)).map_err(|name| {
            output::complain(&format_args!("{name:?} is not the name of a command"));
            Exit::Usage
        })?),
    };
    let rights = Rights {
        subscribe: listed(&arguments.subscribe)?,
        publish: listed(&arguments.publish)?,
        deny: globs(&arguments.deny)?,
        commands,
        frames_per_minute: None,
    };
    Ok((rights != Rights::default()).then_some(rights))
}

/// The claim `wse_topics`, if anything is said about it.
fn topics(arguments: &GenToken) -> Result<Option<TopicAcl>, Exit> {
    let globs = |flag: &str, list: &[String]| {
        TopicGlobs::new(list.iter().map(String::as_str)).map_err(|reason| {
            output::complain(&format_args!("{flag}: {reason}"));
            Exit::Usage
        })
    };
    let topics = TopicAcl {
        allow: globs("--wse-allow", &arguments.wse_allow)?,
        deny: globs("--wse-deny", &arguments.wse_deny)?,
    };
    Ok((topics != TopicAcl::default()).then_some(topics))
}
