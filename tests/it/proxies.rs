//! Proxies in front of a gateway in production, with the files of packaging/proxies that docs/proxies.md shows. Replaced are
//! addresses, certificates and the numbers of files and connections; left out is what takes root.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fanfare::config::{Config, Mode, SocketMode};
use fanfare::dialect::sse::SseSettings;
use serde_json::{Value, json};
use socket2::{Domain, Socket as RawSocket, Type};

use crate::support::{Client, Identity, Response, Socket, TestGateway, needs_plaintext};

const GUIDE: &str = include_str!("../../docs/proxies.md");
const MISSING: &str =
    "a proxy is missing: run `scripts/setup test`, which unpacks Debian's packages";
const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// Far more than anything takes that is not broken.
const PATIENCE: Duration = Duration::from_secs(20);

/// The last byte of the address 127.0.0.x of clients; that of proxies is 1.
const CLIENT: u8 = 2;

/// A file of packaging/proxies, with its name and how the documentation marks it.
macro_rules! file {
    ($name:literal, $language:literal) => {
        (
            $name,
            $language,
            include_str!(concat!("../../packaging/proxies/", $name)),
        )
    };
}

const FILES: [(&str, &str, &str); 7] = [
    file!("nginx.conf", "nginx"),
    file!("nginx-tcp.conf", "nginx"),
    file!("haproxy.cfg", "haproxy"),
    file!("haproxy-tcp.cfg", "haproxy"),
    file!("Caddyfile", "caddyfile"),
    file!("traefik.yaml", "yaml"),
    file!("traefik-fanfare.yaml", "yaml"),
];

fn text_of(name: &str) -> &'static str {
    let found = FILES.iter().find(|(known, ..)| *known == name);
    found.expect("a known file").2
}

/// A file that runs here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Nginx,
    NginxTcp,
    Haproxy,
    HaproxyTcp,
    Caddy,
}

use Kind::{Caddy, Haproxy, HaproxyTcp, Nginx, NginxTcp};

impl Kind {
    const ALL: [Self; 5] = [Nginx, NginxTcp, Haproxy, HaproxyTcp, Caddy];

    /// Those that read HTTP.
    const HTTP: [Self; 3] = [Nginx, Haproxy, Caddy];

    fn passes_tls_through(self) -> bool {
        matches!(self, NginxTcp | HaproxyTcp)
    }

    fn file(self) -> &'static str {
        match self {
            Nginx => "nginx.conf",
            NginxTcp => "nginx-tcp.conf",
            Haproxy => "haproxy.cfg",
            HaproxyTcp => "haproxy-tcp.cfg",
            Caddy => "Caddyfile",
        }
    }

    /// The gateway's configuration for it, as the documentation has it.
    fn gateway_toml(self) -> &'static str {
        let heading = match self.passes_tls_through() {
            false => "## TLS ends at the proxy\n",
            true => "## TLS passes through\n",
        };
        let (_, section) = GUIDE.split_once(heading).expect("a section");
        let (_, block) = section.split_once("```toml\n").expect("a configuration");
        block.split("```").next().unwrap()
    }
}

/// A proxy in front of a gateway in production.
struct Site {
    kind: Kind,
    address: SocketAddr,
    /// Where plain HTTP is redirected, if it is.
    plain: SocketAddr,
    identity: Identity,
    directory: PathBuf,
    proxy: Child,
    gateway: TestGateway,
}

impl Site {
    fn start(kind: Kind, change: impl FnOnce(&mut Config)) -> Self {
        Self::over(kind, None, change)
    }

    /// The proxy connects to a unix socket at `path`, if there is one.
    fn over(kind: Kind, path: Option<&Path>, change: impl FnOnce(&mut Config)) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("proxies-{}-{number}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let identity = Identity::new();
        let pem_file = identity.pem_file.display().to_string();
        let secret = format!("jwt_secret = \"{SECRET}\"");
        let toml = kind.gateway_toml();
        let toml = toml.replace(
            "jwt_secret_file = \"/etc/fanfare/keys/jwt_secret\"",
            &secret,
        );
        let toml = toml.replace("/etc/fanfare/tls.crt", &pem_file);
        let toml = toml.replace("/etc/fanfare/tls.key", &pem_file);
        let gateway = TestGateway::from_toml(&toml, |config| {
            if kind.passes_tls_through() {
                config.server.listen = vec!["https://127.0.0.1:0".parse().unwrap()];
            }
            if let Some(path) = path {
                let socket = format!("unix:{}", path.display());
                config.server.listen.push(socket.parse().unwrap());
                // Workers of nginx have a user of their own.
                config.server.unix_socket_mode = SocketMode(0o666);
            }
            change(config);
        });
        let upstream = match path.map(Path::display) {
            None => gateway.address.to_string(),
            Some(path) if kind == Haproxy => format!("unix@{path}"),
            Some(path) if kind == Caddy => format!("unix/{path}"),
            Some(path) => format!("unix:{path}"),
        };
        let (address, plain, proxy) = run(kind, &upstream, &pem_file, &directory);
        Self {
            kind,
            address,
            plain,
            identity,
            directory,
            proxy,
            gateway,
        }
    }

