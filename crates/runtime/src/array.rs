//! Arrays by name: what goes into a base model that takes no pictures, and what it answers.

use taskvec_bundle::{Port, StoredDtype};

use crate::error::{Error, ErrorKind};

/// An input or an output of a base model: a name, a dtype, sides, and bytes, little-endian and row-major.
///
/// Having an `Array` tells you: it has as many bytes as its dtype and sides ask for. It tells you nothing about any base.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    name: String,
    dtype: StoredDtype,
    shape: Vec<u64>,
    /// Aligned for every dtype, with zeros up to a whole word.
    words: Vec<u64>,
    byte_count: usize,
}

impl Array {
    /// An array over a copy of `bytes`.
    ///
    /// # Errors
    /// `Usage` when `bytes` are not as many as the dtype and the sides ask for, the dtype is not of whole bytes, or one of
    /// booleans is neither 0 nor 1: for a library in C++ that is no boolean.
    pub fn new(name: impl Into<String>, dtype: StoredDtype, shape: &[u64], bytes: &[u8]) -> Result<Self, Error> {
        let name = name.into();
        let count = shape.iter().try_fold(1u64, |count, &side| count.checked_mul(side));
        let bits = count.and_then(|count| count.checked_mul(dtype.size_bits()));
        if dtype.size_bits() < 8 || bits != (bytes.len() as u64).checked_mul(8) {
            let clause = format!("array `{name}`: {} bytes are no {} {shape:?}", bytes.len(), dtype.name());
            return Err(Error::new(ErrorKind::Usage, clause));
        }
        if dtype == StoredDtype::Bool
            && let Some(byte) = bytes.iter().find(|&&byte| byte > 1)
        {
            return Err(Error::new(ErrorKind::Usage, format!("array `{name}`: {byte} is no BOOL, expected 0 or 1")));
        }
        let mut words = vec![0u64; bytes.len().div_ceil(8)];
        bytemuck::cast_slice_mut(&mut words)[..bytes.len()].copy_from_slice(bytes);
        Ok(Self { name, dtype, shape: shape.to_vec(), words, byte_count: bytes.len() })
    }

    /// An array of f32.
    ///
    /// # Errors
    /// As [`Array::new`].
    pub fn of_f32(name: impl Into<String>, shape: &[u64], values: &[f32]) -> Result<Self, Error> {
        Self::new(name, StoredDtype::F32, shape, bytemuck::cast_slice(values))
    }

    /// An array of i64, such as token ids.
    ///
    /// # Errors
    /// As [`Array::new`].
    pub fn of_i64(name: impl Into<String>, shape: &[u64], values: &[i64]) -> Result<Self, Error> {
        Self::new(name, StoredDtype::I64, shape, bytemuck::cast_slice(values))
    }

    /// Its name in the graph.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Type of its elements.
    pub fn dtype(&self) -> StoredDtype {
        self.dtype
    }

    /// Its sides; empty for a single number.
    pub fn shape(&self) -> &[u64] {
        &self.shape
    }

