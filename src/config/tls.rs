//! `[tls]`: certificates and handshakes of the listeners that speak TLS.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::Problem;
use super::kind::{Choice, Count, FILE, ListOf, Maybe, OneOf, OneOrList, SecretFile, Time};
use super::section::{SectionRules, section};

section! {
    /// Certificates and handshakes of the listeners that speak TLS: those of server.listen that begin with
    /// https://. Files are read again when they change, and on SIGHUP.
    pub struct Tls("tls", mode) {
        /// The certificate with those between it and its root, PEM; several as a list. A client gets the
        /// first that names the host it asks for, and the first of all if none does.
        certificate_file: Vec<PathBuf> = Vec::new(), OneOrList(ListOf { item: FILE, len: 0..=100 });
        /// The private key of the certificate at the same place of the list, PEM (PKCS#8, PKCS#1 or SEC1).
        key_file: Vec<PathBuf> = Vec::new(), OneOrList(ListOf { item: SecretFile, len: 0..=100 });
        /// The lowest version that is spoken. TLS 1.1 and older are not.
        min_version: TlsVersion = TlsVersion::Tls12, OneOf;
        /// Whether clients have to show a certificate that one of client_ca_file has issued: "off",
        /// "optional" (one that is shown must be valid) or "required". It is asked for beside a token, and
        /// names no user.
        client_certificates: ClientCertificates = ClientCertificates::Off, OneOf;
        /// The certificates of those who may issue certificates of clients, PEM.
        client_ca_file: Option<PathBuf> = None, Maybe(FILE);
        /// From accepting a connection to the end of its TLS handshake, within server.handshake_timeout. Then
        /// it is closed.
        handshake_timeout: Duration = Duration::from_secs(5),
            Time(Duration::from_millis(100)..=Duration::from_mins(5));
        /// Connections of the process that are within their TLS handshake. Beyond it the oldest of them is
        /// closed.
        max_handshakes: usize = 4096, Count(16..=10_000_000);
    }
}

impl Tls {
    /// The files of each certificate and its key.
    pub fn pairs(&self) -> impl Iterator<Item = (&Path, &Path)> {
        let keys = self.key_file.iter().map(PathBuf::as_path);
        self.certificate_file.iter().map(PathBuf::as_path).zip(keys)
    }
}

impl SectionRules for Tls {
    fn broken_rules(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let (certificates, keys) = (self.certificate_file.len(), self.key_file.len());
        if certificates != keys {
            problems.push(Problem::CertificatePairs { certificates, keys });
        }
        let has_ca = self.client_ca_file.is_some();
        if has_ca != (self.client_certificates != ClientCertificates::Off) {
            problems.push(Problem::ClientCertificates {
                asked: self.client_certificates.name(),
                has_ca,
            });
        }
        problems
    }
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TlsVersion {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}

impl Choice for TlsVersion {
    const NAMES: &'static [(&'static str, Self)] = &[("1.2", Self::Tls12), ("1.3", Self::Tls13)];
}

/// Whether clients show certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClientCertificates {
    /// They are not asked for one.
    Off,
    /// One that is shown must be valid.
    Optional,
    /// Without a valid one there is no connection.
    Required,
}

impl Choice for ClientCertificates {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("off", Self::Off),
        ("optional", Self::Optional),
        ("required", Self::Required),
    ];
}
