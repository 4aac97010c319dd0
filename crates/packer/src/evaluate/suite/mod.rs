//! Everything that an evaluation depends on, as one plain value: the suite file.
//!
//! ```yaml
//! name: small
//! base: ../models/handwriting        # a bundle, or the recipe of a base that is trained first
//! root: ../models/handwriting/data   # where the paths of data begin; `--data` says otherwise
//! control: {data: [omniglot_greek], quarter_turns: true}
//! tasks:
//!   digits: {data: digits8x8, steps: 100}
//!   korean: {data: omniglot_korean, steps: 100}
//! defaults: {batch: 32, optimizer: {learning_rate: 1.0e-3}}
//! methods:
//!   dense: {method: dense}
//!   talos: {method: talos, mask: {density: 0.1}}
//! seeds: [1, 2, 3]
//! checks:
//!   - {claim: sparse vectors interfere less, column: addition_normalized, higher: talos, lower: dense}
//! ```
//!
//! A method is a fragment of a training recipe, laid over `defaults`, and a task may give the length of its runs. What a recipe
//! may say, a fragment may; what the suite says itself (`name`, `seed`, `base`, `network`, `data`, `form`, `classes`) it may not. Unless
//! somebody says otherwise the head is made of class means of the base and frozen, so that a task vector is encoder alone and the
//! base has an accuracy of its own, and packs are written in int8.

mod checks;
mod fragment;
mod named;
mod settings;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::recipe::{Recipe, explain};

pub use named::Named;
pub use settings::{
    Alphas, AnalogySettings, Check, Column, Control, KernelSettings, MapSettings, MergeRow, Profile, SuiteTask,
};

/// A suite is a few pages of text; what is larger is none.
const BYTES_MAX: u64 = 1024 * 1024;

/// Everything an evaluation depends on. Made by [`Suite::open`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suite {
    /// What it is called.
    pub name: String,
    /// What the pages say first.
    #[serde(default)]
    pub about: String,
    /// A base bundle, or the recipe of a base, which is then trained first; seen from the suite's folder.
    pub base: PathBuf,
    /// What a base recipe is trained on, under the root, instead of what the recipe names.
    #[serde(default)]
    pub base_data: Vec<PathBuf>,
    /// Where paths of data begin, seen from the suite's folder. Default: that folder.
    #[serde(default)]
    pub root: PathBuf,
    /// What must not suffer when a task is negated. Without it nothing is negated.
    #[serde(default)]
    pub control: Option<Control>,
    /// What is learned, by name.
    pub tasks: Named<SuiteTask>,
    /// The fragment of a recipe that all methods begin with.
    #[serde(default)]
    pub defaults: Map<String, Value>,
    /// The fragment of a recipe that makes each row of the tables.
    pub methods: Named<Map<String, Value>>,
    /// More rows: ways to merge the vectors of a method, in the place of their sum.
    #[serde(default)]
    pub merges: Named<MergeRow>,
    /// More rows, by the name of the row: methods whose vectors are judged once more, in the network that is linearized around the
    /// base.
    #[serde(default)]
    pub linearized_afterwards: Named<String>,
    /// Every run is made, and every number taken, with each of these. Default `[1, 2, 3]`.
    #[serde(default = "three_seeds")]
    pub seeds: Vec<u64>,
    /// Coefficients that are tried. Default: 21 from 0 to 1.
    #[serde(default)]
    pub alphas: Alphas,
    /// Held-out images of a task on which coefficients are chosen, at most. Default 250.
    #[serde(default = "default_search_images")]
    pub search_images: usize,
    /// Task vectors that are guessed from three others, by name.
    #[serde(default)]
    pub analogies: Named<AnalogySettings>,
    /// Where two tasks leave each other alone.
    #[serde(default)]
    pub disentanglement: Option<MapSettings>,
    /// Where the tangent kernel's eigenfunctions live. Needs a control.
    #[serde(default)]
    pub kernel: Option<KernelSettings>,
    /// Methods against two of their settings, by name.
    #[serde(default)]
    pub profiles: Named<Profile>,
    /// Orderings that somebody claims.
    #[serde(default)]
    pub checks: Vec<Check>,
    /// Where paths begin: the folder of the suite file.
    #[serde(skip)]
    folder: PathBuf,
    /// The suite file, for errors that name a line.
    #[serde(skip)]
    text: String,
}

