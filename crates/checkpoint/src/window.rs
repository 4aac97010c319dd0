//! A few bytes at a time from anywhere in a file: what a header that is spread over gigabytes is read through.

use taskvec_dataset::Result;

use crate::source::{Source, damaged};

/// Bytes read at once; a name or a number seldom needs more.
const WINDOW_BYTES: u64 = 64 << 10;

/// The part of a file that was read last.
pub(crate) struct Window<'a> {
    source: &'a Source,
    offset: u64,
    bytes: Vec<u8>,
}

impl<'a> Window<'a> {
    pub(crate) fn new(source: &'a Source) -> Window<'a> {
        Window { source, offset: 0, bytes: Vec::new() }
    }

    pub(crate) fn size_bytes(&self) -> u64 {
        self.source.size_bytes()
    }

    /// The `count` bytes at `offset`: no more than the window, or they are no header.
    pub(crate) fn bytes(&mut self, offset: u64, count: u64) -> Result<&[u8]> {
        let size = self.source.size_bytes();
        let Some(end) = offset.checked_add(count).filter(|&end| end <= size && count <= WINDOW_BYTES) else {
            return Err(damaged(format!("{count} bytes are claimed at byte {offset} of {size}")));
        };
        if offset < self.offset || end > self.offset + self.bytes.len() as u64 {
            let count = WINDOW_BYTES.min(size - offset);
            self.bytes = self.source.bytes("its header", offset, count, count)?;
            self.offset = offset;
        }
        // Lies in the window, which was just checked or read.
        let start = (offset - self.offset) as usize;
        Ok(&self.bytes[start..start + count as usize])
    }

    /// As many bytes as there are at `offset`, `count_max` at most.
    pub(crate) fn up_to(&mut self, offset: u64, count_max: u64) -> Result<&[u8]> {
        let count = count_max.min(self.size_bytes().saturating_sub(offset));
        self.bytes(offset, count)
    }

    /// A text of `count` bytes at `offset`.
    pub(crate) fn text(&mut self, offset: u64, count: u64) -> Result<&str> {
        let bytes = self.bytes(offset, count)?;
        std::str::from_utf8(bytes).map_err(|_| damaged(format!("the text at byte {offset} is no UTF-8")))
    }
}
