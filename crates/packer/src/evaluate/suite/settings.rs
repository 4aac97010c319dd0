//! The parts of a suite that have names of their own, each setting with its default.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Named;
use crate::edit::{MergeMethod, MergeParameters, MergeSettings};
use crate::recipe::DataForm;

/// A task: data, and how long it is learned.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SuiteTask {
    /// Folder of the data set, under the root.
    pub data: PathBuf,
    /// Which form is read, where the folder holds several. Default: the first that is there.
    #[serde(default)]
    pub form: Option<DataForm>,
    /// Only these classes, in this order. Default: all of them.
    #[serde(default)]
    pub classes: Vec<String>,
    /// Length of its runs in passes over the training images, instead of what the method says.
    #[serde(default)]
    pub epochs: Option<f64>,
    /// Length of its runs in optimizer steps, instead of what the method says.
    #[serde(default)]
    pub steps: Option<u64>,
    /// Whether it is added up and negated. Default yes; tasks of an analogy often are not.
    #[serde(default = "yes")]
    pub merged: bool,
}

/// What must not suffer when a task is negated: what the base knows by itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Control {
    /// Folders of data, under the root; several are one task, as in a base's recipe. Half of each class's test images chooses
    /// coefficients, the other half is what is reported: a base may have seen all of its training images.
    pub data: Vec<PathBuf>,
    /// Only these classes, in this order. Default: all of them.
    #[serde(default)]
    pub classes: Vec<String>,
    /// Whether turned classes are classes of their own, as in the base's recipe. Default no.
    #[serde(default)]
    pub quarter_turns: bool,
    /// The head of the base that answers. Default: class means of the base's features.
    #[serde(default)]
    pub head: Option<String>,
    /// Share of its accuracy that the base must keep on the control. Default 0.95.
    #[serde(default = "default_threshold")]
    pub threshold: f64,
}

/// A way to merge the vectors of a method, in the place of their sum.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MergeRow {
    /// The method whose vectors are merged.
    pub of: String,
    /// As in a recipe of `taskvec merge`.
    pub merge_method: MergeMethod,
    /// As in a recipe of `taskvec merge`; a weight that is not given is 1, where the method has weights.
    #[serde(default)]
    pub parameters: MergeParameters,
    /// Coefficients of the merged vector that are tried, instead of the suite's. For `cart` they are its lambda.
    #[serde(default)]
    pub alphas: Option<Alphas>,
}

/// A is to B as C is to D: tasks of the suite, and the methods whose vectors are asked.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnalogySettings {
    /// Task A.
    pub a: String,
    /// Task B.
    pub b: String,
    /// Task C.
    pub c: String,
    /// Task D, whose vector is guessed.
    pub d: String,
    /// The methods.
    pub methods: Vec<String>,
}

/// Disentanglement errors over a grid of two coefficients.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MapSettings {
    /// Pairs of tasks.
    pub pairs: Vec<[String; 2]>,
    /// The methods.
    pub methods: Vec<String>,
    /// The grid's first coefficient on both sides. Default -2.
    #[serde(default = "two_below")]
    pub from: f64,
    /// Its last. Default 2.
    #[serde(default = "two")]
    pub to: f64,
    /// How many on each side, 2 to 101. Default 15.
    #[serde(default = "fifteen")]
    pub points: usize,
    /// Test images of each task that are asked, at most. Default 64.
    #[serde(default = "default_map_images")]
    pub images: usize,
}

/// Localization of the tangent kernel's eigenfunctions, of the base and of a network that was drawn.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KernelSettings {
    /// Tasks that are held against the control.
    pub tasks: Vec<String>,
    /// Test images of each of both, at most. Default 100.
    #[serde(default = "default_kernel_images")]
    pub images: usize,
    /// Draws of signs. Default 2.
    #[serde(default = "default_kernel_draws")]
    pub draws: usize,
}

/// Methods that differ in two ways, as a table and a picture: accuracy against granule and density, for instance.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Heading.
    pub title: String,
    /// What is compared.
    #[serde(default = "default_profile_column")]
    pub column: Column,
    /// What is written along the picture.
    pub points: Vec<String>,
    /// The methods of each line, one for each point.
    pub lines: Named<Vec<String>>,
    /// A method that all are held against, if there is one.
    #[serde(default)]
    pub beside: Option<String>,
}

