//! Which pages of a tensor have been written.
//!
//! One bit for each 4 KiB of the file that a tensor lies on, set when an entry is applied there. Restoring copies
//! exactly these pages back from the base; what they cost is the memory that a composition owns. 4 KiB is the page of
//! x86-64 and of most ARM systems; on systems with larger pages the bits stay right, and the memory owned is rounded up
//! by the system.
//!
//! A page on which two tensors meet has a bit in each of them, so that restoring one leaves the other alone.

use std::ops::Range;

/// Bytes for each bit.
pub(crate) const PAGE_BYTES: usize = 4096;

/// The written pages of one tensor that lies at a fixed place in the file.
#[derive(Default)]
pub(crate) struct Pages {
    /// Page `first + i` is bit `i % 64` of word `i / 64`; empty until the first page is set.
    words: Vec<u64>,
}

impl Pages {
    /// Calls `entries` through, noting the page of each element. `place` is the tensor's bytes in the file, an element
    /// is `1 << element_shift` bytes, and indices ascend.
    ///
    /// A page is noted once, when the first entry falls on it; for the others the cost is one comparison.
    pub(crate) fn noting<'a, V>(
        &'a mut self,
        place: &Range<usize>,
        element_shift: u32,
        entries: impl Iterator<Item = (usize, V)> + 'a,
    ) -> impl Iterator<Item = (usize, V)> + 'a {
        self.words.resize(page_count(place).div_ceil(64), 0);
        let into_page = place.start % PAGE_BYTES;
        let mut last = usize::MAX;
        entries.inspect(move |&(index, _)| {
            let page = (into_page + (index << element_shift)) / PAGE_BYTES;
            if page != last {
                last = page;
                self.set(page);
            }
        })
    }

    /// Notes the pages of `count` neighboring elements from `first` on.
    pub(crate) fn note_run(&mut self, place: &Range<usize>, element_shift: u32, first: usize, count: usize) {
        if count == 0 {
            return;
        }
        self.words.resize(page_count(place).div_ceil(64), 0);
        let into_page = place.start % PAGE_BYTES;
        let of = |index: usize| (into_page + (index << element_shift)) / PAGE_BYTES;
        (of(first)..=of(first + count - 1)).for_each(|page| self.set(page));
    }

    fn set(&mut self, page: usize) {
        if let Some(word) = self.words.get_mut(page / 64) {
            *word |= 1 << (page % 64);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.words.clear();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.words.iter().all(|&word| word == 0)
    }

    /// Runs of written pages as byte ranges of the file, ascending, cut to the tensor's `place`.
    pub(crate) fn ranges<'a>(&'a self, place: &Range<usize>) -> impl Iterator<Item = Range<usize>> + 'a {
        let place = place.clone();
        let origin = place.start - place.start % PAGE_BYTES;
        self.runs().map(move |run| {
            let start = origin + run.start * PAGE_BYTES;
            let end = origin + run.end * PAGE_BYTES;
            start.max(place.start)..end.min(place.end)
        })
    }

    /// Numbers of the written pages in the file, ascending.
    pub(crate) fn numbers<'a>(&'a self, place: &Range<usize>) -> impl Iterator<Item = usize> + 'a {
        let first = place.start / PAGE_BYTES;
        self.runs().flatten().map(move |page| first + page)
    }

    /// Runs of set bits, ascending and not adjacent.
    fn runs(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        let mut from = 0;
        std::iter::from_fn(move || {
            let start = self.next(from, true)?;
            let end = self.next(start, false).unwrap_or(self.words.len() * 64);
            from = end;
            Some(start..end)
        })
    }

    /// The first bit at or after `from` that is `set`.
    fn next(&self, from: usize, set: bool) -> Option<usize> {
        let mut at = from / 64;
        let mut mask = u64::MAX << (from % 64);
        loop {
            let word = *self.words.get(at)?;
            let candidates = (if set { word } else { !word }) & mask;
            if candidates != 0 {
                return Some(at * 64 + candidates.trailing_zeros() as usize);
            }
            at += 1;
            mask = u64::MAX;
        }
    }
}

fn page_count(place: &Range<usize>) -> usize {
    if place.is_empty() {
        return 0;
    }
    (place.end - 1) / PAGE_BYTES - place.start / PAGE_BYTES + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(place: Range<usize>, indices: &[usize]) -> Pages {
        let mut pages = Pages::default();
        pages.noting(&place, 2, indices.iter().map(|&index| (index, ()))).for_each(drop);
        pages
    }

    #[test]
    fn the_ranges_cover_what_was_written_and_stay_in_the_tensor() {
        // The tensor starts 8 bytes before a page border and ends 16 bytes into its fourth page.
        let place = 4088..4096 * 3 + 16;
        let pages = noted(place.clone(), &[0, 1, 2, (place.len() / 4) - 1]);
        let ranges: Vec<_> = pages.ranges(&place).collect();
        assert_eq!(ranges, [4088..8192, 12288..12304]);
        assert_eq!(pages.numbers(&place).collect::<Vec<_>>(), [0, 1, 3]);
    }

    #[test]
    fn runs_cross_words_and_the_last_bit_counts() {
        let place = 0..PAGE_BYTES * 128;
        let every: Vec<usize> = (0..128).map(|page| page * 1024).collect();
        assert_eq!(noted(place.clone(), &every).ranges(&place).collect::<Vec<_>>(), std::slice::from_ref(&place));
        let ends = noted(place.clone(), &[63 * 1024, 64 * 1024, 127 * 1024]);
        assert_eq!(ends.runs().collect::<Vec<_>>(), [63..65, 127..128]);
    }

    #[test]
    fn a_run_is_noted_like_its_elements() {
        let place = 4088..4096 * 5 + 16;
        for (first, count) in [(0, 2), (0, 3), (1, 1024), (1026, 1), (500, 3000), (7, 0)] {
            let mut run = Pages::default();
            run.note_run(&place, 2, first, count);
            let indices: Vec<usize> = (first..first + count).collect();
            let single = noted(place.clone(), &indices);
            assert_eq!(run.ranges(&place).collect::<Vec<_>>(), single.ranges(&place).collect::<Vec<_>>());
        }
    }

    #[test]
    fn nothing_written_is_nothing_to_restore() {
        let place = 100..100;
        assert!(noted(place.clone(), &[]).is_empty());
        assert_eq!(Pages::default().ranges(&(0..50)).count(), 0);
    }
}
