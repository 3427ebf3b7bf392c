//! Where connections come from: all from one address is a proxy that the gateway does not know.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::amount::grouped;
use super::finding::{Finding, Level, Remedy};
use super::host::Host;
use super::needs::Needs;
use crate::config::Config;

/// Looks at the open connections of the listeners of clients. Nothing to say while there are few.
pub(super) fn check(host: &Host, needs: &Needs<'_>) -> Vec<Finding> {
    if needs.config.trusts_a_proxy() {
        return Vec::new();
    }
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| host.text(path));
    if tables.iter().all(Option::is_none) {
        return vec![Finding::unknown(CLIENTS, WHY)];
    }
    let mut by_address: BTreeMap<IpAddr, u64> = BTreeMap::new();
    let lines = tables.iter().flatten().flat_map(|table| table.lines());
    for address in lines.filter_map(|line| client(line, needs.config)) {
        *by_address.entry(address).or_default() += 1;
    }
    let count: u64 = by_address.values().sum();
    let Some((address, _)) = by_address.first_key_value() else {
        return Vec::new();
    };
    if by_address.len() > 1 || count <= CONNECTIONS_MIN {
        return Vec::new();
    }
    let found = format!("all {} connections come from {address}", grouped(count));
    // Without a limit for addresses it shows in the log only.
    let level = match needs.config.limit_of_an_address() {
        Some(_) => Level::Warn,
        None => Level::Note,
    };
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let remedy = format!("# server.forwarded_from = [\"{address}/{bits}\"] in the configuration");
    vec![Finding::new(CLIENTS, WHY, level, found).remedied(Remedy::command(remedy))]
}

/// The peer of an established connection to a listener of clients, from a line of `/proc/net/tcp`.
fn client(line: &str, config: &Config) -> Option<IpAddr> {
    let mut words = line.split_whitespace().skip(1);
    let (local, peer, state) = (words.next()?, words.next()?, words.next()?);
    let port = u16::from_str_radix(local.split_once(':')?.1, 16).ok()?;
    let mut listen = config.server.listen.iter();
    let is_ours = state == ESTABLISHED && listen.any(|listen| listen.address.port() == port);
    is_ours.then(|| address(peer.split_once(':')?.0)).flatten()
}

/// An address as `/proc/net/tcp` writes it: words of 32 bits, each a number of this machine.
fn address(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        let word = u32::from_str_radix(hex.get(at..at + 8)?, 16).ok()?;
        Some(word.to_ne_bytes())
    };
    match hex.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let mut bytes = [0; 16];
            for (at, part) in bytes.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(at * 8)?);
            }
            Some(IpAddr::from(Ipv6Addr::from(bytes)).to_canonical())
        }
        _ => None,
    }
}

const CLIENTS: &str = "addresses of clients";
const WHY: &str = "Behind a proxy that is not named, all clients share one address, its limits and its lines in the log.";
/// So many may well be of one client.
const CONNECTIONS_MIN: u64 = 20;
const ESTABLISHED: &str = "01";

#[cfg(test)]
mod tests {
    use super::super::testing::{expect, findings};
    use super::*;

    /// A table with `count` connections of each of these peers to port 8080, in hexadecimal.
    fn table(count: usize, peers: &[&str]) -> String {
        let mut table = "  sl  local_address rem_address   st tx_queue\n\
                         0: 0100007F:1F90 00000000:0000 0A 00000000:00000000\n\
                         1: 0100007F:1F91 0200000A:D431 01 00000000:00000000\n\
                         2: 0100007F:1F90 0300000A:D431 06 00000000:00000000\n"
            .to_owned();
        for peer in peers {
            let line = format!("9: 0100007F:1F90 {peer}:D431 01 00000000:00000000\n");
            table += &line.repeat(count);
        }
        table
    }

    fn check_with(count: usize, peers: &[&str], keys: &str, expected: &[(Level, &str)]) {
        // The bytes of an address are those of a little-endian machine's number.
        if cfg!(target_endian = "little") {
            let table = table(count, peers);
            let found = findings(check, &[("proc/net/tcp", &table)], keys, None);
            expect(&found, expected);
        }
    }

    #[test]
    fn one_address_of_all_clients_is_a_proxy_that_is_not_named() {
        let limit = "[auth]\nmax_failures_per_minute = 60";
        let all = "all 21 connections come from 10.0.0.1";
        check_with(21, &["0100000A"], limit, &[(Level::Warn, all)]);
        check_with(21, &["0100000A"], "", &[(Level::Note, all)]);
        check_with(20, &["0100000A"], limit, &[]);
        check_with(21, &["0100000A", "0400000A"], limit, &[]);
        check_with(21, &[], limit, &[]);
        let named = "[server]\nforwarded_from = [\"10.0.0.1\"]";
        check_with(21, &["0100000A"], named, &[]);
        let mapped = "0000000000000000FFFF00000100000A";
        check_with(
            21,
            &[mapped, "0100000A"],
            "",
            &[(Level::Note, "all 42 connections come from 10.0.0.1")],
        );
        let found = findings(check, &[], "", None);
        expect(&found, &[(Level::Unknown, "cannot be read here")]);
    }

    #[test]
    fn the_remedy_names_the_proxy() {
        let table = table(21, &["00000000000000000000000001000000"]);
        let found = findings(check, &[("proc/net/tcp6", &table)], "", None);
        let remedy = "# server.forwarded_from = [\"::1/128\"] in the configuration";
        if cfg!(target_endian = "little") {
            assert_eq!(found[0].remedy, Some(Remedy::command(remedy)));
        }
    }
}
