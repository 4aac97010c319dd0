//! `taskvec apply BASE PACK[@ALPHA]... -o FILE`: writes the tuned checkpoint that a base and packs make.
//!
//! The result does not depend on the order of the packs. Everything that no pack touches keeps its bytes.

use anyhow::Context;
use serde::Serialize;
use taskvec_pack::{Limits, Pack};
use taskvec_packer::apply::apply;

use super::Outcome;
use crate::args::Apply;
use crate::render;

#[derive(Serialize)]
struct Written {
    checkpoint: String,
    tensors: u64,
    entries: u64,
}

pub(crate) fn run(typed: &Apply, json: bool) -> anyhow::Result<Outcome> {
    let mut packs = Vec::new();
    for pack in &typed.packs {
        let attempt = || format!("open pack `{}`", pack.path.display());
        let bytes = std::fs::read(&pack.path).with_context(attempt)?;
        let recommended = Pack::read(&bytes, &Limits::default()).with_context(attempt)?.manifest().alpha;
        packs.push((bytes, pack.alpha.unwrap_or(recommended)));
    }
    let packs: Vec<(&[u8], f32)> = packs.iter().map(|(bytes, alpha)| (bytes.as_slice(), *alpha)).collect();
    let applied = apply(&typed.base, &packs, &typed.out)?;
    let value = Written {
        checkpoint: typed.out.display().to_string(),
        tensors: applied.tensor_count,
        entries: applied.entry_count,
    };
    render::result(json, &value, |value| {
        format!("{}: {} entries in {} tensors applied\n", value.checkpoint, value.entries, value.tensors)
    })?;
    Ok(Outcome::Done)
}
