//! Small packs for the handwriting base, and folders compared byte by byte.
//!
//! They are made by `taskvec diff` from the base and a copy of it in which a few numbers differ: nothing is learned by them,
//! but they are attached, proved and detached like any other.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use taskvec_bundle::TensorFile;

use crate::places::handwriting;
use crate::programs::{taskvec, told};

/// The tensor that small packs change.
const TENSOR: &str = "blocks.0.attn.proj.weight";

/// Writes the pack `name` into `folder`: three elements of one tensor, from `first` on, a bit larger than the base's.
pub(super) fn small_pack(folder: &Path, name: &str, first: usize) -> PathBuf {
    let model = handwriting().join("model.safetensors");
    let mut bytes = fs::read(&model).unwrap();
    let tensor = TensorFile::parse(&bytes).unwrap().tensor(TENSOR).expect("the base is a ViT").clone();
    let (numbers, _) = tensor.bytes_mut(&mut bytes).unwrap().as_chunks_mut::<4>();
    for number in &mut numbers[first..first + 3] {
        *number = (f32::from_le_bytes(*number) + 0.015_625).to_le_bytes();
    }
    let tuned = folder.join(format!("{name}.safetensors"));
    fs::write(&tuned, bytes).unwrap();
    diff(&model, &tuned, name)
}

/// Makes the pack `name` beside `tuned`.
pub(super) fn diff(base: &Path, tuned: &Path, name: &str) -> PathBuf {
    let pack = tuned.with_extension("tvp");
    told(taskvec().args(["diff", "--name", name]).arg(base).arg(tuned).arg("-o").arg(&pack)).ended_with(0);
    pack
}

/// Every file in `folder`, by its path.
pub(super) fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(contents(&path));
        } else {
            files.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    files
}
