//! Named tensors in the files that others save, found without reading their numbers.
//!
//! It is no framework: it runs nothing, converts nothing and maps no file. Whatever the form (safetensors,
//! shards with an index, PyTorch, ONNX, GGUF), a [`Checkpoint`] is a table of names, dtypes, shapes and places, and numbers are
//! read by range when they are asked for.
//!
//! ```
//! use std::path::Path;
//! use taskvec_checkpoint::Checkpoint;
//!
//! fn count(path: &Path) -> taskvec_dataset::Result<u64> {
//!     let checkpoint = Checkpoint::open(path)?;
//!     checkpoint.notes().iter().for_each(|note| eprintln!("{note}"));
//!     Ok(checkpoint.body().map(|tensor| tensor.element_count()).sum())
//! }
//! # let folder = tempfile::tempdir().unwrap();
//! # let path = folder.path().join("empty.safetensors");
//! # std::fs::write(&path, [&2u64.to_le_bytes()[..], b"{}"].concat()).unwrap();
//! # assert_eq!(count(&path).unwrap(), 0);
//! ```
//!
//! Principles:
//!
//! 1. A file is data. A pickle names globals; the few that state dicts need are known by a list, nothing is ever called.
//! 2. Nothing is allocated on the word of a file: a claim is held against the file, then against [`Limits`].
//! 3. Memory grows with the header and not with the numbers.
//! 4. What was decided on the way (which of several state dicts, a prefix taken off) is said: [`Checkpoint::notes`].
#![forbid(unsafe_code)]

mod faults;
mod gguf;
mod limits;
mod onnx;
pub mod onnx_graph;
mod reader;
mod safetensors;
mod shards;
mod source;
mod table;
mod tensor;
#[cfg(test)]
mod tests;
mod torch;
mod window;

use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use taskvec_bundle::{HEADS_PREFIX, MODEL_FILE};
use taskvec_dataset::{Error, Result};
use taskvec_pack::fingerprint::{RecordedDtype, TensorRecord, fingerprint};
use taskvec_pack::{Dtype, Fingerprint};

use crate::source::Source;
use crate::table::Table;

pub use faults::Faults;
pub use limits::Limits;
pub use reader::{PART_ELEMENTS, TensorReader};
pub use tensor::StoredTensor;

/// What a checkpoint is called in a folder, best first; the first is that of a base bundle.
const NAMES_IN_FOLDER: [&str; 8] = [
    MODEL_FILE,
    "model.safetensors.index.json",
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.safetensors.index.json",
    "adapter_model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "adapter_model.bin",
];

/// Named tensors in files, found but not read.
#[derive(Debug)]
pub struct Checkpoint {
    form: Form,
    files: Vec<Source>,
    tensors: Vec<StoredTensor>,
    notes: Vec<String>,
}

/// How a checkpoint was saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Form {
    /// One safetensors file.
    Safetensors,
    /// Several files with an index.
    Shards,
    /// `torch.save` since PyTorch 1.6: a zip archive.
    Torch,
    /// `torch.save` before: pickles, then numbers.
    TorchLegacy,
    /// An ONNX model.
    Onnx,
    /// A model of llama.cpp.
    Gguf,
}

impl Checkpoint {
    /// The checkpoint at `path`: a file of any [`Form`], the folder of a base bundle, or one that a library saved a model into.
    ///
    /// # Errors
    /// `Io` when it cannot be read; `Damaged`, `Unsupported` or `Limit` when it is no checkpoint that can be read here; `Usage`
    /// when it names files outside its folder.
    pub fn open(path: &Path) -> Result<Checkpoint> {
        let path = if path.is_dir() { in_folder(path) } else { path.to_owned() };
        let source = Source::open(&path).map_err(|error| {
            error.with_help(
                "name a safetensors, PyTorch, ONNX or GGUF file, an index of shards, or the folder of a model",
            )
        })?;
        Checkpoint::of(source, &Limits::default())
    }

    /// The checkpoint that `bytes` are, all in one; `name` stands in messages, and its ending tells an ONNX model.
    ///
    /// # Errors
    /// As [`Checkpoint::open`]; `Usage` for one that lies in other files as well.
    pub fn in_memory(name: &str, bytes: Vec<u8>, limits: &Limits) -> Result<Checkpoint> {
        Checkpoint::of(Source::in_memory(Path::new(name), bytes), limits)
    }

    fn of(source: Source, limits: &Limits) -> Result<Checkpoint> {
        let path = source.path().to_owned();
        let read = || {
            let form = Form::of(&source)?;
            let table = table(source, form, limits)?;
            let (files, tensors, notes) = table.finish(limits)?;
            Ok(Checkpoint { form, files, tensors, notes })
        };
        let mut checkpoint = read().map_err(|error: Error| error.within(format!("checkpoint `{}`", path.display())))?;
        checkpoint.note_integers();
        Ok(checkpoint)
    }

    /// The file that was opened.
    pub fn path(&self) -> &Path {
        self.files[0].path()
    }

