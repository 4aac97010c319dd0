//! What a run starts from: a base bundle, or a fresh network.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs;
use std::path::Path;

use burn::tensor::{Device, TensorData};
use half::{bf16, f16};
use taskvec_bundle::{Base, Head, MODEL_FILE, NamedTensor, Preprocessing, Resize, StoredDtype, TensorFile};
use taskvec_networks::{Network, NetworkConfig, is_statistic, with_weights};
use taskvec_pack::{Dtype, Fingerprint};

use crate::error::{Error, Result, from_networks};
use crate::examples::{Examples, input};
use crate::finetune::HostHead;
use crate::finetune::learner::Learner;
use crate::finetune::leaves::{HostTensor, host_tensors, replaced, to_host};
use crate::mask::Entries;
use crate::random::Random;
use crate::recipe::{PixelRecipe, Recipe};
use crate::run_folder::{f32_bytes, safetensors};
use crate::task_vector::{Deltas, TensorDelta};

/// Deviation of a fresh head's weights, as in the network.
const FRESH_HEAD_DEVIATION: f32 = 0.02;

/// A network before the first step.
pub(crate) struct Start {
    /// Plain.
    pub(crate) network: Network,
    /// Its numbers, all tensors in the network's order.
    pub(crate) tensors: Vec<HostTensor>,
    /// What it expects of an image.
    pub(crate) preprocessing: Preprocessing,
    /// Numbers per image that it gives.
    pub(crate) feature_width: usize,
    /// Statistics of batch norms that are not the base's.
    pub(crate) statistics: Vec<HostTensor>,
    base: Option<BaseFile>,
}

/// A base's weights as they lie on disk.
struct BaseFile {
    description: Base,
    file: TensorFile,
    bytes: Vec<u8>,
}

impl Start {
    /// What `recipe` starts from.
    ///
    /// # Errors
    /// `Io`; `Damaged` when a bundle is not what it says; `Usage` for a network that cannot be.
    pub(crate) fn new(recipe: &Recipe, device: &Device) -> Result<Start> {
        match (recipe.base_path(), &recipe.network) {
            (Some(folder), _) => Start::from_bundle(&folder, device),
            (None, Some(config)) => Start::from_scratch(config, &recipe.pixels, recipe.seed, device),
            (None, None) => Err(Error::usage("neither `base` nor `network` is given")),
        }
    }

    /// The base in the bundle at `folder`, its weights compared with its description.
    pub(crate) fn from_bundle(folder: &Path, device: &Device) -> Result<Start> {
        let explain = |cause| Error::from_bundle(cause, format!("open base `{}`", folder.display()));
        let description = Base::read(folder).map_err(explain)?;
        let path = folder.join(MODEL_FILE);
        let bytes = fs::read(&path).map_err(|cause| Error::io("read", &path, cause))?;
        let file = TensorFile::parse(&bytes).map_err(explain)?;
        description.verify(&file, &bytes).map_err(explain)?;
        let config = config_of(&description)?;
        if matches!(config, NetworkConfig::Linearized(_)) {
            let clause =
                format!("base `{}` is linearized, and skills are trained on the base itself", folder.display());
            return Err(Error::usage(clause).with_help(
                "name the base that it was made of, with `linearized: true` in the recipe: the pack fits both",
            ));
        }
        let network = read_network(&config, &file, &bytes, device)?;
        let Some(pictures) = description.pictures() else {
            let clause = format!("base `{}` takes arrays, and skills are trained here on pictures", folder.display());
            return Err(Error::unsupported(clause)
                .with_help("train it where it came from, and make a pack of the two checkpoints with `taskvec diff`"));
        };
        let (preprocessing, feature_width) = (pictures.preprocessing.clone(), pictures.feature_width());
        let base = Some(BaseFile { description, file, bytes });
        Ok(Start {
            tensors: host_tensors(&network),
            network,
            preprocessing,
            feature_width,
            statistics: Vec::new(),
            base,
        })
    }

