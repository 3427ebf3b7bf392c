//! Answers to pushes and batches: every one must say that it was delivered.

use serde::Deserialize;

use super::plan::Plan;

/// Checks answers.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    /// The last body that was parsed and said success.
    success: Vec<u8>,
}

#[derive(Deserialize)]
struct Answer<'a> {
    status: &'a str,
    #[serde(rename = "message")]
    _message: &'a str,
}

#[derive(Deserialize)]
struct Results<'a> {
    #[serde(borrow)]
    results: Vec<Item<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Item<'a> {
    index: usize,
    user_id: &'a str,
    success: bool,
}

impl Answers {
    /// Whether a push was delivered; otherwise what the answer was.
    pub(crate) fn push(&mut self, status: u16, body: &[u8]) -> Result<(), String> {
        if status == 200 && body == self.success {
            return Ok(());
        }
        match serde_json::from_slice::<Answer<'_>>(body) {
            Ok(answer) if status == 200 && answer.status == "success" => {
                self.success = body.to_vec();
                Ok(())
            }
            _ => Err(refusal(status, body)),
        }
    }

    /// Whether a batch for the users from `first` on was delivered, told in their
    /// order.
    pub(crate) fn batch(plan: &Plan, first: usize, status: u16, body: &[u8]) -> Result<(), String> {
        let Ok(Results { results }) = serde_json::from_slice(body) else {
            return Err(refusal(status, body));
        };
        let right = |(at, item): (usize, &Item<'_>)| {
            item.success
                && item.index == at
                && item.user_id == plan.user((first + at) % plan.users.len())
        };
        let all = results.iter().enumerate().all(right);
        if status == 200 && results.len() == plan.batch && all {
            Ok(())
        } else {
            Err(refusal(status, body))
        }
    }
}

/// An answer for people.
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
