//! Files that only their owner reads.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const MODE: u32 = 0o600;
/// The permissions of others, and of the group.
const OTHERS: u32 = 0o077;

/// Reads a file of at most `bytes_max` that its owner alone may read; none if there is none. Says
/// what is wrong otherwise, and what to do.
pub(crate) fn read(path: &Path, bytes_max: u64) -> Result<Option<String>, String> {
    let shown = path.display();
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{shown} cannot be read: {error}")),
    };
    // Of the open file: the path may name another one by now.
    let metadata = file.metadata();
    let metadata = metadata.map_err(|error| format!("{shown} cannot be read: {error}"))?;
    if !metadata.is_file() {
        return Err(format!("{shown} is not a file"));
    }
    if metadata.mode() & OTHERS != 0 {
        let mode = metadata.mode() & 0o777;
        return Err(format!(
            "{shown} can be read or changed by others (mode {mode:03o}): chmod 600 {shown}"
        ));
    }
    let mut text = String::new();
    let read = file.take(bytes_max + 1).read_to_string(&mut text);
    read.map_err(|error| format!("{shown} cannot be read: {error}"))?;
    if text.len() as u64 > bytes_max {
        return Err(format!("{shown} is longer than {bytes_max} bytes"));
    }
    Ok(Some(text))
}

/// Writes a new file; one that exists is left as it is, and an error.
pub(crate) fn create(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(MODE).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Writes a file, in place of an older one as a whole or not at all.
pub(crate) fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    // Of a process that was killed.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(MODE).open(&new)?;
    file.write_all(text.as_bytes())?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn a_file_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        assert_eq!(read(&path, 10), Ok(None));
        create(&path, "one").unwrap();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(read(&path, 10), Ok(Some("one".into())));
        assert_eq!(
            create(&path, "two").unwrap_err().kind(),
            ErrorKind::AlreadyExists
        );
        replace(&path, "three").unwrap();
        replace(&path, "four").unwrap();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(read(&path, 4), Ok(Some("four".into())));
        assert!(read(&path, 3).unwrap_err().contains("longer than 3 bytes"));
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        create(&path, "one").unwrap();
        for wide in [0o640, 0o604, 0o620, 0o666] {
            fs::set_permissions(&path, fs::Permissions::from_mode(wide)).unwrap();
            let problem = read(&path, 10).unwrap_err();
            assert!(problem.contains("chmod 600"), "{problem}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        assert_eq!(read(&path, 10), Ok(Some("one".into())));
        assert!(read(folder.path(), 10).is_err());
    }
}
