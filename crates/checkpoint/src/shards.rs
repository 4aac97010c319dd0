//! A checkpoint in several files: `model.safetensors.index.json` and its like, which say which tensor lies in which file.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use serde::Deserialize;
use taskvec_dataset::{Error, Result};

use crate::faults::Faults;
use crate::limits::Limits;
use crate::source::{Source, damaged};
use crate::table::Table;

/// The part of an index that says something: the rest of it (`metadata`) is a size that is not needed.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Adds the tensors of all shards that the first file, an index, names.
pub(crate) fn read(table: &mut Table, limits: &Limits, open: impl Fn(Source) -> Result<Table>) -> Result<()> {
    let source = table.first();
    let json = source.bytes("its index", 0, source.size_bytes(), limits.header_bytes_max)?;
    let index: Index = serde_json::from_slice(&json)
        .map_err(|cause| damaged("as an index of shards: expected a JSON object with `weight_map`").caused_by(cause))?;
    let Some(folder) = source.folder().map(Path::to_owned) else {
        return Err(Error::usage("its shards cannot be read from memory").with_help("name the index by its path"));
    };
    let mut shards: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (tensor, shard) in &index.weight_map {
        shards.entry(shard).or_default().push(tensor);
    }
    let mut faults = Faults::default();
    for (shard, expected) in shards {
        let file = inside(&folder, shard)?;
        let found = open(file).map_err(|cause| cause.within(format!("shard `{shard}`")))?;
        let missing = expected.iter().filter(|name| !found.has(name));
        missing.for_each(|name| faults.add(format!("tensor `{name}` is not in shard `{shard}`")));
        let unknown = found.names().filter(|name| index.weight_map.get(*name).is_none_or(|home| home != shard));
        unknown.for_each(|name| faults.add(format!("tensor `{name}` is in shard `{shard}`, not by the index")));
        if faults.message().is_none() {
            table.absorb(found, limits)?;
        }
    }
    match faults.message() {
        Some(message) => {
            Err(Error::mismatch(message).with_help("index and shards are of two versions: fetch all again"))
        }
        None => Ok(()),
    }
}

/// The file of this name in `folder` or a folder below it, and nowhere else, whatever links there are.
pub(crate) fn inside(folder: &Path, name: &str) -> Result<Source> {
    let refused = || {
        Error::usage(format!("its file `{name}` does not lie in the folder `{}`", folder.display()))
            .with_help("put all files of the checkpoint into one folder")
    };
    let path = Path::new(name);
    if name.is_empty() || !path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Err(refused());
    }
    let path = folder.join(path);
    let real = |path: &Path| path.canonicalize().map_err(|cause| Error::io("read", path, cause));
    if !real(&path)?.starts_with(real(folder)?) {
        return Err(refused());
    }
    Source::open(&path)
}
