//! A gate for each tensor (TAPS, task adaptive parameter sharing; Wallingford et al., CVPR 2022).
//!
//! A tensor is `base + 1[gate >= threshold] * delta`, and both learn: the delta as usual while its gate is open, the gate by the slope
//! that the indicator would have if it were the identity (straight through), which is the gradient along the delta. A penalty of the
//! gates' mean absolute value pulls all of them shut; those stay open whose delta is worth it. Which tensors a task needs is the
//! result, and a pack has nothing at all for the others.
//!
//! As published: gates begin at 0.15 and are shut below 0.1; the penalty starts after a fifteenth of the run (2 epochs of 30).
//! Different, on purpose: a gate has a rate of its own, because AdamW moves every number by about its rate and not by its slope;
//! nothing decays a gate; and the optimizer steps after every batch (the published code steps after each eighth).

use std::sync::Arc;

use super::learner::{Form, Learner, Pace, Part, Pulled, Role};
use super::leaves::HostTensor;
use crate::mask::Entries;
use crate::recipe::TapsRecipe;

/// A delta with one gate.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Gated {
    threshold: f32,
    /// On this gate alone: its share of the mean.
    penalty: f64,
    /// Share of the run before the penalty.
    warmup_share: f64,
}

/// `tensor`, one of `count`, with a delta that is zero so far.
pub(crate) fn learner(tensor: &HostTensor, recipe: &TapsRecipe, count: usize) -> Learner {
    let delta = Part::new(Role::Delta, tensor.shape.clone(), Entries::All, vec![0.0; tensor.values.len()]);
    let mut gate = Part::new(Role::TensorGate, vec![1], Entries::All, vec![recipe.gate as f32]);
    gate.pace = Pace::Scheduled(recipe.gate_learning_rate);
    let form = Form::Gated(Gated {
        threshold: recipe.threshold as f32,
        penalty: recipe.penalty / count.max(1) as f64,
        warmup_share: recipe.warmup_share,
    });
    let base = Arc::from(tensor.values.as_slice());
    Learner::formed(tensor.name.clone(), tensor.shape.clone(), base, form, vec![delta, gate])
}

impl Gated {
    /// Whether the tensor differs from the base.
    pub(crate) fn is_open(&self, parts: &[Part]) -> bool {
        parts[1].values[0] >= self.threshold
    }

    /// The delta, or zeros.
    pub(crate) fn delta(&self, parts: &[Part]) -> Vec<f32> {
        if self.is_open(parts) { parts[0].values.clone() } else { vec![0.0; parts[0].values.len()] }
    }

    /// The gradients of delta and gate, when this share of the run is done.
    pub(crate) fn pull_back(&self, parts: &[Part], gradient: Vec<f32>, share: f64) -> Pulled {
        let gate = f64::from(parts[1].values[0]);
        let along = gradient.iter().zip(&parts[0].values).map(|(gradient, delta)| gradient * delta).map(f64::from);
        let mut of_gate: f64 = along.sum();
        let mut penalty = 0.0;
        if share >= self.warmup_share {
            penalty = self.penalty * gate.abs();
            of_gate += if gate == 0.0 { 0.0 } else { self.penalty * gate.signum() };
        }
        let of_delta = if self.is_open(parts) { gradient } else { vec![0.0; gradient.len()] };
        Pulled { gradients: vec![of_delta, vec![of_gate as f32]], penalty: Some(penalty) }
    }
}

#[cfg(test)]
mod tests {
    use burn::module::ParamId;

    use super::*;
    use crate::recipe::OptimizerRecipe;

    const BASE: [f32; 3] = [1.0, -2.0, 0.5];

    fn gated(recipe: &TapsRecipe) -> Learner {
        let tensor = HostTensor { name: "w".to_owned(), id: ParamId::new(), shape: vec![3], values: BASE.to_vec() };
        learner(&tensor, recipe, 4)
    }

