//! Reading the operator's files, never more than a configuration can need.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The content of a file, refused beyond [`FILE_LEN_MAX`].
pub(crate) fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(path)?;
    file.take(FILE_LEN_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_LEN_MAX {
        let why = "it holds more than 1 MiB";
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
    }
    Ok(bytes)
}

/// Bytes of a configuration, a key or a key set, or of some hundred authorities.
const FILE_LEN_MAX: u64 = 1024 * 1024;
