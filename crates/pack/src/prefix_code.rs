//! Canonical prefix codes (Huffman 1952; the canonical form is that of RFC 1951): decode beside encode.
//!
//! Decoding needs no heap: one table answers codes of up to nine bits at once, and the canonical order finds the longer ones.

use crate::bits::mask;
use crate::layout::{CODE_LENGTH_MAX, SYMBOLS_MAX};
use crate::width::{length, low_byte, narrow};

const LENGTHS: usize = 16;
const FAST_BITS: u32 = 9;
const FAST: usize = 512;

/// A complete prefix code of at most 256 symbols.
///
/// Having one tells you: every sequence of bits starts with exactly one code (but where one symbol is all there is).
#[derive(Clone, Copy, Debug)]
pub(crate) struct PrefixCode {
    /// Symbol and length for each value of the next nine bits; a length of 0 where the code is longer.
    fast: [(u8, u8); FAST],
    /// For each length: the first code, how many there are, and where their symbols start in `symbols`.
    lengths: [(u16, u16, u16); LENGTHS],
    /// Symbols by length, then by number.
    symbols: [u8; SYMBOLS_MAX],
}

impl PrefixCode {
    /// The code with these lengths, at most 15 each and 256 in all; none if they are not those of a prefix code.
    pub(crate) fn new(code_lengths: &[u8]) -> Option<Self> {
        let lengths = canonical(code_lengths)?;
        let mut next = lengths;
        let mut code = Self { fast: [(0, 0); FAST], lengths, symbols: [0; SYMBOLS_MAX] };
        for (symbol, &bits) in (0_u8..=u8::MAX).zip(code_lengths).filter(|(_, bits)| **bits != 0) {
            let (codeword, _, place) = next.get_mut(usize::from(bits))?;
            *code.symbols.get_mut(usize::from(*place))? = symbol;
            code.enter(*codeword, symbol, bits);
            *codeword = codeword.wrapping_add(1);
            *place = place.wrapping_add(1);
        }
        Some(code)
    }

    /// The symbol and the length of the code that `window` starts with.
    #[inline(always)]
    pub(crate) fn decode(&self, window: u64) -> Option<(u8, u32)> {
        let (symbol, bits) = *self.fast.get(narrow(window & mask(FAST_BITS)))?;
        if bits != 0 { Some((symbol, u32::from(bits))) } else { self.decode_long(window) }
    }

    #[cold]
    fn decode_long(&self, window: u64) -> Option<(u8, u32)> {
        let mut codeword = 0_u16;
        for (bits, (first, count, place)) in (0_u32..).zip(&self.lengths).skip(1) {
            let bit = window.wrapping_shr(bits.wrapping_sub(1)) & 1;
            codeword = codeword.wrapping_shl(1) | u16::from(low_byte(bit));
            if let Some(rank) = codeword.checked_sub(*first).filter(|rank| rank < count) {
                return self.symbols.get(usize::from(place.wrapping_add(rank))).map(|symbol| (*symbol, bits));
            }
        }
        None
    }

    fn enter(&mut self, codeword: u16, symbol: u8, bits: u8) {
        if u32::from(bits) > FAST_BITS {
            return;
        }
        let start = usize::from(reverse(codeword, bits));
        for entry in self.fast.iter_mut().skip(start).step_by(1_usize.wrapping_shl(u32::from(bits))) {
            *entry = (symbol, bits);
        }
    }
}

/// First code, count and place of each length; none if the lengths are not complete.
fn canonical(code_lengths: &[u8]) -> Option<[(u16, u16, u16); LENGTHS]> {
    let mut lengths = [(0_u16, 0_u16, 0_u16); LENGTHS];
    for bits in code_lengths.iter().filter(|bits| **bits != 0) {
        let (_, count, _) = lengths.get_mut(usize::from(*bits))?;
        *count = count.checked_add(1)?;
    }
    let (mut code, mut place, mut room) = (0_u32, 0_u16, 1_u32.wrapping_shl(CODE_LENGTH_MAX));
    for (bits, (first, count, start)) in (0_u32..).zip(&mut lengths).skip(1) {
        code = code.wrapping_shl(1);
        *first = u16::try_from(code).ok()?;
        *start = place;
        code = code.wrapping_add(u32::from(*count));
        place = place.wrapping_add(*count);
        let taken = u32::from(*count).wrapping_shl(CODE_LENGTH_MAX.wrapping_sub(bits));
        room = room.checked_sub(taken)?;
    }
    let alone = place == 1 && matches!(lengths, [_, (_, 1, _), ..]);
    (alone || (room == 0 && length(u64::from(place)) <= SYMBOLS_MAX)).then_some(lengths)
}

/// The lowest `bits` bits of a code in the other order: codes are written most significant bit first.
fn reverse(codeword: u16, bits: u8) -> u16 {
    codeword.reverse_bits().wrapping_shr(16_u32.wrapping_sub(u32::from(bits)))
}