    /// A connection to the proxy from 127.0.0.`last`.
    fn connect(&self, last: u8) -> Socket {
        let socket = RawSocket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let from = SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0));
        socket.bind(&from.into()).unwrap();
        socket.connect(&self.address.into()).unwrap();
        let tcp = TcpStream::from(socket);
        let socket = match self.kind {
            Caddy => Socket::over(tcp),
            _ => Socket::secured(tcp, &self.identity),
        };
        let socket = socket.expect("a handshake");
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    }

    /// Asks for an upgrade at `path` from 127.0.0.`last`, with these headers, each ended by CRLF.
    fn ask(&self, path: &str, last: u8, headers: &str) -> Socket {
        let mut socket = self.connect(last);
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n",
            self.address
        );
        socket.write_all(head.as_bytes()).unwrap();
        socket
    }

    /// A connection of a user that has its greeting.
    fn events(&self, last: u8, headers: &str) -> Client {
        let path = format!("/api/v1/ws?token={}", token("ann", "user"));
        let client = Client::answered(self.ask(&path, last, headers));
        let mut client = client.unwrap_or_else(|| panic!("{:?}: refused", self.kind));
        assert_eq!(client.json()["type"], "connection_established");
        client
    }

    /// The answer to a request of a service.
    fn request(&self, method: &str, path: &str, body: &str) -> Response {
        exchange(self.connect(CLIENT), &self.request_text(method, path, body))
    }

    fn request_text(&self, method: &str, path: &str, body: &str) -> String {
        format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            token("billing", "service"),
            body.len()
        )
    }

    fn publish(&self, data: &Value) -> Response {
        let body = json!({ "event": "news", "data": data }).to_string();
        self.request("POST", "/api/v1/events", &body)
    }

    /// The gateway's connections, as a service is told.
    fn connections(&self) -> u64 {
        let answer = match self.kind.passes_tls_through() {
            true => self.request("GET", "/metrics?format=json", ""),
            false => {
                let tcp = TcpStream::connect(self.gateway.address).unwrap();
                let text = self.request_text("GET", "/metrics?format=json", "");
                exchange(Socket::over(tcp).unwrap(), &text)
            }
        };
        answer.json()["active_connections"].as_u64().unwrap()
    }

    /// Reads the configuration again, as its service does.
    fn reload(&self) {
        let signal = match self.kind {
            Nginx | NginxTcp => "-HUP",
            Haproxy | HaproxyTcp => "-USR2",
            Caddy => unreachable!("it is told over HTTP"),
        };
        self.signal(signal);
    }

    fn signal(&self, signal: &str) {
        let kill = Command::new("kill")
            .args([signal, &self.proxy.id().to_string()])
            .status();
        assert!(kill.unwrap().success());
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.signal("-TERM");
        let _ = self.proxy.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Starts a proxy, and waits until it listens; where it does, where it redirects from, and its process.
fn run(
    kind: Kind,
    gateway: &str,
    pem_file: &str,
    directory: &Path,
) -> (SocketAddr, SocketAddr, Child) {
    let file = directory.join(kind.file());
    // A port that was free may be another test's by then.
    for _ in 0..5 {
        let free = [0; 2].map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
        let [address, plain] = free.each_ref().map(|it| it.local_addr().unwrap());
        drop(free);
        let text = configuration(kind, address, plain, gateway, pem_file, directory);
        fs::write(&file, text).unwrap();
        let mut proxy = command(kind, &file, directory).spawn().expect(MISSING);
        let deadline = Instant::now() + PATIENCE;
        while proxy.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "{kind:?} does not listen");
            if TcpStream::connect(address).is_ok() {
                return (address, plain, proxy);
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
    let log = fs::read_to_string(directory.join("log"));
    panic!("{kind:?} does not start: {log:?}");
}

/// The file as it can run here.
fn configuration(
    kind: Kind,
    address: SocketAddr,
    plain: SocketAddr,
    gateway: &str,
    pem_file: &str,
    directory: &Path,
) -> String {
    let (address, plain, gateway) = (address.to_string(), plain.to_string(), gateway.to_owned());
    let directory = directory.display();
    let own = |name: &str| format!("{directory}/{name}");
    let scratch = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {};\n", own(name)))
        .concat();
    let module = unpacked("nginx", "usr/lib/nginx/modules/ngx_stream_module.so");
    let listen = |address: &str| format!("listen {address}");
    let bind = |address: &str| format!("bind {address}");
    let mut replaced = match kind {
        Nginx | NginxTcp => vec![
            ("listen 443", listen(&address)),
            ("/run/nginx.pid", own("pid")),
            ("/var/log/nginx/error.log", own("error.log")),
            (
                "worker_rlimit_nofile 131072",
                "worker_rlimit_nofile 2048".to_owned(),
            ),
            (
                "worker_connections 65536",
                "worker_connections 256".to_owned(),
            ),
        ],
        Haproxy | HaproxyTcp => vec![
            ("bind :443", bind(&address)),
            ("maxconn 50000", "maxconn 500".to_owned()),
        ],
        Caddy => vec![(
            "fanfare.example.com {",
            format!("{{\nadmin off\n}}\nhttp://{address} {{"),
        )],
    };
    match kind {
        Nginx => replaced.extend([
            ("listen 80", listen(&plain)),
            ("/etc/ssl/fanfare/fullchain.pem", pem_file.to_owned()),
            ("/etc/ssl/fanfare/privkey.pem", pem_file.to_owned()),
            ("http {", format!("http {{\n{scratch}")),
        ]),
        NginxTcp => replaced.push((
            "include /etc/nginx/modules-enabled/*.conf",
            format!("load_module {}", module.display()),
        )),
        Haproxy => replaced.extend([
            ("bind :80", bind(&plain)),
            ("/etc/haproxy/certs/fanfare.pem", pem_file.to_owned()),
        ]),
        HaproxyTcp | Caddy => {}
    }
    replaced.push(match kind.passes_tls_through() {
        false => ("127.0.0.1:8080", gateway),
        true => ("127.0.0.1:8443", gateway),
    });
    // What takes root, and IPv6, which not every machine has.
    let left_out = ["user ", "group ", "stats socket ", "listen [::]:"];
    let lines = text_of(kind.file()).lines();
    let kept = lines.filter(|line| !left_out.iter().any(|it| line.trim().starts_with(it)));
    let text = kept.fold(String::new(), |text, line| text + line + "\n");
    replaced.iter().fold(text, |text, (from, to)| {
        assert!(text.contains(from), "{kind:?} has no {from}");
        text.replace(from, to)
    })
}

/// What is installed, or else what `scripts/setup test` has unpacked.
fn unpacked(package: &str, file: &str) -> PathBuf {
    let unpacked = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("..")
        .join(package);
    let places = [Path::new("/"), &unpacked].map(|place| place.join(file));
    places
        .into_iter()
        .find(|path| path.exists())
        .expect(MISSING)
}

/// What runs the proxy in the foreground.
fn command(kind: Kind, file: &Path, directory: &Path) -> Command {
    let mut command = match kind {
        Nginx | NginxTcp => {
            let mut command = Command::new(unpacked("nginx", "usr/sbin/nginx"));
            command.arg("-e").arg(directory.join("error.log"));
            command.args(["-g", "daemon off;", "-c"]);
            command
        }
        Haproxy | HaproxyTcp => {
            let program = unpacked("haproxy", "usr/sbin/haproxy");
            let mut command = Command::new(&program);
            // Its libraries are where it was unpacked.
            let libraries = program.ancestors().nth(2).unwrap().join("lib");
            let libraries = fs::read_dir(libraries)
                .unwrap()
                .map(|it| it.unwrap().path());
            let libraries = libraries.filter(|it| it.to_string_lossy().ends_with("-linux-gnu"));
            let libraries = std::env::join_paths(libraries).unwrap();
            command.env("LD_LIBRARY_PATH", libraries);
            command.args(["-W", "-db", "-f"]);
            command
        }
        Caddy => {
            let mut command = Command::new(unpacked("caddy", "usr/bin/caddy"));
            command
                .env("XDG_DATA_HOME", directory)
                .env("XDG_CONFIG_HOME", directory);
            command.args(["run", "--adapter", "caddyfile", "--config"]);
            command
        }
    };
    command.arg(file);
    let log = fs::File::create(directory.join("log")).unwrap();
    command.stdout(log.try_clone().unwrap()).stderr(log);
    command
}

fn token(user: &str, role: &str) -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let end = since.expect("it is later than 1970").as_secs() + 600;
    let claims = json!({ "sub": user, "role": role, "exp": end });
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap()
}

/// Sends `text`, and reads the answer to its end, as its head says where that is.
fn exchange(mut socket: Socket, text: &str) -> Response {
    // What has refused the beginning may not take the rest.
    let _ = socket.write_all(text.as_bytes());
    let mut all = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let so_far = String::from_utf8_lossy(&all);
        let (head, body) = so_far.split_once("\r\n\r\n").unwrap_or((&so_far, ""));
        let response = Response {
            status: head
                .split(' ')
                .nth(1)
                .and_then(|it| it.parse().ok())
                .unwrap_or(0),
            head: head.to_owned(),
            body: body.to_owned(),
            closed: false,
        };
        let len = response
            .header("content-length")
            .and_then(|it| it.parse().ok());
        if so_far.contains("\r\n\r\n") && len.is_some_and(|len: usize| body.len() >= len) {
            return response;
        }
        match socket.read(&mut piece) {
            Ok(read) if read > 0 => all.extend(&piece[..read]),
            Ok(_) => {
                return Response {
                    closed: true,
                    ..response
                };
            }
            Err(error) => panic!("{error} after {response:?}"),
        }
    }
}

