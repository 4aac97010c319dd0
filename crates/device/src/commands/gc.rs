//! `taskvec-device gc`: removes the packs that no kept composition names, and what was left aside. Needs no base.
//!
//! A pack that was installed and never attached is named by none.

use std::path::Path;

use serde::Serialize;
use taskvec_runtime::Store;

use crate::render;

#[derive(Serialize)]
struct Gone {
    packs: Vec<String>,
    left_aside: usize,
    generations: usize,
}

pub(crate) fn run(store: &Path, json: bool) -> anyhow::Result<()> {
    let collected = Store::open(store)?.collect()?;
    let gone = Gone {
        packs: collected.packs.iter().map(ToString::to_string).collect(),
        left_aside: collected.left_aside,
        generations: collected.generations,
    };
    render::result(json, &gone, |gone| {
        let packs: String = gone.packs.iter().map(|digest| format!("removed pack {digest}\n")).collect();
        let (packs_count, aside, generations) = (gone.packs.len(), gone.left_aside, gone.generations);
        format!("{packs}removed {packs_count} packs, {aside} files left aside, {generations} old generations\n")
    })
}
