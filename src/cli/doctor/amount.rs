//! Numbers for people.

/// `number` with commas between thousands.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `bytes` in the largest unit of which there is at least one, with a decimal below ten.
pub(super) fn size(bytes: u64) -> String {
    let mut unit = 0;
    while unit + 1 < UNITS.len() && bytes >> (10 * (unit + 1)) > 0 {
        unit += 1;
    }
    let whole = bytes >> (10 * unit);
    // Of a unit the tenth part, rounded down: limits are not told larger than they are.
    let tenths = ((bytes - (whole << (10 * unit))) * 10) >> (10 * unit);
    match tenths {
        _ if whole >= 10 || unit == 0 => format!("{} {}", grouped(whole), UNITS[unit]),
        0 => format!("{whole} {}", UNITS[unit]),
        _ => format!("{whole}.{tenths} {}", UNITS[unit]),
    }
}

/// `count` of something, whose name gets an s when there is not exactly one.
pub(super) fn counted(count: usize, name: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {name}{plural}", grouped(count as u64))
}

/// `needed` with a reserve: the next power of two, where there is one.
pub(super) fn rounded_up(needed: u64) -> u64 {
    needed.checked_next_power_of_two().unwrap_or(needed)
}

const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        for (number, expected) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_048_576, "1,048,576"),
        ] {
            assert_eq!(grouped(number), expected);
        }
    }

    #[test]
    fn sizes_are_rounded_down() {
        for (bytes, expected) in [
            (0, "0 B"),
            (1023, "1,023 B"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (10 * 1024 + 1023, "10 KiB"),
            (24_669_168 * 1024, "23 GiB"),
            (u64::MAX, "16,383 PiB"),
        ] {
            assert_eq!(size(bytes), expected);
        }
    }

    #[test]
    fn what_is_needed_is_rounded_up_as_far_as_numbers_go() {
        for (needed, expected) in [(0, 1), (65, 128), (128, 128), (u64::MAX, u64::MAX)] {
            assert_eq!(rounded_up(needed), expected);
        }
    }

    #[test]
    fn one_is_not_many() {
        assert_eq!(counted(1, "shard"), "1 shard");
        assert_eq!(counted(0, "shard"), "0 shards");
    }
}
