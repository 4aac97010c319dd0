//! `taskvec-device info --base FOLDER`: shows the base, the engine, and the composition in force. Writes nothing.

use std::path::Path;

use serde::Serialize;
use taskvec_runtime::{Composition, EngineReport, Fallback, Store};

use super::Outcome;
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
    engine_report: EngineReport,
    composition: Composition,
}

pub(crate) fn run(store: &Path, typed: &OnBase, json: bool) -> anyhow::Result<Outcome> {
    let session = super::open(typed, store)?;
    let outcome = super::warn(&Store::open(store)?.rehearse(&session)?);
    let base = session.base();
    let value = Info {
        base: base.name().to_owned(),
        fingerprint: base.fingerprint().to_string(),
        base_bytes: base.bytes().len() as u64,
        editable_tensors: base.described().editable().len(),
        tensors: base.tensors().len(),
        heads: base.described().heads().iter().map(|head| head.name.clone()).collect(),
        engine: session.engine(),
        engine_report: session.engine_report(),
        composition: session.composition(),
    };
    render::result(json, &value, |value| {
        format!(
            "base `{}`, {} bytes, {} of {} tensors editable\nfingerprint {}\nheads of its own: {}\nengine {}\n{}composition {}\n{}",
            value.base,
            value.base_bytes,
            value.editable_tensors,
            value.tensors,
            value.fingerprint,
            if value.heads.is_empty() { "none".to_owned() } else { value.heads.join(", ") },
            value.engine,
            lines(&value.engine_report),
            value.composition.digest,
            super::lines(&value.composition)
        )
    })?;
    Ok(outcome)
}

/// Why this engine, and what was tried before it.
fn lines(report: &EngineReport) -> String {
    let tried = report.fallbacks.iter().map(|Fallback { tried, reason }| format!("  not {tried}: {reason}\n"));
    std::iter::once(format!("  why: {}\n", report.reason)).chain(tried).collect()
}
