//! `taskvec-device install PACK`: checks a pack and who has signed it, and copies it into the store. Nothing comes into force.
//!
//! `PACK` may be an update (`taskvec update`): the pack is then made of it and of packs that are installed, is checked like
//! any other, and is whole like any other once it is there.

use std::path::Path;

use anyhow::Context;
use serde::Serialize;
use taskvec_runtime::{PackLimits, Store};

use crate::args::Install;
use crate::render;

#[derive(Serialize)]
struct Installed {
    name: String,
    digest: String,
    /// False when it was there already.
    is_new: bool,
}

pub(crate) fn run(store: &Path, typed: &Install, json: bool) -> anyhow::Result<()> {
    let store = Store::open(store)?;
    let pack = store.pack_file(&typed.pack, &PackLimits::default())?;
    let skill = pack.skill();
    super::trust_of(&store, typed.allow_unsigned)?
        .verify(skill.pack())
        .with_context(|| format!("install `{}`", skill.name()))?;
    let is_new = store.install(&pack)?;
    let value = Installed { name: skill.name().to_owned(), digest: skill.digest().to_string(), is_new };
    render::result(json, &value, |value| {
        let state = if value.is_new { "installed" } else { "was installed already" };
        format!("{}  {}  {state}\n", value.digest, value.name)
    })
}
