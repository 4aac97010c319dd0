//! From a task vector to a pack.
//!
//! Index encodings are chosen by size in `taskvec-pack`; how deltas are rounded is the recipe's choice, and what the rounding
//! costs comes back with the bytes. Expected outputs of probes must be computed with the numbers that a reader will see:
//! [`as_read`] gives them.

use taskvec_bundle::{Head, Preprocessing, Resize};
use taskvec_networks::is_statistic;
use taskvec_pack::write::{
    Builder, EntrySource, HeadParts, PreprocessingParts, ProbeParts, Rounding, Take, TensorDeltas, TensorSummary,
    Values as WrittenValues, WriteError, quantize,
};
use taskvec_pack::{Dtype, Fingerprint};

use crate::error::{Error, Result};
use crate::recipe::{Granule, Method, Recipe, Values};
use crate::task_vector::{ChangedTensor, Deltas, DeltasPart, TaskVector, TensorDelta};

/// Elements of a tensor that are made into entries at a time.
const PART_ELEMENTS: usize = 1 << 16;

/// What a pack says and carries beside the task vector.
#[derive(Clone, Debug)]
pub struct PackDetails {
    /// Name of the skill.
    pub name: String,
    /// How deltas are written. A task vector of distances is always written losslessly.
    pub values: Values,
    /// Recommended coefficient. Default 1.
    pub alpha: f32,
    /// Range that it was validated on, both ends included. Default: that coefficient alone.
    pub alpha_range: [f32; 2],
    /// How the task vector was made.
    pub method: taskvec_pack::Method,
    /// Seed of the run; 0 where there was none.
    pub seed: u64,
    /// Share of the maskable parameters that the mask was asked to hold, 0 to 1.
    pub density: f32,
    /// Granule of the mask.
    pub granule: taskvec_pack::Granule,
    /// The task's output layer, written in f32.
    pub head: Option<Head>,
    /// What pictures go through; a pack without says nothing, and the base's is taken.
    pub preprocessing: Option<Preprocessing>,
    /// Inputs with the logits to expect.
    pub probes: Option<ProbeParts>,
    /// Keys such as `data`, `licence`, `parents`, `recipe`, with what they say.
    pub provenance: Vec<(String, String)>,
}

/// A pack and what became of each tensor.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// The file.
    pub bytes: Vec<u8>,
    /// The tensors in the order they were given.
    pub tensors: Vec<EncodedTensor>,
}

/// What became of a tensor.
#[derive(Clone, Debug)]
pub struct EncodedTensor {
    /// Its name.
    pub name: String,
    /// Its entries.
    pub entry_count: u64,
    /// Encodings, sizes, and the error that rounding made.
    pub summary: TensorSummary,
}

/// A pack that takes one tensor at a time, so that only the packed form of the earlier ones is in memory.
#[derive(Debug)]
pub struct PackWriter {
    builder: Builder,
    /// Of deltas; none if only distances are to be written.
    rounding: Option<Rounding>,
    tensors: Vec<EncodedTensor>,
}

impl PackDetails {
    /// The details of a skill called `name`, all else at its default and unsaid.
    pub fn new(name: impl Into<String>, values: Values) -> PackDetails {
        PackDetails {
            name: name.into(),
            values,
            alpha: 1.0,
            alpha_range: [1.0, 1.0],
            method: taskvec_pack::Method::Unspecified,
            seed: 0,
            density: 1.0,
            granule: taskvec_pack::Granule::Element,
            head: None,
            preprocessing: None,
            probes: None,
            provenance: Vec::new(),
        }
    }

    /// What a recipe says about the pack of its run; head, probes and the rest of the provenance are the run's to add.
    pub fn of_recipe(recipe: &Recipe) -> PackDetails {
        let masked = recipe.method.chooses();
        PackDetails {
            alpha: recipe.pack.alpha,
            alpha_range: recipe.pack.alpha_range,
            method: if recipe.linearized { taskvec_pack::Method::Linearized } else { method(recipe.method) },
            seed: recipe.seed,
            density: if masked { recipe.mask.density as f32 } else { 1.0 },
            granule: if masked { granule(recipe.mask.granule()) } else { taskvec_pack::Granule::Tensor },
            provenance: vec![("recipe".to_owned(), recipe.digest().to_string())],
            ..PackDetails::new(recipe.name.clone(), recipe.pack.values)
        }
    }
}

