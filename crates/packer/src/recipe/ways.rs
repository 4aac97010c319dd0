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
