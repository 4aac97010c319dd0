//! One model from several: merged, negated, moved by analogy; as a checkpoint, or as the pack that leads there from the base.
//!
//! | to | say |
//! |---|---|
//! | add skills | `task_arithmetic`, a weight for each |
//! | forget one | `task_arithmetic` with a negative weight |
//! | A is to B as C is to ? | `task_arithmetic` with weights -1, 1, 1 for A, B, C |
//! | merge what interferes | `ties`, `dare_*`, `breadcrumbs*`, `della*`, `model_stock` |
//! | mix whole models | `linear`, `slerp` |
//!
//! Models pass tensor by tensor: of each, one tensor is in memory at a time (of a pack, what it holds). Sums are in f32, dot products
//! in f64, and the result is rounded once to the base's dtype. Integers and heads stay the base's.
//!
//! Methods and defaults are those of mergekit, and so are results, to within a millionth, where nothing is drawn. What is decided
//! otherwise here: recipes cannot leave the dtype of the base, 16-bit models are summed in f32, and DELLA's rows are rows of
//! whatever has more than one side, also where mergekit takes the second side of a convolution.

mod combine;
mod recipe;
mod sources;
mod sparsify;
#[cfg(test)]
mod tests;

use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use taskvec_bundle::StoredDtype;
use taskvec_checkpoint::{Checkpoint, StoredTensor};

pub use self::recipe::{MergeMethod, MergeParameters, MergeRecipe, MergedModel, NamedRescale, Rescale};
use self::sources::{Source, weights};
use self::sparsify::sparsify;
use crate::apply::copy;
use crate::encode::{Encoded, PackDetails, PackWriter};
use crate::error::{Error, Result};
use crate::random::Random;
use crate::recipe::Values;

/// What a merge did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged {
    /// Tensors of the result that differ from the base.
    pub tensor_count: u64,
    /// Elements that do.
    pub entry_count: u64,
}

/// Writes the merged model to `out`, a safetensors file in the layout of the base (of the first model, where there is no base).
///
/// # Errors
/// `Mismatch` when a model has not the tensors of the base, or a pack is for another one; `Usage` when `out` is one of the models;
/// `Damaged`, `Unsupported` or `Limit` for what cannot be read, `Io`.
pub fn merge_into_checkpoint(recipe: &MergeRecipe, out: &Path) -> Result<Merged> {
    let models = Models::open(recipe)?;
    models.refuse_to_write_over(out)?;
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut aside =
        crate::run_folder::aside().tempfile_in(folder).map_err(|cause| Error::io("create a file in", folder, cause))?;
    let offsets = copy::copy(&models.base, &mut aside, out)?;
    let mut merged = Merged { tensor_count: 0, entry_count: 0 };
    for tensor in models.base.body() {
        let base = weights(&models.base, tensor.name())?;
        let result = match models.merge(tensor, &base)? {
            MergedTensor::Weights(weights) => weights,
            MergedTensor::Deltas(deltas) => deltas.iter().zip(&base).map(|(delta, base)| base + delta).collect(),
        };
        merged.note(result.iter().zip(&base).filter(|(new, old)| new.to_bits() != old.to_bits()).count());
        let bytes = rounded(tensor.dtype(), &result);
        let written = aside.seek(SeekFrom::Start(offsets[tensor.name()])).and_then(|_| aside.write_all(&bytes));
        written.map_err(|cause| Error::io("write", out, cause))?;
    }
    aside.as_file().sync_all().map_err(|cause| Error::io("write", out, cause))?;
    aside.persist(out).map_err(|cause| Error::io("write", out, cause.error))?;
    Ok(merged)
}

/// The pack that leads from the base to the merged model, its deltas rounded as `values` says.
///
/// # Errors
/// As [`merge_into_checkpoint`], and `Usage` without a base or for lossless values, since there is no tuned model whose bits
/// could come back.
pub fn merge_into_pack(recipe: &MergeRecipe, values: Values, name: &str) -> Result<(Encoded, Merged)> {
    if recipe.base_model.is_none() {
        return Err(Error::usage("a pack is for a base, and the recipe names none")
            .with_help("name it (`base_model`), or write a checkpoint"));
    }
    if values == Values::Lossless {
        return Err(Error::usage("a merged model has no bits of its own that could come back")
            .with_help("choose `--values f32`, bf16 or int8"));
    }
    let models = Models::open(recipe)?;
    let mut details = PackDetails::new(name, values);
    details.method = taskvec_pack::Method::Edit;
    details.provenance.push(("merge".to_owned(), recipe.merge_method.name().to_owned()));
    let parents = recipe.tuned().map(|model| model.model.display().to_string()).collect::<Vec<_>>().join(", ");
    details.provenance.push(("parents".to_owned(), parents));
    let mut writer = PackWriter::new(models.base.fingerprint()?, &details)?;
    let (mut merged, mut elements) = (Merged { tensor_count: 0, entry_count: 0 }, 0);
    for tensor in models.base.body() {
        let base = weights(&models.base, tensor.name())?;
        let deltas = match models.merge(tensor, &base)? {
            MergedTensor::Deltas(deltas) => deltas,
            MergedTensor::Weights(weights) => weights.iter().zip(&base).map(|(new, old)| new - old).collect(),
        };
        elements += tensor.element_count();
        merged.note(deltas.iter().filter(|delta| **delta != 0.0).count());
        writer.dense(tensor.name(), models.base.editable_dtype(tensor)?, tensor.shape(), &deltas)?;
    }
    writer.density((merged.entry_count as f64 / (elements as f64).max(1.0)) as f32);
    Ok((writer.finish()?, merged))
}

