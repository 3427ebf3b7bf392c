//! Globs over the bytes of names: `*` is any run of bytes, `?` one character. Nothing else is special, and nothing
//! can be escaped.

/// Whether a glob matches a whole name.
///
/// Cost: no recursion and one place to go back to. Every step takes a character of the pattern or gives one of the name
/// to a star, so at most the product of both lengths; one pass where no star has a choice.
#[must_use]
pub(crate) fn matches(glob: &str, name: &str) -> bool {
    takes(glob, name, |_| true)
}

/// Whether `wide` matches every name that `narrow` matches. `false` may be wrong: `*a?*` is not found to cover
/// `*a*a*`. A cover that is missed costs a log or a subscription, one that is invented would leak.
///
/// Cost: as [`matches`].
#[must_use]
pub(super) fn covers(wide: &str, narrow: &str) -> bool {
    // A star of `narrow` may stand for nothing or for much, so only a star of `wide` takes it. A `?` of `narrow` is one
    // character, which no literal takes, since no literal is a `?`.
    takes(wide, narrow, |symbol| symbol != '*')
}

/// Whether some name may be matched by both. `true` may be wrong: the globs are compared up to the first star from
/// either side.
///
/// Cost: one pass over both texts from each side.
#[must_use]
pub(super) fn overlaps(one: &str, other: &str) -> bool {
    agree(one.chars(), other.chars()) && agree(one.chars().rev(), other.chars().rev())
}

/// The beginning of a glob that all of its names begin with; the remainder is empty or begins with a wildcard.
#[must_use]
pub(crate) fn split_literal(glob: &str) -> (&str, &str) {
    glob.split_at(glob.find(['*', '?']).unwrap_or(glob.len()))
}

/// Whether a glob matches a text, of which its `?` takes the characters that `one` says.
fn takes(mut glob: &str, mut text: &str, one: impl Fn(char) -> bool) -> bool {
    // Behind the last star, and what it has not taken.
    let mut retry: Option<(&str, &str)> = None;
    loop {
        let (mut symbols, mut characters) = (glob.chars(), text.chars());
        let is_taken = match (symbols.next(), characters.next()) {
            (None, None) => return true,
            (Some('*'), _) => {
                glob = symbols.as_str();
                retry = Some((glob, text));
                // The last star takes everything.
                if glob.is_empty() {
                    return true;
                }
                continue;
            }
            (Some('?'), Some(character)) => one(character),
            (symbol, character) => symbol.is_some() && symbol == character,
        };
        if is_taken {
            (glob, text) = (symbols.as_str(), characters.as_str());
            continue;
        }
        let Some((behind, rest)) = retry else {
            return false;
        };
        let mut rest = rest.chars();
        if rest.next().is_none() {
            return false;
        }
        (glob, text) = (behind, rest.as_str());
        retry = Some((glob, text));
    }
}

/// Whether two globs may match the same, as far as their characters before the first star say.
fn agree(mut one: impl Iterator<Item = char>, mut other: impl Iterator<Item = char>) -> bool {
    loop {
        match (one.next(), other.next()) {
            (Some('*'), _) | (_, Some('*')) | (None, None) => return true,
            (Some(a), Some(b)) if a == b || a == '?' || b == '?' => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition: a star takes nothing, or one character more.
    fn naive(glob: &[char], name: &[char]) -> bool {
        match glob {
            [] => name.is_empty(),
            ['*', rest @ ..] => naive(rest, name) || !name.is_empty() && naive(glob, &name[1..]),
            [symbol, rest @ ..] => {
                let is_taken = name
                    .first()
                    .is_some_and(|first| *symbol == '?' || symbol == first);
                is_taken && naive(rest, &name[1..])
            }
        }
    }

    #[test]
    fn globs_match_as_documented() {
        for (glob, name, expected) in [
            ("*", "", true),
            ("a*", "a", true),
            ("a*", "a.b/c d", true),
            ("*.b", "a.b.b", true),
            ("*.b", "a.b.c", false),
            ("a?c", "a\u{fc}c", true),
            ("a??c", "a\u{fc}c", false),
            ("*?", "\u{1f3ba}", true),
            ("?*?", "\u{1f3ba}", false),
            ("a[b]", "a[b]", true),
            ("a[b]", "ab", false),
            ("A*", "a", false),
            ("", "", true),
        ] {
            assert_eq!(matches(glob, name), expected, "{glob} on {name}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

        #[test]
        fn matching_agrees_with_the_definition(
            glob in "[ab\u{fc}*?]{0,9}",
            name in "[ab\u{fc}*?,]{0,9}",
        ) {
            let symbols: Vec<char> = glob.chars().collect();
            let characters: Vec<char> = name.chars().collect();
            prop_assert_eq!(matches(&glob, &name), naive(&symbols, &characters));
        }
    }

    /// With a star before each of 127 characters, the last of which is missing: 16,000 steps, not 2^127.
    #[test]
    fn m06_the_worst_glob_is_not_exponential() {
        for (glob, name) in [
            ("*a".repeat(127) + "b", "a".repeat(256)),
            ("*".to_owned() + &"a".repeat(127) + "b", "a".repeat(256)),
            ("*?".repeat(128), "a".repeat(127)),
        ] {
            assert!(!matches(&glob, &name));
        }
    }
}
