//! AdamW whose memory grows with the mask and not with the network.
//!
//! Loshchilov and Hutter, "Decoupled weight decay regularization" (2019), algorithm 2, in the order of operations of
//! PyTorch. Only entries in the mask have moments, packed one after the other in the order of their indices; the step
//! of an entry depends on nothing but that entry, so packing changes no bit: what a dense AdamW with a 0/1 factor on
//! its step (the published way) would leave in those entries is what is left here. Entries outside are never touched, not
//! even by the decay. What couples entries is the clip norm alone, and whose norm that is stands in the recipe.
//!
//! Everything is f32 in a fixed order but for the norm and the factors of a step, which are f64: the same bits on any
//! number of threads.

use crate::mask::Entries;
use crate::recipe::{OptimizerRecipe, Schedule};

/// Mean and mean square of the gradients of the entries of one tensor.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moments {
    /// Decaying mean of the gradients, one for each entry.
    pub mean: Vec<f32>,
    /// Decaying mean of their squares.
    pub square: Vec<f32>,
}

/// What a step multiplies by, the same for all entries of a tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepFactors {
    shrink: f32,
    scale: f32,
    beta1: f32,
    rest1: f32,
    beta2: f32,
    rest2: f32,
    rate: f32,
    root: f32,
    epsilon: f32,
}

impl Moments {
    /// What a run of `count` entries begins with.
    pub fn zeros(count: usize) -> Moments {
        Moments { mean: vec![0.0; count], square: vec![0.0; count] }
    }

    /// One step: `weights` are those of the whole tensor, `gradients` those of its entries only.
    pub fn step(&mut self, factors: &StepFactors, weights: &mut [f32], entries: &Entries, gradients: &[f32]) {
        let moments = self.mean.iter_mut().zip(&mut self.square).zip(gradients);
        match entries {
            Entries::None => {}
            Entries::All => {
                for (weight, ((mean, square), gradient)) in weights.iter_mut().zip(moments) {
                    factors.apply(weight, *gradient, mean, square);
                }
            }
            Entries::Some(indices) => {
                for (index, ((mean, square), gradient)) in indices.iter().zip(moments) {
                    factors.apply(&mut weights[*index as usize], *gradient, mean, square);
                }
            }
        }
    }
}

impl StepFactors {
    /// The factors of step `step` (from zero) at this learning rate. `decay` is the weight decay of the tensor, and
    /// `scale` what [`clip_scale`] said.
    pub fn new(recipe: &OptimizerRecipe, step: u64, rate: f64, decay: f64, scale: f64) -> StepFactors {
        let power = step.saturating_add(1) as f64;
        let correction1 = 1.0 - libm::pow(recipe.beta1, power);
        let correction2 = 1.0 - libm::pow(recipe.beta2, power);
        StepFactors {
            shrink: (1.0 - rate * decay) as f32,
            scale: scale as f32,
            beta1: recipe.beta1 as f32,
            rest1: (1.0 - recipe.beta1) as f32,
            beta2: recipe.beta2 as f32,
            rest2: (1.0 - recipe.beta2) as f32,
            rate: (rate / correction1) as f32,
            root: correction2.sqrt() as f32,
            epsilon: recipe.epsilon as f32,
        }
    }

    #[inline(always)]
    fn apply(&self, weight: &mut f32, gradient: f32, mean: &mut f32, square: &mut f32) {
        let gradient = gradient * self.scale;
        *weight *= self.shrink;
        *mean = self.beta1 * *mean + self.rest1 * gradient;
        *square = self.beta2 * *square + self.rest2 * (gradient * gradient);
        *weight -= self.rate * (*mean / (square.sqrt() / self.root + self.epsilon));
    }
}

/// Learning rate of step `step` (from zero) of `total`: linear warm-up, then the schedule.
pub fn learning_rate(recipe: &OptimizerRecipe, peak: f64, step: u64, total: u64) -> f64 {
    let warmup = recipe.warmup_steps;
    if step < warmup {
        return peak * (step + 1) as f64 / warmup as f64;
    }
    match recipe.schedule {
        Schedule::Constant => peak,
        Schedule::Cosine => {
            let share = (step - warmup) as f64 / total.saturating_sub(warmup).max(1) as f64;
            peak * 0.5 * (1.0 + libm::cos(std::f64::consts::PI * share.min(1.0)))
        }
    }
}

/// Factor on the gradients so that their norm, whose square is `squared_norm`, stays within `largest`.
pub fn clip_scale(squared_norm: f64, largest: Option<f64>) -> f64 {
    match largest {
        Some(largest) if squared_norm > largest * largest => largest / squared_norm.sqrt(),
        _ => 1.0,
    }
}

