//! The parts of a recipe that have names of their own, each setting with its default.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use taskvec_dataset::Form;
use taskvec_pack::write::Rounding;

use super::Pattern;
use crate::encode::rounding;

/// How pixels are normalized: `(value / 255 - mean) / std`, one number per channel or one for all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PixelRecipe {
    /// Default `[0.5]`.
    pub mean: Vec<f32>,
    /// Default `[0.5]`.
    pub std: Vec<f32>,
}

/// A form that a folder of data may have, see [`taskvec_dataset::Form`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DataForm {
    /// Files in the form of MNIST.
    Idx,
    /// Tar files of JPEG images.
    JpegTar,
    /// A folder of images per class.
    ImageFolders,
}

impl From<DataForm> for Form {
    fn from(form: DataForm) -> Form {
        match form {
            DataForm::Idx => Form::Idx,
            DataForm::JpegTar => Form::JpegTar,
            DataForm::ImageFolders => Form::ImageFolders,
        }
    }
}

/// What a run computes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compute {
    /// The processor, on all its cores. The only one on which a run has the same bytes again.
    #[default]
    Cpu,
    /// The first NVIDIA GPU; the program must have been built with the feature `cuda`.
    Cuda,
    /// The best GPU that Vulkan, Metal or DirectX finds; the program must have been built with the feature `wgpu`.
    Wgpu,
}

/// What becomes of the statistics of batch norms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchNormStatistics {
    /// They stay the base's, and packs have none.
    #[default]
    Frozen,
    /// Before the first step they are measured on the training images (256 at most, evenly spread); the network learns with these, and the
    /// pack carries them exactly.
    Measured,
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
    /// Those that another pack changes (`mask.from`): an update from that pack then carries no mask.
    SharedMask,
    /// Deltas of low rank, by their factors (LoRA; Hu et al., ICLR 2022): a baseline.
    Lora,
    /// Those of largest magnitude in the base, or of smallest (`mask.rule`).
    MagnitudeMask,
    /// Those that move most when all learn (LoTA; Panda et al. 2024): in a first part of the run, or in another run.
    LotteryMask,
    /// All of the tensors whose gates stay open (TAPS; Wallingford et al., CVPR 2022).
    Taps,
    /// The largest deltas of a first part of the run in which each has a gate (diff pruning; Guo et al., ACL 2021).
    DiffPruning,
}

/// How a mask is found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MaskRecipe {
    /// For the method `shared_mask` the pack whose mask is taken as it is; nothing below counts then. For `lottery_mask` the
    /// folder of the run in which weights moved. Default: the first part of this run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<PathBuf>,
    /// Share of the maskable parameters that learn, in `(0, 1]`. Default 0.1.
    pub density: f64,
    /// What is chosen or left as one piece. Default `row` for masks by sensitivity and for `random_mask`, their control; `element` for all
    /// other methods, as they were published, and where scores are compared within rows.
    pub granule: Option<Granule>,
    /// Where scores are compared with each other. Default `global`.
    #[serde(skip_serializing_if = "Scope::is_global")]
    pub scope: Scope,
    /// Which scores learn, for the methods `magnitude_mask` and `lottery_mask`. Default `highest`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<Rule>,
    /// Share of the steps in which the mask is looked for, above 0 and below 1, for the methods that look for one by training;
    /// the rest trains inside it. Default 0.5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub search_share: Option<f64>,
    /// What is squared for a parameter's sensitivity. Default `log_probability`.
    pub score: Score,
    /// Whose labels the sensitivity is taken at. Default `sampled`.
    pub labels: LabelSource,
    /// Labels that are drawn for each image. Default 1.
    #[serde(skip_serializing_if = "is_one")]
    pub draws: u32,
    /// Images that sensitivities are measured on, at most. Default 5000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images: Option<u32>,
    /// Calibration rounds; after round r of R the share `density^(r/R)` is left. Default 4.
    pub rounds: u32,
    /// Factor on the weights already outside the mask during the later rounds, in `[0, 1]`; a network with ReLUs keeps them whole,
    /// since its units would be shut. Default 0.1.
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
    /// A whole tensor.
    Tensor,
}

