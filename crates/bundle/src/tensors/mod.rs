//! Named tensors in a safetensors file: where each lies, found without touching their bytes.
//!
//! Only the header is read, so a mapped file of many gigabytes costs one page. What is decided here:
//! a tensor may start at any byte, since files in the wild do (whether it is aligned is reported); holes between
//! tensors are refused, as the format's own specification does, so that no byte of a file escapes its digests.

mod header;
mod stored_dtype;
mod write;

use std::collections::BTreeMap;
use std::ops::Range;

use crate::error::{Error, ErrorKind};
use crate::limits::Limits;
use header::{Claim, Header};

pub use stored_dtype::StoredDtype;
pub use write::{NamedTensor, write};

/// Bytes of the length that a safetensors file starts with.
const LENGTH_BYTES: u64 = 8;
const SUBJECT: &str = "safetensors file";

/// The header of a safetensors file, checked against the file.
///
/// Having a `TensorFile` tells you: every tensor lies in the file, after the header; none overlap and no byte is left
/// over; each range is as long as its shape and dtype say; no name is there twice. It tells you nothing about the
/// numbers. It does not hold the bytes: pass the same ones to [`TensorInfo::bytes`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorFile {
    tensors: Vec<TensorInfo>,
    metadata: BTreeMap<String, String>,
    data_offset: usize,
    size_bytes: usize,
}

/// One tensor of a [`TensorFile`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    name: String,
    dtype: StoredDtype,
    shape: Vec<u64>,
    range: Range<usize>,
}

impl TensorFile {
    /// Reads the header at the start of `bytes`, which must be the whole file, with the default [`Limits`].
    ///
    /// # Errors
    ///
    /// `Damaged` if the header and the file do not fit each other, `Unsupported` for a dtype that is not known here,
    /// `Limit` for a header that is too long.
    pub fn parse(bytes: &[u8]) -> Result<TensorFile, Error> {
        TensorFile::parse_within(bytes, &Limits::default())
    }

    /// As [`TensorFile::parse`], with limits of the caller's choice.
    ///
    /// # Errors
    ///
    /// As [`TensorFile::parse`].
    pub fn parse_within(bytes: &[u8], limits: &Limits) -> Result<TensorFile, Error> {
        TensorFile::from_header(header_bytes(bytes, bytes.len(), limits)?, bytes.len())
    }

    /// As [`TensorFile::parse_within`], from the first bytes of a file that is `size_bytes` long: its header at least,
    /// whose end [`TensorFile::header_end`] tells. For whoever reads tensors one by one and not the whole file.
    ///
    /// # Errors
    ///
    /// As [`TensorFile::parse`]; `Damaged` also if `start` ends before the header does.
    pub fn parse_start(start: &[u8], size_bytes: usize, limits: &Limits) -> Result<TensorFile, Error> {
        TensorFile::from_header(header_bytes(start, size_bytes, limits)?, size_bytes)
    }

    /// How many bytes a file of `size_bytes`, which begins with `length`, must be read to have its header.
    ///
    /// # Errors
    ///
    /// `Damaged` if the header is longer than the file, `Limit` if it is longer than the limit.
    pub fn header_end(length: [u8; 8], size_bytes: usize, limits: &Limits) -> Result<usize, Error> {
        let length = u64::from_le_bytes(length);
        if length > (size_bytes as u64).saturating_sub(LENGTH_BYTES) {
            let clause =
                format!("header of {length} bytes ({length:#x}) is longer than the file of {size_bytes} bytes");
            return Err(Error::damaged(SUBJECT, clause));
        }
        if length > limits.header_bytes_max {
            let clause = format!("header of {length} bytes, at most {} are read here", limits.header_bytes_max);
            return Err(Error::new(ErrorKind::Limit, SUBJECT, clause));
        }
        // Cannot overflow: the sum is at most `size_bytes`.
        Ok((LENGTH_BYTES + length) as usize)
    }

    /// `header` is the JSON alone, which lies in a file of `size_bytes`.
    fn from_header(header: &[u8], size_bytes: usize) -> Result<TensorFile, Error> {
        // Cannot overflow: the header lies in the file.
        let data_offset = LENGTH_BYTES as usize + header.len();
        let data_bytes = (size_bytes - data_offset) as u64;
        let header: Header = serde_json::from_slice(header).map_err(|cause| {
            Error::damaged(SUBJECT, "its header is not a JSON object of tensors").with_source(cause)
        })?;
        let mut tensors = Vec::with_capacity(header.claims.len());
        for (name, claim) in header.claims {
            tensors.push(check_claim(name, claim, data_offset, data_bytes)?);
        }
        check_cover(&tensors, data_offset, size_bytes)?;
        Ok(TensorFile { tensors, metadata: header.metadata, data_offset, size_bytes })
    }

    /// The tensors in byte order of their names.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// The tensor with this name.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        let found = self.tensors.binary_search_by(|tensor| tensor.name.as_str().cmp(name)).ok()?;
        self.tensors.get(found)
    }

    /// The free-form strings under `__metadata__`.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Where the header ends and the first tensor begins, counted from the start of the file.
    pub fn data_offset(&self) -> usize {
        self.data_offset
    }

    /// Size of the file that was parsed.
    pub fn size_bytes(&self) -> usize {
        self.size_bytes
    }
}

