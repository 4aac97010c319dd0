//! From indices that come in parts to the shortest stream for them.
//!
//! Indices are gone through twice: a `Survey` counts what each encoding would take, and an `Encoder` writes the one that a `Plan`
//! has chosen. Nothing is kept of them in between. Masks of granules are gone through once more, since what they would take is
//! known only when the granule is.

use alloc::vec::Vec;

use super::IndexEncoding;
use super::bitmap::{self, Bytes};
use super::counted_bitmap::{ByteCode, ByteCounts};
use super::granules::{self, LargestGranule};
use super::rice_gaps;
use crate::bits::{BitCounter, BitSink as _, BitWriter};
use crate::width::{length, wide};

/// What is learned of indices when they are gone through for the first time.
pub(crate) struct Survey {
    elements: u64,
    gaps: rice_gaps::Encoder<BitCounter>,
    granule: LargestGranule,
    bytes: Bytes,
    counts: ByteCounts,
}

/// What a mask of granules would take.
pub(crate) struct GranuleSurvey {
    granule_elements: u64,
    encoder: granules::Encoder<BitCounter>,
}

/// An encoding, and what is known of its stream before it is written.
pub(crate) struct Plan {
    elements: u64,
    size_bytes: u64,
    form: Form,
}

enum Form {
    RiceGaps,
    Granules { granule_elements: u64, granule_count: u64 },
    Bitmap,
    Dense,
    CountedBitmap(ByteCode),
}

impl Survey {
    /// Of indices into a tensor of so many elements, one or more, not all of which are in the mask.
    pub(crate) fn new(elements: u64) -> Self {
        Self {
            elements,
            gaps: rice_gaps::Encoder::new(BitCounter::default()),
            granule: LargestGranule::default(),
            bytes: Bytes::default(),
            counts: ByteCounts::new(),
        }
    }

    /// The next indices.
    pub(crate) fn add(&mut self, indices: &[u64]) {
        let Self { gaps, granule, bytes, counts, .. } = self;
        for index in indices {
            gaps.push(*index);
            granule.push(*index);
            bytes.push(*index, |byte, zeros| counts.add(byte, zeros));
        }
    }

    /// What must be learned of the indices of a mask of granules before there is a plan.
    pub(crate) fn granules(&self) -> Option<GranuleSurvey> {
        let granule_elements = self.granule.finish(self.elements)?;
        let encoder = granules::Encoder::new(granule_elements, BitCounter::default());
        Some(GranuleSurvey { granule_elements, encoder })
    }

    /// The shortest encoding, of equal ones that with the lowest number.
    pub(crate) fn plan(self, granules: Option<GranuleSurvey>) -> Plan {
        let (gaps, others) = self.plans(granules);
        let shorter = |best: Plan, other: Plan| if other.size_bytes < best.size_bytes { other } else { best };
        others.into_iter().flatten().fold(gaps, shorter)
    }

    /// Gaps, which every mask can be written as, and the others by their numbers.
    pub(super) fn plans(self, granules: Option<GranuleSurvey>) -> (Plan, [Option<Plan>; 3]) {
        let Self { elements, gaps, bytes, mut counts, .. } = self;
        let plan = |size_bytes, form| Plan { elements, size_bytes, form };
        let granules = granules.map(|GranuleSurvey { granule_elements, encoder }| {
            let (numbers, granule_count) = encoder.finish();
            let header_bytes = wide(granules::header(granule_elements, granule_count).len());
            let size_bytes = numbers.size_bytes().saturating_add(header_bytes);
            plan(size_bytes, Form::Granules { granule_elements, granule_count })
        });
        bytes.finish(elements, |byte, zeros| counts.add(byte, zeros));
        let code = ByteCode::new(&counts);
        let counted = plan(code.size_bytes(), Form::CountedBitmap(code));
        let bitmap = plan(elements.div_ceil(8), Form::Bitmap);
        (plan(gaps.finish().size_bytes(), Form::RiceGaps), [granules, Some(bitmap), Some(counted)])
    }
}

impl GranuleSurvey {
    /// The next indices, the same ones as before.
    pub(crate) fn add(&mut self, indices: &[u64]) {
        indices.iter().for_each(|index| self.encoder.push(*index));
    }
}

impl Plan {
    /// Of a mask that holds all elements.
    pub(crate) const fn dense(elements: u64) -> Self {
        Self { elements, size_bytes: 0, form: Form::Dense }
    }

    pub(crate) const fn encoding(&self) -> IndexEncoding {
        match self.form {
            Form::RiceGaps => IndexEncoding::RiceGaps,
            Form::Granules { .. } => IndexEncoding::Granules,
            Form::Bitmap => IndexEncoding::Bitmap,
            Form::Dense => IndexEncoding::Dense,
            Form::CountedBitmap(_) => IndexEncoding::CountedBitmap,
        }
    }

    /// Size of the stream.
    pub(crate) const fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// What writes the stream.
    pub(crate) fn encoder(self) -> Encoder {
        let Self { elements, size_bytes, form } = self;
        let mut bits = BitWriter::with_capacity(size_bytes);
        let form = match form {
            Form::RiceGaps => Writing::RiceGaps(rice_gaps::Encoder::new(bits)),
            Form::Granules { granule_elements, granule_count } => {
                let header = granules::header(granule_elements, granule_count);
                header.iter().for_each(|byte| bits.put(u64::from(*byte), 8));
                Writing::Granules(granules::Encoder::new(granule_elements, bits))
            }
            Form::Bitmap => Writing::Bitmap(Bytes::default(), Vec::with_capacity(length(size_bytes))),
            Form::Dense => Writing::Dense,
            Form::CountedBitmap(code) => {
                code.start(&mut bits);
                Writing::CountedBitmap(Bytes::default(), code, bits)
            }
        };
        Encoder { elements, form }
    }
}

/// Writes the stream that was planned.
pub(crate) struct Encoder {
    elements: u64,
    form: Writing,
}

enum Writing {
    RiceGaps(rice_gaps::Encoder<BitWriter>),
    Granules(granules::Encoder<BitWriter>),
    Bitmap(Bytes, Vec<u8>),
    Dense,
    CountedBitmap(Bytes, ByteCode, BitWriter),
}

impl Encoder {
    /// The next indices, the same ones as before.
    pub(crate) fn add(&mut self, indices: &[u64]) {
        let indices = indices.iter().copied();
        match &mut self.form {
            Writing::RiceGaps(gaps) => indices.for_each(|index| gaps.push(index)),
            Writing::Granules(granules) => indices.for_each(|index| granules.push(index)),
            Writing::Bitmap(bytes, stream) => {
                indices.for_each(|index| bytes.push(index, |byte, zeros| bitmap::put(stream, byte, zeros)));
            }
            Writing::Dense => {}
            Writing::CountedBitmap(bytes, code, bits) => {
                indices.for_each(|index| bytes.push(index, |byte, zeros| code.put(bits, byte, zeros)));
            }
        }
    }

    /// The stream.
    pub(crate) fn finish(self) -> Vec<u8> {
        match self.form {
            Writing::RiceGaps(gaps) => gaps.finish().finish(),
            Writing::Granules(granules) => granules.finish().0.finish(),
            Writing::Bitmap(bytes, mut stream) => {
                bytes.finish(self.elements, |byte, zeros| bitmap::put(&mut stream, byte, zeros));
                stream
            }
            Writing::Dense => Vec::new(),
            Writing::CountedBitmap(bytes, code, mut bits) => {
                bytes.finish(self.elements, |byte, zeros| code.put(&mut bits, byte, zeros));
                bits.finish()
            }
        }
    }
}
