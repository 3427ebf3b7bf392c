//! The mapping of topics to their home shards.

use crate::id::ShardId;

/// The home of a topic, seen from one shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// This shard.
    Here,
    /// Another shard of this process.
    Shard(ShardId),
}

/// The home of `topic`, seen from shard `here` of `shards`; the same on every shard of a process. The only function
/// that decides this.
///
/// Cost: one multiplication for each byte of the name.
#[must_use]
pub fn home_of(topic: &str, here: ShardId, shards: u16) -> Place {
    // FNV-1a: stable, and a few nanoseconds for a name. It resists no chosen names, but names that hash to one shard
    // gain an attacker nothing over publishing to one topic.
    let hash = topic.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mixed = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let shard = (u128::from(mixed) * u128::from(shards)) >> 64;
    let shard = ShardId(u16::try_from(shard).expect("below the number of shards"));
    if shard == here {
        Place::Here
    } else {
        Place::Shard(shard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn homes_are_spread_evenly_and_all_shards_agree() {
        for shards in [1_u16, 2, 3, 8, 64] {
            let mut counts = vec![0_u32; usize::from(shards)];
            for topic in 0..10_000 {
                let topic = format!("topic.{topic}");
                let Place::Shard(home) = home_of(&topic, ShardId(shards), shards) else {
                    panic!("it is none of the shards");
                };
                counts[home.index()] += 1;
                assert_eq!(home_of(&topic, home, shards), Place::Here);
            }
            let mean = 10_000 / u32::from(shards);
            assert!(
                counts.iter().all(|&n| n > mean / 2 && n < mean * 2),
                "{counts:?}"
            );
        }
    }
}
