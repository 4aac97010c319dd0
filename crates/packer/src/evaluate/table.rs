//! Skills against tasks: what each skill does to its own task and to those of the others.

use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use taskvec_bundle::TensorFile;
use taskvec_networks::Network;

use super::{accuracy, class_means_head, features};
use crate::crew::Crew;
use crate::error::{Error, Result};
use crate::recipe::Recipe;
use crate::run_folder::{RECIPE_FILE, TUNED_FILE, read_head};
use crate::task::Task;
use crate::train::Start;

/// Accuracy of the base and of each skill on each task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SkillTable {
    /// The tasks, in the order of the runs.
    pub columns: Vec<TableColumn>,
    /// The base, then the skills in the order of the runs.
    pub rows: Vec<TableRow>,
}

/// A task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TableColumn {
    /// The name of the run whose task it is.
    pub name: String,
    /// How many classes it has: guessing finds one in so many.
    pub class_count: u64,
    /// Test images.
    pub test_images: u64,
}

/// A network: the base, or the base with one skill.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TableRow {
    /// `base`, or the name of the run.
    pub name: String,
    /// One for each column.
    pub cells: Vec<TableCell>,
}

/// A network on a task.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TableCell {
    /// Share of the test images that were recognized; none without an image.
    pub accuracy: Option<f64>,
    /// Whether the skill is this task's, and its own head answered. Elsewhere a head of class means of this network's
    /// features did, made from the task's training images: what the features can tell apart, whoever shaped them.
    pub is_own: bool,
}

/// The table of the finished runs in `runs`, all of them skills on the base in `base`.
///
/// # Errors
/// `Usage` when a run trained a base; `Mismatch` when a run's weights are another network's; what the parts say.
pub fn table(base: &Path, runs: &[&Path]) -> Result<SkillTable> {
    let (crew, device) = (Crew::for_this_machine(usize::MAX), Device::flex());
    let start = Start::from_bundle(base, &device)?;
    let recipes = runs.iter().map(|run| Recipe::open(&run.join(RECIPE_FILE))).collect::<Result<Vec<_>>>()?;
    if let Some(recipe) = recipes.iter().find(|recipe| recipe.network.is_some()) {
        return Err(Error::usage(format!("run `{}` trained a base, expected a skill", recipe.name)));
    }
    let tasks = recipes.iter().map(|recipe| Task::open(recipe, &start.preprocessing)).collect::<Result<Vec<_>>>()?;
    let columns = recipes.iter().zip(&tasks).map(|(recipe, task)| TableColumn {
        name: recipe.name.clone(),
        class_count: task.classes.len() as u64,
        test_images: task.test.len() as u64,
    });
    let judge = Judge { crew: &crew, device: &device, start: &start };
    let mut rows = vec![TableRow { name: "base".to_owned(), cells: Vec::new() }];
    for (recipe, task) in recipes.iter().zip(&tasks) {
        let cell = judge.by_class_means(&start.network, task, recipe.head.temperature)?;
        rows[0].cells.push(TableCell { accuracy: cell, is_own: false });
    }
    for (own, (run, recipe)) in runs.iter().zip(&recipes).enumerate() {
        let network = judge.tuned(run)?;
        let mut cells = Vec::new();
        for (column, task) in tasks.iter().enumerate() {
            let is_own = column == own;
            let accuracy = if is_own {
                let found = features(&crew, &network, &task.test, &device);
                accuracy(&read_head(run)?, &found, &task.test.labels)?
            } else {
                judge.by_class_means(&network, task, recipe.head.temperature)?
            };
            cells.push(TableCell { accuracy, is_own });
        }
        rows.push(TableRow { name: recipe.name.clone(), cells });
    }
    Ok(SkillTable { columns: columns.collect(), rows })
}

struct Judge<'a> {
    crew: &'a Crew,
    device: &'a Device,
    start: &'a Start,
}

impl Judge<'_> {
    fn tuned(&self, run: &Path) -> Result<Network> {
        let path = run.join(TUNED_FILE);
        let bytes = std::fs::read(&path).map_err(|cause| Error::io("read", &path, cause))?;
        let file = TensorFile::parse(&bytes)
            .map_err(|cause| Error::from_bundle(cause, format!("read `{}`", path.display())))?;
        self.start.with_tensors(&file, &bytes)
    }

    fn by_class_means(&self, network: &Network, task: &Task, temperature: f64) -> Result<Option<f64>> {
        let of = |examples: &Arc<_>| features(self.crew, network, examples, self.device);
        let (width, labels) = (self.start.feature_width, &task.train.labels);
        let head = class_means_head(&of(&task.train), width, labels, &task.classes, temperature)?;
        accuracy(&head, &of(&task.test), &task.test.labels)
    }
}
