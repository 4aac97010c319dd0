//! The bytes of one index or value stream, with the place they have in the file.

use crate::error::{Error, ErrorKind};
use crate::width::wide;

/// One stream of the entries section.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stream<'a> {
    /// The whole stream.
    pub(crate) bytes: &'a [u8],
    /// Where its first byte lies in the file.
    pub(crate) offset: u64,
    /// `index stream`, `value stream` or `weight`.
    pub(crate) subject: &'static str,
}

impl Stream<'_> {
    /// A fault of the stream as a whole: bit streams do not tell which bit.
    pub(crate) const fn error(&self, kind: ErrorKind) -> Error {
        Error::new(kind, self.offset, self.subject, 0, 0)
    }

    /// Two counts of the stream contradict each other.
    pub(crate) const fn count_error(&self, expected: u64, found: u64) -> Error {
        Error::new(ErrorKind::Count, self.offset, self.subject, expected, found)
    }

    /// A number that cannot stand at byte `position` of the stream.
    pub(crate) const fn number_error(&self, position: usize) -> Error {
        Error::new(ErrorKind::Number, self.offset.saturating_add(wide(position)), self.subject, 0, 0)
    }

    /// The stream has exactly `expected` bytes.
    pub(crate) const fn check_size(&self, expected: u64) -> Result<(), Error> {
        let found = wide(self.bytes.len());
        if found < expected {
            Err(Error::new(ErrorKind::Truncated, self.offset.saturating_add(found), self.subject, expected, found))
        } else if found > expected {
            Err(Error::new(ErrorKind::Trailing, self.offset.saturating_add(expected), self.subject, expected, found))
        } else {
            Ok(())
        }
    }
}
