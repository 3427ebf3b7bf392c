//! Executes operations.

use super::client::View;
use super::encoder::MERGED;
use super::label::topic_of;
use super::ops::{CLIENTS, Names, Op};
use super::peers::Connection;
use super::stream::StreamView;
use super::world::{WHOLE, World};
use crate::engine::PublicationKind;
use crate::engine::{FlushBudget, HistoryPart, Post};
use crate::id::{Form, UserKey};
use crate::sse::EventsRequest;
use crate::topic;

/// Where a stream begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum StreamFrom {
    /// At the head.
    Live,
    /// After the client's cursor, if it has one.
    Cursor,
    /// With this many of the newest messages.
    Last(u8),
}

/// Milliseconds after which a full socket that accepts nothing is disconnected.
const STALL_MS: u64 = 5000;

impl World {
    /// Executes one operation, if it is possible now.
    pub(super) fn apply(&mut self, op: &Op) {
        let nodes = self.nodes.len();
        let at = |node: u8| usize::from(node) % nodes;
        let who = |client: u8| usize::from(client % CLIENTS);
        match *op {
            Op::Join {
                client,
                node,
                format,
                greet,
            } => self.join(who(client), at(node), format, greet),
            Op::Leave { client } => self.leave(who(client)),
            Op::Close { client } => {
                if self.is_open(who(client)) {
                    self.close(who(client));
                }
            }
            Op::Subscribe {
                client,
                names,
                recover,
            } => {
                if self.may_speak(who(client)) {
                    self.subscribe(who(client), &listed(&names), recover);
                }
            }
            Op::Unsubscribe { client, names } => {
                if self.may_speak(who(client)) {
                    self.unsubscribe(who(client), &listed(&names));
                }
            }
            Op::JoinQueue { client, topic } => {
                if self.may_speak(who(client)) {
                    self.join_queue(who(client), topic);
                }
            }
            Op::LeaveQueue { client, topic } => {
                if self.may_speak(who(client)) {
                    self.leave_queue(who(client), topic);
                }
            }
            Op::Reformat { client, format } => {
                if self.may_speak(who(client)) {
                    self.reformat(who(client), format);
                }
            }
            Op::Publish {
                client,
                topic,
                key,
                answer,
                bytes,
            } => {
                if self.may_speak(who(client)) {
                    self.publish(who(client), (topic, key), answer, (bytes, ""));
                }
            }
            Op::PublishExcept {
                client,
                topic,
                except,
                bytes,
            } => {
                if self.may_speak(who(client)) {
                    let except = self.clients[who(except)].user.clone();
                    self.publish(who(client), (topic, ""), false, (bytes, &except));
                }
            }
            Op::Count {
                node,
                topic,
                key,
                only_live,
                bytes,
            } => {
                let post = Post {
                    key,
                    only_live,
                    ..Post::event(topic, b"")
                };
                self.count(at(node), &post, bytes);
            }
            Op::Push {
                node,
                client,
                bytes,
            } => {
                let inbox = topic::inbox_of(&self.clients[who(client)].user);
                let post = Post {
                    kind: PublicationKind::Event,
                    form: Form(1),
                    only_live: true,
                    ..Post::event(&inbox, b"")
                };
                self.count(at(node), &post, bytes);
            }
            Op::Broadcast { node } => {
                let post = Post {
                    kind: PublicationKind::Broadcast,
                    ..Post::event(topic::BROADCAST, b"")
                };
                self.count(at(node), &post, 0);
            }
            Op::Room { client, bytes } => self.make_room(who(client), bytes as usize),
            Op::Cut { client } => {
                if let Some(connection) = &self.clients[who(client)].connection {
                    let (node, slot) = (connection.node, connection.peer.slot);
                    self.nodes[node].sockets.get(slot).is_gone = true;
                }
            }
            Op::UpdatePresence { client, topic } => {
                if self.may_speak(who(client)) {
                    self.update_presence(who(client), topic);
                }
            }
            Op::Roster { client, topic } => {
                if self.may_speak(who(client)) {
                    let connection = self.connection(who(client));
                    let (node, peer) = (connection.node, connection.peer);
                    let ticket = self.turn(node, |turn| turn.ask_roster(peer, topic, "", 1000));
                    let asked = ticket.map(|ticket| ticket.0);
                    self.connection(who(client)).rosters.extend(asked);
                }
            }
            Op::Call { node, key, client } => self.call(at(node), key, who(client)),
            Op::Answer {
                client,
                key,
                is_last,
            } => {
                if self.is_open(who(client)) && self.may_answer(who(client)) {
                    self.answer(who(client), key, is_last);
                }
            }
            Op::HangUp { call } => {
                let calls = &self.tasks.calls;
                let open = (0..calls.len()).filter(|&at| !calls[at].is_hung_up);
                if let Some(call) = open.into_iter().nth(usize::from(call)) {
                    self.hang_up(call);
                }
            }
            Op::History {
                node,
                topic,
                since,
                limit,
            } => {
                let part = HistoryPart::After(u64::from(since));
                self.read_history(at(node), topic, part, u32::from(limit));
            }
            Op::HistoryBefore {
                node,
                topic,
                before,
                limit,
            } => {
                let part = HistoryPart::Before(u64::from(before));
                self.read_history(at(node), topic, part, u32::from(limit));
            }
            Op::StreamLast {
                client,
                node,
                topics,
                count,
            } => self.open_stream(who(client), at(node), &topics, StreamFrom::Last(count)),
            Op::Stream {
                client,
                node,
                topics,
                resume,
            } => {
                let from = match resume {
                    true => StreamFrom::Cursor,
                    false => StreamFrom::Live,
                };
                self.open_stream(who(client), at(node), &topics, from);
            }
            Op::Exchange {
                node,
                deliveries,
                requests,
            } => {
                self.reap(at(node));
                self.exchange(at(node), usize::from(deliveries), usize::from(requests));
            }
            Op::Flush {
                node,
                writes,
                bytes,
            } => {
                let budget = FlushBudget {
                    writes_max: usize::from(writes),
                    bytes_max: bytes as usize,
                };
                let _ = self.flush(at(node), budget);
            }
            Op::Run { rounds } => {
                for _ in 0..rounds {
                    for node in 0..nodes {
                        self.reap(node);
                        self.exchange(node, 4, 4 * nodes);
                        let _ = self.flush(node, WHOLE);
                    }
                }
            }
            Op::Stop { from, to } => self.mesh.stop(at(from), at(to), true),
            Op::Go { from, to } => self.mesh.stop(at(from), at(to), false),
            Op::CloseGroups { node } => self.turn(at(node), |turn| turn.close_groups()),
            Op::Tick { node } => {
                self.turn(at(node), |turn| {
                    turn.go_on_waiting();
                    turn.find_stalled(STALL_MS);
                    turn.close_groups();
                    turn.sweep_vacant();
                    turn.sweep_keys();
                });
                self.at_home(at(node), None, |turn| turn.sweep_presence());
            }
            Op::SweepVacant { node } => self.turn(at(node), |turn| turn.sweep_vacant()),
            Op::SweepPresence { node } => {
                self.at_home(at(node), None, |turn| turn.sweep_presence());
            }
            Op::SweepHome { node, rarely } => {
                if rarely || self.turn(at(node), |turn| turn.is_home_over_half()) {
                    self.sweep_home(at(node));
                }
            }
            Op::Tidy { node } => {
                let now = self.now();
                self.nodes[at(node)].engine.tidy(now);
            }
            Op::FindStalled { node } => {
                self.turn(at(node), |turn| turn.find_stalled(STALL_MS));
            }
            Op::Advance { ms } => self.now_ms += u64::from(ms),
        }
    }

