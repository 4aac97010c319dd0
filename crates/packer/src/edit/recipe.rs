//! What is merged, and how: a recipe in the shape that users of mergekit know.
//!
//! ```yaml
//! merge_method: ties
//! base_model: base.safetensors
//! models:
//!   - model: german.safetensors
//!     parameters: {weight: 0.5, density: 0.2}
//!   - model: medicine.tvp
//!     parameters: {weight: 0.3, density: 0.2}
//! parameters: {normalize: true, lambda: 1.0}
//! ```
//!
//! Paths are seen from the recipe's folder. A model is any checkpoint, or a pack for the base. What mergekit writes beside this
//! (slices, tokenizers, gradients of a parameter over layers) is refused by name.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::recipe::explain;

/// A recipe is a page of text; what is larger is no recipe.
const BYTES_MAX: u64 = 1024 * 1024;

/// What is merged, and how.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MergeRecipe {
    /// How.
    pub merge_method: MergeMethod,
    /// The model that the others were tuned from. [`MergeMethod::Linear`] alone goes without.
    #[serde(default)]
    pub base_model: Option<PathBuf>,
    /// What is merged.
    pub models: Vec<MergedModel>,
    /// For all models; those of a model come first.
    #[serde(default)]
    pub parameters: MergeParameters,
    /// Key of what is drawn. Default: 0.
    #[serde(default)]
    pub seed: u64,
    /// Where paths begin.
    #[serde(skip)]
    folder: PathBuf,
}

/// One of the models.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MergedModel {
    /// A checkpoint, or a pack for the base.
    pub model: PathBuf,
    /// Of this model alone.
    #[serde(default)]
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

/// A way to merge. In all of them a tensor is on its own: shares are of a tensor, never of the whole model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MergeMethod {
    /// The weighted mean of the models' weights.
    Linear,
    /// Along the great circle between the base and one model (Shoemake 1985).
    Slerp,
    /// The weighted sum of the deltas (Ilharco et al. 2022).
    TaskArithmetic,
    /// The largest deltas of each model, those of the sign that the sum has (Yadav et al. 2023).
    Ties,
    /// Deltas dropped at random (Yu et al. 2024), and summed.
    DareLinear,
    /// Deltas dropped at random, and those of the sign that the sum has.
    DareTies,
    /// Without the largest and the smallest deltas (Davari and Belilovsky 2024), summed.
    Breadcrumbs,
    /// The same, and those of the sign that the sum has.
    BreadcrumbsTies,
    /// Deltas dropped at random, small ones more often (Deep et al. 2024), and those of the sign that the sum has.
    Della,
    /// The same, summed.
    DellaLinear,
    /// Between the base and the mean of the models, as far as their deltas agree (Jang et al. 2024).
    ModelStock,
}

impl MergeRecipe {
    /// The recipe in the file `path`.
    ///
    /// # Errors
    /// `Io` when it cannot be read, `Limit` when it is larger than a page of text, `Usage` when it is no recipe that can be followed.
    pub fn open(path: &Path) -> Result<MergeRecipe> {
        let subject = format!("recipe `{}`", path.display());
        let file = File::open(path).map_err(|cause| {
            Error::io("read", path, cause)
                .with_help("name a recipe: `merge_method`, `base_model` and `models`, in YAML")
        })?;
        let mut text = String::new();
        file.take(BYTES_MAX + 1).read_to_string(&mut text).map_err(|cause| Error::io("read", path, cause))?;
        if text.len() as u64 > BYTES_MAX {
            return Err(Error::limit(format!("{subject} is larger than {BYTES_MAX} bytes")));
        }
        let mut recipe: MergeRecipe =
            serde_saphyr::from_str(&text).map_err(|error| explain(&error, &text, &subject))?;
        recipe.folder = path.parent().unwrap_or(Path::new("")).to_owned();
        recipe.check().map_err(|error| error.within(subject))?;
        Ok(recipe)
    }

    /// A path of the recipe, from where this program runs.
    pub(super) fn path(&self, path: &Path) -> PathBuf {
        self.folder.join(path)
    }

    /// The models without the base, which recipes may list among them.
    pub(super) fn tuned(&self) -> impl Iterator<Item = &MergedModel> {
        self.models.iter().filter(|model| Some(&model.model) != self.base_model.as_ref())
    }

