//! `taskvec merge RECIPE -o FILE`: makes one model of several.
//!
//! The recipe is one that mergekit's users know. Models are checkpoints of any form, or packs for the base. The result is a
//! checkpoint (`-o merged.safetensors`), or the pack that leads there from the base (`-o merged.tvp`), to be attached like any other. A
//! negative weight takes a skill away; weights -1, 1 and 1 are an analogy.

use serde::Serialize;
use taskvec_packer::Error;
use taskvec_packer::edit::{MergeMethod, MergeRecipe, merge_into_checkpoint, merge_into_pack};
use taskvec_packer::recipe::Values;
use taskvec_packer::run_folder::write_file;

use super::Outcome;
use crate::args::Merge;
use crate::render::{self, size};

#[derive(Serialize)]
struct Made {
    file: String,
    file_bytes: u64,
    method: MergeMethod,
    models: usize,
    /// Tensors that differ from the base.
    tensors: u64,
    /// Elements that do.
    entries: u64,
}

pub(crate) fn run(typed: &Merge, json: bool) -> anyhow::Result<Outcome> {
    let recipe = MergeRecipe::open(&typed.recipe)?;
    let is_pack = typed.out.extension().is_some_and(|ending| ending == "tvp");
    let merged = if is_pack {
        let stem = typed.recipe.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        let values = typed.values.map_or(Values::F32, super::values);
        let (encoded, merged) = merge_into_pack(&recipe, values, typed.name.as_deref().unwrap_or(&stem))?;
        write_file(&typed.out, &super::signed(encoded.bytes, typed.sign.as_deref())?)?;
        merged
    } else {
        if typed.values.is_some() || typed.name.is_some() || typed.sign.is_some() {
            return Err(Error::usage("--values, --name and --sign are for a pack")
                .with_help("name a file that ends in `.tvp`, or leave them out")
                .into());
        }
        merge_into_checkpoint(&recipe, &typed.out)?
    };
    let value = Made {
        file: typed.out.display().to_string(),
        file_bytes: std::fs::metadata(&typed.out)?.len(),
        method: recipe.merge_method,
        models: recipe.models.len(),
        tensors: merged.tensor_count,
        entries: merged.entry_count,
    };
    render::result(json, &value, |value| {
        format!(
            "{}: {}, {} of {} models; {} elements in {} tensors differ from the base\n",
            value.file,
            size(value.file_bytes),
            value.method.name(),
            value.models,
            value.entries,
            value.tensors
        )
    })?;
    Ok(Outcome::Done)
}
