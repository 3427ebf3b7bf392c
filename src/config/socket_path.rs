//! The path of a unix socket.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The absolute path of a unix socket, which has at most [`SocketPath::BYTES_MAX`] bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SocketPath {
    bytes: [u8; Self::BYTES_MAX],
    len: u8,
}

impl SocketPath {
    /// The longest path that the kernel binds a socket to (unix(7)).
    pub const BYTES_MAX: usize = 107;

    /// The path that `text` is; `None` if it is not absolute, too long, or has control characters.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let fits = text.len() <= Self::BYTES_MAX && text.starts_with('/') && !text.ends_with('/');
        if !fits || text.chars().any(char::is_control) {
            return None;
        }
        let mut bytes = [0; Self::BYTES_MAX];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        let len = u8::try_from(text.len()).expect("it is short");
        Some(Self { bytes, len })
    }

    /// The path.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.bytes[..usize::from(self.len)]))
    }
}

impl fmt::Debug for SocketPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_path(), f)
    }
}

impl fmt::Display for SocketPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_path().display().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_absolute_and_short() {
        let longest = format!("/{}", "x".repeat(SocketPath::BYTES_MAX - 1));
        for good in ["/run/fanfare/api.sock", "/é", &longest] {
            let path = SocketPath::new(good).expect(good);
            assert_eq!(
                (path.as_path(), &*path.to_string()),
                (Path::new(good), good)
            );
        }
        for bad in ["", "api.sock", "/run/", "/a\n", &format!("{longest}x")] {
            assert_eq!(SocketPath::new(bad), None, "{bad}");
        }
    }
}
