//! How a run tells what it is doing, without printing.

use std::fmt;

use super::EpochReport;

/// Whoever wants to know how far a run is. Every method may be left as it is.
pub trait Progress {
    /// Another part of the work begins, of `total` units.
    fn phase(&mut self, phase: Phase, total: u64) {
        let _ = (phase, total);
    }

    /// So many units of the phase at hand are done.
    fn advance(&mut self, done: u64) {
        let _ = done;
    }

    /// An optimizer step was made.
    fn step(&mut self, report: &StepReport) {
        let _ = report;
    }

    /// A pass over the training images is over.
    fn epoch(&mut self, report: &EpochReport) {
        let _ = report;
    }
}

/// Nobody wants to know.
impl Progress for () {}

/// A part of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// Reading base and data. One unit.
    Opening,
    /// The base's own features and the head of their class means. One unit.
    MeasuringBase,
    /// Measuring sensitivities. A unit is an image.
    Calibrating {
        /// From 1.
        round: u32,
        /// All of them.
        rounds: u32,
    },
    /// Measuring what other tasks feel. A unit is a task.
    MeasuringCurvature,
    /// Learning, to find out what shall learn. A unit is an optimizer step.
    Searching,
    /// Learning. A unit is an optimizer step.
    Training,
    /// Accuracy of the result, and writing it. One unit.
    Finishing,
}

/// How training goes.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct StepReport {
    /// Steps that were made, this one included.
    pub step: u64,
    /// Steps of the whole run.
    pub total: u64,
    /// Mean loss of the batch.
    pub loss: f64,
    /// Share of the batch that was recognized.
    pub accuracy: f64,
    /// Images per second since the training began or went on.
    pub examples_per_second: f64,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Phase::Opening => f.write_str("opening"),
            Phase::MeasuringBase => f.write_str("measuring base"),
            Phase::Calibrating { round, rounds } => write!(f, "calibrating {round} of {rounds}"),
            Phase::MeasuringCurvature => f.write_str("measuring other tasks"),
            Phase::Searching => f.write_str("searching a mask"),
            Phase::Training => f.write_str("training"),
            Phase::Finishing => f.write_str("finishing"),
        }
    }
}
