//! A TCP proxy that can cut every connection, and that keeps its port while the
//! gateway behind it comes and goes.

#![expect(
    clippy::disallowed_types,
    reason = "threads of a test share a list of sockets"
)]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// A proxy in front of a gateway. Its threads end with the process.
pub(crate) struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
}

struct State {
    /// Where connections go; none are taken while there is nowhere.
    to: Option<SocketAddr>,
    sockets: Vec<TcpStream>,
    /// Whether bytes of the connections that there are go nowhere.
    silent: Arc<AtomicBool>,
}

impl Proxy {
    /// A proxy to `to` on a free port.
    pub(crate) fn to(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State {
            to: Some(to),
            sockets: Vec::new(),
            silent: Arc::default(),
        }));
        let shared = state.clone();
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let state = &mut *shared.lock().unwrap();
                // Dropped, and so closed, where there is no gateway.
                if let Some(far) = state.to.and_then(|to| TcpStream::connect(to).ok()) {
                    state.sockets.extend([clone(&near), clone(&far)]);
                    pump(clone(&near), clone(&far), state.silent.clone());
                    pump(far, near, state.silent.clone());
                }
            }
        });
        Self { address, state }
    }

    /// Ends every connection in both directions. New ones are taken at once.
    pub(crate) fn cut(&self) {
        for socket in self.state.lock().unwrap().sockets.drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// Lets nothing through on the connections that there are, nor tells anybody: as a
    /// network does that has gone.
    pub(crate) fn silence(&self) {
        let silent = &mut self.state.lock().unwrap().silent;
        std::mem::take(silent).store(true, Ordering::Relaxed);
    }

    /// Cuts, and takes no connections until there is somewhere [to](Self::lead_to) go.
    pub(crate) fn close(&self) {
        self.state.lock().unwrap().to = None;
        self.cut();
    }

    /// New connections go to `to`.
    pub(crate) fn lead_to(&self, to: SocketAddr) {
        self.state.lock().unwrap().to = Some(to);
    }
}

fn clone(socket: &TcpStream) -> TcpStream {
    socket.try_clone().unwrap()
}

/// Carries bytes one way until either end is gone.
fn pump(mut from: TcpStream, mut to: TcpStream, silent: Arc<AtomicBool>) {
    thread::spawn(move || {
        let mut bytes = [0; 16 * 1024];
        while let Ok(read @ 1..) = from.read(&mut bytes) {
            if !silent.load(Ordering::Relaxed) && to.write_all(&bytes[..read]).is_err() {
                break;
            }
        }
        if !silent.load(Ordering::Relaxed) {
            let _ = to.shutdown(Shutdown::Both);
            let _ = from.shutdown(Shutdown::Both);
        }
    });
}
