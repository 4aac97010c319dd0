//! Orderings that somebody claims, held against what was measured.
//!
//! Two rows are compared seed by seed: the difference is the mean of the seeds' differences, the spread their standard deviation.
//! A claim holds if the difference is larger than the spread; three seeds are no more than that much evidence.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::coefficient::mean;
use super::judge::Outcome;
use super::report::{numbers, spread};
use super::suite::{Column, Suite};

/// An ordering, and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Claim {
    /// In words.
    pub claim: String,
    /// The number that was compared.
    pub column: Column,
    /// Row that is claimed to have the higher number.
    pub higher: String,
    /// Row that is claimed to have the lower one.
    pub lower: String,
    /// Mean over the seeds of the higher minus the lower; none where one of them lacks such a number.
    pub difference: Option<f64>,
    /// Standard deviation of these differences; none with fewer than two.
    pub spread: Option<f64>,
    /// Whether the difference is above 0 and above its spread.
    pub holds: bool,
}

pub(crate) fn claims(suite: &Suite, control_of_base: Option<f64>, outcomes: &[Outcome]) -> Vec<Claim> {
    let claim = |check: &super::suite::Check| {
        let of = |row: &str| numbers(check.column, row, control_of_base, outcomes);
        let (difference, spread) = compare(&of(&check.higher), &of(&check.lower));
        Claim {
            claim: check.claim.clone(),
            column: check.column,
            higher: check.higher.clone(),
            lower: check.lower.clone(),
            difference,
            spread,
            holds: difference.is_some_and(|difference| difference > spread.unwrap_or(0.0).max(0.0)),
        }
    };
    suite.checks.iter().map(claim).collect()
}

/// Mean and spread of the differences, seed by seed; none where a seed lacks one of the two numbers.
fn compare(higher: &[Option<f64>], lower: &[Option<f64>]) -> (Option<f64>, Option<f64>) {
    let difference = |(higher, lower): (&Option<f64>, &Option<f64>)| Some((*higher)? - (*lower)?);
    let differences = higher.iter().zip(lower).map(difference).collect::<Option<Vec<f64>>>();
    let Some(differences) = differences.filter(|all| !all.is_empty()) else { return (None, None) };
    (Some(mean(&differences)), (differences.len() > 1).then(|| spread(&differences)))
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.holds { "holds" } else { "does not hold" };
        write!(f, "{}: **{verdict}** ({} above {}", self.claim, self.higher, self.lower)?;
        let (factor, unit) = if self.column.is_bytes() { (1.0, "bytes") } else { (100.0, "points") };
        match (self.difference, self.spread) {
            (Some(difference), Some(spread)) => {
                let within = if difference.abs() <= spread { ", within the spread" } else { "" };
                let (difference, spread) = (factor * difference, factor * spread);
                write!(f, ": difference {difference:+.1} against a spread of {spread:.1} {unit}{within})")
            }
            (Some(difference), None) => write!(f, ": difference {:+.1} {unit}, one seed)", factor * difference),
            (None, _) => f.write_str(": not measured)"),
        }
    }
}
