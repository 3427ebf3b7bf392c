//! What systemd is told of the process (sd_notify(3)): that it is ready, reads its files again, stops, and lives.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process;
use std::time::Duration;

use crate::net::monotonic_us;

/// The service manager that started the process; without one nothing is told.
#[derive(Debug, Clone)]
pub(super) struct ServiceManager {
    /// `NOTIFY_SOCKET`.
    socket: Option<SocketAddr>,
    /// The longest time between two calls of [`Self::alive`], if the manager looks at it.
    pub(super) watchdog: Option<Duration>,
}

impl ServiceManager {
    /// The one that the environment names.
    pub(super) fn from_env() -> Self {
        let socket = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty());
        let socket = socket.and_then(|name| {
            let address = address_of(&name);
            address
                .inspect_err(|error| tracing::warn!(?name, %error, "NOTIFY_SOCKET is no socket"))
                .ok()
        });
        let number = |name| env::var(name).ok()?.parse::<u64>().ok();
        // Another process may be meant, whose environment this one has.
        let is_for_us = env::var_os("WATCHDOG_PID")
            .is_none_or(|pid| pid == OsString::from(process::id().to_string()));
        let watchdog = number("WATCHDOG_USEC").filter(|us| *us > 0 && is_for_us);
        Self {
            watchdog: watchdog
                .map(Duration::from_micros)
                .filter(|_| socket.is_some()),
            socket,
        }
    }

    /// It serves; `status` is shown by `systemctl status`.
    pub(super) fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}"));
    }

    /// It begins to read its files again.
    pub(super) fn reloading(&self) {
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={}", monotonic_us()));
    }

    /// It has read them.
    pub(super) fn reloaded(&self) {
        self.tell("READY=1");
    }

    /// It begins to stop.
    pub(super) fn stopping(&self, status: &str) {
        self.tell(&format!("STOPPING=1\nSTATUS={status}"));
    }

    /// It works.
    pub(super) fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    fn tell(&self, state: &str) {
        let Some(socket) = &self.socket else { return };
        let sent = UnixDatagram::unbound()
            .and_then(|datagram| datagram.send_to_addr(state.as_bytes(), socket));
        if let Err(error) = sent {
            tracing::warn!(%error, state, "the service manager cannot be told");
        }
    }
}

/// The address of a socket as `NOTIFY_SOCKET` names it: a path, or an abstract name behind `@`.
fn address_of(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        [b'/', ..] => SocketAddr::from_pathname(name),
        _ => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "it begins neither with / nor with @",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_a_path_or_an_abstract_name() {
        let path = address_of(OsStr::new("/run/systemd/notify")).unwrap();
        assert_eq!(
            path.as_pathname().unwrap().to_str(),
            Some("/run/systemd/notify")
        );
        let name = address_of(OsStr::new("@/org/manager")).unwrap();
        assert_eq!(name.as_abstract_name(), Some(b"/org/manager".as_slice()));
        let long = "/".repeat(200);
        for wrong in ["vsock:2:1234", "relative", "", &long] {
            address_of(OsStr::new(wrong)).unwrap_err();
        }
    }
}
