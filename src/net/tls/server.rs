//! What all handshakes of a gateway share: certificates, versions, and the key of session tickets.

use std::io;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::aws_lc_rs;
use rustls::server::{NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};

use super::certificates::{self, CertificateError, Certificates};
use crate::config::{ClientCertificates, Tls, TlsVersion};

/// The TLS side of a gateway's listeners, shared by all shards.
#[derive(Debug)]
pub struct TlsServer {
    settings: Tls,
    current: ArcSwap<Current>,
}

/// What the files held when they were last read.
#[derive(Debug)]
struct Current {
    config: Arc<ServerConfig>,
    files: Files,
}

/// The contents of all files.
#[derive(Debug, PartialEq)]
struct Files {
    /// Each certificate and its key.
    pairs: Vec<(Vec<u8>, Vec<u8>)>,
    /// The authorities of client certificates.
    client_ca: Option<Vec<u8>>,
}

impl TlsServer {
    /// Reads the files of `settings` with `read`.
    ///
    /// # Errors
    /// A file cannot be read or used.
    pub fn new(
        settings: &Tls,
        mut read: impl FnMut(&Path) -> io::Result<Vec<u8>>,
    ) -> Result<Self, CertificateError> {
        let files = Files::read(settings, &mut read)?;
        let config = configure(settings, &files, &ticketer())?;
        Ok(Self {
            settings: settings.clone(),
            current: ArcSwap::from_pointee(Current { config, files }),
        })
    }

    /// Reads the files again. Returns whether one has changed; handshakes that begin from then on use what is new.
    ///
    /// Sessions are resumed across a change, unless it is one of those who may issue certificates of clients.
    ///
    /// # Errors
    /// A file cannot be read or used; everything stays as it was.
    pub fn reload(
        &self,
        mut read: impl FnMut(&Path) -> io::Result<Vec<u8>>,
    ) -> Result<bool, CertificateError> {
        let before = self.current.load();
        let files = Files::read(&self.settings, &mut read)?;
        if files == before.files {
            return Ok(false);
        }
        let tickets = match files.client_ca == before.files.client_ca {
            true => before.config.ticketer.clone(),
            false => ticketer(),
        };
        let config = configure(&self.settings, &files, &tickets)?;
        self.current.store(Arc::new(Current { config, files }));
        Ok(true)
    }

    /// What a handshake that begins now uses.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        self.current.load().config.clone()
    }
}

impl Files {
    fn read(
        settings: &Tls,
        read: &mut dyn FnMut(&Path) -> io::Result<Vec<u8>>,
    ) -> Result<Self, CertificateError> {
        let mut pairs = Vec::new();
        for (certificate, key) in settings.pairs() {
            let certificate = certificates::read(certificate, read)?;
            pairs.push((certificate, certificates::read(key, read)?));
        }
        let client_ca = settings.client_ca_file.as_deref();
        let client_ca = client_ca
            .map(|path| certificates::read(path, read))
            .transpose()?;
        Ok(Self { pairs, client_ca })
    }
}

/// Keys that tickets are sealed with, so that the gateway keeps nothing of a session (RFC 5077, RFC 8446 section
/// 4.6.1). They are replaced every few hours, and lost with the process.
fn ticketer() -> Arc<dyn ProducesTickets> {
    aws_lc_rs::Ticketer::new().expect("the system has random bytes")
}

fn configure(
    settings: &Tls,
    files: &Files,
    tickets: &Arc<dyn ProducesTickets>,
) -> Result<Arc<ServerConfig>, CertificateError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut pairs = Vec::new();
    for (paths, (chain, key)) in settings.pairs().zip(&files.pairs) {
        pairs.push(Arc::new(certificates::pair(
            paths,
            (chain, key),
            &provider,
        )?));
    }
    let versions = match settings.min_version {
        TlsVersion::Tls12 => &[&TLS13, &TLS12][..],
        TlsVersion::Tls13 => &[&TLS13],
    };
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions)
        .expect("the provider has cipher suites of both versions");
    let builder = match (settings.client_ca_file.as_deref(), &files.client_ca) {
        (Some(path), Some(pem)) => {
            let content = |why: String| CertificateError::Content {
                path: path.to_owned(),
                why,
            };
            let mut roots = RootCertStore::empty();
            for certificate in certificates::certificates(path, pem)? {
                let added = roots.add(certificate);
                added.map_err(|error| content(format!("cannot be an authority: {error}")))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
            let verifier = match settings.client_certificates {
                ClientCertificates::Required => verifier,
                ClientCertificates::Optional | ClientCertificates::Off => {
                    verifier.allow_unauthenticated()
                }
            };
            let verifier = verifier
                .build()
                .map_err(|error| content(error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
        _ => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(Certificates(pairs)));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = tickets.clone();
    // No early data: it can be replayed (RFC 8446 section 8; hostile-inputs.md R07).
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}
