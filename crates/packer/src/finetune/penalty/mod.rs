//! What is added to the loss for the delta of a tensor, whatever way it learns.
//!
//! A penalty knows matrices alone: it takes tuned minus base and gives a number with its gradient, which is added to the gradient of
//! the network's tensor before that is pulled back to what learns. So the clip norm counts it like any other, and a mask takes of it
//! what lies in its entries. Everything is on the host, a tensor to a thread.

pub(crate) mod curvature;
mod orthogonality;

use std::sync::Arc;

use self::curvature::Factors;
use super::matrix::Matrix;
use crate::recipe::{OrthogonalityRecipe, PenaltyRecipe};

/// What is added for one tensor.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Penalty {
    orthogonality: Option<OrthogonalityRecipe>,
    curvature: Option<(f64, Arc<[Factors]>)>,
}

/// A penalty and its gradient.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Slope {
    /// Of the whole delta.
    pub(crate) value: f64,
    /// One for each element.
    pub(crate) gradient: Vec<f32>,
}

impl Penalty {
    /// What the recipe adds for a tensor of this shape, whose curvature in other tasks is `factors`; `None` if nothing.
    pub(crate) fn of(recipe: &PenaltyRecipe, shape: &[usize], factors: Option<Arc<[Factors]>>) -> Option<Penalty> {
        // Matrices and kernels: not embeddings of one token or of all, which have three sides.
        let orthogonality = recipe.orthogonality.clone().filter(|_| shape.len() == 2 || shape.len() == 4);
        let curvature = recipe.curvature.as_ref().zip(factors).map(|(recipe, factors)| (recipe.factor, factors));
        (orthogonality.is_some() || curvature.is_some()).then_some(Penalty { orthogonality, curvature })
    }

    /// At a delta.
    pub(crate) fn at(&self, delta: &Matrix) -> Slope {
        let mut sum = Slope { value: 0.0, gradient: vec![0.0; delta.values.len()] };
        if let Some(recipe) = &self.orthogonality {
            sum.add(&orthogonality::slope(delta, recipe));
        }
        if let Some((factor, factors)) = &self.curvature {
            sum.add(&curvature::slope(delta, factors, *factor));
        }
        sum
    }
}

impl Slope {
    fn add(&mut self, other: &Slope) {
        self.value += other.value;
        self.gradient.iter_mut().zip(&other.gradient).for_each(|(sum, value)| *sum += value);
    }
}
