//! How an evaluation tells what it is doing, without printing.

use std::fmt;

use crate::train::Progress;

/// Whoever wants to know how far an evaluation is.
pub trait Watch {
    /// Another part of the work begins.
    fn part(&mut self, part: &Part);

    /// Who is told how the run at hand goes.
    fn training(&mut self) -> &mut dyn Progress;
}

/// Nobody wants to know.
impl Watch for () {
    fn part(&mut self, _part: &Part) {}

    fn training(&mut self) -> &mut dyn Progress {
        self
    }
}

/// A part of an evaluation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Part {
    /// The base is trained.
    Base,
    /// A method learns a task.
    Run {
        /// The row.
        method: String,
        /// What it learns.
        task: String,
        /// With which seed.
        seed: u64,
    },
    /// A row is judged.
    Judge {
        /// The row.
        row: String,
        /// With which seed.
        seed: u64,
    },
    /// The tangent kernel is taken apart.
    Kernel {
        /// With which seed.
        seed: u64,
    },
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Base => f.write_str("the base"),
            Part::Run { method, task, seed } => write!(f, "{method} on {task}, seed {seed}"),
            Part::Kernel { seed } => write!(f, "the tangent kernel, seed {seed}"),
            Part::Judge { row, seed } => write!(f, "judging {row}, seed {seed}"),
        }
    }
}