    #[test]
    fn the_gradient_of_a_gate_is_the_slope_along_the_delta_and_the_penalty() {
        let recipe = TapsRecipe { penalty: 2.0, warmup_share: 0.5, ..TapsRecipe::default() };
        let mut learner = gated(&recipe);
        let delta = [0.25_f32, 1.5, -1.0];
        learner.parts[0].values = delta.to_vec();
        let direction = [3.0_f32, -1.0, 2.0];
        // As if the indicator were the identity: `sum of direction * (base + gate * delta)^2`, in f64, at gate 1.
        let value = |gate: f64, deltas: &[f64]| -> f64 {
            let tensor = BASE.iter().zip(deltas).map(|(base, delta)| f64::from(*base) + gate * delta);
            direction.iter().zip(tensor).map(|(by, value)| f64::from(*by) * value * value).sum()
        };
        let tensor = learner.in_full().into_owned();
        let gradient: Vec<f32> = direction.iter().zip(&tensor).map(|(by, value)| 2.0 * by * value).collect();
        let deltas: Vec<f64> = delta.iter().map(|delta| f64::from(*delta)).collect();
        let slope = |change: &dyn Fn(f64) -> f64| (change(1e-5) - change(-1e-5)) / 2e-5;
        for (share, penalty) in [(0.2, 0.0), (0.7, 2.0 / 4.0)] {
            let (found, _) = learner.pull_back(gradient.clone(), false, share);
            let of_gate = slope(&|by| value(1.0 + by, &deltas)) + penalty;
            assert!((f64::from(found.gradients[1][0]) - of_gate).abs() < 1e-4, "{found:?}, slope {of_gate}");
            assert!((found.penalty.unwrap() - penalty * 0.15).abs() < 1e-6);
            for at in 0..3 {
                let moved = |by: f64| {
                    let mut deltas = deltas.clone();
                    deltas[at] += by;
                    value(1.0, &deltas)
                };
                assert!((f64::from(found.gradients[0][at]) - slope(&moved)).abs() < 1e-4, "{found:?}");
            }
        }
        learner.parts[1].values[0] = 0.05;
        let (found, _) = learner.pull_back(gradient, false, 0.0);
        assert_eq!((&*learner.in_full(), &found.gradients[0][..]), (&BASE[..], &[0.0; 3][..]));
        assert!(found.gradients[1][0] != 0.0, "a gate that is shut can open again");
    }

    /// On a loss that wants one delta and does not see the other.
    #[test]
    fn the_gate_of_a_useless_delta_shuts_and_that_of_a_useful_one_stays_open() {
        let recipe = TapsRecipe { penalty: 0.4, warmup_share: 0.1, ..TapsRecipe::default() };
        let optimizer = OptimizerRecipe { learning_rate: 3e-2, warmup_steps: 0, ..OptimizerRecipe::default() };
        let [mut useful, mut useless] = [gated(&recipe), gated(&recipe)];
        let wanted = [2.0_f32, -1.0, 0.0];
        const STEPS: u64 = 200;
        for step in 0..STEPS {
            let share = step as f64 / STEPS as f64;
            let gradient = useful.in_full().iter().zip(wanted).map(|(value, wanted)| value - wanted).collect();
            let (pulled, _) = useful.pull_back(gradient, false, share);
            useful.step(&optimizer, step, STEPS, 1.0, &pulled.gradients);
            // What no loss asks for is noise, one way and the other.
            let noise = vec![if step % 2 == 0 { 0.1 } else { -0.1 }; 3];
            let (pulled, _) = useless.pull_back(noise, false, share);
            useless.step(&optimizer, step, STEPS, 1.0, &pulled.gradients);
        }
        assert!(useful.gate().unwrap().1, "{useful:?}");
        assert!(!useless.gate().unwrap().1, "{useless:?}");
        assert_eq!(*useless.in_full(), BASE);
        assert_eq!(useless.changes(), Entries::None);
        assert!((useful.in_full()[0] - 2.0).abs() < 0.2, "{useful:?}");
    }
}