    /// A fresh network.
    fn from_scratch(config: &NetworkConfig, pixels: &PixelRecipe, seed: u64, device: &Device) -> Result<Start> {
        let mut draw = |name: &str, shape: &[usize]| cut_normals(seed, name, shape.iter().product());
        let network = Network::init(config, &mut draw, device).map_err(unbuildable)?;
        let preprocessing = Start::preprocessing_of(config, pixels)?;
        let feature_width = config.feature_width();
        let statistics = Vec::new();
        Ok(Start { tensors: host_tensors(&network), network, preprocessing, feature_width, statistics, base: None })
    }

    /// Goes on with the statistics that these images have, in the place of the base's.
    ///
    /// They are moved to the nearest numbers that base and a delta in f32 give bit for bit, so that a pack carries them exactly.
    ///
    /// # Errors
    /// `Usage` for a network without batch norms, and where a pack may not change them.
    pub(crate) fn take_statistics(&mut self, images: &Examples, device: &Device) -> Result<()> {
        let pixels = input(images.shape, images.pixels.clone(), device);
        let mut measured = self.network.measured_statistics(pixels);
        for tensor in &self.tensors {
            let Some(statistic) = measured.remove(&tensor.id) else { continue };
            if !self.base.as_ref().is_none_or(|base| base.description.is_editable(&tensor.name)) {
                return Err(Error::usage(format!("packs may not change statistic `{}` of this base", tensor.name))
                    .with_help("leave them to the base: `batch_norm_statistics: frozen`"));
            }
            let dtype = self.dtype(&tensor.name);
            let pairs = tensor.values.iter().zip(to_host(statistic));
            let values = pairs.map(|(base, measured)| reachable(*base, measured, dtype)).collect();
            self.statistics.push(HostTensor { values, ..tensor.clone() });
        }
        if self.statistics.is_empty() {
            return Err(Error::usage("`batch_norm_statistics` is `measured`, and the network has no batch norm")
                .with_help("leave it out"));
        }
        let data = |tensor: &HostTensor| (tensor.id, TensorData::new(tensor.values.clone(), tensor.shape.clone()));
        self.network = replaced(self.network.clone(), self.statistics.iter().map(data).collect());
        Ok(())
    }

    /// How the statistics differ from the base's: every element of each is an entry.
    pub(crate) fn statistics_deltas(&self) -> impl Iterator<Item = TensorDelta> {
        self.statistics.iter().filter_map(|now| {
            let base = self.tensors.iter().find(|tensor| tensor.id == now.id)?;
            let deltas = now.values.iter().zip(&base.values).map(|(now, base)| now - base);
            Some(TensorDelta {
                name: now.name.clone(),
                dtype: self.dtype(&now.name),
                shape: now.shape.iter().map(|side| *side as u64).collect(),
                indices: (0..now.values.len() as u64).collect(),
                deltas: Deltas::Numbers(deltas.collect()),
            })
        })
    }

    /// What a network from scratch expects of an image.
    ///
    /// # Errors
    /// `Usage` when there is not one number for each channel, or one for all.
    pub(crate) fn preprocessing_of(config: &NetworkConfig, pixels: &PixelRecipe) -> Result<Preprocessing> {
        let [channels, height, width] = config.input_shape().map(|side| side as u32);
        let wide = |numbers: &Vec<f32>| match numbers[..] {
            [one] => vec![one; channels as usize],
            _ => numbers.clone(),
        };
        let (mean, std) = (wide(&pixels.mean), wide(&pixels.std));
        Preprocessing::new(channels, (height, width), Resize::Bilinear, mean, std)
            .map_err(|cause| Error::from_bundle(cause, "`network` and `pixels`"))
    }

