//! A cursor is read or not, whatever it is; what was put is read; and whatever is read is what would be
//! put again, to the byte: there is one text for each list of positions.

use fanfare::id::Position;
use fanfare::sse::{CursorKey, EventsRequest, Scope};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

pub fn run(input: (&[u8], u8, [(u64, u64); 4], u16, u8)) {
    let (text, topics, positions, at, byte) = input;
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
    // The fuzzer has seen cursors made and brings them back, so any text may be one of them.
    check(&key, &scope, text);
    // One character of a cursor changed, or one more.
    let mut changed = cursor.clone();
    match changed.get_mut(usize::from(at) % (cursor.len() + 1)) {
        Some(place) => *place = byte,
        None => changed.push(byte),
    }
    check(&key, &scope, &changed);
    if let Ok(query) = str::from_utf8(text) {
        if let Ok(request) = EventsRequest::read(query, Some(text), 50) {
            assert!(request.topics.is_sorted() && (1..=50).contains(&request.topics.len()));
        }
    }
}

/// What is read of `text` is written as `text`.
fn check(key: &CursorKey, scope: &Scope, text: &[u8]) {
    if let Some(positions) = key.read(scope, text) {
        let mut again = Vec::new();
        key.put(&mut again, scope, positions.into_iter());
        assert_eq!(again, text);
    }
}
