//! Names and patterns are read or refused; what a pattern covers or does not touch is what its matches say.
//! The input is two patterns and a topic, a line each.

#![no_main]

use fanfare::topic::{self, Pattern, Selector};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let prefix = topic::likely_prefix(text);
    assert!(
        prefix.is_empty() || topic::check_prefix(&prefix).is_ok(),
        "{prefix}"
    );
    let mut lines = text.split('\n');
    let mut next = || lines.next().unwrap_or_default();
    let (wide, narrow, name) = (next(), next(), next());
    let (Ok(wide), Ok(narrow)) = (Selector::parse(wide), Selector::parse(narrow)) else {
        return;
    };
    if topic::check_topic(name).is_err() || topic::is_inbox(name) {
        return;
    }
    let matches = |selector: &Selector<'_>| match selector {
        Selector::Topic(topic) => *topic == name,
        Selector::Pattern(pattern) => pattern.matches(name),
    };
    let (in_wide, in_narrow) = (matches(&wide), matches(&narrow));
    if topic::covers(wide.as_str(), narrow.as_str()) {
        assert!(!in_narrow || in_wide);
        assert!(topic::overlaps(wide.as_str(), narrow.as_str()));
    }
    assert!(!(in_wide && in_narrow) || topic::overlaps(wide.as_str(), narrow.as_str()));
    assert_eq!(in_wide, topic::covers(wide.as_str(), name));
    if let Some(beginning) =
        topic::beginning_with(name).filter(|_| name.len() < topic::NAME_BYTES_MAX)
    {
        assert!(Pattern::parse(&beginning).expect("a pattern").matches(name));
    }
});
