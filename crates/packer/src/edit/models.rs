//! What a merge asks of models: one tensor at a time, as often as the method needs it.

use std::borrow::Cow;

use crate::error::{Error, Result};

/// A base and the models that were tuned from it.
///
/// A tensor is asked for by its place in [`MergeModels::tensors`]. Methods that look at the whole model before they merge (global
/// thresholds, Gram matrices) go through the tensors more than once, always in that order.
pub trait MergeModels {
    /// Every tensor that may change, in a fixed order.
    fn tensors(&self) -> &[MergeTensor];

    /// How many models there are beside the base.
    fn model_count(&self) -> usize;

    /// The base's weights in a tensor, in f32.
    ///
    /// # Errors
    /// `Io` when a file cannot be read any more.
    fn base(&self, tensor: usize) -> Result<Cow<'_, [f32]>>;

    /// What a model changed of a tensor whose weights are `base`: a number for each element.
    ///
    /// # Errors
    /// As [`MergeModels::base`].
    fn deltas(&self, model: usize, tensor: usize, base: &[f32]) -> Result<Cow<'_, [f32]>>;

    /// A model's own weights in a tensor; those of the base are `base`.
    ///
    /// # Errors
    /// As [`MergeModels::base`].
    fn weights(&self, model: usize, tensor: usize, base: &[f32]) -> Result<Cow<'_, [f32]>> {
        Ok(self.deltas(model, tensor, base)?.iter().zip(base).map(|(delta, base)| base + delta).collect())
    }
}

/// A tensor that is merged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergeTensor {
    /// Its name.
    pub name: String,
    /// Its dimensions, row-major.
    pub shape: Vec<usize>,
}

/// Models that are in memory, such as the task vectors of an evaluation, which are merged many times.
#[derive(Clone, Debug)]
pub struct ModelsInMemory<'a> {
    tensors: Vec<MergeTensor>,
    numbers: Vec<(&'a [f32], Vec<&'a [f32]>)>,
    model_count: usize,
}

/// A tensor of the base and of the models.
#[derive(Clone, Debug)]
pub struct TensorInMemory<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its dimensions, row-major.
    pub shape: &'a [usize],
    /// The base's weights.
    pub base: &'a [f32],
    /// What each model changed, a number for each element.
    pub deltas: Vec<&'a [f32]>,
}

impl<'a> ModelsInMemory<'a> {
    /// Models of these tensors; in all tensors the models have the same order.
    ///
    /// # Errors
    /// `Mismatch` when numbers do not fill a tensor's shape, or a tensor has not as many models as the first.
    pub fn new(tensors: Vec<TensorInMemory<'a>>) -> Result<ModelsInMemory<'a>> {
        let model_count = tensors.first().map_or(0, |tensor| tensor.deltas.len());
        for tensor in &tensors {
            let expected = tensor.shape.iter().product::<usize>();
            let found = [tensor.base.len()].into_iter().chain(tensor.deltas.iter().map(|deltas| deltas.len()));
            if let Some(found) = found.into_iter().find(|found| *found != expected) {
                let clause =
                    format!("tensor `{}`: {:?} is {expected} elements, found {found}", tensor.name, tensor.shape);
                return Err(Error::mismatch(clause));
            }
            if tensor.deltas.len() != model_count {
                let found = tensor.deltas.len();
                let clause = format!("tensor `{}` has deltas of {found} models, expected {model_count}", tensor.name);
                return Err(Error::mismatch(clause));
            }
        }
        let form =
            |tensor: &TensorInMemory<'_>| MergeTensor { name: tensor.name.to_owned(), shape: tensor.shape.to_vec() };
        let forms = tensors.iter().map(form).collect();
        let numbers = tensors.into_iter().map(|tensor| (tensor.base, tensor.deltas)).collect();
        Ok(ModelsInMemory { tensors: forms, numbers, model_count })
    }
}

impl MergeModels for ModelsInMemory<'_> {
    fn tensors(&self) -> &[MergeTensor] {
        &self.tensors
    }

    fn model_count(&self) -> usize {
        self.model_count
    }

    fn base(&self, tensor: usize) -> Result<Cow<'_, [f32]>> {
        Ok(Cow::Borrowed(self.numbers[tensor].0))
    }

    fn deltas(&self, model: usize, tensor: usize, _: &[f32]) -> Result<Cow<'_, [f32]>> {
        Ok(Cow::Borrowed(self.numbers[tensor].1[model]))
    }
}
