//! `taskvec-device rollback`: goes back to the composition before the committed one, down to the base alone. Needs no base.
//!
//! The next command that needs a session proves it. It is also what repairs a journal whose newest file cannot be read.

use std::path::Path;

use serde::Serialize;
use taskvec_runtime::{Committed, RolledBack, Store};

use crate::render;

#[derive(Serialize)]
struct Told {
    /// None when the newest generation of the journal could not be read.
    from: Option<Vec<Coefficient>>,
    to: Vec<Coefficient>,
}

#[derive(Serialize)]
struct Coefficient {
    digest: String,
    alpha: f32,
}

pub(crate) fn run(store: &Path, json: bool) -> anyhow::Result<()> {
    let RolledBack { from, to } = Store::open(store)?.roll_back()?;
    let told = Told { from: from.map(coefficients), to: to.map(coefficients).unwrap_or_default() };
    render::result(json, &told, |told| {
        if told.to.is_empty() {
            return "committed now: the base alone\n".to_owned();
        }
        let line = |skill: &Coefficient| format!("committed now: pack {} at alpha {}\n", skill.digest, skill.alpha);
        told.to.iter().map(line).collect()
    })
}

fn coefficients(committed: Committed) -> Vec<Coefficient> {
    let coefficient =
        |(digest, alpha): (taskvec_runtime::Digest, f32)| Coefficient { digest: digest.to_string(), alpha };
    committed.skills.into_iter().map(coefficient).collect()
}
