//! `base.json`: what a base model is, in one file that people can read.
//!
//! It says which network the tensors belong to, what goes in and what comes out, which heads there are, which tensors packs
//! may edit, and the digest of every tensor. The network's own numbers stay as JSON here: this crate knows no model
//! family, and a device without that family can still read everything else.
//!
//! Version 1 knows pictures only. Version 2 adds arrays, and what a base model stands for; a base model that needs neither is
//! written as version 1, which older devices read.

mod checks;
mod interface;
mod stands_for;
mod verify;
mod wire;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use taskvec_pack::{Digest, Fingerprint};

use crate::digest;
use crate::error::{Error, ErrorKind};
use crate::head::Head;
use crate::limits::Limits;
use crate::tensors::{StoredDtype, TensorFile};

pub use self::interface::{Arrays, Interface, Pictures, Port, Side};
pub use self::stands_for::{Counterpart, GridNames, StandsFor};

/// The file that describes a bundle.
pub const BASE_FILE: &str = "base.json";
/// The file with the weights of a bundle.
pub const MODEL_FILE: &str = "model.safetensors";
/// The same file, as a graph spells it where it wants the base's numbers whatever the composition: a linearized network looks at both.
pub const MODEL_FILE_OF_BASE: &str = "./model.safetensors";
/// The file with the graph of a bundle, without weights.
pub const GRAPH_FILE: &str = "graph.onnx";

/// A base model as its `base.json` describes it.
///
/// Having a `Base` tells you: the format and version are known; names are there once and sorted; every editable tensor
/// and every head's tensors are listed, with fitting dtypes and shapes; the fingerprint is that of the listed digests.
/// It tells you nothing about `model.safetensors`: that is what [`Base::verify`] is for.
#[derive(Clone, Debug, PartialEq)]
pub struct Base {
    pub(crate) draft: BaseDraft,
    pub(crate) tensors: Vec<ListedTensor>,
    pub(crate) fingerprint: Fingerprint,
}

/// What there is to say about a base model beside its tensors.
#[derive(Clone, Debug, PartialEq)]
pub struct BaseDraft {
    /// What people call it. At most 200 bytes, without control characters.
    pub name: String,
    /// Family and hyper-parameters, as the network's own JSON; an object with at least a string `family`.
    pub network: Value,
    /// What goes in and what comes out.
    pub interface: Interface,
    /// Another base model whose packs are attached to this one.
    pub stands_for: Option<StandsFor>,
    /// Output layers that come with the base model; only with [`Interface::Pictures`].
    pub heads: Vec<HeadEntry>,
    /// Names of the tensors that packs may edit, in byte order.
    pub editable: Vec<String>,
}

/// An output layer that comes with the base model; its numbers are tensors of the model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadEntry {
    /// What the head is called, for instance `digits`.
    pub name: String,
    /// What its classes are called.
    pub labels: Vec<String>,
    /// Name of the tensor with its weight, f32 `[labels, feature_width]`; starts with `heads.`.
    pub weight: String,
    /// Name of the tensor with its bias, f32 `[labels]`; starts with `heads.`.
    pub bias: String,
}

/// A tensor as `base.json` lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedTensor {
    /// Its name, as PyTorch has it.
    pub name: String,
    /// How its elements are stored.
    pub dtype: StoredDtype,
    /// Its dimensions, row-major.
    pub shape: Vec<u64>,
    /// Digest of its bytes.
    pub sha256: Digest,
}

impl Base {
    /// Reads `base.json` in the bundle `dir`, with the default [`Limits`].
    ///
    /// # Errors
    ///
    /// `Io` if the file cannot be read, otherwise as [`Base::parse`].
    pub fn read(dir: &Path) -> Result<Base, Error> {
        Base::read_within(dir, &Limits::default())
    }

    /// As [`Base::read`], with limits of the caller's choice.
    ///
    /// # Errors
    ///
    /// As [`Base::read`].
    pub fn read_within(dir: &Path, limits: &Limits) -> Result<Base, Error> {
        let path = dir.join(BASE_FILE);
        let refused = |cause: std::io::Error| {
            let error = Error::new(ErrorKind::Io, format!("`{}`", path.display()), "cannot be read");
            let help = format!("a base bundle is a folder with `{MODEL_FILE}`, `{GRAPH_FILE}` and `{BASE_FILE}`");
            error.with_help(help).with_source(cause)
        };
        let mut bytes = Vec::new();
        // One byte more than allowed, so that a longer file is seen to be longer.
        let window = limits.base_json_bytes_max.saturating_add(1);
        File::open(&path).and_then(|file| file.take(window).read_to_end(&mut bytes)).map_err(refused)?;
        if bytes.len() as u64 > limits.base_json_bytes_max {
            let clause = format!("is longer than {} bytes, the most that is read here", limits.base_json_bytes_max);
            return Err(Error::new(ErrorKind::Limit, format!("`{}`", path.display()), clause));
        }
        Base::parse(&bytes)
    }

