//! Which certificates are accepted, and what is said of one that is not.

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

/// Which certificates of servers are accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Those that the system's roots vouch for.
    #[default]
    System,
    /// Those that the certificates of this PEM file vouch for.
    File(PathBuf),
    /// All.
    Any,
}

impl Trust {
    /// A client that accepts these, and has no certificate of its own.
    pub(super) fn config(&self) -> Result<ClientConfig, String> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .expect("the provider has suites for both versions");
        let roots = match self {
            Self::Any => {
                let builder = builder.dangerous();
                let any = Arc::new(AnyCertificate(provider));
                let builder = builder.with_custom_certificate_verifier(any);
                return Ok(builder.with_no_client_auth());
            }
            Self::System => system_roots()?,
            Self::File(path) => {
                let refused = |problem: String| format!("--ca-file {}: {problem}", path.display());
                let certificates: Result<Vec<_>, _> =
                    CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
                let certificates = certificates.map_err(|error| refused(error.to_string()))?;
                let mut roots = RootCertStore::empty();
                for certificate in certificates {
                    let added = roots.add(certificate);
                    added.map_err(|error| refused(error.to_string()))?;
                }
                if roots.is_empty() {
                    return Err(refused("it has no certificate".into()));
                }
                roots
            }
        };
        Ok(builder.with_root_certificates(roots).with_no_client_auth())
    }
}

/// The system's roots that can be read. Fails if there are none.
fn system_roots() -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
        return Err(format!(
            "this system has no certificates to trust, use --ca-file PEM or --insecure: {}",
            why.join("; ")
        ));
    }
    Ok(roots)
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

const SPEAKS_TLS: &str = "does the server speak TLS on this port?";

/// Why TLS failed, with what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TlsFailure(String);

impl TlsFailure {
    /// The connection ended before the handshake was over.
    pub(in crate::net) fn truncated_handshake() -> Self {
        Self(format!("end of stream within the handshake: {SPEAKS_TLS}"))
    }
}

impl From<Error> for TlsFailure {
    fn from(error: Error) -> Self {
        Self(match error {
            Error::InvalidCertificate(_) => format!(
                "{error}: trust it or its issuer with --ca-file PEM, or accept any with --insecure"
            ),
            Error::InvalidMessage(_) => format!("{error}: {SPEAKS_TLS}"),
            _ => error.to_string(),
        })
    }
}

/// Of a handshake; rustls wraps its own errors in this kind.
impl From<io::Error> for TlsFailure {
    fn from(error: io::Error) -> Self {
        let cause = error.get_ref().and_then(|it| it.downcast_ref::<Error>());
        match cause {
            Some(cause) => cause.clone().into(),
            None if error.kind() == ErrorKind::UnexpectedEof => Self::truncated_handshake(),
            None => Self(error.to_string()),
        }
    }
}

impl fmt::Display for TlsFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
