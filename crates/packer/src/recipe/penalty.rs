//! The settings of penalties: what is added to the loss for the delta, whatever way it learns.

use serde::{Deserialize, Serialize};

/// What is added to the loss.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PenaltyRecipe {
    /// On deltas that are not orthogonal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub orthogonality: Option<OrthogonalityRecipe>,
}

/// A penalty on deltas that are not orthogonal (OrthoReg).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OrthogonalityRecipe {
    /// What the sum over all matrices is multiplied with. Default 1.
    pub factor: f64,
    /// How long orthogonal columns should be. Default `one`.
    pub length: DeltaLength,
}

/// How long orthogonal columns of a delta should be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeltaLength {
    /// 1, as published: far longer than deltas are.
    #[default]
    One,
    /// As long as the delta is by itself.
    Own,
}

impl Default for OrthogonalityRecipe {
    fn default() -> Self {
        Self { factor: 1.0, length: DeltaLength::One }
    }
}