impl PackWriter {
    /// A pack for the base with this fingerprint.
    ///
    /// # Errors
    /// `Unsupported` for a way to resize that the format has no number for.
    pub fn new(base: Fingerprint, details: &PackDetails) -> Result<PackWriter> {
        let mut builder = Builder::new(base, details.name.as_str());
        builder
            .alpha(details.alpha, details.alpha_range)
            .method(details.method)
            .seed(details.seed)
            .density(details.density)
            .granule(details.granule);
        for (key, value) in &details.provenance {
            builder.provenance(key, value);
        }
        if let Some(head) = &details.head {
            builder.head(head_parts(head));
        }
        if let Some(preprocessing) = &details.preprocessing {
            builder.preprocessing(preprocessing_parts(preprocessing)?);
        }
        if let Some(probes) = &details.probes {
            builder.probes(probes.clone());
        }
        Ok(PackWriter { builder, rounding: rounding(details.values), tensors: Vec::new() })
    }

    /// Adds a tensor.
    ///
    /// # Errors
    /// `Usage` when it is there twice, its indices do not ascend, a number is not finite, or deltas are to be written
    /// losslessly.
    pub fn tensor(&mut self, tensor: &TensorDelta) -> Result<()> {
        self.held(tensor, self.rounding_of(&tensor.name))
    }

    /// Adds a tensor whose entries are handed over again and again, so that they need not be in memory.
    ///
    /// # Errors
    /// As [`PackWriter::tensor`]; `Io` when a checkpoint cannot be read any more.
    pub fn changed(&mut self, tensor: &ChangedTensor<'_>) -> Result<()> {
        let entries = Entries {
            name: tensor.name(),
            count: tensor.entry_count(),
            rounding: self.rounding_of(tensor.name()),
            replay: |take: &mut TakeDeltas<'_>| tensor.replay(take),
        };
        self.add(tensor.name(), tensor.dtype(), tensor.shape(), entries)
    }

