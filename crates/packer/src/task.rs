//! A task: the data of a recipe, as the network sees it.

use std::sync::Arc;

use taskvec_bundle::Preprocessing;
use taskvec_pack::Digest;

use crate::dataset::Dataset;
use crate::error::Result;
use crate::examples::Examples;
use crate::recipe::Recipe;

/// Labelled images in three parts.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    /// What the classes are called.
    pub(crate) classes: Vec<String>,
    /// Images to learn from.
    pub(crate) train: Arc<Examples>,
    /// Training images kept aside, for validation and for calibrating a mask.
    pub(crate) held_out: Arc<Examples>,
    /// Images to be judged by.
    pub(crate) test: Arc<Examples>,
    /// Digest of the data, before the split.
    pub(crate) digest: Digest,
}

impl Task {
    /// The data that `recipe` names, prepared for a network.
    ///
    /// # Errors
    /// Those of the data sets and of their preparation.
    pub(crate) fn open(recipe: &Recipe, preprocessing: &Preprocessing) -> Result<Task> {
        let sets = recipe.data_paths().iter().map(|folder| Dataset::open(folder)).collect::<Result<Vec<_>>>()?;
        let set = Dataset::join(sets)?.select(&recipe.classes)?;
        let set = if recipe.quarter_turns { set.with_quarter_turns() } else { set };
        let digest = set.digest();
        let (train, held_out) = set.train.hold_out(recipe.held_out, recipe.seed);
        let examples = |split| Examples::new(split, preprocessing).map(Arc::new);
        Ok(Task {
            train: examples(&train)?,
            held_out: examples(&held_out)?,
            test: examples(&set.test)?,
            classes: set.classes,
            digest,
        })
    }
}
