//! What other places ask and send.

use bytes::Bytes;

use super::home::Interest;
use super::interest::Standing;
use super::{
    Announced, Asker, Covered, Delivery, Lanes, Missed, Outcome, Post, PublishResult, Receipt,
};
use super::{Request, Turn};
use crate::id::{FormatId, Gather, Position, ShardId};
use crate::metrics::Limited;
use crate::topic::Pattern;

/// What became of a request.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Taken {
    /// It is done.
    Done,
    /// There is no room for what it would cause: again after the next flush, and nothing else of the
    /// place that asked before.
    Stalled,
}

impl<L: Lanes> Turn<'_, L> {
    /// Whether deliveries have to wait for the next flush, since a log has more than a flush should
    /// be behind with: the lane fills, and its home holds publishers back.
    ///
    /// Cost: a look at every dirty log.
    #[must_use]
    pub fn is_backlogged(&self) -> bool {
        self.engine.readers.hub.is_backlogged()
    }

    /// Does what the place `from` asks.
    pub fn request(&mut self, from: ShardId, request: Request<&[u8]>) -> Taken {
        match request {
            Request::Publish {
                topic,
                name,
                kind,
                form,
                data,
                key,
                only_live,
                reply,
            } => {
                let post = Post {
                    topic: text(topic),
                    name: text(name),
                    kind,
                    form,
                    data,
                    key: text(key),
                    only_live,
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
                format,
                since_ms,
                ticket,
                index,
            } => {
                let (shard, pattern) = (from, pattern_of(pattern));
                let home = &mut self.engine.homes.home;
                home.add_pattern(Interest { shard, format }, &pattern);
                let covered = self.covered(&pattern, since_ms);
                let topics = covered.topics.iter();
                let patterned = Delivery::Patterned {
                    ticket,
                    index,
                    covered: Covered {
                        from_ms: covered.from_ms,
                        topics: topics.map(|(name, at)| (name.as_bytes(), *at)).collect(),
                        is_complete: covered.is_complete,
                    },
                };
                self.lanes.deliver(from, patterned);
            }
            Request::Unpattern { pattern, format } => {
                let shard = from;
                let interest = Interest { shard, format };
                let pattern = pattern_of(pattern);
                self.engine.homes.home.remove_pattern(interest, &pattern);
            }
            Request::Reach {
                topic,
                after,
                ticket,
                index,
            } => {
                let reach = self.engine.reach(text(topic), after, self.now);
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
                enters,
            } => self.note_presence(text(topic), text(user), enters),
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
                since,
                limit,
                ticket,
            } => {
                let kept = self
                    .engine
                    .history(text(topic), since, limit as usize, self.now);
                let kept = Box::new(kept);
                self.lanes.deliver(from, Delivery::History { ticket, kept });
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
        // A task waits where it is, and the requests of others go on.
        if result == PublishResult::Busy && receipt.is_none() {
            return Taken::Stalled;
        }
        if let Some((asker, id)) = reply {
            self.lanes
                .deliver(from, Delivery::Published { asker, id, result });
        }
        Taken::Done
    }

    /// Takes what the home `from` sends.
    pub fn delivery(&mut self, from: ShardId, delivery: Delivery<&[u8]>) {
        match delivery {
            Delivery::Append {
                home,
                format,
                offsets,
                frame,
                receipt,
            } => {
                let readers = &mut self.engine.readers;
                let mut members = 0;
                if let Some(topic) = readers.interests.local(from, home, format) {
                    let appended = readers.append(topic, format, frame, offsets);
                    members = appended.members;
                    if appended.is_group_full {
                        self.close_group(topic);
                    }
                }
                self.counters.deliveries.add(members as u64);
                if let Some(receipt) = receipt {
                    self.sign(receipt, members);
                }
            }
            Delivery::Appeared(announced) | Delivery::Interested(announced) => {
                self.take_announced(from, announced);
            }
            Delivery::Patterned {
                ticket,
                index,
                covered,
            } => {
                self.take_covered(ticket, index, &covered.map(text));
                self.settle(ticket);
            }
            Delivery::Forgotten {
                topic: name,
                format,
            } => self.take_forgotten(from, text(name), format),
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
            Delivery::History { ticket, kept } => {
                self.tell(Asker::Task(ticket), Outcome::History(kept));
            }
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

    /// A topic of another home arrives from now on.
    fn take_announced(&mut self, from: ShardId, announced: Announced<&[u8]>) {
        let Announced {
            home,
            topic: name,
            format,
            position,
        } = announced;
        let readers = &mut self.engine.readers;
        let Some(topic) = readers.hub.open(text(name)) else {
            // Too many topics here: the home need not send this one.
            self.counters.limited(Limited::Topics);
            let topic = name;
            return self.ask(from, Request::Disinterest { topic, format });
        };
        if readers.interests.standing(topic, format) == Standing::Closing {
            // Said before the home heard that the interest is taken back; that it has been forgotten
            // is still to come.
            return;
        }
        readers.interests.name(from, home, topic, position.epoch);
        readers.interests.set(topic, format, Standing::Live);
        readers.hub.begin(topic, format, position.offset);
        if format.gather == Gather::Merge {
            self.locate_part(topic, position);
        }
        self.settle_topic(topic, format, position);
        // The peer that asked may have left while the answer was on its way.
        self.engine.tickets.note_vacant(topic, format);
    }

    /// A home has forgotten that this place is interested in a topic.
    fn take_forgotten(&mut self, from: ShardId, name: &str, format: FormatId) {
        let readers = &mut self.engine.readers;
        let Some(topic) = readers.hub.find(name) else {
            return;
        };
        readers.interests.set(topic, format, Standing::None);
        let is_unwanted = !readers.interests.has_any(topic, &self.engine.formats);
        if is_unwanted {
            readers.interests.unname(from, topic);
        }
        if readers.is_wanted(topic, format) {
            return self.ask_interest(from, topic, name, format);
        }
        readers.lose(topic, format);
        // The peers that came meanwhile have left again, and are told what they asked for.
        self.settle_topic(topic, format, Position::default());
        if is_unwanted {
            self.engine.readers.close_topic(topic);
        }
    }

    /// Sends a page of a topic's history to the place of the peer that missed it.
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

fn pattern_of(bytes: &[u8]) -> Pattern {
    Pattern::parse(text(bytes)).expect("it was put as a pattern")
}
