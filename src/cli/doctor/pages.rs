//! Transparent huge pages.

use super::finding::{Finding, Level, Remedy};
use super::host::Host;
use super::needs::Needs;

/// Looks at whether the gateway can have the huge pages that it is told to use. Unless it is
/// told, it uses none, whatever the host says.
pub(super) fn check(host: &Host, needs: &Needs<'_>) -> Vec<Finding> {
    if !needs.config.server.huge_pages {
        return vec![Finding::new(
            NAME,
            WHY,
            Level::Ok,
            "not used (server.huge_pages)",
        )];
    }
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
        Some("never") => {
            Finding::new(NAME, WHY, Level::Note, "never").remedied(Remedy::write(FILE, "madvise"))
        }
        Some(chosen) => Finding::new(NAME, WHY, Level::Ok, chosen),
        None => Finding::unknown(NAME, WHY),
    }]
}

const NAME: &str = "transparent huge pages";
const FILE: &str = "/sys/kernel/mm/transparent_hugepage/enabled";
const WHY: &str = "server.huge_pages asks for them: fewer misses of the processor's address cache, for memory that comes and goes \
                   in pieces of 2 MiB.";

#[cfg(test)]
mod tests {
    use super::super::testing::{expect, findings};
    use super::*;

    #[test]
    fn huge_pages_that_are_asked_for_and_cannot_be_had_are_told() {
        let path = "sys/kernel/mm/transparent_hugepage/enabled";
        let never = [(path, "always madvise [never]")];
        let found = findings(check, &never, "", None);
        expect(&found, &[(Level::Ok, "not used (server.huge_pages)")]);
        let asked = "[server]\nhuge_pages = true";
        let found = findings(check, &never, asked, None);
        expect(&found, &[(Level::Note, "never")]);
        let found = findings(check, &[(path, "always [madvise] never")], asked, None);
        expect(&found, &[(Level::Ok, "madvise")]);
        let found = findings(check, &[("sys/kernel/mm/ksm/run", "0")], asked, None);
        expect(&found, &[(Level::Ok, "not in this kernel")]);
        expect(
            &findings(check, &[], asked, None),
            &[(Level::Unknown, "cannot be read here")],
        );
    }
}
