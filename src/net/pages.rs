//! Pages of memory: 4 KiB or huge.

use rustix::thread::disable_transparent_huge_pages;

/// Disables transparent huge pages for this process. A huge page is resident as a whole, 2 MiB, from its first byte on,
/// and as long as any part of it is in use.
pub fn use_small_pages() {
    if let Err(error) = disable_transparent_huge_pages(true) {
        tracing::warn!(%error, "huge pages stay in use: memory will be larger than it has to be");
    }
}
