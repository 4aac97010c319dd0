//! Everything a packer run depends on, as one plain value.
//!
//! A recipe either trains a **base** from scratch (`network` and usually several `data` folders, learned as one task
//! whose labels are prefixed by the folder's name) or a **skill** on a base bundle (`base`). Every setting has a
//! documented default and every default is written out in the run folder, so that the file alone repeats the run.
//!
//! Paths are relative to the recipe file. The digest covers every setting but where things lie: of `data` it takes the
//! folder names (they become labels), of `base` nothing. What was in them is recorded beside it, by the data's digest and
//! the base's fingerprint.

mod pattern;
mod read;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize};
use sha2::{Digest as _, Sha256};
use taskvec_bundle::{Preprocessing, Resize};
use taskvec_dataset::folder_name;
use taskvec_networks::NetworkConfig;
use taskvec_pack::Digest;

use crate::error::{Error, Result, from_networks};

pub use pattern::Pattern;

/// Sets recipe digests apart from all other digests of this project.
const DOMAIN: &[u8] = b"taskvec recipe v1\0";

/// Everything a run depends on. Made by [`Recipe::open`] or [`Recipe::parse`]; fields may be changed before a run, which
/// then begins with [`Recipe::check`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// What the base bundle or the skill is called.
    pub name: String,
    /// Where all randomness of the run comes from. Default 0.
    #[serde(default)]
    pub seed: u64,
    /// Base bundle that a skill starts from. Exactly one of `base` and `network` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<PathBuf>,
    /// Network of a base that is trained from scratch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkConfig>,
    /// How pixels are normalized for a network trained from scratch; a skill takes the base's. Default: mean and
    /// deviation 0.5, so that black is -1 and white is 1.
    #[serde(default)]
    pub pixels: PixelRecipe,
    /// Which tensors of a new base packs may edit. Default `["*"]`.
    #[serde(default = "everything")]
    pub editable: Vec<Pattern>,
    /// Data set folders (one may be written without the list). Several are learned as one task.
    #[serde(deserialize_with = "one_or_many")]
    pub data: Vec<PathBuf>,
    /// Only these classes, in this order. Default: all of them.
    #[serde(default)]
    pub classes: Vec<String>,
    /// Whether each class turned by a quarter, a half and three quarters is a class of its own. Default no.
    #[serde(default)]
    pub quarter_turns: bool,
    /// Which weights learn. Default `dense`.
    #[serde(default)]
    pub method: Method,
    /// How the mask is found, for the methods that have one.
    #[serde(default)]
    pub mask: MaskRecipe,
    /// The task's output layer.
    #[serde(default)]
    pub head: HeadRecipe,
    /// How weights move.
    #[serde(default)]
    pub optimizer: OptimizerRecipe,
    /// Length of the run in passes over the training images. Exactly one of `epochs` and `steps` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epochs: Option<f64>,
    /// Length of the run in optimizer steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// Images per optimizer step. Default 32.
    #[serde(default = "default_batch")]
    pub batch: u32,
    /// Parts that a batch is cut into, one thread each; their gradients are summed in a fixed order, so that the bits do
    /// not depend on the number of cores, but they do depend on this number. Default 2.
    #[serde(default = "default_shards")]
    pub shards: u32,
    /// Share of the target that goes to all classes alike, in `[0, 1)`. Default 0.
    #[serde(default)]
    pub label_smoothing: f64,
    /// Share of the training images kept aside for validation and for calibrating a mask, in `[0, 0.9]`. Default 0.1.
    #[serde(default = "default_held_out")]
    pub held_out: f64,
    /// Random changes of the training images. Default: none.
    #[serde(default)]
    pub augmentation: AugmentationRecipe,
    /// Optimizer steps between two checkpoints. Default 200.
    #[serde(default = "default_checkpoint_steps")]
    pub checkpoint_steps: u64,
    /// How the pack is written.
    #[serde(default)]
    pub pack: PackRecipe,
    /// Where relative paths begin: the folder of the recipe file.
    #[serde(skip)]
    pub folder: PathBuf,
}

