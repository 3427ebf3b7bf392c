//! The listeners of all shards, opened before the first shard's thread starts.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;

use crate::config::{Config, ListenAddress};
use crate::conn::Purpose;
use crate::net::{self, Families, Listener, SocketFile, TlsServer, Tuning};
use crate::service::Role;

/// Listening on an address failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {}: {error}{}", listen.socket(), advice(listen, error))]
pub struct ListenError {
    /// The configured address; a port of 0 that the kernel has replaced is the replaced one.
    pub listen: ListenAddress,
    /// The kernel's error.
    pub error: io::Error,
}

/// One listener for each shard and address. Those that no shard has taken are closed when this is
/// dropped.
#[derive(Debug)]
pub(super) struct Listeners {
    /// The configured addresses in their order, every port of 0 replaced by the kernel's choice.
    pub(super) addresses: Vec<ListenAddress>,
    /// Those of `server.internal_listen`, likewise.
    pub(super) internal: Vec<ListenAddress>,
    /// Where clients are redirected to https://, likewise.
    pub(super) redirect: Option<SocketAddr>,
    /// The files of unix sockets.
    pub(super) files: Vec<SocketFile>,
    /// By the shard's index, then in the order of `addresses` and `internal`, that of `redirect` last.
    pub(super) by_shard: Vec<Vec<Listener>>,
}

impl Listeners {
    /// Opens them all, those of https:// with `tls`. Connections queue at a listener from then on, so its shard has to
    /// start at once.
    ///
    /// # Errors
    /// An address cannot be listened on; none of the others stays open.
    pub(super) fn open(
        config: &Config,
        shards: u16,
        tls: Option<&Arc<TlsServer>>,
    ) -> Result<Self, ListenError> {
        let server = &config.server;
        let tuning = Tuning {
            // A live peer's kernel acknowledges each ping, so an unacknowledged one means that the peer is gone.
            unacknowledged_max: config.websocket.ping_interval + config.websocket.ping_timeout,
            send_buffer_bytes: server.send_buffer,
            unsent_bytes_max: server.max_unsent,
        };
        let mut all: Vec<ListenAddress> = configured(config).collect();
        for listen in &all {
            match check_free(listen, &all) {
                Err(error) if server.share_port && is_in_use(&error) => warn_of_another(&error),
                Err(error) if !server.share_port => return Err(error),
                _ => {}
            }
        }
        let wanted = all.clone();
        let mut by_shard: Vec<Vec<Listener>> = (0..shards).map(|_| Vec::new()).collect();
        let mut files = Vec::new();
        for listen in &mut all {
            let failed = |listen: &ListenAddress| {
                let listen = listen.clone();
                move |error| ListenError { listen, error }
            };
            if let Some(path) = &listen.unix {
                let mode = server.unix_socket_mode.0;
                let opened = net::listen_unix(path.as_path(), mode, server.backlog, shards);
                let (shares, file) = opened.map_err(failed(listen))?;
                files.push(file);
                for (listeners, share) in by_shard.iter_mut().zip(shares) {
                    listeners.push(share);
                }
                continue;
            }
            let families = families(listen, &wanted);
            for listeners in &mut by_shard {
                let tls = tls.filter(|_| listen.tls).cloned();
                let opened = net::listen(listen.address, families, server.backlog, tuning, tls);
                let opened = opened.and_then(|listener| {
                    // The first shard's listener replaces a port of 0 for the others.
                    listen.address = listener.address()?.unwrap_or(listen.address);
                    Ok(listener)
                });
                listeners.push(opened.map_err(failed(listen))?);
            }
        }
        let redirect = server.redirect().and_then(|_| all.pop());
        Ok(Self {
            redirect: redirect.map(|listen| listen.address),
            internal: all.split_off(server.listen.len()),
            addresses: all,
            files,
            by_shard,
        })
    }
}

impl Listeners {
    /// What the listeners of a shard are for.
    pub(super) fn purposes(&self) -> Vec<Purpose> {
        let role = match self.internal.is_empty() {
            true => Role::All,
            false => Role::Clients,
        };
        let clients = self.addresses.iter().map(|listen| (listen, role));
        let internal = self.internal.iter();
        let internal = internal.map(|listen| (listen, Role::Internal));
        let purposes = clients
            .chain(internal)
            .map(|(listen, role)| match listen.unix {
                Some(_) => Purpose::ServeProxies(role),
                None => Purpose::Serve(role),
            });
        let mut purposes: Vec<Purpose> = purposes.collect();
        if self.redirect.is_some() {
            let mut secured = self.addresses.iter().filter(|listen| listen.tls);
            let port = secured.next().map_or(HTTPS_PORT, |it| it.address.port());
            purposes.push(Purpose::RedirectToHttps { port });
        }
        purposes
    }
}

/// The port of https:// (RFC 9110 section 4.2.2), to which clients are redirected where no listener speaks TLS.
const HTTPS_PORT: u16 = 443;

/// The addresses of all listeners, that of `server.redirect_http` last.
fn configured(config: &Config) -> impl Iterator<Item = ListenAddress> {
    let listen = config.server.listeners().cloned();
    listen.chain(config.server.redirect().map(Into::into))
}