    /// A network of the base's shape that was drawn, and has learned nothing.
    ///
    /// # Errors
    /// `Unsupported` for a family that is not known here.
    pub(crate) fn drawn_twin(&self, seed: u64, device: &Device) -> Result<Network> {
        let Some(base) = &self.base else { return Ok(self.network.clone()) };
        let mut draw = |name: &str, shape: &[usize]| cut_normals(seed, name, shape.iter().product());
        Network::init(&config_of(&base.description)?, &mut draw, device).map_err(unbuildable)
    }

    /// The head called `name` that the base has itself.
    ///
    /// # Errors
    /// `Usage` when it has no such head; `Damaged` when its numbers are not there.
    pub(crate) fn own_head(&self, name: &str) -> Result<Head> {
        let Some(base) = &self.base else { return Err(Error::usage("a network from scratch has no head")) };
        base.description
            .head(name, &base.file, &base.bytes)
            .map_err(|cause| Error::from_bundle(cause, format!("read head `{name}` of the base")))
    }

    /// What packs for the base are bound to; none from scratch.
    pub(crate) fn fingerprint(&self) -> Option<Fingerprint> {
        self.base.as_ref().map(|base| base.description.fingerprint())
    }

    /// What the numbers of a tensor are in the base's file; f32 from scratch.
    pub(crate) fn dtype(&self, name: &str) -> Dtype {
        let stored = self.base.as_ref().and_then(|base| base.file.tensor(name));
        stored.and_then(|tensor| tensor.dtype().editable()).unwrap_or(Dtype::F32)
    }

    /// The tensors that a run may change by their gradients: statistics have none that means anything.
    pub(crate) fn editable(&self) -> Vec<HostTensor> {
        let may_change = |name: &str| self.base.as_ref().is_none_or(|base| base.description.is_editable(name));
        let is_editable = |name: &str| may_change(name) && !is_statistic(name);
        self.tensors.iter().filter(|tensor| is_editable(&tensor.name)).cloned().collect()
    }

    /// A head for a network from scratch.
    pub(crate) fn fresh_head(&self, classes: usize, seed: u64) -> HostHead {
        let mut weight = cut_normals(seed, "head.weight", classes * self.feature_width);
        weight.iter_mut().for_each(|value| *value *= FRESH_HEAD_DEVIATION);
        HostHead { weight, bias: vec![0.0; classes], feature_width: self.feature_width }
    }

    /// The same network with the numbers of another file.
    ///
    /// # Errors
    /// As [`read_network`].
    pub(crate) fn with_tensors(&self, file: &TensorFile, bytes: &[u8]) -> Result<Network> {
        fill(self.network.clone(), file, bytes)
    }

    /// The weights after a run, as a safetensors file. For a skill that is the base's file, in which nothing but the
    /// entries of the learners is written.
    ///
    /// # Errors
    /// `Damaged` when an entry is not a finite number.
    pub(crate) fn tuned(&self, learners: &[Learner]) -> Result<Vec<u8>> {
        for learner in learners {
            if learner.in_full().iter().any(|value| !value.is_finite()) {
                return Err(Error::damaged(format!("training left numbers in `{}` that are not finite", learner.name))
                    .with_help("lower `optimizer.learning_rate`, or set `optimizer.clip_norm`"));
            }
        }
        match &self.base {
            Some(base) => base.patched(learners, &self.statistics),
            None => self.whole(learners),
        }
    }

    fn whole(&self, learners: &[Learner]) -> Result<Vec<u8>> {
        let learned: HashMap<&str, &Learner> =
            learners.iter().map(|learner| (learner.name.as_str(), learner)).collect();
        let numbers = self.tensors.iter().map(|tensor| {
            let learner = learned.get(tensor.name.as_str());
            let values = &learner.map_or(Cow::Borrowed(&tensor.values[..]), |learner| learner.computed());
            (tensor, tensor.shape.iter().map(|side| *side as u64).collect::<Vec<u64>>(), f32_bytes(values))
        });
        let numbers: Vec<_> = numbers.collect();
        let named = numbers.iter().map(|(tensor, shape, bytes)| NamedTensor {
            name: &tensor.name,
            dtype: StoredDtype::F32,
            shape,
            bytes,
        });
        safetensors(&named.collect::<Vec<_>>())
    }
}

