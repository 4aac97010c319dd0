//! Writing a safetensors file: the same tensors give the same bytes, whatever order they come in.
//!
//! Each tensor starts at a multiple of the largest power of two that its size is a multiple of, up to a page of memory.
//! So a matrix of whole pages starts on a page, and 4 KiB of it in a mask are one page of a mapping and not two halves.
//! Nothing is padded but the header, since tensors follow from the largest of these powers down. A reader must not count
//! on it: files of others are in any order, and so are earlier ones of ours.

use std::io::{self, Write};

use serde_json::{Map, Value, json};

use super::header::METADATA;
use super::{LENGTH_BYTES, StoredDtype};
use crate::error::{Error, ErrorKind};

/// The first tensor starts at a multiple of this at least: a cache line, and the widest vector registers.
const ALIGNMENT_BYTES_MIN: u64 = 64;
/// And of this at most: a page of x86-64 and of most ARM systems, and the granule that masks are trained in.
const ALIGNMENT_BYTES_MAX: u64 = 4096;

/// A tensor to be written.
#[derive(Clone, Copy, Debug)]
pub struct NamedTensor<'a> {
    /// Its name, as PyTorch has it.
    pub name: &'a str,
    /// How its elements are stored.
    pub dtype: StoredDtype,
    /// Its dimensions, row-major.
    pub shape: &'a [u64],
    /// Its elements, little-endian.
    pub bytes: &'a [u8],
}

