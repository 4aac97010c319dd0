//! Task vectors in memory, and the networks that base and vectors make.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use burn::module::ParamId;
use burn::tensor::{Device, Tensor, TensorData};
use taskvec_bundle::TensorFile;
use taskvec_networks::Network;

use crate::edit::{MergeSettings, ModelsInMemory, TensorInMemory, merged_deltas};
use crate::error::{Error, Result};
use crate::examples::Examples;
use crate::finetune::leaves::{HostTensor, host_tensors, replaced};
use crate::train::Start;

/// Tuned minus base, of the tensors in which that is not zero.
#[derive(Debug)]
pub(crate) struct Vector {
    /// By place in [`Start::tensors`], in order.
    tensors: Vec<(usize, Vec<f32>)>,
    /// Whether the network is linear in it.
    is_linearized: bool,
    /// What the linearized network says of the images that it was asked about.
    lines: Mutex<Vec<(Arc<Examples>, Arc<Line>)>>,
}

/// Features of images along a vector of the linearized network: `value + alpha * derivative` at the coefficient alpha.
#[derive(Debug)]
pub(crate) struct Line {
    /// `[images, feature_width]`, row-major: the features of the base.
    pub(crate) value: Vec<f32>,
    /// Of the same shape.
    pub(crate) derivative: Vec<f32>,
}

impl Vector {
    /// From the base to the weights in the file at `tuned`; `is_linearized` says how the network is to compute.
    ///
    /// # Errors
    /// `Io`, `Damaged`; `Mismatch` when the weights are another network's.
    pub(crate) fn between(start: &Start, tuned: &Path, is_linearized: bool) -> Result<Vector> {
        let bytes = std::fs::read(tuned).map_err(|cause| Error::io("read", tuned, cause))?;
        let file = TensorFile::parse(&bytes)
            .map_err(|cause| Error::from_bundle(cause, format!("read `{}`", tuned.display())))?;
        let network = start.with_tensors(&file, &bytes)?;
        let deltas = start.tensors.iter().zip(host_tensors(&network)).map(|(base, tuned)| {
            let pairs = tuned.values.iter().zip(&base.values);
            pairs.map(|(tuned, base)| tuned - base).collect::<Vec<f32>>()
        });
        let changed = |(_, deltas): &(usize, Vec<f32>)| deltas.iter().any(|delta| *delta != 0.0);
        Ok(Vector::new(deltas.enumerate().filter(changed).collect(), is_linearized))
    }

    fn new(tensors: Vec<(usize, Vec<f32>)>, is_linearized: bool) -> Vector {
        Vector { tensors, is_linearized, lines: Mutex::default() }
    }

    /// The sum of `vectors`, each times its coefficient, added up in their order.
    pub(crate) fn sum(vectors: &[(f32, &Vector)]) -> Vector {
        let mut sums: BTreeMap<usize, Vec<f32>> = BTreeMap::new();
        for (alpha, vector) in vectors {
            for (place, deltas) in &vector.tensors {
                let sum = sums.entry(*place).or_insert_with(|| vec![0.0; deltas.len()]);
                sum.iter_mut().zip(deltas).for_each(|(sum, delta)| *sum += alpha * delta);
            }
        }
        let is_linearized = vectors.iter().any(|(_, vector)| vector.is_linearized);
        Vector::new(sums.into_iter().collect(), is_linearized)
    }

    /// The vectors, merged as `settings` say.
    ///
    /// # Errors
    /// As [`merged_deltas`].
    pub(crate) fn merged<'s>(start: &'s Start, settings: &MergeSettings, vectors: &[&Vector]) -> Result<Vector> {
        let longest = start.tensors.iter().map(|tensor| tensor.values.len()).max().unwrap_or(0);
        let nothing = vec![0.0; longest];
        let tensor = |(place, base): (usize, &'s HostTensor)| {
            let none = &nothing[..base.values.len()];
            let deltas = vectors.iter().map(|vector| vector.of_tensor(place).unwrap_or(none)).collect();
            TensorInMemory { name: &base.name, shape: &base.shape, base: &base.values, deltas }
        };
        let models = ModelsInMemory::new(start.tensors.iter().enumerate().map(tensor).collect())?;
        let merged = merged_deltas(settings, &models)?;
        let is_linearized = vectors.iter().any(|vector| vector.is_linearized);
        let changed = |(_, deltas): &(usize, Vec<f32>)| deltas.iter().any(|delta| *delta != 0.0);
        Ok(Vector::new(merged.into_iter().enumerate().filter(changed).collect(), is_linearized))
    }

    /// What it changes of the tensor at this place of [`Start::tensors`].
    fn of_tensor(&self, place: usize) -> Option<&[f32]> {
        self.tensors.iter().find(|(known, _)| *known == place).map(|(_, deltas)| &deltas[..])
    }

    /// Whether the network is linear in it.
    pub(crate) fn is_linearized(&self) -> bool {
        self.is_linearized
    }

    /// Base plus this.
    pub(crate) fn network(&self, start: &Start) -> Network {
        let moved = |(place, deltas): &(usize, Vec<f32>)| {
            let base = &start.tensors[*place];
            let values = base.values.iter().zip(deltas).map(|(base, delta)| base + delta);
            (base.id, TensorData::new(values.collect::<Vec<f32>>(), base.shape.clone()))
        };
        replaced(start.network.clone(), self.tensors.iter().map(moved).collect::<HashMap<_, _>>())
    }

    /// This, flat, by the parameters of the base's network.
    pub(crate) fn deltas(&self, start: &Start, device: &Device) -> HashMap<ParamId, Tensor<1>> {
        let flat = |(place, deltas): &(usize, Vec<f32>)| {
            (start.tensors[*place].id, Tensor::from_floats(deltas.as_slice(), device))
        };
        self.tensors.iter().map(flat).collect()
    }

    /// What the linearized network says of these images, if it was asked before.
    pub(crate) fn line(&self, examples: &Arc<Examples>) -> Option<Arc<Line>> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().find(|(known, _)| Arc::ptr_eq(known, examples)).map(|(_, line)| Arc::clone(line))
    }

    /// Keeps what the linearized network has said of these images.
    pub(crate) fn keep(&self, examples: &Arc<Examples>, line: Line) {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push((Arc::clone(examples), Arc::new(line)));
    }
}