/// How pixels are normalized: `(value / 255 - mean) / std`, one number per channel or one for all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PixelRecipe {
    /// Default `[0.5]`.
    pub mean: Vec<f32>,
    /// Default `[0.5]`.
    pub std: Vec<f32>,
}

/// Which weights learn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// All of them.
    #[default]
    Dense,
    /// Those the base's outputs are least sensitive to (TaLoS; Iurada et al., ICLR 2025).
    Talos,
    /// As many, drawn at random: the control for a mask.
    RandomMask,
    /// Those the base's outputs are most sensitive to.
    MostSensitive,
    /// The attention weights (Jin et al., ICLR 2025).
    AttentionOnly,
}

/// How a mask is found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MaskRecipe {
    /// Share of the maskable parameters that learn, in `(0, 1]`. Default 0.1.
    pub density: f64,
    /// What is chosen or left as one piece. Default `element`.
    pub granule: Granule,
    /// What is squared for a parameter's sensitivity. Default `log_probability`.
    pub score: Score,
    /// Whose labels the sensitivity is taken at. Default `sampled`.
    pub labels: LabelSource,
    /// Calibration rounds; after round r of R the share `density^(r/R)` is left. Default 4.
    pub rounds: u32,
    /// Factor on the weights already outside the mask during the later rounds, in `[0, 1]`. Default 0.1.
    pub soft: f64,
    /// Tensors that may be in the mask. Default `["*"]`.
    pub maskable: Vec<Pattern>,
    /// Tensors that stay as they are, whatever `maskable` says. Default: class token and position embedding, which the
    /// published code trains densely by accident.
    pub frozen: Vec<Pattern>,
}

/// What a mask takes or leaves as one piece.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Granule {
    /// One parameter.
    #[default]
    Element,
    /// One row of the tensor seen as a matrix: all that belongs to one index of its first dimension.
    Row,
    /// 4 KiB of consecutive elements: one page of memory.
    Block4k,
}

/// What is squared for a parameter's sensitivity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Score {
    /// The gradient of the label's log-probability: the diagonal of the Fisher information.
    #[default]
    LogProbability,
    /// The gradient of the label's raw logit, as in the published code.
    RawLogit,
}

/// Whose labels a sensitivity is taken at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LabelSource {
    /// Drawn from the model's own predictions.
    #[default]
    Sampled,
    /// The data's (`true` in a recipe).
    True,
}

/// The task's output layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HeadRecipe {
    /// Whether the head learns. Default `trained`.
    pub kind: HeadKind,
    /// How sure a head of class means sounds: by how many logits, about, a class leads at its own mean. Default 10.
    pub temperature: f64,
}

/// Whether a head learns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadKind {
    /// It begins as the class means of the base's features (of a base from scratch: at random) and learns with the rest.
    #[default]
    Trained,
    /// It stays the class means of the base's features.
    ClassMeans,
}

/// AdamW with linear warm-up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OptimizerRecipe {
    /// Largest step size, reached after the warm-up. Default 0.001.
    pub learning_rate: f64,
    /// The same for the head. Default: `learning_rate`.
    pub head_learning_rate: Option<f64>,
    /// Decoupled decay per step, times the step size; for tensors of two or more dimensions. Default 0.05.
    pub weight_decay: f64,
    /// Decay of the mean gradient. Default 0.9.
    pub beta1: f64,
    /// Decay of the mean squared gradient. Default 0.999.
    pub beta2: f64,
    /// Added to the root of the mean squared gradient. Default 1e-8.
    pub epsilon: f64,
    /// Steps over which the step size grows from 0. Default 50.
    pub warmup_steps: u64,
    /// What the step size does afterwards. Default `cosine`.
    pub schedule: Schedule,
    /// Largest norm of the gradients of a step; `null` for no limit. Default 1.
    pub clip_norm: Option<f64>,
    /// Whose norm that is. Default `masked`.
    pub clip_over: ClipOver,
}

