//! Packs made by hand, byte by byte, from the specification and without the writer.
//!
//! Three steps, and a test may step in between any two: [`HandMade`] says what is in the pack, [`Draft`] is its bytes cut
//! into named pieces, [`Made`] is the file, in which each piece is found again by its name. To make a pack that is wrong
//! in one way, replace a piece of a draft (sizes and checksums follow) or overwrite bytes of the file and fix its
//! checksums.
//!
//! ```
//! use taskvec_testkit::{Limits, hand_made::HandMade, naive_reader::{self, ErrorKind}};
//!
//! let mut made = HandMade::new("greek letters").draft().build();
//! made.overwrite("manifest.alpha", &f32::NAN.to_le_bytes());
//! made.fix_checksums();
//! let error = naive_reader::read(&made.bytes, &Limits::default()).unwrap_err();
//! assert_eq!(error.kind, ErrorKind::Number);
//! assert_eq!(error.offset, made.offset("manifest.alpha"));
//! ```

mod draft;
mod made;
mod pieces;
pub mod streams;

use sha2::{Digest, Sha256};

pub use self::draft::Draft;
pub use self::made::Made;
use crate::contents::{
    Contents, Head, Input, LossyError, Manifest, Preprocessing, Probe, Probes, Signature, Tensor, Values,
};
use crate::hex::hex;

/// What is in a pack, and the streams that say it.
#[derive(Clone, Debug)]
pub struct HandMade {
    contents: Contents,
    streams: Vec<[Vec<u8>; 2]>,
}

impl HandMade {
    /// The smallest pack: a manifest and no tensors.
    pub fn new(name: &str) -> Self {
        let manifest = Manifest {
            base: hex(&(0xA0..0xC0).collect::<Vec<u8>>()),
            alpha: 1.0,
            alpha_min: 0.0,
            alpha_max: 1.5,
            density: 0.25,
            seed: 7,
            method: 3,
            granule: 1,
            granule_bytes: 0,
            name: name.to_owned(),
            provenance: Vec::new(),
        };
        let contents = Contents {
            major: 1,
            minor: 0,
            digest: String::new(),
            manifest,
            tensors: Vec::new(),
            head: None,
            preprocessing: None,
            probes: None,
            signatures: Vec::new(),
        };
        Self { contents, streams: Vec::new() }
    }

    /// Sets fields of the manifest.
    pub fn manifest(mut self, set: impl FnOnce(&mut Manifest)) -> Self {
        set(&mut self.contents.manifest);
        self
    }

    /// Sets the minor version.
    pub fn minor(mut self, minor: u16) -> Self {
        self.contents.minor = minor;
        self
    }

    /// Adds a tensor behind those that are there, whatever their names.
    pub fn tensor(mut self, tensor: HandTensor) -> Self {
        let HandTensor { name, dtype, shape, index, value, indices, values, error } = tensor;
        self.contents.tensors.push(Tensor {
            name,
            dtype,
            shape,
            index_encoding: index.0,
            value_encoding: value.0,
            index_bytes: index.1.len() as u64,
            value_bytes: value.1.len() as u64,
            error,
            indices,
            values,
        });
        self.streams.push([index.1, value.1]);
        self
    }

    /// Sets the head.
    pub fn head(mut self, head: Head) -> Self {
        self.contents.head = Some(head);
        self
    }

    /// Sets the preprocessing.
    pub fn preprocessing(mut self, preprocessing: Preprocessing) -> Self {
        self.contents.preprocessing = Some(preprocessing);
        self
    }

    /// Sets the probes.
    pub fn probes(mut self, probes: Probes) -> Self {
        self.contents.probes = Some(probes);
        self
    }

    /// Adds a signature block behind those that are there, whatever its key id.
    pub fn signature(mut self, signature: Signature) -> Self {
        self.contents.signatures.push(signature);
        self
    }

    /// The bytes of the pack in named pieces.
    pub fn draft(&self) -> Draft {
        Draft::new(&self.contents, &self.streams)
    }

    /// What must be read from the finished file, with its digest.
    pub fn contents(&self, made: &Made) -> Contents {
        let digest = hex(&Sha256::digest(&made.bytes[..made.content_bytes]));
        Contents { digest, ..self.contents.clone() }
    }
}

/// A tensor with its entries and the streams that stand for them.
#[derive(Clone, Debug)]
pub struct HandTensor {
    /// Name in the base model's file.
    pub name: String,
    /// Registry 11.2.
    pub dtype: u8,
    /// Sizes of the dimensions.
    pub shape: Vec<u64>,
    /// Number of the index encoding and the index stream.
    pub index: (u8, Vec<u8>),
    /// Number of the value encoding and the value stream.
    pub value: (u8, Vec<u8>),
    /// The indices for which the index stream stands.
    pub indices: Vec<u64>,
    /// The values for which the value stream stands.
    pub values: Values,
    /// The error, for lossy value encodings.
    pub error: Option<LossyError>,
}

impl HandTensor {
    /// A vector of so many f32 elements with deltas in f32 at these indices, Rice-coded with the parameter 2.
    pub fn small(name: &str, element_count: u64, entries: &[(u64, f32)]) -> Self {
        let (indices, deltas): (Vec<u64>, Vec<f32>) = entries.iter().copied().unzip();
        Self {
            name: name.to_owned(),
            dtype: 1,
            shape: vec![element_count],
            index: (1, streams::rice_coded(&[2], &indices)),
            value: (1, streams::f32s(&deltas)),
            indices,
            values: Values::Deltas(deltas),
            error: None,
        }
    }
}

/// Probes whose inputs are the f32 numbers that the network is given.
pub fn number_probes(tolerances: &[(u16, f32)], probes: &[(&[f32], &[f32])]) -> Probes {
    let one =
        |&(input, output): &(&[f32], &[f32])| Probe { input: Input::Numbers(input.into()), output: output.into() };
    Probes {
        input_len: probes.first().map_or(0, |probe| count(probe.0.len())),
        output_len: probes.first().map_or(0, |probe| count(probe.1.len())),
        input_encoding: 1,
        tolerances: tolerances.to_vec(),
        probes: probes.iter().map(one).collect(),
    }
}

/// A small count as the format's usual type.
fn count(len: usize) -> u32 {
    u32::try_from(len).expect("hand-made packs are small")
}
