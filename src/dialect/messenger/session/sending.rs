//! From the client to the store.

use std::pin::Pin;
use std::task::{Context, Poll};

use super::MessengerSession;
use crate::dialect::messenger::format::MESSAGE;
use crate::dialect::messenger::frame::{Inbound, Speaker, Status};
use crate::engine::{Post, PublicationKind};
use crate::id::{PeerId, UserKey};
use crate::json::put_string;
use crate::service::{Failed, receipt};
use crate::shard::Shard;
use crate::store::{Message, MessageKind, Refused, Reply, Stored};
use crate::topic;

/// A message of the client on its way.
pub(super) struct Sending {
    asks: bool,
    stage: Stage,
}

enum Stage {
    /// It is being stored.
    Storing(Reply<Stored>),
    /// It is stored, and published for connections of other protocols.
    Publishing(Stored, Publishing),
}

impl std::fmt::Debug for Sending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sending")
            .field("asks", &self.asks)
            .finish_non_exhaustive()
    }
}

/// What tells how many connections have got a publication.
type Publishing = Pin<Box<dyn Future<Output = Result<crate::engine::Stored, Failed>>>>;

/// The event that a message is for connections of other protocols.
const EVENT: &str = "message";

/// What has become of it.
enum Sent {
    Stored { id: i64, is_delivered: bool },
    Refused(Refused),
}

impl Sent {
    fn of(stored: &Stored, is_reached_elsewhere: bool) -> Self {
        Self::Stored {
            id: stored.message.id,
            is_delivered: stored.is_attached || is_reached_elsewhere,
        }
    }
}

impl MessengerSession {
    /// Stores a message.
    pub(super) fn put(&mut self, message: &Inbound<'_>) {
        let asks = self.asks || message.asks;
        let stage = Stage::Storing(self.store.put(self.stored(message)));
        self.sending.push_back(Sending { asks, stage });
    }

    /// Answers those that are done, in the order in which they came.
    pub(super) fn poll_sending(&mut self, shard: &Shard, peer: PeerId, cx: &mut Context<'_>) {
        while let Some(mut sending) = self.sending.pop_front() {
            match self.poll_one(shard, &mut sending, cx) {
                Poll::Pending => {
                    self.sending.push_front(sending);
                    return;
                }
                Poll::Ready(sent) => self.note_sent(shard, peer, sending.asks, &sent),
            }
        }
    }

    fn poll_one(&self, shard: &Shard, sending: &mut Sending, cx: &mut Context<'_>) -> Poll<Sent> {
        loop {
            match &mut sending.stage {
                Stage::Storing(reply) => {
                    let answer = std::task::ready!(Pin::new(reply).poll(cx));
                    let stored = match answer.unwrap_or(Err(Refused::Stopped)) {
                        Ok(stored) => stored,
                        Err(why) => return Poll::Ready(Sent::Refused(why)),
                    };
                    match self.publish_elsewhere(shard, &stored) {
                        Some(put) => sending.stage = Stage::Publishing(stored, put),
                        None => return Poll::Ready(Sent::of(&stored, false)),
                    }
                }
                Stage::Publishing(stored, put) => {
                    let reached = std::task::ready!(put.as_mut().poll(cx));
                    let is_reached = reached.is_ok_and(|reached| reached.members > 0);
                    // Who has got a broadcast elsewhere is not known, and gets it here, too.
                    if is_reached && stored.message.kind == MessageKind::Direct {
                        self.store.delivered(&self.mailbox, vec![stored.message.id]);
                    }
                    return Poll::Ready(Sent::of(stored, is_reached));
                }
            }
        }
    }

    /// Publishes a message for connections of other protocols: a direct one if its recipient has none of this one, a
    /// broadcast if that is wanted.
    fn publish_elsewhere(&self, shard: &Shard, stored: &Stored) -> Option<Publishing> {
        let message = &*stored.message;
        let broadcasts = self.messenger.settings.share_broadcasts;
        let (topic, kind) = match message.kind {
            MessageKind::Direct if !stored.is_attached && stored.is_registered => {
                (topic::inbox_of(&message.to), PublicationKind::Event)
            }
            MessageKind::Broadcast if broadcasts => {
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
        Some(Box::pin(receipt(shard.publish_counted(&post))))
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
