//! `[server]`: listeners, shards and what connections may cost before they speak.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;

use super::error::Problem;
use super::kind::{Choice, Count, FlagKind, ListOf, Maybe, OneOf, Parsed, Size, Time};
use super::section::{SectionRules, section};
use super::size::{GIB, KIB};
use super::socket_path::SocketPath;

section! {
    /// Listeners, shards, and what a connection may cost before it speaks.
    pub struct Server("server", mode) {
        /// Addresses to listen on; those as "https://0.0.0.0:443" speak TLS, with the files of section tls,
        /// and those as "unix:/run/fanfare/clients.sock" are sockets for a proxy on this machine.
        /// `[::]:8080` takes IPv4, too, unless `0.0.0.0:8080` is listed beside it. While anything is open to
        /// clients without credentials, only loopback addresses are accepted (see allow_open).
        listen: Vec<ListenAddress> = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)).into()],
            ListOf { item: LISTEN_ADDRESS, len: 1..=64 }, Listen "SERVER_ADDR";
        /// Addresses for services and operators. Where there are any, /metrics, /docs, /openapi.json, publishing
        /// over HTTP and the other endpoints that services ask for are there and not at those of listen, and
        /// clients cannot connect there; /health is at both. Written as in listen, and with the same rule.
        internal_listen: Vec<ListenAddress> = Vec::new(), ListOf { item: LISTEN_ADDRESS, len: 0..=64 };
        /// Who may connect to the unix sockets of these lists, as the permissions of a file: "0660" is their
        /// user and group. Whoever may is believed what it says in forwarded_header.
        unix_socket_mode: SocketMode = SocketMode(0o660), SOCKET_MODE;
        /// An address of plain HTTP on which every request is answered with status 308, to the same URL
        /// with https://, as "0.0.0.0:80".
        redirect_http: Option<SocketAddr> = None, Maybe(ADDRESS);
        /// Whether redirect_http does not count, wherever that is set.
        disable_http_redirect: bool = false, FlagKind, Flag "DISABLE_HTTP_REDIRECT";
        /// Threads that serve connections, each with its own listener; 0: one per available core.
        shards: usize = 0, Count(0..=1024);
        /// Whether each shard's thread stays on one core.
        pin_threads: bool = true, FlagKind;
        /// Connections the kernel keeps waiting to be accepted, per listener and shard; it drops those
        /// beyond it, and the client tries again. net.core.somaxconn may lower it.
        backlog: u32 = 4096, Count(1..=65_535);
        /// After SIGTERM the gateway is not ready (/health/ready) but serves as ever for this long, which
        /// is for a load balancer that needs to see it. Then it closes its clients.
        ready_delay: Duration = Duration::ZERO, Time(Duration::ZERO..=Duration::from_hours(1));
        /// From then to the exit: clients are closed spread over this time, the rest is cut off at its
        /// end. Many supervisors kill what has not ended 10 s after SIGTERM.
        drain_timeout: Duration = Duration::from_secs(6), Time(Duration::ZERO..=Duration::from_hours(1));
        /// Open connections of the process. Beyond it: status 503 with Retry-After, before the upgrade. The
        /// limit of open files lowers it: 1,024 of these, or a quarter if that is less, are for everything
        /// else. The log says so at the start.
        max_connections: usize = 100_000, Count(1..=100_000_000);
        /// Open connections from one address, an IPv6 network of 64 bits being one; 0: no limit. Beyond
        /// it: status 503 with Retry-After, before the upgrade.
        max_connections_per_ip: usize = 0, Count(0..=100_000_000);
        /// Networks whose connections begin with a PROXY protocol header, version 1 or 2: the client's
        /// address is what it says. A connection from there without one is refused with status 400, and
        /// so is one with such a header from anywhere else.
        proxy_protocol_from: Vec<IpNet> = Vec::new(), ListOf { item: NETWORK, len: 0..=1000 };
        /// Networks of proxies that may say in forwarded_header who their client is. What anybody else
        /// says there is passed over.
        forwarded_from: Vec<IpNet> = Vec::new(), ListOf { item: NETWORK, len: 0..=1000 };
        /// The header that these proxies write: "x-forwarded-for" or "forwarded" (RFC 7239). Only one
        /// counts: a proxy that writes one of them passes on what clients write into the other.
        forwarded_header: ForwardedHeader = ForwardedHeader::XForwardedFor, OneOf;
        /// From accepting a connection, or a kept one's first byte, to the end of the request head,
        /// however slowly its bytes arrive. Then the connection is closed.
        handshake_timeout: Duration = Duration::from_secs(10),
            Time(Duration::from_millis(100)..=Duration::from_mins(5));
        /// Connections of the process that have not upgraded. Beyond it, or where there are no more files,
        /// the oldest of them is closed.
        max_handshakes: usize = 16_384, Count(16..=10_000_000);
        /// Bytes that the kernel takes for a connection before it can send them (TCP_NOTSENT_LOWAT), about
        /// 64 KiB more at times: what a client that does not read costs it; "0B": the kernel's choice.
        max_unsent: usize = 128 * KIB, Size(0..=GIB);
        /// SO_SNDBUF of every connection: bytes the kernel holds for it, those on their way included; "0B":
        /// the kernel's choice, which grows with the distance of a client.
        send_buffer: usize = 0, Size(0..=GIB);
        /// Whether another process may listen on the same ports; the kernel spreads connections over both.
        /// It must be this gateway, too, and of the same user; each process has topics of its own. If
        /// not, a port in use is refused at the start.
        share_port: bool = false, FlagKind;
        /// Whether the kernel may back memory with huge pages of 2 MiB. Fewer misses of the processor's
        /// address cache, for more resident memory: a connection takes half as much again, and what it
        /// leaves stays.
        huge_pages: bool = false, FlagKind;
        /// Accept listeners beyond loopback although something is open to clients without credentials.
        allow_open: bool = false, FlagKind;
    }
}