/// What the step size does after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// Falls to 0 along half a cosine.
    #[default]
    Cosine,
    /// Stays.
    Constant,
}

/// Which gradients count for clipping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClipOver {
    /// Those inside the mask, and the head's.
    #[default]
    Masked,
    /// All of the tensors that have at least one parameter in the mask, as in the published code.
    All,
}

/// Random changes of a training image, drawn anew each time it is seen. Zero switches one off.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AugmentationRecipe {
    /// Largest shift along each axis, in pixels of the model's input. Default 0.
    pub shift_pixels: f32,
    /// Largest rotation to either side, in degrees, up to 180. Default 0.
    pub rotate_degrees: f32,
    /// Largest growth or shrinkage, as a share of the size, below 1. Default 0.
    pub scale: f32,
    /// Largest slant to either side: pixels to the side for each pixel down, below 1. Default 0.
    pub shear: f32,
    /// Probability of erasing a random rectangle of at most a quarter of the image. Default 0.
    pub erase: f32,
}

/// How the pack of a run is written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PackRecipe {
    /// How deltas are written. Default `f32`.
    pub values: Values,
    /// Recommended coefficient. Default 1.
    pub alpha: f32,
    /// Range that the coefficient was tried on. Default `[0, 1]`.
    pub alpha_range: [f32; 2],
    /// Number of probes, 0 to 64. Default 8.
    pub probes: u32,
}

/// How deltas are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Values {
    /// 32-bit floats.
    #[default]
    F32,
    /// 16-bit floats.
    F16,
    /// 16-bit brain floats.
    Bf16,
    /// 8-bit integers, -127 to 127, with a scale per block of 256.
    Int8,
    /// 6-bit integers, -31 to 31, with a scale per block of 256; this and those below it in as few bits as they need.
    Int6,
    /// 4-bit integers, -7 to 7.
    Int4,
    /// 3-bit integers, -3 to 3.
    Int3,
    /// 2-bit integers, -1 to 1.
    Int2,
    /// Signs, with a magnitude per block of 256.
    Sign,
    /// Distances between bit patterns: the tuned weights come back bit for bit.
    Lossless,
}

impl Recipe {
    /// The recipe in the file at `path`, checked.
    ///
    /// # Errors
    /// `Io` when the file cannot be read, `Limit` above 1 MiB, `Usage` for everything that is wrong with what it says: an
    /// unknown key names its line and the nearest key there is.
    pub fn open(path: &Path) -> Result<Recipe> {
        read::open(path)
    }

    /// The recipe written in `text`, checked; its paths are relative to `folder`.
    ///
    /// # Errors
    /// As [`Recipe::open`].
    pub fn parse(text: &str, folder: &Path) -> Result<Recipe> {
        read::parse(text, folder, "recipe")
    }

    /// Takes the data from `folders` instead, which are relative to the working directory.
    ///
    /// # Errors
    /// `Io` when there is no working directory.
    pub fn replace_data(&mut self, folders: &[PathBuf]) -> Result<()> {
        self.data = folders.iter().map(|folder| absolute(folder)).collect::<Result<_>>()?;
        Ok(())
    }

    /// Takes the base bundle from `folder` instead, which is relative to the working directory.
    ///
    /// # Errors
    /// `Io` when there is no working directory; `Usage` when this recipe trains from scratch.
    pub fn replace_base(&mut self, folder: &Path) -> Result<()> {
        if self.network.is_some() {
            return Err(Error::usage(format!(
                "recipe `{}` trains a base from scratch and takes no other base",
                self.name
            ))
            .with_help("remove `network` from the recipe to train a skill"));
        }
        self.base = Some(absolute(folder)?);
        Ok(())
    }