    /// Adds a tensor with a delta for each of its elements, and says how many are entries: zeros are none.
    ///
    /// # Errors
    /// As [`PackWriter::tensor`].
    pub fn dense(&mut self, name: &str, dtype: Dtype, shape: &[u64], deltas: &[f32]) -> Result<u64> {
        let count = deltas.iter().filter(|delta| **delta != 0.0).count() as u64;
        let replay = |take: &mut TakeDeltas<'_>| {
            for (first, part) in (0..).step_by(PART_ELEMENTS).zip(deltas.chunks(PART_ELEMENTS)) {
                let entries = (first..).zip(part.iter().copied()).filter(|(_, delta)| *delta != 0.0);
                let (indices, deltas): (Vec<u64>, Vec<f32>) = entries.unzip();
                take(&indices, DeltasPart::Numbers(&deltas))?;
            }
            Ok(())
        };
        self.add(name, dtype, shape, Entries { name, count, rounding: self.rounding_of(name), replay })?;
        Ok(count)
    }

    /// Statistics of batch norms are few, and a variance must stay above 0: they are not rounded.
    fn rounding_of(&self, tensor: &str) -> Option<Rounding> {
        if is_statistic(tensor) { self.rounding.and(Some(Rounding::F32)) } else { self.rounding }
    }

    /// Adds a tensor whose deltas are rounded in another way than the others'.
    ///
    /// # Errors
    /// As [`PackWriter::tensor`].
    pub(crate) fn tensor_rounded(&mut self, tensor: &TensorDelta, rounding: Rounding) -> Result<()> {
        self.held(tensor, Some(rounding))
    }

    fn held(&mut self, tensor: &TensorDelta, rounding: Option<Rounding>) -> Result<()> {
        let entries = Entries {
            name: &tensor.name,
            count: tensor.indices.len() as u64,
            rounding,
            replay: |take: &mut TakeDeltas<'_>| take(&tensor.indices, tensor.deltas.as_part()),
        };
        self.add(&tensor.name, tensor.dtype, &tensor.shape, entries)
    }

    fn add(
        &mut self,
        name: &str,
        dtype: Dtype,
        shape: &[u64],
        entries: impl EntrySource<Error = Stopped>,
    ) -> Result<()> {
        let entry_count = entries.entry_count();
        let summary = self.builder.tensor(name, dtype, shape, entries).map_err(|Stopped(error)| error)?;
        self.tensors.push(EncodedTensor { name: name.to_owned(), entry_count, summary });
        Ok(())
    }

    /// Says about how much of the base the mask was, once that is known.
    pub fn density(&mut self, density: f32) {
        self.builder.density(density);
    }

    /// Gives the pack probes, which were computed with the pack as it was without them.
    pub fn probes(&mut self, probes: ProbeParts) {
        self.builder.probes(probes);
    }

    /// The pack as it is now; more can come to it.
    ///
    /// # Errors
    /// As [`PackWriter::finish`].
    pub fn so_far(&self) -> Result<Vec<u8>> {
        self.builder.finish().map_err(refused)
    }

    /// The finished pack.
    ///
    /// # Errors
    /// `Usage` when the parts do not make a pack: a name that is no text, an alpha outside its range, probes that do not
    /// fit the head.
    pub fn finish(self) -> Result<Encoded> {
        let bytes = self.builder.into_file().map_err(refused)?;
        Ok(Encoded { bytes, tensors: self.tensors })
    }
}

/// What takes a part of a tensor's entries: indices, and by how much each element changed.
type TakeDeltas<'a> = dyn FnMut(&[u64], DeltasPart<'_>) -> Result<()> + 'a;

/// The entries of a tensor, as a pack asks for them.
struct Entries<'a, F> {
    name: &'a str,
    count: u64,
    /// Of deltas; none if only distances are to be written.
    rounding: Option<Rounding>,
    replay: F,
}

/// What kept a tensor from its pack: entries that could not be handed over, or that the pack refused.
struct Stopped(Error);

impl From<WriteError> for Stopped {
    fn from(cause: WriteError) -> Stopped {
        Stopped(refused(cause))
    }
}

impl<F: Fn(&mut TakeDeltas<'_>) -> Result<()>> EntrySource for Entries<'_, F> {
    type Error = Stopped;

    fn entry_count(&self) -> u64 {
        self.count
    }

    fn replay(&self, take: &mut Take<'_>) -> std::result::Result<(), Stopped> {
        let mut take_deltas = |indices: &[u64], deltas: DeltasPart<'_>| {
            let values = match deltas {
                DeltasPart::Numbers(numbers) => {
                    let lossless =
                        || Error::usage(format!("tensor `{}`: deltas cannot be written losslessly", self.name));
                    WrittenValues::Deltas(numbers, self.rounding.ok_or_else(lossless)?)
                }
                DeltasPart::Distances(distances) => WrittenValues::Distances(distances),
            };
            take(TensorDeltas { indices, values }).map_err(refused)
        };
        (self.replay)(&mut take_deltas).map_err(Stopped)
    }
}

/// The pack of a task vector.
///
/// # Errors
/// As [`PackWriter::tensor`] and [`PackWriter::finish`].
pub fn encode(vector: &TaskVector, details: &PackDetails) -> Result<Encoded> {
    let mut writer = PackWriter::new(vector.base, details)?;
    for tensor in &vector.tensors {
        writer.tensor(tensor)?;
    }
    writer.finish()
}

