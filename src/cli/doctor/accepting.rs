//! Connects that wait to be accepted.

use super::amount::grouped;
use super::finding::{Finding, Level, Remedy};
use super::host::Host;
use super::needs::Needs;

/// Looks at the queues in front of `accept`.
pub(super) fn check(host: &Host, needs: &Needs<'_>) -> Vec<Finding> {
    let backlog = u64::from(needs.config.server.backlog);
    let mut findings = vec![somaxconn(host, backlog)];
    findings.extend(overflows(host));
    findings.extend(half_open(host, backlog));
    findings
}

fn somaxconn(host: &Host, backlog: u64) -> Finding {
    let Some(max) = host.sysctl::<u64>(SOMAXCONN) else {
        return Finding::unknown(SOMAXCONN, SOMAXCONN_WHY);
    };
    let found = format!("{}, server.backlog is {}", grouped(max), grouped(backlog));
    if max >= backlog {
        return Finding::new(SOMAXCONN, SOMAXCONN_WHY, Level::Ok, found);
    }
    Finding::new(SOMAXCONN, SOMAXCONN_WHY, Level::Warn, found)
        .remedied(Remedy::sysctl(SOMAXCONN, &backlog.to_string()))
}

/// What has happened since the machine, or the container, was started. Nothing to say when it has not.
fn overflows(host: &Host) -> Option<Finding> {
    let counters = host.text("/proc/net/netstat")?;
    let mut lines = counters.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let mut pairs = names.split_whitespace().zip(values.split_whitespace());
    let (_, count) = pairs.find(|(name, _)| *name == "ListenOverflows")?;
    let count: u64 = count.parse().ok().filter(|&count| count > 0)?;
    let found = format!(
        "{} since the start, of all listeners; watch it with `nstat -az TcpExtListenOverflows`",
        grouped(count)
    );
    Some(Finding::new(
        "connects dropped",
        OVERFLOWS_WHY,
        Level::Note,
        found,
    ))
}

/// Connects whose handshake is not done. With SYN cookies the accept queue bounds them; without,
/// the kernel drops new ones once three quarters of `tcp_max_syn_backlog` are in use.
fn half_open(host: &Host, backlog: u64) -> Vec<Finding> {
    let Some(cookies) = host.sysctl::<u64>(COOKIES) else {
        return vec![Finding::unknown(COOKIES, COOKIES_WHY)];
    };
    let found = match cookies {
        0 => "0: off",
        1 => "1: when the queue is full",
        _ => "2: always, which loses TCP options",
    };
    if cookies == 1 {
        return vec![Finding::new(COOKIES, COOKIES_WHY, Level::Ok, found)];
    }
    let remedy = Remedy::sysctl(COOKIES, "1");
    let mut findings =
        vec![Finding::new(COOKIES, COOKIES_WHY, Level::Warn, found).remedied(remedy)];
    if cookies == 0 {
        findings.push(syn_backlog(host, backlog));
    }
    findings
}

fn syn_backlog(host: &Host, backlog: u64) -> Finding {
    let Some(max) = host.sysctl::<u64>(SYN_BACKLOG) else {
        return Finding::unknown(SYN_BACKLOG, SYN_BACKLOG_WHY);
    };
    let found = format!("{}, server.backlog is {}", grouped(max), grouped(backlog));
    if max >= backlog {
        return Finding::new(SYN_BACKLOG, SYN_BACKLOG_WHY, Level::Ok, found);
    }
    Finding::new(SYN_BACKLOG, SYN_BACKLOG_WHY, Level::Warn, found)
        .remedied(Remedy::sysctl(SYN_BACKLOG, &backlog.to_string()))
}

const SOMAXCONN: &str = "net.core.somaxconn";
const SOMAXCONN_WHY: &str = "Lowers server.backlog: of a crowd that connects at once, those beyond it are dropped and \
                             try again a second later.";
const OVERFLOWS_WHY: &str =
    "The queue of a listener was full; the clients tried again a second later.";
const COOKIES: &str = "net.ipv4.tcp_syncookies";
const COOKIES_WHY: &str = "Keeps the listener open to others when somebody sends SYNs only.";
const SYN_BACKLOG: &str = "net.ipv4.tcp_max_syn_backlog";
const SYN_BACKLOG_WHY: &str =
    "Without SYN cookies, connects that are not done yet are dropped beyond it.";

#[cfg(test)]
mod tests {
    use super::super::testing::{expect, findings};
    use super::*;

    #[test]
    fn a_backlog_above_somaxconn_is_told() {
        let files = [
            ("proc/sys/net/core/somaxconn", "128"),
            ("proc/sys/net/ipv4/tcp_syncookies", "1"),
        ];
        let found = findings(check, &files, "", None);
        expect(
            &found,
            &[
                (Level::Warn, "128, server.backlog is 4,096"),
                (Level::Ok, "1: when the queue is full"),
            ],
        );
        assert_eq!(
            found[0].remedy,
            Some(Remedy::sysctl("net.core.somaxconn", "4096"))
        );
        let found = findings(check, &files, "[server]\nbacklog = 128", None);
        expect(&found[..1], &[(Level::Ok, "128, server.backlog is 128")]);
    }

    #[test]
    fn the_syn_backlog_matters_only_without_cookies() {
        let files = [
            ("proc/sys/net/core/somaxconn", "4096"),
            ("proc/sys/net/ipv4/tcp_syncookies", "0"),
            ("proc/sys/net/ipv4/tcp_max_syn_backlog", "512"),
        ];
        expect(
            &findings(check, &files, "", None),
            &[
                (Level::Ok, "4,096, server.backlog is 4,096"),
                (Level::Warn, "0: off"),
                (Level::Warn, "512, server.backlog is 4,096"),
            ],
        );
    }

    #[test]
    fn dropped_connects_are_told_once_there_were_any() {
        let counters = "TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 0 12 12\nIpExt: X\nIpExt: 1\n";
        let found = findings(check, &[("proc/net/netstat", counters)], "", None);
        assert!(found[1].found.starts_with("12 since"), "{found:?}");
        let none = counters.replace("12", "0");
        let found = findings(check, &[("proc/net/netstat", &none)], "", None);
        assert_eq!(found.len(), 2);
    }
}
