//! The task's output layer and its labels (`FORMAT.md`, 7.1).

use crate::cursor::{Checked, Cursor};
use crate::error::ErrorKind;
use crate::header::Section;
use crate::layout::{LABEL_BYTES_MIN, Limits};
use crate::report::{Report, Wrong};
use crate::stream::Stream;
use crate::values::{self, ValueEncoding, Values};
use crate::width::{length, wide};

/// A linear layer from the network's features to one logit per class.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Head<'a> {
    /// Numbers that the network gives for one input, at least 1.
    pub feature_width: u32,
    /// Classes, at least 1.
    pub class_count: u32,
    /// How the weights are written down.
    pub weight_encoding: ValueEncoding,
    labels: Labels<'a>,
    weight: &'a [u8],
    bias: &'a [[u8; 4]],
}

impl<'a> Head<'a> {
    /// The name of each class.
    #[must_use]
    pub const fn labels(&self) -> Labels<'a> {
        self.labels
    }

    /// The weights.
    ///
    /// # Shapes
    ///
    /// `[class_count, feature_width]`, row-major.
    #[must_use]
    pub fn weight(&self) -> Values<'a> {
        let count = wide(self.bias.len()).saturating_mul(u64::from(self.feature_width));
        Values::new(self.weight_encoding, self.weight, count)
    }

    /// The bytes that hold the weights.
    #[must_use]
    pub const fn weight_bytes(&self) -> &'a [u8] {
        self.weight
    }

    /// One number for each class.
    pub fn bias(&self) -> impl ExactSizeIterator<Item = f32> + Clone + use<'a> {
        self.bias.iter().map(|bytes| f32::from_le_bytes(*bytes))
    }

    /// Step 20 of `FORMAT.md`, 13.
    pub(crate) fn read(section: Section<'a>, limits: &Limits, report: &Report) -> Result<Self, Wrong> {
        let mut cursor = Cursor::new(section.bytes, section.offset, "head", report);
        let feature_width = nonzero(&mut cursor)?;
        let at = cursor.offset();
        let class_count = nonzero(&mut cursor)?;
        let weight_encoding = weight_encoding(&mut cursor)?;
        cursor.zero(3)?;
        let classes = u64::from(class_count);
        if length(classes) > cursor.rest().len() / LABEL_BYTES_MIN {
            return Err(cursor.error(ErrorKind::Count, at, cursor.remaining(), classes));
        }
        if classes > limits.max_classes {
            return Err(cursor.error(ErrorKind::Limit, at, limits.max_classes, classes));
        }
        let labels = Labels { texts: cursor.again(), left: class_count };
        for _ in 0..class_count {
            cursor.text(limits.max_string_bytes, false)?;
        }
        let weight = weight(&mut cursor, weight_encoding, classes.saturating_mul(u64::from(feature_width)))?;
        let bias = cursor.f32s(classes, f32::MIN)?;
        cursor.finish()?;
        Ok(Self { feature_width, class_count, weight_encoding, labels, weight, bias })
    }
}

/// The names of a head's classes.
#[derive(Clone, Copy, Debug)]
pub struct Labels<'a> {
    texts: Checked<'a>,
    left: u32,
}

impl<'a> Iterator for Labels<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        self.left = self.left.checked_sub(1)?;
        self.texts.next(|cursor| cursor.text(u64::MAX, false))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = length(u64::from(self.left));
        (left, Some(left))
    }
}

impl ExactSizeIterator for Labels<'_> {}

/// A count that is at least 1.
pub(crate) fn nonzero(cursor: &mut Cursor<'_, '_>) -> Result<u32, Wrong> {
    let at = cursor.offset();
    match cursor.u32()? {
        0 => Err(cursor.error(ErrorKind::Count, at, 1, 0)),
        count => Ok(count),
    }
}

fn weight_encoding(cursor: &mut Cursor<'_, '_>) -> Result<ValueEncoding, Wrong> {
    let at = cursor.offset();
    let code = cursor.u8()?;
    match ValueEncoding::from_code(code) {
        // A distance says nothing without a base value, and the size of coded levels stands nowhere.
        Some(encoding) if values::size_bytes(encoding, 1).is_some() => Ok(encoding),
        _ => Err(cursor.error(ErrorKind::Encoding, at, 0, u64::from(code))),
    }
}

fn weight<'a>(cursor: &mut Cursor<'a, '_>, encoding: ValueEncoding, count: u64) -> Result<&'a [u8], Wrong> {
    let offset = cursor.offset();
    let bytes = cursor.take(values::size_bytes(encoding, count).unwrap_or(u64::MAX))?;
    values::check_deltas(encoding, Stream { bytes, offset, subject: "head", report: cursor.report() })?;
    Ok(bytes)
}
