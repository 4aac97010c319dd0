//! The code lengths that stand before prefix-coded values (`FORMAT.md`, 6.8).

use crate::error::ErrorKind;
use crate::layout::SYMBOLS_MAX;
use crate::report::Wrong;
use crate::stream::Stream;

/// Code lengths of at most 256 symbols.
pub(super) struct CodeLengths {
    lengths: [u8; SYMBOLS_MAX],
    symbols: usize,
}

impl CodeLengths {
    /// Reads the lengths of so many symbols, 4 bits each, filled up to a whole byte with zero bits, from the start of `bytes`,
    /// which are of `stream`; and what follows them. More than 256 symbols are no code.
    #[inline(never)]
    pub(super) fn read<'a>(stream: Stream<'a, '_>, bytes: &'a [u8], symbols: usize) -> Result<(Self, &'a [u8]), Wrong> {
        if symbols > SYMBOLS_MAX {
            return Err(stream.error(ErrorKind::Code));
        }
        let cut = bytes.split_at_checked(symbols.div_ceil(2));
        let (table, rest) = cut.ok_or_else(|| stream.error(ErrorKind::Truncated))?;
        let mut lengths = [0; SYMBOLS_MAX];
        for (pair, byte) in lengths.as_chunks_mut().0.iter_mut().zip(table) {
            *pair = [byte & 15, byte >> 4];
        }
        if lengths.iter().skip(symbols).any(|length| *length != 0) {
            return Err(stream.error(ErrorKind::Padding));
        }
        Ok((Self { lengths, symbols }, rest))
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        self.lengths.get(..self.symbols).unwrap_or_default()
    }
}
