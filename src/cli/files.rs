//! Reading the operator's files, never more than a configuration can need.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The content of the file at `path`, refused beyond [`FILE_LEN_MAX`].
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(FILE_LEN_MAX + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_LEN_MAX {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "it holds more than 1 MiB",
        ));
    }
    Ok(bytes)
}

/// Bytes of a configuration file or a secret's file.
const FILE_LEN_MAX: u64 = 1024 * 1024;
