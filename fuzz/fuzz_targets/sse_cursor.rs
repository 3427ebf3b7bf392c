//! A cursor is read or not, whatever it is; what was put is read; and what is not what was put is
//! not believed.

#![no_main]

use fanfare::id::Position;
use fanfare::sse::{CursorKey, EventsRequest};
use libfuzzer_sys::fuzz_target;

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

fuzz_target!(|input: (&[u8], u8, [(u64, u64); 4])| {
    let (text, topics, positions) = input;
    let topics = usize::from(topics) % (NAMES.len() + 1);
    let key = CursorKey::new(b"a secret of no less than thirty-two bytes");
    let scope = key.scope(NAMES[..topics].iter().copied());
    let positions: Vec<Position> = positions[..topics]
        .iter()
        .map(|&(epoch, offset)| Position { epoch, offset })
        .collect();
    let mut cursor = Vec::new();
    key.put(&mut cursor, &scope, positions.iter().copied());
    assert_eq!(key.read(&scope, &cursor), Some(positions));
    if text != cursor {
        assert_eq!(key.read(&scope, text), None);
    }
    if let Ok(query) = str::from_utf8(text) {
        if let Ok(request) = EventsRequest::read(query, Some(text), 50) {
            assert!(request.topics.is_sorted() && (1..=50).contains(&request.topics.len()));
        }
    }
});
