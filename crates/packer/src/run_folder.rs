//! What a training run leaves behind, and where.
//!
//! | file | content |
//! |---|---|
//! | `recipe.yaml` | the whole recipe, defaults and all |
//! | `tuned.safetensors` | the base's file with the entries of the mask changed; no other bit differs |
//! | `deltas.tvp` | where they were rounded in training: the deltas of the mask, as a pack without head and probes |
//! | `curvature.safetensors` | where there was a penalty on what other tasks feel: how strongly they do, layer by layer |
//! | `head.safetensors` | `weight` `[classes, features]` and `bias` `[classes]` of the task's head, f32 |
//! | `labels.json` | what the classes are called, in order |
//! | `run.json` | what was measured ([`crate::train::Run`]); written last: a folder that has it is finished |
//! | `timing.json` | how long it took; the one file that differs between two runs of a recipe |
//! | `checkpoint/` | the state of an unfinished run; removed at the end |
//!
//! A run that trains a base has all of its tensors in `tuned.safetensors`. Where deltas were rounded in training, that file is the
//! base with `deltas.tvp` at coefficient 1, bit for bit, and it is what the run's accuracy was measured with.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use taskvec_bundle::{Head, NamedTensor, StoredDtype, TensorFile, write_tensors};

use crate::error::{Error, Result};

/// The whole recipe.
pub const RECIPE_FILE: &str = "recipe.yaml";
/// The tuned weights.
pub const TUNED_FILE: &str = "tuned.safetensors";
/// The deltas, where they were rounded in training.
pub const DELTAS_FILE: &str = "deltas.tvp";
/// What other tasks feel.
pub const CURVATURE_FILE: &str = "curvature.safetensors";
/// The numbers of the task's head.
pub const HEAD_FILE: &str = "head.safetensors";
/// The names of the task's classes.
pub const LABELS_FILE: &str = "labels.json";
/// What was measured.
pub const RUN_FILE: &str = "run.json";
/// How long it took.
pub const TIMING_FILE: &str = "timing.json";
/// The state of an unfinished run.
pub const CHECKPOINT_FOLDER: &str = "checkpoint";

/// The head of the finished run in `folder`.
///
/// # Errors
/// `Io` when a file is missing, `Damaged` when one is not what it should be.
pub fn read_head(folder: &Path) -> Result<Head> {
    let path = folder.join(HEAD_FILE);
    let labels: Vec<String> = read_json(&folder.join(LABELS_FILE))?;
    let bytes = fs::read(&path).map_err(|cause| Error::io("read", &path, cause))?;
    let explain = |cause| Error::from_bundle(cause, format!("read head `{}`", path.display()));
    let file = TensorFile::parse(&bytes).map_err(explain)?;
    let numbers = |name: &str| {
        let missing = || Error::damaged(format!("head `{}` has no f32 tensor `{name}`", path.display()));
        let tensor = file.tensor(name).filter(|tensor| tensor.dtype() == StoredDtype::F32).ok_or_else(missing)?;
        Ok(f32s(tensor.bytes(&bytes).map_err(explain)?))
    };
    let (weight, bias) = (numbers("weight")?, numbers("bias")?);
    let feature_width = weight.len() / bias.len().max(1);
    Head::new(labels, weight, bias, feature_width).map_err(explain)
}

pub(crate) fn write_head(folder: &Path, head: &Head) -> Result<()> {
    let (weight, bias) = (f32_bytes(head.weight()), f32_bytes(head.bias()));
    let classes = head.class_count() as u64;
    let tensors = [
        NamedTensor {
            name: "weight",
            dtype: StoredDtype::F32,
            shape: &[classes, head.feature_width() as u64],
            bytes: &weight,
        },
        NamedTensor { name: "bias", dtype: StoredDtype::F32, shape: &[classes], bytes: &bias },
    ];
    write_json(&folder.join(LABELS_FILE), &head.labels())?;
    write_file(&folder.join(HEAD_FILE), &safetensors(&tensors)?)
}

/// The bytes of a safetensors file.
pub(crate) fn safetensors(tensors: &[NamedTensor<'_>]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    write_tensors(&mut bytes, tensors).map_err(|cause| Error::from_bundle(cause, "write tensors"))?;
    Ok(bytes)
}

pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = fs::read(path).map_err(|cause| Error::io("read", path, cause))?;
    serde_json::from_slice(&bytes)
        .map_err(|cause| Error::damaged(format!("`{}` is not what a run writes", path.display())).caused_by(cause))
}

pub(crate) fn write_json<T: Serialize + ?Sized>(path: &Path, value: &T) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(value)
        .map_err(|cause| Error::usage(format!("`{}` cannot be written as JSON", path.display())).caused_by(cause))?;
    text.push(b'\n');
    write_file(path, &text)
}

/// Writes aside, syncs, renames: whoever looks sees the old file or the new one, also after a power cut.
///
/// # Errors
/// `Io`, and the old file is as it was.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let refused = |cause| Error::io("write", path, cause);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = aside().tempfile_in(folder).map_err(refused)?;
    file.write_all(bytes).map_err(refused)?;
    file.as_file().sync_all().map_err(refused)?;
    file.persist(path).map_err(|error| refused(error.error))?;
    Ok(())
}

/// A file that anyone may read whom the user's mask lets: results are for others, temporary files are not.
pub(crate) fn aside() -> tempfile::Builder<'static, 'static> {
    #[cfg_attr(not(unix), expect(unused_mut, reason = "only Unix has modes"))]
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder
}

pub(crate) fn f32s(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|number| f32::from_le_bytes(*number)).collect()
}

pub(crate) fn f32_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_comes_back_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let labels = vec!["zero".to_owned(), "\u{30a2}".to_owned()];
        let head = Head::new(labels, vec![1.0, -2.5, 1e-30, 3.0, 0.0, -0.0], vec![0.5, 7.0], 3).unwrap();
        write_head(folder.path(), &head).unwrap();
        assert_eq!(read_head(folder.path()).unwrap(), head);
        fs::write(folder.path().join(LABELS_FILE), "[\"one\"]").unwrap();
        assert!(read_head(folder.path()).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn results_have_the_mode_of_any_other_new_file() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let mode = |name: &str| fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
        fs::write(folder.path().join("plain"), "").unwrap();
        write_file(&folder.path().join("ours"), b"").unwrap();
        assert_eq!(mode("ours"), mode("plain"));
    }
}
