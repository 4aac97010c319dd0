//! The grid of a quantized tensor: which float each of its whole numbers stands for.

use taskvec_arithmetic::Grid;
use taskvec_bundle::{Base, Counterpart, StoredDtype, TensorFile};

use crate::error::{Error, ErrorKind, of_bundle};

/// What the whole numbers of a tensor stand for: element `q` for `(q - zero_point) * scale`, with one scale and zero point,
/// or one for each index along a side.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantization {
    /// How its elements are stored: I8, U8 or I32.
    pub stored: StoredDtype,
    /// Positive and finite.
    pub scales: Vec<f32>,
    /// Whole numbers, one for each scale.
    pub zero_points: Vec<f32>,
    /// Elements between one scale and the next.
    pub inner: usize,
}

impl Quantization {
    /// The grid of the tensor that `counterpart` names, if it is quantized.
    ///
    /// # Errors
    /// `Damaged` when a scale is not positive and finite.
    pub(crate) fn of(
        described: &Base,
        counterpart: &Counterpart,
        file: &TensorFile,
        bytes: &[u8],
    ) -> Result<Option<Self>, Error> {
        let Some(names) = &counterpart.grid else { return Ok(None) };
        // `base.json` was checked to list these tensors, with these dtypes and counts, and the file to hold what is listed.
        let part = |name: &str| match file.tensor(name) {
            Some(tensor) => tensor.bytes(bytes).map_err(of_bundle),
            None => Err(Error::new(ErrorKind::Damaged, format!("tensor `{name}`: is missing"))),
        };
        let tensor = described.tensor(&counterpart.name);
        let stored = tensor.map_or(StoredDtype::I8, |tensor| tensor.dtype);
        let scales: Vec<f32> = part(&names.scale)?.as_chunks().0.iter().map(|&word| f32::from_le_bytes(word)).collect();
        let zero_points = match &names.zero_point {
            Some(name) => stored.whole_numbers(part(name)?).unwrap_or_default(),
            None => vec![0.0; scales.len()],
        };
        let sides = tensor.map_or(&[][..], |tensor| &tensor.shape);
        let after = names.axis.map_or(&[][..], |axis| sides.get(axis + 1..).unwrap_or_default());
        // The sides of a tensor without elements may make more than can be counted; nothing is looked up in its grid.
        let inner = after.iter().try_fold(1u64, |count, &side| count.checked_mul(side));
        let inner = inner.and_then(|inner| usize::try_from(inner).ok()).unwrap_or(usize::MAX).max(1);
        let found = Self { stored, scales, zero_points, inner };
        if found.grid().is_none() {
            let clause = format!("tensor `{}`: a scale is not positive and finite", names.scale);
            return Err(Error::new(ErrorKind::Damaged, clause).with_help("quantize the model again"));
        }
        Ok(Some(found))
    }

    /// The same for the arithmetic.
    pub(crate) fn grid(&self) -> Option<Grid<'_>> {
        Grid::new(&self.scales, &self.zero_points, self.inner)
    }
}
