//! Index and value streams made by hand: the caller chooses what a writer would choose.

use crate::prefix_code;
pub use crate::prefix_code::even_lengths;

/// LEB128 in its shortest form.
pub fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    bytes.push(value.to_le_bytes()[0]);
    bytes
}

/// Numbers of four bytes.
pub fn f32s(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// The upper halves of numbers whose lower halves are zero.
///
/// # Panics
///
/// If a number is no bf16.
pub fn bf16s(numbers: &[f32]) -> Vec<u8> {
    let upper = |number: &f32| {
        assert!(number.to_bits() & 0xFFFF == 0, "{number} is no bf16");
        let [_, _, third, fourth] = number.to_le_bytes();
        [third, fourth]
    };
    numbers.iter().flat_map(upper).collect()
}

/// The patterns of binary16.
pub fn f16s(patterns: &[u16]) -> Vec<u8> {
    patterns.iter().flat_map(|pattern| pattern.to_le_bytes()).collect()
}

/// Levels with the code lengths of those from `first` on, and the scale of each block.
///
/// # Panics
///
/// If the lengths are not complete, or a level has no code.
pub fn levels(first: i8, lengths: &[u8], scales: &[f32], levels: &[i8]) -> Vec<u8> {
    let last = i16::from(first) + i16::try_from(lengths.len()).expect("at most 255") - 1;
    let mut table = Bits::default();
    table.lengths(lengths);
    let mut codes = Bits::default();
    for &level in levels {
        codes.symbol(lengths, usize::try_from(i16::from(level) - i16::from(first)).expect("from the first on"));
    }
    let ends = [first.to_le_bytes()[0], last.to_le_bytes()[0]];
    [&ends[..], &table.finish(), &f32s(scales), &codes.finish()].concat()
}

/// Blocks of a scale and its codes.
pub fn int8(blocks: &[(f32, &[i8])]) -> Vec<u8> {
    let block = |(scale, codes): &(f32, &[i8])| {
        let codes: Vec<u8> = codes.iter().flat_map(|code| code.to_le_bytes()).collect();
        [scale.to_le_bytes().to_vec(), codes].concat()
    };
    blocks.iter().flat_map(block).collect()
}

/// Ascending numbers, Rice-coded; one parameter for each block of 256.
///
/// # Panics
///
/// If the numbers do not ascend, or there are not as many parameters as blocks.
pub fn rice_coded(parameters: &[u32], numbers: &[u64]) -> Vec<u8> {
    let mut bits = Bits::default();
    bits.rice_coded(parameters, numbers);
    bits.finish()
}

/// A granule mask: the size of a granule, then the granules present, Rice-coded.
pub fn granule_mask(granule_elements: u64, parameters: &[u32], granules: &[u64]) -> Vec<u8> {
    [varint(granule_elements), varint(granules.len() as u64), rice_coded(parameters, granules)].concat()
}

/// One bit for each element.
pub fn bitmap(element_count: u64, indices: &[u64]) -> Vec<u8> {
    let mut bits = Bits::default();
    for index in 0..element_count {
        bits.push(u64::from(indices.contains(&index)), 1);
    }
    bits.finish()
}

/// The bytes of the bitmap as count and rank, the counts in the code of these nine lengths.
///
/// # Panics
///
/// If the lengths are not complete, or a count occurs that has no code.
pub fn counted_bitmap(lengths: [u8; 9], element_count: u64, indices: &[u64]) -> Vec<u8> {
    let mut bits = Bits::default();
    bits.lengths(&lengths);
    for byte in bitmap(element_count, indices) {
        let ones = byte.count_ones();
        bits.symbol(&lengths, ones as usize);
        let alike = (0..=255_u8).filter(|other| other.count_ones() == ones);
        let (smaller, others): (Vec<u8>, Vec<u8>) = alike.partition(|&other| other < byte);
        bits.truncated_binary(smaller.len() as u64, (smaller.len() + others.len()) as u64);
    }
    bits.finish()
}

/// How distances are coded: the head of their stream.
#[derive(Clone, Debug)]
pub struct DistanceTable {
    /// Bits below the leading one that belong to the bucket.
    pub m: u32,
    /// Whether the sign is a bit of its own.
    pub own_sign: bool,
    /// First bucket.
    pub first: u8,
    /// Code lengths, from the first bucket on.
    pub lengths: Vec<u8>,
}

/// Distances with their table.
///
/// # Panics
///
/// If the lengths are not complete, or a distance has no code.
pub fn distances(table: &DistanceTable, distances: &[i64]) -> Vec<u8> {
    let mut bits = Bits::default();
    let per_bucket = if table.own_sign { 1 } else { 2 };
    let last = u64::from(table.first) + (table.lengths.len() / per_bucket) as u64 - 1;
    bits.push(u64::from(table.m) | u64::from(table.own_sign) << 2, 8);
    bits.push(u64::from(table.first), 8);
    bits.push(last, 8);
    bits.lengths(&table.lengths);
    bits.fill_up();
    for &distance in distances {
        let (bucket, low, raw) = split(distance, table.m);
        let place = usize::try_from(bucket - u64::from(table.first)).expect("hand-made tables are small");
        let negative = usize::from(distance < 0);
        bits.symbol(&table.lengths, if table.own_sign { place } else { 2 * place + negative });
        if table.own_sign {
            bits.push(negative as u64, 1);
        }
        bits.push(low, raw);
    }
    bits.finish()
}

/// Bucket, low bits and their number, by the formula of `FORMAT.md` 6.11.
pub fn split(distance: i64, m: u32) -> (u64, u64, u32) {
    let v = distance.unsigned_abs();
    let b = v.ilog2() + 1;
    let raw = (b - 1).saturating_sub(m);
    let bucket = u64::from(b - 1) * (1 << m) + (v >> raw) - (1 << (b - 1 - raw));
    (bucket, v % (1 << raw), raw)
}

/// The sequence of bit fields of `FORMAT.md` section 2.
#[derive(Clone, Debug, Default)]
pub struct Bits {
    bits: Vec<bool>,
}

impl Bits {
    /// Adds an integer of so many bits, the least significant first.
    pub fn push(&mut self, value: u64, count: u32) {
        self.bits.extend((0..count).map(|place| value >> place & 1 == 1));
    }

    /// Adds code lengths of four bits each.
    pub fn lengths(&mut self, lengths: &[u8]) {
        for &length in lengths {
            self.push(u64::from(length), 4);
        }
    }

    /// Adds the code of a symbol, the most significant bit first.
    fn symbol(&mut self, lengths: &[u8], symbol: usize) {
        let codes = prefix_code::codes(lengths).expect("complete lengths");
        let code = codes[symbol].expect("a symbol that occurs");
        let places = (0..lengths[symbol]).rev();
        self.bits.extend(places.map(|place| code >> place & 1 == 1));
    }

    /// Adds a value below `count` in truncated binary.
    fn truncated_binary(&mut self, value: u64, count: u64) {
        let b = count.ilog2();
        let u = (1 << (b + 1)) - count;
        if value < u {
            self.push(value, b);
        } else {
            self.push((value + u) / 2, b);
            self.push((value + u) % 2, 1);
        }
    }

    fn rice_coded(&mut self, parameters: &[u32], numbers: &[u64]) {
        assert_eq!(parameters.len(), numbers.len().div_ceil(256), "one parameter for each block");
        let mut least = 0;
        for (place, &number) in numbers.iter().enumerate() {
            let k = parameters[place / 256];
            if place % 256 == 0 {
                self.push(u64::from(k), 5);
            }
            let gap = number.checked_sub(least).expect("numbers ascend strictly");
            for _ in 0..gap >> k {
                self.push(0, 1);
            }
            self.push(1, 1);
            self.push(gap, k);
            least = number + 1;
        }
    }

    /// Adds zero bits up to a whole byte.
    fn fill_up(&mut self) {
        self.bits.resize(self.bits.len().next_multiple_of(8), false);
    }

    /// The bytes.
    pub fn finish(mut self) -> Vec<u8> {
        self.fill_up();
        let byte = |bits: &[bool]| bits.iter().rev().fold(0, |byte, &bit| byte << 1 | u8::from(bit));
        self.bits.chunks(8).map(byte).collect()
    }
}
