//! One tensor of a checkpoint: what it is, and where its numbers lie.

use std::ops::Range;

use taskvec_bundle::StoredDtype;
use taskvec_dataset::{Error, Result};

use crate::source::damaged;

/// Dimensions that a tensor may have: as many as a pack can say.
const RANK_MAX: usize = 255;
/// How many times its own bytes a view may reach over: what lies between is read with it.
const SPREAD_MAX: u64 = 16;

/// A tensor in a checkpoint.
///
/// Having one tells you: its numbers lie in a file of the checkpoint; they are as many as its shape says. It tells you
/// nothing about the numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredTensor {
    pub(crate) name: String,
    dtype: StoredDtype,
    shape: Vec<u64>,
    size_bytes: u64,
    place: Place,
}

/// Where the numbers of a tensor lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Index of the file among those of the checkpoint.
    pub(crate) file: usize,
    /// First byte.
    pub(crate) offset: u64,
    /// Elements from one index of a dimension to the next; none for row-major without gaps.
    pub(crate) strides: Option<Vec<u64>>,
}

impl StoredTensor {
    /// A tensor whose numbers, row-major and without gaps, are the `available` bytes at `place`, all of them.
    pub(crate) fn whole(
        name: String,
        dtype: StoredDtype,
        shape: Vec<u64>,
        place: Place,
        available: Range<u64>,
    ) -> Result<StoredTensor> {
        let tensor = StoredTensor::within(name, dtype, shape, place, available.clone())?;
        let found = available.end - available.start;
        if tensor.size_bytes != found {
            let (name, expected) = (&tensor.name, tensor.size_bytes);
            return Err(damaged(format!(
                "tensor `{name}`: shape {:?} of {} takes {expected} bytes, found {found}",
                tensor.shape,
                dtype.name()
            )));
        }
        Ok(tensor)
    }

    /// A tensor whose numbers lie somewhere among the `available` bytes of its file.
    pub(crate) fn within(
        name: String,
        dtype: StoredDtype,
        shape: Vec<u64>,
        mut place: Place,
        available: Range<u64>,
    ) -> Result<StoredTensor> {
        let subject = format!("tensor `{name}`");
        if shape.len() > RANK_MAX {
            return Err(Error::limit(format!("{subject} has {} dimensions, at most {RANK_MAX} are read", shape.len())));
        }
        let bits = shape.iter().try_fold(dtype.size_bits(), |bits, &dimension| bits.checked_mul(dimension));
        let Some(size_bytes) = bits.filter(|bits| bits % 8 == 0).map(|bits| bits / 8) else {
            return Err(damaged(format!("{subject}: shape {shape:?} of {} is no count of bytes", dtype.name())));
        };
        if place.strides.as_ref().is_some_and(|strides| are_row_major(&shape, strides)) {
            place.strides = None;
        }
        let span_bytes = match &place.strides {
            Some(strides) => span_elements(&shape, strides).and_then(|span| span.checked_mul(dtype.size_bits() / 8)),
            None => Some(size_bytes),
        };
        let end = span_bytes.and_then(|span| place.offset.checked_add(span));
        if place.offset < available.start || end.is_none_or(|end| end > available.end) {
            let (from, count) = (place.offset.saturating_sub(available.start), available.end - available.start);
            return Err(damaged(format!(
                "{subject}: shape {shape:?} of {} from byte {from} on does not lie in its {count} bytes",
                dtype.name()
            )));
        }
        // Less than its elements: a view that repeats numbers, in which a few bytes could claim to be a huge tensor.
        if span_bytes.is_some_and(|span| span < size_bytes || span / SPREAD_MAX > size_bytes) {
            return Err(Error::unsupported(format!(
                "{subject}: a view of {size_bytes} bytes over {} bytes, expected one without repetition and large gaps",
                span_bytes.unwrap_or_default()
            ))
            .with_help("save the tensor itself (`tensor.contiguous().clone()`), not a view of another one"));
        }
        Ok(StoredTensor { name, dtype, shape, size_bytes, place })
    }

    /// Its name, as its model has it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How its elements are stored.
    pub fn dtype(&self) -> StoredDtype {
        self.dtype
    }

    /// Its dimensions, row-major; empty for a single number.
    pub fn shape(&self) -> &[u64] {
        &self.shape
    }

    /// The product of the shape.
    pub fn element_count(&self) -> u64 {
        self.shape.iter().product()
    }

