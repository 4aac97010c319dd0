//! GGUF, read-only: float tensors of a llama.cpp model. What is quantised is refused by name.
//!
//! The layout is that of `docs/gguf.md` in ggml, versions 2 and 3: counts, keys with values, tensors, then numbers. Dimensions
//! are written with the fastest first, the other way round than everywhere else here.

use taskvec_bundle::StoredDtype;
use taskvec_dataset::{Error, Result};

use crate::faults::Faults;
use crate::limits::Limits;
use crate::source::damaged;
use crate::table::Table;
use crate::tensor::{Place, StoredTensor};
use crate::window::Window;

pub(crate) const MAGIC: &[u8] = b"GGUF";

/// Where the numbers start and each tensor does, unless the file says otherwise.
const ALIGNMENT_BYTES: u64 = 32;
const ALIGNMENT_KEY: &str = "general.alignment";
/// Arrays in arrays: nobody writes them, and deep ones are written only to exhaust a stack.
const NESTING_MAX: u32 = 4;
/// `GGML_MAX_NAME` is 64; longer ones do no harm.
const NAME_BYTES_MAX: usize = 1024;
/// `GGML_MAX_DIMS` is 4; a few more do no harm.
const RANK_MAX: u64 = 8;

const UINT32: u32 = 4;
const STRING: u32 = 8;
const ARRAY: u32 = 9;

struct Claim {
    name: String,
    dtype: Option<StoredDtype>,
    type_number: u32,
    shape: Vec<u64>,
    offset: u64,
}

/// Adds the tensors of the first file.
pub(crate) fn read(table: &mut Table, limits: &Limits) -> Result<()> {
    let mut cursor = Cursor { window: Window::new(table.first()), offset: MAGIC.len() as u64 };
    let version = cursor.u32()?;
    if !matches!(version, 2 | 3) {
        return Err(Error::unsupported(format!(
            "as a GGUF file of version {version} ({version:#x}), 2 and 3 are read"
        ))
        .with_help("convert it with a current llama.cpp, or name the safetensors files it was made from"));
    }
    let (tensor_count, key_count) = (cursor.u64()?, cursor.u64()?);
    let mut alignment = ALIGNMENT_BYTES;
    for _ in 0..key_count {
        let key = cursor.text()?;
        let kind = cursor.u32()?;
        if key == ALIGNMENT_KEY && kind == UINT32 {
            alignment = u64::from(cursor.u32()?).max(1);
        } else {
            cursor.skip_value(kind, NESTING_MAX)?;
        }
    }
    let mut claims = Vec::new();
    for _ in 0..tensor_count {
        if claims.len() == limits.tensors_max {
            return Err(Error::limit(format!("{tensor_count} tensors, at most {} are read here", limits.tensors_max)));
        }
        claims.push(cursor.claim()?);
    }
    let data = cursor.offset.checked_next_multiple_of(alignment);
    let Some(data) = data.filter(|&data| claims.is_empty() || data <= cursor.window.size_bytes()) else {
        return Err(damaged(format!("its numbers start at the next multiple of {alignment} bytes, after its end")));
    };
    refuse_quantised(&claims)?;
    add(table, claims, data, limits)
}

fn refuse_quantised(claims: &[Claim]) -> Result<()> {
    let mut faults = Faults::default();
    for claim in claims.iter().filter(|claim| claim.dtype.is_none()) {
        faults.add(format!("tensor `{}` is quantised (ggml type {})", claim.name, claim.type_number));
    }
    match faults.message() {
        Some(message) => Err(Error::unsupported(message)
            .with_help("a task vector needs the numbers themselves: name the f32, f16 or bf16 file of this model")),
        None => Ok(()),
    }
}

fn add(table: &mut Table, mut claims: Vec<Claim>, data: u64, limits: &Limits) -> Result<()> {
    claims.sort_by_key(|claim| claim.offset);
    let (size, mut free) = (table.first().size_bytes(), data);
    for Claim { name, dtype, shape, offset, .. } in claims {
        let Some(offset) = data.checked_add(offset).filter(|&offset| offset >= free) else {
            return Err(damaged(format!("tensor `{name}` overlaps the one before it")));
        };
        let place = Place { file: 0, offset, strides: None };
        let tensor = StoredTensor::within(name, dtype.unwrap_or(StoredDtype::F32), shape, place, data..size)?;
        free = offset + tensor.size_bytes();
        table.add(tensor, limits)?;
    }
    Ok(())
}

struct Cursor<'a> {
    window: Window<'a>,
    offset: u64,
}

impl Cursor<'_> {
    fn array<const COUNT: usize>(&mut self) -> Result<[u8; COUNT]> {
        let mut array = [0; COUNT];
        array.copy_from_slice(self.window.bytes(self.offset, COUNT as u64)?);
        self.offset += COUNT as u64;
        Ok(array)
    }

    fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn text(&mut self) -> Result<String> {
        let count = self.u64()?;
        let text = self.window.text(self.offset, count)?.to_owned();
        self.offset += count;
        Ok(text)
    }

    fn skip(&mut self, count: u64) -> Result<()> {
        let (offset, size) = (self.offset, self.window.size_bytes());
        let end = offset.checked_add(count).filter(|&end| end <= size);
        self.offset = end.ok_or_else(|| damaged(format!("{count} bytes are claimed at byte {offset} of {size}")))?;
        Ok(())
    }

    fn skip_value(&mut self, kind: u32, nesting: u32) -> Result<()> {
        if let Some(bytes) = number_bytes(kind) {
            return self.skip(bytes);
        }
        match kind {
            STRING => {
                let count = self.u64()?;
                self.skip(count)
            }
            ARRAY if nesting > 0 => {
                let (kind, count) = (self.u32()?, self.u64()?);
                match number_bytes(kind) {
                    Some(bytes) => self.skip(count.saturating_mul(bytes)),
                    // Each says its length in eight bytes at least, so that the end of the file ends this.
                    None => (0..count).try_for_each(|_| self.skip_value(kind, nesting - 1)),
                }
            }
            _ => Err(damaged(format!("a value of type {kind} at byte {}, expected 0 to 12", self.offset))),
        }
    }

    fn claim(&mut self) -> Result<Claim> {
        let name = self.text()?;
        if name.len() > NAME_BYTES_MAX {
            return Err(damaged(format!("a name has {} bytes, at most {NAME_BYTES_MAX} are expected", name.len())));
        }
        let rank = u64::from(self.u32()?);
        if rank > RANK_MAX {
            return Err(damaged(format!("tensor `{name}` has {rank} dimensions, at most {RANK_MAX} are expected")));
        }
        let mut shape = (0..rank).map(|_| self.u64()).collect::<Result<Vec<u64>>>()?;
        shape.reverse();
        let type_number = self.u32()?;
        Ok(Claim { name, dtype: dtype(type_number), type_number, shape, offset: self.u64()? })
    }
}

/// Bytes of a value that is a number; none for texts, arrays, and what GGUF does not have.
fn number_bytes(kind: u32) -> Option<u64> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        UINT32 | 5 | 6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

/// `ggml_type`; none for what is quantised.
fn dtype(type_number: u32) -> Option<StoredDtype> {
    Some(match type_number {
        0 => StoredDtype::F32,
        1 => StoredDtype::F16,
        24 => StoredDtype::I8,
        25 => StoredDtype::I16,
        26 => StoredDtype::I32,
        27 => StoredDtype::I64,
        28 => StoredDtype::F64,
        30 => StoredDtype::Bf16,
        _ => return None,
    })
}
