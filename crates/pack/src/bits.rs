//! Bit fields, least significant bit first: a reader that keeps up to 63 bits at hand, and its writer.
//!
//! The reader loads eight bytes at once and takes as many whole bytes as there is room for; the load is the same whatever
//! was consumed, so the loops above it have no branch for it (Giesen 2018, "Reading bits in far too many ways", variant 4).

use crate::error::ErrorKind;

/// Reads bit fields from a slice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BitReader<'a> {
    bytes: &'a [u8],
    /// The next byte that `count` does not cover yet.
    position: usize,
    /// The next bits, the first one lowest. Above `count` there may be bits of the byte at `position`.
    window: u64,
    count: u32,
}

impl<'a> BitReader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0, window: 0, count: 0 }
    }

    /// Makes at least 56 bits available, or all that are left.
    #[inline(always)]
    pub(crate) fn refill(&mut self) {
        match self.bytes.get(self.position..).and_then(|rest| rest.first_chunk::<8>()) {
            Some(chunk) => {
                self.window |= u64::from_le_bytes(*chunk).wrapping_shl(self.count);
                let taken = 63_u32.wrapping_sub(self.count) >> 3;
                self.position = self.position.wrapping_add(usize::from(crate::width::low_byte(u64::from(taken))));
                self.count |= 56;
            }
            None => self.refill_at_the_end(),
        }
    }

    #[cold]
    fn refill_at_the_end(&mut self) {
        while self.count <= 55 {
            let Some(byte) = self.bytes.get(self.position) else { return };
            self.window |= u64::from(*byte).wrapping_shl(self.count);
            self.position = self.position.wrapping_add(1);
            self.count = self.count.wrapping_add(8);
        }
    }

    /// The bits at hand; those above `available` mean nothing.
    #[inline(always)]
    pub(crate) const fn window(&self) -> u64 {
        self.window
    }

    /// How many bits are at hand.
    #[inline(always)]
    pub(crate) const fn available(&self) -> u32 {
        self.count
    }

    /// Drops bits that are at hand: `count` is at most `available`.
    #[inline(always)]
    pub(crate) const fn skip(&mut self, count: u32) {
        self.window = self.window.wrapping_shr(count);
        self.count = self.count.wrapping_sub(count);
    }

    /// A field of at most 56 bits.
    #[inline(always)]
    pub(crate) fn take(&mut self, count: u32) -> Option<u64> {
        self.refill();
        if count > self.count {
            return None;
        }
        let field = self.window & mask(count);
        self.skip(count);
        Some(field)
    }

    /// As `take`, for places that are passed so seldom that a call costs less than its code at each of them.
    #[inline(never)]
    pub(crate) fn take_apart(&mut self, count: u32) -> Option<u64> {
        self.take(count)
    }

    /// A Rice code with parameter `k`, at most 31; a quotient beyond all measure comes back as `u64::MAX`.
    #[inline(always)]
    pub(crate) fn rice(&mut self, k: u32) -> Option<u64> {
        self.refill();
        self.rice_at_hand(k)
    }

    /// As [`BitReader::rice`], quick where the whole code is at hand, and right wherever it is.
    #[inline(always)]
    pub(crate) fn rice_at_hand(&mut self, k: u32) -> Option<u64> {
        let zeros = self.window.trailing_zeros();
        let used = zeros.wrapping_add(1).wrapping_add(k);
        if used > self.count {
            return self.long_rice(k);
        }
        // used <= 63, so no shift below reaches 64.
        let remainder = (self.window.wrapping_shr(zeros) >> 1) & mask(k);
        self.window = self.window.wrapping_shr(used);
        self.count = self.count.wrapping_sub(used);
        Some(u64::from(zeros).wrapping_shl(k) | remainder)
    }

    #[cold]
    fn long_rice(&mut self, k: u32) -> Option<u64> {
        let mut quotient = 0_u64;
        loop {
            // Fills the window, and takes nothing.
            self.take_apart(0)?;
            if self.count == 0 {
                return None;
            }
            let zeros = self.window.trailing_zeros().min(self.count);
            quotient = quotient.saturating_add(u64::from(zeros));
            if zeros < self.count {
                self.skip(zeros.wrapping_add(1));
                break;
            }
            self.skip(zeros);
            // Bits above `count` belong to bytes that come again with the next refill.
            self.window = 0;
        }
        let remainder = self.take_apart(k)?;
        let fits = quotient.leading_zeros() >= k;
        Some(if fits { quotient.wrapping_shl(k) | remainder } else { u64::MAX })
    }

    /// What is left of this byte must be zero, and the stream must end with it.
    pub(crate) fn finish(mut self) -> Result<(), ErrorKind> {
        // Fills the window, and takes nothing.
        self.take_apart(0);
        if self.window & mask(self.count & 7) != 0 {
            Err(ErrorKind::Padding)
        } else if self.position < self.bytes.len() || self.count >= 8 {
            Err(ErrorKind::Trailing)
        } else {
            Ok(())
        }
    }
}