    /// Whether a client has a connection that is not being closed.
    fn is_open(&self, client: usize) -> bool {
        let connection = self.clients[client].connection.as_ref();
        connection.is_some_and(|connection| !connection.is_closing && !connection.is_disconnecting)
    }

    /// Whether a client is read from and can send.
    fn may_speak(&self, client: usize) -> bool {
        let Some(connection) = &self.clients[client].connection else {
            return false;
        };
        let hub = self.nodes[connection.node].engine.hub();
        self.is_open(client)
            && connection.format.recovers
            && connection.format != MERGED
            && !hub.is_outbox_full(connection.peer.slot)
    }

    fn may_answer(&self, client: usize) -> bool {
        let connection = self.clients[client].connection.as_ref();
        connection.is_some_and(|connection| connection.format != MERGED)
    }

    fn make_room(&mut self, client: usize, bytes: usize) {
        let Some(connection) = &self.clients[client].connection else {
            return;
        };
        let (node, peer) = (connection.node, connection.peer);
        self.nodes[node].sockets.get(peer.slot).room += bytes;
        if self.nodes[node].engine.hub().is_blocked(peer.slot) {
            self.turn(node, |turn| turn.unblock(peer));
        }
    }

    /// A client opens an event stream.
    fn open_stream(&mut self, client: usize, node: usize, topics: &Names, from: StreamFrom) {
        let topics = listed(topics).into_iter();
        let mut topics: Vec<Box<str>> = topics.map(|label| topic_of(label).into()).collect();
        topics.sort_unstable();
        topics.dedup();
        if topics.is_empty() {
            return;
        }
        self.leave(client);
        let user = UserKey::of(&self.clients[client].user);
        let peer = self.nodes[node].engine.join(MERGED, user);
        self.nodes[node]
            .sockets
            .insert(peer.slot, self.setup.room + 300);
        let cursor = self.clients[client].cursors.get(&topics);
        let cursor = cursor.filter(|_| from == StreamFrom::Cursor);
        let cursor = cursor.filter(|cursor| !cursor.is_empty()).cloned();
        self.oracle.now_ms = self.now_ms;
        let mut view = StreamView::new(
            self.cursors.clone(),
            &topics,
            cursor.as_deref(),
            &mut self.oracle,
        );
        let last = match from {
            StreamFrom::Last(count) => Some(u64::from(count)),
            StreamFrom::Live | StreamFrom::Cursor => None,
        };
        if let Some(count) = last {
            view.wants_last(count, &self.heads());
        }
        let stored = self.clients[client].stored.clone();
        let unread = View::new(MERGED, stored, self.has_room());
        let mut connection = Connection::new(node, peer, MERGED, unread);
        connection.stream = Some((topics.clone(), view));
        self.clients[client].connection = Some(connection);
        self.changes += 1;
        let request = EventsRequest {
            topics,
            cursor: cursor.map(Into::into),
            last,
        };
        let head = b": open\n\n".to_vec();
        if self
            .turn(node, |turn| turn.open_stream(peer, &request, head))
            .is_err()
        {
            self.leave(client);
        }
    }
}

fn listed(names: &Names) -> Vec<&'static str> {
    let names = names.iter().copied();
    names.filter(|name| !name.is_empty()).collect()
}
