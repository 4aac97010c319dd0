//! The numbers of one tensor, a part at a time, so that two files can be compared in step in little memory.

use taskvec_dataset::Result;

use crate::source::Source;
use crate::tensor::StoredTensor;

/// Elements that are read at a time where nothing speaks for another number: 4 MiB of f32.
pub const PART_ELEMENTS: usize = 1 << 20;

/// Where reading a tensor has come to.
#[derive(Debug)]
pub struct TensorReader<'a> {
    source: &'a Source,
    /// Next byte, and the first byte after: in the file, or in what was gathered.
    next: u64,
    end: u64,
    element_bytes: u64,
    /// A view with strides is put in order in memory; everything else stays in the file.
    gathered: Option<Vec<u8>>,
}

impl<'a> TensorReader<'a> {
    pub(crate) fn new(source: &'a Source, tensor: &StoredTensor) -> Result<TensorReader<'a>> {
        let gathered = match &tensor.place().strides {
            Some(strides) => {
                let span = tensor.span(strides);
                let what = format!("tensor `{}`", tensor.name());
                let count = span.end - span.start;
                let bytes = source.bytes(&what, span.start, count, count)?;
                Some(tensor.gathered(&bytes, strides))
            }
            None => None,
        };
        let next = if gathered.is_some() { 0 } else { tensor.place().offset };
        // Types of less than a byte are read byte by byte: nobody asks for their elements.
        let element_bytes = (tensor.dtype().size_bits() / 8).max(1);
        Ok(TensorReader { source, next, end: next + tensor.size_bytes(), element_bytes, gathered })
    }

    /// Puts the next `elements` into `part`, fewer at the end; false when there are none left.
    ///
    /// # Errors
    /// `Io` when the file cannot be read any more, or is shorter than it was.
    pub fn read(&mut self, elements: usize, part: &mut Vec<u8>) -> Result<bool> {
        let count = (self.element_bytes.saturating_mul(elements as u64)).min(self.end - self.next);
        part.clear();
        match &self.gathered {
            Some(gathered) => part.extend_from_slice(&gathered[self.next as usize..(self.next + count) as usize]),
            None => {
                part.resize(count as usize, 0);
                self.source.read_at(self.next, part)?;
            }
        }
        self.next += count;
        Ok(count > 0)
    }
}
