//! The listeners of all shards, opened before the first shard's thread starts.

use std::io;
use std::net::SocketAddr;

use crate::config::Config;
use crate::net::{self, Listener, Tuning};

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on {address}: {error}; is another program using the port, or is the address not this machine's?"
)]
pub struct ListenError {
    /// The configured address; a port of 0 that the kernel has replaced is the replaced one.
    pub address: SocketAddr,
    /// The kernel's error.
    pub error: io::Error,
}

/// One listener for each shard and address. Those that no shard has taken are closed when this is
/// dropped.
#[derive(Debug)]
pub(super) struct Listeners {
    /// The configured addresses in their order, every port of 0 replaced by the kernel's choice.
    pub(super) addresses: Vec<SocketAddr>,
    /// By the shard's index, then in the order of `addresses`.
    pub(super) by_shard: Vec<Vec<Listener>>,
}

impl Listeners {
    /// Opens them all. Connections queue at a listener from then on, so its shard has to start at once.
    ///
    /// # Errors
    /// An address cannot be listened on; none of the others stays open.
    pub(super) fn open(config: &Config, shards: u16) -> Result<Self, ListenError> {
        let server = &config.server;
        let tuning = Tuning {
            // A ping is acknowledged by the peer's kernel as soon as it arrives.
            unacknowledged_max: config.websocket.ping_interval + config.websocket.ping_timeout,
            send_buffer_bytes: server.send_buffer,
        };
        if !server.share_port {
            for &address in &server.listen {
                net::check_free(address).map_err(|error| ListenError { address, error })?;
            }
        }
        let mut addresses = server.listen.clone();
        let mut by_shard = Vec::with_capacity(usize::from(shards));
        for _ in 0..shards {
            let mut listeners = Vec::with_capacity(addresses.len());
            for address in &mut addresses {
                let opened = net::listen(*address, server.backlog, tuning).and_then(|listener| {
                    // The first shard's listener replaces a port of 0 for the others.
                    *address = listener.address()?;
                    Ok(listener)
                });
                listeners.push(opened.map_err(|error| ListenError {
                    address: *address,
                    error,
                })?);
            }
            by_shard.push(listeners);
        }
        Ok(Self {
            addresses,
            by_shard,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::config::Mode;

    fn config(listen: &[SocketAddr]) -> Config {
        let mut config = Config::for_mode(Mode::Demo);
        config.server.listen = listen.to_vec();
        config
    }

    fn any_port(last: u8) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, last], 0))
    }

    #[test]
    fn all_shards_listen_on_the_port_that_the_first_was_given() {
        let config = config(&[any_port(1), any_port(1), any_port(2)]);
        let listeners = Listeners::open(&config, 4).unwrap();
        let addresses = &listeners.addresses;
        assert_eq!(listeners.by_shard.len(), 4);
        for of_shard in &listeners.by_shard {
            let of_shard: Vec<_> = of_shard.iter().map(|l| l.address().unwrap()).collect();
            assert_eq!(&of_shard, addresses);
        }
        assert!(addresses.iter().all(|address| address.port() != 0));
        assert_ne!(addresses[0], addresses[1]);
        assert_eq!(addresses[2].ip(), any_port(2).ip());
    }

    #[test]
    fn the_error_names_the_address_in_use() {
        let other = TcpListener::bind(any_port(1)).unwrap();
        let in_use = other.local_addr().unwrap();
        for share_port in [false, true] {
            let mut config = config(&[any_port(1), in_use]);
            config.server.share_port = share_port;
            let error = Listeners::open(&config, 2).unwrap_err();
            assert_eq!(error.address, in_use);
            assert_eq!(error.error.kind(), io::ErrorKind::AddrInUse);
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
        let error = Listeners::open(&config, 2).unwrap_err();
        assert_eq!(error.address, in_use);
        TcpStream::connect(free).unwrap_err();
    }
}
