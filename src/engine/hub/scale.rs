//! The cost of very many topics and subscriptions, counted in steps.

use crate::engine::model::encoder::PLAIN;
use std::io::IoSlice;

use super::*;
use crate::config::SlowConsumer;

const TOPICS: u32 = 50_000;
const FEW: usize = 100;
const JSON: FormatId = PLAIN;

/// Sockets that accept everything and record it.
#[derive(Default)]
struct Taken(Vec<u8>);

impl Sink for Taken {
    fn write(&mut self, _: Slot, bytes: &[IoSlice<'_>]) -> Written {
        let before = self.0.len();
        bytes
            .iter()
            .for_each(|slice| self.0.extend_from_slice(slice));
        Written::Bytes(self.0.len() - before)
    }
}

fn hub() -> Hub {
    let limits = HubLimits {
        topics_max: 1_000_000,
        memory_max: 1 << 30,
        log_bytes_max: 1 << 20,
        backlog_bytes_max: 1 << 20,
        few_members_max: FEW,
        outbox: OutboxLimits {
            bytes_max: 1 << 20,
            messages_max: 1000,
        },
    };
    let policy = Policy {
        slow: SlowConsumer::Disconnect,
        lag_bytes_max: 1 << 20,
        lag_messages_max: 0,
        priority: Priority::Normal,
    };
    Hub::new(limits, Policies::new(policy, []))
}

fn open(hub: &mut Hub, number: u32) -> TopicId {
    hub.open(&format!("a.{number}")).unwrap()
}

#[test]
fn a_small_topic_does_not_wait_until_a_large_one_is_written() {
    let mut hub = hub();
    let (large, small) = (open(&mut hub, 1), open(&mut hub, 2));
    let crowd: Vec<PeerId> = (0..1000).map(|_| hub.join(JSON, UserKey::NONE)).collect();
    for peer in &crowd {
        let _ = hub.subscribe(peer.slot, large);
    }
    let own = hub.join(JSON, UserKey::NONE);
    // One member of the large topic is in the small one, too.
    for slot in [own.slot, crowd[999].slot] {
        let _ = hub.subscribe(slot, small);
    }
    hub.append(large, JSON, Frame::new(b"l", 1));
    let mut taken = Taken::default();
    assert_eq!(hub.flush(&mut taken, 0, 10, usize::MAX), Flush::More);
    assert_eq!(taken.0, b"l".repeat(10));
    hub.append(large, JSON, Frame::new(b"L", 2));
    hub.append(small, JSON, Frame::new(b"s", 1));
    assert_eq!(hub.flush(&mut taken, 0, 4, usize::MAX), Flush::More);
    let written = String::from_utf8(taken.0.split_off(10)).unwrap();
    assert_eq!(written.matches('s').count(), 2, "{written}");
    assert_eq!(hub.flush(&mut taken, 0, 5000, usize::MAX), Flush::More);
    assert_eq!(hub.flush(&mut taken, 0, 5000, usize::MAX), Flush::Done);
    let count = |byte| taken.0.iter().filter(|&&taken| taken == byte).count();
    // Members of the large topic written early got only its first message.
    assert_eq!(10 + count(b'l') + written.matches('l').count(), 1010);
    assert_eq!(count(b'L') + written.matches('L').count(), 1000);
}

#[test]
fn a_small_topic_and_a_large_one_are_served_while_private_output_never_ends() {
    let mut hub = hub();
    let (large, small) = (open(&mut hub, 1), open(&mut hub, 2));
    for _ in 0..=FEW {
        let peer = hub.join(JSON, UserKey::NONE);
        let _ = hub.subscribe(peer.slot, large);
    }
    let reader = hub.join(JSON, UserKey::NONE);
    let _ = hub.subscribe(reader.slot, small);
    let asking: Vec<PeerId> = (0..200).map(|_| hub.join(JSON, UserKey::NONE)).collect();
    hub.append(small, JSON, Frame::new(b"s", 1));
    hub.append(large, JSON, Frame::new(b"l", 1));
    let (mut taken, mut flushes) = (Taken::default(), 0);
    let count = |taken: &Taken, byte| taken.0.iter().filter(|&&taken| taken == byte).count();
    while count(&taken, b's') + count(&taken, b'l') < 1 + FEW + 1 {
        for peer in &asking {
            let _ = hub.send(peer.slot, Priority::High, b"p");
        }
        assert_eq!(hub.flush(&mut taken, 0, 60, usize::MAX), Flush::More);
        flushes += 1;
        // The small topic in the first flush, a third of the large one in each.
        assert_eq!(count(&taken, b's'), 1);
    }
    assert!(flushes <= (FEW + 1).div_ceil(20), "{flushes} flushes");
}

#[test]
fn a_flush_ends_early_after_so_many_bytes() {
    let mut hub = hub();
    let topic = open(&mut hub, 1);
    for _ in 0..10 {
        let peer = hub.join(JSON, UserKey::NONE);
        let _ = hub.subscribe(peer.slot, topic);
    }
    hub.append(topic, JSON, Frame::new(b"0123456789", 1));
    let mut taken = Taken::default();
    assert_eq!(hub.flush(&mut taken, 0, 100, 25), Flush::More);
    assert_eq!(taken.0.len(), 30);
    assert_eq!(hub.flush(&mut taken, 0, 100, 1000), Flush::Done);
    assert_eq!(taken.0.len(), 100);
}

#[test]
fn m07_very_many_topics_of_one_peer_join_and_leave_with_a_step_each() {
    let mut hub = hub();
    let peer = hub.join(JSON, UserKey::NONE);
    let topics: Vec<TopicId> = (0..TOPICS).map(|number| open(&mut hub, number)).collect();
    for &topic in &topics {
        assert_eq!(hub.subscribe(peer.slot, topic), Subscribed::First);
    }
    assert_eq!(hub.subscription_count(), TOPICS as usize);
    assert!(hub.peers[peer.slot.index()].is_mapped());
    for &topic in &topics {
        assert_eq!(hub.subscribe(peer.slot, topic), Subscribed::Covered);
        assert_eq!(hub.unsubscribe(peer.slot, topic), Unsubscribed::Covered);
        // Every topic has something to write when it is left.
        hub.append(topic, JSON, Frame::new(b"x", 1));
    }
    assert_eq!(
        hub.flush(&mut Taken::default(), 0, 0, usize::MAX),
        Flush::More
    );
    for &topic in &topics {
        assert_eq!(hub.unsubscribe(peer.slot, topic), Unsubscribed::Left);
    }
    assert_eq!(hub.subscription_count(), 0);
    let mut taken = Taken::default();
    assert_eq!(hub.flush(&mut taken, 0, 10, usize::MAX), Flush::Done);
    assert!(taken.0.is_empty(), "given up before it was written");
}

#[test]
fn m10_memberships_take_half_of_the_memory_and_logs_the_rest() {
    let mut hub = hub();
    hub.limits.memory_max = 1000 * MEMBER_BYTES;
    let topic = open(&mut hub, 1);
    let mut peers = Vec::new();
    while hub.has_room_for_members() {
        let peer = hub.join(JSON, UserKey::NONE);
        let _ = hub.subscribe(peer.slot, topic);
        peers.push(peer);
    }
    assert_eq!((peers.len(), hub.memory_max()), (500, 500 * MEMBER_BYTES));
    hub.leave(peers[0]);
    assert!(hub.has_room_for_members());
    hub.leave(peers[1]);
    assert_eq!(hub.memory_max(), 502 * MEMBER_BYTES);
}

#[test]
fn m07_topics_that_go_leave_nothing_behind_and_others_take_their_numbers() {
    let mut hub = hub();
    let peer = hub.join(JSON, UserKey::NONE);
    for round in 0..20_u32 {
        let topics: Vec<TopicId> = (0..2000)
            .map(|number| open(&mut hub, round * 2000 + number))
            .collect();
        for (index, &topic) in topics.iter().enumerate() {
            assert_eq!(hub.subscribe(peer.slot, topic), Subscribed::First);
            hub.append(topic, JSON, Frame::new(b"old ", 1));
            // Closed while in both lists, in one of them, or in none.
            match index % 3 {
                0 => assert_eq!(
                    hub.flush(&mut Taken::default(), 0, 10, usize::MAX),
                    Flush::Done
                ),
                1 if index % 300 == 1 => hub.free_unused(),
                _ => {}
            }
            assert!(!hub.close_topic(topic), "it has a member");
            assert_eq!(hub.unsubscribe(peer.slot, topic), Unsubscribed::Left);
            assert!(hub.close_topic(topic));
            if index % 5 == 0 {
                // A new topic may reuse the numbers at once.
                let next = hub.open("next").unwrap();
                assert_eq!(hub.subscribe(peer.slot, next), Subscribed::First);
                hub.append(next, JSON, Frame::new(b"new", 1));
                let mut taken = Taken::default();
                assert_eq!(hub.flush(&mut taken, 0, 10, usize::MAX), Flush::Done);
                assert_eq!(taken.0, b"new");
                assert_eq!(hub.unsubscribe(peer.slot, next), Unsubscribed::Left);
                assert!(hub.close_topic(next));
            }
        }
        assert!(!hub.is_backlogged());
        assert_eq!(
            hub.flush(&mut Taken::default(), 0, 10, usize::MAX),
            Flush::Done
        );
        hub.free_unused();
        assert_eq!(
            (hub.streams.len(), hub.topic_count(), hub.held()),
            (0, 0, 0)
        );
        assert!(hub.dirty.iter().all(Vec::is_empty) && hub.warm.is_empty());
    }
}

#[test]
fn m07_a_flood_of_topics_gives_its_memory_back() {
    let mut hub = hub();
    let all: Vec<TopicId> = (0..TOPICS).map(|number| open(&mut hub, number)).collect();
    hub.free_unused();
    for topic in all {
        assert!(hub.close_topic(topic));
    }
    hub.free_unused();
    assert!(hub.names.capacity() < 1024 && hub.topics.capacity() < 1024);
}
