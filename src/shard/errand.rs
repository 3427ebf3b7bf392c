//! Questions that one thread asks another: what operators and handlers want to
//! know of every shard, or of a topic's home.

use std::rc::Rc;

use tokio::sync::oneshot;

use super::{Shard, local};
use crate::engine::{Errand, Request, home_of};
use crate::id::ShardId;

impl Shard {
    /// Calls `ask` with the shard that is home to `topic`, on its thread.
    pub fn ask_home<T: Send + 'static>(
        self: &Rc<Self>,
        topic: &str,
        ask: impl FnOnce(&Rc<Self>) -> T + Send + 'static,
    ) -> oneshot::Receiver<T> {
        let shards = self.port.borrow().shards();
        self.ask(home_of(topic, shards), ask)
    }

    /// Calls `ask` with the shard that is home to `topic`, and `then` with what it
    /// says back on this one. Returns whether there was room to ask.
    pub fn ask_home_then<T: Send + 'static>(
        &self,
        topic: &str,
        ask: impl FnOnce(&Rc<Self>) -> T + Send + 'static,
        then: impl FnOnce(&Rc<Self>, T) + Send + 'static,
    ) -> bool {
        let mut port = self.port.borrow_mut();
        let (home, asker) = (home_of(topic, port.shards()), self.id);
        if home == asker {
            drop(port);
            local(|shard| then(shard, ask(shard)));
            return true;
        }
        if port.requests_full(home) {
            return false;
        }
        let errand = Errand::new(move || {
            local(|home| {
                let said = ask(home);
                let back = Errand::new(move || local(|shard| then(shard, said)));
                home.port
                    .borrow_mut()
                    .request(asker, |_| Request::Run(back));
                home.flusher.raise();
            });
        });
        port.request(home, |_| Request::Run(errand));
        self.flusher.raise();
        true
    }

    /// Calls `act` with the shard `to`, which is another one, on its thread.
    pub(super) fn tell(&self, to: ShardId, act: impl FnOnce(&Rc<Self>) + Send + 'static) {
        let errand = Errand::new(move || local(act));
        self.port.borrow_mut().request(to, |_| Request::Run(errand));
        self.flusher.raise();
    }

    /// Calls `ask` with every shard, each on its own thread.
    pub fn ask_all<T: Send + 'static>(
        self: &Rc<Self>,
        ask: impl Fn(&Rc<Self>) -> T + Clone + Send + 'static,
    ) -> Vec<oneshot::Receiver<T>> {
        let shards = self.port.borrow().shards();
        let shards = (0..shards).map(ShardId);
        shards.map(|shard| self.ask(shard, ask.clone())).collect()
    }

    /// Calls `ask` with the shard `to`, on its thread. There is no answer if the
    /// shard ends before.
    pub fn ask<T: Send + 'static>(
        self: &Rc<Self>,
        to: ShardId,
        ask: impl FnOnce(&Rc<Self>) -> T + Send + 'static,
    ) -> oneshot::Receiver<T> {
        let (sender, receiver) = oneshot::channel();
        if to == self.id {
            // Whoever asked may have gone away meanwhile, here and below.
            let _ = sender.send(ask(self));
            return receiver;
        }
        let errand = Errand::new(move || {
            let _ = sender.send(local(ask));
        });
        self.port.borrow_mut().request(to, |_| Request::Run(errand));
        self.flusher.raise();
        receiver
    }
}
