//! The path of a unix socket.

use std::fmt;
use std::path::Path;

/// The absolute path of a unix socket, which has at most [`SocketPath::BYTES_MAX`] bytes.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SocketPath(Box<str>);

impl SocketPath {
    /// The longest path that the kernel binds a socket to (unix(7)).
    pub const BYTES_MAX: usize = 107;

    /// The path that `text` is; `None` if it is not absolute, too long, or has control characters.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let fits = text.len() <= Self::BYTES_MAX && text.starts_with('/') && !text.ends_with('/');
        let is_path = fits && !text.chars().any(char::is_control);
        is_path.then(|| Self(text.into()))
    }

    /// The path.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        Path::new(&*self.0)
    }
}

impl fmt::Debug for SocketPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl fmt::Display for SocketPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
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
