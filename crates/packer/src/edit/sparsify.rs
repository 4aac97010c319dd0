//! Which deltas of one tensor of one model stay, and how these are scaled.
//!
//! Of equal magnitudes the first comes first. Of a tensor that has elements and a density above 0, at least one stays, however
//! small the tensor is; without that rule a bias of five numbers would vanish at a density of a tenth.

use super::method::Sparsifier;
use super::settings::{EPSILON, GAMMA, MergeParameters, NamedRescale, Rescale};
use crate::random::Random;

/// Leaves out what does not stay of `deltas`, a tensor whose rows are `row` elements long, and scales the rest.
pub(super) fn sparsify(
    deltas: &mut [f32],
    row: usize,
    how: Sparsifier,
    parameters: &MergeParameters,
    rescale: Rescale,
    random: &mut Random,
) {
    let density = parameters.density.unwrap_or(1.0);
    if density >= 1.0 || deltas.is_empty() {
        return;
    }
    let before = magnitude(deltas);
    if density <= 0.0 {
        deltas.fill(0.0);
        return;
    }
    match how {
        Sparsifier::Largest => {
            let count = ((density * deltas.len() as f64) as usize).max(1);
            keep(deltas, |order| order.len() - count..order.len());
        }
        Sparsifier::Middle => {
            let share = |share: f64| (share * deltas.len() as f64) as usize;
            let (count, largest) = (share(density).max(1), share(parameters.gamma.unwrap_or(GAMMA)));
            // Fewer of the largest go where there would not be enough left.
            let smallest = deltas.len().saturating_sub(count + largest);
            keep(deltas, |_| smallest..smallest + count);
        }
        Sparsifier::Random => {
            deltas.iter_mut().for_each(|delta| drop_unless(delta, random.uniform_f64() < density));
        }
        Sparsifier::ByRank => {
            let epsilon = parameters.epsilon.unwrap_or(EPSILON);
            for row in deltas.chunks_mut(row.max(1)) {
                let last = (row.len() - 1).max(1) as f64;
                for (rank, at) in by_magnitude(row).into_iter().enumerate() {
                    let chance = density - epsilon + 2.0 * epsilon * rank as f64 / last;
                    drop_unless(&mut row[at], random.uniform_f64() < chance);
                }
            }
        }
    }
    let factor = match rescale {
        Rescale::Magnitudes(false) => return,
        Rescale::Named(NamedRescale::Unbiased) => 1.0 / density,
        Rescale::Magnitudes(true) | Rescale::Named(NamedRescale::L1) => {
            let after = magnitude(deltas);
            // Nothing to speak of stays nothing to speak of.
            if before < 1e-7 || after < 1e-7 {
                return;
            }
            before / after
        }
    };
    deltas.iter_mut().for_each(|delta| *delta = (f64::from(*delta) * factor) as f32);
}

/// Leaves those that stand in this range in the order of their magnitudes.
fn keep(deltas: &mut [f32], range: impl Fn(&[usize]) -> std::ops::Range<usize>) {
    let order = by_magnitude(deltas);
    let range = range(&order);
    for at in order[..range.start].iter().chain(&order[range.end..]) {
        deltas[*at] = 0.0;
    }
}

/// Places by magnitude, the smallest first.
fn by_magnitude(deltas: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..deltas.len()).collect();
    order.sort_by(|a, b| deltas[*a].abs().total_cmp(&deltas[*b].abs()).then(b.cmp(a)));
    order
}

fn drop_unless(delta: &mut f32, stays: bool) {
    if !stays {
        *delta = 0.0;
    }
}

fn magnitude(deltas: &[f32]) -> f64 {
    deltas.iter().map(|delta| f64::from(delta.abs())).sum()
}