/// Writes `tensors` as a safetensors file: those first whose sizes are multiples of the largest power of two, then by name,
/// so that every tensor is aligned, and to whole pages of 4 KiB if it consists of them.
///
/// # Errors
///
/// `Usage` if a name is empty, reserved or there twice, or if the bytes of a tensor do not fit its shape; `Io` if
/// `out` refuses.
pub fn write(out: &mut dyn Write, tensors: &[NamedTensor<'_>]) -> Result<(), Error> {
    let mut sorted: Vec<&NamedTensor<'_>> = tensors.iter().collect();
    sorted.sort_by_key(|tensor| tensor.name);
    check(&sorted)?;
    sorted.sort_by_key(|tensor| std::cmp::Reverse(alignment_bytes(tensor)));
    write_sorted(out, &sorted)
        .map_err(|cause| Error::new(ErrorKind::Io, "safetensors file", "could not be written").with_source(cause))
}

/// The largest power of two that the size of the tensor is a multiple of, up to a page. Sizes are multiples of their
/// elements' sizes, so this is too.
fn alignment_bytes(tensor: &NamedTensor<'_>) -> u64 {
    1 << tensor.bytes.len().trailing_zeros().min(ALIGNMENT_BYTES_MAX.ilog2())
}

fn check(by_name: &[&NamedTensor<'_>]) -> Result<(), Error> {
    let twice = by_name.windows(2).find(|pair| pair[0].name == pair[1].name);
    if let Some(pair) = twice {
        return Err(Error::usage(format!("tensor `{}`", pair[0].name), "is given twice"));
    }
    for tensor in by_name {
        let subject = || format!("tensor `{}`", tensor.name);
        if tensor.name.is_empty() || tensor.name == METADATA {
            return Err(Error::usage(subject(), "cannot have this name in a safetensors file"));
        }
        let bits =
            tensor.shape.iter().try_fold(tensor.dtype.size_bits(), |bits, &dimension| bits.checked_mul(dimension));
        if bits != Some(tensor.bytes.len() as u64 * 8) {
            let clause = format!(
                "shape {:?} of {} does not take {} bytes",
                tensor.shape,
                tensor.dtype.name(),
                tensor.bytes.len()
            );
            return Err(Error::usage(subject(), clause));
        }
    }
    Ok(())
}

fn write_sorted(out: &mut dyn Write, tensors: &[&NamedTensor<'_>]) -> io::Result<()> {
    let mut header = Map::new();
    let mut offset = 0;
    for tensor in tensors {
        let end = offset + tensor.bytes.len() as u64;
        let entry = json!({"dtype": tensor.dtype.name(), "shape": tensor.shape, "data_offsets": [offset, end]});
        header.insert(tensor.name.to_owned(), entry);
        offset = end;
    }
    let mut header = Value::Object(header).to_string().into_bytes();
    // The format allows spaces after the JSON.
    let alignment_bytes = tensors.first().map_or(0, |first| alignment_bytes(first)).max(ALIGNMENT_BYTES_MIN);
    let data_offset = (LENGTH_BYTES + header.len() as u64).next_multiple_of(alignment_bytes);
    header.resize((data_offset - LENGTH_BYTES) as usize, b' ');
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(&header)?;
    tensors.iter().try_for_each(|tensor| out.write_all(tensor.bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensors::TensorFile;

    fn tensors() -> [NamedTensor<'static>; 3] {
        [
            NamedTensor { name: "b", dtype: StoredDtype::Bool, shape: &[3], bytes: &[1, 0, 1] },
            NamedTensor { name: "a", dtype: StoredDtype::F16, shape: &[2, 1], bytes: &[1, 2, 3, 4] },
            NamedTensor { name: "c", dtype: StoredDtype::F32, shape: &[], bytes: &[5, 6, 7, 8] },
        ]
    }

    #[test]
    fn the_reference_reader_finds_every_tensor() {
        let mut file = Vec::new();
        write(&mut file, &tensors()).unwrap();
        let theirs = safetensors::SafeTensors::deserialize(&file).unwrap();
        assert_eq!(theirs.len(), 3);
        for tensor in tensors() {
            let view = theirs.tensor(tensor.name).unwrap();
            assert_eq!(view.data(), tensor.bytes);
            assert_eq!(view.shape().iter().map(|&d| d as u64).collect::<Vec<_>>(), tensor.shape);
        }
    }

    #[test]
    fn the_order_given_does_not_matter_and_everything_is_aligned() {
        let (mut one, mut other) = (Vec::new(), Vec::new());
        let mut reversed = tensors();
        reversed.reverse();
        write(&mut one, &tensors()).unwrap();
        write(&mut other, &reversed).unwrap();
        assert_eq!(one, other);
        let file = TensorFile::parse(&one).unwrap();
        assert_eq!(file.data_offset() % 64, 0);
        assert!(file.tensors().iter().all(|tensor| tensor.is_aligned()));
    }

    #[test]
    fn tensors_of_whole_pages_start_on_pages() {
        struct Case {
            name: &'static str,
            dtype: StoredDtype,
            shape: &'static [u64],
            starts_at: usize,
        }
        const fn case(name: &'static str, dtype: StoredDtype, shape: &'static [u64], starts_at: usize) -> Case {
            Case { name, dtype, shape, starts_at }
        }
        let cases = [
            case("a.bias", StoredDtype::F32, &[3], 20_480 + 512 + 40),
            case("b.weight", StoredDtype::F32, &[32, 32], 4096),
            case("c.bias", StoredDtype::F64, &[5], 20_480 + 512),
            case("d.weight", StoredDtype::Bf16, &[96, 64], 8192),
            case("e.scale", StoredDtype::U8, &[512], 20_480),
            case("f.none", StoredDtype::F32, &[0], 20_480),
        ];
        let pages = [7; 12_288];
        let tensors = cases.each_ref().map(|&Case { name, dtype, shape, .. }| {
            let size_bits = dtype.size_bits() * shape.iter().product::<u64>();
            NamedTensor { name, dtype, shape, bytes: &pages[..size_bits as usize / 8] }
        });
        let mut file = Vec::new();
        write(&mut file, &tensors).unwrap();
        assert_eq!(safetensors::SafeTensors::deserialize(&file).unwrap().len(), cases.len());
        let read = TensorFile::parse(&file).unwrap();
        for case in cases {
            let tensor = read.tensor(case.name).unwrap();
            assert_eq!((tensor.range().start, tensor.is_aligned()), (case.starts_at, true), "{}", case.name);
        }
    }

    #[test]
    fn refuses_what_no_reader_would_take() {
        let good = tensors();
        let twice = NamedTensor { name: "a", ..good[0] };
        let short = NamedTensor { bytes: &[1, 2], ..good[2] };
        let reserved = NamedTensor { name: METADATA, ..good[2] };
        for (wrong, message) in [
            (vec![good[1], twice], "tensor `a`: is given twice"),
            (vec![short], "tensor `c`: shape [] of F32 does not take 2 bytes"),
            (vec![reserved], "tensor `__metadata__`: cannot have this name in a safetensors file"),
        ] {
            let error = write(&mut io::sink(), &wrong).unwrap_err();
            assert_eq!(error.to_string(), message);
            assert_eq!(error.kind(), ErrorKind::Usage);
        }
    }
}