/// The addresses of `config` that this process cannot listen on, including those in use.
#[must_use]
pub fn unusable_addresses(config: &Config) -> Vec<ListenError> {
    let all: Vec<ListenAddress> = configured(config).collect();
    let errors = all.iter().filter_map(|it| check_free(it, &all).err());
    errors.filter(|error| !is_in_use(error)).collect()
}

fn is_in_use(error: &ListenError) -> bool {
    error.error.kind() == ErrorKind::AddrInUse
}

/// Says that a process already listens on a port that is shared.
fn warn_of_another(error: &ListenError) {
    tracing::warn!(
        address = %error.listen,
        "another process is on this port (server.share_port): the kernel spreads clients over both, and topics are not \
         shared, so that a publication reaches the clients of one of them; publish to each, at addresses of their own"
    );
}

fn check_free(listen: &ListenAddress, all: &[ListenAddress]) -> Result<(), ListenError> {
    match &listen.unix {
        Some(path) => net::check_socket_free(path.as_path()),
        None => net::check_free(listen.address, families(listen, all)),
    }
    .map_err(|error| ListenError {
        listen: listen.clone(),
        error,
    })
}

fn families(listen: &ListenAddress, all: &[ListenAddress]) -> Families {
    let addresses = all.iter().filter(|it| it.unix.is_none());
    let addresses: Vec<SocketAddr> = addresses.map(|it| it.address).collect();
    Families::of(listen.address, &addresses)
}

/// What to do about `error`.
fn advice(listen: &ListenAddress, error: &io::Error) -> &'static str {
    match (error.kind(), &listen.unix) {
        (ErrorKind::AddrInUse, Some(_)) => {
            "; another process listens there: stop it, or choose another path"
        }
        (ErrorKind::AlreadyExists, Some(_)) => {
            "; the file is no socket: remove it, or choose another path"
        }
        (ErrorKind::NotFound, Some(_)) => {
            "; its folder has to be there (RuntimeDirectory=fanfare of systemd makes /run/fanfare)"
        }
        (ErrorKind::PermissionDenied, Some(_)) => {
            "; the gateway's user has to be able to write to the folder (RuntimeDirectory= of systemd)"
        }
        (ErrorKind::AddrInUse, None) => {
            "; another program listens there: stop it, or choose another port"
        }
        (ErrorKind::AddrNotAvailable, None) => {
            "; no network interface of this machine has the address"
        }
        (ErrorKind::PermissionDenied, None) => {
            "; low ports are not for every user: choose one from 1024 on, or grant CAP_NET_BIND_SERVICE \
             (AmbientCapabilities= of systemd, --cap-add of containers)"
        }
        _ if error.raw_os_error() == Some(EAFNOSUPPORT) => {
            "; this machine has no IPv6: leave the address out"
        }
        _ => "",
    }
}

/// "Address family not supported by protocol".
const EAFNOSUPPORT: i32 = 97;

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::config::Mode;

    fn config(listen: &[SocketAddr]) -> Config {
        let mut config = Config::for_mode(Mode::Demo);
        config.server.listen = listen.iter().copied().map(Into::into).collect();
        config
    }

    fn any_port(last: u8) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, last], 0))
    }

    #[test]
    fn all_shards_listen_on_the_port_that_the_first_was_given() {
        let config = config(&[any_port(1), any_port(1), any_port(2)]);
        let listeners = Listeners::open(&config, 4, None).unwrap();
        let addresses = &listeners.addresses;
        assert_eq!(listeners.by_shard.len(), 4);
        for of_shard in &listeners.by_shard {
            let of_shard: Vec<_> = of_shard
                .iter()
                .map(|l| l.address().unwrap().unwrap())
                .collect();
            let opened: Vec<_> = addresses.iter().map(|listen| listen.address).collect();
            assert_eq!(of_shard, opened);
        }
        assert!(addresses.iter().all(|listen| listen.address.port() != 0));
        assert_ne!(addresses[0], addresses[1]);
        assert_eq!(addresses[2].address.ip(), any_port(2).ip());
    }

    #[test]
    fn the_error_names_the_address_in_use() {
        let other = TcpListener::bind(any_port(1)).unwrap();
        let in_use = other.local_addr().unwrap();
        for share_port in [false, true] {
            let mut config = config(&[any_port(1), in_use]);
            config.server.share_port = share_port;
            let error = Listeners::open(&config, 2, None).unwrap_err();
            assert_eq!(error.listen.address, in_use);
            assert_eq!(error.error.kind(), ErrorKind::AddrInUse);
        }
    }

    #[test]
    fn nothing_stays_open_when_an_address_fails() {
        let other = TcpListener::bind(any_port(1)).unwrap();
        // Of an address that no other test uses, so that the port stays free.
        let listener = TcpListener::bind(any_port(71)).unwrap();
        let free = listener.local_addr().unwrap();
        drop(listener);
        let in_use = other.local_addr().unwrap();
        let mut config = config(&[free, in_use]);
        config.server.share_port = true;
        let error = Listeners::open(&config, 2, None).unwrap_err();
        assert_eq!(error.listen.address, in_use);
        TcpStream::connect(free).unwrap_err();
    }
}