    /// Where the base bundle lies, for a skill.
    pub fn base_path(&self) -> Option<PathBuf> {
        self.base.as_ref().map(|base| self.folder.join(base))
    }

    /// Where the data set folders lie.
    pub fn data_paths(&self) -> Vec<PathBuf> {
        self.data.iter().map(|folder| self.folder.join(folder)).collect()
    }

    /// The names of the data set folders: the prefixes of the labels where there are several.
    pub fn data_names(&self) -> Vec<String> {
        self.data_paths().iter().map(|folder| folder_name(folder)).collect()
    }

    /// What identifies this recipe: the same for the same settings, wherever the files lie.
    pub fn digest(&self) -> Digest {
        let mut canonical = self.clone();
        canonical.base = self.base.as_ref().map(|_| PathBuf::from("base"));
        canonical.data = self.data_names().into_iter().map(PathBuf::from).collect();
        let json = serde_json::to_vec(&canonical).unwrap_or_default();
        let mut hash = Sha256::new();
        hash.update(DOMAIN);
        hash.update(&json);
        Digest(hash.finalize().into())
    }

    /// The whole recipe as YAML, defaults and all, with paths made absolute: what a run folder keeps.
    ///
    /// # Errors
    /// `Io` when there is no working directory; `Usage` for a path that is not UTF-8.
    pub fn to_yaml(&self) -> Result<String> {
        let mut whole = self.clone();
        whole.base = self.base_path().map(|base| absolute(&base)).transpose()?;
        whole.data = self.data_paths().iter().map(|folder| absolute(folder)).collect::<Result<_>>()?;
        serde_saphyr::to_string(&whole)
            .map_err(|cause| Error::usage(format!("recipe `{}` cannot be written as YAML", self.name)).caused_by(cause))
    }

    /// What is done to a picture before a network trained from scratch sees it; `None` for a skill, which takes its base's.
    ///
    /// # Errors
    /// `Usage` when the network cannot be built or `pixels` does not fit its channels.
    pub fn preprocessing(&self) -> Result<Option<Preprocessing>> {
        let Some(network) = &self.network else { return Ok(None) };
        network.validate().map_err(|cause| from_networks(cause, "`network` cannot be built"))?;
        let [channels, height, width] = network.input_shape().map(|size| size as u32);
        let for_each_channel = |numbers: &[f32]| match numbers {
            [one] => vec![*one; channels as usize],
            several => several.to_vec(),
        };
        let (mean, std) = (for_each_channel(&self.pixels.mean), for_each_channel(&self.pixels.std));
        let preprocessing = Preprocessing::new(channels, (height, width), Resize::Bilinear, mean, std);
        preprocessing.map(Some).map_err(|cause| Error::from_bundle(cause, "`pixels` does not fit the network"))
    }

