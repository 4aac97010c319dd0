//! A base model as a folder: its description, its tensors by name, its pixels and its heads.
//!
//! A **base bundle** is `model.safetensors` (weights, untouched), `graph.onnx` (the network without weights) and
//! `base.json` (what the other two are). This crate reads and writes the description, finds tensors in the weights,
//! verifies one against the other, makes pictures into pixels and applies heads to features. It is no engine: it never
//! runs a network, maps no file and knows no model family.
//!
//! ```
//! use taskvec_bundle::{
//!     Base, BaseDraft, Interface, NamedTensor, Pictures, Preprocessing, Resize, StoredDtype, TensorFile, write_tensors,
//! };
//!
//! # fn main() -> Result<(), taskvec_bundle::Error> {
//! let weight = NamedTensor { name: "w", dtype: StoredDtype::F32, shape: &[1], bytes: &[0, 0, 128, 63] };
//! let mut bytes = Vec::new();
//! write_tensors(&mut bytes, &[weight])?;
//!
//! let file = TensorFile::parse(&bytes)?;
//! let draft = BaseDraft {
//!     name: "one number".to_owned(),
//!     network: serde_json::json!({"family": "constant"}),
//!     interface: Interface::Pictures(Pictures {
//!         preprocessing: Preprocessing::new(1, (28, 28), Resize::Bilinear, vec![0.5], vec![0.5])?,
//!         feature_width: 1,
//!     }),
//!     stands_for: None,
//!     heads: vec![],
//!     editable: vec!["w".to_owned()],
//! };
//! let base = Base::describe(draft, &file, &bytes)?;
//!
//! let read = Base::parse(base.to_json().as_bytes())?;
//! read.verify(&file, &bytes)?;
//! assert_eq!(read.fingerprint(), base.fingerprint());
//! # Ok(())
//! # }
//! ```
//!
//! Principles:
//!
//! 1. Every tensor keeps the layout and the name that its file gives it.
//! 2. What was checked is another type: bytes become a [`TensorFile`], JSON becomes a [`Base`].
//! 3. Nothing is allocated on the word of a file: its length first, then the [`Limits`].
//! 4. What a server computes here, a device computes to the same bits: fixed orders of sums, plain f32.
#![forbid(unsafe_code)]

mod base_json;
mod class_means;
mod digest;
mod error;
mod head;
mod image;
mod limits;
pub mod onnx;
mod preprocessing;
mod resize;
mod tensors;

pub use base_json::{
    Arrays, BASE_FILE, Base, BaseDraft, Counterpart, GRAPH_FILE, GridNames, HeadEntry, Interface, ListedTensor,
    MODEL_FILE, MODEL_FILE_OF_BASE, Pictures, Port, Side, StandsFor,
};
pub use class_means::ClassMeans;
pub use digest::{digest_tensor, fingerprint_of};
pub use error::{Error, ErrorKind};
pub use head::{Head, argmax, softmax};
pub use image::Image;
pub use limits::Limits;
pub use preprocessing::{Preprocessing, Resize};
/// What the names of output layers start with; see [`fingerprint_of`].
pub use taskvec_pack::layout::HEAD_PREFIX as HEADS_PREFIX;
pub use tensors::{NamedTensor, StoredDtype, TensorFile, TensorInfo, write as write_tensors};
