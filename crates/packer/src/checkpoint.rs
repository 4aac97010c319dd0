//! A checkpoint on disk: a safetensors file, or the one inside a base bundle, read tensor by tensor.
//!
//! Only the header stays in memory; tensors are read by range when they are asked for, with plain reads. The packer maps
//! no files: a file that changes under a mapping is a fault that a long run on a server should not be able to have.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use taskvec_bundle::{HEADS_PREFIX, Limits, MODEL_FILE, TensorFile, TensorInfo, digest_tensor};
use taskvec_pack::fingerprint::{TensorRecord, fingerprint};
use taskvec_pack::{Dtype, Fingerprint};

use crate::error::{Error, Result};

/// Named tensors in a file, found but not read.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    file: Mutex<File>,
    header: TensorFile,
}

impl Checkpoint {
    /// The checkpoint at `path`: a safetensors file or the folder of a base bundle.
    ///
    /// # Errors
    /// `Io` when it cannot be read, `Damaged`, `Unsupported` or `Limit` when it is no safetensors file.
    pub fn open(path: &Path) -> Result<Checkpoint> {
        let path = if path.is_dir() { path.join(MODEL_FILE) } else { path.to_path_buf() };
        let mut file = File::open(&path).map_err(|cause| {
            Error::io("read checkpoint", &path, cause)
                .with_help("name a safetensors file, or the folder of a base bundle")
        })?;
        let header = read_header(&mut file, &path)?;
        Ok(Checkpoint { path, file: Mutex::new(file), header })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All tensors, in byte order of their names.
    pub fn tensors(&self) -> &[TensorInfo] {
        self.header.tensors()
    }

    /// The tensor of this name.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.header.tensor(name)
    }

    /// The tensors that a pack may change: all but heads.
    pub fn body(&self) -> impl Iterator<Item = &TensorInfo> {
        self.tensors().iter().filter(|tensor| !tensor.name().starts_with(HEADS_PREFIX))
    }

    /// The bytes of a tensor.
    ///
    /// # Errors
    /// `Io` when the file cannot be read any more, or is shorter than it was.
    pub fn read(&self, tensor: &TensorInfo) -> Result<Vec<u8>> {
        let range = tensor.range();
        let mut bytes = vec![0; range.len()];
        let mut file = self.file.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let at = SeekFrom::Start(range.start as u64);
        file.seek(at)
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(|cause| Error::io("read", &self.path, cause).within(format!("tensor `{}`", tensor.name())))?;
        Ok(bytes)
    }

    /// The dtype of a tensor as packs know it.
    ///
    /// # Errors
    /// `Unsupported` when it is neither f32, f16 nor bf16.
    pub fn editable_dtype(&self, tensor: &TensorInfo) -> Result<Dtype> {
        tensor.dtype().editable().ok_or_else(|| {
            Error::unsupported(format!(
                "tensor `{}` of `{}` has dtype {}, a base model has F32, F16 and BF16 only",
                tensor.name(),
                self.path.display(),
                tensor.dtype().name()
            ))
            .with_help("save the checkpoint without this tensor, or converted")
        })
    }

    /// What packs for this checkpoint are bound to.
    ///
    /// # Errors
    /// `Io`; `Unsupported` when a tensor is neither f32, f16 nor bf16.
    pub fn fingerprint(&self) -> Result<Fingerprint> {
        let mut records = Vec::new();
        for tensor in self.body() {
            let dtype = self.editable_dtype(tensor)?;
            let sha256 = digest_tensor(&self.read(tensor)?).0;
            records.push(TensorRecord { name: tensor.name(), dtype, shape: tensor.shape(), sha256 });
        }
        Ok(fingerprint(records.into_iter()))
    }
}

/// The header, without the tensors: its length is checked against the file and the limit before it is believed.
fn read_header(file: &mut File, path: &Path) -> Result<TensorFile> {
    let limits = Limits::default();
    let explain = |cause| Error::from_bundle(cause, format!("checkpoint `{}`", path.display()));
    let unreadable = |cause| Error::io("read", path, cause);
    let size = file.metadata().map_err(unreadable)?.len();
    let size_bytes = usize::try_from(size)
        .map_err(|_| Error::limit(format!("checkpoint `{}` of {size} bytes is too large here", path.display())))?;
    let mut start = Vec::new();
    file.take(8).read_to_end(&mut start).map_err(unreadable)?;
    if let Some(length) = start.first_chunk() {
        let end = TensorFile::header_end(*length, size_bytes, &limits).map_err(explain)?;
        file.take((end - start.len()) as u64).read_to_end(&mut start).map_err(unreadable)?;
    }
    TensorFile::parse_start(&start, size_bytes, &limits).map_err(explain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn what_is_no_checkpoint_is_refused_by_name() {
        struct Case(&'static str, Vec<u8>, ErrorKind);
        let bundle = [&2u64.to_le_bytes()[..], b"{}"].concat();
        let cases = [
            Case("empty", vec![], ErrorKind::Damaged),
            Case("seven bytes", vec![0; 7], ErrorKind::Damaged),
            Case("longer than itself", u64::MAX.to_le_bytes().to_vec(), ErrorKind::Damaged),
            Case("text", b"this is no safetensors file".to_vec(), ErrorKind::Damaged),
            Case("bytes left over", [&bundle[..], &[0]].concat(), ErrorKind::Damaged),
        ];
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        for Case(name, bytes, kind) in cases {
            std::fs::write(&path, bytes).unwrap();
            let error = Checkpoint::open(&path).unwrap_err();
            assert_eq!(error.kind(), kind, "{name}: {error:?}");
            assert!(error.to_string().contains("x.safetensors"), "{name}: {error}");
        }
        std::fs::write(&path, &bundle).unwrap();
        assert!(Checkpoint::open(&path).unwrap().tensors().is_empty());
        let missing = Checkpoint::open(folder.path()).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::Io);
        assert!(missing.to_string().contains("model.safetensors"), "{missing}");
    }
}