    /// Reads the text of a `base.json` and checks that it agrees with itself.
    ///
    /// # Errors
    ///
    /// `Unsupported` for a newer version, `Damaged` for anything else that is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Base, Error> {
        let base = wire::read(bytes)?;
        checks::check(&base, ErrorKind::Damaged)?;
        Ok(base)
    }

    /// Describes the tensors of `file`, whose bytes are `bytes`: digests each and takes their fingerprint.
    ///
    /// # Errors
    ///
    /// `Usage` if the draft does not fit the tensors, for instance an editable tensor that is not there; `Unsupported`
    /// for a dtype that fingerprints do not know.
    pub fn describe(draft: BaseDraft, file: &TensorFile, bytes: &[u8]) -> Result<Base, Error> {
        let digests = digest::digest_all(file, bytes)?;
        let listed = file.tensors().iter().zip(digests).map(|(tensor, sha256)| ListedTensor {
            name: tensor.name().to_owned(),
            dtype: tensor.dtype(),
            shape: tensor.shape().to_vec(),
            sha256,
        });
        let tensors: Vec<ListedTensor> = listed.collect();
        let fingerprint = fingerprint_of_listed(&tensors)?;
        let base = Base { draft, tensors, fingerprint };
        checks::check(&base, ErrorKind::Usage)?;
        Ok(base)
    }

    /// What people call it.
    pub fn name(&self) -> &str {
        &self.draft.name
    }

    /// Family and hyper-parameters, as the network's own JSON.
    pub fn network(&self) -> &Value {
        &self.draft.network
    }

    /// What goes in and what comes out.
    pub fn interface(&self) -> &Interface {
        &self.draft.interface
    }

    /// What goes in and what comes out, if that is pictures and features.
    pub fn pictures(&self) -> Option<&Pictures> {
        match &self.draft.interface {
            Interface::Pictures(pictures) => Some(pictures),
            Interface::Arrays(_) => None,
        }
    }

    /// Another base model whose packs are attached to this one.
    pub fn stands_for(&self) -> Option<&StandsFor> {
        self.draft.stands_for.as_ref()
    }

    /// Output layers that come with the base model.
    pub fn heads(&self) -> &[HeadEntry] {
        &self.draft.heads
    }

    /// Names of the tensors that packs may edit, in byte order.
    pub fn editable(&self) -> &[String] {
        &self.draft.editable
    }

    /// Whether packs may edit the tensor with this name.
    pub fn is_editable(&self, name: &str) -> bool {
        self.draft.editable.binary_search_by(|editable| editable.as_str().cmp(name)).is_ok()
    }

    /// What the tensor with this name is in the base model that this one stands for.
    pub fn counterpart(&self, name: &str) -> Option<&Counterpart> {
        let tensors = &self.stands_for()?.tensors;
        let found = tensors.binary_search_by(|tensor| tensor.name.as_str().cmp(name)).ok()?;
        tensors.get(found)
    }

    /// Whether the tensor with this name holds whole numbers that stand for floats.
    pub fn is_quantized(&self, name: &str) -> bool {
        self.counterpart(name).is_some_and(|counterpart| counterpart.grid.is_some())
    }

    /// Every tensor, in byte order of names.
    pub fn tensors(&self) -> &[ListedTensor] {
        &self.tensors
    }

    /// The tensor with this name.
    pub fn tensor(&self, name: &str) -> Option<&ListedTensor> {
        let found = self.tensors.binary_search_by(|tensor| tensor.name.as_str().cmp(name)).ok()?;
        self.tensors.get(found)
    }

    /// What packs are bound to.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The head with this name, its numbers taken from `file`, whose bytes are `bytes`.
    ///
    /// # Errors
    ///
    /// `Usage` if there is no such head or `bytes` is not the file that was parsed; `Damaged` if the file does not hold
    /// the tensors that are listed.
    pub fn head(&self, name: &str, file: &TensorFile, bytes: &[u8]) -> Result<Head, Error> {
        let Some(entry) = self.draft.heads.iter().find(|entry| entry.name == name) else {
            let names: Vec<String> = self.draft.heads.iter().map(|entry| format!("`{}`", entry.name)).collect();
            let there = if names.is_empty() { "the base model has none".to_owned() } else { names.join(", ") };
            let error = Error::usage(format!("head `{name}`"), "the base model has no head of this name");
            return Err(error.with_help(format!("heads of this base model: {there}")));
        };
        let numbers = |name: &str| -> Result<Vec<f32>, Error> {
            let Some(tensor) = file.tensor(name).filter(|tensor| tensor.dtype() == StoredDtype::F32) else {
                let clause = format!("{BASE_FILE} lists it as f32, {MODEL_FILE} has no such tensor");
                return Err(Error::damaged(format!("tensor `{name}`"), clause));
            };
            let (words, _) = tensor.bytes(bytes)?.as_chunks();
            Ok(words.iter().map(|&word| f32::from_le_bytes(word)).collect())
        };
        let (weight, bias) = (numbers(&entry.weight)?, numbers(&entry.bias)?);
        let feature_width = self.pictures().map_or(0, Pictures::feature_width);
        Head::new(entry.labels.clone(), weight, bias, feature_width).map_err(|cause| {
            Error::damaged(format!("head `{name}`"), format!("its tensors in {MODEL_FILE} make no head"))
                .with_source(cause)
        })
    }

    /// The text of `base.json`: the same base model gives the same bytes.
    pub fn to_json(&self) -> String {
        wire::write(self)
    }
}

/// The fingerprint of a list of tensors, by their digests.
pub(crate) fn fingerprint_of_listed(tensors: &[ListedTensor]) -> Result<Fingerprint, Error> {
    let records = tensors.iter().map(|it| (it.name.as_str(), it.dtype, it.shape.as_slice(), it.sha256));
    digest::fingerprint_of_records(records)
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_of_version_2;
