//! The budget that was typed, and what `--curve` shows of the packs that could have been made.

use std::path::Path;

use taskvec_packer::SecretKey;
use taskvec_packer::budget::{Budget, CurvePoint, Goal, Wanted};
use taskvec_packer::run_folder::write_file;

use crate::args::BudgetTyped;
use crate::picture;
use crate::render::{percent, size, table};

/// Packs that are made for a curve.
const CURVE_POINTS: usize = 12;

/// What a pack that will be signed with `sign` must keep to; none if nothing was asked for.
pub(super) fn wanted(typed: &BudgetTyped, sign: Option<&Path>) -> Option<Wanted> {
    let within = typed.max_bytes.map(Budget::Bytes).or(typed.max_error.map(Budget::Error));
    let goal = within.map(Goal::Within).or(typed.max_accuracy_drop.map(|points| Goal::AccuracyDrop(points / 100.0)))?;
    Some(Wanted {
        goal,
        rescale: typed.rescale,
        reserved: sign.map_or(0, |_| SecretKey::SIGNATURE_BLOCK_BYTES),
        curve_points: if typed.curve.is_some() { CURVE_POINTS } else { 0 },
    })
}

/// Draws the curve into `file`, with the pack that was made.
pub(super) fn draw(file: &Path, title: &str, curve: &[CurvePoint], made: CurvePoint) -> anyhow::Result<()> {
    Ok(write_file(file, picture::curve(title, curve, made).as_bytes())?)
}

/// The curve for people, below everything else; nothing without one.
pub(super) fn lines(curve: &[CurvePoint]) -> String {
    let accuracy = |point: &CurvePoint| point.accuracy.map_or_else(|| "-".to_owned(), percent);
    let row = |point: &CurvePoint| {
        vec![size(point.pack_bytes), point.entries.to_string(), format!("{:.4}", point.error), accuracy(point)]
    };
    if curve.is_empty() {
        return String::new();
    }
    format!("\n{}", table(&["pack", "entries", "error", "held out"], &curve.iter().map(row).collect::<Vec<_>>()))
}
