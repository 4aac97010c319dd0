//! Where the first thing that is wrong is written down while a pack is read.
//!
//! An `Error` has 40 bytes. Handed up through every `?` it would be copied some two hundred times, and on a microcontroller
//! that was a third of the reader. So whoever finds it writes it down here, and what goes up has no size.

use core::cell::Cell;

use crate::error::{Error, ErrorKind};

/// The place for one error, which lasts as long as the reading.
pub(crate) struct Report(Cell<Error>);

/// Says that the report holds an error: only writing one down makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wrong(());

/// What `read` gives, or the error that it wrote down.
pub(crate) fn reported<T>(read: impl FnOnce(&Report) -> Result<T, Wrong>) -> Result<T, Error> {
    let report = Report::blank();
    read(&report).map_err(|Wrong(())| report.0.get())
}

impl Report {
    /// A report that nobody will read: for what has been read without an error before.
    pub(crate) const fn blank() -> Self {
        Self(Cell::new(Error::new(ErrorKind::Truncated, 0, "", 0, 0)))
    }

    /// What kind of error was written down.
    pub(crate) const fn kind(&self, Wrong(()): Wrong) -> ErrorKind {
        self.0.get().kind
    }

    /// Writes an error down. Apart from what calls it, so that its code is there once.
    #[cold]
    #[inline(never)]
    pub(crate) fn error(
        &self,
        kind: ErrorKind,
        offset: usize,
        subject: &'static str,
        expected: u64,
        found: u64,
    ) -> Wrong {
        self.0.set(Error::new(kind, crate::width::wide(offset), subject, expected, found));
        Wrong(())
    }
}
