//! `fanfare gen-cert`: a self-signed certificate and its key, to try TLS out.

use std::fmt::Display;
use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{self, Path};
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, date_time_ymd,
};
use tempfile::NamedTempFile;

use super::arguments::GenCert;
use super::escape::escaped;
use super::exit::Exit;
use super::host_name::HostName;
use super::output;
use crate::config::kind::{FILE, Kind};

/// Writes the two files and prints what they are good for.
pub(super) fn run(arguments: &GenCert) -> Result<Exit, Exit> {
    let (key_file, certificate_file) = (&*arguments.key, &*arguments.certificate);
    if absolute(key_file) == absolute(certificate_file) {
        output::complain(&"--certificate and --key name the same file");
        return Err(Exit::Usage);
    }
    let names = names(arguments)?;
    for path in [key_file, certificate_file] {
        may_be_written(path, arguments.force)?;
    }
    let made = Made::new(&names, arguments.days).map_err(|error| {
        output::complain(&format_args!("cannot make the certificate: {error}"));
        Exit::Failure
    })?;
    // Both are on the disk before either has its name.
    let key = write(key_file, KEY_MODE, made.key.as_bytes())?;
    let certificate = write(
        certificate_file,
        CERTIFICATE_MODE,
        made.certificate.as_bytes(),
    )?;
    name(key, key_file, arguments.force)?;
    name(certificate, certificate_file, arguments.force).inspect_err(|_| {
        // A key without its certificate is worth nothing.
        let _ = fs::remove_file(key_file);
    })?;
    Ok(output::print(&made.told(arguments, &names)))
}

/// The names asked for, each once.
fn names(arguments: &GenCert) -> Result<Vec<&HostName>, Exit> {
    let mut names: Vec<&HostName> = Vec::new();
    for name in &arguments.names {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    if names.len() > NAMES_MAX {
        output::complain(&format_args!(
            "a certificate is for at most {NAMES_MAX} names, since each handshake sends all of them: make several"
        ));
        return Err(Exit::Usage);
    }
    Ok(names)
}

/// Refuses a file that is there, even a link that leads nowhere. With `force` a directory alone is refused: that it
/// cannot be written over would be found out when the other file has been.
fn may_be_written(path: &Path, force: bool) -> Result<(), Exit> {
    let Ok(found) = path.symlink_metadata() else {
        return Ok(());
    };
    if found.is_dir() {
        return Err(unwritten(path, &"it is a directory"));
    }
    if force {
        return Ok(());
    }
    output::complain(&format_args!(
        "{} is there already: name others with --certificate and --key, or write over both with --force",
        shown(path)
    ));
    Err(Exit::Failure)
}

/// Writes `bytes` to a file beside `path`, of `mode` less what the umask takes. It is gone unless it is given its name.
fn write(path: &Path, mode: u32, bytes: &[u8]) -> Result<NamedTempFile, Exit> {
    let directory = path.parent().filter(|it| !it.as_os_str().is_empty());
    let new = tempfile::Builder::new()
        .permissions(Permissions::from_mode(mode))
        .tempfile_in(directory.unwrap_or_else(|| Path::new(".")));
    let written = new.and_then(|mut new| {
        new.write_all(bytes)?;
        new.as_file().sync_all()?;
        Ok(new)
    });
    written.map_err(|error| unwritten(path, &error))
}

/// Gives a file its name. Without `force` not over another one, even if it has appeared just now.
fn name(new: NamedTempFile, path: &Path, force: bool) -> Result<(), Exit> {
    let named = match force {
        true => new.persist(path),
        false => new.persist_noclobber(path),
    };
    match named {
        Ok(_) => Ok(()),
        Err(error) => Err(unwritten(path, &error.error)),
    }
}

fn unwritten(path: &Path, error: &dyn Display) -> Exit {
    output::complain(&format_args!("cannot write {}: {error}", shown(path)));
    Exit::Failure
}

/// A certificate and its key, PEM.
struct Made {
    certificate: String,
    key: String,
    fingerprint: String,
    valid_until: SystemTime,
}

impl Made {
    /// Self-signed, and no authority's (CA:FALSE): a client that is given it as its CA file trusts this one alone.
    /// OpenSSL takes CA:TRUE as well; rustls and others built on webpki do not take an authority's for a server's.
    fn new(names: &[&HostName], days: u16) -> Result<Self, rcgen::Error> {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |now| now.as_secs());
        let now = Duration::from_secs(now);
        let until = now + Duration::from_secs(u64::from(days) * 24 * 60 * 60);
        let epoch = date_time_ymd(1970, 1, 1);

        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        // Clients look for an issuer by its name: no two of these have one name.
        let id = digest(&SHA256, key.public_key_raw());
        let id = hex(&id.as_ref()[..SUBJECT_ID_LEN], "");
        let mut subject = DistinguishedName::new();
        subject.push(DnType::OrganizationName, format!("fanfare gen-cert {id}"));
        let first = names.first().map(ToString::to_string);
        let common = first.filter(|name| name.len() <= COMMON_NAME_LEN_MAX);
        subject.push(DnType::CommonName, common.as_deref().unwrap_or("fanfare"));

        let mut params = CertificateParams::default();
        params.subject_alt_names = names
            .iter()
            .map(|name| {
                Ok(match name {
                    HostName::Dns(name) => SanType::DnsName(name.as_str().try_into()?),
                    HostName::Ip(address) => SanType::IpAddress(*address),
                })
            })
            .collect::<Result<_, rcgen::Error>>()?;
        params.distinguished_name = subject;
        params.not_before = epoch + now.saturating_sub(CLOCK_SKEW);
        params.not_after = epoch + until;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        // The serial number is of the key's hash, which is new.
        params.use_authority_key_identifier_extension = true;

        let certificate = params.self_signed(&key)?;
        let hash = digest(&SHA256, certificate.der());
        Ok(Self {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            fingerprint: hex(hash.as_ref(), ":"),
            valid_until: SystemTime::UNIX_EPOCH + until,
        })
    }

    /// What was written, and what to do with it.
    fn told(&self, arguments: &GenCert, names: &[&HostName]) -> String {
        let (certificate, key) = (&*arguments.certificate, &*arguments.key);
        let listed: Vec<_> = names.iter().map(ToString::to_string).collect();
        format!(
            "\
Wrote the certificate {} and its private key {}, which only you can read.
  for          {}
  valid until  {}
  SHA-256      {}

Serve with them:
  fanfare serve --mode demo --listen https://{ADDRESS} --tls-certificate {} --tls-key {}
or write in the configuration file:
  [server]
  listen = [\"https://{ADDRESS}\"]
  [tls]
  certificate_file = {}
  key_file = {}

Then try:
  {}

Browsers warn of this certificate, since no authority has issued it, and other clients refuse it unless
they are given the file. What the public connects to needs a certificate of an authority: docs/tls.md.
",
            shown(certificate),
            shown(key),
            listed.join(", "),
            humantime::format_rfc3339_seconds(self.valid_until),
            self.fingerprint,
            quoted(certificate),
            quoted(key),
            toml(certificate),
            toml(key),
            curl(certificate, &listed),
        )
    }
}

/// A request to the gateway that [`Made::told`] starts, by a name of the certificate that leads to it.
fn curl(certificate: &Path, names: &[String]) -> String {
    let local = names
        .iter()
        .find(|name| matches!(name.as_str(), "localhost" | "127.0.0.1"));
    let first = names.first().map_or("localhost", String::as_str);
    let (host, detour) = match local {
        Some(name) => (name.clone(), String::new()),
        None if first.contains(':') => (format!("[{first}]"), format!(" --connect-to ::{ADDRESS}")),
        None => (
            first.replace('*', "www"),
            format!(" --connect-to ::{ADDRESS}"),
        ),
    };
    let (_, port) = ADDRESS.split_once(':').expect("it has a port");
    format!(
        "curl --cacert {}{detour} 'https://{host}:{port}/health'",
        quoted(certificate)
    )
}

/// Bytes as OpenSSL prints them.
fn hex(bytes: &[u8], separator: &str) -> String {
    let digits: Vec<_> = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    digits.join(separator)
}

/// A path for a sentence.
fn shown(path: &Path) -> String {
    escaped(&path.display().to_string()).into_owned()
}

/// A path as one word of a shell.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+:@%".contains(&byte);
    if text.bytes().all(is_plain) {
        return text;
    }
    format!("'{}'", escaped(&text).replace('\'', "'\\''"))
}

