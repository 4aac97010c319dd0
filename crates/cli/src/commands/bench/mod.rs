//! `taskvec bench [packs] [runtime] [train]`: measures each claim beside its alternative, in one run on one machine.
//!
//! A row says what was done, what it cost us, what it costs the alternative, the ratio of the two, and the goal that the
//! ratio shall not exceed. `--json` prints an array of the rows. What cannot be measured here (a tool or a library is
//! missing) is named on stderr and left out. The exit code is 3 when a goal is missed.

mod images;
mod memory;
mod packs;
mod runtime;
mod train;

use anyhow::Context;
use serde::Serialize;

use super::Outcome;
use crate::args::{Bench, BenchPart};
use crate::render;

/// One measurement beside its alternative.
#[derive(Serialize)]
pub(super) struct Row {
    /// What was done, and beside what.
    work: String,
    /// What it cost us.
    ours: f64,
    /// What the alternative costs.
    beside: f64,
    /// Of both.
    unit: &'static str,
    /// Ours divided by the alternative's.
    ratio: f64,
    /// Largest ratio that is wanted.
    goal: f64,
    /// Whether the ratio is within the goal.
    holds: bool,
}

impl Row {
    pub(super) fn new(work: impl Into<String>, ours: f64, beside: f64, unit: &'static str, goal: f64) -> Self {
        let ratio = ours / beside;
        Self { work: work.into(), ours, beside, unit, ratio, goal, holds: ratio <= goal }
    }
}

pub(crate) fn run(typed: &Bench, json: bool) -> anyhow::Result<Outcome> {
    let mut rows = Vec::new();
    for part in &typed.parts {
        rows.extend(match part {
            BenchPart::Packs => {
                let mut rows = packs::rows().context("measure packs")?;
                rows.extend(memory::rows().context("measure memory")?);
                rows
            }
            BenchPart::Runtime => runtime::rows(typed.onnxruntime.as_deref()).context("measure the runtime")?,
            BenchPart::Train => train::rows(typed.python.as_deref()).context("measure training")?,
        });
    }
    render::result(json, &rows, |rows| table(rows))?;
    Ok(if rows.iter().all(|row| row.holds) { Outcome::Done } else { Outcome::DoneWithWarnings })
}

fn table(rows: &[Row]) -> String {
    let number = |value: f64| if value >= 1000.0 { format!("{value:.0}") } else { format!("{value:.2}") };
    let cells = |row: &Row| {
        vec![
            row.work.clone(),
            number(row.ours),
            number(row.beside),
            row.unit.to_owned(),
            format!("{:.3}", row.ratio),
            format!("{:.2}", row.goal),
            if row.holds { "yes" } else { "NO" }.to_owned(),
        ]
    };
    let rows: Vec<_> = rows.iter().map(cells).collect();
    render::table(&["work, beside", "ours", "beside", "unit", "ratio", "goal", "holds"], &rows)
}

/// The middle of several measurements.
pub(super) fn median(mut measured: Vec<f64>) -> f64 {
    measured.sort_by(f64::total_cmp);
    measured.get(measured.len() / 2).copied().unwrap_or(f64::NAN)
}
