//! A LoRA adapter as a task vector: `alpha / rank * B A` for each module, on the tensors of its base.
//!
//! Hu et al. 2021, section 4.1; `alpha / sqrt(rank)` where rank-stabilised (Kalajdzievski 2023). The product is summed in f64 in
//! the order of the rank and rounded to f32 once. What is decided here:
//!
//! - Tensors are found by their names, as PEFT, diffusers and kohya's scripts write them (`names.rs`), never by shape.
//! - An adapter may be for several models at once (U-Net and text encoder). Those that the base has nothing of are left out and
//!   said; a module that is missing from a model that is there is a fault.
//! - What is no factor (a head that was saved whole, an embedding of new words) is left out with a warning.

mod adapter;
mod names;
mod product;
mod settings;
mod stable_diffusion;
#[cfg(test)]
mod tests;

use std::path::Path;

use taskvec_checkpoint::{Checkpoint, StoredTensor};

use crate::budget::{CurvePoint, Fitted, Wanted};
use crate::diff::refuse_quantized;
use crate::encode::{Encoded, PackDetails, PackWriter};
use crate::error::{Error, Result};
use crate::recipe::Values;
use crate::task_vector::{Deltas, TaskVector, TensorDelta, Warning};

pub use adapter::Adapter;

/// A pack made from an adapter.
#[derive(Clone, Debug)]
pub struct LoraPack {
    /// The pack.
    pub encoded: Encoded,
    /// Elements of the tensors that it changes.
    pub element_count: u64,
    /// What was decided on the way.
    pub notes: Vec<String>,
    /// What its reader must know.
    pub warnings: Vec<Warning>,
}

/// A pack made from an adapter within a budget.
#[derive(Clone, Debug)]
pub struct LoraPackWithin {
    /// The pack, and what it lost.
    pub fitted: Fitted,
    /// Other packs that could have been made, the largest first.
    pub curve: Vec<CurvePoint>,
    /// Elements of the tensors that it changes.
    pub element_count: u64,
    /// What was decided on the way.
    pub notes: Vec<String>,
    /// What its reader must know.
    pub warnings: Vec<Warning>,
}

/// The pack that adds the adapter at `adapter` (a file, or the folder that PEFT saved) to `base`.
///
/// # Errors
/// As [`Adapter::open`] and [`Adapter::deltas`]; `Usage` for lossless values, since an adapter has no tuned bits to keep.
pub fn lora(base: &Path, adapter: &Path, values: Values, name: Option<&str>) -> Result<LoraPack> {
    if values == Values::Lossless {
        return Err(Error::usage("an adapter has no tuned weights that could come back bit for bit")
            .with_help("choose `--values f32`, bf16 or int8"));
    }
    let opened = Opened::new(base, adapter, values, name)?;
    let Opened { base, adapter, details } = &opened;
    let mut writer = PackWriter::new(base.fingerprint()?, details)?;
    let mut entry_count = 0;
    adapter.deltas(base, |tensor, deltas| {
        entry_count += writer.dense(tensor.name(), base.editable_dtype(tensor)?, tensor.shape(), deltas)?;
        Ok(())
    })?;
    writer.density(opened.density(entry_count));
    let (element_count, notes) = (opened.element_count(), opened.notes());
    Ok(LoraPack { encoded: writer.finish()?, element_count, notes, warnings: adapter.warnings().to_vec() })
}

/// As [`lora`], with the best pack that keeps to a budget: a product of two factors is dense, and mostly small. The whole task
/// vector is in memory.
///
/// # Errors
/// As [`lora`] and [`Wanted::fit`].
pub fn lora_within(base: &Path, adapter: &Path, wanted: &Wanted, name: Option<&str>) -> Result<LoraPackWithin> {
    let mut opened = Opened::new(base, adapter, Values::F32, name)?;
    let mut vector = TaskVector { base: opened.base.fingerprint()?, tensors: Vec::new() };
    opened.adapter.deltas(&opened.base, |tensor, deltas| {
        let entries = (0..).zip(deltas.iter().copied()).filter(|(_, delta)| *delta != 0.0);
        let (indices, deltas) = entries.unzip();
        vector.tensors.push(TensorDelta {
            name: tensor.name().to_owned(),
            dtype: opened.base.editable_dtype(tensor)?,
            shape: tensor.shape().to_vec(),
            indices,
            deltas: Deltas::Numbers(deltas),
        });
        Ok(())
    })?;
    opened.details.density = opened.density(vector.entry_count());
    let (fitted, curve) = wanted.fit(&vector, &mut opened.details)?;
    let (element_count, notes, warnings) = (opened.element_count(), opened.notes(), opened.adapter.warnings().to_vec());
    Ok(LoraPackWithin { fitted, curve, element_count, notes, warnings })
}

/// An adapter beside its base, and what its pack says.
struct Opened {
    base: Checkpoint,
    adapter: Adapter,
    details: PackDetails,
}

impl Opened {
    fn new(base: &Path, adapter: &Path, values: Values, name: Option<&str>) -> Result<Opened> {
        refuse_quantized(base)?;
        let stem = adapter.file_stem().map_or_else(|| "adapter".to_owned(), |stem| stem.to_string_lossy().into_owned());
        let base = Checkpoint::open(base)?;
        let adapter = Adapter::open(adapter, &base)?;
        let mut details = PackDetails::new(name.map_or(stem, str::to_owned), values);
        details.method = taskvec_pack::Method::Difference;
        let file_name =
            |path: &Path| path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let parents = format!("{}, {}", file_name(base.path()), file_name(adapter.path()));
        details.provenance.push(("parents".to_owned(), parents));
        Ok(Opened { base, adapter, details })
    }

    /// Share of the base's elements that are entries.
    fn density(&self, entry_count: u64) -> f32 {
        let whole: u64 = self.base.body().map(StoredTensor::element_count).sum();
        (entry_count as f64 / (whole as f64).max(1.0)) as f32
    }

    fn element_count(&self) -> u64 {
        let tensors = self.adapter.names().filter_map(|name| self.base.tensor(name));
        tensors.map(StoredTensor::element_count).sum()
    }

    fn notes(&self) -> Vec<String> {
        [self.base.notes(), self.adapter.notes()].concat()
    }
}
