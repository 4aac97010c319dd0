//! `taskvec-device detach SKILL --base FOLDER`: takes a skill out of force. Its pack stays installed.

use std::path::Path;

use taskvec_runtime::{Digest, Error, ErrorKind, Session, SkillInForce, Store};

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
fn meant(session: &Session, typed: &str) -> Result<Digest, Error> {
    let skills = session.composition().skills;
    let is_meant = |skill: &&SkillInForce| {
        skill.name == typed || (!typed.is_empty() && skill.digest.to_string().starts_with(typed))
    };
    let named: Vec<_> = skills.iter().filter(is_meant).collect();
    let usage = |clause: String, help: String| Err(Error::new(ErrorKind::Usage, clause).with_help(help));
    match named[..] {
        [one] => Ok(one.digest),
        [] => {
            let names: Vec<_> = skills.iter().map(|skill| format!("`{}`", skill.name)).collect();
            let found = if names.is_empty() { "the base alone".to_owned() } else { names.join(", ") };
            usage(format!("no skill `{typed}` is in force"), format!("in force: {found}"))
        }
        _ => usage(
            format!("`{typed}` means {} skills in force", named.len()),
            "name one by the first digits of its digest, which `list` shows".to_owned(),
        ),
    }
}
