//! Between the integers of the format and those of the machine: the one place where `as` is used on them.
//!
//! Everything here is either a widening or a truncation that the name says, and inline: loops over entries are compiled in
//! the crates that apply them.

/// A length in memory as a number of the format. `usize` has at most 64 bits on every machine that Rust knows.
#[inline]
#[expect(clippy::as_conversions, reason = "widening: usize has at most 64 bits")]
pub(crate) const fn wide(len: usize) -> u64 {
    len as u64
}

/// A wider number, where `u64::from` is not `const` yet.
#[inline]
#[expect(clippy::as_conversions, reason = "widening")]
pub(crate) const fn wide_u32(number: u32) -> u64 {
    number as u64
}

/// A number of the format as a length in memory. The caller has checked that it fits.
#[inline]
#[expect(clippy::as_conversions, reason = "element counts were checked against usize when the pack was read")]
pub(crate) const fn narrow(count: u64) -> usize {
    count as usize
}

/// A number of the format as a length in memory, or more than any slice has.
#[inline]
pub(crate) fn length(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// The low byte.
#[inline]
#[expect(clippy::as_conversions, reason = "truncation is what is asked for")]
pub(crate) const fn low_byte(bits: u64) -> u8 {
    bits as u8
}

/// The low 32 bits.
#[inline]
#[expect(clippy::as_conversions, reason = "truncation is what is asked for")]
pub(crate) const fn low_u32(bits: u64) -> u32 {
    bits as u32
}
