//! Numbers with a unit, as sizes and durations are written.

/// Names of units and what they are worth, the smallest first.
pub(super) type Units = &'static [(&'static str, u64)];

/// Reads a whole number followed by its unit, without a space. `None` for anything else, and beyond 64 bits.
pub(super) fn parse(text: &str, units: Units) -> Option<u64> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let (_, worth) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*worth)
}

/// Writes `number` in its largest whole unit, and 0 in the unit called `zero`.
pub(super) fn show(number: u64, units: Units, zero: &str) -> String {
    let mut whole = units
        .iter()
        .rev()
        .filter(|(_, worth)| number.is_multiple_of(*worth));
    match whole.next().filter(|_| number > 0) {
        Some((name, worth)) => format!("{}{name}", number / worth),
        None => format!("{number}{zero}"),
    }
}
