//! `fanfare gen-cert`: certificates that clients and servers take, in files that appear together.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

use super::{Directory, Ran, done, refused};

/// A directory with a certificate for `names` and its key.
pub(super) struct Pair {
    directory: Directory,
    ran: Ran,
}

impl Pair {
    pub(super) fn new(test: &str, names: &[&str]) -> Self {
        let directory = Directory::new(test, "");
        let names = names.iter().flat_map(|name| ["--name", name]);
        let arguments: Vec<_> = ["gen-cert"].into_iter().chain(names).collect();
        let ran = directory.fanfare(&arguments, &[]);
        done(&ran);
        Self { directory, ran }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.0.join(name)
    }

    pub(super) fn certificate(&self) -> String {
        self.path("fanfare.crt").to_str().unwrap().to_owned()
    }

    pub(super) fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.path("fanfare.crt")).unwrap()
    }

    pub(super) fn server(&self) -> Arc<ServerConfig> {
        let key = PrivateKeyDer::from_pem_file(self.path("fanfare.key")).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.der()], key);
        Arc::new(config.unwrap())
    }

    /// The result of a handshake with a client that trusts this certificate and wants `name`.
    pub(super) fn shake_hands(&self, name: &str) -> Result<(), rustls::Error> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut server = ServerConnection::new(self.server()).unwrap();
        while client.is_handshaking() || server.is_handshaking() {
            let mut bytes = Vec::new();
            client.write_tls(&mut bytes).unwrap();
            server.read_tls(&mut &bytes[..]).unwrap();
            server.process_new_packets()?;
            bytes.clear();
            server.write_tls(&mut bytes).unwrap();
            client.read_tls(&mut &bytes[..]).unwrap();
            client.process_new_packets()?;
        }
        Ok(())
    }

    /// Everything in the directory but what was there before.
    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.directory.0).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| name != ".env").collect();
        names.sort();
        names
    }
}

#[test]
fn a_certificate_is_its_own_authority_for_each_of_its_names() {
    let pair = Pair::new("cert-default", &[]);
    for name in ["localhost", "127.0.0.1", "::1"] {
        pair.shake_hands(name).unwrap();
    }
    pair.shake_hands("127.0.0.2").unwrap_err();
    let names = ["gateway.internal", "*.Example.com", "10.0.0.5", "fe80::1"];
    let pair = Pair::new("cert-names", &names);
    for name in ["gateway.internal", "a.example.com", "10.0.0.5", "fe80::1"] {
        pair.shake_hands(name).unwrap();
    }
    for name in ["localhost", "example.com", "a.b.example.com", "10.0.0.6"] {
        pair.shake_hands(name).unwrap_err();
    }
}

#[test]
fn gen_cert_says_what_it_wrote_and_what_is_next() {
    let pair = Pair::new("cert-told", &["localhost", "LOCALHOST", "127.0.0.1"]);
    assert_eq!(pair.files(), ["fanfare.crt", "fanfare.key"]);
    let mode = |name| fs::metadata(pair.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("fanfare.key"), 0o600);
    assert_eq!(mode("fanfare.crt") & 0o600, 0o600);
    let told = &pair.ran.stdout;
    let secret = fs::read_to_string(pair.path("fanfare.key")).unwrap();
    assert!(!told.contains(secret.lines().nth(1).unwrap()), "{told}");
    for part in [
        "Wrote the certificate fanfare.crt and its private key fanfare.key, which only you",
        "  for          localhost, 127.0.0.1\n",
        "  fanfare serve --mode demo --listen https://127.0.0.1:8443 --tls-certificate fanfare.crt --tls-key fanfare.key\n",
        "  curl --cacert fanfare.crt 'https://localhost:8443/health'\n",
        "Browsers warn",
        "docs/tls.md",
    ] {
        assert!(told.contains(part), "{part:?} is not in {told}");
    }
    let fingerprint = told
        .split_once("SHA-256")
        .unwrap()
        .1
        .lines()
        .next()
        .unwrap();
    let fingerprint: Vec<_> = fingerprint.trim().split(':').collect();
    let bytes: Vec<_> = fingerprint
        .iter()
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect();
    let der = pair.der();
    assert_eq!(
        bytes,
        aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &der).as_ref()
    );
}

