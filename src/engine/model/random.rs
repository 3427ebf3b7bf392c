//! Pseudo-random numbers from a seed.

/// A splitmix64 generator.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub(super) fn below(&mut self, end: u32) -> u32 {
        let share = (u128::from(self.next()) * u128::from(end)) >> 64;
        u32::try_from(share).expect("below a u32")
    }

    /// A small number below `end`.
    pub(super) fn byte(&mut self, end: u8) -> u8 {
        u8::try_from(self.below(u32::from(end))).expect("below a u8")
    }

    /// `true` with this probability in percent.
    pub(super) fn chance(&mut self, percent: u32) -> bool {
        self.below(100) < percent
    }

    /// One of `all`.
    pub(super) fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        let count = u32::try_from(all.len()).expect("short lists");
        all[self.below(count) as usize]
    }
}
