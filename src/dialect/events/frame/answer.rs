//! Answers to queries and commands.

use super::Writer;
use crate::json::put_string;

impl Writer<'_> {
    /// The additional first frame of the demo and dev endpoints, sent on request.
    pub fn welcome(mut self, endpoint: &str) {
        self.put(r#"{"type":""#);
        self.put(endpoint);
        self.put(r#"_welcome","message":"Welcome to the "#);
        self.put(endpoint);
        self.put(r#" endpoint of Fanfare"#);
        self.put_list(r#"","features":"#, &FEATURES);
        self.end();
    }

    /// The result of a query or a command. `write` writes one JSON value.
    pub fn response(mut self, id: Option<&str>, write: impl FnOnce(&mut Vec<u8>)) {
        self.put(r#"{"type":"response","result":"#);
        write(self.out);
        self.end_with_id(id);
    }

    /// The result of a query by `query_type`. `write` writes fields of an
    /// object, without braces, at least one.
    pub fn query_result(
        mut self,
        id: Option<&str>,
        query_type: &str,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        self.put(r#"{"type":"query_result","query_type":"#);
        put_string(self.out, query_type);
        self.put(r#","data":{"#);
        write(self.out);
        self.put(r#","timestamp":""#);
        self.out.extend_from_slice(self.timestamp);
        self.put(r#""}"#);
        self.end_with_id(id);
    }

    /// The answer to `authenticate`: when the new token expires, in milliseconds since the Unix epoch.
    pub fn authenticated(mut self, id: Option<&str>, expires_ms: u64) {
        self.put(r#"{"type":"authenticated""#);
        self.put_expiry(expires_ms);
        self.end_with_id(id);
    }

    /// The answer to `agent_command`.
    pub fn agent_command_result(mut self, id: Option<&str>, agent_id: &str, command: &str) {
        self.put(r#"{"type":"agent_command_result","agent_id":"#);
        put_string(self.out, agent_id);
        self.put(r#","command":"#);
        put_string(self.out, command);
        self.put(r#","status":"acknowledged""#);
        self.end_with_id(id);
    }
}

/// The features of the demo and dev endpoints.
const FEATURES: [&str; 3] = [
    "subscribe to events by name or pattern",
    "publish events to everybody who subscribes",
    "queries and commands: send a command `list_commands`",
];

#[cfg(test)]
mod tests {
    use super::FEATURES;
    use crate::dialect::events::frame::tests::check;
    use serde_json::json;

    #[test]
    fn answers_are_as_specified() {
        check(
            |w| w.welcome("demo"),
            json!({"type":"demo_welcome","message":"Welcome to the demo endpoint of Fanfare","features":FEATURES}),
        );
        check(
            |w| w.response(Some("7"), |out| out.extend_from_slice(b"[1]")),
            json!({"type":"response","id":7,"result":[1]}),
        );
        check(
            |w| {
                w.query_result(None, "world_state", |out| {
                    out.extend_from_slice(br#""world":{}"#);
                });
            },
            json!({"type":"query_result","query_type":"world_state",
                "data":{"world":{},"timestamp":"2026-11-21T07:34:31.524Z"}}),
        );
        check(
            |w| w.authenticated(Some("7"), 1_000),
            json!({"type":"authenticated","id":7,"expires_at":"1970-01-01T00:00:01.000Z"}),
        );
        check(
            |w| w.agent_command_result(Some("\"i\""), "a-1", "stop"),
            json!({"type":"agent_command_result","id":"i","agent_id":"a-1","command":"stop","status":"acknowledged"}),
        );
    }
}
