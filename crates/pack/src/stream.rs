//! The bytes of one index or value stream, with the place they have in the file.

use core::cmp::Ordering;

use crate::error::ErrorKind;
use crate::report::{Report, Wrong};
use crate::width::{length, wide};

/// One stream of the entries section.
#[derive(Clone, Copy)]
pub(crate) struct Stream<'a, 'r> {
    /// The whole stream.
    pub(crate) bytes: &'a [u8],
    /// Where its first byte lies in the file.
    pub(crate) offset: usize,
    /// `index stream`, `value stream` or `weight`.
    pub(crate) subject: &'static str,
    /// Where errors are written down.
    pub(crate) report: &'r Report,
}

impl<'a, 'r> Stream<'a, 'r> {
    /// A stream that was read without an error.
    pub(crate) const fn again(bytes: &'a [u8], report: &'r Report) -> Self {
        Self { bytes, offset: 0, subject: "", report }
    }

    /// A fault of the stream as a whole: bit streams do not tell which bit.
    pub(crate) fn error(&self, kind: ErrorKind) -> Wrong {
        self.report.error(kind, self.offset, self.subject, 0, 0)
    }

    /// An error somewhere in the stream as one of the stream as a whole.
    pub(crate) fn as_a_whole(&self, wrong: Wrong) -> Wrong {
        self.error(self.report.kind(wrong))
    }

    /// Two counts of the stream contradict each other.
    pub(crate) fn count_error(&self, expected: u64, found: u64) -> Wrong {
        self.report.error(ErrorKind::Count, self.offset, self.subject, expected, found)
    }

    /// A number that cannot stand at byte `position` of the stream.
    pub(crate) fn number_error(&self, position: usize) -> Wrong {
        self.report.error(ErrorKind::Number, self.offset.saturating_add(position), self.subject, 0, 0)
    }

    /// The stream has exactly `expected` bytes.
    pub(crate) fn check_size(&self, expected: u64) -> Result<(), Wrong> {
        let found = wide(self.bytes.len());
        let kind = match found.cmp(&expected) {
            Ordering::Less => ErrorKind::Truncated,
            Ordering::Equal => return Ok(()),
            Ordering::Greater => ErrorKind::Trailing,
        };
        // The end of the stream, or the end that it should have.
        let at = self.offset.saturating_add(length(found.min(expected)));
        Err(self.report.error(kind, at, self.subject, expected, found))
    }
}
