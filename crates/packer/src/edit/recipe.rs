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

use serde::Deserialize;

use super::method::MergeMethod;
use super::settings::{MergeParameters, MergeSettings, ModelSettings};
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

    /// What is merged. A base that is listed is no model, except in the mean of whole models, which counts it as one of them.
    pub(super) fn tuned(&self) -> impl Iterator<Item = &MergedModel> {
        let is_mean = self.merge_method == MergeMethod::Linear;
        self.models.iter().filter(move |model| is_mean || Some(&model.model) != self.base_model.as_ref())
    }

    /// All of it but where models lie.
    pub fn settings(&self) -> MergeSettings {
        let model = |model: &MergedModel| ModelSettings {
            name: model.model.display().to_string(),
            parameters: model.parameters.clone(),
        };
        MergeSettings {
            method: self.merge_method,
            parameters: self.parameters.clone(),
            models: self.tuned().map(model).collect(),
            seed: self.seed,
        }
    }

    fn check(&self) -> Result<()> {
        if self.base_model.is_none() && self.merge_method != MergeMethod::Linear {
            let name = self.merge_method.name();
            return Err(Error::usage(format!("`{name}` needs the model that the others were tuned from"))
                .with_help("name it: `base_model: base.safetensors`"));
        }
        self.settings().check()
    }
}
