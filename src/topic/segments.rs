//! Patterns over the segments of names, as the events protocol and the access rules write them: a segment that is `*`
//! is any one segment, a `*` at the end is whatever follows.
//!
//! A text is a topic's name in the grammar of the events protocol, or a pattern; only a pattern has a `*`.

use super::is_separator;

/// Whether what is left of a pattern, from the beginning of a segment on, matches what is left of a name there.
/// Characters of the name that patterns cannot have are taken by stars.
///
/// Cost: one pass over both texts; no recursion, no backtracking.
#[must_use]
pub(crate) fn matches(pattern: &str, topic: &str) -> bool {
    let (mut pattern, mut topic) = (pattern.as_bytes(), topic.as_bytes());
    while let Some((&expected, rest)) = pattern.split_first() {
        if expected != b'*' {
            if topic.first() != Some(&expected) {
                return false;
            }
            topic = &topic[1..];
        } else if rest.is_empty() {
            return true;
        } else {
            let segment = topic
                .iter()
                .take_while(|&&byte| !is_separator(byte))
                .count();
            topic = &topic[segment..];
        }
        pattern = rest;
    }
    topic.is_empty()
}

/// Whether every topic that `narrow` matches is one that `wide` matches; both are topics or
/// patterns. Inboxes and the limit on a name's length are left out of account.
///
/// Cost: one pass over both texts.
#[must_use]
pub(super) fn covers(wide: &str, narrow: &str) -> bool {
    let (mut wide, mut narrow) = (wide.as_bytes(), narrow.as_bytes());
    loop {
        match (place(wide), place(narrow)) {
            (PatternPlace::Rest, _) | (PatternPlace::End, PatternPlace::End) => return true,
            (PatternPlace::Literal(a), PatternPlace::Literal(b)) if a == b => {
                (wide, narrow) = (&wide[1..], &narrow[1..]);
            }
            (PatternPlace::Segment(a), PatternPlace::Segment(b)) if a == b => {
                (wide, narrow) = (&wide[2..], &narrow[2..]);
            }
            (PatternPlace::Segment(separator), PatternPlace::Literal(byte)) => {
                narrow = &narrow[1..];
                if is_separator(byte) {
                    if byte != separator {
                        return false;
                    }
                    wide = &wide[2..];
                }
            }
            // What is left of `narrow` matches texts that go on where `wide` cannot.
            _ => return false,
        }
    }
}

/// Whether some topic is matched by both texts, each a topic or a pattern. Inboxes and the limit on
/// a name's length are left out of account.
///
/// Cost: one pass over both texts.
#[must_use]
pub(super) fn overlaps(one: &str, other: &str) -> bool {
    let (mut one, mut other) = (one.as_bytes(), other.as_bytes());
    loop {
        match (place(one), place(other)) {
            // The other one can be finished in some way, and this one takes it.
            (PatternPlace::Rest, _)
            | (_, PatternPlace::Rest)
            | (PatternPlace::End, PatternPlace::End) => return true,
            (PatternPlace::Literal(a), PatternPlace::Literal(b)) if a == b => {
                (one, other) = (&one[1..], &other[1..]);
            }
            (PatternPlace::Segment(a), PatternPlace::Segment(b)) if a == b => {
                (one, other) = (&one[2..], &other[2..]);
            }
            (PatternPlace::Segment(separator), PatternPlace::Literal(byte)) => {
                other = &other[1..];
                if is_separator(byte) {
                    if byte != separator {
                        return false;
                    }
                    one = &one[2..];
                }
            }
            (PatternPlace::Literal(_), PatternPlace::Segment(_)) => (one, other) = (other, one),
            _ => return false,
        }
    }
}

/// A place in a pattern's text, for comparing two patterns. Between two separators a pattern has
/// either literals or one star, so a walk over it never has to choose.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PatternPlace {
    /// This byte comes next.
    Literal(u8),
    /// Any bytes but separators, then this separator.
    Segment(u8),
    /// Anything.
    Rest,
    /// Nothing more.
    End,
}

fn place(pattern: &[u8]) -> PatternPlace {
    match *pattern {
        [] => PatternPlace::End,
        [b'*'] => PatternPlace::Rest,
        [b'*', separator, ..] => PatternPlace::Segment(separator),
        [byte, ..] => PatternPlace::Literal(byte),
    }
}
