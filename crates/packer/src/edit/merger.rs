//! A merge, tensor by tensor, of models wherever they are.
//!
//! [`Merger::prepare`] looks at the whole model where the method has to, and keeps a few numbers of it; [`Merger::tensor`] then merges
//! one tensor. Of each model, one tensor is in memory at a time.

use std::borrow::Cow;

use super::bases::Basis;
use super::gram::Gram;
use super::method::MergeMethod;
use super::models::MergeModels;
use super::settings::{CART_RANK, MergeParameters, MergeSettings, Scope, TASKS_MIN, THRESHOLD};
use super::sparsify::sparsify;
use super::trim::Trim;
use super::{awd, cart, combine, consensus, sce, tsv};
use crate::error::{Error, Result};
use crate::random::Random;
use crate::recipe::Pattern;

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
    seen: Seen,
}

/// What was seen of the whole model.
enum Seen {
    /// Nothing: each tensor is on its own.
    Nothing,
    /// Which deltas of each model stay.
    Trims(Vec<Trim>),
    /// How much of each task vector is in the result.
    Coefficients(Vec<f64>),
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
        check_patterns(settings, models)?;
        let seen = match settings.method {
            MergeMethod::Ties if settings.parameters.scope == Some(Scope::Global) => {
                let density = |model| settings.of(model).density.unwrap_or(1.0);
                Seen::Trims(Trim::of(models, &(0..found).map(density).collect::<Vec<_>>())?)
            }
            MergeMethod::Awd => {
                let weights: Vec<f64> = (0..found).map(|model| settings.of(model).weight.unwrap_or(1.0)).collect();
                let gram = Gram::of(models)?;
                let gram = if settings.parameters.normalize == Some(true) { gram.normalized() } else { gram };
                let redundant = awd::redundant(&gram, settings.descent());
                Seen::Coefficients(awd::coefficients(&weights, &redundant))
            }
            MergeMethod::Bases => {
                let names: Vec<&str> = settings.models.iter().map(|model| model.name.as_str()).collect();
                let basis = Basis::search(&Gram::of(models)?.normalized(), &names, settings.seed, settings.search());
                Seen::Coefficients(settings.task().map_or_else(|| basis.sum(), |task| basis.reconstruction(task)))
            }
            _ => Seen::Nothing,
        };
        Ok(Merger { settings, models, seen })
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
        let lambda = shared.lambda.unwrap_or(1.0);
        let weights = || {
            let weights = |model| Ok((self.weight(model), self.models.weights(model, at, base)?.into_owned()));
            (0..self.models.model_count()).map(weights).collect::<Result<Vec<_>>>()
        };
        match method {
            MergeMethod::Linear => return Ok(MergedTensor::Weights(combine::linear(&weights()?, normalize))),
            MergeMethod::Slerp => {
                let others = weights()?;
                let other = others.first().map_or(base, |(_, weights)| weights);
                return Ok(MergedTensor::Weights(combine::slerp(base, other, shared.t.unwrap_or(0.5))));
            }
            _ => {}
        }
        let deltas = (0..self.models.model_count()).map(|model| self.models.deltas(model, at, base));
        let deltas = deltas.collect::<Result<Vec<_>>>()?;
        let each: Vec<&[f32]> = deltas.iter().map(|deltas| &**deltas).collect();
        let threshold = |model: usize| self.parameters(model).threshold.unwrap_or(THRESHOLD);
        Ok(MergedTensor::Deltas(match (method, &self.seen) {
            (_, Seen::Coefficients(coefficients)) => combine::mixture(&each, coefficients, lambda),
            (MergeMethod::ModelStock, _) => combine::model_stock(&each),
            (MergeMethod::Sce, _) => sce::sce(&each, shared.select_topk.unwrap_or(1.0), lambda),
            (MergeMethod::Consensus, _) => {
                let thresholds: Vec<f64> = (0..each.len()).map(threshold).collect();
                consensus::consensus(&each, &thresholds, shared.tasks_min.unwrap_or(TASKS_MIN), lambda)
            }
            (MergeMethod::TallMask, _) => {
                let task = self.settings.task().unwrap_or_default();
                consensus::of_one_task(&each, task, threshold(task), lambda)
            }
            (MergeMethod::Cart, _) => cart::cart(&each, self.sides(at), shared.rank.unwrap_or(CART_RANK), lambda),
            (MergeMethod::Tsv, _) => tsv::tsv(&each, self.sides(at), shared.rank, lambda),
            _ => {
                let kept =
                    |(model, deltas): (usize, Cow<'_, [f32]>)| (self.weight(model), self.kept(model, at, deltas));
                let weighted: Vec<_> = deltas.into_iter().enumerate().map(kept).collect();
                combine::sum(&weighted, method, normalize, lambda as f32)
            }
        }))
    }

    fn parameters(&self, model: usize) -> MergeParameters {
        self.settings.of(model)
    }

    fn weight(&self, model: usize) -> f32 {
        self.parameters(model).weight.unwrap_or(1.0) as f32
    }

    /// Rows and columns of a tensor that is a matrix, and one of those that are meant.
    fn sides(&self, at: usize) -> Option<[usize; 2]> {
        let tensor = &self.models.tensors()[at];
        let patterns = self.settings.parameters.matrices.as_deref();
        let is_meant = patterns.is_none_or(|patterns| patterns.iter().any(|pattern| pattern.matches(&tensor.name)));
        <[usize; 2]>::try_from(&tensor.shape[..]).ok().filter(|sides| is_meant && !sides.contains(&0))
    }

    /// What the method leaves of a model's deltas in a tensor.
    fn kept(&self, model: usize, at: usize, deltas: Cow<'_, [f32]>) -> Vec<f32> {
        let (method, tensor) = (self.settings.method, &self.models.tensors()[at]);
        let mut deltas = deltas.into_owned();
        if let Seen::Trims(trims) = &self.seen {
            trims[model].apply(at, &mut deltas);
        } else if let Some(how) = method.sparsifier() {
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

/// That each of the recipe's patterns means something.
fn check_patterns(settings: &MergeSettings, models: &dyn MergeModels) -> Result<()> {
    let names = || models.tensors().iter().map(|tensor| tensor.name.as_str());
    let fits_none = |pattern: &&Pattern| !names().any(|name| pattern.matches(name));
    match settings.parameters.matrices.iter().flatten().find(fits_none) {
        None => Ok(()),
        Some(pattern) => Err(Error::usage(format!("`matrices` names `{pattern}`, which fits no tensor"))
            .with_help(format!("the base's tensors begin with {}", names().take(8).collect::<Vec<_>>().join(", ")))),
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
