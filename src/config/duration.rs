//! Durations as they are written: `"250us"`, `"10ms"`, `"25s"`, `"5m"`, `"1h"`.

use std::time::Duration;

use super::units::{self, Units};

/// Reads a whole number followed by its unit, without a space.
///
/// `None` for anything else, and for what does not fit 64 bits of microseconds:
/// such a wait would outlive the machine.
pub fn parse(text: &str) -> Option<Duration> {
    units::parse(text, UNITS).map(Duration::from_micros)
}

/// Writes `duration` in its largest whole unit; what is below a microsecond is cut off.
pub(super) fn show(duration: Duration) -> String {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    units::show(micros, UNITS, "s")
}

/// Unit names and their microseconds, smallest first.
const UNITS: Units = &[
    ("us", 1),
    ("ms", 1_000),
    ("s", 1_000_000),
    ("m", 60_000_000),
    ("h", 3_600_000_000),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<Duration>) {
        assert_eq!(parse(text), expected, "{text:?}");
    }

    #[test]
    fn every_unit_is_read() {
        check("0s", Some(Duration::ZERO));
        check("7us", Some(Duration::from_micros(7)));
        check("250ms", Some(Duration::from_millis(250)));
        check("25s", Some(Duration::from_secs(25)));
        check("5m", Some(Duration::from_mins(5)));
        check("1h", Some(Duration::from_hours(1)));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "", "s", "25", "25 s", " 25s", "25s ", "-1s", "+1s", "1.5s", "1s500ms", "25S", "25sec",
            "1d", "٣s",
        ] {
            check(text, None);
        }
        check("18446744073709551616us", None);
        check("18446744073709551615h", None);
    }

    #[test]
    fn the_largest_whole_unit_is_written() {
        assert_eq!(show(Duration::ZERO), "0s");
        assert_eq!(show(Duration::from_millis(1_500)), "1500ms");
        assert_eq!(show(Duration::from_secs(3_600)), "1h");
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(micros: u64) {
            let duration = Duration::from_micros(micros);
            prop_assert_eq!(parse(&show(duration)), Some(duration));
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = parse(&text);
        }
    }
}
