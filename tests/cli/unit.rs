//! `packaging/fanfare.service`: what systemd says to it, and a gateway in the environment that it gives.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256, RsaKeySize};

use super::{SECRET, command, done};

const UNIT: &str = include_str!("../../packaging/fanfare.service");

/// A machine's `/etc/fanfare`, gone at the end.
struct Etc(PathBuf);

impl Etc {
    fn new(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("fanfare-{name}-{}", std::process::id()));
        fs::create_dir_all(directory.join("keys")).unwrap();
        Self(directory)
    }

    fn put(&self, name: &str, content: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// The unit's variables: those that it sets, but for `without`, and of the others `with`.
    fn environment(&self, with: &[(&str, &str)], without: &[&str]) -> Vec<(String, String)> {
        let set = UNIT
            .lines()
            .filter_map(|line| line.strip_prefix("Environment="));
        let set = set.filter_map(|line| line.split_once('='));
        let set = set.filter(|(name, _)| !without.contains(name));
        let offered = with.iter().map(|(name, value)| {
            let of_file = offered(name).unwrap_or_else(|| panic!("the unit has no {name}"));
            (*name, if value.is_empty() { of_file } else { value })
        });
        let here = self.0.to_str().unwrap();
        set.chain(offered)
            .map(|(name, value)| (name.to_owned(), value.replace("/etc/fanfare", here)))
            .collect()
    }
}

impl Drop for Etc {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The value of a variable that the unit has behind `#`.
fn offered(name: &str) -> Option<&'static str> {
    let mut lines = UNIT
        .lines()
        .filter_map(|line| line.strip_prefix("#Environment="));
    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
}

const SECRET_FILE: &str = "FANFARE_AUTH__JWT_SECRET_FILE";
const PREVIOUS_SECRET_FILE: &str = "FANFARE_AUTH__PREVIOUS_SECRET_FILE";
const ALGORITHM: &str = "FANFARE_AUTH__ALGORITHM";
const KEY_FILE: &str = "FANFARE_AUTH__JWT_PUBLIC_KEY_FILE";
const PREVIOUS_KEY_FILE: &str = "FANFARE_AUTH__PREVIOUS_PUBLIC_KEY_FILE";
const CURSOR_SECRET_FILE: &str = "FANFARE_SSE__CURSOR_SECRET_FILE";

#[test]
fn a_gateway_serves_in_the_unit_s_environment_with_every_kind_of_key() {
    let etc = Etc::new("unit");
    etc.put("fanfare.toml", "mode = \"prod\"\n");
    etc.put("keys/jwt_secret", SECRET);
    etc.put("keys/jwt_secret.previous", "");
    etc.put("keys/jwt_public.previous.pem", "");
    etc.put("keys/cursor_secret", &SECRET.replace('0', "1"));
    check(&etc, &etc.environment(&[], &[]));
    let with = [(PREVIOUS_SECRET_FILE, ""), (CURSOR_SECRET_FILE, "")];
    check(&etc, &etc.environment(&with, &[]));
    let rsa = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048);
    for (algorithm, key) in [
        ("RS256", rsa.unwrap()),
        (
            "ES256",
            KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap(),
        ),
        ("EdDSA", KeyPair::generate_for(&PKCS_ED25519).unwrap()),
    ] {
        etc.put("keys/jwt_public.pem", &key.public_key_pem());
        let with = [
            (ALGORITHM, algorithm),
            (KEY_FILE, ""),
            (PREVIOUS_KEY_FILE, ""),
        ];
        check(&etc, &etc.environment(&with, &[SECRET_FILE]));
        // As a drop-in takes the secret back: with an empty value.
        let mut taken_back = etc.environment(&with, &[]);
        taken_back.push((SECRET_FILE.to_owned(), String::new()));
        check(&etc, &taken_back);
    }
    // A key set: the key of RFC 8037, appendix A.2.
    etc.put(
        "keys/jwks.json",
        r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#,
    );
    let with = [
        (ALGORITHM, "EdDSA"),
        ("FANFARE_AUTH__JWKS_URL", ""),
        ("FANFARE_AUTH__ISSUER", ""),
        ("FANFARE_AUTH__AUDIENCE", ""),
    ];
    check(&etc, &etc.environment(&with, &[SECRET_FILE]));
}

/// `check-config` finds nothing to say, and a gateway becomes ready.
#[track_caller]
fn check(etc: &Etc, environment: &[(String, String)]) {
    let environment: Vec<(&str, &str)> = environment
        .iter()
        .map(|(name, value)| (&**name, &**value))
        .collect();
    done(&super::fanfare_with(&["check-config"], &environment, ""));
    let socket = etc.0.join("notify");
    let _ = fs::remove_file(&socket);
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let mut gateway = command(&["serve", "--listen", "127.0.0.1:0"], &environment)
        .env("NOTIFY_SOCKET", &socket)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut state = [0; 1024];
    let told = loop {
        match manager.recv(&mut state) {
            // A wait is interrupted when the machine is paused.
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            told => break told,
        }
    };
    let _ = gateway.kill();
    let _ = gateway.wait();
    assert!(state[..told.unwrap()].starts_with(b"READY=1\n"));
}

/// systemd copies what `LoadCredential=` names once, at the start: a reload would read the old key again.
#[test]
fn a_reload_reads_the_key_files_that_the_operator_replaces() {
    let mut files = 0;
    for line in UNIT.lines() {
        assert!(!line.starts_with("LoadCredential"), "{line}");
        let line = line.trim_start_matches('#');
        let variable = line.strip_prefix("Environment=");
        let file = variable.and_then(|it| it.split_once("_FILE="));
        if let Some((_, path)) = file.filter(|(_, path)| !path.is_empty()) {
            assert!(path.starts_with("/etc/fanfare/keys/"), "{line}");
            files += 1;
        }
    }
    assert_eq!(files, 5);
    assert!(UNIT.contains("\nSupplementaryGroups=fanfare-keys\n"));
    assert!(UNIT.contains("\nExecReload=/bin/kill -HUP $MAINPID\n"));
}

/// Runs `systemd-analyze`; `None` where there is none.
fn analyze(arguments: &[&str], unit: &Path) -> Option<(bool, String)> {
    let ran = Command::new("systemd-analyze")
        .args(arguments)
        .arg(unit)
        .output();
    let output = match ran {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            println!("left out: this machine has no systemd-analyze");
            return None;
        }
        ran => ran.unwrap(),
    };
    let said = [output.stdout, output.stderr].concat();
    Some((
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    ))
}

#[test]
fn systemd_understands_the_unit_and_finds_little_exposed() {
    let etc = Etc::new("verify");
    let program = env!("CARGO_BIN_EXE_fanfare");
    let unit = UNIT.replace("/usr/local/bin/fanfare", program);
    let unit = PathBuf::from(etc.put("fanfare.service", &unit));
    let Some((_, said)) = analyze(&["verify"], &unit) else {
        return;
    };
    // Of other units of the machine it may have something to say.
    assert!(!said.contains("fanfare.service"), "{said}");
    // The threshold is in tenths: 2.0.
    let arguments = ["security", "--offline=yes", "--threshold=20", "--no-pager"];
    let (is_below, said) = analyze(&arguments, &unit).expect("it was there a moment ago");
    assert!(is_below, "{said}");
}
