//! Whether the configuration itself allows the connections that are asked about.

use super::amount::grouped;
use super::finding::{Finding, Level, Remedy};
use super::host::Host;
use super::needs::Needs;

/// Looks at nothing of the host; nothing to find unless a number was asked about.
pub(super) fn check(_: &Host, needs: &Needs<'_>) -> Vec<Finding> {
    if !needs.is_asked {
        return Vec::new();
    }
    let limit = |key, why, level, value: usize| {
        let value = value as u64;
        let found = format!("{}, needs {}", grouped(value), grouped(needs.connections));
        if value >= needs.connections {
            return Finding::new(key, why, Level::Ok, found);
        }
        let remedy = format!("# {key} = {} in the configuration", needs.connections);
        Finding::new(key, why, level, found).remedied(Remedy::command(remedy))
    };
    let config = needs.config;
    let max = config.server.max_connections;
    let mut findings = vec![limit(CONNECTIONS, CONNECTIONS_WHY, Level::Fail, max)];
    // 0: no limit of its own. Connections of the bridge do not count.
    if config.clients.max_connections > 0 {
        let max = config.clients.max_connections;
        findings.push(limit(EVENTS, EVENTS_WHY, Level::Warn, max));
    }
    findings
}

const CONNECTIONS: &str = "server.max_connections";
const CONNECTIONS_WHY: &str = "Connections beyond it are refused with status 503.";
const EVENTS: &str = "events.max_connections";
const EVENTS_WHY: &str = "Connections of the events protocol beyond it are refused with status 503; those of the bridge do not count.";

#[cfg(test)]
mod tests {
    use super::super::testing::{expect, findings};
    use super::*;

    #[test]
    fn only_what_is_asked_about_is_compared() {
        expect(&findings(check, &[], "", None), &[]);
        let keys = "[server]\nmax_connections = 10\n[events]\nmax_connections = 5";
        expect(
            &findings(check, &[], keys, Some(11)),
            &[(Level::Fail, "10, needs 11"), (Level::Warn, "5, needs 11")],
        );
        expect(
            &findings(check, &[], keys, Some(5)),
            &[(Level::Ok, "10, needs 5"), (Level::Ok, "5, needs 5")],
        );
        let found = findings(check, &[], "", Some(5));
        expect(&found, &[(Level::Ok, "100,000, needs 5")]);
    }
}
