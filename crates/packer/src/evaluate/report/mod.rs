//! Tables for readers: means over the seeds, each with its spread, and the same numbers as JSON and as Markdown.

mod methods;
mod questions;

use serde::{Deserialize, Serialize};

use super::ZERO_SHOT;

use super::coefficient::{mean, mean_normalized};
use super::found::Found;
use super::judge::{Outcome, TaskOutcome};
use super::suite::{Column, Suite};
pub(crate) use methods::cost_table;

/// A table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// Short name, for links.
    pub id: String,
    /// Heading.
    pub title: String,
    /// What a reader must know.
    pub note: String,
    /// Headings of the columns, without that of the rows.
    pub columns: Vec<String>,
    /// Rows.
    pub rows: Vec<TableLine>,
}

/// A row of a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TableLine {
    /// Whose.
    pub name: String,
    /// One for each column.
    pub cells: Vec<Cell>,
}

/// A number, or nothing where there is none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// Mean over the seeds; none where nothing was measured.
    pub mean: Option<f64>,
    /// Standard deviation over the seeds (of a sample); none with fewer than two.
    pub spread: Option<f64>,
    /// What it counts.
    pub unit: Unit,
    /// What is worth saying beside the number.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub remark: String,
}

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// A share, shown in percent.
    Share,
    /// A number as it is, with two decimals.
    Number,
    /// Bytes.
    Bytes,
    /// Seconds.
    Seconds,
}

impl Cell {
    /// Mean and spread of one number for each seed that has one; of none, nothing.
    pub(crate) fn of_seeds(values: &[Option<f64>], unit: Unit) -> Cell {
        Cell::of(&values.iter().flatten().copied().collect::<Vec<_>>(), unit)
    }

    /// Mean and spread of one number for each seed; of none, nothing.
    pub fn of(values: &[f64], unit: Unit) -> Cell {
        let spread = (values.len() > 1).then(|| spread(values));
        Cell { mean: (!values.is_empty()).then(|| mean(values)), spread, unit, remark: String::new() }
    }
}

/// Standard deviation of a sample.
pub(crate) fn spread(values: &[f64]) -> f64 {
    let center = mean(values);
    let squares: f64 = values.iter().map(|value| (value - center) * (value - center)).sum();
    (squares / (values.len() as f64 - 1.0).max(1.0)).sqrt()
}

/// As readers see it: `95.1 % ± 0.3`, `64.0 KiB`, `12.3 ms`; `-` for nothing.
impl std::fmt::Display for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Some(mean) = self.mean else {
            return f.write_str(if self.remark.is_empty() { "-" } else { &self.remark });
        };
        let (factor, decimals, unit) = match self.unit {
            Unit::Share => (100.0, 1, " %"),
            Unit::Number => (1.0, 2, ""),
            Unit::Bytes if mean >= 1_048_576.0 => (1.0 / 1_048_576.0, 2, " MiB"),
            Unit::Bytes => (1.0 / 1024.0, 1, " KiB"),
            Unit::Seconds if mean < 1.0 => (1e3, 1, " ms"),
            Unit::Seconds => (1.0, 1, " s"),
        };
        write!(f, "{:.decimals$}", factor * mean)?;
        if let Some(spread) = self.spread {
            write!(f, " \u{b1} {:.decimals$}", factor * spread)?;
        }
        f.write_str(unit)?;
        if self.remark.is_empty() { Ok(()) } else { write!(f, " ({})", self.remark) }
    }
}

/// The number of `column` in this outcome; none where it was not measured.
pub(crate) fn number(column: Column, outcome: &Outcome) -> Option<f64> {
    let of_tasks = |number: fn(&TaskOutcome) -> f64| mean(&outcome.tasks.iter().map(number).collect::<Vec<_>>());
    let chosen: Vec<_> = outcome.negation.iter().filter_map(|negation| negation.chosen).collect();
    let own: Vec<f64> = outcome.tasks.iter().map(|task| task.single).collect();
    let addition = &outcome.addition;
    Some(match column {
        Column::SingleTask => mean(&own),
        Column::Addition => mean(&addition.accuracies),
        Column::AdditionNormalized => mean_normalized(&addition.accuracies, &own),
        Column::AdditionAtOne => mean(&addition.at_one),
        Column::NegationTarget if !chosen.is_empty() => mean(&chosen.iter().map(|at| at.target).collect::<Vec<_>>()),
        Column::NegationControl if !chosen.is_empty() => mean(&chosen.iter().map(|at| at.control).collect::<Vec<_>>()),
        Column::NegationTarget | Column::NegationControl => return None,
        // Of a merge there is one vector, and none was trained.
        Column::AdditionPerTask | Column::Packed | Column::PackBytes | Column::OptimizerBytes
            if outcome.of.is_some() =>
        {
            return None;
        }
        Column::AdditionPerTask => mean(&addition.per_task),
        Column::Packed => of_tasks(|task| task.packed.unwrap_or(0.0)),
        Column::PackBytes => of_tasks(|task| task.pack_bytes as f64),
        Column::OptimizerBytes => of_tasks(|task| task.optimizer_bytes as f64),
    })
}

/// The number of `column` of the row `row`, one for each seed; none where it was not measured.
pub(crate) fn numbers(
    column: Column,
    row: &str,
    control_of_base: Option<f64>,
    outcomes: &[Outcome],
) -> Vec<Option<f64>> {
    if row != ZERO_SHOT {
        return outcomes.iter().filter(|outcome| outcome.row == row).map(|outcome| number(column, outcome)).collect();
    }
    // The base is the same for all methods, but heads and images follow the seed.
    let Some(first) = outcomes.first() else { return Vec::new() };
    let base = |outcome: &Outcome| mean(&outcome.tasks.iter().map(|task| task.base).collect::<Vec<_>>());
    let number = |outcome: &Outcome| match column {
        Column::AdditionNormalized | Column::Packed | Column::PackBytes | Column::OptimizerBytes => None,
        Column::NegationControl => control_of_base,
        Column::NegationTarget if control_of_base.is_none() => None,
        _ => Some(base(outcome)),
    };
    outcomes.iter().filter(|outcome| outcome.row == first.row).map(number).collect()
}

/// Every table of what was measured.
pub(crate) fn tables(suite: &Suite, control_of_base: Option<f64>, found: &Found) -> Vec<Table> {
    let outcomes = &found.outcomes;
    let mut tables = vec![
        methods::main_table(suite, control_of_base, outcomes),
        methods::single_table(suite, outcomes),
        methods::coefficient_table(suite, outcomes),
    ];
    tables.extend(questions::profiles(suite, outcomes));
    tables.extend(questions::analogies(suite, &found.analogies));
    tables.extend(questions::maps(suite, &found.maps));
    tables.extend(questions::localizations(suite, &found.localizations));
    tables
}

fn rows(suite: &Suite) -> impl Iterator<Item = &str> {
    [ZERO_SHOT].into_iter().chain(suite.rows())
}

pub(super) fn seeds_note(suite: &Suite) -> String {
    let seeds: Vec<String> = suite.seeds.iter().map(u64::to_string).collect();
    format!("Mean and standard deviation over seeds {}.", seeds.join(", "))
}

/// What the numbers of a column count.
fn unit(column: Column) -> Unit {
    if column.is_bytes() { Unit::Bytes } else { Unit::Share }
}

#[cfg(test)]
mod tests;