    /// All its files, the one that was opened first.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(Source::path)
    }

    /// The file that the numbers of a tensor lie in.
    pub fn file_of(&self, tensor: &StoredTensor) -> &Path {
        self.files[tensor.place().file].path()
    }

    /// How it was saved.
    pub fn form(&self) -> Form {
        self.form
    }

    /// What was decided when it was opened: a clause for each decision.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// All tensors, in byte order of their names.
    pub fn tensors(&self) -> &[StoredTensor] {
        &self.tensors
    }

    /// The tensor of this name.
    pub fn tensor(&self, name: &str) -> Option<&StoredTensor> {
        let found = self.tensors.binary_search_by(|tensor| tensor.name().cmp(name)).ok()?;
        self.tensors.get(found)
    }

    /// The tensors that are a base model: all but heads, and but integers, which count batches and the like.
    pub fn body(&self) -> impl Iterator<Item = &StoredTensor> {
        self.tensors.iter().filter(|tensor| !tensor.name().starts_with(HEADS_PREFIX) && !tensor.is_integer())
    }

    /// The bytes of a tensor, row-major, little-endian.
    ///
    /// # Errors
    /// `Io` when the file cannot be read any more, or is shorter than it was.
    pub fn read(&self, tensor: &StoredTensor) -> Result<Vec<u8>> {
        let (mut bytes, mut part) = (Vec::with_capacity(tensor.size_bytes() as usize), Vec::new());
        let mut reader = self.reader(tensor)?;
        while reader.read(PART_ELEMENTS, &mut part)? {
            bytes.extend_from_slice(&part);
        }
        Ok(bytes)
    }

    /// Reads a tensor part by part.
    ///
    /// # Errors
    /// As [`Checkpoint::read`].
    pub fn reader(&self, tensor: &StoredTensor) -> Result<TensorReader<'_>> {
        TensorReader::new(&self.files[tensor.place().file], tensor)
    }

    /// The dtype of a tensor as packs know it.
    ///
    /// # Errors
    /// `Unsupported` when it is neither f32, f16 nor bf16.
    pub fn editable_dtype(&self, tensor: &StoredTensor) -> Result<Dtype> {
        tensor.dtype().editable().ok_or_else(|| {
            Error::unsupported(format!(
                "tensor `{}` of `{}` has dtype {}, a base model has F32, F16 and BF16 only",
                tensor.name(),
                self.path().display(),
                tensor.dtype().name()
            ))
            .with_help("save the checkpoint without this tensor, or converted")
        })
    }

    /// What packs for this checkpoint are bound to.
    ///
    /// # Errors
    /// `Io`; `Unsupported` when a tensor of the body is neither f32, f16 nor bf16.
    pub fn fingerprint(&self) -> Result<Fingerprint> {
        let (mut records, mut part) = (Vec::new(), Vec::new());
        for tensor in self.body() {
            let dtype = RecordedDtype::Float(self.editable_dtype(tensor)?);
            let (mut digest, mut reader) = (Sha256::new(), self.reader(tensor)?);
            while reader.read(PART_ELEMENTS, &mut part)? {
                digest.update(&part);
            }
            let sha256 = digest.finalize().into();
            records.push(TensorRecord { name: tensor.name(), dtype, shape: tensor.shape(), sha256 });
        }
        Ok(fingerprint(records.into_iter()))
    }

    fn note_integers(&mut self) {
        let mut integers = self.tensors.iter().filter(|tensor| tensor.is_integer());
        if let Some(first) = integers.next() {
            let (name, dtype, count) = (first.name(), first.dtype().name(), 1 + integers.count());
            self.notes.push(format!("{count} tensors of integers are no weights and are left out (`{name}`, {dtype})"));
        }
    }
}

impl Form {
    /// By the first bytes, since names lie; only ONNX has nothing in its bytes to be known by, and an index is JSON.
    fn of(source: &Source) -> Result<Form> {
        let start = source.start(16)?;
        let ending = source.path().extension().map(|ending| ending.to_ascii_lowercase()).unwrap_or_default();
        // The length of a safetensors header may begin with the very byte that a pickle begins with, so it is asked first: four of
        // its eight bytes are zeros, and then the header follows, which cannot be empty.
        let is_safetensors = |start: &[u8]| start.get(4..9) == Some(&b"\0\0\0\0{"[..]);
        Ok(match start.as_slice() {
            start if is_safetensors(start) => Form::Safetensors,
            start if start.starts_with(torch::ZIP_MAGIC) => Form::Torch,
            start if start.starts_with(torch::PICKLE_MAGIC) => Form::TorchLegacy,
            start if start.starts_with(gguf::MAGIC) => Form::Gguf,
            _ if ending == "onnx" => Form::Onnx,
            start if start.first() == Some(&b'{') => Form::Shards,
            _ => Form::Safetensors,
        })
    }
}

fn table(source: Source, form: Form, limits: &Limits) -> Result<Table> {
    let mut table = Table::of(source);
    match form {
        Form::Safetensors => safetensors::read(&mut table, limits)?,
        Form::Torch => torch::read_archive(&mut table, limits)?,
        Form::TorchLegacy => torch::read_legacy(&mut table, limits)?,
        Form::Onnx => onnx::read(&mut table, limits)?,
        Form::Gguf => gguf::read(&mut table, limits)?,
        Form::Shards => shards::read(&mut table, limits, |shard| match Form::of(&shard)? {
            Form::Shards => Err(Error::damaged("is an index itself").with_help("name the files with the tensors")),
            form => self::table(shard, form, limits),
        })?,
    }
    Ok(table)
}

/// The file in `folder` that is called like a checkpoint; where there is none, the name that a base bundle would have.
fn in_folder(folder: &Path) -> PathBuf {
    let mut names = NAMES_IN_FOLDER.iter().map(|name| folder.join(name));
    names.find(|path| path.is_file()).unwrap_or_else(|| folder.join(MODEL_FILE))
}