    /// Checks every number and every combination.
    ///
    /// # Errors
    /// `Usage`, naming the key, what was expected and what was found.
    pub fn check(&self) -> Result<()> {
        check_name("name", &self.name)?;
        match (&self.base, &self.network) {
            (None, None) => {
                return Err(Error::usage("neither `base` nor `network` is given").with_help(
                    "`base: FOLDER` trains a skill on a base bundle; `network:` trains a base from scratch",
                ));
            }
            (Some(_), Some(_)) => {
                return Err(Error::usage("both `base` and `network` are given")
                    .with_help("keep `base` to train a skill, or `network` to train a base from scratch"));
            }
            (None, Some(_)) if self.method != Method::Dense => {
                return Err(Error::usage("`method` must be `dense` for a base trained from scratch")
                    .with_help("a mask chooses among the weights of a base that has learned something already"));
            }
            _ => {}
        }
        if self.data.is_empty() {
            return Err(Error::usage("`data` names no folder"));
        }
        let names = self.data_names();
        if let Some(twice) = first_twice(&names) {
            return Err(Error::usage(format!("two folders of `data` are called `{twice}`, so their labels would mix"))
                .with_help("rename one of the folders"));
        }
        if let Some(twice) = first_twice(&self.classes) {
            return Err(Error::usage(format!("`classes` names `{twice}` twice")));
        }
        match (self.epochs, self.steps) {
            (None, None) => return Err(Error::usage("neither `epochs` nor `steps` is given")),
            (Some(_), Some(_)) => return Err(Error::usage("both `epochs` and `steps` are given")),
            (Some(epochs), None) => {
                within("epochs", epochs, epochs > 0.0 && epochs <= 1e6, "more than 0, at most 1000000")?
            }
            (None, Some(steps)) => within("steps", steps, (1..=1_000_000_000).contains(&steps), "1 to 1000000000")?,
        }
        within("batch", self.batch, (1..=65_536).contains(&self.batch), "1 to 65536")?;
        within(
            "shards",
            self.shards,
            self.shards >= 1 && self.shards <= self.batch.min(64),
            "1 to 64, at most `batch`",
        )?;
        let smoothing = self.label_smoothing;
        within("label_smoothing", smoothing, (0.0..1.0).contains(&smoothing), "0 or more, below 1")?;
        within("held_out", self.held_out, (0.0..=0.9).contains(&self.held_out), "0 to 0.9")?;
        within("checkpoint_steps", self.checkpoint_steps, self.checkpoint_steps >= 1, "1 or more")?;
        if self.editable.is_empty() {
            return Err(Error::usage("`editable` is empty: no pack could ever change this base"));
        }
        self.preprocessing()?;
        self.mask.check()?;
        let temperature = self.head.temperature;
        within("head.temperature", temperature, temperature > 0.0 && temperature <= 1e4, "more than 0, at most 10000")?;
        self.optimizer.check()?;
        self.augmentation.check()?;
        self.pack.check()
    }
}

impl MaskRecipe {
    fn check(&self) -> Result<()> {
        within("mask.density", self.density, self.density > 0.0 && self.density <= 1.0, "more than 0, at most 1")?;
        within("mask.rounds", self.rounds, (1..=100).contains(&self.rounds), "1 to 100")?;
        within("mask.soft", self.soft, (0.0..=1.0).contains(&self.soft), "0 to 1")?;
        if self.maskable.is_empty() {
            return Err(Error::usage("`mask.maskable` is empty: nothing could learn"));
        }
        Ok(())
    }
}

impl OptimizerRecipe {
    fn check(&self) -> Result<()> {
        let rate = |key, value: f64| within(key, value, value > 0.0 && value <= 10.0, "more than 0, at most 10");
        rate("optimizer.learning_rate", self.learning_rate)?;
        if let Some(head) = self.head_learning_rate {
            rate("optimizer.head_learning_rate", head)?;
        }
        let decay = self.weight_decay;
        within("optimizer.weight_decay", decay, (0.0..=10.0).contains(&decay), "0 to 10")?;
        within("optimizer.beta1", self.beta1, (0.0..1.0).contains(&self.beta1), "0 or more, below 1")?;
        within("optimizer.beta2", self.beta2, (0.0..1.0).contains(&self.beta2), "0 or more, below 1")?;
        let epsilon = self.epsilon;
        within("optimizer.epsilon", epsilon, epsilon > 0.0 && epsilon <= 1.0, "more than 0, at most 1")?;
        if let Some(norm) = self.clip_norm {
            within("optimizer.clip_norm", norm, norm > 0.0 && norm.is_finite(), "a finite number above 0, or null")?;
        }
        Ok(())
    }
}

impl AugmentationRecipe {
    fn check(&self) -> Result<()> {
        let shift = self.shift_pixels;
        within("augmentation.shift_pixels", shift, (0.0..=1024.0).contains(&shift), "0 to 1024")?;
        let degrees = self.rotate_degrees;
        within("augmentation.rotate_degrees", degrees, (0.0..=180.0).contains(&degrees), "0 to 180")?;
        within("augmentation.scale", self.scale, (0.0..1.0).contains(&self.scale), "0 or more, below 1")?;
        within("augmentation.shear", self.shear, (0.0..1.0).contains(&self.shear), "0 or more, below 1")?;
        within("augmentation.erase", self.erase, (0.0..=1.0).contains(&self.erase), "0 to 1")
    }

