//! Task vectors in memory, and the models that base and vectors make.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use burn::tensor::TensorData;
use taskvec_bundle::TensorFile;

use crate::edit::{MergeSettings, ModelsInMemory, TensorInMemory, merged_deltas};
use crate::error::{Error, Result};
use crate::finetune::leaves::{HostTensor, host_tensors, replaced};
use crate::model::Model;
use crate::train::Start;

/// Tuned minus base, of the tensors in which that is not zero.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Vector {
    /// By place in [`Start::tensors`], in order.
    tensors: Vec<(usize, Vec<f32>)>,
    /// Whether the model is linear in it.
    is_linearized: bool,
}

impl Vector {
    /// From the base to the weights in the file at `tuned`; `is_linearized` says how the model is to compute.
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
        Ok(Vector { tensors: deltas.enumerate().filter(changed).collect(), is_linearized })
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
        Vector { tensors: sums.into_iter().collect(), is_linearized }
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
            let deltas = vectors.iter().map(|vector| vector.deltas(place).unwrap_or(none)).collect();
            TensorInMemory { name: &base.name, shape: &base.shape, base: &base.values, deltas }
        };
        let models = ModelsInMemory::new(start.tensors.iter().enumerate().map(tensor).collect())?;
        let merged = merged_deltas(settings, &models)?;
        let is_linearized = vectors.iter().any(|vector| vector.is_linearized);
        let changed = |(_, deltas): &(usize, Vec<f32>)| deltas.iter().any(|delta| *delta != 0.0);
        Ok(Vector { tensors: merged.into_iter().enumerate().filter(changed).collect(), is_linearized })
    }

    /// What it changes of the tensor at this place of [`Start::tensors`].
    fn deltas(&self, place: usize) -> Option<&[f32]> {
        self.tensors.iter().find(|(known, _)| *known == place).map(|(_, deltas)| &deltas[..])
    }

    /// The model of base + alpha * this.
    pub(crate) fn model(&self, start: &Start, alpha: f32) -> Model {
        let tensors = || self.tensors.iter().map(|(place, deltas)| (&start.tensors[*place], deltas));
        if self.is_linearized {
            let scaled = |deltas: &[f32]| deltas.iter().map(|delta| alpha * delta).collect();
            return Model::along(&start.network, tensors().map(|(base, deltas)| (base.id, scaled(deltas))));
        }
        let moved = |(base, deltas): (&HostTensor, &Vec<f32>)| {
            let values = base.values.iter().zip(deltas).map(|(base, delta)| base + alpha * delta);
            (base.id, TensorData::new(values.collect::<Vec<f32>>(), base.shape.clone()))
        };
        Model::Whole(replaced(start.network.clone(), tensors().map(moved).collect::<HashMap<_, _>>()))
    }
}
