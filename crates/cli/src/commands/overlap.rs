//! `taskvec inspect PACK OTHER [--base BASE]`: two packs for one base, tensor by tensor.

use std::path::Path;

use anyhow::Context;
use taskvec_packer::overlap::{Overlap, Shared, overlap};

use super::Outcome;
use crate::render::{self, size};

pub(super) fn run(first: &Path, second: &Path, base: Option<&Path>, json: bool) -> anyhow::Result<Outcome> {
    let read = |path: &Path| std::fs::read(path).with_context(|| format!("read pack `{}`", path.display()));
    let found = overlap(&read(first)?, &read(second)?, base)
        .with_context(|| format!("compare `{}` with `{}`", first.display(), second.display()))?;
    if found.total.opposed.is_none() {
        render::note(
            "tensors written losslessly are compared by their masks alone; with --base BASE their deltas are, too",
        );
    }
    render::result(json, &found, table)?;
    Ok(Outcome::Done)
}

fn table(found: &Overlap) -> String {
    let mut text = String::new();
    for (letter, pack) in ["A", "B"].iter().zip(&found.packs) {
        text.push_str(&format!("{letter}: skill `{}`, {}, pack {}\n", pack.name, size(pack.pack_bytes), pack.digest));
    }
    text.push_str(&format!("base {}\n\n", found.base));
    let header =
        ["tensor", "entries A", "B", "common", "by chance", "Jaccard", "opposed", "cosine in common", "bytes A", "B"];
    let mut rows: Vec<_> = found.tensors.iter().map(|tensor| row(&tensor.name, &tensor.shared)).collect();
    rows.push(row("all", &found.total));
    text.push_str(&render::table(&header, &rows));
    if let Some(cosine) = found.total.cosine {
        text.push_str(&format!("\ncosine of the two task vectors {cosine:.4}\n"));
    }
    text
}

fn row(name: &str, shared: &Shared) -> Vec<String> {
    let cosine = shared.cosine_in_common.map_or("-".to_owned(), |cosine| format!("{cosine:.3}"));
    vec![
        name.to_owned(),
        shared.entries[0].to_string(),
        shared.entries[1].to_string(),
        shared.common.to_string(),
        format!("{:.0}", shared.common_by_chance),
        format!("{:.3}", shared.jaccard),
        shared.opposed.map_or("-".to_owned(), |opposed| opposed.to_string()),
        cosine,
        shared.bytes[0].to_string(),
        shared.bytes[1].to_string(),
    ]
}
