//! Names and patterns of both kinds are read or refused; what a pattern covers or does not touch is what its matches say.
//! The input is two patterns, a topic and a rule, a line each.

use fanfare::topic::{self, Matcher, Pattern, Selector};

pub fn run(text: &str) {
    let prefix = topic::likely_prefix(text);
    assert!(
        prefix.is_empty() || topic::check_prefix(&prefix).is_ok(),
        "{prefix}"
    );
    let mut lines = text.split('\n');
    let mut next = || lines.next().unwrap_or_default();
    let (wide, narrow, name, rule) = (next(), next(), next(), next());
    if topic::check_topic(name).is_ok() {
        assert!(topic::is_name(name));
    }
    if !topic::is_name(name) || topic::is_inbox(name) {
        return;
    }
    for narrow in read(narrow) {
        let in_narrow = narrow.matches(name);
        for wide in read(wide) {
            let (in_wide, covers) = (wide.matches(name), wide.covers(&narrow));
            assert!(!covers || !in_narrow || in_wide);
            assert!(!(in_wide && in_narrow) || wide.overlaps(&narrow));
            assert_eq!(wide.overlaps(&narrow), narrow.overlaps(&wide));
        }
        if in_narrow && topic::check_prefix(rule).is_ok() {
            assert!(!narrow.begins_with(rule) || name.starts_with(rule));
            assert!(!name.starts_with(rule) || narrow.may_begin_with(rule));
        }
        if in_narrow && Selector::parse(rule).is_ok() {
            let (one, all) = (Selector::Topic(name), Selector::Pattern(narrow));
            assert_eq!(one.is_within(rule), one.meets(rule));
            assert!(!all.is_within(rule) || one.is_within(rule));
            assert!(!one.meets(rule) || all.meets(rule));
        }
    }
}

/// The patterns with this text, one of each kind at most.
fn read(text: &str) -> impl Iterator<Item = Pattern> {
    let segments = Pattern::segments(text).ok();
    if let Some(pattern) = &segments {
        assert_eq!(
            (pattern.as_str(), pattern.matcher()),
            (text, Matcher::Segments)
        );
    }
    segments.into_iter().chain(Pattern::bytes(text))
}