/// The lowest `count` bits, at most 63.
#[inline(always)]
pub(crate) const fn mask(count: u32) -> u64 {
    1_u64.wrapping_shl(count).wrapping_sub(1)
}

/// Where bit fields go: they are written, or only counted, so that one loop says how long a stream is and makes it.
#[cfg(feature = "write")]
pub(crate) trait BitSink {
    /// Appends the lowest `count` bits of `field`, at most 56; the others are zero.
    fn put(&mut self, field: u64, count: u32);

    /// Appends a Rice code.
    fn put_rice(&mut self, number: u64, k: u32);
}

/// Writes bit fields.
#[cfg(feature = "write")]
#[derive(Debug, Default)]
pub(crate) struct BitWriter {
    bytes: alloc::vec::Vec<u8>,
    window: u64,
    /// Bits of the window in use, at most 63.
    count: u32,
}

#[cfg(feature = "write")]
impl BitWriter {
    /// A writer of a stream of so many bytes.
    pub(crate) fn with_capacity(size_bytes: u64) -> Self {
        let bytes = alloc::vec::Vec::with_capacity(crate::width::length(size_bytes));
        Self { bytes, window: 0, count: 0 }
    }

    /// Fills up the last byte with zeros.
    pub(crate) fn finish(mut self) -> alloc::vec::Vec<u8> {
        let used = crate::width::length(u64::from(self.count.div_ceil(8)));
        self.bytes.extend(self.window.to_le_bytes().iter().take(used));
        self.bytes
    }
}

#[cfg(feature = "write")]
impl BitSink for BitWriter {
    #[inline]
    fn put(&mut self, field: u64, count: u32) {
        self.window |= field.wrapping_shl(self.count);
        let used = self.count.wrapping_add(count);
        if used < 64 {
            self.count = used;
            return;
        }
        self.bytes.extend_from_slice(&self.window.to_le_bytes());
        // At most 56 bits came, so at least 8 were there, and the shift is no more than 56.
        self.window = field.wrapping_shr(64_u32.wrapping_sub(self.count));
        self.count = used.wrapping_sub(64);
    }

    fn put_rice(&mut self, number: u64, k: u32) {
        let mut quotient = number.wrapping_shr(k);
        while quotient >= 32 {
            self.put(0, 32);
            quotient = quotient.wrapping_sub(32);
        }
        let zeros = crate::width::low_u32(quotient);
        self.put(1_u64.wrapping_shl(zeros), zeros.wrapping_add(1));
        self.put(number & mask(k), k);
    }
}

/// Counts bits.
#[cfg(feature = "write")]
#[derive(Debug, Default)]
pub(crate) struct BitCounter(u64);

#[cfg(feature = "write")]
impl BitCounter {
    /// What `BitWriter` makes of as many.
    pub(crate) const fn size_bytes(&self) -> u64 {
        self.0.div_ceil(8)
    }
}