/// Sum of squares, in an order that does not depend on the machine and that vector instructions can follow.
pub fn squared_norm(values: &[f32]) -> f64 {
    const LANES: usize = 16;
    let mut sums = [0.0f64; LANES];
    let chunks = values.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum += f64::from(*value) * f64::from(*value);
        }
    }
    for (sum, value) in sums.iter_mut().zip(rest) {
        *sum += f64::from(*value) * f64::from(*value);
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn recipe() -> OptimizerRecipe {
        OptimizerRecipe { weight_decay: 0.1, ..OptimizerRecipe::default() }
    }

    fn normals(random: &mut Random, count: usize) -> Vec<f32> {
        (0..count).map(|_| random.normal()).collect()
    }

    /// AdamW as in the published code: dense moments fed with all gradients, and a 0/1 factor on step and decay.
    struct Dense {
        mean: Vec<f32>,
        square: Vec<f32>,
    }

    impl Dense {
        fn step(&mut self, step: u64, rate: f64, scale: f32, mask: &[bool], weights: &mut [f32], gradients: &[f32]) {
            let recipe = recipe();
            let bias1 = 1.0 - libm::pow(recipe.beta1, (step + 1) as f64);
            let bias2 = 1.0 - libm::pow(recipe.beta2, (step + 1) as f64);
            for index in 0..weights.len() {
                let gradient = gradients[index] * scale;
                self.mean[index] = recipe.beta1 as f32 * self.mean[index] + (1.0 - recipe.beta1) as f32 * gradient;
                let squared = gradient * gradient;
                self.square[index] = recipe.beta2 as f32 * self.square[index] + (1.0 - recipe.beta2) as f32 * squared;
                if mask[index] {
                    let decayed = weights[index] * (1.0 - rate * recipe.weight_decay) as f32;
                    let root = self.square[index].sqrt() / bias2.sqrt() as f32 + recipe.epsilon as f32;
                    weights[index] = decayed - (rate / bias1) as f32 * (self.mean[index] / root);
                }
            }
        }
    }

    #[test]
    fn packed_moments_leave_the_bits_of_a_masked_dense_adamw() {
        let count = 500;
        let mut random = Random::new(1, "optimizer");
        let start = normals(&mut random, count);
        for share in [0.0, 0.1, 0.5, 1.0] {
            let mask: Vec<bool> = (0..count).map(|_| random.uniform() < share).collect();
            let indices: Vec<u32> = (0..count as u32).filter(|&index| mask[index as usize]).collect();
            let entries = if share == 1.0 { Entries::All } else { Entries::Some(indices.clone().into()) };
            let mut packed = Moments::zeros(indices.len());
            let mut dense = Dense { mean: vec![0.0; count], square: vec![0.0; count] };
            let (mut ours, mut theirs) = (start.clone(), start.clone());
            for step in 0..20 {
                let gradients = normals(&mut random, count);
                // The published code's clip norm is over all gradients.
                let scale = clip_scale(squared_norm(&gradients), Some(1.0));
                let rate = learning_rate(&recipe(), 1e-2, step, 20);
                let factors = StepFactors::new(&recipe(), step, rate, recipe().weight_decay, scale);
                packed.step(&factors, &mut ours, &entries, &entries.pack(gradients.clone()));
                dense.step(step, rate, scale as f32, &mask, &mut theirs, &gradients);
            }
            for index in 0..count {
                assert_eq!(ours[index].to_bits(), theirs[index].to_bits(), "share {share}, entry {index}");
                assert_eq!(mask[index], ours[index] != start[index], "share {share}, entry {index}");
            }
            let kept: Vec<f32> = entries.pack(dense.mean);
            assert_eq!(packed.mean, kept);
            assert_eq!(packed.mean.len() + packed.square.len(), 2 * indices.len());
        }
    }

    #[test]
    fn two_steps_equal_those_computed_by_hand() {
        let mut weights = [1.0f32, -2.0];
        let mut moments = Moments::zeros(2);
        let mut exact = [1.0f64, -2.0];
        let (mut mean, mut square) = ([0.0f64; 2], [0.0f64; 2]);
        for (step, gradients) in [[0.5f32, -3.0], [-0.1, 1.0]].into_iter().enumerate() {
            let factors = StepFactors::new(&recipe(), step as u64, 0.01, 0.1, 1.0);
            moments.step(&factors, &mut weights, &Entries::All, &gradients);
            for index in 0..2 {
                let gradient = f64::from(gradients[index]);
                mean[index] = 0.9 * mean[index] + 0.1 * gradient;
                square[index] = 0.999 * square[index] + 0.001 * gradient * gradient;
                let mean = mean[index] / (1.0 - 0.9f64.powi(step as i32 + 1));
                let square = square[index] / (1.0 - 0.999f64.powi(step as i32 + 1));
                exact[index] = exact[index] * (1.0 - 0.01 * 0.1) - 0.01 * mean / (square.sqrt() + 1e-8);
            }
        }
        for (ours, exact) in weights.iter().zip(exact) {
            assert!((f64::from(*ours) - exact).abs() < 1e-6, "{ours} {exact}");
        }
    }

    #[test]
    fn the_rate_climbs_then_falls_to_nothing() {
        let recipe = OptimizerRecipe { warmup_steps: 10, ..OptimizerRecipe::default() };
        let rates: Vec<f64> = (0..100).map(|step| learning_rate(&recipe, 2.0, step, 100)).collect();
        assert!(rates[..10].is_sorted() && rates[10..].is_sorted_by(|a, b| a > b));
        assert_eq!((rates[0], rates[9], rates[10]), (0.2, 2.0, 2.0));
        assert!(rates[99] < 0.001);
        let constant = OptimizerRecipe { schedule: Schedule::Constant, ..recipe };
        assert_eq!(learning_rate(&constant, 2.0, 99, 100), 2.0);
        assert_eq!(learning_rate(&OptimizerRecipe { warmup_steps: 0, ..constant }, 2.0, 0, 1), 2.0);
    }

    #[test]
    fn clipping_scales_to_the_norm_and_only_down() {
        assert_eq!(squared_norm(&[3.0; 4]), 36.0);
        let values: Vec<f32> = (0..1000).map(|value| value as f32).collect();
        assert_eq!(squared_norm(&values), 332_833_500.0);
        assert_eq!(clip_scale(36.0, Some(1.5)), 0.25);
        assert_eq!(clip_scale(36.0, Some(7.0)), 1.0);
        assert_eq!(clip_scale(36.0, None), 1.0);
    }
}
