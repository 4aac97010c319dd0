//! `taskvec-device attach PACK[@ALPHA] --base FOLDER`: attaches a pack and keeps it in force from now on.
//!
//! The pack is checked, applied beside what is in force and proved on this device; only then is it installed and the new
//! composition committed. If anything fails, the store and the composition in force are as they were.

use std::path::Path;

use anyhow::Context;
use taskvec_runtime::{Change, PackLimits, Proof, Skill, Store};

use crate::args::Attach;
use crate::render;

pub(crate) fn run(store: &Path, typed: &Attach, json: bool) -> anyhow::Result<()> {
    let path = &typed.pack.path;
    // Opened by path first: its limits hold before a byte is in memory.
    let skill = Skill::open(path, &PackLimits::default())?;
    let store = Store::open(store)?;
    let session = super::open_committed(&typed.on, &store)?;
    let change = session.attach(&skill, typed.pack.alpha.unwrap_or(skill.recommended_alpha()))?;
    let bytes = std::fs::read(path).with_context(|| format!("read pack `{}`", path.display()))?;
    store.install(&skill, &bytes)?;
    store.commit(&change.composition)?;
    render::result(json, &change, story)
}

/// What a change did, for a person.
pub(super) fn story(change: &Change) -> String {
    let proof = match change.proof {
        Proof::Base => "nothing to prove: the weights are the base's".to_owned(),
        Proof::Probes { count, difference_max, tolerance } => {
            format!("{count} probes passed, largest difference {difference_max:.1e}, allowed {tolerance:.1e}")
        }
        _ => "proved to change the weights and to give finite features; the probes do not apply here".to_owned(),
    };
    format!(
        "{}composition {}\n{} entries in {} tensors, {:.1} KiB of weights touched, {:.1} ms; {proof}\n",
        super::lines(&change.composition),
        change.composition.digest,
        change.entries,
        change.tensors,
        change.touched_bytes as f64 / 1024.0,
        change.weights_ms
    )
}
