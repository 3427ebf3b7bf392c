//! Checks the answers to pushes and batches: each must say that its messages were delivered.

use serde::Deserialize;

use super::plan::BridgePlan;

/// The checker of answers.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    /// The last body parsed as success; an equal one needs no parsing.
    success: Vec<u8>,
}

#[derive(Deserialize)]
struct PushAnswer<'a> {
    status: &'a str,
    #[serde(rename = "message")]
    _message: &'a str,
}

#[derive(Deserialize)]
struct BatchResults<'a> {
    #[serde(borrow)]
    results: Vec<BatchResult<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BatchResult<'a> {
    index: usize,
    user_id: &'a str,
    success: bool,
}

impl Answers {
    /// Fails with the answer to a push that was not delivered.
    pub(crate) fn push(&mut self, status: u16, body: &[u8]) -> Result<(), String> {
        if status == 200 && body == self.success {
            return Ok(());
        }
        match serde_json::from_slice::<PushAnswer<'_>>(body) {
            Ok(answer) if status == 200 && answer.status == "success" => {
                self.success = body.to_vec();
                Ok(())
            }
            _ => Err(refusal(status, body)),
        }
    }

    /// As [`Self::push`], for a batch to the users from `first` on, whose results must be in
    /// their order.
    pub(crate) fn batch(
        plan: &BridgePlan,
        first: usize,
        status: u16,
        body: &[u8],
    ) -> Result<(), String> {
        let Ok(BatchResults { results }) = serde_json::from_slice(body) else {
            return Err(refusal(status, body));
        };
        let is_right = |(at, result): (usize, &BatchResult<'_>)| {
            result.success
                && result.index == at
                && result.user_id == plan.user((first + at) % plan.users.len())
        };
        let all = results.iter().enumerate().all(is_right);
        if status == 200 && results.len() == plan.batch && all {
            Ok(())
        } else {
            Err(refusal(status, body))
        }
    }
}

/// An answer as text.
pub(crate) fn refusal(status: u16, body: &[u8]) -> String {
    format!("{status} {:.300}", String::from_utf8_lossy(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_success_is_success() {
        let mut answers = Answers::default();
        let body = |status: &str| format!(r#"{{"message":"x","status":"{status}"}}"#);
        for _ in 0..2 {
            assert_eq!(answers.push(200, body("success").as_bytes()), Ok(()));
            assert!(answers.push(500, body("success").as_bytes()).is_err());
            assert!(answers.push(200, body("partial").as_bytes()).is_err());
            assert!(answers.push(200, b"").is_err());
        }
    }
}
