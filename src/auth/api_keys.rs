//! API keys of services, stored as hashes.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};

use crate::config::{Auth, KeyHash, Secret};

/// The API keys that services may use.
///
/// A plain hash suffices for random keys: a dictionary attack finds nothing.
#[derive(Debug, Clone)]
pub struct ApiKeys {
    hashes: Box<[KeyHash]>,
}

impl ApiKeys {
    /// Limit of a key in bytes. A longer one is refused before it is hashed.
    pub const KEY_LEN_MAX: usize = 1024;

    /// The keys that `auth` configures; without any, every key is refused.
    pub fn new(auth: &Auth) -> Self {
        Self {
            hashes: auth.api_keys.clone().into_boxed_slice(),
        }
    }

    /// A set of this key, or an empty one.
    pub fn only(key: Option<&Secret>) -> Self {
        let hash = |key: &Secret| {
            let hash = digest(&SHA256, key.expose());
            KeyHash(hash.as_ref().try_into().expect("SHA-256 has 32 bytes"))
        };
        Self {
            hashes: key.map(hash).into_iter().collect(),
        }
    }

    /// Whether no key is configured.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Whether `key` is one of the keys.
    ///
    /// Cost: one SHA-256 and one comparison per configured key, whether or not one matches, so that the time
    /// reveals nothing about the keys.
    pub fn check(&self, key: &str) -> bool {
        if key.len() > Self::KEY_LEN_MAX {
            return false;
        }
        let hash = digest(&SHA256, key.as_bytes());
        let equal = |known: &KeyHash| verify_slices_are_equal(&known.0, hash.as_ref()).is_ok();
        self.hashes
            .iter()
            .fold(false, |found, known| found | equal(known))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Mode};

    /// `printf %s service-one | sha256sum`, and of `service-two`.
    const HASHES: [&str; 2] = [
        "086979192a9eb5778177b2ff2c72b37d7c0e01201664c524db2b3778320b1e8d",
        "02bc969c6593cd92362124e18bb20da0624297f5610a7687e064540536d602f3",
    ];

    fn keys(hashes: &[&str]) -> ApiKeys {
        let api_keys = hashes
            .iter()
            .map(|hash| KeyHash::parse(&format!("sha256:{hash}")).unwrap())
            .collect();
        ApiKeys::new(&Auth {
            api_keys,
            ..Config::for_mode(Mode::Prod).auth
        })
    }

    #[test]
    fn every_configured_key_is_accepted_and_no_other() {
        let keys = keys(&HASHES);
        assert!(keys.check("service-one"));
        assert!(keys.check("service-two"));
        for wrong in ["", "service-on", "service-one ", "SERVICE-ONE", HASHES[0]] {
            assert!(!keys.check(wrong), "{wrong:?}");
        }
    }

    #[test]
    fn without_keys_none_is_accepted() {
        assert!(!keys(&[]).check(""));
        assert!(!keys(&[]).check("service-one"));
    }

    /// Welch's t-test of two classes of keys: unrelated to a known key, and equal to it except in the last byte.
    /// Both are refused, and the times must not differ.
    #[test]
    #[ignore = "measures time for some seconds: wants a quiet machine and an optimised build"]
    fn a19_the_time_of_a_refusal_says_nothing_of_the_key() {
        let keys = keys(&HASHES);
        let classes = ["xxxxxxxxxxx", "service-onf"];
        let mut samples = Vec::with_capacity(1_000_000);
        let (mut state, mut key) = (1_u32, String::new());
        for _ in 0..samples.capacity() {
            // Random order and memory: alternation would pick up periodic noise, and fixed addresses their own timing.
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let class = (state >> 31) as usize;
            key.clear();
            key.push_str(classes[class]);
            let began = std::time::Instant::now();
            assert!(!std::hint::black_box(
                keys.check(std::hint::black_box(&key))
            ));
            samples.push((began.elapsed().as_nanos() as f64, class));
        }
        // Outliers come from interruptions, not from the code.
        let mut times: Vec<f64> = samples.iter().map(|(time, _)| *time).collect();
        times.sort_by(f64::total_cmp);
        let longest = times[times.len() * 99 / 100];
        samples.retain(|(time, _)| *time <= longest);
        let [a, b] = [0, 1].map(|class| {
            let times = || {
                samples
                    .iter()
                    .filter(|sample| sample.1 == class)
                    .map(|sample| sample.0)
            };
            let count = times().count() as f64;
            let mean = times().sum::<f64>() / count;
            let variance = times().map(|time| (time - mean).powi(2)).sum::<f64>() / count;
            (mean, variance / count)
        });
        let t = (a.0 - b.0) / (a.1 + b.1).sqrt();
        assert!(t.abs() < 4.5, "t = {t}: {a:?} {b:?}");
    }

    #[test]
    fn a_key_of_10_mb_is_refused_unhashed() {
        assert!(!keys(&HASHES).check(&"x".repeat(10_000_000)));
    }
}
