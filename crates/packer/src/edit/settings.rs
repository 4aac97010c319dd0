//! How models are merged, whatever they are read from: the part of a recipe that names no file.

use serde::Deserialize;

use super::method::{MergeMethod, Sparsifier};
use crate::error::{Error, Result};

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
    /// Whether the sum is divided by the weights that went into it. Default: for `linear`, `ties` and `della`.
    pub normalize: Option<bool>,
    /// Whether, and how, what stays is scaled. Default: `true` where deltas are dropped at random.
    pub rescale: Option<Rescale>,
    /// Coefficient of the sum. Default: 1.
    pub lambda: Option<f64>,
    /// Place between the base, 0, and the other model, 1 (slerp). Default: none; it has to be given.
    pub t: Option<f64>,
    /// How mergekit holds its masks in memory. Changes nothing here.
    pub int8_mask: Option<bool>,
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

impl MergeSettings {
    /// Models of these names, each parameter at its default, the seed 0.
    pub fn new<N: Into<String>>(method: MergeMethod, names: impl IntoIterator<Item = N>) -> MergeSettings {
        let model = |name: N| ModelSettings { name: name.into(), parameters: MergeParameters::default() };
        let models = names.into_iter().map(model).collect();
        MergeSettings { method, parameters: MergeParameters::default(), models, seed: 0 }
    }

    /// That the method can be followed with these numbers.
    ///
    /// # Errors
    /// `Usage` with the name of the parameter.
    pub fn check(&self) -> Result<()> {
        let tuned = self.models.len();
        let (least, most) = match self.method {
            MergeMethod::Slerp => (1, 1),
            MergeMethod::ModelStock => (2, usize::MAX),
            _ => (1, usize::MAX),
        };
        let name = self.method.name();
        if tuned < least || tuned > most {
            let clause = format!("`{name}` merges {least} models or more beside the base, found {tuned}");
            let clause =
                if most == 1 { format!("`{name}` takes one model beside the base, found {tuned}") } else { clause };
            return Err(Error::usage(clause).with_help("list them under `models`"));
        }
        if self.method == MergeMethod::Slerp && self.parameters.t.is_none() {
            return Err(
                Error::usage("`slerp` needs a place between the two models").with_help("say `parameters: {t: 0.5}`")
            );
        }
        for (at, model) in self.models.iter().enumerate() {
            let shared = &model.parameters;
            if shared.normalize.is_some() || shared.rescale.is_some() || shared.lambda.is_some() || shared.t.is_some() {
                let clause = format!("`{}`: normalize, rescale, lambda and t are for all models", model.name);
                return Err(Error::usage(clause).with_help("move them to the `parameters` of the recipe"));
            }
            let steered = self.of(at);
            if self.method.is_weighted() && steered.weight.is_none() {
                return Err(Error::usage(format!("`{}` has no weight", model.name))
                    .with_help("say `parameters: {weight: 0.5}`, there or for all models"));
            }
            let shares = [("density", steered.density), ("gamma", steered.gamma), ("epsilon", steered.epsilon)];
            for (key, share) in shares {
                if share.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
                    let found = share.unwrap_or_default();
                    return Err(Error::usage(format!("`{key}` is {found}, expected a share from 0 to 1"))
                        .with_help("a tenth is 0.1"));
                }
            }
            let (density, epsilon) = (steered.density.unwrap_or(1.0), steered.epsilon.unwrap_or(EPSILON));
            let is_chance = density >= 1.0 || density <= 0.0 || density + epsilon < 1.0 && density - epsilon > 0.0;
            if self.method.sparsifier() == Some(Sparsifier::ByRank) && !is_chance {
                return Err(Error::usage(format!(
                    "density {density} with epsilon {epsilon} gives chances beyond 0 and 1"
                ))
                .with_help("choose a smaller `epsilon`"));
            }
        }
        Ok(())
    }

    /// The parameters of a model: its own, or else those for all.
    pub(super) fn of(&self, model: usize) -> MergeParameters {
        let (own, all) = (&self.models[model].parameters, &self.parameters);
        MergeParameters {
            weight: own.weight.or(all.weight),
            density: own.density.or(all.density),
            gamma: own.gamma.or(all.gamma),
            epsilon: own.epsilon.or(all.epsilon),
            ..all.clone()
        }
    }
}
