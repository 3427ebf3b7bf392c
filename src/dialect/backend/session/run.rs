//! Runs operations: their effects begin in their order, at once; answers may be later.

use std::borrow::Cow;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::LinkSession;
use crate::conn::Flow;
use crate::dialect::backend::answers::Answered;
use crate::dialect::backend::operation::no_connection;
use crate::dialect::backend::{ErrorCode, Failure, NAME, Operation, Target};
use crate::engine::PublishResult;
use crate::id::{AnyPeer, PeerId, Priority};
use crate::metrics::Limited;
use crate::service::{BadOrder, Closing, DEFAULT_NAME, Failed, Order, find, receipt, take};
use crate::shard::{
    Audience, CloseOrder, ConnectionOrder, CountedPublish, OrderResult, Shard, Wanted,
};
use crate::topic::{self, Selector};

/// The protocol whose connections all read the topic of broadcasts.
const BROADCASTS_READ_BY: &str = "events";

/// The protocols whose connections are not sent a broadcast one by one: those that read the topic, and members.
const NOT_ONE_BY_ONE: &[&str] = &[BROADCASTS_READ_BY, NAME];

/// The member's connection, and the `id` of its operation.
type Asked<'a> = (&'a Shard, PeerId, Option<&'a str>);

impl LinkSession {
    /// Runs an operation. [`Flow::Wait`]: nothing of it has happened, and it is to be run again.
    pub(super) fn run(&mut self, asked: Asked<'_>, operation: Operation<'_>) -> Flow {
        let (shard, peer, id) = asked;
        // Replies go by the desk. What was said before is done before.
        let is_behind = !shard.has_desk() && self.answers.is_replying();
        if is_behind && !matches!(operation, Operation::Reply { .. }) {
            return Flow::Wait;
        }
        match operation {
            Operation::Publish {
                topic,
                name,
                data,
                key,
            } => {
                let order = Order::to_topic(shard, topic, name, data);
                let order = order.map(|order| match key {
                    Some(key) => order.once(key),
                    None => order,
                });
                return self.publish(asked, order);
            }
            Operation::Send {
                to: Target::User(user),
                name,
                data,
                ..
            } => {
                let order = Order::to_user(shard, &user, name, data);
                return self.publish(asked, order);
            }
            Operation::Send {
                to: Target::Connection(connection),
                name,
                data,
                priority,
            } => match check_size(shard, &name, data) {
                Ok(()) => {
                    let order = ConnectionOrder::Send {
                        name: name.into(),
                        data: data.into(),
                        priority,
                    };
                    let result = executed(shard.ask_order(connection, order));
                    self.answers.await_future(id, Box::pin(result));
                }
                Err(failure) => self.answers.put(shard, peer, id, &Err(failure)),
            },
            Operation::Reply { to, data } => match check_size(shard, DEFAULT_NAME, data) {
                Ok(()) => self.reply(asked, to, data),
                Err(failure) => self.answers.put(shard, peer, id, &Err(failure)),
            },
            Operation::Subscribe {
                connection,
                topics,
                recover,
                presence,
                group,
            } => {
                let order = ConnectionOrder::Subscribe {
                    topics,
                    recover,
                    presence,
                    group,
                };
                self.change_subscriptions(asked, connection, order);
            }
            Operation::Unsubscribe { connection, topics } => {
                let order = ConnectionOrder::Unsubscribe { topics };
                self.change_subscriptions(asked, connection, order);
            }
            Operation::Disconnect { of, order } => self.disconnect(asked, of, &order),
            Operation::Broadcast {
                dialect,
                name,
                data,
            } => return self.broadcast(asked, dialect.as_deref(), name, data),
            Operation::Presence {
                topic,
                after,
                limit,
            } => return self.presence(asked, &topic, &after, limit),
            // One list at a time, which may be large.
            Operation::Connections { .. } if self.answers.is_listing() => return Flow::Wait,
            Operation::Connections { user, limit } => {
                let wanted = Wanted {
                    user: user.map(Into::into),
                    ..Wanted::default()
                };
                let shard = self.shard.clone();
                let found = async move {
                    let found = find(&shard, &wanted, limit).await;
                    let (total, items) = found.map_err(|_| stopping())?;
                    Ok(format!(r#","total":{total},"connections":[{items}]"#).into_bytes())
                };
                self.answers.await_list(id, Box::pin(found));
            }
            Operation::Health => {
                let health = health(shard, self.request.group.clone());
                self.answers.await_future(id, Box::pin(health));
            }
        }
        Flow::Continue
    }

    fn publish(
        &mut self,
        (shard, peer, id): Asked<'_>,
        order: Result<Order<'_>, BadOrder>,
    ) -> Flow {
        // A connection that was subscribed before gets what is published after.
        if self.answers.is_subscribing() {
            return Flow::Wait;
        }
        let order = match order.map_err(bad).and_then(|order| {
            self.admit(shard, &order)?;
            Ok(order)
        }) {
            Ok(order) => order,
            Err(failure) => {
                self.answers.put(shard, peer, id, &Err(failure));
                return Flow::Continue;
            }
        };
        // A publication without an `id` is reported if it fails, which no one waits for.
        let (mut number, mut text) = (itoa::Buffer::new(), "");
        if id.is_some() {
            text = number.format(self.answers.next_number());
        }
        let result = shard.engine(|engine| engine.publish(peer, &order.post(), text));
        if result == PublishResult::Busy {
            return Flow::Wait;
        }
        self.is_charged = false;
        match (result, id) {
            (PublishResult::Forwarded, Some(id)) => self.answers.await_publication(id),
            (PublishResult::Forwarded, None) => {}
            (result, id) => self.answers.put(shard, peer, id, &published(result)),
        }
        Flow::Continue
    }

    /// Whether the service may publish an order, which counts toward its rate limit: once, however often it is run.
    fn admit(&mut self, shard: &Shard, order: &Order<'_>) -> Result<(), Failure> {
        if !order.is_permitted(&shard.config, &self.service) {
            return Err(Failure::new(ErrorCode::Forbidden, order.forbidden()));
        }
        if !self.is_charged {
            take(shard, &self.service, 1).map_err(|why| {
                let text = format!("{why}: try again in {} s", why.retry_after);
                Failure::new(ErrorCode::Busy, text)
            })?;
            self.is_charged = true;
        }
        Ok(())
    }

    fn reply(&mut self, (shard, peer, id): Asked<'_>, to: u64, data: &str) {
        let answered = shard.ask_reply(peer, to, data);
        let answered = async move {
            match answered.await.unwrap_or(OrderResult::NotFound) {
                OrderResult::NotFound => {
                    let why = "No message with an `id` of up to 256 bytes has this number, or its client has left, or it was too long ago";
                    Err(Failure::new(ErrorCode::NotFound, why))
                }
                result => answer_of(result),
            }
        };
        self.answers.await_reply(id, Box::pin(answered));
    }

    fn change_subscriptions(
        &mut self,
        (shard, _, id): Asked<'_>,
        connection: AnyPeer,
        order: ConnectionOrder,
    ) {
        let result = executed(shard.ask_order(connection, order));
        self.answers.await_subscription(id, Box::pin(result));
    }

    fn disconnect(&mut self, (shard, _, id): Asked<'_>, of: Target<'_>, order: &CloseOrder) {
        let (wanted, is_one) = match of {
            Target::Connection(connection) => (
                Wanted {
                    connection: Some(connection),
                    ..Wanted::default()
                },
                true,
            ),
            Target::User(user) => (
                Wanted {
                    user: Some(user.into()),
                    ..Wanted::default()
                },
                false,
            ),
        };
        let closing = Closing::begin(shard, &wanted, order);
        let closed = async move {
            match closing.count().await.map_err(|_| stopping())? {
                0 if is_one => Err(no_connection()),
                count => Ok(count_of(count as u64)),
            }
        };
        self.answers.await_future(id, Box::pin(closed));
    }

    fn broadcast(
        &mut self,
        (shard, peer, id): Asked<'_>,
        dialect: Option<&str>,
        name: Cow<'_, str>,
        data: &str,
    ) -> Flow {
        if self.answers.is_subscribing() {
            return Flow::Wait;
        }
        let one_by_one = ConnectionOrder::Send {
            name: match &*name {
                "" => DEFAULT_NAME.into(),
                name => name.into(),
            },
            data: data.into(),
            priority: Priority::Normal,
        };
        let admitted = Order::to_all(shard, name, data).map_err(bad);
        let admitted = admitted.and_then(|order| {
            if dialect == Some(NAME) {
                let why =
                    "Members of the link are sent no broadcasts: give another `dialect`, or none";
                return Err(Failure::invalid(why));
            }
            self.admit(shard, &order)?;
            Ok(order)
        });
        let order = match admitted {
            Ok(order) => order,
            Err(failure) => {
                self.answers.put(shard, peer, id, &Err(failure));
                return Flow::Continue;
            }
        };
        let mut counted = CountedPublish::Done(PublishResult::Stored(Default::default()));
        if dialect.is_none_or(|dialect| dialect == BROADCASTS_READ_BY) {
            counted = order.begin(shard);
            if let CountedPublish::Done(PublishResult::Busy) = counted {
                return Flow::Wait;
            }
        }
        self.is_charged = false;
        let audience = match dialect {
            None => Some(Audience::AllBut(NOT_ONE_BY_ONE)),
            Some(BROADCASTS_READ_BY) => None,
            Some(dialect) => Some(Audience::Only(dialect.into())),
        };
        let one_by_one = Arc::new(one_by_one);
        let asked = audience.iter().flat_map(|audience| {
            let shards = shard.shards();
            let one_by_one = &one_by_one;
            shards.map(move |at| shard.ask_broadcast(at, audience, one_by_one))
        });
        let asked: Vec<_> = asked.collect();
        let reached = async move {
            let mut count = receipt(counted).await.map_err(failed)?.members;
            for asked in asked {
                count += asked.await.map_err(|_| stopping())? as u64;
            }
            Ok(count_of(count))
        };
        self.answers.await_future(id, Box::pin(reached));
        Flow::Continue
    }

    fn presence(
        &mut self,
        (shard, peer, id): Asked<'_>,
        topic: &str,
        after: &str,
        limit: usize,
    ) -> Flow {
        let may = self.service.permissions(&shard.config);
        let failure = if let Err(why) = topic::check_name(topic) {
            Failure::invalid(format!("`topic`: {why}"))
        } else if !may.may_subscribe(&Selector::Topic(topic)) {
            let why = "Asking who is there takes what subscribing takes: a token whose \
                       `fanfare.subscribe` covers the topic, or another namespace";
            Failure::new(ErrorCode::Forbidden, why)
        } else if !shard.config.namespace(topic).presence {
            let why = "Presence is not kept for this topic: `presence` of its namespace is false";
            Failure::new(ErrorCode::Unsupported, why)
        } else {
            // As many as one connection may have open are open, or the topic's shard takes no more now.
            let Some(ticket) = shard.engine(|engine| engine.ask_roster(peer, topic, after, limit))
            else {
                return Flow::Wait;
            };
            self.answers.await_roster(id, ticket, topic);
            return Flow::Continue;
        };
        self.answers.put(shard, peer, id, &Err(failure));
        Flow::Continue
    }
}

/// The state of the gateway and of a group.
fn health(shard: &Shard, group: Box<str>) -> impl Future<Output = Answered> + 'static {
    let status = match shard.process.is_draining() {
        true => "stopping",
        false => "healthy",
    };
    let connections = shard.process.connections();
    let uptime = shard.clock.now_ms() / 1000;
    let instance = format!("{:x}", shard.process.epoch);
    let groups = shard.ask_groups();
    async move {
        let groups = groups.await.map_err(|_| stopping())?;
        let state = groups.iter().find(|it| it.name == group);
        let state = state.map(|it| it.state).unwrap_or_default();
        // A group's name needs no escapes.
        let text = format!(
            r#","status":"{status}","instance":"{instance}","connections":{connections},"version":"{}","uptime_seconds":{uptime},"group":{{"name":"{group}","members":{},"pending":{},"dead_letters":{}}}"#,
            env!("CARGO_PKG_VERSION"),
            state.members,
            state.held.objects,
            state.dead_letters_total,
        );
        Ok(text.into_bytes())
    }
}

/// The answer that a publication has.
pub(super) fn published(result: PublishResult) -> Answered {
    match result {
        PublishResult::Stored(stored) => Ok(format!(r#","offset":{}"#, stored.offset).into_bytes()),
        PublishResult::TooManyTopics => Err(failed(Failed::TooManyTopics)),
        PublishResult::Busy | PublishResult::Forwarded => Err(failed(Failed::Busy)),
    }
}

/// Waits for what has become of an order.
async fn executed(asked: oneshot::Receiver<OrderResult>) -> Answered {
    // The connection, or its shard, has ended before it answered.
    answer_of(asked.await.unwrap_or(OrderResult::NotFound))
}

/// The answer that says what has become of an order.
fn answer_of(result: OrderResult) -> Answered {
    match result {
        OrderResult::Done => Ok(Vec::new()),
        OrderResult::Subscribed { accepted, rejected } => {
            let list = |names: &[Box<str>]| serde_json::to_string(names).expect("names are texts");
            let (accepted, rejected) = (list(&accepted), list(&rejected));
            Ok(format!(r#","accepted":{accepted},"rejected":{rejected}"#).into_bytes())
        }
        OrderResult::NotFound => Err(no_connection()),
        OrderResult::Unsupported => {
            let why = "The protocol of this connection has no words for it: see its `protocol`";
            Err(Failure::new(ErrorCode::Unsupported, why))
        }
        OrderResult::Busy | OrderResult::Pending | OrderResult::Later => {
            let why = "Its client reads too slowly, or its connection has just begun; try again";
            Err(Failure::new(ErrorCode::Busy, why))
        }
    }
}

/// Data for one connection is as large as that of a topic with the message's name.
fn check_size(shard: &Shard, name: &str, data: &str) -> Result<(), Failure> {
    let bytes_max = shard.config.namespace(name).max_message_size;
    if data.len() <= bytes_max {
        return Ok(());
    }
    shard.counters.limited(Limited::MessageSize);
    let bytes = data.len();
    let why = format!("`data` has {bytes} bytes; a message of this `type` takes {bytes_max}");
    Err(Failure::new(ErrorCode::TooLarge, why))
}

fn count_of(count: u64) -> Vec<u8> {
    format!(r#","count":{count}"#).into_bytes()
}

fn bad(why: BadOrder) -> Failure {
    let code = match why {
        BadOrder::Invalid(_) => ErrorCode::Invalid,
        BadOrder::TooLarge { .. } => ErrorCode::TooLarge,
    };
    Failure::new(code, why.to_string())
}

fn failed(why: Failed) -> Failure {
    let code = match why {
        Failed::Forbidden => ErrorCode::Forbidden,
        Failed::Busy | Failed::TooManyTopics | Failed::NoAnswer => ErrorCode::Busy,
    };
    Failure::new(code, why.text())
}

fn stopping() -> Failure {
    Failure::new(ErrorCode::Busy, "The gateway is stopping")
}
