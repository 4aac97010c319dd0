//! `taskvec update PACK [--from PARENT ...] -o FILE`: makes an update, which is how a pack is downloaded by devices that have others.
//!
//! A parent is an old version of the skill, or another skill that was trained on the same mask (`taskvec train --mask`). Those that are
//! of no use are left out, and a device need not have them. What `taskvec-device install` makes of the update is the pack, byte for
//! byte, with its signatures. Without parents an update is the pack, compressed.

use anyhow::Context;
use serde::Serialize;
use taskvec_pack::{Limits, Pack};
use taskvec_packer::run_folder::write_file;

use super::Outcome;
use crate::args::Update;
use crate::beside::{zstd_alone, zstd_patch};
use crate::render::{self, percent, size};

#[derive(Serialize)]
struct Made {
    update: String,
    name: String,
    digest: String,
    pack_bytes: u64,
    update_bytes: u64,
    /// Of the pack alone.
    zstd_bytes: u64,
    /// With all parents as a prefix; none without parents.
    zstd_patch_bytes: Option<u64>,
    /// Bytes of the pack that are a parent's, that are sent as differences from a parent's, that are sent as they are.
    copied_bytes: u64,
    summed_bytes: u64,
    literal_bytes: u64,
    parents: Vec<Parent>,
}

#[derive(Serialize)]
struct Parent {
    name: String,
    digest: String,
    /// Whether the update needs it.
    is_needed: bool,
}

pub(crate) fn run(typed: &Update, json: bool) -> anyhow::Result<Outcome> {
    let attempt = || format!("make an update to `{}`", typed.pack.display());
    let file = std::fs::read(&typed.pack).with_context(attempt)?;
    let pack = Pack::read(&file, &Limits::default()).with_context(attempt)?;
    let read = |path| std::fs::read(path).with_context(|| format!("read `{}`", std::path::Path::display(path)));
    let parents = typed.from.iter().map(|path| read(path)).collect::<anyhow::Result<Vec<_>>>()?;
    let parents: Vec<&[u8]> = parents.iter().map(Vec::as_slice).collect();
    let made = taskvec_update::write(&file, &parents).with_context(attempt)?;
    write_file(&typed.out, &made.bytes)?;
    let parent = |bytes: &&[u8]| {
        let parent = Pack::read(bytes, &Limits::default())?;
        let is_needed = made.parents.contains(&parent.digest());
        anyhow::Ok(Parent { name: parent.manifest().name.to_owned(), digest: parent.digest().to_string(), is_needed })
    };
    let value = Made {
        update: typed.out.display().to_string(),
        name: pack.manifest().name.to_owned(),
        digest: pack.digest().to_string(),
        pack_bytes: file.len() as u64,
        update_bytes: made.bytes.len() as u64,
        zstd_bytes: zstd_alone(&file)?,
        zstd_patch_bytes: (!parents.is_empty()).then(|| zstd_patch(&parents.concat(), &file)).transpose()?,
        copied_bytes: made.copied_bytes,
        summed_bytes: made.summed_bytes,
        literal_bytes: made.literal_bytes,
        parents: parents.iter().map(parent).collect::<anyhow::Result<_>>()?,
    };
    render::result(json, &value, table)?;
    let idle: Vec<_> = value.parents.iter().filter(|parent| !parent.is_needed).collect();
    for parent in &idle {
        render::warning(
            &format!("nothing of `{}` ({}) is of use, so it is no parent", parent.name, parent.digest),
            "name an old version of the skill, or a pack that was trained on the same mask",
        );
    }
    Ok(if idle.is_empty() { Outcome::Done } else { Outcome::DoneWithWarnings })
}

fn table(made: &Made) -> String {
    let share = |bytes: u64| bytes as f64 / made.pack_bytes as f64;
    let row = |what: &str, bytes: u64| vec![what.to_owned(), bytes.to_string(), percent(share(bytes))];
    let mut rows =
        vec![row("pack", made.pack_bytes), row("update", made.update_bytes), row("zstd -19", made.zstd_bytes)];
    rows.extend(made.zstd_patch_bytes.map(|bytes| row("zstd -19 --patch-from", bytes)));
    let needed = made.parents.iter().filter(|parent| parent.is_needed);
    let needed: String = needed.map(|parent| format!("needs `{}`, pack {}\n", parent.name, parent.digest)).collect();
    format!(
        "{}: makes `{}`, pack {}\n{needed}\n{}\nof the pack {} are copied, {} sent as differences, {} as they are\n",
        made.update,
        made.name,
        made.digest,
        render::table(&["download", "bytes", "share"], &rows),
        size(made.copied_bytes),
        size(made.summed_bytes),
        size(made.literal_bytes)
    )
}
