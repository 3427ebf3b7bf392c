//! Handling of requests and deliveries from other shards.

use bytes::Bytes;

use super::home::Interest;
use super::interest::InterestState;
use super::queue_groups::QueueMember;
use super::{
    Announced, Asker, Delivery, Lanes, Missed, Outcome, PatternRecovery, Post, PublishResult,
    Receipt,
};
use super::{Request, Turn};
use crate::id::{FormatId, Gather, Position, ShardId};
use crate::metrics::Limited;
use crate::topic::Pattern;

/// The result of a request.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Taken {
    /// It is handled.
    Done,
    /// There is no room for its effects. Retry after the next flush, before any other request of the same shard.
    Stalled,
}

impl<L: Lanes> Turn<'_, L> {
    /// Handles a request of the shard `from`.
    pub fn request(&mut self, from: ShardId, request: Request<&[u8]>) -> Taken {
        match request {
            Request::Publish {
                topic,
                name,
                kind,
                form,
                data,
                publisher,
                key,
                only_live,
                except,
                reply,
            } => {
                let post = Post {
                    topic: text(topic),
                    name: text(name),
                    kind,
                    form,
                    data,
                    publisher: text(publisher),
                    key: text(key),
                    only_live,
                    except,
                };
                return self.take_post(from, &post, reply);
            }
            Request::Interest { topic, format } => {
                let shard = from;
                let home = self.take_interest(text(topic), Interest { shard, format });
                let position = self.engine.homes.home.topic(home).position();
                let announced = Announced {
                    home,
                    topic,
                    format,
                    position,
                };
                self.lanes.deliver(from, Delivery::Interested(announced));
            }
            Request::Disinterest { topic, format } => {
                let shard = from;
                let interest = Interest { shard, format };
                let home = &mut self.engine.homes.home;
                home.remove_interest(text(topic), interest);
                let forgotten = Delivery::Forgotten { topic, format };
                self.lanes.deliver(from, forgotten);
            }
            Request::Pattern {
                pattern,
                matcher,
                format,
                since_ms,
                ticket,
                index,
            } => {
                let (shard, pattern) = (from, Pattern::of(matcher, text(pattern)));
                let home = &mut self.engine.homes.home;
                home.add_pattern(Interest { shard, format }, &pattern);
                let recovery = self.pattern_recovery(&pattern, since_ms);
                let topics = recovery.topics.iter();
                let patterned = Delivery::Patterned {
                    ticket,
                    index,
                    recovery: PatternRecovery {
                        from_ms: recovery.from_ms,
                        topics: topics.map(|(name, at)| (name.as_bytes(), *at)).collect(),
                        is_complete: recovery.is_complete,
                    },
                };
                self.lanes.deliver(from, patterned);
            }
            Request::Unpattern {
                pattern,
                matcher,
                format,
            } => {
                let shard = from;
                let interest = Interest { shard, format };
                let pattern = Pattern::of(matcher, text(pattern));
                self.engine.homes.home.remove_pattern(interest, &pattern);
            }
            Request::JoinQueue {
                topic,
                group,
                peer,
                user,
                ticket,
            } => {
                let member = QueueMember::new(from, peer, user);
                let joined = self.take_queue_member(text(topic), text(group), member);
                let joined = Delivery::QueueJoined {
                    ticket,
                    topic,
                    group,
                    refused: joined.err(),
                };
                self.lanes.deliver(from, joined);
            }
            Request::LeaveQueue { topic, group, peer } => {
                let home = &mut self.engine.homes.home;
                home.leave_queue(text(topic), text(group), (from, peer));
            }
            Request::Requeue {
                peer,
                is_gone,
                message,
            } => return self.take_requeued(from, peer, is_gone, message),
            Request::Reach {
                topic,
                from: wanted,
                ticket,
                index,
            } => {
                let reach = self.engine.reach(text(topic), wanted, self.now);
                let reaches = Delivery::Reaches {
                    ticket,
                    index,
                    reach,
                };
                self.lanes.deliver(from, reaches);
            }
            Request::Replay { topic, missed } => {
                if self.lanes.deliveries_full(from) {
                    return Taken::Stalled;
                }
                self.send_page(from, text(topic), missed);
            }
            Request::Presence {
                topic,
                user,
                attending,
            } => self.note_presence(text(topic), text(user), attending.map(text)),
            Request::Roster {
                topic,
                after,
                limit,
                asker,
                ticket,
            } => {
                let roster = self.engine.roster(text(topic), text(after), limit as usize);
                let roster = Delivery::Roster {
                    asker,
                    ticket,
                    roster: Box::new(roster),
                };
                self.lanes.deliver(from, roster);
            }
            Request::History {
                topic,
                page,
                asker,
                ticket,
            } => {
                let kept = self.engine.history(text(topic), &page, self.now);
                let history = Delivery::History {
                    asker,
                    ticket,
                    kept: Box::new(kept),
                };
                self.lanes.deliver(from, history);
            }
            Request::Call { key, user, ticket } => {
                let calls = &mut self.engine.homes.calls;
                let is_free = calls.open(text(key), from, ticket, text(user));
                self.lanes
                    .deliver(from, Delivery::Called { ticket, is_free });
            }
            Request::HangUp { key, ticket } => {
                self.engine.homes.calls.close(text(key), from, ticket);
                self.lanes.deliver(from, Delivery::HungUp { ticket });
            }
            Request::Answer {
                key,
                user,
                said,
                is_last,
            } => return self.answer_here(text(key), text(user), said, is_last),
        }
        Taken::Done
    }

    fn take_post(
        &mut self,
        from: ShardId,
        post: &Post<'_>,
        reply: Option<(Asker, &[u8])>,
    ) -> Taken {
        let receipt = match reply {
            Some((Asker::Task(ticket), _)) => Some(Receipt {
                shard: from,
                ticket,
            }),
            _ => None,
        };
        let result = self.publish_here(post, receipt);
        // A task of the requesting shard retries by itself, so later requests go on.
        if result == PublishResult::Busy && receipt.is_none() {
            return Taken::Stalled;
        }
        if let Some((asker, id)) = reply {
            self.lanes
                .deliver(from, Delivery::Published { asker, id, result });
        }
        Taken::Done
    }

    /// Handles a delivery from the home `from`.
    pub fn delivery(&mut self, from: ShardId, delivery: Delivery<&[u8]>) {
        match delivery {
            Delivery::Append {
                home,
                format,
                offsets,
                frame,
                except,
                receipt,
            } => {
                let mut members = 0;
                let readers = &self.engine.readers;
                if let Some(topic) = readers.interests.local(from, home, format) {
                    if !except.is_none() {
                        // A group is for the same readers.
                        self.close_group(topic);
                    }
                    let readers = &mut self.engine.readers;
                    let appended = readers.append(topic, format, (frame, except), offsets);
                    members = appended.members;
                    if appended.is_group_full {
                        self.close_group(topic);
                    }
                }
                self.counters.deliveries.add(members as u64);
                if let Some(receipt) = receipt {
                    self.report_receipt(receipt, members);
                }
            }
            Delivery::Appeared(announced) | Delivery::Interested(announced) => {
                self.take_announced(from, announced);
            }
            Delivery::Patterned {
                ticket,
                index,
                recovery,
            } => {
                self.take_pattern_recovery(ticket, index, &recovery.map(text));
                self.settle(ticket);
            }
            Delivery::Forgotten {
                topic: name,
                format,
            } => self.take_forgotten(from, text(name), format),
            Delivery::Queued {
                peer,
                is_last,
                message,
            } => self.take_queued(from, peer, is_last, message),
            Delivery::QueueJoined {
                ticket,
                topic,
                group,
                refused,
            } => self.take_queue_joined(ticket, (text(topic), text(group)), refused),
            Delivery::Published { asker, id, result } => {
                self.take_published(asker, text(id), result);
            }
            Delivery::Reached { ticket, members } => self.take_count(ticket, members),
            Delivery::Reaches {
                ticket,
                index,
                reach,
            } => self.settle_reach(ticket, index, reach),
            Delivery::Page {
                missed,
                first,
                frames,
            } => self.take_frames(missed, first, &frames),
            Delivery::Roster {
                asker,
                ticket,
                roster,
            } => self.tell(asker, Outcome::Roster { ticket, roster }),
            Delivery::History {
                asker,
                ticket,
                kept,
            } => self.tell(asker, Outcome::History { ticket, kept }),
            Delivery::Called { ticket, is_free } => {
                self.tell(Asker::Task(ticket), Outcome::Called(is_free));
            }
            Delivery::HungUp { ticket } => self.tell(Asker::Task(ticket), Outcome::HungUp),
            Delivery::Answered {
                ticket,
                said,
                is_last,
            } => {
                let said = Bytes::copy_from_slice(said);
                self.take_answer(ticket, said, is_last);
            }
        }
    }

    /// Messages of a topic whose home is another shard arrive from now on.
    fn take_announced(&mut self, from: ShardId, announced: Announced<&[u8]>) {
        let Announced {
            home,
            topic: name,
            format,
            position,
        } = announced;
        let readers = &mut self.engine.readers;
        let Some(topic) = readers.hub.open(text(name)) else {
            // This shard is at its topic limit: the home need not send this one.
            self.counters.limited(Limited::Topics);
            let topic = name;
            return self.ask(from, Request::Disinterest { topic, format });
        };
        if readers.interests.state(topic, format) == InterestState::Closing {
            // Sent before the home learned that the interest is withdrawn; its confirmation is still to come.
            return;
        }
        readers.interests.bind(from, home, topic, position.epoch);
        readers.interests.set(topic, format, InterestState::Live);
        readers.hub.begin(topic, format, position.offset);
        if format.gather == Gather::Merge {
            self.locate_part(topic, position);
        }
        self.settle_topic(topic, format, position);
        // The peer that asked may have left in the meantime.
        self.engine.tickets.note_vacant(topic, format);
    }

    /// A home has forgotten this shard's interest in a topic.
    fn take_forgotten(&mut self, from: ShardId, name: &str, format: FormatId) {
        let readers = &mut self.engine.readers;
        let Some(topic) = readers.hub.find(name) else {
            return;
        };
        readers.interests.set(topic, format, InterestState::None);
        let is_unwanted = !readers.interests.has_any(topic, &self.engine.formats);
        if is_unwanted {
            readers.interests.unbind(from, topic);
        }
        if self.engine.is_read(topic, format) {
            return self.ask_interest(from, topic, name, format);
        }
        let readers = &mut self.engine.readers;
        readers.end_format(topic, format);
        // The peers that subscribed meanwhile have left again; their requests are answered.
        self.settle_topic(topic, format, Position::default());
        if is_unwanted {
            self.engine.readers.close_topic(topic);
        }
    }

    /// Sends a page of a topic's history to the shard of the peer that missed it.
    fn send_page(&mut self, to: ShardId, topic: &str, missed: Missed) {
        let mut page: Vec<u8> = Vec::new();
        let mut ends: Vec<usize> = Vec::new();
        let (first, _) = self.engine.read_page(topic, &missed, self.now, |_, frame| {
            page.extend_from_slice(frame);
            ends.push(page.len());
        });
        let mut start = 0;
        let frames = ends.iter().map(|&end| {
            let frame = &page[start..end];
            start = end;
            frame
        });
        let page = Delivery::Page {
            missed,
            first,
            frames: frames.collect(),
        };
        self.lanes.deliver(to, page);
    }
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).expect("it was put as text")
}
