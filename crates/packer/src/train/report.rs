//! What a run says about itself, in `run.json` and `timing.json`.

use serde::{Deserialize, Serialize};

use super::{CalibrationReport, SharedMask};
use crate::recipe::Method;

/// What was measured in a run: the content of `run.json`. The same recipe on the same data and base gives the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Name in the recipe.
    pub name: String,
    /// Digest of the recipe.
    pub recipe: String,
    /// Digest of the data.
    pub data: String,
    /// Fingerprint of the base; none for a base from scratch.
    pub base: Option<String>,
    /// SHA-256 of `tuned.safetensors`.
    pub tuned: String,
    /// What of other tasks' curvature there was a penalty on: digest of their data, or of the file that it was taken from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub curvature: Option<String>,
    /// Which weights learned.
    pub method: Method,
    /// Seed of the recipe.
    pub seed: u64,
    /// What the classes are called.
    pub classes: Vec<String>,
    /// Training images, without those held out.
    pub train_images: u64,
    /// Optimizer steps.
    pub steps: u64,
    /// One for each pass over the training images.
    pub epochs: Vec<EpochReport>,
    /// The base with a head of class means; none for a base from scratch.
    pub base_accuracy: Option<Accuracy>,
    /// The result with its own head.
    pub accuracy: Accuracy,
    /// Which entries learned.
    pub mask: MaskReport,
    /// Bytes of the optimizer's moments.
    pub optimizer_bytes: u64,
}

/// Shares of images that were recognized, 0 to 1; none where there are no images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Accuracy {
    /// Of the training images that were held out.
    pub held_out: Option<f64>,
    /// Of the test images.
    pub test: Option<f64>,
}

/// One pass over the training images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochReport {
    /// Steps made until its end.
    pub step: u64,
    /// Mean loss of its batches.
    pub loss: f64,
    /// Mean of what was added to the loss, where something is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub penalty: Option<f64>,
    /// Share recognized of its images, each before the step that it was part of.
    pub accuracy: f64,
    /// Share recognized of the images held out, at its end.
    pub held_out_accuracy: Option<f64>,
}

/// Which entries learned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MaskReport {
    /// Entries in all tensors.
    pub entries: u64,
    /// Elements of the tensors that packs may edit.
    pub elements: u64,
    /// How the mask was found, for the methods that look for one.
    pub calibration: Option<CalibrationReport>,
    /// Whose mask was taken, for the method that takes one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared: Option<SharedMask>,
    /// In which run weights moved, for the method that looks at another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved_in: Option<MovedIn>,
    /// The gates of tensors, for the method that has them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gates: Vec<GateReport>,
    /// Tensor by tensor, in the network's order.
    pub tensors: Vec<TensorReport>,
}

/// The gate of a tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GateReport {
    /// The tensor's name.
    pub name: String,
    /// What the gate ended at.
    pub gate: f32,
    /// Whether the tensor differs from the base.
    pub is_open: bool,
}

/// The run in which weights moved, and those that moved most are a mask.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MovedIn {
    /// Name in its recipe.
    pub name: String,
    /// SHA-256 of its `tuned.safetensors`.
    pub tuned: String,
}

/// How much of a tensor learned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TensorReport {
    /// Its name.
    pub name: String,
    /// Its elements in the mask.
    pub entries: u64,
    /// Its elements.
    pub elements: u64,
}

/// How long a run took: the content of `timing.json`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// From the call to the end; only the last call of a run that was stopped.
    pub seconds: f64,
    /// Steps in that time.
    pub steps: u64,
    /// Mean time of a step, without what happens between epochs.
    pub seconds_per_step: f64,
}
