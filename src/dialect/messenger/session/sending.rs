//! From the client to the store.

use std::fmt::{self, Formatter};
use std::pin::Pin;
use std::rc::Weak;
use std::task::{Context, Poll};

use tokio::task::spawn_local;

use super::MessengerSession;
use crate::dialect::messenger::format::MESSAGE;
use crate::dialect::messenger::frame::{Inbound, Speaker, Status};
use crate::engine::{Post, PublicationKind};
use crate::id::{PeerId, UserKey};
use crate::json::put_string;
use crate::service::receipt;
use crate::shard::{CountedPublish, Shard};
use crate::store::{Message, MessageKind, Refused, Reply, Stored};
use crate::topic;

/// A message of the client on its way.
pub(super) struct Sending {
    asks: bool,
    sent: Pin<Box<dyn Future<Output = Sent>>>,
}

impl fmt::Debug for Sending {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sending")
            .field("asks", &self.asks)
            .finish_non_exhaustive()
    }
}

/// The event that a message is for connections of other protocols.
const EVENT: &str = "message";

/// What has become of it.
enum Sent {
    Stored { id: i64, is_delivered: bool },
    Refused(Refused),
}

/// What a message needs on its way, also when its sender has left.
#[derive(Clone)]
struct Way {
    shard: Weak<Shard>,
    /// Whether broadcasts are for connections of other protocols, too.
    is_shared: bool,
}

impl Way {
    /// Waits until the message is stored, and publishes it for connections of other protocols.
    async fn follow(self, reply: Reply<Stored>) -> Sent {
        let stored = match reply.await.unwrap_or(Err(Refused::Stopped)) {
            Ok(stored) => stored,
            Err(why) => return Sent::Refused(why),
        };
        let message = &*stored.message;
        let published = self
            .shard
            .upgrade()
            .and_then(|shard| self.publish(&shard, &stored));
        let is_reached = match published {
            Some(published) => receipt(published).await.is_ok_and(|it| it.members > 0),
            None => false,
        };
        // It stays pending all the same: whether those connections read it is not known, and it is not to be lost.
        Sent::Stored {
            id: message.id,
            is_delivered: stored.is_attached || is_reached,
        }
    }

    /// Publishes a direct message if its recipient has no connection of this protocol, a broadcast if that is wanted.
    fn publish(&self, shard: &Shard, stored: &Stored) -> Option<CountedPublish> {
        let message = &*stored.message;
        let (topic, kind) = match message.kind {
            // Whoever has no account may be anybody.
            MessageKind::Direct if !stored.is_attached && stored.is_registered => {
                (topic::inbox_of(&message.to), PublicationKind::Event)
            }
            MessageKind::Broadcast if self.is_shared => {
                (topic::BROADCAST.to_owned(), PublicationKind::Broadcast)
            }
            MessageKind::Direct | MessageKind::Broadcast | MessageKind::Server => return None,
        };
        let data = data_of(message);
        let post = Post {
            name: EVENT,
            kind,
            form: MESSAGE,
            publisher: &message.from,
            only_live: true,
            except: UserKey::of(&message.from),
            ..Post::event(&topic, &data)
        };
        Some(shard.publish_counted(&post))
    }
}

impl MessengerSession {
    /// Stores a message.
    pub(super) fn put(&mut self, message: &Inbound<'_>) {
        let asks = self.asks || message.asks;
        let way = Way {
            shard: self.shard.clone(),
            is_shared: self.messenger.settings.share_broadcasts,
        };
        let reply = self.store.put(self.stored(message));
        let sent = Box::pin(way.follow(reply));
        self.sending.push_back(Sending { asks, sent });
    }

    /// Answers those that are done, in the order in which they came.
    pub(super) fn poll_sending(&mut self, shard: &Shard, peer: PeerId, cx: &mut Context<'_>) {
        while let Some(sending) = self.sending.front_mut() {
            let Poll::Ready(sent) = sending.sent.as_mut().poll(cx) else {
                return;
            };
            let asks = sending.asks;
            self.sending.pop_front();
            self.note_sent(shard, peer, asks, &sent);
        }
    }

    /// Lets those that are on their way go on without their sender, which leaves.
    pub(super) fn leave_sending(&mut self) {
        let sending = std::mem::take(&mut self.sending);
        if !sending.is_empty() {
            spawn_local(async move {
                for sending in sending {
                    sending.sent.await;
                }
            });
        }
    }

    fn note_sent(&self, shard: &Shard, peer: PeerId, asks: bool, sent: &Sent) {
        match sent {
            Sent::Stored { id, is_delivered } if asks => {
                let status = if *is_delivered {
                    "delivered"
                } else {
                    "pending"
                };
                let content = format!(r#"{{"success":true,"ack":{id},"status":"{status}"}}"#);
                self.speak(
                    shard,
                    peer,
                    (Speaker::Server, Some(Status::Delivered)),
                    &content,
                );
            }
            Sent::Stored { .. } => {}
            Sent::Refused(why) if asks => {
                shard.counters.errors_sent.add(1);
                let mut content = br#"{"success":false,"code":""#.to_vec();
                content.extend_from_slice(why.code().as_bytes());
                content.extend_from_slice(br#"","error":"#);
                put_string(&mut content, &why.to_string());
                content.push(b'}');
                let content = String::from_utf8(content).expect("it is made of texts");
                self.speak(
                    shard,
                    peer,
                    (Speaker::Server, Some(Status::Error)),
                    &content,
                );
            }
            Sent::Refused(why) => {
                let content = format!("Message not stored ({}): {why}", why.code());
                self.complain(shard, peer, &content);
            }
        }
    }
}

/// What users of other protocols get of a message.
fn data_of(message: &Message) -> Vec<u8> {
    let mut data = Vec::new();
    let fields = [
        ("from", &message.from),
        ("to", &message.to),
        ("timestamp", &message.timestamp),
        ("content", &message.content),
        ("signature", &message.signature),
        ("encrypted_key", &message.encrypted_key),
        ("encryption_nonce", &message.encryption_nonce),
    ];
    for (key, value) in fields {
        if !value.is_empty() {
            data.push(if data.is_empty() { b'{' } else { b',' });
            data.push(b'"');
            data.extend_from_slice(key.as_bytes());
            data.extend_from_slice(b"\":");
            put_string(&mut data, value);
        }
    }
    data.push(b'}');
    data
}