#[test]
fn the_settings_that_gen_cert_prints_are_accepted() {
    let pair = Pair::new("cert settings", &[]);
    let (_, settings) = pair.ran.stdout.split_once("configuration file:\n").unwrap();
    let (settings, _) = settings.split_once("\n\n").unwrap();
    fs::write(
        pair.path("a.toml"),
        format!("mode = \"demo\"\n{settings}\n"),
    )
    .unwrap();
    let by_file = pair
        .directory
        .fanfare(&["check-config", "--config", "a.toml"], &[]);
    done(&by_file);
    let files = [
        "--tls-certificate",
        "fanfare.crt",
        "--tls-key",
        "fanfare.key",
    ];
    let serve = [
        "check-config",
        "--mode",
        "demo",
        "--listen",
        "https://127.0.0.1:8443",
    ];
    let by_flags = pair.directory.fanfare(&[&serve[..], &files].concat(), &[]);
    done(&by_flags);
    let directory = format!("{}/", pair.directory.0.display());
    assert_eq!(by_file.stdout.replace(&directory, ""), by_flags.stdout);
}

#[test]
fn certificates_given_as_flags_are_lists_and_come_before_those_of_the_file() {
    let directory = Directory::new("cert-flags", "");
    let file = "mode = \"demo\"\n[tls]\ncertificate_file = \"x.crt\"\nkey_file = \"x.key\"\n";
    fs::write(directory.0.join("a.toml"), file).unwrap();
    for name in ["a", "b"] {
        let (certificate, key) = (format!("{name}.crt"), format!("{name}.key"));
        let arguments = ["gen-cert", "--certificate", &certificate, "--key", &key];
        done(&directory.fanfare(&arguments, &[]));
    }
    let listen = ["--listen", "https://127.0.0.1:8443"];
    let check = [&["check-config", "--config", "a.toml"], &listen[..]].concat();
    let flags = [
        "--tls-certificate",
        "a.crt",
        "--tls-key",
        "a.key",
        "--tls-certificate",
        "b.crt",
        "--tls-key",
        "b.key",
    ];
    let ran = directory.fanfare(&[&check[..], &flags].concat(), &[]);
    done(&ran);
    let expected =
        "\n[tls]\ncertificate_file = [\"a.crt\", \"b.crt\"]\nkey_file = [\"a.key\", \"b.key\"]\n";
    assert!(ran.stdout.contains(expected), "{ran:?}");
    // One without the other.
    let ran = directory.fanfare(&[&check[..], &flags[..6]].concat(), &[]);
    refused(&ran, 78, "tls.key_file");
    let ran = directory.fanfare(
        &[&check[..], &["--tls-certificate", "a,b.crt"]].concat(),
        &[],
    );
    refused(&ran, 2, "written in the configuration file");
}

#[test]
fn certificates_are_checked_with_the_configuration() {
    let directory = Directory::new("cert-checked", "");
    for (name, days) in [("a", "3"), ("b", "30")] {
        let (certificate, key) = (format!("{name}.crt"), format!("{name}.key"));
        let files = ["--certificate", &certificate, "--key", &key];
        let arguments = [&["gen-cert", "--days", days], &files[..]].concat();
        done(&directory.fanfare(&arguments, &[]));
    }
    let run = |command: &'static str, certificate: &str, key: &str| {
        let gateway = [command, "--mode", "demo", "--listen", "https://127.0.0.1:0"];
        let files = ["--tls-certificate", certificate, "--tls-key", key];
        directory.fanfare(&[&gateway[..], &files].concat(), &[])
    };
    let ran = run("check-config", "a.crt", "a.key");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.stderr
            .contains("warning: the certificate a.crt expires in 2 days, at "),
        "{ran:?}"
    );
    done(&run("check-config", "b.crt", "b.key"));
    for command in ["check-config", "serve"] {
        let ran = run(command, "a.crt", "b.key");
        refused(
            &ran,
            78,
            "a.crt and b.key: the key is not that of the certificate",
        );
        let ran = run(command, "a.crt", "missing");
        refused(&ran, 78, "cannot read missing: No such file");
        let ran = run(command, "a.key", "a.key");
        refused(&ran, 78, "a.key: no certificate: it has to hold PEM blocks");
    }
}

