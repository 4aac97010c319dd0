//! A merge, tensor by tensor, of models wherever they are.
//!
//! [`Merger::prepare`] looks at the whole model where the method has to, and keeps a few numbers of it; [`Merger::tensor`] then merges
//! one tensor. Of each model, one tensor is in memory at a time.

use super::combine;
use super::method::MergeMethod;
use super::models::{MergeModels, MergeTensor};
use super::settings::{MergeParameters, MergeSettings};
use super::sparsify::sparsify;
use crate::error::{Error, Result};
use crate::random::Random;

/// A merge that is ready to be made.
///
/// ```
/// use taskvec_packer::edit::{MergeMethod, MergeSettings, Merger, ModelsInMemory, TensorInMemory};
///
/// let tensor = TensorInMemory {
///     name: "weight",
///     shape: &[2],
///     base: &[1.0, 1.0],
///     deltas: vec![&[0.5, -0.5], &[0.25, 0.75]],
/// };
/// let models = ModelsInMemory::new(vec![tensor])?;
/// let mut settings = MergeSettings::new(MergeMethod::TaskArithmetic, ["german", "medicine"]);
/// settings.parameters.weight = Some(1.0);
/// let merger = Merger::prepare(&settings, &models)?;
/// assert_eq!(merger.tensor(0)?.into_deltas(&[1.0, 1.0]), [0.75, 0.25]);
/// # Ok::<(), taskvec_packer::Error>(())
/// ```
pub struct Merger<'a> {
    settings: &'a MergeSettings,
    models: &'a dyn MergeModels,
}

/// A merged tensor, as its method finds it.
#[derive(Clone, Debug, PartialEq)]
pub enum MergedTensor {
    /// Weights of the merged model.
    Weights(Vec<f32>),
    /// What is added to the base.
    Deltas(Vec<f32>),
}

/// The deltas of all tensors of a merged model, in the models' order.
///
/// # Errors
/// As [`Merger::prepare`] and [`Merger::tensor`].
pub fn merged_deltas(settings: &MergeSettings, models: &dyn MergeModels) -> Result<Vec<Vec<f32>>> {
    let merger = Merger::prepare(settings, models)?;
    let tensor = |at| Ok(merger.tensor(at)?.into_deltas(&models.base(at)?));
    (0..models.tensors().len()).map(tensor).collect()
}

impl<'a> Merger<'a> {
    /// Checks that the method can be followed, and looks at the whole model where it has to.
    ///
    /// # Errors
    /// `Usage` as [`MergeSettings::check`]; `Mismatch` when there are not as many models as settings for them; `Io` when a file
    /// cannot be read any more.
    pub fn prepare(settings: &'a MergeSettings, models: &'a dyn MergeModels) -> Result<Merger<'a>> {
        settings.check()?;
        let (expected, found) = (settings.models.len(), models.model_count());
        if expected != found {
            return Err(Error::mismatch(format!("the merge names {expected} models, found {found}")));
        }
        Ok(Merger { settings, models })
    }

    /// Merges a tensor by its place among [`MergeModels::tensors`].
    ///
    /// # Errors
    /// `Io` when a file cannot be read any more.
    pub fn tensor(&self, at: usize) -> Result<MergedTensor> {
        self.tensor_over(at, &self.models.base(at)?)
    }

    /// The same, of a tensor whose base is at hand.
    pub(super) fn tensor_over(&self, at: usize, base: &[f32]) -> Result<MergedTensor> {
        let (method, shared) = (self.settings.method, &self.settings.parameters);
        let normalize = shared.normalize.unwrap_or(method.normalizes());
        let each = 0..self.settings.models.len();
        let deltas = || each.clone().map(|model| Ok(self.models.deltas(model, at, base)?.into_owned()));
        let weights = || {
            let weights = |model| Ok((self.weight(model), self.models.weights(model, at, base)?.into_owned()));
            each.clone().map(weights).collect::<Result<Vec<_>>>()
        };
        Ok(match method {
            MergeMethod::Linear => MergedTensor::Weights(combine::linear(&weights()?, normalize)),
            MergeMethod::Slerp => {
                let others = weights()?;
                let other = others.first().map_or(base, |(_, weights)| weights);
                MergedTensor::Weights(combine::slerp(base, other, shared.t.unwrap_or(0.5)))
            }
            MergeMethod::ModelStock => {
                MergedTensor::Deltas(combine::model_stock(&deltas().collect::<Result<Vec<_>>>()?))
            }
            _ => {
                let mut weighted = Vec::new();
                for (model, deltas) in deltas().enumerate() {
                    weighted.push((self.weight(model), self.sparsified(model, &self.models.tensors()[at], deltas?)));
                }
                let lambda = shared.lambda.unwrap_or(1.0) as f32;
                MergedTensor::Deltas(combine::sum(&weighted, method, normalize, lambda))
            }
        })
    }

    fn parameters(&self, model: usize) -> MergeParameters {
        self.settings.of(model)
    }

    fn weight(&self, model: usize) -> f32 {
        self.parameters(model).weight.unwrap_or(1.0) as f32
    }

    /// What the method leaves of a model's deltas.
    fn sparsified(&self, model: usize, tensor: &MergeTensor, mut deltas: Vec<f32>) -> Vec<f32> {
        let method = self.settings.method;
        if let Some(how) = method.sparsifier() {
            let row = match &tensor.shape[..] {
                [] | [_] => deltas.len(),
                [_, rest @ ..] => rest.iter().product(),
            };
            let rescale = self.settings.parameters.rescale.unwrap_or(method.rescale());
            let mut random = Random::new(self.settings.seed, &format!("merge/model {model}/{}", tensor.name));
            sparsify(&mut deltas, row, how, &self.parameters(model), rescale, &mut random);
        }
        deltas
    }
}

impl MergedTensor {
    /// As deltas from `base`.
    pub fn into_deltas(self, base: &[f32]) -> Vec<f32> {
        match self {
            MergedTensor::Deltas(deltas) => deltas,
            MergedTensor::Weights(weights) => weights.iter().zip(base).map(|(new, old)| new - old).collect(),
        }
    }

    /// As weights; those of the base are `base`.
    pub fn into_weights(self, base: &[f32]) -> Vec<f32> {
        match self {
            MergedTensor::Weights(weights) => weights,
            MergedTensor::Deltas(deltas) => deltas.iter().zip(base).map(|(delta, base)| base + delta).collect(),
        }
    }
}