impl Merged {
    fn note(&mut self, changed: usize) {
        self.tensor_count += u64::from(changed > 0);
        self.entry_count += changed as u64;
    }
}

/// A merged tensor, as its method finds it.
enum MergedTensor {
    Weights(Vec<f32>),
    Deltas(Vec<f32>),
}

/// The models of a recipe, opened.
struct Models<'a> {
    recipe: &'a MergeRecipe,
    base: Checkpoint,
    /// Those that were tuned, in the recipe's order.
    tuned: Vec<(MergeParameters, Source)>,
    paths: Vec<PathBuf>,
}

impl Models<'_> {
    fn open(recipe: &MergeRecipe) -> Result<Models<'_>> {
        let of_base = recipe.base_model.as_deref().or(recipe.models.first().map(|model| model.model.as_path()));
        let path = recipe.path(of_base.unwrap_or(Path::new("")));
        let base = Checkpoint::open(&path)?;
        // The mean of whole models counts the base as one of them, if it is listed.
        let listed = |model: &&MergedModel| {
            recipe.merge_method == MergeMethod::Linear || Some(&model.model) != recipe.base_model.as_ref()
        };
        let mut tuned = Vec::new();
        let mut paths = vec![path];
        for model in recipe.models.iter().filter(listed) {
            let path = recipe.path(&model.model);
            tuned.push((recipe.of(model), Source::open(&path, &base)?));
            paths.push(path);
        }
        Ok(Models { recipe, base, tuned, paths })
    }

    fn merge(&self, tensor: &StoredTensor, base: &[f32]) -> Result<MergedTensor> {
        let (method, shared) = (self.recipe.merge_method, &self.recipe.parameters);
        let normalize = shared.normalize.unwrap_or(method.normalizes());
        let weight = |parameters: &MergeParameters| parameters.weight.unwrap_or(1.0) as f32;
        let deltas = || self.tuned.iter().map(|(_, model)| model.deltas(tensor, base)).collect::<Result<Vec<_>>>();
        let weights = || {
            let each =
                self.tuned.iter().map(|(parameters, model)| Ok((weight(parameters), model.weights(tensor, base)?)));
            each.collect::<Result<Vec<_>>>()
        };
        Ok(match method {
            MergeMethod::Linear => MergedTensor::Weights(combine::linear(&weights()?, normalize)),
            MergeMethod::Slerp => {
                let others = weights()?;
                let other = others.first().map_or(base, |(_, weights)| weights);
                MergedTensor::Weights(combine::slerp(base, other, shared.t.unwrap_or(0.5)))
            }
            MergeMethod::ModelStock => MergedTensor::Deltas(combine::model_stock(&deltas()?)),
            _ => {
                let mut weighted = Vec::new();
                for (place, ((parameters, _), mut deltas)) in self.tuned.iter().zip(deltas()?).enumerate() {
                    if let Some(how) = method.sparsifier() {
                        let row = match tensor.shape() {
                            [] | [_] => deltas.len(),
                            [_, rest @ ..] => rest.iter().product::<u64>() as usize,
                        };
                        let rescale = shared.rescale.unwrap_or(method.rescale());
                        let stream = format!("merge/model {place}/{}", tensor.name());
                        let mut random = Random::new(self.recipe.seed, &stream);
                        sparsify(&mut deltas, row, how, parameters, rescale, &mut random);
                    }
                    weighted.push((weight(parameters), deltas));
                }
                let lambda = shared.lambda.unwrap_or(1.0) as f32;
                MergedTensor::Deltas(combine::sum(&weighted, method, normalize, lambda))
            }
        })
    }

    fn refuse_to_write_over(&self, out: &Path) -> Result<()> {
        let real = out.canonicalize().ok();
        let is_out = |path: &PathBuf| real.is_some() && path.canonicalize().ok() == real;
        match self.paths.iter().any(is_out) {
            false => Ok(()),
            true => Err(Error::usage(format!("`{}` is one of the models, which are never written", out.display()))
                .with_help("name another file to write")),
        }
    }
}

/// As bytes of this dtype, each number rounded to the nearest.
fn rounded(dtype: StoredDtype, values: &[f32]) -> Vec<u8> {
    match dtype {
        StoredDtype::F16 => values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect(),
        StoredDtype::Bf16 => values.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes()).collect(),
        _ => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
    }
}
