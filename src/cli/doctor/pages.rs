//! Transparent huge pages.

use super::finding::{Finding, Level, Remedy};
use super::host::Host;
use super::needs::Needs;

/// Looks at whether the kernel backs memory with huge pages unasked.
pub(super) fn check(host: &Host, _: &Needs<'_>) -> Vec<Finding> {
    let Some(text) = host.text(FILE) else {
        return vec![if host.names("/sys/kernel/mm").is_empty() {
            Finding::unknown(NAME, WHY)
        } else {
            Finding::new(NAME, WHY, Level::Ok, "not in this kernel")
        }];
    };
    // All choices, the one that holds in brackets.
    let chosen = text.split(['[', ']']).nth(1);
    vec![match chosen {
        Some("always") => {
            Finding::new(NAME, WHY, Level::Note, "always").remedied(Remedy::write(FILE, "madvise"))
        }
        Some(chosen) => Finding::new(NAME, WHY, Level::Ok, chosen),
        None => Finding::unknown(NAME, WHY),
    }]
}

const NAME: &str = "transparent huge pages";
const FILE: &str = "/sys/kernel/mm/transparent_hugepage/enabled";
const WHY: &str = "The allocator (mimalloc) asks for them, so \"madvise\" is enough for it: fewer TLB misses, for memory that comes \
                   and goes in pieces of 2 MiB. \"always\" gives them to everything else, too.";

#[cfg(test)]
mod tests {
    use super::super::testing::{expect, findings};
    use super::*;

    #[test]
    fn huge_pages_for_everybody_are_told() {
        let path = "sys/kernel/mm/transparent_hugepage/enabled";
        let found = findings(check, &[(path, "[always] madvise never")], "", None);
        expect(&found, &[(Level::Note, "always")]);
        let found = findings(check, &[(path, "always [madvise] never")], "", None);
        expect(&found, &[(Level::Ok, "madvise")]);
        let found = findings(check, &[("sys/kernel/mm/ksm/run", "0")], "", None);
        expect(&found, &[(Level::Ok, "not in this kernel")]);
        expect(
            &findings(check, &[], "", None),
            &[(Level::Unknown, "cannot be read here")],
        );
    }
}
