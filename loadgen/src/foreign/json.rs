//! The range of a raw value in the JSON it was parsed from.

use std::ops::Range;

use serde_json::value::RawValue;

/// The range of `value`, which borrows from `text`.
pub(super) fn range_in(text: &[u8], value: &RawValue) -> Range<usize> {
    let start = value.get().as_ptr().addr() - text.as_ptr().addr();
    start..start + value.get().len()
}
