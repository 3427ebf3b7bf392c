//! A user's connection of the messenger.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

use super::Account;
use crate::support::Client;

/// A user's connection.
pub(crate) struct MessengerClient {
    /// Its account.
    pub account: Account,
    /// The connection.
    pub client: Client,
}

/// What is said to `to`.
pub(crate) fn direct(to: &str, content: &str) -> Value {
    json!({ "header": { "to": to, "timestamp": "2025-01-02T03:04:05.678Z" }, "body": { "content": content } })
}

impl MessengerClient {
    /// Registers a user, logs it in and connects it.
    #[track_caller]
    pub(crate) fn new(address: SocketAddr, id: &str) -> Self {
        Self::of(address, Account::registered(address, id), "")
    }

    /// Logs a registered user in and connects it with more of a query, which begins with `&`.
    #[track_caller]
    pub(crate) fn again(address: SocketAddr, id: &str, query: &str) -> Self {
        Self::of(address, Account::new(id), query)
    }

    #[track_caller]
    fn of(address: SocketAddr, account: Account, query: &str) -> Self {
        let path = format!("/ws?token={}{query}", account.token(address));
        let client = Client::connect(address, &path);
        Self { account, client }
    }

    /// Sends a frame.
    pub(crate) fn say(&mut self, frame: &Value) {
        self.client.say(frame);
    }

    /// Sends a direct message.
    pub(crate) fn tell(&mut self, to: &str, content: &str) {
        self.say(&direct(to, content));
    }

    /// Sends a signed command.
    pub(crate) fn command(&mut self, content: &str) {
        let signature = self.account.sign(content.as_bytes());
        let header = json!({ "to": "server", "message_type": "server", "signature": signature });
        self.say(&json!({ "header": header, "body": { "content": content } }));
    }

    /// The next frame.
    #[track_caller]
    pub(crate) fn next(&mut self) -> Value {
        let frame = self.client.next().expect("a frame, not the end");
        assert_eq!(frame.first, 0x81, "{frame:?}");
        frame.json()
    }

    /// The content of the next frame.
    #[track_caller]
    pub(crate) fn content(&mut self) -> String {
        let frame = self.next();
        let content = frame["body"]["content"].as_str();
        content.expect("a content").to_owned()
    }

    /// What the gateway answers: the content of its next frame, which is JSON.
    #[track_caller]
    pub(crate) fn answer(&mut self) -> Value {
        let frame = self.next();
        assert_eq!(frame["header"]["from"], "server", "{frame}");
        serde_json::from_str(frame["body"]["content"].as_str().unwrap()).unwrap()
    }

    /// Checks that what was said has been processed and nothing else has come.
    #[track_caller]
    pub(crate) fn has_nothing(&mut self) {
        self.command(r#"{"command":"echo","params":"nothing else"}"#);
        let answer = self.answer();
        assert_eq!(answer["result"]["echo"], "nothing else", "{answer}");
        assert!(self.client.is_silent(Duration::from_millis(50)));
    }

    /// Leaves as clients do.
    #[track_caller]
    pub(crate) fn leave(mut self) {
        self.client.send(0x88, &1000_u16.to_be_bytes());
        assert_eq!(self.client.until_close(), Some(1000));
    }
}
