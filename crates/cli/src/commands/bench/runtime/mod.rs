//! What a device pays: for a change of what is in force, for an inference with skills, for an inference during changes, for
//! opening a base, and in memory.
//!
//! Two bases are made for it, with random weights: one of the size of ViT-B/32 (88 million parameters, 350 MB, 50 tokens),
//! and a small one for whatever needs thousands of inferences. Beside each figure stands what a user would have to do
//! otherwise, measured in the same run. ONNX Runtime runs on one thread.

mod bases;
mod changes;
mod inference;
mod opening;
mod swaps;

use std::path::Path;

use taskvec_runtime::{EngineChoice, OrtSettings, Session};

use self::bases::{SMALL, VIT_B_32};
use super::Row;
use crate::render;

pub(super) fn rows(library: Option<&Path>) -> anyhow::Result<Vec<Row>> {
    let folder = tempfile::tempdir()?;
    render::note("making a base of the size of ViT-B/32 ...");
    let large = bases::make(&folder.path().join("vit-b-32"), &VIT_B_32)?;
    let mut rows = changes::rows(&large)?;
    rows.push(opening::memory_row(&large)?);
    let settings = OrtSettings {
        library: library.map(Path::to_owned),
        python_environments: vec!["target/python".into(), "target/bench-python".into()],
        ..OrtSettings::default()
    };
    let ort = EngineChoice::Ort(settings.clone());
    if let Err(cause) = Session::open(&large.attention, &ort) {
        render::note(&format!("left out: everything on ONNX Runtime ({cause})"));
        return Ok(rows);
    }
    rows.extend(changes::end_to_end_rows(&large, &ort)?);
    rows.extend(inference::rows(&large, &settings)?);
    rows.push(opening::row(&large, &ort)?);
    let small = bases::make(&folder.path().join("small"), &SMALL)?;
    rows.extend(swaps::rows(&small, &ort)?);
    Ok(rows)
}