#[test]
fn nothing_is_written_over_unless_asked_for() {
    let pair = Pair::new("cert-over", &[]);
    let read = || ["fanfare.crt", "fanfare.key"].map(|name| fs::read(pair.path(name)).unwrap());
    let before = read();
    let again = || pair.directory.fanfare(&["gen-cert"], &[]);
    refused(&again(), 1, "fanfare.key is there already");
    refused(&again(), 1, "--force");
    fs::rename(pair.path("fanfare.key"), pair.path("moved.key")).unwrap();
    refused(&again(), 1, "fanfare.crt is there already");
    assert_eq!(pair.files(), ["fanfare.crt", "moved.key"]);
    // A link that leads nowhere is a file, too.
    symlink("nowhere", pair.path("fanfare.key")).unwrap();
    refused(&again(), 1, "fanfare.key is there already");
    fs::rename(pair.path("moved.key"), pair.path("fanfare.key")).unwrap();
    assert_eq!(read(), before);

    done(&pair.directory.fanfare(&["gen-cert", "--force"], &[]));
    let after = read();
    assert!(before[0] != after[0] && before[1] != after[1]);
    assert_eq!(pair.files(), ["fanfare.crt", "fanfare.key"]);
    pair.shake_hands("localhost").unwrap();
}

#[test]
fn where_one_file_cannot_be_written_there_is_neither() {
    let directory = Directory::new("cert-half", "");
    fs::create_dir(directory.0.join("taken")).unwrap();
    let check = |arguments: &[&str], code, message| {
        let ran = directory.fanfare(&[&["gen-cert"], arguments].concat(), &[]);
        refused(&ran, code, message);
        let entries = fs::read_dir(&directory.0).unwrap();
        assert_eq!(entries.count(), 2, "{arguments:?}");
    };
    check(
        &["--certificate", "missing/a.crt"],
        1,
        "cannot write missing/a.crt: ",
    );
    check(
        &["--key", "missing/a.key"],
        1,
        "cannot write missing/a.key: ",
    );
    check(
        &["--force", "--certificate", "taken"],
        1,
        "cannot write taken: ",
    );
    check(&["--force", "--key", "taken"], 1, "cannot write taken: ");
    check(&["--force", "--key", ".."], 1, "cannot write ..: ");
    check(
        &["--key", "a", "--certificate", "./a"],
        2,
        "name the same file",
    );
}

#[test]
fn what_no_certificate_can_be_for_is_refused() {
    let check = |arguments: &[&str], message| {
        let directory = Directory::new("cert-refused", "");
        refused(
            &directory.fanfare(&[&["gen-cert"], arguments].concat(), &[]),
            2,
            message,
        );
        assert!(!directory.0.join("fanfare.key").exists());
    };
    check(&["--name", "https://localhost:8443"], "without scheme");
    check(&["--name", "[::1]"], "without scheme, brackets and port");
    check(&["--name", "münchen.de"], "xn--");
    check(&["--name", "*"], "wildcard");
    check(&["--name", "*.com"], "*.example.com");
    check(
        &["--name", "127.0.0.256"],
        "a DNS name, as gateway.internal, or an IP address",
    );
    check(&["--name", ""], "a DNS name");
    check(&["--days", "0"], "1..=3650");
    let names: Vec<_> = (0..101).map(|number| format!("a{number}")).collect();
    let many: Vec<_> = names.iter().flat_map(|name| ["--name", name]).collect();
    check(&many, "at most 100 names");
    let directory = Directory::new("cert-many", "");
    done(&directory.fanfare(&[&["gen-cert"], &many[..200]].concat(), &[]));
}
