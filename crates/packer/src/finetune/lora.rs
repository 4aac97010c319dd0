//! Low-rank adaptation (LoRA; Hu et al., ICLR 2022): the delta of a matrix is `alpha / rank * B A`, and the factors learn.
//!
//! It is here as the baseline that users know. `A` begins at random (uniform within one over the root of its columns, as PEFT draws
//! it) and `B` at zero, so that the first network is the base. A convolution's kernel is the matrix of its outputs by all that comes
//! in. Decay acts on the factors.
//!
//! The optimizer's memory grows with `rank * (rows + columns)`. What comes out is a task vector like any other, dense in its
//! matrices: a pack has no encoding for products, and an engine nothing that would multiply them.

use std::sync::Arc;

use super::learner::{Form, Learner, Part, Role};
use super::leaves::HostTensor;
use super::matrix::{Matrix, sides};
use crate::error::{Error, Result};
use crate::mask::{Entries, Mask};
use crate::random::Random;
use crate::recipe::LoraRecipe;

/// A delta that is a product of two factors.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LowRank {
    rank: usize,
    rows: usize,
    columns: usize,
    scale: f32,
}

/// The matrices that the recipe names.
///
/// # Errors
/// `Usage` for a pattern that fits no matrix, and for a rank above the smaller side of a matrix.
pub(crate) fn mask(tensors: &[(String, Vec<usize>)], recipe: &LoraRecipe) -> Result<Mask> {
    let matrices = || tensors.iter().filter_map(|(name, shape)| Some((name, sides(shape)?)));
    for pattern in &recipe.targets {
        if !matrices().any(|(name, _)| pattern.matches(name)) {
            let names: Vec<&str> = matrices().map(|(name, _)| name.as_str()).take(8).collect();
            return Err(Error::usage(format!(
                "`lora.targets` names `{pattern}`, which fits no matrix that may be edited"
            ))
            .with_help(format!("the base's matrices begin with {}", names.join(", "))));
        }
    }
    let is_target = |name: &str| recipe.targets.iter().any(|pattern| pattern.matches(name));
    for (name, (rows, columns)) in matrices().filter(|(name, _)| is_target(name)) {
        if recipe.rank as usize > rows.min(columns) {
            return Err(Error::usage(format!(
                "`lora.rank` is {}, expected at most {}: `{name}` is a matrix of {rows} by {columns}",
                recipe.rank,
                rows.min(columns)
            ))
            .with_help("lower the rank, or leave that matrix out of `lora.targets`"));
        }
    }
    let is_matrix = |name: &str| matrices().any(|(matrix, _)| matrix == name);
    Ok(Mask::of_whole_tensors(tensors, |name| is_target(name) && is_matrix(name)))
}

/// `tensor`, a matrix, with a delta of low rank that is zero so far.
pub(crate) fn learner(tensor: &HostTensor, recipe: &LoraRecipe, seed: u64) -> Learner {
    let (rows, columns) = sides(&tensor.shape).unwrap_or((tensor.values.len(), 1));
    let rank = recipe.rank as usize;
    let scale = (recipe.alpha / f64::from(recipe.rank)) as f32;
    let bound = 1.0 / (columns as f32).sqrt();
    let mut random = Random::new(seed, &format!("lora/{}", tensor.name));
    let down = (0..rank * columns).map(|_| random.between(-bound, bound)).collect();
    let parts = vec![
        Part::new(Role::Down, vec![rank, columns], Entries::All, down),
        Part::new(Role::Up, vec![rows, rank], Entries::All, vec![0.0; rows * rank]),
    ];
    let form = Form::LowRank(LowRank { rank, rows, columns, scale });
    Learner::formed(tensor.name.clone(), tensor.shape.clone(), Arc::from(tensor.values.as_slice()), form, parts)
}

impl LowRank {
    /// `scale * B A`, row-major.
    pub(crate) fn delta(&self, parts: &[Part]) -> Vec<f32> {
        let (down, up) = self.factors(parts);
        up.times(&down).scaled(self.scale).values
    }

    /// The gradients of `A` and `B`: `scale * B^T G` and `scale * G A^T`.
    pub(crate) fn pull_back(&self, parts: &[Part], gradient: Vec<f32>) -> Vec<Vec<f32>> {
        let (down, up) = self.factors(parts);
        let gradient = Matrix::new(self.rows, self.columns, gradient);
        let of_down = up.transposed_times(&gradient).scaled(self.scale);
        let of_up = gradient.times_transposed(&down).scaled(self.scale);
        vec![of_down.values, of_up.values]
    }

    fn factors(&self, parts: &[Part]) -> (Matrix, Matrix) {
        let down = Matrix::new(self.rank, self.columns, parts[0].values.clone());
        (down, Matrix::new(self.rows, self.rank, parts[1].values.clone()))
    }
}

