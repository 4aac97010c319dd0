//! `Builder`: a pack from its parts (feature `write`).
//!
//! Tensors are encoded as they come, and entries are asked for again rather than kept (`entries.rs`), so that at any time only
//! the packed form of what came before is in memory. Everything that depends on order is sorted, so the bytes depend on what was
//! given and not on when.

mod entries;
mod error;
mod measure;
mod outline;
mod parts;

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use self::entries::Streams;
pub use self::entries::{EntrySource, Take, TensorDeltas, Values};
pub use self::error::WriteError;
pub use self::measure::{measure, quantize, stream_bytes};
use self::outline::Outline;
pub use self::parts::{HeadParts, PreprocessingParts, ProbeInputs, ProbeParts};
use crate::cursor::{encode_varint, is_text};
use crate::dtype::Dtype;
use crate::fingerprint::Fingerprint;
use crate::index::IndexEncoding;
use crate::layout::{ELEMENT_COUNT_MAX, Limits, RANK_MAX, section};
use crate::manifest::{Granule, Method};
use crate::read::Pack;
use crate::signature::Signature;
use crate::tensors::MeasuredError;
pub use crate::values::Rounding;
use crate::width::{low_byte, wide};

/// What became of a tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct TensorSummary {
    /// The encoding of its mask, the shortest one.
    pub index_encoding: IndexEncoding,
    /// Size of its mask.
    pub index_bytes: usize,
    /// Size of its values.
    pub value_bytes: usize,
    /// What a lossy encoding of the values cost.
    pub measured_error: Option<MeasuredError>,
}

/// A pack in the making.
///
/// ```
/// use taskvec_pack::write::{Builder, Rounding, TensorDeltas, Values};
/// use taskvec_pack::{Dtype, Fingerprint, Limits, Pack};
///
/// let mut builder = Builder::new(Fingerprint([7; 32]), "digits");
/// let deltas = TensorDeltas { indices: &[1, 5], values: Values::Deltas(&[0.5, -0.25], Rounding::F32) };
/// builder.tensor("norm.weight", Dtype::F32, &[8], deltas)?;
/// let bytes = builder.finish()?;
///
/// let pack = Pack::read(&bytes, &Limits::default()).expect("what was written can be read");
/// assert_eq!(pack.manifest().name, "digits");
/// # Ok::<(), taskvec_pack::write::WriteError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Builder {
    base: Fingerprint,
    name: String,
    alpha: f32,
    alpha_range: [f32; 2],
    method: Method,
    seed: u64,
    density: f32,
    granule: Granule,
    provenance: BTreeMap<String, String>,
    tensors: BTreeMap<String, Record>,
    head: Option<HeadParts>,
    preprocessing: Option<PreprocessingParts>,
    probes: Option<ProbeParts>,
}

/// A tensor in its packed form: the record without its name, and the streams.
#[derive(Clone, Debug)]
struct Record {
    fields: Vec<u8>,
    index: Vec<u8>,
    value: Vec<u8>,
}

impl Builder {
    /// A pack for this base, with this name; alpha is 1 and validated nowhere else, the density is 1.
    pub fn new(base: Fingerprint, name: impl Into<String>) -> Self {
        Self {
            base,
            name: name.into(),
            alpha: 1.0,
            alpha_range: [1.0, 1.0],
            method: Method::Unspecified,
            seed: 0,
            density: 1.0,
            granule: Granule::Element,
            provenance: BTreeMap::new(),
            tensors: BTreeMap::new(),
            head: None,
            preprocessing: None,
            probes: None,
        }
    }

    /// The recommended coefficient, and the range on which the skill was validated, which holds it.
    pub const fn alpha(&mut self, alpha: f32, range: [f32; 2]) -> &mut Self {
        self.alpha = alpha;
        self.alpha_range = range;
        self
    }

    /// How the task vector was made.
    pub const fn method(&mut self, method: Method) -> &mut Self {
        self.method = method;
        self
    }

    /// The seed of the run that made it.
    pub const fn seed(&mut self, seed: u64) -> &mut Self {
        self.seed = seed;
        self
    }

    /// The share of the maskable parameters in the mask that was asked for, 0 to 1 inclusive.
    pub const fn density(&mut self, density: f32) -> &mut Self {
        self.density = density;
        self
    }