#[cfg(feature = "write")]
impl BitSink for BitCounter {
    #[inline]
    fn put(&mut self, _field: u64, count: u32) {
        self.0 = self.0.saturating_add(u64::from(count));
    }

    #[inline]
    fn put_rice(&mut self, number: u64, k: u32) {
        let bits = number.wrapping_shr(k).saturating_add(u64::from(k)).saturating_add(1);
        self.0 = self.0.saturating_add(bits);
    }
}

#[cfg(all(test, feature = "write"))]
mod tests {
    use proptest::prelude::*;

    use super::{BitCounter, BitReader, BitSink as _, BitWriter, mask};
    use crate::error::ErrorKind;
    use crate::width::wide;

    /// Miri takes a thousand times as long, and wants fewer.
    const FIELDS_MAX: usize = if cfg!(miri) { 20 } else { 200 };

    proptest! {
        #[test]
        fn fields_come_back(fields in proptest::collection::vec((any::<u64>(), 0_u32..=56), 0..FIELDS_MAX)) {
            let (mut writer, mut counter) = (BitWriter::default(), BitCounter::default());
            for (field, count) in &fields {
                writer.put(field & mask(*count), *count);
                counter.put(field & mask(*count), *count);
            }
            let bytes = writer.finish();
            prop_assert_eq!(counter.size_bytes(), wide(bytes.len()));
            let mut reader = BitReader::new(&bytes);
            for (field, count) in &fields {
                prop_assert_eq!(reader.take(*count), Some(field & mask(*count)));
            }
            prop_assert_eq!(reader.finish(), Ok(()));
        }

        #[test]
        fn rice_codes_come_back(numbers in proptest::collection::vec((0_u64..5000, 0_u32..=31), 0..FIELDS_MAX)) {
            let (mut writer, mut counter) = (BitWriter::default(), BitCounter::default());
            for (number, k) in &numbers {
                writer.put_rice(*number, *k);
                counter.put_rice(*number, *k);
            }
            let bytes = writer.finish();
            prop_assert_eq!(counter.size_bytes(), wide(bytes.len()));
            let (mut reader, mut seldom) = (BitReader::new(&bytes), BitReader::new(&bytes));
            for (number, k) in &numbers {
                prop_assert_eq!(reader.rice(*k), Some(*number));
                prop_assert_eq!(seldom.rice_at_hand(*k), Some(*number));
            }
            prop_assert_eq!(reader.finish(), Ok(()));
            prop_assert_eq!(seldom.finish(), Ok(()));
        }

        #[test]
        fn foreign_bytes_end_and_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40), k in 0_u32..=31) {
            let mut reader = BitReader::new(&bytes);
            let mut seldom = BitReader::new(&bytes);
            while let Some(number) = reader.rice(k) {
                prop_assert_eq!(seldom.rice_at_hand(k), Some(number));
            }
            prop_assert_eq!(seldom.rice_at_hand(k), None);
            prop_assert!(reader.available() < 57);
        }
    }

    #[test]
    fn leftovers_are_told_apart() {
        for (bytes, kind) in [
            (&[0b0000_0001, 0][..], ErrorKind::Trailing),
            (&[0b0010_0001], ErrorKind::Padding),
            (&[0b0010_0001, 0], ErrorKind::Padding),
            (&[1, 0, 0, 0, 0, 0, 0, 0, 0, 0], ErrorKind::Trailing),
        ] {
            let mut reader = BitReader::new(bytes);
            assert_eq!(reader.take(4), Some(1));
            assert_eq!(reader.finish(), Err(kind), "{bytes:?}");
        }
        let mut reader = BitReader::new(&[0b0010_0001]);
        assert_eq!(reader.take(4), Some(1));
        assert_eq!(reader.take(5), None);
        assert_eq!(BitReader::new(&[]).finish(), Ok(()));
    }
}