impl BaseFile {
    fn patched(&self, learners: &[Learner], statistics: &[HostTensor]) -> Result<Vec<u8>> {
        let mut bytes = self.bytes.clone();
        let mut patch = |name: &str, entries: &Entries, values: &[f32]| {
            let Some(tensor) = self.file.tensor(name) else { return Ok(()) };
            let explain = |cause| Error::from_bundle(cause, "write the tuned weights");
            let into = tensor.bytes_mut(&mut bytes).map_err(explain)?;
            entries.for_each(values.len(), |index| put(tensor.dtype(), into, index, values[index]));
            Ok(())
        };
        learners.iter().try_for_each(|learner| patch(&learner.name, &learner.entries, &learner.computed()))?;
        statistics.iter().try_for_each(|tensor| patch(&tensor.name, &Entries::All, &tensor.values))?;
        Ok(bytes)
    }
}

/// The network in a safetensors file.
///
/// # Errors
/// `Mismatch` when the file is another network's; `Unsupported` for a dtype that is no float.
pub(crate) fn read_network(
    config: &NetworkConfig,
    file: &TensorFile,
    bytes: &[u8],
    device: &Device,
) -> Result<Network> {
    let mut zeros = |_: &str, shape: &[usize]| vec![0.0; shape.iter().product()];
    fill(Network::init(config, &mut zeros, device).map_err(unbuildable)?, file, bytes)
}

fn fill(network: Network, file: &TensorFile, bytes: &[u8]) -> Result<Network> {
    let mut wrong = None;
    let network = with_weights(network, |name| {
        let tensor = file.tensor(name)?;
        let shape: Vec<usize> = tensor.shape().iter().map(|side| *side as usize).collect();
        let values = tensor.bytes(bytes).ok().and_then(|bytes| numbers(tensor.dtype(), bytes));
        if values.is_none() {
            wrong.get_or_insert_with(|| {
                Error::unsupported(format!("tensor `{name}` has dtype {}, expected a float", tensor.dtype().name()))
            });
        }
        Some(TensorData::new(values?, shape))
    });
    match wrong {
        Some(error) => Err(error),
        None => network.map_err(unbuildable),
    }
}

/// The network that a base describes.
pub(crate) fn config_of(base: &Base) -> Result<NetworkConfig> {
    serde_json::from_value(base.network().clone()).map_err(|cause| {
        Error::unsupported(format!("base `{}` is of a network family that is not known here", base.name()))
            .with_help("a newer taskvec may know it")
            .caused_by(cause)
    })
}

fn unbuildable(cause: taskvec_networks::Error) -> Error {
    from_networks(cause, "build the network")
}

/// The numbers of a tensor in f32; none if they are no floats.
pub(crate) fn numbers(dtype: StoredDtype, bytes: &[u8]) -> Option<Vec<f32>> {
    let halves = || bytes.as_chunks().0.iter().map(|half| u16::from_le_bytes(*half));
    match dtype {
        StoredDtype::F32 => Some(crate::run_folder::f32s(bytes)),
        StoredDtype::F16 => Some(halves().map(|bits| f16::from_bits(bits).to_f32()).collect()),
        StoredDtype::Bf16 => Some(halves().map(|bits| bf16::from_bits(bits).to_f32()).collect()),
        _ => None,
    }
}

