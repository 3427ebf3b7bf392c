//! Certificates with their keys: read from files, and chosen by the name that a client asks for (RFC 6066 section 3).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use x509_parser::parse_x509_certificate;

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read.
    #[error("cannot read {}: {error}{}", path.display(), advice(error))]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// A file is not what it should be.
    #[error("{}: {why}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what it has to hold.
        why: String,
    },
    /// A certificate and its key are no pair, or cannot be used.
    #[error("{} and {}: {why}", certificate.display(), key.display())]
    Pair {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// What is wrong.
        why: String,
    },
}

/// What to do about `error`.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "; give it to a group that the gateway's user is in, and `chmod 640` (docs/tls.md)"
        }
        _ => "",
    }
}

/// The content of the file of a certificate, a key or authorities.
pub(super) fn read(
    path: &Path,
    read: &mut dyn FnMut(&Path) -> io::Result<Vec<u8>>,
) -> Result<Vec<u8>, CertificateError> {
    read(path).map_err(|error| CertificateError::Read {
        path: path.to_owned(),
        error,
    })
}

/// The certificates of a PEM file, at least one.
pub(super) fn certificates(
    path: &Path,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let content = |why| CertificateError::Content {
        path: path.to_owned(),
        why,
    };
    let certificates: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(pem).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err(content(
            "no certificate: it has to hold PEM blocks of BEGIN CERTIFICATE, the own one first"
                .to_owned(),
        )),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(content(format!("no valid PEM: {error}"))),
    }
}

/// A certificate chain and its key from PEM.
pub(super) fn pair(
    (certificate, key): (&Path, &Path),
    (chain, private): (&[u8], &[u8]),
    provider: &CryptoProvider,
) -> Result<CertifiedKey, CertificateError> {
    let chain = certificates(certificate, chain)?;
    let private = PrivateKeyDer::from_pem_slice(private).map_err(|error| {
        let is_encrypted = private.windows(9).any(|part| part == b"ENCRYPTED");
        let why = match (is_encrypted, error) {
            (true, _) => "the key is encrypted: store it without a passphrase (`openssl pkey`), readable to the \
                          gateway's user alone"
                .to_owned(),
            (false, pem::Error::NoItemsFound) => {
                "no private key: it has to hold one PEM block of BEGIN PRIVATE KEY (or RSA, EC)".to_owned()
            }
            (false, error) => format!("no valid PEM: {error}"),
        };
        CertificateError::Content {
            path: key.to_owned(),
            why,
        }
    })?;
    CertifiedKey::from_der(chain, private, provider).map_err(|error| CertificateError::Pair {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
        why: match error {
            rustls::Error::InconsistentKeys(_) => {
                "the key is not that of the certificate (the first one of its file)".to_owned()
            }
            error => error.to_string(),
        },
    })
}

/// When a certificate expires. None that is read here lacks it.
pub(super) fn expiry(certified: &CertifiedKey) -> Option<SystemTime> {
    let certificate = certified.end_entity_cert().ok()?;
    let (_, certificate) = parse_x509_certificate(certificate).ok()?;
    let until = certificate.validity().not_after.timestamp();
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(until).unwrap_or(0)))
}

/// The certificates of a gateway, in the order of the configuration.
#[derive(Debug)]
pub(super) struct Certificates(pub(super) Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for Certificates {
    /// The first certificate that names the host and has a key that the client can check; the first of the latter if
    /// none does, or the client names no host.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = hello.signature_schemes();
        let usable = |it: &&Arc<CertifiedKey>| it.key.choose_scheme(schemes).is_some();
        let name = hello.server_name().map(ServerName::try_from);
        let named = name.and_then(Result::ok).and_then(|name| {
            let mut own = self.0.iter().filter(usable);
            own.find(|it| names(it, &name))
        });
        named.or_else(|| self.0.iter().find(usable)).cloned()
    }
}

/// Whether a certificate names `host` (RFC 9525).
fn names(certified: &CertifiedKey, host: &ServerName<'_>) -> bool {
    let parsed = certified
        .end_entity_cert()
        .and_then(ParsedCertificate::try_from);
    parsed.is_ok_and(|parsed| verify_server_name(&parsed, host).is_ok())
}
