//! Where a network under construction gets its tensors from.

use std::collections::BTreeMap;

use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};

use crate::error::{Error, Result};
use crate::layer_norm::LayerNorm;
use crate::linear::Linear;

/// The tensors of one network by name, complete and of the right shapes, and the device they go to.
pub(crate) struct Source<'a> {
    tensors: BTreeMap<String, TensorData>,
    device: &'a Device,
}

impl<'a> Source<'a> {
    /// Asks `give` for each of `wanted` (names and shapes). What is missing or misshapen is told in one error.
    pub(crate) fn gather(
        wanted: Vec<(String, Vec<usize>)>,
        mut give: impl FnMut(&str, &[usize]) -> Option<TensorData>,
        device: &'a Device,
    ) -> Result<Source<'a>> {
        let mut missing = Vec::new();
        let mut tensors = BTreeMap::new();
        for (name, shape) in wanted {
            match give(&name, &shape) {
                Some(data) => {
                    check(&name, &shape, &data)?;
                    tensors.insert(name, data);
                }
                None => missing.push(name),
            }
        }
        complete(&missing)?;
        Ok(Source { tensors, device })
    }

    /// The parameter called `name`.
    ///
    /// # Panics
    /// When it was not gathered: [`crate::NetworkConfig::tensors`] and the network disagree.
    pub(crate) fn parameter<const D: usize>(&mut self, name: &str, shape: [usize; D]) -> Param<Tensor<D>> {
        let data = self.tensors.remove(name).unwrap_or_else(|| panic!("`{name}` was gathered"));
        assert_eq!(**data.shape(), shape, "`{name}` was gathered with its shape");
        Param::from_tensor(Tensor::from_data(data, self.device))
    }
}

impl Linear {
    pub(crate) fn build(source: &mut Source<'_>, name: &str, out: usize, inside: usize) -> Linear {
        Linear {
            weight: source.parameter(&format!("{name}.weight"), [out, inside]),
            bias: source.parameter(&format!("{name}.bias"), [out]),
        }
    }
}

impl LayerNorm {
    pub(crate) fn build(source: &mut Source<'_>, name: &str, width: usize, epsilon: f64) -> LayerNorm {
        LayerNorm {
            weight: source.parameter(&format!("{name}.weight"), [width]),
            bias: source.parameter(&format!("{name}.bias"), [width]),
            epsilon,
        }
    }
}

/// Whether `data` may become the tensor `name` of this shape.
pub(crate) fn check(name: &str, shape: &[usize], data: &TensorData) -> Result<()> {
    if **data.shape() != *shape {
        let found = &**data.shape();
        return Err(Error::mismatch(format!(
            "tensor `{name}`: the network has shape {shape:?}, the weights {found:?}"
        )));
    }
    if !data.dtype().is_float() {
        let found = data.dtype();
        return Err(Error::mismatch(format!("tensor `{name}`: the network needs floats, the weights are {found:?}")));
    }
    Ok(())
}

/// Whether nothing is missing.
pub(crate) fn complete(missing: &[String]) -> Result<()> {
    let Some(first) = missing.first() else { return Ok(()) };
    let others = match missing.len() {
        1 => String::new(),
        count => format!(" and {} more", count - 1),
    };
    Err(Error::mismatch(format!("the weights lack tensor `{first}`{others}"))
        .with_help("the weights belong to another network; compare its `network` description"))
}