/// Where scores are compared with each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Over all tensors alike: some learn a lot and some nothing.
    #[default]
    Global,
    /// In each tensor: all have the same density.
    PerTensor,
    /// In each row of each tensor.
    PerRow,
}

/// Which scores learn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// The lowest.
    Lowest,
    /// The highest.
    #[default]
    Highest,
}

impl Method {
    /// Whether `mask.rule` says which end of its ranking learns.
    pub(crate) const fn ranks(self) -> bool {
        matches!(self, Method::MagnitudeMask | Method::LotteryMask)
    }

    /// Whether it chooses among entries by the settings of `mask`.
    pub(crate) const fn chooses(self) -> bool {
        matches!(self, Method::Talos | Method::RandomMask | Method::MostSensitive | Method::DiffPruning) || self.ranks()
    }
}

impl Scope {
    /// The default is not written out: recipes from before it keep their digests.
    fn is_global(&self) -> bool {
        *self == Scope::Global
    }
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
    /// What the model predicts.
    Argmax,
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
    /// When deltas are rounded to `values`. Default `afterwards`.
    #[serde(skip_serializing_if = "Rounded::is_afterwards")]
    pub rounded: Rounded,
    /// Recommended coefficient. Default 1.
    pub alpha: f32,
    /// Range that the coefficient was tried on. Default `[0, 1]`.
    pub alpha_range: [f32; 2],
    /// Number of probes, 0 to 64. Default 8.
    pub probes: u32,
}

/// When deltas are rounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rounded {
    /// When the pack is made: training knows nothing of it.
    #[default]
    Afterwards,
    /// In each step of the training, straight through: the network has the deltas that the pack will hold.
    InTraining,
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

impl PackRecipe {
    /// What deltas are rounded by in the training loop; none if they are rounded afterwards.
    pub(crate) fn rounding_in_training(&self) -> Option<Rounding> {
        if self.rounded == Rounded::InTraining { rounding(self.values) } else { None }
    }
}

impl Rounded {
    /// The default is not written out: recipes from before it keep their digests.
    fn is_afterwards(&self) -> bool {
        *self == Rounded::Afterwards
    }
}

impl Values {
    /// Its name in a recipe.
    pub const fn name(self) -> &'static str {
        match self {
            Values::F32 => "f32",
            Values::F16 => "f16",
            Values::Bf16 => "bf16",
            Values::Int8 => "int8",
            Values::Int6 => "int6",
            Values::Int4 => "int4",
            Values::Int3 => "int3",
            Values::Int2 => "int2",
            Values::Sign => "sign",
            Values::Lossless => "lossless",
        }
    }
}

impl AugmentationRecipe {
    /// Whether it leaves every image as it is.
    pub fn is_off(&self) -> bool {
        *self == AugmentationRecipe::default()
    }
}

impl Default for PixelRecipe {
    fn default() -> Self {
        Self { mean: vec![0.5], std: vec![0.5] }
    }
}

impl MaskRecipe {
    /// What is chosen or left as one piece.
    pub fn granule(&self) -> Granule {
        self.granule.unwrap_or(Granule::Element)
    }
}

impl Default for MaskRecipe {
    fn default() -> Self {
        Self {
            from: None,
            density: 0.1,
            granule: None,
            scope: Scope::Global,
            rule: None,
            search_share: None,
            score: Score::LogProbability,
            labels: LabelSource::Sampled,
            draws: 1,
            images: None,
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
        Self { values: Values::F32, rounded: Rounded::Afterwards, alpha: 1.0, alpha_range: [0.0, 1.0], probes: 8 }
    }
}

/// The default is not written out: recipes from before there was another keep their digests.
fn is_one(number: &u32) -> bool {
    *number == 1
}

/// Every tensor.
pub(crate) fn everything() -> Vec<Pattern> {
    vec![Pattern::new("*")]
}