/// Reads until `what` has come, and returns all of it.
fn read_until(stream: &mut Socket, what: &str) -> String {
    let mut all = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&all);
        if text.contains(what) {
            return text.into_owned();
        }
        match stream.read(&mut piece) {
            Ok(read) if read > 0 => all.extend(&piece[..read]),
            end => panic!("no {what}, but {end:?} after {text}"),
        }
    }
}

/// With TLS of its own, the gateway is not where these proxies expect it.
fn is_left_out() -> bool {
    needs_plaintext("most of these proxies end TLS")
}

#[test]
fn the_documentation_shows_the_files_as_they_are() {
    for (name, language, text) in FILES {
        let block = format!("```{language}\n{text}```\n");
        assert!(
            GUIDE.contains(&block),
            "docs/proxies.md shows another {name}"
        );
    }
}

/// What the files say in seconds is beyond what the gateway does by itself.
#[test]
fn no_proxy_ends_what_the_gateway_keeps() {
    let config = Config::for_mode(Mode::Prod);
    let silence = config.websocket.ping_interval + config.websocket.ping_timeout;
    let silence = silence.max(config.section::<SseSettings>().heartbeat);
    let seconds = |name: &str, key: &str| {
        let (_, rest) = text_of(name).split_once(key).expect(key);
        let number = rest.trim_start().split('s').next().unwrap();
        Duration::from_secs(number.parse().expect(key))
    };
    for (name, key) in [
        ("nginx.conf", "proxy_read_timeout "),
        ("nginx.conf", "proxy_send_timeout "),
        ("nginx-tcp.conf", "proxy_timeout "),
        ("haproxy.cfg", "timeout client "),
        ("haproxy.cfg", "timeout server "),
        ("haproxy.cfg", "timeout tunnel "),
        ("haproxy-tcp.cfg", "timeout client "),
        ("haproxy-tcp.cfg", "timeout server "),
    ] {
        assert!(seconds(name, key) > silence, "{name}: {key}");
    }
    // A proxy gives up an idle connection before the gateway does: a request on it is never lost.
    for (name, key) in [
        ("nginx.conf", "keepalive_timeout "),
        ("Caddyfile", "keepalive "),
        ("traefik-fanfare.yaml", "idleConnTimeout: "),
    ] {
        assert!(
            seconds(name, key) < config.http.keep_alive_timeout,
            "{name}: {key}"
        );
    }
}

