//! Ways to write a mask down: one file per encoding, decode beside encode.
//!
//! Every decoder has a `run`, the tight loop that both checking and applying go through, and a `next` for callers that need
//! one entry at a time. After a check `run` cannot fail; it still ends early rather than trust that.

mod bitmap;
mod counted_bitmap;
mod dense;
#[cfg(feature = "write")]
pub(crate) mod encoder;
mod granules;
mod rice_gaps;

use core::fmt;

pub(crate) use self::bitmap::Bitmap;
pub(crate) use self::counted_bitmap::CountedBitmap;
pub(crate) use self::dense::Dense;
pub(crate) use self::granules::Granules;
pub(crate) use self::rice_gaps::RiceGaps;
use crate::error::ErrorKind;
use crate::layout::index::{BITMAP, COUNTED_BITMAP, DENSE, GRANULES, RICE_GAPS};
use crate::report::{Report, Wrong};
use crate::stream::Stream;

/// How the mask of a tensor is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum IndexEncoding {
    /// Gaps between entries, Rice-coded with a parameter per block of 256.
    RiceGaps,
    /// Runs of elements of one length, each wholly in the mask.
    Granules,
    /// One bit for each element.
    Bitmap,
    /// Every element.
    Dense,
    /// A bitmap whose bytes are written as their counts of ones and their rank.
    CountedBitmap,
}

impl IndexEncoding {
    pub(crate) const fn from_code(code: u8) -> Option<Self> {
        match code {
            RICE_GAPS => Some(Self::RiceGaps),
            GRANULES => Some(Self::Granules),
            BITMAP => Some(Self::Bitmap),
            DENSE => Some(Self::Dense),
            COUNTED_BITMAP => Some(Self::CountedBitmap),
            _ => None,
        }
    }

    /// Its number in registry 11.3 of `FORMAT.md`.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::RiceGaps => RICE_GAPS,
            Self::Granules => GRANULES,
            Self::Bitmap => BITMAP,
            Self::Dense => DENSE,
            Self::CountedBitmap => COUNTED_BITMAP,
        }
    }
}

impl fmt::Display for IndexEncoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RiceGaps => "rice gaps",
            Self::Granules => "granules",
            Self::Bitmap => "bitmap",
            Self::Dense => "dense",
            Self::CountedBitmap => "counted bitmap",
        })
    }
}

/// The indices of a tensor's entries, strictly ascending.
#[derive(Clone, Copy, Debug)]
pub struct Indices<'a>(Decoder<'a>);

#[derive(Clone, Copy, Debug)]
#[expect(clippy::large_enum_variant, reason = "there is no heap to put the large one on")]
enum Decoder<'a> {
    RiceGaps(RiceGaps<'a>),
    Granules(Granules<'a>),
    Bitmap(Bitmap<'a>),
    Dense(Dense),
    CountedBitmap(CountedBitmap<'a>),
    Nothing,
}

/// The sizes that an index stream must agree with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    /// Elements of the tensor.
    pub(crate) elements: usize,
    /// Entries of the tensor.
    pub(crate) entries: usize,
}

impl<'a> Indices<'a> {
    /// What `check` has passed.
    pub(crate) fn new(encoding: IndexEncoding, bytes: &'a [u8], extent: Extent) -> Self {
        let report = Report::blank();
        let stream = Stream::again(bytes, &report);
        Self(match encoding {
            IndexEncoding::RiceGaps => Decoder::RiceGaps(RiceGaps::new(bytes, extent.elements, extent.entries)),
            IndexEncoding::Granules => match Granules::new(stream, extent) {
                Ok(granules) => Decoder::Granules(granules),
                Err(_) => Decoder::Nothing,
            },
            IndexEncoding::Bitmap => Decoder::Bitmap(Bitmap::new(bytes, extent)),
            IndexEncoding::Dense => Decoder::Dense(Dense::new(extent)),
            IndexEncoding::CountedBitmap => match CountedBitmap::new(stream, extent) {
                Ok(counted) => Decoder::CountedBitmap(counted),
                Err(_) => Decoder::Nothing,
            },
        })
    }

    /// Every check that can be made on an index stream.
    pub(crate) fn check(encoding: IndexEncoding, stream: Stream<'a, '_>, extent: Extent) -> Result<(), Wrong> {
        match encoding {
            IndexEncoding::RiceGaps => rice_gaps::check(stream, extent),
            IndexEncoding::Granules => granules::check(stream, extent),
            IndexEncoding::Bitmap => bitmap::check(stream, extent),
            IndexEncoding::Dense => dense::check(stream, extent),
            IndexEncoding::CountedBitmap => counted_bitmap::check(stream, extent),
        }
    }

    /// Folds over all indices in the loop of their encoding.
    #[inline]
    pub(crate) fn run<B>(self, init: B, f: impl FnMut(B, usize) -> B) -> B {
        match self.0 {
            Decoder::RiceGaps(decoder) => decoder.run(init, f).0,
            Decoder::Granules(decoder) => decoder.run(init, f).0,
            Decoder::Bitmap(decoder) => decoder.run(init, f),
            Decoder::Dense(decoder) => decoder.run(init, f),
            Decoder::CountedBitmap(decoder) => decoder.run(init, f).0,
            Decoder::Nothing => init,
        }
    }

    /// Calls `f` with runs of neighboring indices, ascending: the first, and the one after the last. A granule is a run, and
    /// so is each single element: runs may touch.
    #[inline]
    pub fn for_each_run(self, mut f: impl FnMut(usize, usize)) {
        match self.0 {
            Decoder::Granules(decoder) => decoder.runs(f),
            Decoder::Dense(decoder) => {
                let (start, stop) = decoder.bounds();
                f(start, stop);
            }
            _ => self.run((), |(), index| f(index, index.saturating_add(1))),
        }
    }
}

impl Iterator for Indices<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        match &mut self.0 {
            Decoder::RiceGaps(decoder) => decoder.next(),
            Decoder::Granules(decoder) => decoder.next(),
            Decoder::Bitmap(decoder) => decoder.next(),
            Decoder::Dense(decoder) => decoder.next(),
            Decoder::CountedBitmap(decoder) => decoder.next(),
            Decoder::Nothing => None,
        }
    }

    #[inline]
    fn fold<B, F: FnMut(B, usize) -> B>(self, init: B, f: F) -> B {
        self.run(init, f)
    }
}

/// The end of a run over a bit stream: what went wrong, or nothing.
pub(crate) type Outcome = Result<(), ErrorKind>;

#[cfg(all(test, feature = "write"))]
mod tests;
