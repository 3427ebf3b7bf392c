//! Whom the HTTP client trusts to say who a server is.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

use super::FetchError;

/// Whose certificates are believed.
#[derive(Debug)]
pub(crate) enum Trust {
    /// Those that this machine trusts, or those of the file in `SSL_CERT_FILE`.
    System,
    /// These certificates and what they have issued.
    Only(RootCertStore),
    /// Any: whoever is on the way can read what is sent, and answer.
    Any,
}

/// Why there is no certificate to trust.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrustError {
    /// The bytes are no PEM file of certificates.
    #[error("it holds no certificate: accepted is PEM, `-----BEGIN CERTIFICATE-----`")]
    NoCertificate,
    /// A certificate among the bytes is none.
    #[error("a certificate in it cannot be read: {0}")]
    Malformed(String),
    /// The machine has none.
    #[error(
        "no certificate authorities are found on this machine ({0}): install the package ca-certificates, or name \
         a file of them in SSL_CERT_FILE"
    )]
    NoSystem(String),
}

impl Trust {
    /// Only the certificates of a PEM file. A server's own one, self-signed, may be among them, if it says that it
    /// is no authority's.
    ///
    /// # Errors
    /// There is none among the bytes, or one cannot be read.
    pub(crate) fn only(pem: &[u8]) -> Result<Self, TrustError> {
        let malformed = |error: &dyn ToString| TrustError::Malformed(error.to_string());
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| malformed(&error))?;
            let added = roots.add(certificate);
            added.map_err(|error| malformed(&error))?;
        }
        if roots.is_empty() {
            return Err(TrustError::NoCertificate);
        }
        Ok(Self::Only(roots))
    }

    /// For a connection in the clear: no certificate is believed.
    pub(super) fn none() -> ClientConfig {
        trusting(RootCertStore::empty())
    }

    pub(super) fn client_config(&self) -> Result<ClientConfig, TrustError> {
        match self {
            Self::System => system().map(trusting),
            Self::Only(roots) => Ok(trusting(roots.clone())),
            Self::Any => {
                let mut config = Self::none();
                let provider = Arc::clone(config.crypto_provider());
                let any = Arc::new(AnyCertificate { provider });
                config.dangerous().set_certificate_verifier(any);
                Ok(config)
            }
        }
    }
}

fn trusting(roots: RootCertStore) -> ClientConfig {
    let provider = Arc::new(default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has suites for TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// The machine's authorities. Some that cannot be read do not keep the others from being used.
fn system() -> Result<RootCertStore, TrustError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if !roots.is_empty() {
        return Ok(roots);
    }
    let reason = found.errors.first().map(ToString::to_string);
    Err(TrustError::NoSystem(reason.unwrap_or_else(|| {
        "the places where they are kept are empty".to_owned()
    })))
}

/// Why a server's certificate is not accepted.
pub(super) fn refusal(error: &CertificateError) -> FetchError {
    match error {
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => {
            let names: Vec<_> = presented.iter().map(|name| bare(name)).collect();
            let names = match &names[..] {
                [] => "no host".to_owned(),
                names => names.join(", "),
            };
            FetchError::WrongName(format!("it is for {names}, not for {}", expected.to_str()))
        }
        CertificateError::UnknownIssuer => {
            FetchError::Untrusted("no authority that is trusted here has issued it".to_owned())
        }
        // An authority of its issuer's name was found, with another key. Or the server lacks the certificate's.
        CertificateError::BadSignature
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            let reason = "a signature is not right: its issuer has the name of one that is trusted here and another \
                          key, or the server has not the certificate's";
            FetchError::Untrusted(reason.to_owned())
        }
        CertificateError::UnsupportedSignatureAlgorithmContext { .. } => {
            let weak = "it is signed in a way that is not accepted, as with SHA-1";
            FetchError::Untrusted(weak.to_owned())
        }
        CertificateError::Other(error) if error.to_string() == CA_AS_SERVER => {
            FetchError::Untrusted(
                "it is an authority's own (CA:TRUE) and no server's; `fanfare gen-cert` makes one that is accepted"
                    .to_owned(),
            )
        }
        error => FetchError::Untrusted(error.to_string()),
    }
}

/// `DnsName("a")` and `IpAddress(b)` as `a` and `b`.
fn bare(name: &str) -> &str {
    let inner = name
        .split_once('(')
        .and_then(|(_, it)| it.strip_suffix(')'));
    inner.unwrap_or(name).trim_matches('"')
}

/// How webpki calls the certificate of an authority that a server shows as its own.
const CA_AS_SERVER: &str = "CaUsedAsEndEntity";

/// Accepts every certificate. The server still has to have the key of the one that it shows.
#[derive(Debug)]
struct AnyCertificate {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_certificate_is_refused() {
        let none = |pem: &[u8]| matches!(Trust::only(pem), Err(TrustError::NoCertificate));
        assert!(none(b"") && none(b"hello\n"));
        for pem in [
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
            "-----BEGIN CERTIFICATE-----\nAAAA\n",
        ] {
            let refused = Trust::only(pem.as_bytes());
            assert!(
                matches!(refused, Err(TrustError::Malformed(_))),
                "{refused:?}"
            );
        }
    }

    #[test]
    fn names_of_a_certificate_are_shown_bare() {
        let shown = ["DnsName(\"a.b\")", "IpAddress(127.0.0.1)", "DirectoryName"].map(bare);
        assert_eq!(shown, ["a.b", "127.0.0.1", "DirectoryName"]);
    }
}