#[test]
fn messages_and_streams_pass_each_proxy_at_once() {
    if is_left_out() {
        return;
    }
    for kind in Kind::ALL {
        let site = Site::start(kind, |_| {});
        let mut client = site.events(CLIENT, "");
        client.subscribe(&["news"]);
        let mut stream = site.connect(CLIENT);
        let request = site.request_text("GET", "/api/v1/sse?topics=news", "");
        stream.write_all(request.as_bytes()).unwrap();
        // Before anything is published, and long before a comment comes.
        read_until(&mut stream, "id: ");
        for number in 1..=3 {
            let published = site.publish(&json!({ "number": number }));
            assert_eq!(published.status, 202, "{kind:?}: {published:?}");
            assert_eq!(client.json()["data"]["number"], number, "{kind:?}");
            read_until(&mut stream, &format!("data: {{\"number\":{number}}}"));
        }

        // Answers to a question come while there is no last one.
        let path = format!("/ws?user_id=bob&token={}", token("bob", "user"));
        let user = site.ask(&path, CLIENT, "");
        let mut user = Client::answered(user).expect("an upgrade");
        let mut asking = site.connect(CLIENT);
        let question = json!({ "user_id": "bob", "data": { "correlation_id": "q" } }).to_string();
        let question = site.request_text("POST", "/sse/send", &question);
        asking.write_all(question.as_bytes()).unwrap();
        assert_eq!(user.json()["correlation_id"], "q", "{kind:?}");
        user.say(&json!({ "correlation_id": "q", "answer": "first" }));
        read_until(&mut asking, "first");
        user.say(&json!({ "correlation_id": "q", "answer": "last", "is_final": true }));
        read_until(&mut asking, "last");
    }
}

