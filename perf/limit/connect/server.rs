//! The side that accepts.

use std::io::Write;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;

use rustix::event::epoll::EventFlags;
use slab::Slab;

use super::{BLANK_LINE, SERVER_CLOSE};
use crate::Outcome;
use crate::sockets::{Arrived, Poller, SERVER_READ_BYTES, accept, read};
use crate::window::{Phase, Shared};

/// The listener's key; connections have those of their places.
const LISTENER: u64 = u64::MAX;

/// How often it is looked whether the run is over while nothing happens.
const LOOK: Duration = Duration::from_millis(20);

struct Guest {
    socket: TcpStream,
    step: Step,
}

enum Step {
    /// What has come of the head, where it was cut.
    Head(Vec<u8>),
    /// The close frame is due.
    Greeted,
    /// Only the end is due.
    Closing,
}

/// Serves until the run is over; returns the connections that went their whole way.
pub(super) fn serve(listener: &TcpListener, response: &[u8], shared: &Shared) -> Outcome<u64> {
    let poller = Poller::new()?;
    poller.add(listener, LISTENER, EventFlags::IN)?;
    let mut guests: Slab<Guest> = Slab::new();
    let mut served = 0;
    let mut buffer = vec![0; SERVER_READ_BYTES];
    let mut events = Vec::new();
    while !guests.is_empty() || !shared.has_reached(Phase::Over) {
        poller.wait(&mut events, Some(LOOK))?;
        for event in &events {
            let key = event.data.u64();
            if key == LISTENER {
                accept(listener, |socket| {
                    let place = guests.vacant_entry();
                    poller.add(&socket, place.key() as u64, EventFlags::IN)?;
                    place.insert(Guest {
                        socket,
                        step: Step::Head(Vec::new()),
                    });
                    Ok(())
                })?;
                continue;
            }
            let guest = &mut guests[key as usize];
            match read(&guest.socket, &mut buffer)? {
                Arrived::Bytes(count) => guest.turn(&buffer[..count], response)?,
                Arrived::Nothing => {}
                Arrived::End => {
                    let guest = guests.remove(key as usize);
                    served += u64::from(matches!(guest.step, Step::Closing));
                }
            }
        }
    }
    Ok(served)
}

impl Guest {
    /// Takes the next step of the connection's life if `bytes` are what it waits for.
    fn turn(&mut self, bytes: &[u8], response: &[u8]) -> Outcome<()> {
        match &mut self.step {
            Step::Head(head) if head.is_empty() && bytes.ends_with(BLANK_LINE) => {
                self.socket.write_all(response)?;
                self.step = Step::Greeted;
            }
            Step::Head(head) => {
                head.extend_from_slice(bytes);
                if head.ends_with(BLANK_LINE) {
                    self.socket.write_all(response)?;
                    self.step = Step::Greeted;
                }
            }
            Step::Greeted => {
                self.socket.write_all(SERVER_CLOSE)?;
                self.socket.shutdown(Shutdown::Write)?;
                self.step = Step::Closing;
            }
            Step::Closing => {}
        }
        Ok(())
    }
}
