//! `taskvec-device detach SKILL --base FOLDER`: takes a skill out of force. Its pack stays installed.

use std::path::Path;

use taskvec_runtime::Store;

use super::attach::story;
use super::installed::{committed, meant};
use crate::args::Detach;
use crate::render;

pub(crate) fn run(store: &Path, typed: &Detach, json: bool) -> anyhow::Result<()> {
    let store = Store::open(store)?;
    let digest = meant(&committed(&store)?, &typed.skill, "in force")?;
    let change = store.detach(&super::open(&typed.on, store.folder())?, &digest)?;
    render::result(json, &change, story)
}
