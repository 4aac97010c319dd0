//! `taskvec inspect PACK OTHER [--base BASE]`: two packs for one base, tensor by tensor.
//!
//! With `--data FOLDER --data FOLDER`, the data of the first skill and of the second, a second table says what each task loses when both
//! are in force: measured, and predicted to first order from the skill alone.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Serialize;
use taskvec_packer::Error;
use taskvec_packer::overlap::{Interference, Overlap, Shared, Standing, interference, overlap};

use super::Outcome;
use crate::render::{self, size};

#[derive(Serialize)]
struct Compared {
    #[serde(flatten)]
    overlap: Overlap,
    #[serde(skip_serializing_if = "Option::is_none")]
    interference: Option<Interference>,
}

pub(super) fn run(
    first: &Path,
    second: &Path,
    base: Option<&Path>,
    data: &[PathBuf],
    json: bool,
) -> anyhow::Result<Outcome> {
    let read = |path: &Path| std::fs::read(path).with_context(|| format!("read pack `{}`", path.display()));
    let attempt = || format!("compare `{}` with `{}`", first.display(), second.display());
    let (ours, theirs) = (read(first)?, read(second)?);
    let found = overlap(&ours, &theirs, base).with_context(attempt)?;
    if found.total.opposed.is_none() {
        render::note(
            "tensors written losslessly are compared by their masks alone; with --base BASE their deltas are, too",
        );
    }
    let measured = match (base, data) {
        (_, []) | (None, _) => None,
        (Some(base), [of_first, of_second]) => {
            Some(interference([&ours, &theirs], base, [of_first, of_second]).with_context(attempt)?)
        }
        (_, folders) => {
            return Err(Error::usage(format!("--data is given {} times, expected twice", folders.len()))
                .with_help("name the data of the first skill, then that of the second")
                .into());
        }
    };
    render::result(json, &Compared { overlap: found, interference: measured }, |compared| {
        let measured = compared.interference.as_ref().map(costs).unwrap_or_default();
        format!("{}{measured}", table(&compared.overlap))
    })?;
    Ok(Outcome::Done)
}

/// What the skills cost each other.
fn costs(found: &Interference) -> String {
    let standing = |standing: &Standing| format!("{} ({:.3})", render::percent(standing.accuracy), standing.loss);
    let rows = found.tasks.iter().zip(["A", "B"]).map(|(task, letter)| {
        vec![
            format!("{letter}: {}", task.skill),
            format!("{}, {} images", task.data, task.images),
            standing(&task.base),
            standing(&task.own),
            standing(&task.other),
            standing(&task.both),
            format!("{:.3}", task.both_loss_predicted),
        ]
    });
    let header = ["skill", "its data", "base", "own skill", "other skill", "both", "predicted loss"];
    format!("\naccuracy (and loss) of each task\n{}", render::table(&header, &rows.collect::<Vec<_>>()))
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
