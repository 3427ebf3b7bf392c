//! Several gateways on one port (`server.share_port`).

use std::time::Duration;

use crate::support::{Client, Process, request};

const PATIENCE: Duration = Duration::from_secs(10);

/// A second gateway on the port of the first, and on one of its own.
fn second(first: &Process) -> Process {
    let shared = first.address.to_string();
    let arguments = ["--shards", "1", "--listen", &shared];
    Process::with(&arguments, &[("FANFARE_SERVER__SHARE_PORT", "true")])
}

fn connections(gateway: &Process) -> u64 {
    let ask = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let health = request(gateway.address, ask).json();
    health["connections"].as_u64().unwrap()
}

#[test]
fn two_gateways_on_one_port_both_serve() {
    let first = Process::start(&["--shards", "1"]);
    let mut second = second(&first);
    assert_ne!(second.address, first.address);
    // The kernel spreads them: that all of 64 go to one gateway does not happen.
    let mut clients: Vec<_> = (0..64).map(|_| Client::echo(first.address)).collect();
    for client in &mut clients {
        client.send(0x82, b"served");
        assert_eq!(client.next().unwrap().payload, b"served");
    }
    let of_second = connections(&second);
    assert!((1..64).contains(&of_second), "{of_second} of 64");
    // Where one ends, the other goes on.
    let shared = first.address;
    drop(clients);
    first.signal("TERM");
    first.wait(PATIENCE);
    let mut client = Client::echo(shared);
    client.send(0x82, b"alone");
    assert_eq!(client.next().unwrap().payload, b"alone");
    second.check_alive();
}
