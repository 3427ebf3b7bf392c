//! Connections to the server, with TLS or without.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::{env, fs, io};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::server_url::ServerUrl;

/// A file of certificates to trust.
const CERTIFICATES: &str = "SSL_CERT_FILE";
/// Until a connection is there, TLS included.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// A connection.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// How to reach one server.
#[derive(Debug)]
pub(crate) struct Transport {
    pub(crate) url: ServerUrl,
    /// None without TLS.
    tls: Option<Arc<ClientConfig>>,
}

impl Transport {
    /// For a server; with `is_insecure` its certificate may be anyone's.
    pub(crate) fn new(url: ServerUrl, is_insecure: bool) -> Result<Self, String> {
        let tls = if url.is_tls {
            Some(Arc::new(tls_config(is_insecure)?))
        } else {
            None
        };
        Ok(Self { url, tls })
    }

    /// A new connection. An error says what to do.
    pub(crate) async fn connect(&self) -> Result<Box<dyn Stream>, String> {
        let connected = timeout(CONNECT_MAX, self.connect_without_limit()).await;
        connected.unwrap_or_else(|_| {
            let seconds = CONNECT_MAX.as_secs();
            Err(format!(
                "{} does not answer within {seconds} s",
                self.url.shown()
            ))
        })
    }

    async fn connect_without_limit(&self) -> Result<Box<dyn Stream>, String> {
        let failed = |error: io::Error| format!("{} cannot be reached: {error}", self.url.shown());
        let stream = TcpStream::connect((&*self.url.host, self.url.port)).await;
        let stream = stream.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let Some(config) = &self.tls else {
            return Ok(Box::new(stream));
        };
        let name = ServerName::try_from(self.url.host.clone())
            .map_err(|_| format!("{} is no name that a certificate can have", self.url.host))?;
        let stream = TlsConnector::from(config.clone())
            .connect(name, stream)
            .await;
        Ok(Box::new(stream.map_err(|error| self.tls_failure(&error))?))
    }

    fn tls_failure(&self, error: &io::Error) -> String {
        let cause = error.get_ref().and_then(|it| it.downcast_ref::<Error>());
        let hint = match cause {
            Some(Error::InvalidCertificate(_)) => {
                ": trust its issuer with SSL_CERT_FILE=PEM, or accept any certificate with --insecure-tls"
            }
            Some(Error::InvalidMessage(_)) | None => ": does it speak TLS? http:// is without",
            Some(_) => "",
        };
        format!("TLS with {} failed: {error}{hint}", self.url.shown())
    }
}

fn tls_config(is_insecure: bool) -> Result<ClientConfig, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("the provider has suites for both versions");
    let mut config = if is_insecure {
        let any = Arc::new(AnyCertificate(provider));
        let builder = builder.dangerous().with_custom_certificate_verifier(any);
        builder.with_no_client_auth()
    } else {
        builder
            .with_root_certificates(system_roots()?)
            .with_no_client_auth()
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// The roots of the system, or of `SSL_CERT_FILE`. Fails if there are none.
fn system_roots() -> Result<RootCertStore, String> {
    if let Some(path) = env::var_os(CERTIFICATES).filter(|it| !it.is_empty()) {
        check_certificates(Path::new(&path))?;
    }
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
        return Err(format!(
            "there are no certificates to trust, use SSL_CERT_FILE=PEM or --insecure-tls: {}",
            why.join("; ")
        ));
    }
    Ok(roots)
}

/// Says what is wrong with the file of `SSL_CERT_FILE`: without a word other certificates would be trusted,
/// or none.
fn check_certificates(path: &Path) -> Result<(), String> {
    let refused = |why: &str| format!("{CERTIFICATES}: {}: {why}", path.display());
    let text = fs::read(path).map_err(|error| refused(&error.to_string()))?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&text).filter_map(Result::ok));
    if roots.is_empty() {
        return Err(refused("there is no certificate in it, as PEM"));
    }
    Ok(())
}

/// Accepts every certificate. That the server has its key is verified all the same.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
