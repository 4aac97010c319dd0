//! The settings of the ways to train that have some of their own.
//!
//! They are in a recipe only if its method is theirs, and then all of them, defaults and all: recipes of other methods keep the
//! digests that they had before there were these.

use serde::{Deserialize, Serialize};

use super::Pattern;

/// Low-rank adaptation: `method: lora`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoraRecipe {
    /// Rank of each delta, at most the smaller side of every matrix. Default 8.
    pub rank: u32,
    /// Deltas are `alpha / rank` times the product of their factors. Default 16.
    pub alpha: f64,
    /// The matrices that learn. Default: those of attention and MLP, `["*.attn.*.weight", "*.mlp.*.weight"]`.
    pub targets: Vec<Pattern>,
}

impl Default for LoraRecipe {
    fn default() -> Self {
        Self { rank: 8, alpha: 16.0, targets: vec![Pattern::new("*.attn.*.weight"), Pattern::new("*.mlp.*.weight")] }
    }
}

/// A gate for each tensor: `method: taps`. Which tensors have one say `mask.maskable` and `mask.frozen`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TapsRecipe {
    /// Factor on the mean absolute value of the gates, which is added to the loss. Default 1.
    pub penalty: f64,
    /// Share of the run before it is, in `[0, 1)`. Default 1/15.
    pub warmup_share: f64,
    /// What gates begin at. Default 0.15.
    pub gate: f64,
    /// What they are shut below. Default 0.1.
    pub threshold: f64,
    /// Step size of the gates, on the schedule of the others. Default 0.002.
    pub gate_learning_rate: f64,
}

/// A gate for each element, then the largest deltas: `method: diff_pruning`. How many those are, and how long the first part is, says
/// `mask`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DiffPruningRecipe {
    /// Factor on the expected number of gates that are not shut, which is added to the loss. Default 1.25e-7, which the published
    /// code has for 335 million of them: a smaller network may need more.
    pub penalty: f64,
    /// Step size of the gates, the same in all steps. Default 0.1.
    pub gate_learning_rate: f64,
    /// Whether each tensor has a gate, too. Default no.
    pub structured: bool,
}

impl Default for TapsRecipe {
    fn default() -> Self {
        Self { penalty: 1.0, warmup_share: 1.0 / 15.0, gate: 0.15, threshold: 0.1, gate_learning_rate: 2e-3 }
    }
}

impl Default for DiffPruningRecipe {
    fn default() -> Self {
        Self { penalty: 1.25e-7, gate_learning_rate: 0.1, structured: false }
    }
}
