//! From shard to shard: what a delivery costs on both sides of a lane.
//!
//! On one thread, so that it is the work that is measured and not the caches' way between two cores.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::mpsc;

use criterion::{BenchmarkId, Criterion, Throughput};
use fanfare::bus::{Mesh, Port};
use fanfare::engine::{Delivery, Lanes, Offsets, home_of};
use fanfare::id::{FormatId, Gather, ShardId, TopicId, UserKey};

const FRAME: [u8; 256] = [b'x'; 256];

/// Sends `count` frames, ends the turn, and takes them on the other side.
fn ours(from: &mut Port<()>, to: &Port<()>, count: u64) -> usize {
    for offset in 0..count {
        from.deliver(
            ShardId(1),
            Delivery::Append {
                home: TopicId(7),
                format: FormatId {
                    number: 0,
                    gather: Gather::Each,
                    recovers: true,
                },
                offsets: Offsets::At(offset),
                frame: black_box(&FRAME),
                except: UserKey::NONE,
                receipt: None,
            },
        );
    }
    from.hand_over();
    let mut bytes = 0;
    while let Some(deliveries) = to.next_deliveries(ShardId(0)) {
        deliveries.take_each(|delivery| {
            if let Delivery::Append { frame, .. } = delivery {
                bytes += frame.len();
            }
        });
    }
    bytes
}

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mesh");
    for count in [1_u64, 64, 1024] {
        group.throughput(Throughput::Elements(count));
        group.bench_function(BenchmarkId::new("ours", count), |bencher| {
            let mesh = Mesh::new(2);
            let mut from = Port::new(ShardId(0), Arc::clone(&mesh));
            let to = Port::new(ShardId(1), mesh);
            bencher.iter(|| {
                let bytes = ours(&mut from, &to, count);
                assert_eq!(bytes as u64, count * FRAME.len() as u64);
            });
        });
        group.bench_function(BenchmarkId::new("a channel of Arcs", count), |bencher| {
            let (sender, receiver) = mpsc::channel::<(u64, u64, Arc<[u8]>)>();
            bencher.iter(|| {
                for offset in 0..count {
                    let frame = Arc::from(black_box(FRAME));
                    sender.send((7, offset, frame)).expect("it is read below");
                }
                let bytes: usize = receiver.try_iter().map(|(_, _, frame)| frame.len()).sum();
                black_box(bytes)
            });
        });
    }
    group.finish();
    let mut group = criterion.benchmark_group("mesh/home of a topic");
    group.bench_function("ours", |bencher| {
        bencher.iter(|| home_of(black_box("prices.eur.acme"), ShardId(0), black_box(64)));
    });
    group.finish();
}