    /// Its bytes, little-endian and row-major.
    pub fn bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[..self.byte_count]
    }

    /// Its numbers, if they are f32.
    pub fn as_f32(&self) -> Option<&[f32]> {
        (self.dtype == StoredDtype::F32).then(|| bytemuck::cast_slice(self.bytes()))
    }

    /// Its numbers as f32, whatever they are, rounded where they have to be; none for a dtype that no network answers with.
    pub fn to_f32(&self) -> Option<Vec<f32>> {
        let bytes = self.bytes();
        Some(match self.dtype {
            StoredDtype::F32 => bytemuck::cast_slice(bytes).to_vec(),
            StoredDtype::F64 => each(bytes, |bytes| f64::from_le_bytes(bytes) as f32),
            StoredDtype::F16 => each(bytes, widen::<taskvec_arithmetic::F16>),
            StoredDtype::Bf16 => each(bytes, widen::<taskvec_arithmetic::Bf16>),
            StoredDtype::I64 => each(bytes, |bytes| i64::from_le_bytes(bytes) as f32),
            StoredDtype::I32 => each(bytes, |bytes| i32::from_le_bytes(bytes) as f32),
            StoredDtype::I16 => each(bytes, |bytes| f32::from(i16::from_le_bytes(bytes))),
            StoredDtype::I8 => each(bytes, |bytes| f32::from(i8::from_le_bytes(bytes))),
            StoredDtype::U64 => each(bytes, |bytes| u64::from_le_bytes(bytes) as f32),
            StoredDtype::U32 => each(bytes, |bytes| u32::from_le_bytes(bytes) as f32),
            StoredDtype::U16 => each(bytes, |bytes| f32::from(u16::from_le_bytes(bytes))),
            StoredDtype::U8 | StoredDtype::Bool => each(bytes, |[byte]| f32::from(byte)),
            _ => return None,
        })
    }

    /// What `port` is given when a network is tried, with these sides: its `fill`, or else floats from -1 to 1 with no two
    /// neighbors alike, and whole numbers that are 0 and 1 in turn.
    ///
    /// # Errors
    /// `Unsupported` for a dtype that cannot be made here.
    pub(crate) fn trial(port: &Port, shape: &[u64]) -> Result<Self, Error> {
        let count = shape.iter().product::<u64>();
        let whole = |index: u64| port.fill.map_or((index % 2) as i64, |fill| fill as i64);
        let float = |index: u64| port.fill.map_or(((index * 37) % 101) as f64 / 50.0 - 1.0, |fill| fill);
        let bytes: Vec<u8> = match port.dtype {
            StoredDtype::F32 => (0..count).flat_map(|index| (float(index) as f32).to_le_bytes()).collect(),
            StoredDtype::F64 => (0..count).flat_map(|index| float(index).to_le_bytes()).collect(),
            StoredDtype::F16 => {
                let narrow = <taskvec_arithmetic::F16 as taskvec_arithmetic::Narrow16>::narrow;
                (0..count).flat_map(|index| narrow(float(index) as f32).to_le_bytes()).collect()
            }
            StoredDtype::I64 => (0..count).flat_map(|index| whole(index).to_le_bytes()).collect(),
            StoredDtype::I32 => (0..count).flat_map(|index| (whole(index) as i32).to_le_bytes()).collect(),
            StoredDtype::I8 | StoredDtype::U8 => (0..count).map(|index| whole(index) as u8).collect(),
            StoredDtype::Bool => (0..count).map(|index| u8::from(whole(index) != 0)).collect(),
            other => {
                let clause = format!("input `{}` is {}, which cannot be tried here", port.name, other.name());
                return Err(Error::new(ErrorKind::Unsupported, clause));
            }
        };
        Self::new(port.name.clone(), port.dtype, shape, &bytes)
    }
}

fn each<const BYTES: usize>(bytes: &[u8], number: impl Fn([u8; BYTES]) -> f32) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|&bytes| number(bytes)).collect()
}

fn widen<N: taskvec_arithmetic::Narrow16>(bytes: [u8; 2]) -> f32 {
    N::widen(u16::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_do_not_fit_are_refused() {
        let error = Array::of_f32("x", &[2, 3], &[0.0; 5]).unwrap_err();
        assert_eq!(error.to_string(), "array `x`: 20 bytes are no F32 [2, 3]");
        assert!(Array::new("x", StoredDtype::I64, &[u64::MAX, 2], &[]).is_err());
        assert_eq!(Array::of_i64("n", &[], &[3]).unwrap().to_f32(), Some(vec![3.0]));
    }

    #[test]
    fn booleans_are_0_or_1() {
        let error = Array::new("mask", StoredDtype::Bool, &[3], &[1, 0, 2]).unwrap_err();
        assert_eq!(error.to_string(), "array `mask`: 2 is no BOOL, expected 0 or 1");
        let filled = Port { name: "mask".to_owned(), dtype: StoredDtype::Bool, shape: Vec::new(), fill: Some(7.0) };
        assert_eq!(Array::trial(&filled, &[2]).unwrap().bytes(), [1, 1]);
    }

    #[test]
    fn whole_numbers_of_every_size_are_numbers() {
        for (dtype, bytes) in [
            (StoredDtype::U8, &[200][..]),
            (StoredDtype::U16, &[200, 0]),
            (StoredDtype::I16, &[200, 0]),
            (StoredDtype::U32, &[200, 0, 0, 0]),
            (StoredDtype::U64, &[200, 0, 0, 0, 0, 0, 0, 0]),
        ] {
            assert_eq!(Array::new("n", dtype, &[], bytes).unwrap().to_f32(), Some(vec![200.0]), "{dtype:?}");
        }
    }

    #[test]
    fn bytes_come_back_and_lie_as_every_dtype_wants() {
        for count in 0..40 {
            let bytes: Vec<u8> = (0..count).collect();
            let array = Array::new("b", StoredDtype::U8, &[u64::from(count)], &bytes).unwrap();
            assert_eq!(array.bytes(), bytes);
            assert_eq!(array.bytes().as_ptr() as usize % 8, 0);
        }
    }
}
