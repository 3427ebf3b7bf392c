//! What listens where: several gateways on one port (`server.share_port`), both families of addresses.

use std::net::SocketAddr;
use std::time::Duration;

use fanfare::config::ListenAddress;

use crate::support::{Client, Process, TestGateway, listen, request};

const PATIENCE: Duration = Duration::from_secs(10);

/// A second gateway on the port of the first, and on one of its own.
fn second(first: &Process) -> Process {
    let shared = listen(first.address).to_string();
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

/// Whether a gateway answers there.
fn is_served(address: &str, port: u16) -> bool {
    let address = SocketAddr::new(address.parse().unwrap(), port);
    std::net::TcpStream::connect(address).is_ok()
}

#[test]
fn l09_a_listener_of_all_ipv6_addresses_takes_ipv4_too() {
    let gateway = TestGateway::with(|config| {
        config.server.listen = vec!["[::]:0".parse().unwrap()];
        config.server.max_connections_per_ip = 1;
        config.server.forwarded_from = vec!["127.0.0.0/8".parse().unwrap()];
    });
    let port = gateway.address.port();
    assert!(is_served("::1", port) && is_served("127.0.0.1", port));
    // Who comes by IPv4 has an address of IPv4, as networks of proxies are written.
    let ipv4 = SocketAddr::from(([127, 0, 0, 1], port));
    let from = |client: &str| {
        let header = format!("X-Forwarded-For: {client}\r\n");
        Client::connect_with(ipv4, "/debug/echo", &header)
    };
    let mut clients = [from("192.0.2.1"), from("192.0.2.2")];
    for client in &mut clients {
        client.send(0x82, b"both");
        assert_eq!(client.next().unwrap().payload, b"both");
    }
}

#[test]
fn l09_beside_all_ipv4_addresses_it_takes_only_its_own() {
    // The same port twice: one that was free a moment ago.
    let free = std::net::TcpListener::bind("[::]:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let any = |text: &str| ListenAddress::from(SocketAddr::new(text.parse().unwrap(), port));
    for listen in [
        vec![any("::"), any("0.0.0.0")],
        vec![any("0.0.0.0"), any("::")],
        vec![any("127.0.0.1"), any("::")],
    ] {
        let gateway = TestGateway::with(|config| config.server.listen = listen);
        assert!(is_served("::1", port) && is_served("127.0.0.1", port));
        drop(gateway);
    }
    // With only one of them a port that another program has is noticed.
    let other = std::net::TcpListener::bind(any("0.0.0.0").address).unwrap();
    let config = |listen: &str| {
        let mut config = fanfare::config::Config::for_mode(fanfare::config::Mode::Demo);
        config.server.listen = vec![any(listen)];
        config
    };
    let error = fanfare::server::Gateway::start(config("::")).unwrap_err();
    assert!(error.to_string().contains("another program"), "{error}");
    drop(other);
}
