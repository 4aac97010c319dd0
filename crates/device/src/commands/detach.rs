//! `taskvec-device detach SKILL --base FOLDER`: takes a skill out of force. Its pack stays installed.

use std::path::Path;

use anyhow::bail;
use taskvec_runtime::{Digest, Session, Store};

use super::attach::story;
use crate::args::Detach;
use crate::render;

pub(crate) fn run(store: &Path, typed: &Detach, json: bool) -> anyhow::Result<()> {
    let store = Store::open(store)?;
    let session = super::open_committed(&typed.on, &store)?;
    let change = session.detach(&meant(&session, &typed.skill)?)?;
    store.commit(&change.composition)?;
    render::result(json, &change, story)
}

/// The one skill in force with this name, or whose digest begins with these digits.
fn meant(session: &Session, typed: &str) -> anyhow::Result<Digest> {
    let skills = session.composition()?.skills;
    let named: Vec<_> =
        skills.iter().filter(|skill| skill.name == typed || skill.digest.to_string().starts_with(typed)).collect();
    match named[..] {
        [one] => Ok(one.digest),
        [] if skills.is_empty() => bail!("no skill is in force, so `{typed}` cannot be detached"),
        [] => {
            let names: Vec<_> = skills.iter().map(|skill| format!("`{}`", skill.name)).collect();
            bail!("no skill `{typed}` is in force, found {}", names.join(", "))
        }
        _ => bail!("`{typed}` means {} skills in force: name one by more digits of its digest", named.len()),
    }
}
