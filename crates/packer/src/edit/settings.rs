//! How models are merged, whatever they are read from: the part of a recipe that names no file.

use serde::Deserialize;

use super::awd::Descent;
use super::bases::Search;
use super::method::MergeMethod;
use crate::recipe::Pattern;

/// How models are merged.
///
/// ```
/// use taskvec_packer::edit::{MergeMethod, MergeSettings};
///
/// let mut settings = MergeSettings::new(MergeMethod::Ties, ["german", "medicine"]);
/// settings.parameters.weight = Some(0.5);
/// settings.parameters.density = Some(0.2);
/// settings.check().unwrap();
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct MergeSettings {
    /// How.
    pub method: MergeMethod,
    /// For all models; those of a model come first.
    pub parameters: MergeParameters,
    /// The models, in order.
    pub models: Vec<ModelSettings>,
    /// Key of what is drawn.
    pub seed: u64,
}

/// One of the models.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelSettings {
    /// What messages call it.
    pub name: String,
    /// Of this model alone.
    pub parameters: MergeParameters,
}

/// Numbers that steer a merge; what is not given has the method's default.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MergeParameters {
    /// Coefficient of a model. Default: none; it has to be given.
    pub weight: Option<f64>,
    /// Share of a tensor's deltas that stays, 0 to 1. Default: 1.
    pub density: Option<f64>,
    /// Share of the largest deltas that goes (breadcrumbs), 0 to 1. Default: 0.01.
    pub gamma: Option<f64>,
    /// How far a delta's chance is from the density (DELLA), 0 to 1. Default: 0.15.
    pub epsilon: Option<f64>,
    /// Whether the sum is divided by the weights that went into it; for `awd`, whether lengths are measured by those of the task
    /// vectors. Default: for `linear`, `ties` and `della`.
    pub normalize: Option<bool>,
    /// Whether, and how, what stays is scaled. Default: `true` where deltas are dropped at random.
    pub rescale: Option<Rescale>,
    /// Coefficient of the sum. Default: 1.
    pub lambda: Option<f64>,
    /// Place between the base, 0, and the other model, 1 (slerp). Default: none; it has to be given.
    pub t: Option<f64>,
    /// How mergekit holds its masks in memory. Changes nothing here.
    pub int8_mask: Option<bool>,
    /// Of what `density` is a share (ties). Default: `tensor`.
    pub scope: Option<Scope>,
    /// Share of the elements that stay, those that vary most (sce), 0 to 1. Default: 1.
    pub select_topk: Option<f64>,
    /// A task needs an element if its delta is larger than this times what the other tasks sum up to (consensus, tall_mask; the published
    /// `lambda_t`), from 0. Default: 0.4.
    pub threshold: Option<f64>,
    /// How many tasks have to need an element (consensus), 1 to all. Default: 2.
    pub tasks_min: Option<usize>,
    /// The model that is put together again (tall_mask, bases), as it is named in `models`. Default: none; `tall_mask` needs one, `bases`
    /// adds up the whole basis.
    pub task: Option<String>,
    /// Rank that matrices keep, as a share of their smaller side (cart, tsv), above 0 and up to 1. Default: 0.08 for `cart`; for `tsv`
    /// one over the number of models.
    pub rank: Option<f64>,
    /// Which of the matrices are reduced (cart, tsv), by their names. Default: `["*"]`.
    pub matrices: Option<Vec<Pattern>>,
    /// What the length of the redundant vector costs (awd), from 0. Default: 0.1.
    pub penalty: Option<f64>,
    /// Vectors of the basis (bases), 1 to the number of models. Default: none; it has to be given.
    pub vectors: Option<usize>,
    /// How even mixtures are (bases), above 0. Default: 5.
    pub temperature: Option<f64>,
    /// Weight decay (bases), from 0. Default: 0.000001.
    pub decay: Option<f64>,
    /// How far a step of the search goes (awd, bases), above 0. Default: 0.01.
    pub rate: Option<f64>,
    /// Steps of the search (awd, bases), up to a million. Default: 300 for `awd`, 6000 for `bases`.
    pub steps: Option<usize>,
}

/// Of what a density is a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Of each tensor, as mergekit has it.
    Tensor,
    /// Of the whole model, as TIES was published (Yadav et al. 2023).
    Global,
}

/// How what stays of a tensor is scaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Rescale {
    /// `true`: so that its magnitudes sum up to what they did before, as mergekit has it. `false`: not at all.
    Magnitudes(bool),
    /// `unbiased`: by one over the density, so that on average nothing is changed, as DARE was published (Yu et al. 2024).
    Named(NamedRescale),
}

/// A way to scale by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NamedRescale {
    /// As `true`.
    L1,
    /// See [`Rescale::Named`].
    Unbiased,
}

/// Default of [`MergeParameters::epsilon`].
pub(super) const EPSILON: f64 = 0.15;
/// Default of [`MergeParameters::gamma`].
pub(super) const GAMMA: f64 = 0.01;
/// Default of [`MergeParameters::threshold`]: the middle of the published grid.
pub(super) const THRESHOLD: f64 = 0.4;
/// Default of [`MergeParameters::tasks_min`].
pub(super) const TASKS_MIN: usize = 2;
/// Default of [`MergeParameters::rank`] for CART.
pub(super) const CART_RANK: f64 = 0.08;

impl MergeSettings {
    /// Models of these names, each parameter at its default, the seed 0.
    pub fn new<N: Into<String>>(method: MergeMethod, names: impl IntoIterator<Item = N>) -> MergeSettings {
        let model = |name: N| ModelSettings { name: name.into(), parameters: MergeParameters::default() };
        let models = names.into_iter().map(model).collect();
        MergeSettings { method, parameters: MergeParameters::default(), models, seed: 0 }
    }

    /// The parameters of a model: its own, or else those for all.
    pub(super) fn of(&self, model: usize) -> MergeParameters {
        let (own, all) = (&self.models[model].parameters, &self.parameters);
        MergeParameters {
            weight: own.weight.or(all.weight),
            density: own.density.or(all.density),
            gamma: own.gamma.or(all.gamma),
            epsilon: own.epsilon.or(all.epsilon),
            threshold: own.threshold.or(all.threshold),
            ..all.clone()
        }
    }
    /// The place of the model that is put together again.
    pub(super) fn task(&self) -> Option<usize> {
        let task = self.parameters.task.as_ref()?;
        self.models.iter().position(|model| model.name == *task)
    }

    /// How AWD looks for what is redundant.
    pub(super) fn descent(&self) -> Descent {
        let MergeParameters { penalty, rate, steps, .. } = self.parameters;
        Descent { penalty: penalty.unwrap_or(0.1), rate: rate.unwrap_or(0.01), steps: steps.unwrap_or(300) }
    }

    /// How a basis is looked for.
    pub(super) fn search(&self) -> Search {
        let MergeParameters { vectors, temperature, rate, decay, steps, .. } = self.parameters;
        Search {
            vectors: vectors.unwrap_or(self.models.len()),
            temperature: temperature.unwrap_or(5.0),
            rate: rate.unwrap_or(0.01),
            decay: decay.unwrap_or(1e-6),
            steps: steps.unwrap_or(6000),
        }
    }
}