    /// The granule of the mask.
    pub const fn granule(&mut self, granule: Granule) -> &mut Self {
        self.granule = granule;
        self
    }

    /// Where the pack comes from; a second value for a key takes the place of the first.
    pub fn provenance(&mut self, key: impl Into<String>, value: impl Into<String>) -> &mut Self {
        self.provenance.insert(key.into(), value.into());
        self
    }

    /// The task's output layer.
    pub fn head(&mut self, head: HeadParts) -> &mut Self {
        self.head = Some(head);
        self
    }

    /// From pixels to what the network is given.
    pub fn preprocessing(&mut self, preprocessing: PreprocessingParts) -> &mut Self {
        self.preprocessing = Some(preprocessing);
        self
    }

    /// Inputs with expected outputs.
    pub fn probes(&mut self, probes: ProbeParts) -> &mut Self {
        self.probes = Some(probes);
        self
    }

    /// Adds a tensor, in whatever order. One without entries is left out: absent is the shortest encoding.
    ///
    /// Entries are not kept: a source that reads them from elsewhere is asked for them two times, or three. What is in memory then
    /// is the stream that is being made; and, where deltas are rounded to levels, one byte for each entry.
    ///
    /// # Errors
    ///
    /// If the name is no text or was given before, the shape has no elements or more than 8 dimensions, the indices do not
    /// ascend within the tensor, or a number is not finite, a distance 0 or too large for the encoding or the dtype; if the source
    /// fails, or hands over other entries when it is asked again.
    pub fn tensor<S: EntrySource>(
        &mut self,
        name: &str,
        dtype: Dtype,
        shape: &[u64],
        entries: S,
    ) -> Result<TensorSummary, S::Error> {
        let fail = |problem: &str| WriteError::new(alloc::format!("tensor `{name}`"), problem);
        if !is_text(name, false) || wide(name.len()) > Limits::DEFAULT.max_string_bytes {
            return Err(fail("its name is empty, too long or has control characters").into());
        }
        if self.tensors.contains_key(name) {
            return Err(fail("a tensor of this name is already there").into());
        }
        let elements = element_count(shape).ok_or_else(|| {
            fail("its shape has a dimension of 0, more than 8 dimensions, or too many elements for a pack")
        })?;
        let streams = entries::encode(&entries, elements, dtype, fail)?;
        let Streams { index_encoding, index, value_encoding, value, measured_error } = streams;
        let summary =
            TensorSummary { index_encoding, index_bytes: index.len(), value_bytes: value.len(), measured_error };
        let entry_count = entries.entry_count();
        if entry_count == 0 {
            return Ok(summary);
        }
        let mut fields = alloc::vec![dtype.code(), low_byte(wide(shape.len()))];
        for dimension in shape {
            encode_varint(*dimension, &mut fields);
        }
        fields.extend([index_encoding.code(), value_encoding.code()]);
        for count in [entry_count, wide(index.len()), wide(value.len())] {
            encode_varint(count, &mut fields);
        }
        if let Some(MeasuredError { max, rms }) = measured_error {
            fields.extend([max, rms].iter().flat_map(|number| number.to_le_bytes()));
        }
        self.tensors.insert(name.to_string(), Record { fields, index, value });
        Ok(summary)
    }

    /// The file. The same parts give the same bytes, whatever the order in which they came.
    ///
    /// # Errors
    ///
    /// If a text is none, a number is not finite or out of its range, or parts contradict each other.
    pub fn finish(&self) -> Result<Vec<u8>, WriteError> {
        self.outline()?.file(self.tensors.values())
    }

    /// As [`Builder::finish`], for a pack so large that it should not be in memory twice: the packed form of each tensor is let go
    /// as soon as it is in the file.
    ///
    /// # Errors
    ///
    /// As [`Builder::finish`].
    pub fn into_file(self) -> Result<Vec<u8>, WriteError> {
        self.outline()?.file(self.tensors.into_values())
    }

