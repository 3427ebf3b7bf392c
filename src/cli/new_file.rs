//! A file that appears complete or not at all.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A file that is written, and not yet under its name. Dropped, it is gone.
#[derive(Debug)]
pub(super) struct NewFile<'a> {
    path: &'a Path,
    /// Beside it, so that a rename is all that is missing. Empty once that is done.
    temporary: PathBuf,
}

impl<'a> NewFile<'a> {
    /// Writes `bytes` for the file at `path`, of `mode` less what the umask takes.
    pub(super) fn write(path: &'a Path, mode: u32, bytes: &[u8]) -> io::Result<Self> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
        let mut temporary = OsString::from(".");
        temporary.push(name);
        temporary.push(format!(".{}.new", std::process::id()));
        let temporary = path.with_file_name(temporary);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&temporary)?;
        // From here on it is removed where something fails.
        let new = Self { path, temporary };
        file.write_all(bytes)?;
        file.sync_all()?;
        Ok(new)
    }

    /// Gives it its name, over a file that has it.
    pub(super) fn name(mut self) -> io::Result<()> {
        fs::rename(&self.temporary, self.path)?;
        self.temporary.clear();
        Ok(())
    }
}

impl Drop for NewFile<'_> {
    fn drop(&mut self) {
        if !self.temporary.as_os_str().is_empty() {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}