impl TensorInfo {
    /// Its name, as PyTorch has it.
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

    /// How many elements it has: the product of the shape, which the file was checked to hold.
    pub fn element_count(&self) -> u64 {
        self.shape.iter().product()
    }

    /// Where its bytes lie, counted from the start of the file.
    pub fn range(&self) -> Range<usize> {
        self.range.clone()
    }

    /// Whether its first byte is a multiple of its element's size, counted from the start of the file.
    ///
    /// Mappings start at a page, so such a tensor can be viewed as numbers in place; any other must be copied.
    pub fn is_aligned(&self) -> bool {
        (self.range.start as u64).is_multiple_of(self.dtype.alignment_bytes())
    }

    /// Its bytes in `file`, which must be the whole file that was parsed.
    ///
    /// # Errors
    ///
    /// `Usage` if `file` is too short to be that file.
    pub fn bytes<'a>(&self, file: &'a [u8]) -> Result<&'a [u8], Error> {
        file.get(self.range.clone()).ok_or_else(|| {
            let clause = format!("lies at bytes {:?}, the bytes given end at {}", self.range, file.len());
            Error::usage(format!("tensor `{}`", self.name), clause)
        })
    }

    /// Its bytes in `file`, to be written to.
    ///
    /// # Errors
    ///
    /// As [`TensorInfo::bytes`].
    pub fn bytes_mut<'a>(&self, file: &'a mut [u8]) -> Result<&'a mut [u8], Error> {
        self.bytes(file)?;
        Ok(&mut file[self.range.clone()])
    }
}

/// The header's JSON at the start of a file of `size_bytes`, its length checked against the file, then the limit.
fn header_bytes<'a>(start: &'a [u8], size_bytes: usize, limits: &Limits) -> Result<&'a [u8], Error> {
    let Some((length, _)) = start.split_first_chunk() else {
        let clause = format!("is {} bytes long, the length of the header alone takes {LENGTH_BYTES}", start.len());
        return Err(Error::damaged(SUBJECT, clause));
    };
    let end = TensorFile::header_end(*length, size_bytes, limits)?;
    start.get(LENGTH_BYTES as usize..end).ok_or_else(|| {
        Error::damaged(SUBJECT, format!("header ends at byte {end}, only {} bytes were read", start.len()))
    })
}

/// One claim against the length of the data, its shape and its dtype.
fn check_claim(name: String, claim: Claim, data_offset: usize, data_bytes: u64) -> Result<TensorInfo, Error> {
    let subject = || format!("tensor `{name}`");
    let Some(dtype) = StoredDtype::from_name(&claim.dtype) else {
        let error = Error::new(ErrorKind::Unsupported, subject(), format!("dtype `{}` is not known here", claim.dtype));
        return Err(error.with_help("a newer taskvec may know it"));
    };
    let (start, end) = claim.data_offsets;
    if start > end || end > data_bytes {
        let clause = format!("claims bytes {start}..{end} of the data, which is {data_bytes} bytes long");
        return Err(Error::damaged(subject(), clause));
    }
    let shape = claim.shape;
    let size_bits = shape.iter().try_fold(dtype.size_bits(), |bits, &dimension| bits.checked_mul(dimension));
    // A length in bytes is below 2^61, or the file could not be in memory: the product cannot overflow.
    if size_bits != Some((end - start) * 8) {
        let expected = match size_bits {
            Some(bits) if bits % 8 == 0 => format!("{} bytes", bits / 8),
            Some(bits) => format!("{bits} bits, which are no whole bytes"),
            None => "more bytes than can be counted".to_owned(),
        };
        let clause = format!("shape {shape:?} of {} takes {expected}, its range has {}", dtype.name(), end - start);
        return Err(Error::damaged(subject(), clause));
    }
    // Fits: both are at most the length of the file, which is a slice.
    let range = data_offset + start as usize..data_offset + end as usize;
    Ok(TensorInfo { name, dtype, shape, range })
}

/// The ranges follow one another from the end of the header to the end of the file.
fn check_cover(tensors: &[TensorInfo], data_offset: usize, file_end: usize) -> Result<(), Error> {
    let mut by_offset: Vec<&TensorInfo> = tensors.iter().collect();
    by_offset.sort_by_key(|tensor| (tensor.range.start, tensor.range.end));
    let mut end = data_offset;
    for tensor in by_offset {
        if tensor.range.start != end {
            let fault = if tensor.range.start < end { "overlaps the tensor before it" } else { "leaves a hole" };
            let clause = format!("{fault}: it starts at byte {}, expected {end}", tensor.range.start);
            return Err(Error::damaged(format!("tensor `{}`", tensor.name), clause));
        }
        end = tensor.range.end;
    }
    if end != file_end {
        let clause = format!("has {file_end} bytes, its tensors end at byte {end}");
        return Err(Error::damaged(SUBJECT, clause));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
