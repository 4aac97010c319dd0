//! `taskvec-device list`: lists the packs of this device and which are in force.

use std::path::Path;

use serde::Serialize;
use taskvec_runtime::{InstalledPack, Store};

use crate::render;

#[derive(Serialize)]
struct Listed {
    /// None when the pack cannot be read.
    name: Option<String>,
    digest: String,
    base: Option<String>,
    pack_bytes: Option<u64>,
    /// Its alpha, when it is in force.
    alpha: Option<f32>,
    /// Why it cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    damage: Option<String>,
}

pub(crate) fn run(store: &Path, json: bool) -> anyhow::Result<()> {
    let store = Store::open(store)?;
    let committed = store.committed()?.map(|committed| committed.skills).unwrap_or_default();
    let alpha =
        |pack: &InstalledPack| committed.iter().find(|(digest, _)| *digest == pack.digest).map(|(_, alpha)| *alpha);
    let listed: Vec<Listed> = store.packs()?.into_iter().map(|pack| Listed::of(alpha(&pack), pack)).collect();
    render::result(json, &listed, |listed| {
        if listed.is_empty() {
            return format!("no packs in `{}`\n", store.folder().display());
        }
        listed.iter().map(line).collect()
    })
}

impl Listed {
    fn of(alpha: Option<f32>, pack: InstalledPack) -> Self {
        let digest = pack.digest.to_string();
        match pack.skill {
            Ok(skill) => Self {
                name: Some(skill.name().to_owned()),
                digest,
                base: Some(skill.pack().manifest().base.to_string()),
                pack_bytes: Some(skill.pack().content().len() as u64),
                alpha,
                damage: None,
            },
            Err(wrong) => {
                let damage = Some(render::one_line(&wrong.into()));
                Self { name: None, digest, base: None, pack_bytes: None, alpha, damage }
            }
        }
    }
}

fn line(pack: &Listed) -> String {
    let force = pack.alpha.map_or_else(|| "not in force".to_owned(), |alpha| format!("in force at alpha {alpha}"));
    match (&pack.name, pack.pack_bytes, &pack.damage) {
        (Some(name), Some(bytes), _) => format!("{}  {name}  {bytes} bytes  {force}\n", pack.digest),
        (.., damage) => {
            format!("{}  cannot be read: {}  {force}\n", pack.digest, damage.as_deref().unwrap_or_default())
        }
    }
}