    /// Whether it leaves every image as it is.
    pub fn is_off(&self) -> bool {
        *self == AugmentationRecipe::default()
    }
}

impl PackRecipe {
    fn check(&self) -> Result<()> {
        let [low, high] = self.alpha_range;
        let ordered = low.is_finite() && high.is_finite() && low <= high;
        if !ordered {
            return Err(Error::usage(format!(
                "`pack.alpha_range` is [{low}, {high}], expected two finite numbers in order"
            )));
        }
        let inside = (low..=high).contains(&self.alpha);
        within("pack.alpha", self.alpha, inside, "a number inside `pack.alpha_range`")?;
        within("pack.probes", self.probes, self.probes <= 64, "0 to 64")
    }
}

impl Default for PixelRecipe {
    fn default() -> Self {
        Self { mean: vec![0.5], std: vec![0.5] }
    }
}

impl Default for MaskRecipe {
    fn default() -> Self {
        Self {
            density: 0.1,
            granule: Granule::Element,
            score: Score::LogProbability,
            labels: LabelSource::Sampled,
            rounds: 4,
            soft: 0.1,
            maskable: everything(),
            frozen: vec![Pattern::new("cls_token"), Pattern::new("pos_embed")],
        }
    }
}

impl Default for HeadRecipe {
    fn default() -> Self {
        Self { kind: HeadKind::Trained, temperature: 3.0 }
    }
}

impl Default for OptimizerRecipe {
    fn default() -> Self {
        Self {
            learning_rate: 1e-3,
            head_learning_rate: None,
            weight_decay: 0.05,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            warmup_steps: 50,
            schedule: Schedule::Cosine,
            clip_norm: Some(1.0),
            clip_over: ClipOver::Masked,
        }
    }
}

impl Default for PackRecipe {
    fn default() -> Self {
        Self { values: Values::F32, alpha: 1.0, alpha_range: [0.0, 1.0], probes: 8 }
    }
}

fn everything() -> Vec<Pattern> {
    vec![Pattern::new("*")]
}

fn default_batch() -> u32 {
    32
}

fn default_shards() -> u32 {
    2
}

fn default_held_out() -> f64 {
    0.1
}

fn default_checkpoint_steps() -> u64 {
    200
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|cause| Error::io("find", path, cause))
}

fn within<T: std::fmt::Display>(key: &str, value: T, holds: bool, expected: &str) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::usage(format!("`{key}` is {value}, expected {expected}"))) }
}

fn check_name(key: &str, name: &str) -> Result<()> {
    let fine = !name.trim().is_empty() && name.len() <= 100 && !name.chars().any(char::is_control);
    if fine {
        Ok(())
    } else {
        Err(Error::usage(format!("`{key}` is `{}`, expected 1 to 100 bytes of printable text", name.escape_debug())))
    }
}

fn first_twice(names: &[String]) -> Option<&str> {
    names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)).map(|(_, name)| name.as_str())
}

/// `data: folder` or `data: [folder, folder]`.
fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Vec<PathBuf>, D::Error> {
    struct Folders;
    impl<'de> serde::de::Visitor<'de> for Folders {
        type Value = Vec<PathBuf>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a folder or a list of folders")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> std::result::Result<Self::Value, E> {
            Ok(vec![PathBuf::from(text)])
        }

        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> std::result::Result<Self::Value, A::Error> {
            let mut folders = Vec::new();
            while let Some(folder) = list.next_element()? {
                folders.push(folder);
            }
            Ok(folders)
        }
    }
    deserializer.deserialize_any(Folders)
}

#[cfg(test)]
mod tests;