#[cfg(test)]
mod tests {
    use burn::module::ParamId;

    use super::*;
    use crate::recipe::Pattern;

    fn recipe() -> LoraRecipe {
        LoraRecipe { rank: 2, alpha: 3.0, ..LoraRecipe::default() }
    }

    /// A kernel of 4 outputs, 3 inputs of 1 by 2, with factors that are both drawn.
    fn drawn() -> Learner {
        let mut random = Random::new(4, "lora");
        let values = (0..24).map(|_| random.normal()).collect();
        let tensor = HostTensor { name: "w".to_owned(), id: ParamId::new(), shape: vec![4, 3, 1, 2], values };
        let mut learner = learner(&tensor, &recipe(), 7);
        learner.parts[1].values.iter_mut().for_each(|value| *value = random.normal());
        learner
    }

    /// `sum of direction * tensor`, all in f64.
    fn value(base: &[f32], direction: &[f32], parts: &[Vec<f64>]) -> f64 {
        let (down, up) = (&parts[0], &parts[1]);
        let element = |at: usize| {
            let sum: f64 = (0..2).map(|k| up[at / 6 * 2 + k] * down[k * 6 + at % 6]).sum();
            f64::from(base[at]) + 1.5 * sum
        };
        (0..24).map(|at| f64::from(direction[at]) * element(at).powi(2)).sum()
    }

    #[test]
    fn gradients_of_the_factors_are_slopes() {
        const STEP: f64 = 1e-5;
        let learner = drawn();
        let mut random = Random::new(5, "direction");
        let direction: Vec<f32> = (0..24).map(|_| random.normal()).collect();
        let tensor = learner.in_full();
        let gradient = direction.iter().zip(tensor.iter()).map(|(by, value)| 2.0 * by * value).collect();
        let (found, squared) = learner.pull_back(gradient, false, 0.0);
        let parts: Vec<Vec<f64>> =
            learner.parts.iter().map(|part| part.values.iter().map(|value| f64::from(*value)).collect()).collect();
        let base = learner.base().unwrap().to_vec();
        let mut norm = 0.0;
        for (part, found) in found.gradients.iter().enumerate() {
            for (index, found) in found.iter().enumerate() {
                let at = |by: f64| {
                    let mut parts = parts.clone();
                    parts[part][index] += by;
                    value(&base, &direction, &parts)
                };
                let slope = (at(STEP) - at(-STEP)) / (2.0 * STEP);
                assert!((slope - f64::from(*found)).abs() < 1e-4 * slope.abs().max(1.0), "{found}, slope {slope}");
                norm += slope * slope;
            }
        }
        assert!((norm - squared).abs() < 1e-4 * norm, "the clip norm counts what learns");
    }

    #[test]
    fn before_the_first_step_the_tensor_is_the_base() {
        let mut learner = drawn();
        learner.parts[1].values.fill(0.0);
        assert_eq!(*learner.in_full(), *learner.base().unwrap());
        assert_eq!(learner.optimizer_bytes(), 8 * 2 * (4 + 6));
        assert!(learner.parts[0].values.iter().all(|value| value.abs() <= 1.0 / 6.0_f32.sqrt()));
    }

    #[test]
    fn what_is_named_must_be_matrices_that_are_large_enough() {
        let tensors: Vec<(String, Vec<usize>)> = [
            ("blocks.0.attn.qkv.weight", vec![24, 8]),
            ("blocks.0.attn.qkv.bias", vec![24]),
            ("blocks.0.mlp.fc1.weight", vec![32, 8]),
            ("head.conv.weight", vec![8, 1, 3, 3]),
        ]
        .map(|(name, shape)| (name.to_owned(), shape))
        .into();
        let learning = |recipe: &LoraRecipe| {
            let mask = mask(&tensors, recipe).unwrap();
            mask.tensors.iter().map(|tensor| tensor.entry_count()).collect::<Vec<u64>>()
        };
        assert_eq!(learning(&recipe()), [192, 0, 256, 0]);
        let all = LoraRecipe { targets: vec![Pattern::new("*")], ..recipe() };
        assert_eq!(learning(&all), [192, 0, 256, 72]);
        let error = mask(&tensors, &LoraRecipe { rank: 9, ..all }).unwrap_err();
        assert!(error.to_string().contains("24 by 8") && error.help().is_some(), "{error}");
        let biases = LoraRecipe { targets: vec![Pattern::new("*.bias")], ..recipe() };
        let error = mask(&tensors, &biases).unwrap_err();
        assert!(error.to_string().contains("`*.bias`") && error.help().is_some(), "{error}");
    }
}