impl SectionRules for Server {
    fn broken_rules(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let paths: Vec<&SocketPath> = self.listeners().filter_map(|it| it.unix.as_ref()).collect();
        let twice = (1..paths.len()).find(|&at| paths[..at].contains(&paths[at]));
        problems.extend(twice.map(|at| Problem::SocketTwice(paths[at].clone())));
        if let (Some(path), true) = (paths.first(), self.share_port) {
            problems.push(Problem::SocketShared((*path).clone()));
        }
        let mut addresses: Vec<SocketAddr> = self.listeners().map(|it| it.address).collect();
        addresses.extend(self.redirect());
        // Port 0 is another one each time, and unix sockets have it.
        let is_again =
            |&at: &usize| addresses[at].port() != 0 && addresses[..at].contains(&addresses[at]);
        let twice = (1..addresses.len()).find(is_again);
        problems.extend(twice.map(|at| Problem::ListensTwice(addresses[at])));
        problems
    }
}

impl Server {
    /// Where clients and services are listened to: `listen`, then `internal_listen`.
    pub fn listeners(&self) -> impl Iterator<Item = &ListenAddress> {
        self.listen.iter().chain(&self.internal_listen)
    }

    /// Where clients are redirected to https://, if they are.
    pub fn redirect(&self) -> Option<SocketAddr> {
        self.redirect_http.filter(|_| !self.disable_http_redirect)
    }
}

/// An IP address with its port.
const ADDRESS: Parsed<SocketAddr> = Parsed {
    read: |text| text.parse().ok(),
    show: SocketAddr::to_string,
    accepts: "an IP address with a port, as \"127.0.0.1:8080\" or \"[::1]:8080\"",
};

/// An address to listen on, and what is spoken there: `127.0.0.1:8080`, `http://127.0.0.1:8080`,
/// `https://127.0.0.1:8443` or `unix:/run/fanfare/clients.sock`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ListenAddress {
    /// The socket's address; of a unix socket that of its clients: 127.0.0.1, and port 0.
    pub address: SocketAddr,
    /// Whether connections begin with a TLS handshake.
    pub tls: bool,
    /// The path, if it is a unix socket.
    pub unix: Option<SocketPath>,
}

impl ListenAddress {
    /// The socket, without what is spoken there.
    #[must_use]
    pub fn socket(&self) -> String {
        match &self.unix {
            Some(path) => format!("unix:{path}"),
            None => self.address.to_string(),
        }
    }
}

/// A unix socket of plain HTTP.
impl From<SocketPath> for ListenAddress {
    fn from(path: SocketPath) -> Self {
        Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            tls: false,
            unix: Some(path),
        }
    }
}

/// Of plain HTTP.
impl From<SocketAddr> for ListenAddress {
    fn from(address: SocketAddr) -> Self {
        Self {
            address,
            tls: false,
            unix: None,
        }
    }
}

/// As the URL that clients connect to; without `http://`.
impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https://" } else { "" };
        write!(f, "{scheme}{}", self.socket())
    }
}

impl FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = SocketPath::new(path);
            let path = path.ok_or_else(|| format!("accepted: {}", LISTEN_ADDRESS.accepts))?;
            return Ok(path.into());
        }
        let (tls, address) = match text.split_once("://") {
            None => (false, text),
            Some(("http", address)) => (false, address),
            Some(("https", address)) => (true, address),
            Some(_) => return Err(format!("accepted: {}", LISTEN_ADDRESS.accepts)),
        };
        let address = address.strip_suffix('/').unwrap_or(address).parse();
        let address = address.map_err(|_| format!("accepted: {}", LISTEN_ADDRESS.accepts))?;
        let unix = None;
        Ok(Self { address, tls, unix })
    }
}

const LISTEN_ADDRESS: Parsed<ListenAddress> = Parsed {
    read: |text| text.parse().ok(),
    show: ListenAddress::to_string,
    accepts: "an IP address with a port, as \"127.0.0.1:8080\" or \"[::1]:8080\"; of TLS as \"https://127.0.0.1:8443\", a unix socket as \"unix:/run/fanfare.sock\"",
};

/// The permissions of a unix socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketMode(pub u32);

const SOCKET_MODE: Parsed<SocketMode> = Parsed {
    read: |text| {
        let is_octal = text.len() == 4 && text.bytes().all(|byte| byte.is_ascii_digit());
        let mode = u32::from_str_radix(text, 8).ok()?;
        (is_octal && mode <= 0o777).then_some(SocketMode(mode))
    },
    show: |mode| format!("{:04o}", mode.0),
    accepts: "permissions as four octal digits, \"0000\" to \"0777\"",
};

/// A network, or a single address.
const NETWORK: Parsed<IpNet> = Parsed {
    read: |text| {
        let network: Option<IpNet> = text.parse().ok();
        network.or_else(|| Some(text.parse::<IpAddr>().ok()?.into()))
    },
    show: IpNet::to_string,
    accepts: "a network, as \"10.0.0.0/8\" or \"fd00::/8\", or an address",
};

/// Where proxies say who their client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`: addresses, each proxy's client behind the ones before it.
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

impl Choice for ForwardedHeader {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("x-forwarded-for", Self::XForwardedFor),
        ("forwarded", Self::Forwarded),
    ];
}
