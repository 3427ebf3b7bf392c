//! The Content-Security-Policy of the gateway's pages.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The policy of a page that carries its own `<style>` and `<script>`: exactly
/// those, known by their hashes, and connections to where it came from. Nothing
/// else is loaded, and no other page may frame it.
///
/// # Panics
/// The page lacks one of the two elements.
#[must_use]
pub(super) fn page_policy(page: &str) -> String {
    let hash = |element| STANDARD.encode(digest(&SHA256, content(page, element).as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash("style"),
        hash("script"),
    )
}

/// The text of the page's only `element`.
fn content<'a>(page: &'a str, element: &str) -> &'a str {
    let inside = page
        .split_once(&format!("<{element}>"))
        .and_then(|(_, rest)| {
            let (inside, _) = rest.split_once(&format!("</{element}>"))?;
            Some(inside)
        });
    inside.expect("our own page has a style and a script")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn style_and_script_are_known_by_their_hashes() {
        let policy = page_policy("<style>a{}</style><p><script>b()</script>");
        // `printf %s 'a{}' | openssl dgst -sha256 -binary | base64`, and of `b()`.
        assert!(
            policy.contains("style-src 'sha256-X1RutGBrXCt9KkSaXMK7tHftWiRscFHOhxsS8tv8hBk='"),
            "{policy}"
        );
        assert!(
            policy.contains("script-src 'sha256-cf242PFc/kb7xD0Qzhsmd9vvRkc+cWFmbi+k+YvtdKc='"),
            "{policy}"
        );
        assert!(!policy.contains("unsafe"), "{policy}");
    }
}
