//! Index encoding 4: every element is an entry, and nothing is written (`FORMAT.md`, 6.6).

use super::Extent;
use crate::report::Wrong;
use crate::stream::Stream;
use crate::width::wide;

/// All indices of a tensor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dense {
    next: usize,
    end: usize,
}

impl Dense {
    pub(crate) const fn new(extent: Extent) -> Self {
        Self { next: 0, end: extent.elements }
    }

    #[inline]
    pub(crate) fn run<B>(self, init: B, f: impl FnMut(B, usize) -> B) -> B {
        (self.next..self.end).fold(init, f)
    }

    /// The elements that are left, from and to.
    pub(crate) const fn bounds(self) -> (usize, usize) {
        (self.next, self.end)
    }
}

impl Iterator for Dense {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        let index = self.next;
        if index >= self.end {
            return None;
        }
        self.next = index.wrapping_add(1);
        Some(index)
    }
}

pub(crate) fn check(stream: Stream<'_, '_>, extent: Extent) -> Result<(), Wrong> {
    if extent.entries != extent.elements {
        return Err(stream.count_error(wide(extent.elements), wide(extent.entries)));
    }
    stream.check_size(0)
}
