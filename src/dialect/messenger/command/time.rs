//! Times as the command `get_time` writes them.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A time in milliseconds since the Unix epoch, in UTC.
pub(super) fn rfc3339(wall_ms: u64) -> String {
    timestamp(wall_ms).to_string()
}

/// The time in a zone, and the zone's name. The format is a layout of Go's `time` (`2006-01-02 15:04:05`), one of
/// `strftime`, or empty for RFC 3339.
///
/// # Errors
/// The zone is not known, or the format cannot be written.
pub(super) fn in_zone(wall_ms: u64, format: &str, zone: &str) -> Result<(String, String), String> {
    if format.len() > FORMAT_BYTES_MAX {
        return Err(format!(
            "invalid params: `format` has more than {FORMAT_BYTES_MAX} bytes"
        ));
    }
    let zone = match zone {
        "UTC" => TimeZone::UTC,
        zone => TimeZone::get(zone).map_err(|_| format!("unknown time zone {zone}"))?,
    };
    let name = zone.iana_name().unwrap_or("UTC").to_owned();
    let time = timestamp(wall_ms).to_zoned_datetime(zone);
    let is_utc = time.offset().is_zero();
    let pattern = match format {
        "" => from_layout(RFC3339, is_utc),
        format if format.contains('%') => format.to_owned(),
        layout => from_layout(layout, is_utc),
    };
    let written = jiff::fmt::strtime::format(&pattern, &time);
    let written = written.map_err(|why| format!("invalid params: `format`: {why}"))?;
    Ok((written, name))
}

/// Bytes of a format.
const FORMAT_BYTES_MAX: usize = 128;

fn timestamp(wall_ms: u64) -> Timestamp {
    let wall_ms = i64::try_from(wall_ms).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(wall_ms).unwrap_or(Timestamp::MAX)
}

/// The elements of a layout, a longer one before its beginnings, and what they are in a pattern of `strftime`.
const ELEMENTS: [(&str, &str); 28] = [
    ("Monday", "%A"),
    ("Mon", "%a"),
    ("January", "%B"),
    ("Jan", "%b"),
    ("MST", "%Z"),
    ("2006", "%Y"),
    ("-07:00", "%:z"),
    ("Z07:00", "%:z"),
    ("-0700", "%z"),
    (".000000000", ".%9f"),
    (".000000", ".%6f"),
    (".000", ".%3f"),
    ("002", "%j"),
    ("01", "%m"),
    ("02", "%d"),
    ("03", "%I"),
    ("04", "%M"),
    ("05", "%S"),
    ("06", "%y"),
    ("15", "%H"),
    ("PM", "%p"),
    ("pm", "%P"),
    ("_2", "%e"),
    ("1", "%-m"),
    ("2", "%-d"),
    ("3", "%-I"),
    ("4", "%-M"),
    ("5", "%-S"),
];

/// The layout of RFC 3339.
const RFC3339: &str = "2006-01-02T15:04:05Z07:00";

fn from_layout(layout: &str, is_utc: bool) -> String {
    let (mut pattern, mut rest) = (String::new(), layout);
    while let Some(next) = rest.chars().next() {
        let element = ELEMENTS.iter().find(|(name, _)| rest.starts_with(name));
        let len = match element {
            Some((name, written)) => {
                // A zone without an offset may be a letter.
                pattern.push_str(if is_utc && name.starts_with('Z') {
                    "Z"
                } else {
                    written
                });
                name.len()
            }
            None => {
                pattern.push(next);
                next.len_utf8()
            }
        };
        rest = &rest[len..];
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_as_asked_for() {
        let at = 1_735_787_045_678;
        for (format, zone, expected) in [
            ("", "UTC", "2025-01-02T03:04:05Z"),
            ("2006-01-02 15:04:05", "UTC", "2025-01-02 03:04:05"),
            ("Mon Jan 02 03:04 PM", "UTC", "Thu Jan 02 03:04 AM"),
            ("%d.%m.%Y", "UTC", "02.01.2025"),
            ("15:04:05.000", "UTC", "03:04:05.678"),
            ("at", "UTC", "at"),
            ("3:04PM", "UTC", "3:04AM"),
            (
                "Jan 2, 2006 at 3:04pm (MST)",
                "UTC",
                "Jan 2, 2025 at 3:04am (UTC)",
            ),
            ("Jan _2 15:04:05", "UTC", "Jan  2 03:04:05"),
            ("2006-1-2", "UTC", "2025-1-2"),
            ("2006-01-02T15:04:05Z07:00", "UTC", "2025-01-02T03:04:05Z"),
        ] {
            let (written, _) = in_zone(at, format, zone).unwrap();
            assert_eq!(written, expected, "{format}");
        }
        assert_eq!(rfc3339(at), "2025-01-02T03:04:05.678Z");
        let unknown = in_zone(at, "", "Atlantis/Capital");
        assert_eq!(
            unknown,
            Err("unknown time zone Atlantis/Capital".to_owned())
        );
        assert!(in_zone(at, "%!", "UTC").is_err());
        assert!(in_zone(at, &"x".repeat(129), "UTC").is_err());
        assert!(in_zone(u64::MAX, "", "UTC").is_ok());
    }
}
