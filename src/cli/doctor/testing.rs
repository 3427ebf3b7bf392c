//! Hosts made of files, for tests.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use super::finding::{Finding, Level};
use super::host::Host;
use super::needs::Needs;
use crate::config::Config;

/// A directory with these files, removed when dropped.
#[derive(Debug)]
pub(super) struct Tree(PathBuf);

impl Tree {
    /// Paths are relative to the root of the host.
    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("fanfare-doctor-{}-{number}", std::process::id());
        let tree = Self(std::env::temp_dir().join(name));
        fs::create_dir_all(&tree.0).unwrap();
        for (path, text) in files {
            let path = tree.0.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        tree
    }

    /// The host that it is.
    pub(super) fn host(&self) -> Host {
        Host::at(&self.0)
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What `check` finds on a host with `files`, under demo mode and these keys, for so many connections.
pub(super) fn findings(
    check: fn(&Host, &Needs<'_>) -> Vec<Finding>,
    files: &[(&str, &str)],
    keys: &str,
    connections: Option<u64>,
) -> Vec<Finding> {
    let config = Config::from_toml(&format!("mode = \"demo\"\n{keys}")).unwrap();
    check(&Tree::of(files).host(), &Needs::of(&config, connections))
}

/// Asserts the levels and what was found, in order.
#[track_caller]
pub(super) fn expect(found: &[Finding], expected: &[(Level, &str)]) {
    let found: Vec<(Level, &str)> = found
        .iter()
        .map(|finding| (finding.level, finding.found.as_str()))
        .collect();
    assert_eq!(found, expected);
}