    fn outline(&self) -> Result<Outline, WriteError> {
        let mut sections = alloc::vec![
            (section::MANIFEST, Some(self.manifest()?)),
            (section::TENSORS, Some(self.tensor_records())),
            (section::ENTRIES, None),
        ];
        if let Some(head) = &self.head {
            sections.push((section::HEAD, Some(head.encode()?)));
        }
        if let Some(preprocessing) = &self.preprocessing {
            sections.push((section::PREPROCESSING, Some(preprocessing.encode()?)));
        }
        if let Some(probes) = &self.probes {
            let bytes = probes.encode(self.preprocessing.as_ref(), self.head.as_ref())?;
            sections.push((section::PROBES, Some(bytes)));
        }
        let entries: Vec<&[u8]> = self.tensors.values().flat_map(Record::streams).collect();
        Ok(Outline::new(sections, &entries))
    }

    fn manifest(&self) -> Result<Vec<u8>, WriteError> {
        let fail = |problem: &str| Err(WriteError::new("manifest", problem));
        let [low, high] = self.alpha_range;
        if ![self.alpha, low, high].into_iter().all(f32::is_finite) || low > self.alpha || self.alpha > high {
            return fail("alpha is not finite or lies outside of its range");
        }
        if !(0.0..=1.0).contains(&self.density) {
            return fail("density is not between 0 and 1");
        }
        if Granule::from_code(self.granule.code(), self.granule.bytes()).is_none() {
            return fail("a granule of 0 bytes");
        }
        let mut out = self.base.0.to_vec();
        out.extend([self.alpha, low, high, self.density].iter().flat_map(|number| number.to_le_bytes()));
        out.extend(self.seed.to_le_bytes());
        out.extend(self.method.code().to_le_bytes());
        out.extend(self.granule.code().to_le_bytes());
        out.extend(self.granule.bytes().to_le_bytes());
        put_text(&self.name, false, "name", &mut out)?;
        encode_varint(wide(self.provenance.len()), &mut out);
        for (key, value) in &self.provenance {
            put_text(key, false, "provenance key", &mut out)?;
            put_text(value, true, "provenance value", &mut out)?;
        }
        Ok(out)
    }

    fn tensor_records(&self) -> Vec<u8> {
        let mut out = Vec::new();
        encode_varint(wide(self.tensors.len()), &mut out);
        for (name, record) in &self.tensors {
            encode_varint(wide(name.len()), &mut out);
            out.extend(name.as_bytes());
            out.extend(&record.fields);
        }
        out
    }
}

impl Record {
    fn streams(&self) -> [&[u8]; 2] {
        [&self.index, &self.value]
    }
}

/// The file with one more signature over its pack digest, which takes the place of one by the same key.
///
/// # Errors
///
/// If the file is no pack, key id or signature are not of the sizes that the algorithm has, or there are too many.
pub fn sign(file: &[u8], algorithm: u16, key_id: &[u8], signature: &[u8]) -> Result<Vec<u8>, WriteError> {
    let pack = Pack::read(file, &Limits::DEFAULT).map_err(|error| WriteError::new("pack", error.to_string()))?;
    let mut signatures: Vec<Signature<'_>> = pack.signatures().filter(|other| other.key_id != key_id).collect();
    signatures.push(Signature { algorithm, key_id, bytes: signature });
    signatures.sort_by_key(|signature| signature.key_id);
    let mut signed = pack.content().to_vec();
    for signature in signatures {
        let block = signature.encode().ok_or_else(|| {
            WriteError::new("signature", "key id or signature is not of the size that its algorithm has")
        })?;
        signed.extend(block);
    }
    // The last word on what a reader takes is the reader's.
    Pack::read(&signed, &Limits::DEFAULT).map_err(|error| WriteError::new("signature", error.to_string()))?;
    Ok(signed)
}

fn element_count(shape: &[u64]) -> Option<u64> {
    if shape.len() > usize::from(RANK_MAX) {
        return None;
    }
    let product = shape.iter().try_fold(1_u64, |product, dimension| product.checked_mul(*dimension))?;
    let limit = ELEMENT_COUNT_MAX.min(Limits::DEFAULT.max_elements_per_tensor);
    (1..=limit).contains(&product).then_some(product)
}

fn put_text(text: &str, may_be_empty: bool, subject: &str, out: &mut Vec<u8>) -> Result<(), WriteError> {
    if !is_text(text, may_be_empty) || wide(text.len()) > Limits::DEFAULT.max_string_bytes {
        let subject = alloc::format!("{subject} `{}`", text.escape_debug());
        return Err(WriteError::new(subject, "it is empty, too long or has control characters"));
    }
    encode_varint(wide(text.len()), out);
    out.extend(text.as_bytes());
    Ok(())
}
