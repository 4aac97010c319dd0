//! Diff pruning (Guo, Rush and Kim, ACL 2021): a delta whose every element has a gate, then the largest that are left.
//!
//! In the first part of the run a tensor is `base + z * w`. Each `z` is drawn from a hard concrete distribution (Louizos et al., ICLR
//! 2018): `clip(sigmoid(log u - log(1 - u) + a) * (r - l) + l, 0, 1)` with `u` uniform, `l = -1.5`, `r = 1.5`; it is 0 or 1 with some
//! probability and has a slope in between, so that `w` and `a` both learn. The penalty is the expected number of gates that are not
//! shut, `sum sigmoid(a - log(-l / r))`. `structured` gives each tensor a gate of its own beside those of its elements.
//!
//! Then each gate takes the value that it has without noise, the largest deltas are kept, exactly as many as the recipe's density
//! says (the published code looks for a threshold, `mask/candidates.rs` counts), and the rest of the run trains them alone, from
//! where they are. The head goes on from where it is, too.
//!
//! Draws are keyed by seed, step and name. As published gates begin at 5 and move at a constant rate of 0.1. In the first part a run
//! takes three times the numbers of the tensor and their moments; in the second it is a run in a mask.

use std::sync::Arc;

use super::learner::{Form, Learner, Pace, Part, Pulled, Role};
use super::leaves::HostTensor;
use crate::mask::Entries;
use crate::random::Random;
use crate::recipe::DiffPruningRecipe;

/// The ends of the stretched distribution.
const LOW: f32 = -1.5;
const HIGH: f32 = 1.5;
/// What gates begin at.
const FIRST_GATE: f32 = 5.0;
/// The uniform numbers stay away from both ends by this.
const MARGIN: f32 = 1e-4;

/// A delta with a gate for each element.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct HardConcrete {
    seed: u64,
    name: String,
    penalty: f64,
    /// What the gates of the elements are, and how they would move.
    elements: Vec<Gate>,
    /// The same of the tensor's; always open where it has none.
    tensor: Gate,
}

/// A gate as it was drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Gate {
    /// 0 to 1.
    value: f32,
    /// Of the value by the parameter.
    slope: f32,
}

/// `tensor` with a delta that is zero so far.
pub(crate) fn learner(tensor: &HostTensor, recipe: &DiffPruningRecipe, seed: u64) -> Learner {
    let count = tensor.values.len();
    let gates = |role, shape: Vec<usize>, count| {
        let mut part = Part::new(role, shape, Entries::All, vec![FIRST_GATE; count]);
        part.pace = Pace::Constant(recipe.gate_learning_rate);
        part
    };
    let mut parts = vec![
        Part::new(Role::Delta, tensor.shape.clone(), Entries::All, vec![0.0; count]),
        gates(Role::ElementGates, tensor.shape.clone(), count),
    ];
    if recipe.structured {
        parts.push(gates(Role::TensorGate, vec![1], 1));
    }
    let form = Form::HardConcrete(HardConcrete {
        seed,
        name: tensor.name.clone(),
        penalty: recipe.penalty,
        elements: vec![Gate::OPEN; count],
        tensor: Gate::OPEN,
    });
    Learner::formed(tensor.name.clone(), tensor.shape.clone(), Arc::from(tensor.values.as_slice()), form, parts)
}

impl HardConcrete {
    /// Draws the gates of a step.
    pub(crate) fn draw(&mut self, parts: &[Part], step: u64) {
        let mut random = Random::new(self.seed, &format!("gates/step {step}/{}", self.name));
        let mut uniform = || random.between(MARGIN, 1.0 - MARGIN);
        self.tensor = parts.get(2).map_or(Gate::OPEN, |part| Gate::drawn(part.values[0], uniform()));
        self.elements = parts[1].values.iter().map(|parameter| Gate::drawn(*parameter, uniform())).collect();
    }

    /// Gives the gates the values that they have without noise.
    pub(crate) fn settle(&mut self, parts: &[Part]) {
        self.tensor = parts.get(2).map_or(Gate::OPEN, |part| Gate::drawn(part.values[0], 0.5));
        self.elements = parts[1].values.iter().map(|parameter| Gate::drawn(*parameter, 0.5)).collect();
    }

    /// Gates times deltas.
    pub(crate) fn delta(&self, parts: &[Part]) -> Vec<f32> {
        let gated = self.elements.iter().zip(&parts[0].values);
        gated.map(|(gate, delta)| self.tensor.value * gate.value * delta).collect()
    }

    /// The gradients of deltas and gates.
    pub(crate) fn pull_back(&self, parts: &[Part], gradient: Vec<f32>) -> Pulled {
        let structure = parts.get(2).map(|part| sigmoid(f64::from(part.values[0])));
        let is_tensor_open = structure.unwrap_or(1.0);
        let (mut of_delta, mut of_gates) = (gradient, Vec::with_capacity(self.elements.len()));
        let (mut of_tensor, mut open) = (0.0, 0.0);
        let numbers = self.elements.iter().zip(&parts[0].values).zip(&parts[1].values);
        for (gradient, ((gate, delta), parameter)) in of_delta.iter_mut().zip(numbers) {
            // log(-l / r) is 0.
            let is_open = sigmoid(f64::from(*parameter));
            let along = *gradient * delta;
            let penalty = self.penalty * is_tensor_open * is_open * (1.0 - is_open);
            of_gates.push(along * self.tensor.value * gate.slope + penalty as f32);
            of_tensor += f64::from(along * gate.value);
            open += is_open;
            *gradient *= self.tensor.value * gate.value;
        }
        let mut gradients = vec![of_delta, of_gates];
        if let Some(is_open) = structure {
            let of_penalty = self.penalty * open * is_open * (1.0 - is_open);
            gradients.push(vec![(of_tensor * f64::from(self.tensor.slope) + of_penalty) as f32]);
        }
        Pulled { gradients, penalty: Some(self.penalty * is_tensor_open * open) }
    }
}