/// The task vector that a reader will see when `vector` is written with `values`.
pub fn as_read(vector: &TaskVector, values: Values) -> TaskVector {
    let mut seen = vector.clone();
    for tensor in seen.tensors.iter_mut().filter(|tensor| !is_statistic(&tensor.name)) {
        if let (Deltas::Numbers(deltas), Some(rounding)) = (&mut tensor.deltas, rounding(values)) {
            *deltas = quantize(deltas, rounding);
        }
    }
    seen
}

/// How the pack writer rounds; none where it writes distances.
pub(crate) fn rounding(values: Values) -> Option<Rounding> {
    match values {
        Values::F32 => Some(Rounding::F32),
        Values::F16 => Some(Rounding::F16),
        Values::Bf16 => Some(Rounding::Bf16),
        Values::Int8 => Some(Rounding::INT8),
        Values::Int6 => Some(Rounding::Levels(31)),
        Values::Int4 => Some(Rounding::Levels(7)),
        Values::Int3 => Some(Rounding::Levels(3)),
        Values::Int2 => Some(Rounding::Levels(1)),
        Values::Sign => Some(Rounding::Sign),
        Values::Lossless => None,
    }
}

fn method(method: Method) -> taskvec_pack::Method {
    match method {
        Method::Dense => taskvec_pack::Method::Dense,
        Method::Talos => taskvec_pack::Method::LeastSensitive,
        Method::RandomMask => taskvec_pack::Method::RandomMask,
        Method::MostSensitive => taskvec_pack::Method::MostSensitive,
        Method::AttentionOnly => taskvec_pack::Method::AttentionOnly,
        Method::SharedMask => taskvec_pack::Method::SharedMask,
        Method::Lora => taskvec_pack::Method::LowRank,
        Method::MagnitudeMask => taskvec_pack::Method::MagnitudeMask,
        Method::LotteryMask => taskvec_pack::Method::LotteryMask,
        Method::Taps => taskvec_pack::Method::TensorGates,
        Method::DiffPruning => taskvec_pack::Method::DiffPruning,
    }
}

fn granule(granule: Granule) -> taskvec_pack::Granule {
    match granule {
        Granule::Element => taskvec_pack::Granule::Element,
        Granule::Row => taskvec_pack::Granule::Row,
        Granule::Block4k => taskvec_pack::Granule::Block { bytes: 4096 },
        Granule::Tensor => taskvec_pack::Granule::Tensor,
    }
}

fn head_parts(head: &Head) -> HeadParts {
    HeadParts {
        feature_width: head.feature_width() as u32,
        labels: head.labels().to_vec(),
        weight: head.weight().to_vec(),
        weight_rounding: Rounding::F32,
        bias: head.bias().to_vec(),
    }
}

fn preprocessing_parts(preprocessing: &Preprocessing) -> Result<PreprocessingParts> {
    let resize = match preprocessing.resize() {
        Resize::Bilinear => taskvec_pack::Resize::Bilinear,
        other => return Err(Error::unsupported(format!("a pack cannot say that pictures are resized by {other:?}"))),
    };
    Ok(PreprocessingParts {
        channels: preprocessing.channels(),
        height: preprocessing.height(),
        width: preprocessing.width(),
        resize,
        mean: preprocessing.mean().to_vec(),
        std: preprocessing.std().to_vec(),
    })
}

fn refused(cause: WriteError) -> Error {
    Error::usage("no pack can be made of this").caused_by(cause)
}

#[cfg(test)]
mod tests {
    use taskvec_pack::write::ProbeInputs;
    use taskvec_pack::{Dtype, EngineKind, Entries, Limits, Pack};

    use super::*;
    use crate::error::ErrorKind;

    fn vector(deltas: Deltas) -> TaskVector {
        let tensor = TensorDelta {
            name: "blocks.0.attn.qkv.weight".to_owned(),
            dtype: Dtype::F32,
            shape: vec![4, 8],
            indices: vec![1, 17, 31],
            deltas,
        };
        TaskVector { base: Fingerprint([7; 32]), tensors: vec![tensor] }
    }

    fn numbers() -> Deltas {
        Deltas::Numbers(vec![0.5, -0.013, 0.25])
    }

