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

use crate::encode::{Encoded, PackDetails, PackWriter};
use crate::error::{Error, Result};
use crate::recipe::Values;
use crate::task_vector::Warning;

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

/// The pack that adds the adapter at `adapter` (a file, or the folder that PEFT saved) to `base`.
///
/// # Errors
/// As [`Adapter::open`] and [`Adapter::deltas`]; `Usage` for lossless values, since an adapter has no tuned bits to keep.
pub fn lora(base: &Path, adapter: &Path, values: Values, name: Option<&str>) -> Result<LoraPack> {
    if values == Values::Lossless {
        return Err(Error::usage("an adapter has no tuned weights that could come back bit for bit")
            .with_help("choose `--values f32`, bf16 or int8"));
    }
    let stem = adapter.file_stem().map_or_else(|| "adapter".to_owned(), |stem| stem.to_string_lossy().into_owned());
    let base = Checkpoint::open(base)?;
    let adapter = Adapter::open(adapter, &base)?;
    let mut details = PackDetails::new(name.map_or(stem, str::to_owned), values);
    details.method = taskvec_pack::Method::Difference;
    let file_name = |path: &Path| path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let parents = format!("{}, {}", file_name(base.path()), file_name(adapter.path()));
    details.provenance.push(("parents".to_owned(), parents));
    let mut writer = PackWriter::new(base.fingerprint()?, &details)?;
    let mut entry_count = 0;
    adapter.deltas(&base, |tensor, deltas| {
        entry_count += writer.dense(tensor.name(), base.editable_dtype(tensor)?, tensor.shape(), deltas)?;
        Ok(())
    })?;
    let whole: u64 = base.body().map(StoredTensor::element_count).sum();
    writer.density((entry_count as f64 / (whole as f64).max(1.0)) as f32);
    let element_count = adapter.names().filter_map(|name| base.tensor(name)).map(StoredTensor::element_count).sum();
    let notes = [base.notes(), adapter.notes()].concat();
    Ok(LoraPack { encoded: writer.finish()?, element_count, notes, warnings: adapter.warnings().to_vec() })
}
