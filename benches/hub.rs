//! The hub without sockets: what a delivery costs by the log and by the outbox.
//!
//! The sink takes everything and counts the bytes, so what is measured is the
//! bookkeeping. The model beside is one queue of shared messages per subscriber, and a write for
//! each. `outbox` is the way of what is for one peer alone.

use std::collections::VecDeque;
use std::hint::black_box;
use std::io::IoSlice;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput};
use fanfare::config::SlowConsumer;
use fanfare::engine::hub::{
    Flush, Frame, Hub, HubLimits, OutboxLimits, Policies, Policy, Sink, Written,
};
use fanfare::id::{FormatId, Gather, PeerId, Priority, Slot, UserKey};

/// A format whose messages are frames.
const JSON: FormatId = FormatId {
    number: 0,
    gather: Gather::Each,
    recovers: true,
};

const SUBSCRIBERS: usize = 1000;
const FRAME: [u8; 256] = [b'x'; 256];

#[derive(Default)]
struct Counting(usize);

impl Sink for Counting {
    fn write(&mut self, _: Slot, bytes: &[IoSlice<'_>]) -> Written {
        let written = bytes.iter().map(|slice| slice.len()).sum();
        self.0 += written;
        Written::Bytes(written)
    }
}

fn hub() -> Hub {
    let limits = HubLimits {
        topics_max: 1 << 20,
        memory_max: 1 << 30,
        log_bytes_max: 1 << 26,
        backlog_bytes_max: 1 << 26,
        few_members_max: 512,
        outbox: OutboxLimits {
            bytes_max: 1 << 24,
            messages_max: 1 << 20,
        },
    };
    let policy = Policy {
        slow: SlowConsumer::Disconnect,
        lag_bytes_max: 1 << 24,
        lag_messages_max: 0,
        priority: Priority::Normal,
    };
    Hub::new(limits, Policies::new(policy, []))
}

fn flush(hub: &mut Hub, sink: &mut Counting) {
    while hub.flush(sink, 0, usize::MAX, usize::MAX) == Flush::More {}
}

pub(crate) fn bench(criterion: &mut Criterion) {
    joined(criterion);
    one_member(criterion);
}

fn joined(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hub/1,000 subscribers");
    for burst in [1_usize, 64, 256] {
        group.throughput(Throughput::Elements((burst * SUBSCRIBERS) as u64));
        group.bench_function(BenchmarkId::new("ours", burst), |bencher| {
            let (mut hub, mut sink) = (hub(), Counting::default());
            let topic = hub.open("t").expect("below the limit");
            for _ in 0..SUBSCRIBERS {
                let peer = hub.join(JSON, UserKey::NONE);
                let _ = hub.subscribe(peer.slot, topic);
            }
            let mut number = 0;
            bencher.iter(|| {
                for _ in 0..burst {
                    number += 1;
                    hub.append(topic, JSON, Frame::new(&FRAME, number));
                }
                flush(&mut hub, &mut sink);
            });
            assert_eq!(sink.0 as u64, number * (FRAME.len() * SUBSCRIBERS) as u64);
        });
        group.bench_function(BenchmarkId::new("outbox", burst), |bencher| {
            let (mut hub, mut sink) = (hub(), Counting::default());
            let peers: Vec<PeerId> = (0..SUBSCRIBERS)
                .map(|_| hub.join(JSON, UserKey::NONE))
                .collect();
            bencher.iter(|| {
                for _ in 0..burst {
                    for peer in &peers {
                        let _ = hub.send(peer.slot, Priority::Normal, &FRAME);
                    }
                }
                flush(&mut hub, &mut sink);
            });
        });
        group.bench_function(BenchmarkId::new("a queue each", burst), |bencher| {
            let mut sink = Counting::default();
            let mut queues: Vec<VecDeque<Arc<[u8]>>> = vec![VecDeque::new(); SUBSCRIBERS];
            bencher.iter(|| {
                for _ in 0..burst {
                    let frame: Arc<[u8]> = Arc::from(FRAME);
                    for queue in &mut queues {
                        queue.push_back(frame.clone());
                    }
                }
                for (slot, queue) in queues.iter_mut().enumerate() {
                    for frame in queue.drain(..) {
                        let _ = sink.write(Slot(slot as u32), &[IoSlice::new(&frame)]);
                    }
                }
                black_box(sink.0)
            });
        });
    }
    group.finish();
}

fn one_member(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hub/1 member a topic");
    group.throughput(Throughput::Elements(SUBSCRIBERS as u64));
    group.bench_function("ours", |bencher| {
        let (mut hub, mut sink, mut number) = (hub(), Counting::default(), 0);
        let topics: Vec<_> = (0..SUBSCRIBERS)
            .map(|index| {
                let topic = hub.open(&format!("t{index}")).expect("below the limit");
                let peer = hub.join(JSON, UserKey::NONE);
                let _ = hub.subscribe(peer.slot, topic);
                topic
            })
            .collect();
        bencher.iter(|| {
            number += 1;
            for &topic in &topics {
                hub.append(topic, JSON, Frame::new(&FRAME, number));
            }
            flush(&mut hub, &mut sink);
        });
    });
    group.bench_function("outbox", |bencher| {
        let (mut hub, mut sink) = (hub(), Counting::default());
        let peers: Vec<PeerId> = (0..SUBSCRIBERS)
            .map(|_| hub.join(JSON, UserKey::NONE))
            .collect();
        bencher.iter(|| {
            for peer in &peers {
                let _ = hub.send(peer.slot, Priority::Normal, &FRAME);
            }
            flush(&mut hub, &mut sink);
        });
    });
    group.finish();
}