    #[test]
    fn what_a_reader_sees_is_what_was_announced() {
        for values in [Values::F32, Values::Bf16, Values::Int8] {
            let encoded = encode(&vector(numbers()), &PackDetails::new("digits", values)).unwrap();
            let pack = Pack::read(&encoded.bytes, &Limits::default()).unwrap();
            let entry = pack.tensors().next().unwrap();
            let Entries::Deltas(deltas) = entry.entries() else { panic!("{values:?}") };
            let (indices, deltas): (Vec<usize>, Vec<f32>) = deltas.unzip();
            assert_eq!(indices, [1, 17, 31]);
            assert_eq!(Deltas::Numbers(deltas), as_read(&vector(numbers()), values).tensors[0].deltas, "{values:?}");
            let lossy = encoded.tensors[0].summary.measured_error;
            assert_eq!(lossy.is_some(), values != Values::F32);
        }
        let distances = vector(Deltas::Distances(vec![3, -1, 70_000]));
        let encoded = encode(&distances, &PackDetails::new("digits", Values::Lossless)).unwrap();
        let pack = Pack::read(&encoded.bytes, &Limits::default()).unwrap();
        let entry = pack.tensors().next().unwrap();
        let Entries::Distances(read) = entry.entries() else { panic!() };
        assert_eq!(read.map(|(_, distance)| distance).collect::<Vec<_>>(), [3, -1, 70_000]);
    }

    #[test]
    fn everything_that_was_said_arrives() {
        let mut details = PackDetails::new("digits", Values::F32);
        details.alpha = 0.5;
        details.alpha_range = [0.0, 1.0];
        details.seed = 9;
        details.density = 0.1;
        details.method = taskvec_pack::Method::LeastSensitive;
        details.granule = taskvec_pack::Granule::Block { bytes: 4096 };
        details.provenance.push(("licence".to_owned(), "CC BY 4.0".to_owned()));
        let labels = vec!["one".to_owned(), "two".to_owned()];
        details.head = Some(Head::new(labels, vec![0.1; 6], vec![0.0, 1.0], 3).unwrap());
        details.preprocessing = Some(Preprocessing::new(1, (2, 2), Resize::Bilinear, vec![0.5], vec![0.25]).unwrap());
        details.probes = Some(ProbeParts {
            count: 2,
            inputs: ProbeInputs::U8(vec![0, 1, 2, 3, 4, 5, 6, 7]),
            outputs: vec![1.0, -1.0, 2.0, -2.0],
            tolerances: vec![(EngineKind::Any, 1e-3)],
        });
        let encoded = encode(&vector(numbers()), &details).unwrap();
        assert_eq!(encode(&vector(numbers()), &details).unwrap().bytes, encoded.bytes, "same parts, same bytes");
        let pack = Pack::read(&encoded.bytes, &Limits::default()).unwrap();
        let manifest = pack.manifest();
        assert_eq!((manifest.name, manifest.alpha, manifest.alpha_range), ("digits", 0.5, [0.0, 1.0]));
        assert_eq!((manifest.seed, manifest.density), (9, 0.1));
        assert_eq!((manifest.method, manifest.granule), (details.method, details.granule));
        assert_eq!(manifest.provenance().collect::<Vec<_>>(), [("licence", "CC BY 4.0")]);
        assert_eq!(pack.head().unwrap().labels().collect::<Vec<_>>(), ["one", "two"]);
        assert_eq!(pack.preprocessing().unwrap().width, 2);
        assert_eq!(pack.probes().unwrap().count, 2);
    }

    #[test]
    fn parts_that_make_no_pack_are_refused_with_a_reason() {
        let deltas = encode(&vector(numbers()), &PackDetails::new("digits", Values::Lossless)).unwrap_err();
        assert_eq!(deltas.kind(), ErrorKind::Usage);
        let nameless = encode(&vector(numbers()), &PackDetails::new("", Values::F32)).unwrap_err();
        assert!(std::error::Error::source(&nameless).unwrap().to_string().contains("name"), "{nameless:?}");
    }
}