impl Gate {
    const OPEN: Gate = Gate { value: 1.0, slope: 0.0 };

    /// The gate with this parameter, for a number drawn uniformly between 0 and 1. `sigmoid(log u - log(1 - u) + a)` is
    /// `u / (u + (1 - u) exp(-a))`.
    fn drawn(parameter: f32, uniform: f32) -> Gate {
        let sigmoid = uniform / (uniform + (1.0 - uniform) * libm::expf(-parameter));
        let stretched = sigmoid * (HIGH - LOW) + LOW;
        let is_between = stretched > 0.0 && stretched < 1.0;
        let slope = if is_between { (HIGH - LOW) * sigmoid * (1.0 - sigmoid) } else { 0.0 };
        Gate { value: stretched.clamp(0.0, 1.0), slope }
    }
}

fn sigmoid(parameter: f64) -> f64 {
    1.0 / (1.0 + libm::exp(-parameter))
}

#[cfg(test)]
mod tests {
    use burn::module::ParamId;

    use super::*;

    const COUNT: usize = 40;

    fn drawn(structured: bool) -> Learner {
        let mut random = Random::new(6, "diff pruning");
        let mut normals = |scale: f32| (0..COUNT).map(|_| scale * random.normal()).collect::<Vec<f32>>();
        let values = normals(1.0);
        let tensor = HostTensor { name: "w".to_owned(), id: ParamId::new(), shape: vec![8, 5], values };
        let recipe = DiffPruningRecipe { penalty: 0.3, structured, ..DiffPruningRecipe::default() };
        let mut learner = learner(&tensor, &recipe, 3);
        learner.parts[0].values = normals(1.0);
        // Gates that are sometimes in between.
        learner.parts[1].values = normals(1.5);
        learner.prepare(17);
        learner
    }

    /// The objective in f64, with the noise of step 17: `sum of direction * tensor^2`, and the penalty.
    fn value(base: &[f32], direction: &[f32], parts: &[Vec<f64>]) -> f64 {
        let mut random = Random::new(3, "gates/step 17/w");
        let mut uniform = || f64::from(random.between(MARGIN, 1.0 - MARGIN));
        let gate = |parameter: f64, u: f64| {
            let concrete = sigmoid(u.ln() - (1.0 - u).ln() + parameter);
            (concrete * 3.0 - 1.5).clamp(0.0, 1.0)
        };
        let (of_tensor, is_open) = match parts.get(2) {
            Some(part) => (gate(part[0], uniform()), sigmoid(part[0])),
            None => (1.0, 1.0),
        };
        let mut sum = 0.0;
        for at in 0..COUNT {
            let delta = of_tensor * gate(parts[1][at], uniform()) * parts[0][at];
            sum += f64::from(direction[at]) * (f64::from(base[at]) + delta).powi(2);
            sum += 0.3 * is_open * sigmoid(parts[1][at]);
        }
        sum
    }

    #[test]
    fn gradients_of_deltas_and_gates_are_slopes() {
        const STEP: f64 = 1e-6;
        for structured in [false, true] {
            let learner = drawn(structured);
            let mut random = Random::new(9, "direction");
            let direction: Vec<f32> = (0..COUNT).map(|_| random.normal()).collect();
            let tensor = learner.in_full();
            let gradient = direction.iter().zip(tensor.iter()).map(|(by, value)| 2.0 * by * value).collect();
            let (found, _) = learner.pull_back(gradient, false, 0.0);
            let parts: Vec<Vec<f64>> =
                learner.parts.iter().map(|part| part.values.iter().map(|value| f64::from(*value)).collect()).collect();
            let base = learner.base().unwrap().to_vec();
            let mut between = 0;
            for (part, found) in found.gradients.iter().enumerate() {
                for (index, found) in found.iter().enumerate() {
                    let at = |by: f64| {
                        let mut parts = parts.clone();
                        parts[part][index] += by;
                        value(&base, &direction, &parts)
                    };
                    let slope = (at(STEP) - at(-STEP)) / (2.0 * STEP);
                    let error = (slope - f64::from(*found)).abs();
                    assert!(error < 1e-3 * slope.abs().max(1.0), "{structured}, {part}, {index}: {found}, {slope}");
                    between += usize::from(part == 1 && slope.abs() > 0.1);
                }
            }
            assert!(between > 5, "some gates are in between: {between}");
        }
    }

    #[test]
    fn gates_are_drawn_by_seed_step_and_name() {
        let learner = drawn(true);
        let mut again = learner.clone();
        again.prepare(18);
        assert_ne!(again, learner);
        again.prepare(17);
        assert_eq!(again, learner);
    }

    #[test]
    fn most_gates_begin_open_and_settle_at_what_they_are_without_noise() {
        let gates: Vec<Gate> =
            (0..1000).map(|at| Gate::drawn(FIRST_GATE, MARGIN + (1.0 - 2.0 * MARGIN) * at as f32 / 1000.0)).collect();
        let open = gates.iter().filter(|gate| gate.value == 1.0).count();
        // sigmoid(logit u + 5) is above 5/6 for all u above 0.033.
        assert!((960..975).contains(&open), "{open}");
        for (parameter, settled) in [(5.0, 1.0), (0.0, 0.0), (-3.0, 0.0), (0.5, 3.0 * 0.622_459_3 - 1.5)] {
            assert!((Gate::drawn(parameter, 0.5).value - settled).abs() < 1e-6, "{parameter}");
        }
    }
}