#[test]
fn a_client_that_leaves_is_gone_at_the_gateway() {
    if is_left_out() {
        return;
    }
    for kind in Kind::ALL {
        // No comment that could not be written tells it.
        let site = Site::start(kind, |config| {
            config.section_mut::<SseSettings>().heartbeat = Duration::from_hours(1);
        });
        let client = site.events(CLIENT, "");
        let mut stream = site.connect(CLIENT);
        let request = site.request_text("GET", "/api/v1/sse?topics=news", "");
        stream.write_all(request.as_bytes()).unwrap();
        read_until(&mut stream, "id: ");
        assert_eq!(site.connections(), 2, "{kind:?}");
        drop((client, stream));
        let deadline = Instant::now() + PATIENCE;
        while site.connections() > 0 {
            assert!(Instant::now() < deadline, "{kind:?} keeps a connection");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn pings_and_pongs_pass_each_proxy() {
    if is_left_out() {
        return;
    }
    for kind in Kind::ALL {
        let site = Site::start(kind, |config| {
            config.websocket.ping_interval = Duration::from_millis(100);
            config.websocket.ping_timeout = Duration::from_secs(2);
        });
        let mut client = site.events(CLIENT, "");
        for _ in 0..5 {
            client.answer_ping();
        }
        // One that answers no longer is gone, and the proxy says so.
        client.wait_for_end();
    }
}

#[test]
fn h17_behind_each_proxy_a_client_has_its_own_address_and_no_forged_one() {
    if is_left_out() {
        return;
    }
    for kind in Kind::ALL {
        let site = Site::start(kind, |config| config.server.max_connections_per_ip = 1);
        let _first = site.events(CLIENT, "");
        let path = format!("/api/v1/ws?token={}", token("ann", "user"));
        for forged in [
            "",
            "X-Forwarded-For: 198.51.100.7\r\n",
            "X-Forwarded-For: 198.51.100.7\r\nX-Forwarded-For: 127.0.0.1\r\n",
            "X-Forwarded-For: 198.51.100.7, 127.0.0.1\r\n",
            "Forwarded: for=198.51.100.7\r\nX-Real-IP: 198.51.100.7\r\n",
        ] {
            let refused = exchange(site.ask(&path, CLIENT, forged), "");
            // The gateway's own words.
            assert_eq!(refused.status, 503, "{kind:?}, {forged}: {refused:?}");
            assert!(refused.body.contains("\"detail\""), "{kind:?}: {refused:?}");
            assert!(
                refused.header("retry-after").is_some(),
                "{kind:?}: {refused:?}"
            );
        }
        let _second = site.events(CLIENT + 1, "");
    }
}

#[test]
fn over_a_unix_socket_clients_have_their_addresses_too() {
    if is_left_out() {
        return;
    }
    for kind in Kind::HTTP {
        let name = format!("fanfare-proxies-{kind:?}-{}.sock", std::process::id());
        let socket = std::env::temp_dir().join(name);
        let site = Site::over(kind, Some(&socket), |config| {
            config.server.max_connections_per_ip = 1;
            config.server.forwarded_from.clear();
        });
        let mut first = site.events(CLIENT, "");
        first.subscribe(&["news"]);
        assert_eq!(site.publish(&json!(1)).status, 202, "{kind:?}");
        assert_eq!(first.json()["data"], 1, "{kind:?}");
        let path = format!("/api/v1/ws?token={}", token("ann", "user"));
        let forged = "X-Forwarded-For: 198.51.100.7\r\n";
        let refused = exchange(site.ask(&path, CLIENT, forged), "");
        assert_eq!(refused.status, 503, "{kind:?}: {refused:?}");
        let _second = site.events(CLIENT + 1, "");
    }
}

#[test]
fn refusals_pass_each_proxy_with_their_words() {
    if is_left_out() {
        return;
    }
    for kind in Kind::ALL {
        let site = Site::start(kind, |config| config.clients.publishes_per_minute = 1);
        assert_eq!(site.publish(&json!(1)).status, 202);
        let refused = site.publish(&json!(2));
        assert_eq!(refused.status, 429, "{kind:?}: {refused:?}");
        assert!(
            refused.body.contains("may be published in a minute"),
            "{refused:?}"
        );
        assert!(
            refused.header("retry-after").is_some(),
            "{kind:?}: {refused:?}"
        );
        // It is the gateway that says that a body is too large.
        let large = format!("{}{}", "{}", " ".repeat(1_100_000));
        let refused = site.request("POST", "/api/v1/events", &large);
        assert_eq!(refused.status, 413, "{kind:?}: {refused:?}");
        assert!(
            refused.body.contains("The body is larger than"),
            "{kind:?}: {refused:?}"
        );
        let unknown = site.request("GET", "/nowhere", "");
        assert_eq!(
            (unknown.status, unknown.body.contains("detail")),
            (404, true),
            "{kind:?}"
        );
    }
}

#[test]
fn what_asks_for_no_credentials_stays_behind_the_proxy() {
    if is_left_out() {
        return;
    }
    for kind in Kind::HTTP {
        let site = Site::start(kind, |_| {});
        for path in [
            "/metrics",
            "/metrics?format=prometheus",
            "/metrics/",
            "//metrics",
            "/%6Detrics",
            "/x/../metrics",
            "/health",
            "/health/ready",
            "/health/live",
            "/api/v1/health",
        ] {
            let answer = site.request("GET", path, "");
            assert!(
                matches!(answer.status, 400 | 404),
                "{kind:?} {path}: {answer:?}"
            );
        }
        if kind != Caddy {
            let text =
                "GET /api/v1/sse?topics=a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
            let plain = TcpStream::connect(site.plain).unwrap();
            let moved = exchange(Socket::over(plain).unwrap(), text);
            let to = moved.header("location");
            assert_eq!(
                to,
                Some("https://localhost/api/v1/sse?topics=a"),
                "{kind:?}: {moved:?}"
            );
        }
    }
}

#[test]
fn clients_stay_while_a_proxy_reads_its_configuration_again() {
    if is_left_out() {
        return;
    }
    for kind in [Nginx, NginxTcp, Haproxy, HaproxyTcp] {
        let site = Site::start(kind, |_| {});
        let mut clients = vec![site.events(CLIENT, "")];
        clients[0].subscribe(&["news"]);
        for number in 0..3 {
            site.reload();
            // The new process takes over meanwhile.
            thread::sleep(Duration::from_millis(300));
            let mut client = site.events(CLIENT, "");
            client.subscribe(&["news"]);
            clients.push(client);
            assert_eq!(site.publish(&json!(number)).status, 202, "{kind:?}");
            for client in &mut clients {
                assert_eq!(client.json()["data"], number, "{kind:?}");
            }
        }
    }
}

#[test]
fn a_gateway_that_stops_closes_its_clients_through_each_proxy() {
    if is_left_out() {
        return;
    }
    for kind in Kind::ALL {
        let mut site = Site::start(kind, |_| {});
        let mut client = site.events(CLIENT, "");
        let gateway = std::mem::replace(&mut site.gateway, TestGateway::start());
        let stopping = thread::spawn(|| gateway.stop());
        assert_eq!(client.until_close(), Some(1001), "{kind:?}");
        drop(client);
        stopping.join().unwrap();
    }
}
