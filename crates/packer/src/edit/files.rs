//! Merging files: models are opened, merged tensor by tensor, and written as a checkpoint or as a pack.

use std::borrow::Cow;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use taskvec_bundle::StoredDtype;
use taskvec_checkpoint::{Checkpoint, StoredTensor};

use super::merger::Merger;
use super::models::{MergeModels, MergeTensor};
use super::recipe::MergeRecipe;
use super::sources::{Source, weights};
use crate::apply::copy;
use crate::encode::{Encoded, PackDetails, PackWriter};
use crate::error::{Error, Result};
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
    let models = ModelFiles::open(recipe)?;
    models.refuse_to_write_over(out)?;
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut aside =
        crate::run_folder::aside().tempfile_in(folder).map_err(|cause| Error::io("create a file in", folder, cause))?;
    let offsets = copy::copy(&models.base, &mut aside, out)?;
    let mut merged = Merged { tensor_count: 0, entry_count: 0 };
    let settings = recipe.settings();
    let merger = Merger::prepare(&settings, &models)?;
    for (at, tensor) in models.base.body().enumerate() {
        let base = models.base(at)?;
        let result = merger.tensor_over(at, &base)?.into_weights(&base);
        merged.note(result.iter().zip(&*base).filter(|(new, old)| new.to_bits() != old.to_bits()).count());
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
    let models = ModelFiles::open(recipe)?;
    let mut details = PackDetails::new(name, values);
    details.method = taskvec_pack::Method::Edit;
    details.provenance.push(("merge".to_owned(), recipe.merge_method.name().to_owned()));
    let parents = recipe.tuned().map(|model| model.model.display().to_string()).collect::<Vec<_>>().join(", ");
    details.provenance.push(("parents".to_owned(), parents));
    let mut writer = PackWriter::new(models.base.fingerprint()?, &details)?;
    let (mut merged, mut elements) = (Merged { tensor_count: 0, entry_count: 0 }, 0);
    let settings = recipe.settings();
    let merger = Merger::prepare(&settings, &models)?;
    for (at, tensor) in models.base.body().enumerate() {
        let base = models.base(at)?;
        let deltas = merger.tensor_over(at, &base)?.into_deltas(&base);
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

/// The models of a recipe, opened.
struct ModelFiles {
    base: Checkpoint,
    tensors: Vec<MergeTensor>,
    /// Those that were tuned, in the recipe's order.
    tuned: Vec<Source>,
    paths: Vec<PathBuf>,
}

impl ModelFiles {
    fn open(recipe: &MergeRecipe) -> Result<ModelFiles> {
        let of_base = recipe.base_model.as_deref().or(recipe.models.first().map(|model| model.model.as_path()));
        let path = recipe.path(of_base.unwrap_or(Path::new("")));
        let base = Checkpoint::open(&path)?;
        let (mut tuned, mut paths) = (Vec::new(), vec![path]);
        for model in recipe.tuned() {
            let path = recipe.path(&model.model);
            tuned.push(Source::open(&path, &base)?);
            paths.push(path);
        }
        let shape = |tensor: &StoredTensor| tensor.shape().iter().map(|side| *side as usize).collect();
        let form = |tensor: &StoredTensor| MergeTensor { name: tensor.name().to_owned(), shape: shape(tensor) };
        let tensors = base.body().map(form).collect();
        Ok(ModelFiles { base, tensors, tuned, paths })
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

impl MergeModels for ModelFiles {
    fn tensors(&self) -> &[MergeTensor] {
        &self.tensors
    }

    fn model_count(&self) -> usize {
        self.tuned.len()
    }

    fn base(&self, tensor: usize) -> Result<Cow<'_, [f32]>> {
        Ok(Cow::Owned(weights(&self.base, &self.tensors[tensor].name)?))
    }

    fn deltas(&self, model: usize, tensor: usize, base: &[f32]) -> Result<Cow<'_, [f32]>> {
        Ok(Cow::Owned(self.tuned[model].deltas(&self.tensors[tensor].name, base)?))
    }

    fn weights(&self, model: usize, tensor: usize, base: &[f32]) -> Result<Cow<'_, [f32]>> {
        Ok(Cow::Owned(self.tuned[model].weights(&self.tensors[tensor].name, base)?))
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
