//! `taskvec-device list`: lists the packs of this device and which are in force.

use std::path::Path;

use serde::Serialize;
use taskvec_runtime::Store;

use crate::render;

#[derive(Serialize)]
struct Listed {
    name: String,
    digest: String,
    base: String,
    pack_bytes: u64,
    /// Its alpha, when it is in force.
    alpha: Option<f32>,
}

pub(crate) fn run(store: &Path, json: bool) -> anyhow::Result<()> {
    let store = Store::open(store)?;
    let committed = store.committed()?.map(|committed| committed.skills).unwrap_or_default();
    let mut listed = Vec::new();
    for skill in store.packs()? {
        listed.push(Listed {
            name: skill.name().to_owned(),
            digest: skill.digest().to_string(),
            base: skill.pack().manifest().base.to_string(),
            pack_bytes: skill.pack().content().len() as u64,
            alpha: committed.iter().find(|(digest, _)| *digest == skill.digest()).map(|(_, alpha)| *alpha),
        });
    }
    render::result(json, &listed, |listed| {
        if listed.is_empty() {
            return "no packs on this device\n".to_owned();
        }
        let line = |pack: &Listed| {
            let force =
                pack.alpha.map_or_else(|| "not in force".to_owned(), |alpha| format!("in force at alpha {alpha}"));
            format!("{}  {}  {} bytes  {force}\n", pack.digest, pack.name, pack.pack_bytes)
        };
        listed.iter().map(line).collect()
    })
}
