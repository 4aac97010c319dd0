//! Index encoding 1: Rice-coded gaps, with a parameter per block of 256 entries (`FORMAT.md`, 6.3).
//!
//! Source: R. F. Rice, 1979, "Some practical universal noiseless coding techniques".

use super::{Extent, Outcome};
use crate::bits::BitReader;
use crate::error::ErrorKind;
use crate::layout::{BLOCK_ENTRIES, RICE_PARAMETER_BITS};
use crate::report::Wrong;
use crate::stream::Stream;
#[cfg(feature = "write")]
use crate::width::wide;
use crate::width::{length, low_u32};

/// Codes that are read between two refills: a refill is the longest step from one code to the next, and at the usual
/// parameters so many codes lie in the 56 bits that it brings. Longer ones bring their own.
const CODES_PER_REFILL: usize = 6;

/// Strictly ascending indices below `end`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RiceGaps<'a> {
    bits: BitReader<'a>,
    /// Entries still to come, in all and in this block.
    left: usize,
    left_in_block: usize,
    k: u32,
    /// The smallest index that can come next.
    next: usize,
    end: usize,
}

impl<'a> RiceGaps<'a> {
    pub(crate) const fn new(bytes: &'a [u8], end: usize, count: usize) -> Self {
        Self { bits: BitReader::new(bytes), left: count, left_in_block: 0, k: 0, next: 0, end }
    }

    /// Folds over what is left; says how it ended and returns the bits that follow.
    #[inline]
    pub(crate) fn run<B>(mut self, init: B, mut f: impl FnMut(B, usize) -> B) -> (B, Result<BitReader<'a>, ErrorKind>) {
        let mut folded = init;
        while self.left > 0 {
            if self.left_in_block == 0 && self.open_block().is_none() {
                return (folded, Err(ErrorKind::Truncated));
            }
            let (k, end) = (self.k, self.end);
            let mut left = self.left_in_block;
            while left > 0 {
                let group = left.min(CODES_PER_REFILL);
                self.bits.refill();
                for _ in 0..group {
                    let Some(gap) = self.bits.rice_at_hand(k) else { return (folded, Err(ErrorKind::Truncated)) };
                    let index = self.next.saturating_add(length(gap));
                    if index >= end {
                        return (folded, Err(ErrorKind::Index));
                    }
                    self.next = index.wrapping_add(1);
                    folded = f(folded, index);
                }
                left = left.wrapping_sub(group);
            }
            self.left = self.left.saturating_sub(self.left_in_block);
            self.left_in_block = 0;
        }
        (folded, Ok(self.bits))
    }

    #[inline]
    fn open_block(&mut self) -> Option<()> {
        self.k = low_u32(self.bits.take_apart(RICE_PARAMETER_BITS)?);
        self.left_in_block = self.left.min(BLOCK_ENTRIES);
        Some(())
    }

    /// The next index; none after the last one. For places where a call for each costs less than a loop of their own.
    #[inline(never)]
    pub(crate) fn step(&mut self) -> Result<Option<usize>, ErrorKind> {
        if self.left == 0 {
            return Ok(None);
        }
        if self.left_in_block == 0 {
            self.open_block().ok_or(ErrorKind::Truncated)?;
        }
        let gap = self.bits.rice(self.k).ok_or(ErrorKind::Truncated)?;
        let index = self.next.saturating_add(length(gap));
        if index >= self.end {
            return Err(ErrorKind::Index);
        }
        self.next = index.wrapping_add(1);
        self.left = self.left.saturating_sub(1);
        self.left_in_block = self.left_in_block.saturating_sub(1);
        Ok(Some(index))
    }

    /// What follows the last index.
    pub(crate) const fn rest(&self) -> BitReader<'a> {
        self.bits
    }
}

impl Iterator for RiceGaps<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        self.step().unwrap_or_else(|_| {
            self.left = 0;
            None
        })
    }
}

pub(crate) fn check(stream: Stream<'_, '_>, extent: Extent) -> Result<(), Wrong> {
    let ((), end) = RiceGaps::new(stream.bytes, extent.elements, extent.entries).run((), |(), _| ());
    let outcome: Outcome = end.and_then(BitReader::finish);
    outcome.map_err(|kind| stream.error(kind))
}

/// Takes strictly ascending indices, and writes their gaps down or counts the bits of that.
#[cfg(feature = "write")]
#[derive(Debug)]
pub(crate) struct Encoder<S> {
    bits: S,
    /// The gaps of a block that is not full yet.
    block: alloc::vec::Vec<u64>,
    next: u64,
}

#[cfg(feature = "write")]
impl<S: crate::bits::BitSink> Encoder<S> {
    pub(crate) fn new(bits: S) -> Self {
        Self { bits, block: alloc::vec::Vec::with_capacity(BLOCK_ENTRIES), next: 0 }
    }

    #[inline]
    pub(crate) fn push(&mut self, index: u64) {
        self.block.push(index.saturating_sub(self.next));
        self.next = index.saturating_add(1);
        if self.block.len() == BLOCK_ENTRIES {
            self.close_block();
        }
    }

    pub(crate) fn finish(mut self) -> S {
        if !self.block.is_empty() {
            self.close_block();
        }
        self.bits
    }

    fn close_block(&mut self) {
        let k = parameter(&self.block);
        self.bits.put(u64::from(k), RICE_PARAMETER_BITS);
        for gap in &self.block {
            self.bits.put_rice(*gap, k);
        }
        self.block.clear();
    }
}

/// The smallest parameter of those that give the fewest bits. The cost is convex in the parameter, so the first rise ends
/// the search: each step saves at most `sum(ceil(gap >> k / 2))`, which shrinks as k grows, and always costs one bit a gap.
#[cfg(feature = "write")]
fn parameter(gaps: &[u64]) -> u32 {
    let cost = |k: u32| {
        let quotients = gaps.iter().fold(0_u64, |sum, gap| sum.saturating_add(gap.wrapping_shr(k)));
        quotients.saturating_add(u64::from(k).saturating_mul(wide(gaps.len())))
    };
    let (mut best, mut best_cost) = (0, cost(0));
    for k in 1..=crate::layout::RICE_PARAMETER_MAX {
        let next_cost = cost(k);
        if next_cost > best_cost {
            break;
        }
        if next_cost < best_cost {
            (best, best_cost) = (k, next_cost);
        }
    }
    best
}
