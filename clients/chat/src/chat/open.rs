//! From nothing to a connection: account, token, WebSocket.

use std::fs;
use std::time::{Duration, SystemTime};

use serde_json::json;

use super::Chat;
use crate::accounts::{ApiError, Login, Registration, Token};
use crate::encoding::encode;
use crate::failure::Failure;
use crate::link::{Link, OpenError};
use crate::request::Answer;

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum NotOpen {
    /// There will be none.
    Fatal(Failure),
    Retry {
        why: String,
        /// How long the server asks to wait.
        retry_after: Option<Duration>,
    },
}

impl From<ApiError> for NotOpen {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::WrongServer(why) => Self::Fatal(Failure::Usage(why)),
            ApiError::Refused(_) => Self::Fatal(Failure::Refused(error.to_string())),
            _ => Self::Retry {
                why: error.to_string(),
                retry_after: error.retry_after(),
            },
        }
    }
}

impl From<Failure> for NotOpen {
    fn from(failure: Failure) -> Self {
        Self::Fatal(failure)
    }
}

impl Chat<'_> {
    /// Registers the user, and shows by a login that the account has this key.
    pub(crate) async fn register(&mut self) -> Result<(), Failure> {
        let token = self.token().await;
        match self.drop_key(token) {
            Ok(_) => Ok(()),
            Err(NotOpen::Fatal(failure)) => Err(failure),
            Err(NotOpen::Retry { why, .. }) => Err(Failure::Unreachable(why)),
        }
    }

    /// Opens a connection that goes on where the last one ended.
    pub(super) async fn open(&mut self) -> Result<Link, NotOpen> {
        let opened = self.open_with_key().await;
        self.drop_key(opened)
    }

    async fn open_with_key(&mut self) -> Result<Link, NotOpen> {
        let mut link = self.open_once().await?;
        if let Err(OpenError::Refused(Answer { status: 401, .. })) = link {
            // The token is too old, or of a secret that the server had before.
            self.token = None;
            link = self.open_once().await?;
        }
        match link {
            Ok(link) => {
                let user = &self.user;
                let text = format!("connected as {user}; /help has what there is to say");
                self.output
                    .tell("connected", &text, &json!({ "user": user }))?;
                Ok(link)
            }
            Err(OpenError::Unreachable(why)) => Err(retry(why)),
            Err(OpenError::Refused(answer)) => {
                self.token = None;
                Err(refused(answer))
            }
        }
    }

    async fn open_once(&mut self) -> Result<Result<Link, OpenError>, NotOpen> {
        let token = self.token().await?;
        let address = self.accounts.websocket(&token, self.state.last_id());
        let origin = self.options.origin.as_deref();
        Ok(Link::open(&self.accounts.transport, &address, origin).await)
    }

    /// Removes a key that was made for an account which the server refuses: it is no account's.
    fn drop_key<T>(&mut self, done: Result<T, NotOpen>) -> Result<T, NotOpen> {
        if let Err(NotOpen::Fatal(Failure::Refused(_) | Failure::Usage(_))) = &done
            && let Some(path) = self.key_made.take()
            // What cannot be removed is an unused key, and no reason to hide the refusal.
            && let Err(error) = fs::remove_file(&path)
        {
            let text = format!("the unused key {} stays: {error}", path.display());
            self.output.notice(&text)?;
        }
        done
    }

    /// A token that is good for a while: the last one, or one of a new login.
    async fn token(&mut self) -> Result<Token, NotOpen> {
        if let Some(token) = &self.token
            && token.is_good(SystemTime::now())
        {
            return Ok(token.clone());
        }
        if !self.is_registered && !self.accounts.exists(&self.user).await? {
            self.make_account().await?;
        }
        let mut login = self.accounts.login(&self.user, &self.identity).await?;
        if login == Login::Unknown {
            // The server has lost it since, or does not tell.
            self.make_account().await?;
            login = self.accounts.login(&self.user, &self.identity).await?;
        }
        let user = &self.user;
        match login {
            Login::Done(token) => {
                self.token = Some(token.clone());
                if !self.is_registered {
                    self.check_account().await?;
                    self.is_registered = true;
                }
                Ok(token)
            }
            Login::OtherKey => Err(Failure::Refused(format!(
                "the account {user} has another key: use its key file, or choose another --user"
            ))
            .into()),
            Login::Unknown => Err(retry(format!(
                "the server does not keep the account {user}"
            ))),
        }
    }

    async fn make_account(&mut self) -> Result<(), NotOpen> {
        let user = &self.user;
        let username = self.options.username.as_deref().unwrap_or(user);
        let identity = &self.identity;
        let registration = self.accounts.register(user, username, identity).await?;
        if registration == Registration::New {
            // What was seen was in another database.
            self.state.begin_anew();
            let text = format!("the account {user} is registered");
            self.output
                .tell("registered", &text, &json!({ "user": user }))?;
            if let Some(path) = self.key_made.take() {
                self.output.notice(&format!(
                    "a new private key is in {}: keep it, it is the account",
                    path.display()
                ))?;
            }
        }
        Ok(())
    }

    /// Warns if others would encrypt to another key than this user's.
    async fn check_account(&self) -> Result<(), NotOpen> {
        let Some(keys) = self.accounts.keys(&self.user).await? else {
            return Ok(());
        };
        let own = self.identity.x25519_public_key();
        let is_own = keys.agreement.is_some_and(|key| key[..] == own[..]);
        if !is_own {
            let text = format!(
                "the server has {} as this user's key of encryption: what others encrypt to {} cannot be read here",
                keys.agreement
                    .map_or_else(|| "none".into(), |key| encode(&key)),
                self.user
            );
            self.output.tell("warning", &text, &json!({}))?;
        }
        Ok(())
    }
}

fn retry(why: String) -> NotOpen {
    NotOpen::Retry {
        why,
        retry_after: None,
    }
}

fn refused(answer: Answer) -> NotOpen {
    let shown = answer.shown();
    match answer.status {
        403 => Failure::Refused(format!(
            "the server says: {shown}; where it allows some origins only, --origin names one"
        ))
        .into(),
        _ => NotOpen::Retry {
            why: format!("the server opens no connection: {shown}"),
            retry_after: answer.retry_after,
        },
    }
}
