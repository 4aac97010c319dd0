//! The budget that was typed, and what `--curve` shows of the packs that could have been made.

use std::path::Path;

use taskvec_packer::SecretKey;
use taskvec_packer::budget::{Budget, CurvePoint};
use taskvec_packer::run_folder::write_file;

use crate::args::BudgetTyped;
use crate::picture;
use crate::render::{size, table};

/// Packs that are made for a curve.
pub(super) const CURVE_POINTS: usize = 12;

/// What a pack must keep to; none if nothing was asked for.
pub(super) fn wanted(typed: &BudgetTyped) -> Option<Budget> {
    typed.max_bytes.map(Budget::Bytes).or(typed.max_error.map(Budget::Error))
}

/// Bytes of a budget that are left for the signature of a key.
pub(super) fn reserved(sign: Option<&Path>) -> u64 {
    sign.map_or(0, |_| SecretKey::SIGNATURE_BLOCK_BYTES)
}

/// Draws the curve into `file`, with the pack that was made.
pub(super) fn draw(file: &Path, title: &str, curve: &[CurvePoint], made: CurvePoint) -> anyhow::Result<()> {
    let point = |point: &CurvePoint| (point.pack_bytes as f64, point.error);
    let points: Vec<_> = curve.iter().map(point).collect();
    Ok(write_file(file, picture::curve(title, &points, point(&made)).as_bytes())?)
}

/// The curve for people, below everything else; nothing without one.
pub(super) fn lines(curve: &[CurvePoint]) -> String {
    let row =
        |point: &CurvePoint| vec![size(point.pack_bytes), point.entries.to_string(), format!("{:.4}", point.error)];
    if curve.is_empty() {
        return String::new();
    }
    format!("\n{}", table(&["pack", "entries", "error"], &curve.iter().map(row).collect::<Vec<_>>()))
}