/// Coefficients, evenly spread, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Alphas {
    /// The first. Default 0.
    pub from: f64,
    /// The last. Default 1.
    pub to: f64,
    /// How many, 2 to 1001. Default 21.
    pub points: usize,
}

/// An ordering that somebody claims: of two rows, which has the higher number in a column.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// The claim, in words, with its source.
    pub claim: String,
    /// The number that is compared.
    pub column: Column,
    /// Row that is claimed to have the higher number.
    pub higher: String,
    /// Row that is claimed to have the lower one.
    pub lower: String,
}

/// A number that every row has, for each seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Column {
    /// Mean test accuracy of each task's own model.
    SingleTask,
    /// Mean test accuracy of the sum, at the coefficient chosen.
    Addition,
    /// The same, each task's divided by that of its own model.
    AdditionNormalized,
    /// Mean test accuracy of the sum at coefficient 1.
    AdditionAtOne,
    /// Mean test accuracy of the sum with a coefficient for each task.
    AdditionPerTask,
    /// Mean test accuracy of a task that was negated: lower is better.
    NegationTarget,
    /// Mean accuracy on the control then.
    NegationControl,
    /// Mean test accuracy of base and pack: each task's own model, as its pack makes it.
    Packed,
    /// Mean bytes of a task's pack.
    PackBytes,
    /// Mean bytes of the optimizer's moments.
    OptimizerBytes,
}

impl Alphas {
    /// All of them, in order.
    pub fn values(&self) -> Vec<f64> {
        let last = self.points.saturating_sub(1).max(1) as f64;
        (0..self.points).map(|at| self.from + (self.to - self.from) * at as f64 / last).collect()
    }
}

impl MergeRow {
    /// The merge of the vectors of these tasks; what is drawn is drawn by `seed`.
    pub(crate) fn settings<'a>(&self, tasks: impl IntoIterator<Item = &'a str>, seed: u64) -> MergeSettings {
        let mut settings = MergeSettings::new(self.merge_method, tasks);
        (settings.parameters, settings.seed) = (self.parameters.clone(), seed);
        if settings.method.is_weighted() {
            settings.parameters.weight.get_or_insert(1.0);
        }
        settings
    }
}

impl Column {
    /// All of them, in the order of tables.
    pub const ALL: [Column; 10] = [
        Column::SingleTask,
        Column::Addition,
        Column::AdditionNormalized,
        Column::AdditionAtOne,
        Column::AdditionPerTask,
        Column::NegationTarget,
        Column::NegationControl,
        Column::Packed,
        Column::PackBytes,
        Column::OptimizerBytes,
    ];

    /// What tables call it.
    pub fn title(self) -> &'static str {
        match self {
            Column::SingleTask => "single task",
            Column::Addition => "addition",
            Column::AdditionNormalized => "addition, normalized",
            Column::AdditionAtOne => "addition at alpha 1",
            Column::AdditionPerTask => "addition, alpha per task",
            Column::NegationTarget => "negation: task (lower is better)",
            Column::NegationControl => "negation: control",
            Column::Packed => "single task, from its pack",
            Column::PackBytes => "bytes per task",
            Column::OptimizerBytes => "optimizer bytes",
        }
    }

    /// Whether it counts bytes; all others are shares.
    pub fn is_bytes(self) -> bool {
        matches!(self, Column::PackBytes | Column::OptimizerBytes)
    }
}

impl MapSettings {
    /// Coefficients of both sides.
    pub fn grid(&self) -> Alphas {
        Alphas { from: self.from, to: self.to, points: self.points }
    }
}

impl Default for Alphas {
    fn default() -> Self {
        Self { from: 0.0, to: 1.0, points: 21 }
    }
}

fn default_threshold() -> f64 {
    0.95
}

fn two_below() -> f64 {
    -2.0
}

fn two() -> f64 {
    2.0
}

fn fifteen() -> usize {
    15
}

fn default_map_images() -> usize {
    64
}

fn default_kernel_images() -> usize {
    100
}

fn default_kernel_draws() -> usize {
    2
}

fn default_profile_column() -> Column {
    Column::SingleTask
}

fn yes() -> bool {
    true
}
