//! One row with one seed: all that is measured of it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::addition::{Addition, Learned, Merged, addition};
use super::answers::{Question, accuracies};
use super::ground::{ControlGround, Ground};
use super::negation::{Candidate, Negation, choose};
use super::row::Row;
use super::runs::Trained;
use super::suite::MergeRow;
use super::vectors::Vector;
use crate::edit::MergeMethod;
use crate::error::Result;

/// What was measured of a row with a seed. The same suite on the same data gives the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The row: a method, or a merge.
    pub row: String,
    /// The method whose vectors were merged, or linearized; none where its own were added up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    /// Seed of its runs.
    pub seed: u64,
    /// One for each task that is merged, in the suite's order.
    pub tasks: Vec<TaskOutcome>,
    /// Their sum.
    pub addition: Addition,
    /// Each of them, taken away; none without a control.
    pub negation: Vec<Negation>,
}

/// A task on its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskOutcome {
    /// Which.
    pub task: String,
    /// Test accuracy of the base.
    pub base: f64,
    /// Test accuracy of its own model.
    pub single: f64,
    /// Bytes of its pack.
    pub pack_bytes: u64,
    /// Test accuracy of base and pack.
    pub packed: Option<f64>,
    /// Entries of its mask.
    pub entries: u64,
    /// Bytes of the optimizer's moments.
    pub optimizer_bytes: u64,
    /// Images that it learned from, that chose coefficients, and that judged.
    pub images: [u64; 3],
}

/// What is measured of the tasks that are merged, as `row` has learned them.
pub(crate) fn judge(row: &mut Row<'_>) -> Result<Outcome> {
    let (suite, ground) = (row.suite, row.ground);
    let alphas = suite.alphas.values();
    let (mut learned, mut tasks) = (Vec::new(), Vec::new());
    for (task, _) in suite.merged_tasks() {
        let of_task = row.learned(task)?;
        tasks.push(task_outcome(task, &of_task, row.trained(task)?));
        learned.push(of_task);
    }
    let negation = match (&ground.control, &suite.control) {
        (Some(control), Some(settings)) => {
            let negate = |(learned, task): (&Arc<Learned>, &TaskOutcome)| {
                let chosen = negate(ground, control, learned, &alphas, settings.threshold)?;
                Ok(Negation { task: task.task.clone(), chosen })
            };
            learned.iter().zip(&tasks).map(negate).collect::<Result<_>>()?
        }
        _ => Vec::new(),
    };
    let addition = addition(ground, &learned, &alphas, None)?;
    Ok(Outcome { row: row.name.to_owned(), of: None, seed: row.seed, tasks, addition, negation })
}

/// The same of a merge of these vectors, which is called `name`. Nothing is negated.
pub(crate) fn judge_merge(row: &mut Row<'_>, name: &str, merge: &MergeRow) -> Result<Outcome> {
    let (suite, ground) = (row.suite, row.ground);
    let names: Vec<&str> = suite.merged_tasks().map(|(task, _)| task).collect();
    let learned = names.iter().map(|task| row.learned(task)).collect::<Result<Vec<_>>>()?;
    let outcome = |(task, learned): (&&str, &Arc<Learned>)| Ok(task_outcome(task, learned, row.trained(task)?));
    let tasks = names.iter().zip(&learned).map(outcome).collect::<Result<_>>()?;
    let vectors: Vec<&Vector> = learned.iter().map(|learned| &*learned.vector).collect();
    let merged = |lambda: Option<f64>| {
        let mut settings = merge.settings(names.iter().copied(), row.seed);
        settings.parameters.lambda = lambda.or(settings.parameters.lambda);
        Vector::merged(&ground.start, &settings, &vectors)
    };
    let sum = match merge.merge_method {
        // Its lambda does not scale the mean.
        MergeMethod::Cart => {
            let (mean, whole) = (merged(Some(0.0))?, merged(Some(1.0))?);
            let scaled = Vector::sum(&[(1.0, &whole), (-1.0, &mean)]);
            Merged { stays: Some(Arc::new(mean)), scaled: Arc::new(scaled) }
        }
        _ => Merged { stays: None, scaled: Arc::new(merged(None)?) },
    };
    let alphas = merge.alphas.unwrap_or(suite.alphas).values();
    Ok(Outcome {
        row: name.to_owned(),
        of: Some(merge.of.clone()),
        seed: row.seed,
        tasks,
        addition: addition(ground, &learned, &alphas, Some(sum))?,
        negation: Vec::new(),
    })
}

fn task_outcome(task: &str, learned: &Learned, trained: &Trained) -> TaskOutcome {
    let images = &learned.images;
    TaskOutcome {
        task: task.to_owned(),
        base: learned.base,
        single: learned.single[1],
        pack_bytes: trained.packed.bytes,
        packed: trained.packed.accuracy,
        entries: trained.run.mask.entries,
        optimizer_bytes: trained.run.optimizer_bytes,
        images: [images.train_count, images.search.len(), images.test.len()].map(|count| count as u64),
    }
}

/// The coefficient at which `learned` is taken away, with what that does to the images that judge.
fn negate(
    ground: &Ground<'_>,
    control: &ControlGround,
    learned: &Learned,
    alphas: &[f64],
    threshold: f64,
) -> Result<Option<Candidate>> {
    let less = |alpha: f64| vec![(-alpha, Arc::clone(&learned.vector))];
    let of_control = |alpha: f64, examples: &Arc<_>| Question {
        sum: less(alpha),
        head: Arc::clone(&control.head),
        examples: Arc::clone(examples),
    };
    let targets: Vec<_> = alphas.iter().map(|alpha| learned.question(&less(*alpha), &learned.images.search)).collect();
    let tried: Vec<(f64, f64)> = alphas.iter().copied().zip(accuracies(ground, &targets)?).collect();
    let chosen = choose(&tried, threshold * control.of_base[0], |alpha| {
        Ok(accuracies(ground, &[of_control(alpha, &control.search)])?[0])
    })?;
    let Some(Candidate { alpha, .. }) = chosen else { return Ok(None) };
    let questions = [learned.question(&less(alpha), &learned.images.test), of_control(alpha, &control.test)];
    let found = accuracies(ground, &questions)?;
    Ok(Some(Candidate { alpha, target: found[0], control: found[1] }))
}
