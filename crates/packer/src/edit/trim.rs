//! The largest deltas of a whole model: TIES as published (Yadav et al. 2023) trims over all tensors at once, so that one that hardly
//! changed may lose everything, where trimming tensor by tensor keeps a share of each.
//!
//! The k-th magnitude is found by counting, 16 bits at a time: magnitudes of f32 are in the order of their bits, and two passes over the
//! models see all of them. A third counts those at the threshold itself, tensor by tensor, so that exactly k stay: of equal magnitudes
//! the first comes first. Beside a tensor of each model, half a mebibyte for each model is in memory.

use super::models::MergeModels;
use crate::error::Result;

/// Values of half a pattern.
const HALVES: usize = 1 << 16;

/// Which deltas of a model stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trim {
    /// Bits of the magnitude from which on deltas stay.
    threshold: u32,
    /// How many at the threshold stay, for each tensor.
    at_threshold: Vec<u64>,
}

impl Trim {
    /// For each model the share `densities` of all its deltas, and at least one.
    ///
    /// # Errors
    /// `Io` when a file cannot be read any more.
    pub(super) fn of(models: &dyn MergeModels, densities: &[f64]) -> Result<Vec<Trim>> {
        let all: u64 = models.tensors().iter().map(|tensor| tensor.shape.iter().product::<usize>() as u64).sum();
        let mut left: Vec<u64> = densities.iter().map(|density| kept(*density, all)).collect();
        let mut counts = vec![vec![0u64; HALVES]; densities.len()];
        each_model(models, |model, _, deltas| {
            deltas.iter().for_each(|delta| counts[model][(magnitude(*delta) >> 16) as usize] += 1);
        })?;
        let above: Vec<u32> = counts.iter().zip(&mut left).map(|(counts, left)| boundary(counts, left)).collect();
        counts.iter_mut().for_each(|counts| counts.fill(0));
        each_model(models, |model, _, deltas| {
            let near = deltas.iter().map(|delta| magnitude(*delta)).filter(|bits| bits >> 16 == above[model]);
            near.for_each(|bits| counts[model][(bits & 0xFFFF) as usize] += 1);
        })?;
        let below: Vec<u32> = counts.iter().zip(&mut left).map(|(counts, left)| boundary(counts, left)).collect();
        let threshold = |(above, below): (&u32, &u32)| above << 16 | below;
        let mut trims: Vec<Trim> = above
            .iter()
            .zip(&below)
            .map(threshold)
            .map(|threshold| Trim { threshold, at_threshold: Vec::new() })
            .collect();
        each_model(models, |model, _, deltas| {
            let trim = &mut trims[model];
            let equal = deltas.iter().filter(|delta| magnitude(**delta) == trim.threshold).count() as u64;
            trim.at_threshold.push(equal.min(left[model]));
            left[model] -= equal.min(left[model]);
        })?;
        Ok(trims)
    }

    /// Leaves what stays of the deltas in the tensor at this place.
    pub(super) fn apply(&self, tensor: usize, deltas: &mut [f32]) {
        let mut left = self.at_threshold[tensor];
        for delta in deltas {
            let bits = magnitude(*delta);
            let is_in = bits > self.threshold || bits == self.threshold && left > 0;
            left -= u64::from(is_in && bits == self.threshold);
            *delta = if is_in { *delta } else { 0.0 };
        }
    }
}

/// How many of `all` stay.
fn kept(density: f64, all: u64) -> u64 {
    if density <= 0.0 { 0 } else { ((density * all as f64) as u64).clamp(1, all.max(1)) }
}

fn magnitude(delta: f32) -> u32 {
    delta.abs().to_bits()
}

/// The highest value at which no more than `left` are above it; they are taken off.
fn boundary(counts: &[u64], left: &mut u64) -> u32 {
    let mut at = counts.len() - 1;
    while at > 0 && counts[at] <= *left {
        *left -= counts[at];
        at -= 1;
    }
    at as u32
}

fn each_model(models: &dyn MergeModels, mut visit: impl FnMut(usize, usize, &[f32])) -> Result<()> {
    for at in 0..models.tensors().len() {
        let base = models.base(at)?;
        for model in 0..models.model_count() {
            visit(model, at, &models.deltas(model, at, &base)?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edit::{ModelsInMemory, TensorInMemory};
    use crate::random::Random;

    fn models<'a>(one: &'a [Vec<f32>], two: &'a [Vec<f32>], shapes: &'a [[usize; 1]]) -> ModelsInMemory<'a> {
        let tensor = |at: usize| TensorInMemory {
            name: "tensor",
            shape: &shapes[at],
            base: &one[at],
            deltas: vec![&one[at], &two[at]],
        };
        ModelsInMemory::new((0..one.len()).map(tensor).collect()).unwrap()
    }

    /// By sorting; few different numbers, so that many are equal.
    #[test]
    fn counting_keeps_what_sorting_keeps() {
        let shapes = [[50], [1], [200]];
        let numbers = |seed: u64| -> Vec<Vec<f32>> {
            let mut random = Random::new(seed, "trim");
            let mut tensor = |count: usize| (0..count).map(|_| (random.below(40) as f32 - 20.0) / 16.0).collect();
            shapes.iter().map(|[count]| tensor(*count)).collect()
        };
        for seed in 0..10 {
            let both = [numbers(seed), numbers(seed + 100)];
            for density in [0.0, 0.001, 0.1, 0.5, 0.93, 1.0] {
                let trims = Trim::of(&models(&both[0], &both[1], &shapes), &[density, 0.3]).unwrap();
                for (trim, (numbers, density)) in trims.iter().zip(both.iter().zip([density, 0.3])) {
                    let all: Vec<f32> = numbers.iter().flatten().copied().collect();
                    let mut order: Vec<usize> = (0..all.len()).collect();
                    order.sort_by(|a, b| all[*b].abs().total_cmp(&all[*a].abs()).then(a.cmp(b)));
                    let mut expected = vec![0.0; all.len()];
                    order.iter().take(kept(density, 251) as usize).for_each(|at| expected[*at] = all[*at]);
                    let mut found = numbers.clone();
                    found.iter_mut().enumerate().for_each(|(at, deltas)| trim.apply(at, deltas));
                    assert_eq!(found.concat(), expected, "seed {seed}, density {density}");
                }
            }
        }
    }
}