impl Suite {
    /// The suite in the file at `path`, checked, its data under `root` if one is given.
    ///
    /// # Errors
    /// `Io` when the file cannot be read, `Limit` above 1 MiB, `Usage` for everything that is wrong with what it says: an unknown
    /// key names its line and the nearest key there is, also in the fragments of recipes.
    pub fn open(path: &Path, root: Option<&Path>) -> Result<Suite> {
        let file = File::open(path).map_err(|cause| Error::io("read", path, cause))?;
        let mut text = String::new();
        file.take(BYTES_MAX + 1).read_to_string(&mut text).map_err(|cause| Error::io("read", path, cause))?;
        if text.len() as u64 > BYTES_MAX {
            return Err(Error::limit(format!("suite `{}` is larger than {BYTES_MAX} bytes", path.display())));
        }
        Suite::parse(&text, path.parent().unwrap_or(Path::new("")), root, &format!("suite `{}`", path.display()))
    }

    /// The suite written in `text`, called `subject` in errors; its paths are seen from `folder`.
    ///
    /// # Errors
    /// As [`Suite::open`].
    pub fn parse(text: &str, folder: &Path, root: Option<&Path>, subject: &str) -> Result<Suite> {
        let mut suite: Suite = serde_saphyr::from_str(text).map_err(|error| explain(&error, text, subject))?;
        (suite.folder, suite.text) = (folder.to_path_buf(), text.to_owned());
        if let Some(root) = root {
            suite.root = std::path::absolute(root).map_err(|cause| Error::io("find", root, cause))?;
        }
        suite.check().map_err(|error| error.within(subject))?;
        Ok(suite)
    }

    /// Where the base lies: a folder, or the recipe of one.
    pub fn base_path(&self) -> PathBuf {
        self.folder.join(&self.base)
    }

    /// Where data lies that the suite calls `path`.
    pub fn data_path(&self, path: &Path) -> PathBuf {
        self.folder.join(&self.root).join(path)
    }

    /// The tasks that are added up and negated.
    pub fn merged_tasks(&self) -> impl Iterator<Item = (&str, &SuiteTask)> {
        self.tasks.iter().filter(|(_, task)| task.merged)
    }

    /// Whether `method` learns `task`: every method learns what is merged, and only those that are asked learn what is not.
    pub fn learns(&self, method: &str, task: &str) -> bool {
        let is_method = |methods: &[String]| methods.iter().any(|known| known == method);
        let in_analogy = |analogy: &AnalogySettings| {
            is_method(&analogy.methods)
                && [&analogy.a, &analogy.b, &analogy.c, &analogy.d].iter().any(|known| **known == task)
        };
        let in_pair =
            |maps: &MapSettings| is_method(&maps.methods) && maps.pairs.iter().flatten().any(|known| known == task);
        // The kernel is the base's, and takes a task's images from the run of any method.
        let in_kernel = |kernel: &KernelSettings| {
            self.methods.names().next() == Some(method) && kernel.tasks.iter().any(|known| known == task)
        };
        self.tasks.get(task).is_some_and(|settings| settings.merged)
            || self.analogies.iter().any(|(_, analogy)| in_analogy(analogy))
            || self.disentanglement.as_ref().is_some_and(in_pair)
            || self.kernel.as_ref().is_some_and(in_kernel)
    }

    /// Every run with one seed: method and task.
    pub fn runs(&self) -> impl Iterator<Item = (&str, &str)> {
        let of_method = move |method| {
            self.tasks.names().filter(move |task| self.learns(method, task)).map(move |task| (method, task))
        };
        self.methods.names().flat_map(of_method)
    }

    /// The rows of the tables, without that of the base: methods, these linearized afterwards, then merges.
    pub fn rows(&self) -> impl Iterator<Item = &str> {
        self.methods.names().chain(self.linearized_afterwards.names()).chain(self.merges.names())
    }

    /// The recipe of the base, if it is to be trained.
    ///
    /// # Errors
    /// As [`Recipe::open`].
    pub fn base_recipe(&self) -> Result<Option<Recipe>> {
        let path = self.base_path();
        if path.is_dir() {
            return Ok(None);
        }
        let mut recipe = Recipe::open(&path)?;
        if recipe.network.is_none() {
            return Err(Error::usage(format!("`base` is the recipe of a skill, `{}`", path.display()))
                .with_help("name a recipe with `network`, or the folder of a base bundle"));
        }
        if !self.base_data.is_empty() {
            let folders: Vec<PathBuf> = self.base_data.iter().map(|folder| self.data_path(folder)).collect();
            recipe.replace_data(&folders)?;
        }
        Ok(Some(recipe))
    }

    /// The recipe by which `method` learns `task` on the base in the bundle `base`.
    ///
    /// # Errors
    /// `Usage` for what a recipe cannot be; the line is the suite's.
    pub fn recipe(&self, method: &str, task: &str, seed: u64, base: &Path) -> Result<Recipe> {
        fragment::recipe(self, method, task, seed, base)
    }
}

fn three_seeds() -> Vec<u64> {
    vec![1, 2, 3]
}

fn default_search_images() -> usize {
    250
}
