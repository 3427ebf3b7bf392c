//! What all handshakes of a gateway share: certificates, versions, and the key of session tickets.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ::aws_lc_rs::digest::{SHA256, digest};
use arc_swap::ArcSwap;
use humantime::format_rfc3339_seconds;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
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
    /// The hash of each file.
    hashes: Vec<[u8; 32]>,
    /// Those of the authorities of clients, which are among them.
    client_ca: Option<[u8; 32]>,
    /// When each certificate expires, and its file.
    expiries: Vec<(SystemTime, PathBuf)>,
}

/// The contents of all files. They are not kept: keys are in them.
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
        let current = Current::new(settings, &files, &ticketer())?;
        Ok(Self {
            settings: settings.clone(),
            current: ArcSwap::from_pointee(current),
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
        if files.hashes() == before.hashes {
            return Ok(false);
        }
        let tickets = match files.client_ca.as_deref().map(hash) == before.client_ca {
            true => before.config.ticketer.clone(),
            false => ticketer(),
        };
        let current = Current::new(&self.settings, &files, &tickets)?;
        self.current.store(Arc::new(current));
        Ok(true)
    }

    /// The certificates that have expired at `now`, or do so within two weeks, a sentence each.
    #[must_use]
    pub fn warnings(&self, now: SystemTime) -> Vec<String> {
        let current = self.current.load();
        let expiries = current.expiries.iter();
        let near = expiries.filter(|(until, _)| *until < now + EXPIRY_WARNING);
        let warnings = near.map(|(until, path)| {
            let (path, at) = (path.display(), format_rfc3339_seconds(*until));
            match until.duration_since(now) {
                Ok(left) => format!(
                    "the certificate {path} expires in {} days, at {at}: renew it (docs/tls.md)",
                    left.as_secs() / (24 * 60 * 60)
                ),
                Err(_) => format!(
                    "the certificate {path} has expired, at {at}, and clients refuse it: renew it (docs/tls.md)"
                ),
            }
        });
        warnings.collect()
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

    /// The hash of each file, in their order.
    fn hashes(&self) -> Vec<[u8; 32]> {
        let pairs = self.pairs.iter().flat_map(|(chain, key)| [chain, key]);
        pairs
            .chain(&self.client_ca)
            .map(|content| hash(content))
            .collect()
    }
}

fn hash(content: &[u8]) -> [u8; 32] {
    let hash = digest(&SHA256, content);
    hash.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// Keys that tickets are sealed with, so that the gateway keeps nothing of a session (RFC 5077, RFC 8446 section
/// 4.6.1). They are replaced every few hours, and lost with the process.
fn ticketer() -> Arc<dyn ProducesTickets> {
    aws_lc_rs::Ticketer::new().expect("the system has random bytes")
}

impl Current {
    fn new(
        settings: &Tls,
        files: &Files,
        tickets: &Arc<dyn ProducesTickets>,
    ) -> Result<Self, CertificateError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let (mut pairs, mut expiries) = (Vec::new(), Vec::new());
        for (paths, (chain, key)) in settings.pairs().zip(&files.pairs) {
            let pair = certificates::pair(paths, (chain, key), &provider)?;
            let expiry = certificates::expiry(&pair);
            expiries.extend(expiry.map(|until| (until, paths.0.to_owned())));
            pairs.push(Arc::new(pair));
        }
        Ok(Self {
            config: configure(settings, files, (pairs, tickets), provider)?,
            hashes: files.hashes(),
            client_ca: files.client_ca.as_deref().map(hash),
            expiries,
        })
    }
}

/// How long before it expires a certificate is warned of: authorities renew theirs a month before.
const EXPIRY_WARNING: Duration = Duration::from_hours(14 * 24);

fn configure(
    settings: &Tls,
    files: &Files,
    (pairs, tickets): (Vec<Arc<CertifiedKey>>, &Arc<dyn ProducesTickets>),
    provider: Arc<CryptoProvider>,
) -> Result<Arc<ServerConfig>, CertificateError> {
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
