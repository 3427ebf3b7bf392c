//! Gateways with certificates of a test's own, and clients that trust them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use fanfare::config::{Config, Mode};
use fanfare::server::Gateway;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// Far more than anything takes that is not broken.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);

/// A connection of TLS, its handshake done.
pub(super) type Secure = StreamOwned<ClientConnection, TcpStream>;

/// An authority, and a directory for what it issues.
pub(super) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    pub(super) directory: PathBuf,
}

/// A certificate with its key, as PEM.
pub(super) struct Issued {
    pub(super) certificate: String,
    pub(super) key: String,
}

impl Authority {
    /// Files are in a new directory of this name.
    pub(super) fn new(name: &str) -> Self {
        let name = format!("tls-{name}-{}", std::process::id());
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        // Issuer and subject differ, or OpenSSL takes what is issued for self-signed.
        let names = &mut params.distinguished_name;
        names.push(DnType::CommonName, "Authority of tests");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let authority = Self { issuer, directory };
        authority.write("ca.pem", &authority.issuer.pem());
        authority
    }

    /// A certificate for these names, changed by `change`.
    pub(super) fn issue(
        &self,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Issued {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        Issued {
            certificate: params.signed_by(&key, &self.issuer).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    /// Writes a file, as one that is moved into place.
    pub(super) fn write(&self, name: &str, content: &str) -> PathBuf {
        let (path, new) = (self.directory.join(name), self.directory.join("new"));
        std::fs::write(&new, content).unwrap();
        std::fs::rename(&new, &path).unwrap();
        path
    }

    /// Writes the two files of a certificate.
    pub(super) fn put(&self, name: &str, issued: &Issued) -> (PathBuf, PathBuf) {
        let certificate = self.write(&format!("{name}.crt"), &issued.certificate);
        (certificate, self.write(&format!("{name}.key"), &issued.key))
    }

    /// A client that trusts what it has issued, with `own` as its certificate.
    pub(super) fn client(&self, own: Option<&Issued>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match own {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let chain = CertificateDer::pem_slice_iter(own.certificate.as_bytes());
                let chain = chain.collect::<Result<_, _>>().unwrap();
                let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        config.resumption = Resumption::disabled();
        config
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// A gateway with a listener of TLS and a plain one.
pub(super) struct Secured {
    pub(super) tls: SocketAddr,
    pub(super) plain: SocketAddr,
    pub(super) redirect: Option<SocketAddr>,
    pub(super) authority: Authority,
    gateway: Option<Gateway>,
}

impl Secured {
    /// With a certificate for localhost and `a.example`.
    pub(super) fn start(name: &str, change: impl FnOnce(&mut Config, &Authority)) -> Self {
        let authority = Authority::new(name);
        let issued = authority.issue(&["localhost", "a.example"], |_| {});
        let (certificate, key) = authority.put("server", &issued);
        let mut config = Config::for_mode(Mode::Demo);
        let listen = ["https://127.0.0.1:0", "http://127.0.0.1:0"];
        config.server.listen = listen.iter().map(|it| it.parse().unwrap()).collect();
        config.server.shards = 1;
        config.server.pin_threads = false;
        config.server.drain_timeout = Duration::from_secs(2);
        config.tls.certificate_file = vec![certificate];
        config.tls.key_file = vec![key];
        change(&mut config, &authority);
        let gateway = Gateway::start(config).expect("a gateway starts on free ports");
        Self {
            tls: gateway.addresses[0].address,
            plain: gateway.addresses[1].address,
            redirect: gateway.redirect,
            authority,
            gateway: Some(gateway),
        }
    }

    /// A client of `localhost`.
    pub(super) fn connect(&self) -> Secure {
        let config = self.authority.client(None);
        connect(self.tls, "localhost", config).expect("a handshake")
    }

    /// Checks that it still serves who asks properly.
    pub(super) fn check_alive(&self) {
        let mut client = self.connect();
        client.write_all(HEALTH).unwrap();
        let mut answer = String::new();
        client
            .read_to_string(&mut answer)
            .expect("an end that is told");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }

    /// The value of a metric, named with its labels and without its prefix.
    pub(super) fn metric(&self, name: &str) -> u64 {
        let mut stream = TcpStream::connect(self.plain).unwrap();
        let request =
            b"GET /metrics?format=prometheus HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        stream.write_all(request).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let begin = format!("fanfare_{name} ");
        let mut lines = answer.lines().filter_map(|line| line.strip_prefix(&begin));
        lines.next().expect("such a metric").parse().unwrap()
    }

    /// What `openssl s_client` says, given `input`, with these arguments.
    pub(super) fn openssl(&self, arguments: &[&str], input: &str) -> String {
        let mut child = Command::new("openssl")
            .args(["s_client", "-connect", &self.tls.to_string()])
            .args(["-CAfile", "ca.pem"])
            .args(arguments)
            .current_dir(&self.authority.directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("openssl is installed (scripts/setup test)");
        // A handshake that fails ends it before it reads.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&text).into_owned()
    }
}

impl Drop for Secured {
    fn drop(&mut self) {
        let stopped = self.gateway.take().map(Gateway::stop);
        assert!(
            std::thread::panicking() || matches!(stopped, Some(Ok(()))),
            "{stopped:?}"
        );
    }
}

/// A request after whose answer the gateway closes.
pub(super) const HEALTH: &[u8] =
    b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// Connects and completes the handshake.
pub(super) fn connect(
    address: SocketAddr,
    name: &str,
    config: ClientConfig,
) -> std::io::Result<Secure> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    while client.is_handshaking() {
        client.complete_io(&mut stream)?;
    }
    Ok(StreamOwned::new(client, stream))
}
