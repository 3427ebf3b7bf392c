//! Writes HTTP requests. Pushes all have one length, and so do batches: their heads are
//! written once.

use std::io::Write;

use super::plan::{BridgePlan, RequestKind};
use crate::net::Target;
use crate::payload::{Layout, Source};

/// `data.timestamp` of every message; the server copies it to `original_sender`.
pub(crate) const TIMESTAMP: u64 = 1_767_225_600;

/// `data.type` of pushed messages.
pub(crate) const NOTIFICATION: &str = "notification";

/// `data.type` of calls.
pub(crate) const QUESTION: &str = "question";

/// `data.type` of pushes that check whether the server knows a user.
pub(crate) const PROBE: &str = "probe";

/// One message by recipient and sequence number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UserMessage {
    pub(crate) user: usize,
    pub(crate) sequence: u32,
}

/// The writer of requests.
#[derive(Debug)]
pub(crate) struct Requests {
    target: Target,
    layout: Layout,
    push_head: Vec<u8>,
    batch_head: Vec<u8>,
    /// The JSON between user id and payload.
    middle: String,
}

impl Requests {
    pub(crate) fn new(target: Target, layout: Layout, plan: &BridgePlan) -> Self {
        let middle =
            format!(r#","data":{{"type":"{NOTIFICATION}","timestamp":{TIMESTAMP},"message":"#);
        let message_bytes =
            r#"{"user_id":}}"#.len() + plan.users[0].len() + middle.len() + layout.bytes();
        Self {
            push_head: target.post("/sse/push", message_bytes),
            batch_head: target.post("/sse/push/batch", plan.batch * (message_bytes + 1) + 1),
            target,
            layout,
            middle,
        }
    }

    /// Appends the head of a push or of a whole batch.
    pub(crate) fn head(&self, out: &mut Vec<u8>, kind: RequestKind) {
        out.extend_from_slice(match kind {
            RequestKind::Batch => &self.batch_head,
            _ => &self.push_head,
        });
    }

    /// Appends one message of `service`.
    pub(crate) fn message(
        &self,
        out: &mut Vec<u8>,
        plan: &BridgePlan,
        service: u16,
        message: UserMessage,
        sent_ns: u64,
    ) {
        let source = Source {
            topic: service.into(),
            publisher: message.user as u16,
        };
        out.extend_from_slice(br#"{"user_id":"#);
        out.extend_from_slice(plan.users[message.user].as_bytes());
        out.extend_from_slice(self.middle.as_bytes());
        self.layout.write(out, source, message.sequence, sent_ns);
        out.extend_from_slice(b"}}");
    }

    /// Appends a whole push without a payload.
    pub(crate) fn probe(&self, out: &mut Vec<u8>, plan: &BridgePlan, user: usize) {
        let user = &plan.users[user];
        let body = format!(r#"{{"user_id":{user},"data":{{"type":"{PROBE}"}}}}"#);
        out.extend_from_slice(&self.target.post("/sse/push", body.len()));
        out.extend_from_slice(body.as_bytes());
    }

    /// Appends a whole call; `correlation` is the id in JSON.
    pub(crate) fn call(
        &self,
        out: &mut Vec<u8>,
        plan: &BridgePlan,
        service: u16,
        message: UserMessage,
        correlation: &str,
        sent_ns: u64,
    ) {
        let source = Source {
            topic: service.into(),
            publisher: message.user as u16,
        };
        let mut body = Vec::with_capacity(2 * self.layout.bytes());
        let user = &plan.users[message.user];
        write!(
            body,
            r#"{{"user_id":{user},"data":{{"type":"{QUESTION}","timestamp":{TIMESTAMP},"correlation_id":{correlation},"message":"#
        )
        .expect("a Vec grows");
        self.layout
            .write(&mut body, source, message.sequence, sent_ns);
        body.extend_from_slice(b"}}");
        out.extend_from_slice(&self.target.post("/sse/send", body.len()));
        out.extend_from_slice(&body);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Options;
    use crate::net::TlsSettings;
    use clap::Parser;

    /// Checks path and length of a request; returns its JSON body.
    fn check(request: &[u8], path: &str) -> serde_json::Value {
        let text = str::from_utf8(request).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with(&format!("POST {path} HTTP/1.1\r\n")),
            "{head}"
        );
        let length = format!("Content-Length: {}", body.len());
        assert!(head.lines().any(|line| line == length), "{head}");
        serde_json::from_str(body).unwrap()
    }

    #[test]
    fn requests_have_the_length_they_say() {
        let options = Options::parse_from(["loadgen", "bridge", "batch", "--batch", "3"]);
        let crate::cli::Scenario::Bridge(bridge) = &options.scenario else {
            unreachable!("it was asked for");
        };
        let plan = BridgePlan::of(bridge).unwrap();
        let settings = TlsSettings::default();
        let target = Target::new("http://127.0.0.1:1", "/ws", Vec::new(), &settings).unwrap();
        let requests = Requests::new(target, Layout::new(128, 1), &plan);
        let message = |user| UserMessage { user, sequence: 7 };
        let mut push = Vec::new();
        requests.head(&mut push, RequestKind::Push);
        requests.message(&mut push, &plan, 1, message(2), 9);
        let push = check(&push, "/sse/push");
        assert_eq!(push["user_id"], "u00002");
        let mut batch = Vec::new();
        requests.head(&mut batch, RequestKind::Batch);
        for (user, before) in [b'[', b',', b','].into_iter().enumerate() {
            batch.push(before);
            requests.message(&mut batch, &plan, 1, message(user), 9);
        }
        batch.push(b']');
        assert_eq!(check(&batch, "/sse/push/batch")[2], push);
        let mut call = Vec::new();
        requests.call(&mut call, &plan, 1, message(2), "5", 9);
        assert_eq!(check(&call, "/sse/send")["data"]["correlation_id"], 5);
        let mut probe = Vec::new();
        requests.probe(&mut probe, &plan, 999);
        assert_eq!(check(&probe, "/sse/push")["user_id"], "u00999");
    }
}
