//! Sets of processors and memory nodes as the kernel writes them.

use std::fmt::Write;

/// The numbers in a list as `0-3,8`; `None` when it is none. Never more than the kernel can have.
pub(super) fn parse(list: &str) -> Option<Vec<usize>> {
    let mut numbers = Vec::new();
    for part in list.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if first > last || last >= PROCESSORS_MAX {
            return None;
        }
        numbers.extend(first..=last);
    }
    Some(numbers)
}

/// The mask of `processors`, as `rps_cpus` takes it: hexadecimal, a comma between words of 32 bits.
pub(super) fn mask(processors: &[usize]) -> String {
    let words = processors.iter().max().map_or(1, |max| max / 32 + 1);
    let mut mask = vec![0_u32; words];
    for &processor in processors {
        mask[processor / 32] |= 1 << (processor % 32);
    }
    let mut text = String::new();
    for (at, word) in mask.iter().rev().enumerate() {
        let _ = match at {
            0 => write!(text, "{word:x}"),
            _ => write!(text, ",{word:08x}"),
        };
    }
    text
}

/// More than Linux can be built for.
const PROCESSORS_MAX: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read() {
        for (list, expected) in [
            ("0", Some(vec![0])),
            ("0-3,8", Some(vec![0, 1, 2, 3, 8])),
            ("", Some(vec![])),
            ("3-1", None),
            ("0-99999999999", None),
            ("a", None),
        ] {
            assert_eq!(parse(list), expected, "{list}");
        }
    }

    #[test]
    fn masks_are_words_of_32_bits() {
        assert_eq!(mask(&[0, 1, 2, 3]), "f");
        assert_eq!(mask(&[0, 33]), "2,00000001");
        assert_eq!(mask(&[]), "0");
    }
}
