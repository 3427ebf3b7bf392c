//! Sizes in bytes as they are written: `"64B"`, `"16KiB"`, `"1MiB"`, `"2GiB"`.

use super::units::{self, Units};

/// 1024 bytes.
pub const KIB: usize = 1 << 10;
/// 1024 KiB.
pub const MIB: usize = 1 << 20;
/// 1024 MiB.
pub const GIB: usize = 1 << 30;

/// Reads a whole number followed by its unit, without a space.
///
/// `None` for anything else. Only binary units: `MB` is read as two different
/// numbers by two people, so it is not read at all.
pub(super) fn parse(text: &str) -> Option<usize> {
    units::parse(text, UNITS)?.try_into().ok()
}

/// Writes `bytes` in its largest whole unit.
pub(super) fn show(bytes: usize) -> String {
    units::show(bytes as u64, UNITS, "B")
}

/// Unit names and their bytes, smallest first.
const UNITS: Units = &[
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<usize>) {
        assert_eq!(parse(text), expected, "{text:?}");
    }

    #[test]
    fn every_unit_is_read() {
        check("0B", Some(0));
        check("64B", Some(64));
        check("16KiB", Some(16_384));
        check("1MiB", Some(1_048_576));
        check("2GiB", Some(2_147_483_648));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "", "B", "64", "64 B", " 64B", "-1B", "+1B", "1.5KiB", "1MB", "1kb", "1kib", "1KiB1B",
            "0x10B",
        ] {
            check(text, None);
        }
        check("18446744073709551616B", None);
        check("18446744073709551615KiB", None);
    }

    #[test]
    fn the_largest_whole_unit_is_written() {
        assert_eq!(show(0), "0B");
        assert_eq!(show(1_536), "1536B");
        assert_eq!(show(GIB), "1GiB");
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(bytes: usize) {
            prop_assert_eq!(parse(&show(bytes)), Some(bytes));
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = parse(&text);
        }
    }
}
