//! Composed weights without an engine: the arithmetic alone, for whoever takes the weights elsewhere.

use crate::base_model::BaseModel;
use crate::composition::{Composition, CompositionLimits, Skills};
use crate::error::Error;
use crate::skill::Skill;
use crate::trust::Trust;
use crate::weights::Weights;

/// The weights of a composition, made without an engine.
///
/// They are those that a [`crate::Session`] has with the same composition, bit for bit. What a session gives beside them
/// is missing: nothing was proved.
pub struct Composed {
    weights: Weights,
    composition: Composition,
}

impl Composed {
    /// Composes `base` and skills that `trust` takes, each with its alpha, in any order.
    ///
    /// # Errors
    /// `Io` when the file cannot be mapped again; `Untrusted` when too few keys that are trusted have signed a skill;
    /// `Mismatch` when a skill belongs to another base; `Usage` when an alpha is not finite, a skill is given twice or
    /// edits what may not be edited; `Limit` when there are more skills than `limits` allow.
    pub fn of(
        base: &BaseModel,
        skills: impl IntoIterator<Item = (Skill, f32)>,
        trust: &Trust,
        limits: &CompositionLimits,
    ) -> Result<Self, Error> {
        let mut wanted = Skills::default();
        for (skill, alpha) in skills {
            trust
                .vouch_for(&skill)
                .and_then(|vouched| wanted.add(base, vouched, alpha, limits))
                .map_err(|cause| cause.while_doing(format!("skill `{}`", skill.name())))?;
        }
        let mut weights = Weights::over(base)?;
        weights.compose(&mut wanted, 1)?;
        Ok(Self { weights, composition: wanted.snapshot(base.fingerprint()) })
    }

    /// The weights.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// What they are composed of.
    pub fn composition(&self) -> &Composition {
        &self.composition
    }
}