/// Writes element `index` of a tensor, rounded to its dtype.
fn put(dtype: StoredDtype, bytes: &mut [u8], index: usize, value: f32) {
    let two = |bytes: &mut [u8], bits: u16| bytes[2 * index..2 * index + 2].copy_from_slice(&bits.to_le_bytes());
    match dtype {
        StoredDtype::F16 => two(bytes, f16::from_f32(value).to_bits()),
        StoredDtype::Bf16 => two(bytes, bf16::from_f32(value).to_bits()),
        _ => bytes[4 * index..4 * index + 4].copy_from_slice(&value.to_le_bytes()),
    }
}

/// The number near `measured` that a tensor of this dtype has when a pack adds to `base` the f32 by which that number differs: most
/// are so at once, or after a step. Where it does not come to rest, `base`.
fn reachable(base: f32, measured: f32, dtype: Dtype) -> f32 {
    let stored = |value: f32| match dtype {
        Dtype::F16 => f16::from_f32(value).to_f32(),
        Dtype::BF16 => bf16::from_f32(value).to_f32(),
        _ => value,
    };
    let mut value = stored(measured);
    for _ in 0..8 {
        let next = stored(base + (value - base));
        if next.to_bits() == value.to_bits() {
            return value;
        }
        value = next;
    }
    base
}

/// Normal numbers, those beyond two deviations drawn again. A stream for each name.
fn cut_normals(seed: u64, name: &str, count: usize) -> Vec<f32> {
    let mut random = Random::new(seed, &format!("init/{name}"));
    let mut draw = || loop {
        let normal = random.normal();
        if normal.abs() <= 2.0 {
            return normal;
        }
    };
    (0..count).map(|_| draw()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_written_in_its_place_rounded_to_the_dtype() {
        let cases = [
            (StoredDtype::F32, 1.0f32 / 3.0, 1.0f32 / 3.0),
            (StoredDtype::F16, 1.0 / 3.0, f16::from_f32(1.0 / 3.0).to_f32()),
            (StoredDtype::Bf16, 1.0 / 3.0, bf16::from_f32(1.0 / 3.0).to_f32()),
        ];
        for (dtype, value, rounded) in cases {
            let size = dtype.alignment_bytes() as usize;
            let mut bytes = vec![0x7f; 4 * size];
            put(dtype, &mut bytes, 2, value);
            assert_eq!(numbers(dtype, &bytes).unwrap()[2], rounded, "{dtype:?}");
            let others = bytes[..2 * size].iter().chain(&bytes[3 * size..]);
            assert!(others.copied().all(|byte| byte == 0x7f), "{dtype:?}");
        }
        assert_eq!(numbers(StoredDtype::I32, &[0; 4]), None);
    }

    #[test]
    fn a_statistic_is_what_the_base_and_a_delta_give_bit_for_bit_and_near_what_was_measured() {
        let mut random = Random::new(4, "statistics");
        for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16] {
            let stored = |value: f32| match dtype {
                Dtype::F16 => f16::from_f32(value).to_f32(),
                Dtype::BF16 => bf16::from_f32(value).to_f32(),
                _ => value,
            };
            for _ in 0..20_000 {
                let mut draw = || random.normal() * 10f32.powf(6.0 * random.uniform() - 3.0);
                let (base, measured) = (stored(draw()), draw());
                let found = reachable(base, measured, dtype);
                assert_eq!(stored(base + (found - base)).to_bits(), found.to_bits(), "{base} {measured} {dtype:?}");
                let off = (found - measured).abs() / measured.abs().max(base.abs());
                assert!(off < 0.005, "{base} {measured} {dtype:?}: {found}");
            }
        }
    }

    #[test]
    fn drawn_weights_are_cut_off_and_follow_their_name() {
        let draws = cut_normals(3, "w", 10_000);
        assert!(draws.iter().all(|draw| draw.abs() <= 2.0));
        assert!(draws.iter().any(|draw| draw.abs() > 1.9));
        assert_eq!(draws[..100], cut_normals(3, "w", 100));
        assert_ne!(draws[..100], cut_normals(3, "v", 100));
    }
}
