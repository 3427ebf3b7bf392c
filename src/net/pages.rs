//! Pages of memory: 4 KiB or huge.

use rustix::thread::disable_transparent_huge_pages;

/// From now on the kernel backs this process's memory with small pages only. Huge ones make
/// memory of 2 MiB resident at its first byte, and keep what connections leave behind.
pub fn use_small_pages() {
    if let Err(error) = disable_transparent_huge_pages(true) {
        tracing::warn!(%error, "huge pages stay in use: memory will be larger than it has to be");
    }
}
