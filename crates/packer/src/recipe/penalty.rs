//! The settings of penalties: what is added to the loss for the delta, whatever way it learns.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::one_or_many;

/// What is added to the loss.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PenaltyRecipe {
    /// On deltas that are not orthogonal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub orthogonality: Option<OrthogonalityRecipe>,
    /// On deltas that other tasks feel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub curvature: Option<CurvatureRecipe>,
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

/// A penalty on deltas that other tasks feel (TAK).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CurvatureRecipe {
    /// What the sum over all layers is multiplied with. Default 1.
    pub factor: f64,
    /// Data set folders of other tasks, each a task of its own, whose labels nobody looks at. Either these or `from` is given.
    #[serde(deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub data: Vec<PathBuf>,
    /// What an earlier run on this base has left of such data: `curvature.safetensors` in its folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<PathBuf>,
    /// Images of each task that are looked at, at most. Default 256.
    pub images: u32,
    /// Labels that are drawn for each image. Default 1.
    pub draws: u32,
}

impl Default for OrthogonalityRecipe {
    fn default() -> Self {
        Self { factor: 1.0, length: DeltaLength::One }
    }
}

impl Default for CurvatureRecipe {
    fn default() -> Self {
        Self { factor: 1.0, data: Vec::new(), from: None, images: 256, draws: 1 }
    }
}
