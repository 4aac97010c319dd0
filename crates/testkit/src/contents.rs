//! Everything that a pack says, as plain owned values: what a reader must have read.
//!
//! The numbers of dtypes, encodings, methods, granules and engines stay the numbers of the registries of `FORMAT.md`, so
//! that this file is no second list of them. Serialized, it is the `reads` of the JSON files beside the vectors.

use serde::Serialize;

/// A whole pack.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Contents {
    /// Major version of the format.
    pub major: u16,
    /// Minor version of the format.
    pub minor: u16,
    /// SHA-256 of the content, in hexadecimal.
    pub digest: String,
    /// Section 1.
    pub manifest: Manifest,
    /// Sections 2 and 3, in the order of the file.
    pub tensors: Vec<Tensor>,
    /// Section 4.
    pub head: Option<Head>,
    /// Section 5.
    pub preprocessing: Option<Preprocessing>,
    /// Section 6.
    pub probes: Option<Probes>,
    /// The blocks behind the content, in the order of the file.
    pub signatures: Vec<Signature>,
}

/// What the pack is and which base model it belongs to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Manifest {
    /// Fingerprint of the base model, in hexadecimal.
    pub base: String,
    /// Recommended coefficient.
    pub alpha: f32,
    /// Lower end of the validated range, inclusive.
    pub alpha_min: f32,
    /// Upper end of the validated range, inclusive.
    pub alpha_max: f32,
    /// Share of the maskable parameters that the mask holds, 0 to 1.
    pub density: f32,
    /// Seed of the run.
    pub seed: u64,
    /// Registry 11.5.
    pub method: u16,
    /// Registry 11.6.
    pub granule: u16,
    /// Bytes of the granule `block`.
    pub granule_bytes: u32,
    /// Name of the skill.
    pub name: String,
    /// Pairs of key and value, in the order of the file.
    pub provenance: Vec<(String, String)>,
}

/// One tensor that the pack changes, with its entries decoded.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tensor {
    /// Name in the base model's file.
    pub name: String,
    /// Registry 11.2.
    pub dtype: u8,
    /// Sizes of the dimensions.
    pub shape: Vec<u64>,
    /// Registry 11.3.
    pub index_encoding: u8,
    /// Registry 11.4.
    pub value_encoding: u8,
    /// Size of the index stream.
    pub index_bytes: u64,
    /// Size of the value stream.
    pub value_bytes: u64,
    /// Largest error and root mean square error of the deltas, if the value encoding is lossy.
    pub error: Option<LossyError>,
    /// Row-major positions of the entries, ascending.
    pub indices: Vec<u64>,
    /// One number for each index.
    #[serde(flatten)]
    pub values: Values,
}

/// How far the stored deltas are from those they stand for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LossyError {
    /// Largest absolute difference.
    pub max: f32,
    /// Root of the mean square of the differences.
    pub rms: f32,
}

/// The values of a tensor's entries.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Values {
    /// Numbers to add.
    Deltas(Vec<f32>),
    /// Steps in the order of representable numbers.
    Distances(Vec<i64>),
}

/// The task's own output layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Head {
    /// Features of one input.
    pub feature_width: u32,
    /// Registry 11.4.
    pub weight_encoding: u8,
    /// One label for each class.
    pub labels: Vec<String>,
    /// Row-major [class, feature].
    pub weight: Vec<f32>,
    /// One number for each class.
    pub bias: Vec<f32>,
}

/// How pixels become the network's input.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Preprocessing {
    /// Channels of the image.
    pub channels: u32,
    /// Height in pixels.
    pub height: u32,
    /// Width in pixels.
    pub width: u32,
    /// Registry 11.7.
    pub resize: u16,
    /// One number for each channel.
    pub mean: Vec<f32>,
    /// One number for each channel.
    pub std: Vec<f32>,
}

/// Inputs with the outputs that are expected of them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Probes {
    /// Numbers of one input.
    pub input_len: u32,
    /// Numbers of one output.
    pub output_len: u32,
    /// Registry 11.8.
    pub input_encoding: u8,
    /// Pairs of engine (registry 11.9) and largest absolute difference.
    pub tolerances: Vec<(u16, f32)>,
    /// The probes, in the order of the file.
    pub probes: Vec<Probe>,
}

/// One input with its output.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Probe {
    /// The input as it is stored.
    #[serde(flatten)]
    pub input: Input,
    /// What is expected of it.
    pub output: Vec<f32>,
}

/// The input of a probe.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Input {
    /// What the network is given.
    Numbers(Vec<f32>),
    /// Pixels before preprocessing.
    Pixels(Vec<u8>),
}

/// A block behind the content.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Signature {
    /// Registry 11.10.
    pub algorithm: u16,
    /// Which key, in hexadecimal.
    pub key_id: String,
    /// The signature, in hexadecimal.
    pub signature: String,
}
