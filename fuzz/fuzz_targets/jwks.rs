//! Whatever an issuer publishes, its keys are few, have ids that differ, and none is a key of two algorithms.

use std::collections::HashSet;

use fanfare::auth::KeySet;
use fanfare::config::TokenAlgorithm;

pub fn run(input: &[u8]) {
    assert!(KeySet::parse(TokenAlgorithm::Hs256, input).is_err());
    let algorithms = [
        TokenAlgorithm::Rs256,
        TokenAlgorithm::Es256,
        TokenAlgorithm::EdDsa,
    ];
    let sets = algorithms.map(|algorithm| KeySet::parse(algorithm, input));
    let used: usize = sets.iter().flatten().map(KeySet::len).sum();
    for set in sets.iter().flatten() {
        let ids: HashSet<&str> = set.ids().collect();
        assert!(ids.len() == set.len() || set.len() == 1);
        assert!(ids.iter().all(|id| (1..=128).contains(&id.len())));
        // What one algorithm uses, the others do not.
        let given = set.len() + set.unused.len();
        assert!(used <= given && given <= KeySet::LEN_MAX);
    }
}
