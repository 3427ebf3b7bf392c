//! HTML pages of the gateway.

use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};

use super::answer::{Answer, respond};
use super::policy::page_policy;

/// An HTML page that loads no other resources.
#[derive(Clone, Debug)]
pub struct Page {
    html: String,
    policy: HeaderValue,
}

impl Page {
    /// A page with one `<style>` and one `<script>`.
    ///
    /// # Panics
    /// The policy that follows from it is no header value.
    #[must_use]
    pub fn new(html: String) -> Self {
        let policy = HeaderValue::from_str(&page_policy(&html)).expect("a policy is plain text");
        Self { html, policy }
    }

    /// The response that shows it.
    #[must_use]
    pub fn answer(&self) -> Answer {
        let mut answer = respond(200, "text/html; charset=utf-8", self.html.clone());
        let headers = answer.headers_mut();
        headers.insert(CONTENT_SECURITY_POLICY, self.policy.clone());
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        answer
    }
}
