//! The inner products of all pairs of task vectors, over the whole model: a table of T by T numbers that says all that a method
//! needs to know which stays in the span of the task vectors.
//!
//! Sums are in f64, tensor by tensor in the models' order. In fewer bits small deltas vanish: the square of 1e-25 is 0 in f32 and in
//! bf16, and the cosine of such vectors is none.

use super::models::MergeModels;
use crate::error::{Error, Result};

/// Partial sums of a dot product, so that additions do not wait for each other; part of what the result is.
const LANES: usize = 8;

/// Inner products of task vectors.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Gram {
    count: usize,
    products: Vec<f64>,
}

impl Gram {
    /// Of the task vectors of `models`, in one pass over the tensors.
    ///
    /// # Errors
    /// `Damaged` when deltas are not finite, `Io` when a file cannot be read any more.
    pub(super) fn of(models: &dyn MergeModels) -> Result<Gram> {
        let count = models.model_count();
        let mut gram = Gram { count, products: vec![0.0; count * count] };
        for (at, tensor) in models.tensors().iter().enumerate() {
            let base = models.base(at)?;
            let deltas = (0..count).map(|model| models.deltas(model, at, &base)).collect::<Result<Vec<_>>>()?;
            for one in 0..count {
                for other in one..count {
                    gram.products[one * count + other] += dot(&deltas[one], &deltas[other]);
                }
                if !gram.products[one * count + one].is_finite() {
                    return Err(Error::damaged(format!(
                        "tensor `{}`: model {} has deltas that are not finite",
                        tensor.name,
                        one + 1
                    ))
                    .with_help("leave that model out, or train it again with a smaller learning rate"));
                }
            }
        }
        for one in 0..count {
            for other in 0..one {
                gram.products[one * count + other] = gram.products[other * count + one];
            }
        }
        Ok(gram)
    }

    /// Of these products, row by row.
    #[cfg(test)]
    pub(super) fn from_products(count: usize, products: Vec<f64>) -> Gram {
        assert_eq!(products.len(), count * count);
        Gram { count, products }
    }

    /// The same, of task vectors whose mean square length is 1; those of nothing stay nothing.
    pub(super) fn normalized(mut self) -> Gram {
        let mean = (0..self.count).map(|task| self.product(task, task)).sum::<f64>() / self.count as f64;
        if mean > 0.0 {
            self.products.iter_mut().for_each(|product| *product /= mean);
        }
        self
    }

    /// The same, with the task vectors in another order.
    pub(super) fn in_order(&self, order: &[usize]) -> Gram {
        let row = |one: &usize| order.iter().map(|other| self.product(*one, *other)).collect::<Vec<_>>();
        Gram { count: self.count, products: order.iter().flat_map(row).collect() }
    }

    /// How many task vectors there are.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The inner product of two task vectors.
    pub(super) fn product(&self, one: usize, other: usize) -> f64 {
        self.products[one * self.count + other]
    }

    /// The inner product of two sums of task vectors, each given by its coefficients.
    pub(super) fn between(&self, one: &[f64], other: &[f64]) -> f64 {
        let row =
            |at: usize| other.iter().enumerate().map(|(beside, factor)| factor * self.product(at, beside)).sum::<f64>();
        one.iter().enumerate().map(|(at, factor)| factor * row(at)).sum()
    }
}

/// The inner product of two lists of the same length.
pub(super) fn dot(one: &[f32], other: &[f32]) -> f64 {
    let (chunks, rest) = one.as_chunks::<LANES>();
    let (other_chunks, other_rest) = other.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for (a, b) in chunks.iter().zip(other_chunks) {
        for (lane, (a, b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            *lane += f64::from(*a) * f64::from(*b);
        }
    }
    let rest: f64 = rest.iter().zip(other_rest).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
    lanes.iter().sum::<f64>() + rest
}
