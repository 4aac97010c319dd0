//! A task: the data of a recipe, as the network sees it.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use taskvec_bundle::Preprocessing;
use taskvec_dataset::{Dataset, DatasetLimits, Split};
use taskvec_pack::Digest;

use crate::error::Result;
use crate::examples::Examples;
use crate::random::Random;
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
        let sets = recipe.data_paths().iter().map(|folder| open(folder, recipe)).collect::<Result<Vec<_>>>()?;
        let set = Dataset::join(sets)?.select(&recipe.classes)?;
        let set = if recipe.quarter_turns { set.with_quarter_turns() } else { set };
        let digest = set.digest();
        let (train, held_out) = hold_out(set.train, recipe.held_out, recipe.seed);
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

fn open(folder: &Path, recipe: &Recipe) -> Result<Dataset> {
    match recipe.form {
        Some(form) => Dataset::open_as(folder, form.into(), &DatasetLimits::default()),
        None => Dataset::open(folder),
    }
}

/// Cuts off a share of each class, drawn by `seed`: `(the rest, the share)`, each in the old order. A class keeps at
/// least one image in the rest.
fn hold_out(split: Split, share: f64, seed: u64) -> (Split, Split) {
    let mut by_class: HashMap<u32, Vec<usize>> = HashMap::new();
    for (at, &label) in split.labels.iter().enumerate() {
        by_class.entry(label).or_default().push(at);
    }
    let mut held = vec![false; split.len()];
    for (label, mut members) in by_class {
        let count = ((members.len() as f64 * share).round() as usize).min(members.len() - 1);
        Random::new(seed, &format!("held out/class {label}")).shuffle(&mut members);
        for &member in &members[..count] {
            held[member] = true;
        }
    }
    let (mut rest, mut aside) = (Split::default(), Split::default());
    for ((image, label), held) in split.images.into_iter().zip(split.labels).zip(held) {
        if held { &mut aside } else { &mut rest }.push(image, label);
    }
    (rest, aside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holding_out_takes_its_share_of_each_class_and_depends_on_the_seed_only() {
        let image = |gray: u8| taskvec_bundle::Image { width: 1, height: 1, channels: 1, data: vec![gray] };
        let labels = (0..60).map(|at| u32::from(at >= 40)).collect();
        let train = Split { images: (0..60).map(image).collect(), labels };
        let (rest, held) = hold_out(train.clone(), 0.25, 3);
        assert_eq!((rest.len(), held.len()), (45, 15));
        assert_eq!(held.labels.iter().filter(|&&label| label == 1).count(), 5);
        assert!(held.images.windows(2).all(|pair| pair[0].data[0] < pair[1].data[0]), "order is kept");
        assert_eq!(hold_out(train.clone(), 0.25, 3).1.images, held.images);
        assert_ne!(hold_out(train.clone(), 0.25, 4).1.images, held.images);
        assert!(hold_out(train, 0.0, 3).1.is_empty());
    }
}
