//! Reading the operator's files, never more than a configuration can need.

use std::io;
use std::path::Path;

use crate::server::read_at_most;

/// The content of the file at `path`, refused beyond [`FILE_LEN_MAX`].
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    read_at_most(path, FILE_LEN_MAX, "1 MiB")
}

/// Bytes of a configuration file or a secret's file.
const FILE_LEN_MAX: u64 = 1024 * 1024;
