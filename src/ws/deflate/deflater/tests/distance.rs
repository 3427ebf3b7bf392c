//! The greatest back-reference of a DEFLATE stream (RFC 1951): a decoder that follows the symbols without output,
//! because the inflater supports every window and would not fail.

const LENGTH_EXTRA: [u32; 29] = [
    0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0,
];
const CODE_LENGTH_ORDER: [usize; 19] = [
    16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
];

/// The greatest distance in a flushed stream.
pub(super) fn farthest(stream: &[u8]) -> usize {
    let mut bits = Bits { stream, at: 0 };
    let mut farthest = 0;
    while bits.at + 3 <= stream.len() * 8 {
        bits.take(1);
        match bits.take(2) {
            0 => {
                bits.at = bits.at.next_multiple_of(8);
                let len = bits.take(16);
                bits.at += 16 + 8 * len;
            }
            1 => {
                let literals = [[8; 144].as_slice(), &[9; 112], &[7; 24], &[8; 8]].concat();
                farthest = farthest.max(bits.block(&Code::new(&literals), &Code::new(&[5; 30])));
            }
            2 => {
                let (literals, distances) = bits.codes();
                farthest = farthest.max(bits.block(&literals, &distances));
            }
            _ => panic!("reserved block type"),
        }
    }
    farthest
}

/// A canonical Huffman code: how many codes of each length, and the symbols in order.
struct Code {
    counts: [usize; 16],
    symbols: Vec<usize>,
}

impl Code {
    fn new(lengths: &[usize]) -> Self {
        let mut counts = [0; 16];
        let mut symbols: Vec<usize> = (0..lengths.len()).filter(|s| lengths[*s] > 0).collect();
        symbols
            .iter()
            .for_each(|symbol| counts[lengths[*symbol]] += 1);
        symbols.sort_by_key(|symbol| lengths[*symbol]);
        Self { counts, symbols }
    }
}

struct Bits<'a> {
    stream: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, count: u32) -> usize {
        (0..count).fold(0, |value, bit| {
            let next = usize::from(self.stream[self.at / 8] >> (self.at % 8) & 1);
            self.at += 1;
            value | next << bit
        })
    }

    fn symbol(&mut self, code: &Code) -> usize {
        let (mut value, mut first, mut index) = (0, 0, 0);
        for count in &code.counts[1..] {
            value = value << 1 | self.take(1);
            if value - first < *count {
                return code.symbols[index + value - first];
            }
            index += count;
            first = (first + count) << 1;
        }
        panic!("no such code");
    }

    fn codes(&mut self) -> (Code, Code) {
        let (literals, distances, lengths) =
            (self.take(5) + 257, self.take(5) + 1, self.take(4) + 4);
        let mut order = [0; 19];
        for place in &CODE_LENGTH_ORDER[..lengths] {
            order[*place] = self.take(3);
        }
        let code = Code::new(&order);
        let mut lengths = Vec::new();
        while lengths.len() < literals + distances {
            let (value, repeat) = match self.symbol(&code) {
                16 => (lengths[lengths.len() - 1], 3 + self.take(2)),
                17 => (0, 3 + self.take(3)),
                18 => (0, 11 + self.take(7)),
                length => (length, 1),
            };
            lengths.extend(std::iter::repeat_n(value, repeat));
        }
        (
            Code::new(&lengths[..literals]),
            Code::new(&lengths[literals..]),
        )
    }

    fn block(&mut self, literals: &Code, distances: &Code) -> usize {
        let mut farthest = 0;
        loop {
            match self.symbol(literals) {
                0..256 => {}
                256 => return farthest,
                length => {
                    self.take(LENGTH_EXTRA[length - 257]);
                    let symbol = self.symbol(distances);
                    let extra = (symbol as u32 / 2).saturating_sub(1);
                    let base = if symbol < 4 {
                        symbol
                    } else {
                        (2 + symbol % 2) << extra
                    };
                    farthest = farthest.max(1 + base + self.take(extra));
                }
            }
        }
    }
}
