//! `taskvec-device attach PACK[@ALPHA] --base FOLDER`: attaches a pack and keeps it in force from now on.
//!
//! `PACK` is the file of a pack or of an update of installed ones, or the name or the first digits of the digest of a pack that is installed. It is put beside what is
//! committed and all of it is proved on this device; only then is the pack installed and the new composition committed. If
//! anything fails, the store and the composition in force are as they were.

use std::path::Path;

use taskvec_runtime::{Change, PackLimits, Proof, Store};

use super::installed::{installed, is_known, meant};
use crate::args::Attach;
use crate::render;

pub(crate) fn run(store: &Path, typed: &Attach, json: bool) -> anyhow::Result<()> {
    let (path, alpha) = (&typed.pack.path, typed.pack.alpha);
    let store = Store::open(store)?;
    // What lies at the path is meant before what is installed.
    let packs = if path.exists() { Vec::new() } else { installed(&store)? };
    let change = match path.to_str().filter(|name| is_known(&packs, name)) {
        Some(name) => store.attach_installed(
            &super::open(&typed.on, store.folder())?,
            &meant(&packs, name, "installed")?,
            alpha,
        )?,
        None => {
            let pack = store.pack_file(path, &PackLimits::default())?;
            let alpha = alpha.unwrap_or(pack.skill().recommended_alpha());
            store.attach(&super::open(&typed.on, store.folder())?, &pack, alpha)?
        }
    };
    render::result(json, &change, story)
}

/// What a change did, for a person.
pub(super) fn story(change: &Change) -> String {
    format!(
        "{}composition {}\n{} entries in {} tensors, {:.1} KiB of weights touched, {:.1} ms; {}\n",
        super::lines(&change.composition),
        change.composition.digest,
        change.entries,
        change.tensors,
        change.touched_bytes as f64 / 1024.0,
        change.weights_ms,
        proved(change)
    )
}

/// What was proved about it.
pub(super) fn proved(change: &Change) -> String {
    match change.proof {
        Proof::Base => "nothing to prove: the weights are the base's".to_owned(),
        Proof::Probes { count, difference_max, tolerance } => {
            format!("{count} probes passed, largest difference {difference_max:.1e}, allowed {tolerance:.1e}")
        }
        _ => "proved to change the weights and to give finite features; the probes do not apply here".to_owned(),
    }
}
