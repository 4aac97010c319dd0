//! Safetensors: the header says all, and `taskvec-bundle` checks it against the file.

use taskvec_bundle::TensorFile;
use taskvec_dataset::{Error, Result};

use crate::limits::Limits;
use crate::table::Table;
use crate::tensor::{Place, StoredTensor};

/// What has no other form is taken for this one.
const NO_FORM: &str =
    "name a safetensors, PyTorch, ONNX (`.onnx`) or GGUF file; if it is one, it was damaged: fetch it again";

/// Adds the tensors of the first file.
pub(crate) fn read(table: &mut Table, limits: &Limits) -> Result<()> {
    let source = table.first();
    let explain = |cause: taskvec_bundle::Error| Error::from_bundle(cause, "as a safetensors file").with_help(NO_FORM);
    let size = source.size_bytes();
    let size_bytes = usize::try_from(size).map_err(|_| Error::limit(format!("{size} bytes are too many here")))?;
    let mut bounds = taskvec_bundle::Limits::default();
    bounds.header_bytes_max = limits.header_bytes_max;
    let mut start = source.start(8)?;
    if let Some(length) = start.first_chunk() {
        let end = TensorFile::header_end(*length, size_bytes, &bounds).map_err(explain)? as u64;
        start = source.start(end)?;
    }
    let header = TensorFile::parse_start(&start, size_bytes, &bounds).map_err(explain)?;
    for tensor in header.tensors() {
        let range = tensor.range().start as u64..tensor.range().end as u64;
        let place = Place { file: 0, offset: range.start, strides: None };
        let (name, shape) = (tensor.name().to_owned(), tensor.shape().to_vec());
        table.add(StoredTensor::whole(name, tensor.dtype(), shape, place, range)?, limits)?;
    }
    Ok(())
}