/// A path as a string of TOML, from the root: a service starts elsewhere.
fn toml(path: &Path) -> String {
    let text = FILE.show(&absolute(path));
    text.expect("every path has a text")
}

fn absolute(path: &Path) -> path::PathBuf {
    path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Read by their owner alone, and by everybody.
const KEY_MODE: u32 = 0o600;
const CERTIFICATE_MODE: u32 = 0o644;

/// Bytes of the key's hash in the name of the subject.
const SUBJECT_ID_LEN: usize = 8;

/// How far behind the clock of a client may be.
const CLOCK_SKEW: Duration = Duration::from_hours(1);

/// Names of one certificate.
const NAMES_MAX: usize = 100;

/// Characters of a common name, RFC 5280 appendix A.1. Clients look at the subject's alternative names alone.
const COMMON_NAME_LEN_MAX: usize = 64;

/// Where the gateway of the printed lines listens.
const ADDRESS: &str = "127.0.0.1:8443";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_printed_request_leads_to_the_printed_gateway() {
        let check = |names: &[&str], expected: &str| {
            let names: Vec<_> = names.iter().map(ToString::to_string).collect();
            assert_eq!(curl(Path::new("a.crt"), &names), expected);
        };
        let local = "curl --cacert a.crt 'https://localhost:8443/health'";
        check(&["a.b", "localhost", "127.0.0.1"], local);
        check(
            &["*.a.b"],
            "curl --cacert a.crt --connect-to ::127.0.0.1:8443 'https://www.a.b:8443/health'",
        );
        check(
            &["::1"],
            "curl --cacert a.crt --connect-to ::127.0.0.1:8443 'https://[::1]:8443/health'",
        );
    }

    #[test]
    fn paths_are_words_of_a_shell() {
        assert_eq!(quoted(Path::new("/a/b-c.crt")), "/a/b-c.crt");
        assert_eq!(quoted(Path::new("it's $x")), "'it'\\''s $x'");
    }
}
