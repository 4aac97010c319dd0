//! From a public checkpoint to a base bundle of a network that is computed here.
//!
//! A checkpoint says neither what its network looks like nor what it wants of a picture; a [`NetworkDescription`] does. Each
//! tensor is looked for under its own name, then under the one that Keras gives it; a tensor that has no place in the network
//! is an error and not lost in silence. The base is written in f32 and in PyTorch's layout, whatever the checkpoint had.

mod description;
mod keras;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::Path;

use burn::tensor::{Device, TensorData};
use taskvec_bundle::{Base, Head};
use taskvec_checkpoint::{Checkpoint, StoredTensor};
use taskvec_networks::{Network, with_weights};

use crate::error::{Error, Result, from_networks};
use crate::export::{Parts, write_bundle};
use crate::recipe::Pattern;
use crate::train::{Start, numbers};

pub use self::description::{HeadDescription, LabelFile, Labels, NetworkDescription};

/// What became of a checkpoint.
#[derive(Clone, Debug)]
pub struct ImportedNetwork {
    /// The base.
    pub base: Base,
    /// What was decided on the way.
    pub notes: Vec<String>,
}

/// Tensors of a checkpoint, each of which has to go somewhere.
struct Tensors<'a> {
    checkpoint: &'a Checkpoint,
    used: BTreeSet<String>,
    reordered: usize,
}

/// Writes the bundle of the checkpoint at `path`, which is what `description` says, into `folder`, which is made if need be.
///
/// # Errors
/// `Mismatch` when the checkpoint lacks a tensor of the network, has another shape, or has a tensor that no one wants; `Usage` when
/// the description makes no base; `Damaged`, `Unsupported` or `Limit` when the checkpoint cannot be read; `Io`.
pub fn import_network(path: &Path, description: &NetworkDescription, folder: &Path) -> Result<ImportedNetwork> {
    let within = |cause: Error| cause.within(format!("checkpoint `{}`", path.display()));
    let checkpoint = Checkpoint::open(path)?;
    let mut tensors = Tensors { checkpoint: &checkpoint, used: BTreeSet::new(), reordered: 0 };
    let network = tensors.network(description).map_err(within)?;
    let head = description.head.as_ref().map(|head| tensors.head(head, description)).transpose().map_err(within)?;
    tensors.check_rest(&description.left_out).map_err(within)?;
    let mut notes = checkpoint.notes().to_vec();
    if tensors.reordered > 0 {
        notes.push(format!("{} tensors of Keras are written in PyTorch's order", tensors.reordered));
    }
    let heads: Vec<(String, Head)> = head.into_iter().collect();
    let parts = Parts {
        name: &description.name,
        network: &network,
        config: &description.network,
        preprocessing: &Start::preprocessing_of(&description.network, &description.pixels)?,
        heads: &heads,
        editable: &description.editable,
    };
    Ok(ImportedNetwork { base: write_bundle(folder, &parts)?, notes })
}

impl Tensors<'_> {
    fn network(&mut self, description: &NetworkDescription) -> Result<Network> {
        let config = &description.network;
        let unbuildable = |cause| from_networks(cause, "build the network");
        let mut zeros = |_: &str, shape: &[usize]| vec![0.0; shape.iter().product()];
        let network = Network::init(config, &mut zeros, &Device::flex()).map_err(unbuildable)?;
        let mut wrong = None;
        let network = with_weights(network, |name| {
            let theirs = keras::name_in_keras(config, name);
            let found =
                [Some(name), theirs.as_deref()].into_iter().flatten().find_map(|it| self.checkpoint.tensor(it))?;
            match self.take(found) {
                Ok((shape, values)) => Some(TensorData::new(values, shape)),
                Err(error) => {
                    wrong.get_or_insert(error);
                    None
                }
            }
        });
        match wrong {
            Some(error) => Err(error),
            None => network.map_err(unbuildable),
        }
    }

    fn head(&mut self, head: &HeadDescription, description: &NetworkDescription) -> Result<(String, Head)> {
        let folder = self.checkpoint.path().parent().unwrap_or(Path::new(""));
        let labels = head.labels.read(folder)?;
        let mut named = |name: &str| {
            let Some(found) = self.checkpoint.tensor(name) else {
                return Err(Error::mismatch(format!("head `{}`: there is no tensor `{name}`", head.name))
                    .with_help("`taskvec bundle` without a `head` names the tensors that have no place"));
            };
            self.take(found)
        };
        let (mut shape, weight) = named(&head.weight)?;
        while shape.len() > 2 && shape.last() == Some(&1) {
            shape.pop();
        }
        let expected = [labels.len(), description.network.feature_width()];
        if shape != expected {
            let (name, count) = (&head.weight, labels.len());
            return Err(Error::mismatch(format!(
                "head `{}`: `{name}` has shape {shape:?}, {count} labels over the network's features are {expected:?}",
                head.name
            )));
        }
        let (_, bias) = named(&head.bias)?;
        let made = Head::new(labels, weight, bias, description.network.feature_width());
        let made = made.map_err(|cause| Error::from_bundle(cause, format!("head `{}`", head.name)))?;
        Ok((head.name.clone(), made))
    }

    /// Shape and numbers of a tensor in PyTorch's order.
    fn take(&mut self, tensor: &StoredTensor) -> Result<(Vec<usize>, Vec<f32>)> {
        let name = tensor.name();
        self.used.insert(name.to_owned());
        let bytes = self.checkpoint.read(tensor)?;
        let Some(values) = numbers(tensor.dtype(), &bytes) else {
            let found = tensor.dtype().name();
            return Err(Error::unsupported(format!("tensor `{name}` has dtype {found}, expected F32, F16 or BF16")));
        };
        if let Some(number) = values.iter().find(|number| !number.is_finite()) {
            return Err(Error::damaged(format!("tensor `{name}` holds {number}, expected finite numbers")));
        }
        let shape: Vec<usize> = tensor.shape().iter().map(|side| *side as usize).collect();
        let Some(order) = keras::order(name, shape.len()) else { return Ok((shape, values)) };
        self.reordered += 1;
        Ok(keras::permuted(&shape, &values, order))
    }

    /// That nothing is left that nobody asked for.
    fn check_rest(&self, left_out: &[Pattern]) -> Result<()> {
        let is_left = |tensor: &&StoredTensor| {
            !self.used.contains(tensor.name()) && !left_out.iter().any(|pattern| pattern.matches(tensor.name()))
        };
        let left: Vec<&str> = self.checkpoint.body().filter(is_left).map(StoredTensor::name).collect();
        let Some(first) = left.first() else { return Ok(()) };
        let more = if left.len() > 1 { format!(" and {} more", left.len() - 1) } else { String::new() };
        Err(Error::mismatch(format!("the network has no place for tensor `{first}`{more}"))
            .with_help("name it in `head`, or in `left_out` if it may be lost; else it is another network"))
    }
}
