//! What sockets may hold in the kernel.

use super::amount::{grouped, size};
use super::finding::{Finding, Level, Remedy};
use super::host::Host;
use super::needs::Needs;

/// Looks at the memory of sockets, of all and of each.
pub(super) fn check(host: &Host, needs: &Needs<'_>) -> Vec<Finding> {
    let mut findings = vec![of_all(host, needs), of_each(host, needs)];
    findings.extend(explicit(host, needs));
    findings.extend(not_sent(host));
    findings
}

/// What all sockets share: above it the kernel drops what comes in and shrinks what goes out, for all.
fn of_all(host: &Host, needs: &Needs<'_>) -> Finding {
    let (Some([low, _, max]), Some([_, first, _]), Some(page)) = (
        host.sysctl_numbers(ALL),
        host.sysctl_numbers(SEND),
        host.page_bytes(),
    ) else {
        return Finding::unknown(ALL, ALL_WHY);
    };
    let bytes = max.saturating_mul(page);
    let each = bytes / needs.connections.max(1);
    let found = format!(
        "{} for all sockets, {} for each of {} that waits",
        size(bytes),
        size(each),
        grouped(needs.connections)
    );
    if each >= first {
        return Finding::new(ALL, ALL_WHY, Level::Ok, found);
    }
    let pages = needs.connections.saturating_mul(first).div_ceil(page);
    let finding = Finding::new(ALL, ALL_WHY, Level::Warn, found);
    // More than half of the memory is not for sockets.
    let memory = host.memory_total().unwrap_or(0);
    if pages.saturating_mul(page) > memory / 2 {
        return finding.remedied(Remedy::command(
            "# more memory, or a lower server.max_connections: what it takes is over half of this machine's",
        ));
    }
    let value = format!("{} {} {pages}", low.max(pages / 2), pages / 4 * 3);
    finding.remedied(Remedy::sysctl(ALL, &value))
}

/// What one client that does not read makes the kernel hold before the gateway sees it.
fn of_each(host: &Host, needs: &Needs<'_>) -> Finding {
    let (Some([_, _, send]), Some([_, _, receive])) =
        (host.sysctl_numbers(SEND), host.sysctl_numbers(RECEIVE))
    else {
        return Finding::unknown(SEND, EACH_WHY);
    };
    let set = needs.config.server.send_buffer as u64;
    if set > 0 {
        // The kernel doubles what it is asked for.
        let found = format!("{} by server.send_buffer, doubled", size(set));
        return Finding::new(SEND, EACH_WHY, Level::Ok, found);
    }
    let (to_send, by) = match needs.unsent_bytes() {
        Some(max) if max < send => (max, " by server.max_unsent"),
        _ => (send, ""),
    };
    let worst = (to_send.saturating_add(receive)).saturating_mul(needs.connections);
    let found = format!(
        "up to {} to send{by} and {} received; {} if every client stalls",
        size(to_send),
        size(receive),
        size(worst)
    );
    Finding::new(SEND, EACH_WHY, Level::Ok, found)
}

/// Where the configuration asks for more than the kernel gives.
fn explicit(host: &Host, needs: &Needs<'_>) -> Option<Finding> {
    let set = needs.config.server.send_buffer as u64;
    if set == 0 {
        return None;
    }
    let Some(max) = host.sysctl::<u64>(SEND_MAX) else {
        return Some(Finding::unknown(SEND_MAX, SEND_MAX_WHY));
    };
    let found = format!("{}, server.send_buffer is {}", size(max), size(set));
    let remedy = Remedy::sysctl(SEND_MAX, &set.to_string());
    Some(if max >= set {
        Finding::new(SEND_MAX, SEND_MAX_WHY, Level::Ok, found)
    } else {
        Finding::new(SEND_MAX, SEND_MAX_WHY, Level::Warn, found).remedied(remedy)
    })
}

fn not_sent(host: &Host) -> Option<Finding> {
    let bytes: u64 = host.sysctl(NOT_SENT)?;
    let found = if bytes >= u64::from(i32::MAX as u32) {
        "no limit".to_owned()
    } else {
        size(bytes)
    };
    Some(Finding::new(NOT_SENT, NOT_SENT_WHY, Level::Ok, found))
}

const ALL: &str = "net.ipv4.tcp_mem";
const ALL_WHY: &str =
    "When all sockets together hold more, every connection suffers, not only the slow ones.";
const SEND: &str = "net.ipv4.tcp_wmem";
const RECEIVE: &str = "net.ipv4.tcp_rmem";
const EACH_WHY: &str = "A client may lag by what its socket holds before the gateway sees it; server.max_unsent and server.send_buffer bound it.";
const SEND_MAX: &str = "net.core.wmem_max";
const SEND_MAX_WHY: &str = "Lowers server.send_buffer.";
const NOT_SENT: &str = "net.ipv4.tcp_notsent_lowat";
const NOT_SENT_WHY: &str = "Lower, the kernel takes less from the gateway ahead of the network: slow clients are seen \
                            sooner, for more wake-ups.";

#[cfg(test)]
mod tests {
    use super::super::testing::{expect, findings};
    use super::*;

    const FILES: [(&str, &str); 5] = [
        (
            "proc/self/smaps",
            "55d0-55d1 r--p\nSize: 4 kB\nKernelPageSize:        4 kB\n",
        ),
        ("proc/sys/net/ipv4/tcp_mem", "92640\t123520\t185280"),
        ("proc/sys/net/ipv4/tcp_wmem", "4096\t16384\t4194304"),
        ("proc/sys/net/ipv4/tcp_rmem", "4096\t131072\t6291456"),
        (
            "proc/meminfo",
            "MemTotal:        8000000 kB\nMemFree: 1 kB\n",
        ),
    ];

    #[test]
    fn memory_of_sockets_is_compared_with_what_each_begins_with() {
        let found = findings(check, &FILES, "", Some(1000));
        expect(
            &found,
            &[
                (
                    Level::Ok,
                    "723 MiB for all sockets, 741 KiB for each of 1,000 that waits",
                ),
                (
                    Level::Ok,
                    "up to 192 KiB to send by server.max_unsent and 6 MiB received; 6 GiB if every client stalls",
                ),
            ],
        );
        let found = findings(check, &FILES, "", Some(100_000));
        assert_eq!(found[0].level, Level::Warn);
        assert_eq!(
            found[0].remedy,
            Some(Remedy::sysctl("net.ipv4.tcp_mem", "200000 300000 400000"))
        );
        // A million would take 15 GiB, of 8.
        let found = findings(check, &FILES, "", Some(1_000_000));
        assert_eq!(found[0].remedy.as_ref().unwrap().keep, None);
    }

    #[test]
    fn a_send_buffer_above_the_kernel_s_limit_is_told() {
        let files = [
            FILES[0],
            FILES[1],
            FILES[2],
            FILES[3],
            ("proc/sys/net/core/wmem_max", "212992"),
        ];
        let found = findings(check, &files, "[server]\nsend_buffer = \"1MiB\"", None);
        expect(
            &found[1..],
            &[
                (Level::Ok, "1 MiB by server.send_buffer, doubled"),
                (Level::Warn, "208 KiB, server.send_buffer is 1 MiB"),
            ],
        );
    }
}
