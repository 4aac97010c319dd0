//! The tables that every suite has: methods, each task's own model, coefficients, costs.

use std::fmt::Write as _;

use super::{Cell, Table, TableLine, Unit, numbers, rows, seeds_note, unit};
use crate::evaluate::ZERO_SHOT;
use crate::evaluate::coefficient::mean;
use crate::evaluate::judge::Outcome;
use crate::evaluate::runs::RunCost;
use crate::evaluate::suite::{Column, Suite};

/// A row for each method, the numbers that papers print.
pub(super) fn main_table(suite: &Suite, control_of_base: Option<f64>, outcomes: &[Outcome]) -> Table {
    let is_asked = |column: &Column| {
        suite.control.is_some() || !matches!(column, Column::NegationTarget | Column::NegationControl)
    };
    let columns: Vec<Column> = Column::ALL.into_iter().filter(is_asked).collect();
    let row = |row: &str| {
        let cells = columns.iter().map(|column| {
            let mut cell = Cell::of_seeds(&numbers(*column, row, control_of_base, outcomes), unit(*column));
            if *column == Column::NegationTarget {
                cell.remark = none_qualified(row, outcomes);
            }
            cell
        });
        TableLine { name: row.to_owned(), cells: cells.collect() }
    };
    let mut note = seeds_note(suite);
    note.push_str(
        " Accuracies are of test images and means over the tasks; coefficients were chosen on held-out images. Normalized is \
         accuracy divided by that of the task's own model: it flatters methods whose own models are weak, so read it beside \
         `single task`.",
    );
    if let Some(control) = &suite.control {
        let _ = write!(
            note,
            " Negation takes each task away by the coefficient with the lowest accuracy on the task among those that keep {} % \
             of the base's accuracy on the control.",
            100.0 * control.threshold
        );
    }
    Table {
        id: "methods".to_owned(),
        title: "Methods".to_owned(),
        note,
        columns: columns.iter().map(|column| column.title().to_owned()).collect(),
        rows: rows(suite).map(row).collect(),
    }
}

/// Says it where the rule of negation took no coefficient.
fn none_qualified(row: &str, outcomes: &[Outcome]) -> String {
    let of_row = || outcomes.iter().filter(|outcome| outcome.row == row).flat_map(|outcome| &outcome.negation);
    let none = of_row().filter(|negation| negation.chosen.is_none()).count();
    if none == 0 {
        String::new()
    } else {
        format!("no coefficient keeps the control in {none} of {}", of_row().count())
    }
}

/// Each task's own model, and the base.
pub(super) fn single_table(suite: &Suite, outcomes: &[Outcome]) -> Table {
    let tasks: Vec<&str> = suite.merged_tasks().map(|(name, _)| name).collect();
    let row = |row: &str| {
        let cells = (0..tasks.len()).map(|task| {
            let of_base = row == ZERO_SHOT;
            let shown = if of_base { outcomes.first().map_or(row, |first| first.row.as_str()) } else { row };
            let accuracies = outcomes.iter().filter(|outcome| outcome.row == shown).map(|outcome| {
                let task = &outcome.tasks[task];
                if of_base { task.base } else { task.single }
            });
            Cell::of(&accuracies.collect::<Vec<_>>(), Unit::Share)
        });
        TableLine { name: row.to_owned(), cells: cells.collect() }
    };
    let images = outcomes.first().map(|first| {
        first
            .tasks
            .iter()
            .map(|task| {
                let [train, search, test] = task.images;
                format!("{} {train} / {search} / {test}", task.task)
            })
            .collect::<Vec<_>>()
            .join(", ")
    });
    Table {
        id: "single".to_owned(),
        title: "Each task's own model".to_owned(),
        note: format!(
            "{} Images to learn from / to choose coefficients / to judge: {}.",
            seeds_note(suite),
            images.unwrap_or_default()
        ),
        columns: tasks.iter().map(|task| (*task).to_owned()).collect(),
        rows: [ZERO_SHOT].into_iter().chain(suite.methods.names()).map(row).collect(),
    }
}

/// What was chosen.
pub(super) fn coefficient_table(suite: &Suite, outcomes: &[Outcome]) -> Table {
    let tasks: Vec<&str> = suite.merged_tasks().map(|(name, _)| name).collect();
    let row = |row: &str| {
        let of_row = || outcomes.iter().filter(|outcome| outcome.row == row);
        let shared: Vec<f64> = of_row().map(|outcome| outcome.addition.alpha).collect();
        let own = (0..tasks.len()).map(|task| {
            of_row().filter_map(|outcome| outcome.addition.alphas.get(task).copied()).collect::<Vec<f64>>()
        });
        let cells = [shared].into_iter().chain(own).map(|values| Cell::of(&values, Unit::Number));
        TableLine { name: row.to_owned(), cells: cells.collect() }
    };
    Table {
        id: "coefficients".to_owned(),
        title: "Coefficients of the sum".to_owned(),
        note: format!(
            "{} `shared` is one for all tasks, of {} tried; the others are a coefficient for each task, from the shared one on, each \
             moved in turn where that helps.",
            seeds_note(suite),
            suite.alphas.points
        ),
        columns: ["shared"].into_iter().chain(tasks.iter().copied()).map(str::to_owned).collect(),
        rows: suite.rows().map(row).collect(),
    }
}

/// What runs cost.
pub(crate) fn cost_table(suite: &Suite, runs: &[RunCost]) -> Table {
    let row = |method: &str| {
        let of_seed = |number: &dyn Fn(&[&RunCost]) -> Option<f64>| {
            let of_seed = |seed: &u64| {
                let runs: Vec<&RunCost> = runs.iter().filter(|run| run.method == method && run.seed == *seed).collect();
                number(&runs)
            };
            suite.seeds.iter().filter_map(of_seed).collect::<Vec<f64>>()
        };
        let seconds =
            of_seed(&|runs| Some(mean(&runs.iter().map(|run| run.cost.seconds_per_step).collect::<Vec<_>>())));
        let peak = of_seed(&|runs| runs.iter().filter_map(|run| run.cost.peak_bytes).max().map(|bytes| bytes as f64));
        TableLine {
            name: method.to_owned(),
            cells: vec![Cell::of(&seconds, Unit::Seconds), Cell::of(&peak, Unit::Bytes)],
        }
    };
    Table {
        id: "costs".to_owned(),
        title: "What training costs".to_owned(),
        note: format!(
            "{} Measured on the machine that made this page. Memory is the most that the process had in a run, program and images \
             and all.",
            seeds_note(suite)
        ),
        columns: ["seconds per step", "peak memory"].map(str::to_owned).to_vec(),
        rows: suite.methods.names().map(row).collect(),
    }
}
