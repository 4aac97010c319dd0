//! `taskvec-device info --base FOLDER`: shows the base, the engine, and the composition in force.

use std::path::Path;

use serde::Serialize;
use taskvec_runtime::{Composition, Store};

use crate::args::OnBase;
use crate::render;

#[derive(Serialize)]
struct Info {
    base: String,
    fingerprint: String,
    base_bytes: u64,
    editable_tensors: usize,
    tensors: usize,
    heads: Vec<String>,
    engine: String,
    composition: Composition,
}

pub(crate) fn run(store: &Path, typed: &OnBase, json: bool) -> anyhow::Result<()> {
    let session = super::open_committed(typed, &Store::open(store)?)?;
    let base = session.base();
    let value = Info {
        base: base.name().to_owned(),
        fingerprint: base.fingerprint().to_string(),
        base_bytes: base.bytes().len() as u64,
        editable_tensors: base.described().editable().len(),
        tensors: base.tensors().len(),
        heads: base.described().heads().iter().map(|head| head.name.clone()).collect(),
        engine: session.engine(),
        composition: session.composition(),
    };
    render::result(json, &value, |value| {
        format!(
            "base `{}`, {} bytes, {} of {} tensors editable\nfingerprint {}\nheads of its own: {}\nengine {}\ncomposition {}\n{}",
            value.base,
            value.base_bytes,
            value.editable_tensors,
            value.tensors,
            value.fingerprint,
            if value.heads.is_empty() { "none".to_owned() } else { value.heads.join(", ") },
            value.engine,
            value.composition.digest,
            super::lines(&value.composition)
        )
    })
}