/// Code lengths of at most 15 that make the sum of count * length small; 0 for counts of 0.
#[cfg(feature = "write")]
pub(crate) fn code_lengths(counts: &[u64]) -> alloc::vec::Vec<u8> {
    let mut scaled = counts.to_vec();
    loop {
        let lengths = huffman(&scaled);
        if lengths.iter().all(|bits| u32::from(*bits) <= CODE_LENGTH_MAX) {
            return lengths;
        }
        // Flatter counts give a flatter tree; at the latest when all are 1 it is 8 deep.
        for count in &mut scaled {
            *count = count.div_ceil(2);
        }
    }
}

#[cfg(feature = "write")]
fn huffman(counts: &[u64]) -> alloc::vec::Vec<u8> {
    use alloc::collections::BinaryHeap;
    use alloc::vec::Vec;
    use core::cmp::Reverse;

    // Ties go to the node that was made first, so equal counts give equal lengths on every machine.
    let mut heap: BinaryHeap<Reverse<(u64, usize)>> =
        counts.iter().zip(0..).filter(|(count, _)| **count > 0).map(|(count, node)| Reverse((*count, node))).collect();
    let mut lengths = alloc::vec![0_u8; counts.len()];
    if let (1, Some(Reverse((_, symbol)))) = (heap.len(), heap.peek()) {
        if let Some(bits) = lengths.get_mut(*symbol) {
            *bits = 1;
        }
        return lengths;
    }
    // parents[node]; symbols come first, then the inner nodes in the order in which they are made.
    let mut parents: Vec<usize> = alloc::vec![usize::MAX; counts.len()];
    while let (Some(Reverse((low, left))), Some(Reverse((high, right)))) = (heap.pop(), heap.pop()) {
        let node = parents.len();
        parents.push(usize::MAX);
        for child in [left, right] {
            if let Some(parent) = parents.get_mut(child) {
                *parent = node;
            }
        }
        heap.push(Reverse((low.saturating_add(high), node)));
        if heap.len() == 1 {
            break;
        }
    }
    for (symbol, bits) in (0..).zip(&mut lengths) {
        let mut node = symbol;
        while let Some(parent) = parents.get(node).copied().filter(|parent| *parent != usize::MAX) {
            *bits = bits.saturating_add(1);
            node = parent;
        }
    }
    lengths
}

/// For each symbol the bits to write and how many; nothing for symbols that do not occur.
#[cfg(feature = "write")]
pub(crate) fn codewords(code_lengths: &[u8]) -> alloc::vec::Vec<(u64, u32)> {
    let Some(mut next) = canonical(code_lengths) else { return alloc::vec::Vec::new() };
    code_lengths
        .iter()
        .map(|bits| match next.get_mut(usize::from(*bits)) {
            Some((codeword, _, _)) if *bits != 0 => {
                let word = reverse(*codeword, *bits);
                *codeword = codeword.wrapping_add(1);
                (u64::from(word), u32::from(*bits))
            }
            _ => (0, 0),
        })
        .collect()
}

#[cfg(all(test, feature = "write"))]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::{PrefixCode, code_lengths, codewords};

    fn comes_back(counts: &[u64]) {
        let lengths = code_lengths(counts);
        let Some(code) = PrefixCode::new(&lengths) else { panic!("{lengths:?} is no code") };
        for (symbol, (word, bits)) in codewords(&lengths).into_iter().enumerate().filter(|(_, (_, bits))| *bits > 0) {
            // What follows a code must not matter.
            for after in [0, u64::MAX] {
                let window = word | after.wrapping_shl(bits);
                assert_eq!(code.decode(window), u8::try_from(symbol).ok().map(|symbol| (symbol, bits)));
            }
        }
    }

    /// Miri takes a thousand times as long, and wants fewer.
    const SYMBOLS_MAX: usize = if cfg!(miri) { 24 } else { 256 };

    proptest! {
        #[test]
        fn every_code_comes_back(exponents in proptest::collection::vec(0_u32..40, 1..=SYMBOLS_MAX)) {
            let mut counts: Vec<u64> = exponents.iter().map(|e| 1_u64.wrapping_shl(*e)).collect();
            comes_back(&counts);
            for count in counts.iter_mut().step_by(3) {
                *count = 0;
            }
            if counts.iter().any(|count| *count > 0) {
                comes_back(&counts);
            }
        }
    }

    #[test]
    fn one_symbol_has_one_zero_bit() {
        let Some(code) = PrefixCode::new(&[0, 1, 0]) else { panic!("a code of one symbol is allowed") };
        assert_eq!(code.decode(0), Some((1, 1)));
        assert_eq!(code.decode(1), None);
    }

    #[test]
    fn rejects_lengths_that_are_no_code() {
        for lengths in [&[][..], &[0, 0], &[2], &[1, 2], &[1, 1, 1], &[1, 2, 3], &[2, 2, 2, 2, 15]] {
            assert!(PrefixCode::new(lengths).is_none(), "{lengths:?}");
        }
    }

    #[test]
    fn lengths_stay_below_sixteen() {
        // Fibonacci counts make the deepest Huffman tree there is.
        let mut counts = alloc::vec![1_u64, 1];
        while counts.len() < if cfg!(miri) { 20 } else { 60 } {
            let next = counts.iter().rev().take(2).sum();
            counts.push(next);
        }
        assert!(code_lengths(&counts).iter().all(|bits| (1..=15).contains(bits)));
        comes_back(&counts);
    }
}
