//! The header of a safetensors file: what it gives lies in the file, and the reference reader reads the same.

use safetensors::SafeTensors;
use taskvec_bundle::{ErrorKind, Limits, TensorFile};

/// Reads the header of the bytes, once as a file and once from its start alone.
///
/// # Panics
///
/// If a tensor does not lie in the bytes, if the reference reader refuses what was accepted or reads something else, or if
/// the reader panics.
pub fn safetensors(bytes: &[u8]) {
    let file = match TensorFile::parse(bytes) {
        Ok(file) => file,
        Err(error) => {
            let kinds = [ErrorKind::Damaged, ErrorKind::Unsupported, ErrorKind::Limit];
            assert!(kinds.contains(&error.kind()), "a file gives {error:?}");
            return;
        }
    };
    let start = TensorFile::parse_start(&bytes[..file.data_offset()], bytes.len(), &Limits::default());
    assert_eq!(start.ok().as_ref(), Some(&file), "read from its start alone");
    let theirs = SafeTensors::deserialize(bytes).expect("the reference reader accepts what this one does");
    assert_eq!(theirs.len(), file.tensors().len());
    for ours in file.tensors() {
        let theirs = theirs.tensor(ours.name()).expect("a tensor of this name");
        assert_eq!(format!("{:?}", theirs.dtype()), ours.dtype().name(), "dtype of `{}`", ours.name());
        let shape: Vec<u64> = theirs.shape().iter().map(|&dimension| dimension as u64).collect();
        assert_eq!(shape, ours.shape(), "shape of `{}`", ours.name());
        let bytes = ours.bytes(bytes).expect("a tensor lies in its file");
        assert_eq!(bytes.as_ptr_range(), theirs.data().as_ptr_range(), "place of `{}`", ours.name());
    }
}
