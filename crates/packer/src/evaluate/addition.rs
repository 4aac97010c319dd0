//! One model of all tasks: what the sum of the vectors is worth, and at which coefficient.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use taskvec_bundle::Head;

use super::answers::{Question, accuracies};
use super::coefficient::{highest, mean, mean_normalized, one_by_one};
use super::ground::{Ground, Images};
use super::vectors::Vector;
use crate::error::Result;
use crate::examples::{Examples, spread};

/// Held-out images of a task by which coefficients of their own are chosen, at most: each is tried many times.
const ONE_BY_ONE_IMAGES_MAX: usize = 60;
/// Of the coefficients that are tried for all tasks together, every fourth is tried for each alone.
const ONE_BY_ONE_STRIDE: usize = 4;

/// A task as a row has learned it.
pub(crate) struct Learned {
    pub(crate) vector: Arc<Vector>,
    pub(crate) head: Arc<Head>,
    pub(crate) images: Images,
    /// Accuracy of its own model on the images that choose, and on those that judge.
    pub(crate) single: [f64; 2],
    /// Accuracy of the base on the images that judge.
    pub(crate) base: f64,
}

/// What vectors were merged into.
pub(crate) struct Merged {
    /// What no coefficient scales, if there is such a part.
    pub(crate) stays: Option<Arc<Vector>>,
    /// What coefficients scale.
    pub(crate) scaled: Arc<Vector>,
}

/// What the sum is worth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Addition {
    /// The coefficient that all tasks share.
    pub alpha: f64,
    /// Test accuracy of each task there.
    pub accuracies: Vec<f64>,
    /// Test accuracy of each task at coefficient 1.
    pub at_one: Vec<f64>,
    /// A coefficient for each task, from the shared one on; none of a merge.
    pub alphas: Vec<f64>,
    /// Test accuracy of each task with these; none of a merge.
    pub per_task: Vec<f64>,
    /// What was tried, on the images that choose.
    pub curve: Vec<Tried>,
}

/// A shared coefficient that was tried.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tried {
    /// The coefficient.
    pub alpha: f64,
    /// Mean accuracy.
    pub absolute: f64,
    /// Mean of the accuracies divided by those of the tasks' own models.
    pub normalized: f64,
}

/// Adds up `learned`; or takes what they were merged into for their sum, in which no task has a coefficient of its own.
pub(crate) fn addition(
    ground: &Ground<'_>,
    learned: &[Arc<Learned>],
    alphas: &[f64],
    merged: Option<Merged>,
) -> Result<Addition> {
    let ones = learned.iter().map(|learned| (1.0, &*learned.vector));
    let is_sum = merged.is_none();
    let sum = || Merged { stays: None, scaled: Arc::new(Vector::sum(&ones.collect::<Vec<_>>())) };
    let merged = merged.unwrap_or_else(sum);
    let at = |alpha: f64| {
        let stays = merged.stays.iter().map(|vector| (1.0, Arc::clone(vector)));
        stays.chain([(alpha, Arc::clone(&merged.scaled))]).collect::<Vec<_>>()
    };
    let curve = curve(ground, learned, alphas, at)?;
    let alpha = curve[highest(&curve.iter().map(|tried| tried.normalized).collect::<Vec<_>>())].alpha;
    let (mut own, mut per_task) = (Vec::new(), Vec::new());
    if is_sum {
        own = own_coefficients(ground, learned, alphas, alpha)?;
        // As one vector, which a linearized network goes over the images with once.
        let apart = apart(&own, learned);
        let each: Vec<(f32, &Vector)> = apart.iter().map(|(alpha, vector)| (*alpha as f32, &**vector)).collect();
        per_task = on_test(ground, learned, &[(1.0, Arc::new(Vector::sum(&each)))])?;
    }
    Ok(Addition {
        accuracies: on_test(ground, learned, &at(alpha))?,
        at_one: on_test(ground, learned, &at(1.0))?,
        alpha,
        alphas: own,
        per_task,
        curve,
    })
}

/// The vectors, each with its own coefficient.
fn apart(alphas: &[f64], learned: &[Arc<Learned>]) -> Vec<(f64, Arc<Vector>)> {
    alphas.iter().zip(learned).map(|(alpha, learned)| (*alpha, Arc::clone(&learned.vector))).collect()
}

/// What each coefficient is worth on the images that choose.
fn curve(
    ground: &Ground<'_>,
    learned: &[Arc<Learned>],
    alphas: &[f64],
    at: impl Fn(f64) -> Vec<(f64, Arc<Vector>)>,
) -> Result<Vec<Tried>> {
    let own: Vec<f64> = learned.iter().map(|learned| learned.single[0]).collect();
    let tried = |&alpha: &f64| {
        let sum = at(alpha);
        let questions: Vec<Question> =
            learned.iter().map(|learned| learned.question(&sum, &learned.images.search)).collect();
        let accuracies = accuracies(ground, &questions)?;
        Ok(Tried { alpha, absolute: mean(&accuracies), normalized: mean_normalized(&accuracies, &own) })
    };
    alphas.iter().map(tried).collect()
}

/// A coefficient for each task, each of every other one in turn, on few images.
fn own_coefficients(ground: &Ground<'_>, learned: &[Arc<Learned>], alphas: &[f64], shared: f64) -> Result<Vec<f64>> {
    let candidates: Vec<f64> = alphas.iter().copied().step_by(ONE_BY_ONE_STRIDE).collect();
    let few: Vec<_> =
        learned.iter().map(|learned| Arc::new(spread(&learned.images.search, ONE_BY_ONE_IMAGES_MAX))).collect();
    let own: Vec<Question> = learned
        .iter()
        .zip(&few)
        .map(|(learned, few)| learned.question(&[(1.0, Arc::clone(&learned.vector))], few))
        .collect();
    let own = accuracies(ground, &own)?;
    one_by_one(&vec![shared; learned.len()], &candidates, |tried| {
        let score = |alphas: &Vec<f64>| {
            let sum = apart(alphas, learned);
            let questions: Vec<Question> =
                learned.iter().zip(&few).map(|(learned, few)| learned.question(&sum, few)).collect();
            Ok(mean_normalized(&accuracies(ground, &questions)?, &own))
        };
        tried.iter().map(score).collect()
    })
}

fn on_test(ground: &Ground<'_>, learned: &[Arc<Learned>], sum: &[(f64, Arc<Vector>)]) -> Result<Vec<f64>> {
    let questions: Vec<Question> = learned.iter().map(|learned| learned.question(sum, &learned.images.test)).collect();
    accuracies(ground, &questions)
}

impl Learned {
    /// What the base with `sum` answers for `examples`, by this task's head.
    pub(crate) fn question(&self, sum: &[(f64, Arc<Vector>)], examples: &Arc<Examples>) -> Question {
        Question { sum: sum.to_vec(), head: Arc::clone(&self.head), examples: Arc::clone(examples) }
    }
}
