//! `taskvec-device remove SKILL`: removes a pack that is not in force from the store. Needs no base.
//!
//! Earlier compositions that named it can no longer be rolled back to.

use std::path::Path;

use serde::Serialize;
use taskvec_runtime::Store;

use super::installed::{installed, meant};
use crate::args::Remove;
use crate::render;

#[derive(Serialize)]
struct Gone {
    digest: String,
    compositions_forgotten: usize,
}

pub(crate) fn run(store: &Path, typed: &Remove, json: bool) -> anyhow::Result<()> {
    let store = Store::open(store)?;
    let removed = store.remove(&meant(&installed(&store)?, &typed.skill, "installed")?)?;
    let (digest, compositions_forgotten) = (removed.digest.to_string(), removed.compositions_forgotten);
    render::result(json, &Gone { digest, compositions_forgotten }, |gone| {
        let forgotten = match gone.compositions_forgotten {
            0 => String::new(),
            count => format!("; {count} earlier compositions that named it are forgotten"),
        };
        format!("removed pack {}{forgotten}\n", gone.digest)
    })
}