    fn check(&self) -> Result<()> {
        let tuned = self.tuned().count();
        let (least, most) = match self.merge_method {
            MergeMethod::Slerp => (1, 1),
            MergeMethod::ModelStock => (2, usize::MAX),
            _ => (1, usize::MAX),
        };
        let name = self.merge_method.name();
        if tuned < least || tuned > most {
            let clause = format!("`{name}` merges {least} models or more beside the base, found {tuned}");
            let clause =
                if most == 1 { format!("`{name}` takes one model beside the base, found {tuned}") } else { clause };
            return Err(Error::usage(clause).with_help("list them under `models`"));
        }
        if self.base_model.is_none() && self.merge_method != MergeMethod::Linear {
            return Err(Error::usage(format!("`{name}` needs the model that the others were tuned from"))
                .with_help("name it: `base_model: base.safetensors`"));
        }
        if self.merge_method == MergeMethod::Slerp && self.parameters.t.is_none() {
            return Err(
                Error::usage("`slerp` needs a place between the two models").with_help("say `parameters: {t: 0.5}`")
            );
        }
        for model in self.tuned() {
            let shared = &model.parameters;
            if shared.normalize.is_some() || shared.rescale.is_some() || shared.lambda.is_some() || shared.t.is_some() {
                let clause =
                    format!("`{}`: normalize, rescale, lambda and t are for all models", model.model.display());
                return Err(Error::usage(clause).with_help("move them to the `parameters` of the recipe"));
            }
            let steered = self.of(model);
            if self.merge_method.is_weighted() && steered.weight.is_none() {
                return Err(Error::usage(format!("`{}` has no weight", model.model.display()))
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
            if self.merge_method.sparsifier() == Some(Sparsifier::ByRank) && !is_chance {
                return Err(Error::usage(format!(
                    "density {density} with epsilon {epsilon} gives chances beyond 0 and 1"
                ))
                .with_help("choose a smaller `epsilon`"));
            }
        }
        Ok(())
    }

    /// The parameters of a model: its own, or else those for all.
    pub(super) fn of(&self, model: &MergedModel) -> MergeParameters {
        let (own, all) = (&model.parameters, &self.parameters);
        MergeParameters {
            weight: own.weight.or(all.weight),
            density: own.density.or(all.density),
            gamma: own.gamma.or(all.gamma),
            epsilon: own.epsilon.or(all.epsilon),
            ..all.clone()
        }
    }
}

/// Default of [`MergeParameters::epsilon`].
pub(super) const EPSILON: f64 = 0.15;
/// Default of [`MergeParameters::gamma`].
pub(super) const GAMMA: f64 = 0.01;

/// Which deltas of a model stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sparsifier {
    /// The largest.
    Largest,
    /// Any.
    Random,
    /// Neither the largest nor the smallest.
    Middle,
    /// Any, the larger the likelier.
    ByRank,
}

impl MergeMethod {
    /// Its name in a recipe.
    pub fn name(self) -> &'static str {
        match self {
            MergeMethod::Linear => "linear",
            MergeMethod::Slerp => "slerp",
            MergeMethod::TaskArithmetic => "task_arithmetic",
            MergeMethod::Ties => "ties",
            MergeMethod::DareLinear => "dare_linear",
            MergeMethod::DareTies => "dare_ties",
            MergeMethod::Breadcrumbs => "breadcrumbs",
            MergeMethod::BreadcrumbsTies => "breadcrumbs_ties",
            MergeMethod::Della => "della",
            MergeMethod::DellaLinear => "della_linear",
            MergeMethod::ModelStock => "model_stock",
        }
    }

    pub(super) fn sparsifier(self) -> Option<Sparsifier> {
        match self {
            MergeMethod::Ties => Some(Sparsifier::Largest),
            MergeMethod::DareLinear | MergeMethod::DareTies => Some(Sparsifier::Random),
            MergeMethod::Breadcrumbs | MergeMethod::BreadcrumbsTies => Some(Sparsifier::Middle),
            MergeMethod::Della | MergeMethod::DellaLinear => Some(Sparsifier::ByRank),
            _ => None,
        }
    }

    /// Whether deltas of another sign than the sum's are left out.
    pub(super) fn elects_signs(self) -> bool {
        use MergeMethod::{BreadcrumbsTies, DareTies, Della, Ties};
        matches!(self, Ties | DareTies | BreadcrumbsTies | Della)
    }

    pub(super) fn normalizes(self) -> bool {
        matches!(self, MergeMethod::Linear | MergeMethod::Ties | MergeMethod::Della)
    }

    /// How what stays is scaled where the recipe does not say.
    pub(super) fn rescale(self) -> Rescale {
        Rescale::Magnitudes(matches!(self.sparsifier(), Some(Sparsifier::Random | Sparsifier::ByRank)))
    }

    fn is_weighted(self) -> bool {
        !matches!(self, MergeMethod::Slerp | MergeMethod::ModelStock)
    }
}