    /// What its elements take, row-major and without gaps.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// First byte of its numbers in its file. A view with strides has them in another order there.
    pub fn offset(&self) -> u64 {
        self.place.offset
    }

    /// Whether it counts or marks something (a counter of batches, an index, a flag): no weight, and no part of a task vector.
    pub fn is_integer(&self) -> bool {
        use StoredDtype as D;
        matches!(self.dtype, D::Bool | D::U8 | D::I8 | D::I16 | D::U16 | D::I32 | D::U32 | D::I64 | D::U64)
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    pub(crate) fn place_mut(&mut self) -> &mut Place {
        &mut self.place
    }

    /// The bytes of its file from its first number to its last, for a view with strides.
    pub(crate) fn span(&self, strides: &[u64]) -> Range<u64> {
        // Was checked to be countable.
        let span = span_elements(&self.shape, strides).unwrap_or_default() * (self.dtype.size_bits() / 8);
        self.place.offset..self.place.offset + span
    }

    /// The elements of `span`, which holds a view with these strides, in row-major order.
    pub(crate) fn gathered(&self, span: &[u8], strides: &[u64]) -> Vec<u8> {
        let width = (self.dtype.size_bits() / 8) as usize;
        let (mut index, mut at) = (vec![0; self.shape.len()], 0);
        let mut gathered = Vec::with_capacity(self.size_bytes as usize);
        while gathered.len() < self.size_bytes as usize {
            gathered.extend_from_slice(&span[at..at + width]);
            for axis in (0..index.len()).rev() {
                index[axis] += 1;
                at += strides[axis] as usize * width;
                if index[axis] < self.shape[axis] {
                    break;
                }
                at -= (strides[axis] * self.shape[axis]) as usize * width;
                index[axis] = 0;
            }
        }
        gathered
    }
}

/// Elements from the first number to the last of a view, both included; none if they cannot be counted.
fn span_elements(shape: &[u64], strides: &[u64]) -> Option<u64> {
    if shape.contains(&0) {
        return Some(0);
    }
    let mut last = 0u64;
    for (size, stride) in shape.iter().zip(strides) {
        last = last.checked_add((size - 1).checked_mul(*stride)?)?;
    }
    last.checked_add(1)
}

/// Whether the strides are those of a tensor without gaps; those of dimensions of one index do not matter.
fn are_row_major(shape: &[u64], strides: &[u64]) -> bool {
    let mut expected = 1u64;
    shape.iter().zip(strides).rev().all(|(&size, &stride)| {
        let fits = size <= 1 || stride == expected;
        expected = expected.saturating_mul(size.max(1));
        fits
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(shape: &[u64], strides: &[u64], available: Range<u64>) -> Result<StoredTensor> {
        let place = Place { file: 0, offset: 4, strides: Some(strides.to_vec()) };
        StoredTensor::within("w".to_owned(), StoredDtype::U8, shape.to_vec(), place, available)
    }

    #[test]
    fn a_view_is_put_in_row_major_order() {
        let transposed = view(&[2, 3], &[1, 2], 4..10).unwrap();
        let strides = transposed.place().strides.clone().unwrap();
        assert_eq!(transposed.span(&strides), 4..10);
        assert_eq!(transposed.gathered(&[0, 1, 2, 3, 4, 5], &strides), [0, 2, 4, 1, 3, 5]);
        assert_eq!(view(&[2, 1, 3], &[3, 77, 1], 4..10).unwrap().place().strides, None, "row-major after all");
    }

    #[test]
    fn a_view_that_does_not_fit_is_refused_before_anything_is_allocated() {
        struct Case(&'static str, &'static [u64], &'static [u64], Range<u64>);
        let cases = [
            Case("past its end", &[2, 3], &[3, 1], 4..9),
            Case("before its start", &[1], &[1], 5..9),
            Case("repeats", &[1 << 40], &[0], 4..5),
            Case("repeats one dimension", &[4, 4], &[1, 0], 4..100),
            Case("spread thinly", &[2], &[1 << 20], 4..1 << 21),
            Case("uncountable span", &[1 << 40, 2], &[1 << 40, 1], 4..100),
            Case("uncountable size", &[1 << 40, 1 << 40], &[1, 1], 4..100),
        ];
        for Case(name, shape, strides, available) in cases {
            let error = view(shape, strides, available).unwrap_err();
            assert!(error.to_string().contains("tensor `w`") && error.help().is_some(), "{name}: {error:?}");
        }
    }
}
