//! From a network to a base bundle: weights, graph and description in one folder.
//!
//! | file | content |
//! |---|---|
//! | `model.safetensors` | every tensor under its own name, `[out, in]`, matrices on whole pages where they fill them; heads as `heads.*` |
//! | `graph.onnx` | the network without weights: initializers point into `model.safetensors` (see `graph.rs`) |
//! | `base.json` | what [`taskvec_bundle::Base`] reads, written last: a folder without it is no bundle |

mod convolutional;
mod graph;
mod linearize;
mod linearized;
mod mobilenet_v1;
pub(crate) mod onnx;
mod resnet;
mod vit;

use std::fs;
use std::io;
use std::path::Path;

use burn::tensor::Device;
use taskvec_bundle::{
    BASE_FILE, Base, BaseDraft, GRAPH_FILE, HEADS_PREFIX, Head, HeadEntry, Interface, MODEL_FILE, NamedTensor,
    Pictures, Preprocessing, StoredDtype, TensorFile,
};
use taskvec_networks::{Network, NetworkConfig, to_safetensors};

pub use self::linearized::linearized_bundle;
use crate::error::{Error, Result};
use crate::recipe::{Pattern, Recipe};
use crate::run_folder::{RECIPE_FILE, RUN_FILE, TUNED_FILE, f32_bytes, read_head, safetensors, write_file};
use crate::train::{Start, read_network};

/// What a bundle is made of.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// Name of the base.
    pub name: &'a str,
    /// The network, with its weights.
    pub network: &'a Network,
    /// Its family and sizes.
    pub config: &'a NetworkConfig,
    /// What it expects of an image.
    pub preprocessing: &'a Preprocessing,
    /// The base's own output layers, by name.
    pub heads: &'a [(String, Head)],
    /// Which tensors packs may edit. Each costs latency on ONNX Runtime, attention alone very little.
    pub editable: &'a [Pattern],
}

/// A tensor as it will lie in `model.safetensors`.
struct Stored {
    name: String,
    shape: Vec<u64>,
    bytes: Vec<u8>,
}

/// Writes the bundle of `parts` into `folder`, which is made if need be.
///
/// # Errors
/// `Usage` when an editable pattern matches no tensor, or the parts make no base; `Io`.
pub fn write_bundle(folder: &Path, parts: &Parts<'_>) -> Result<Base> {
    let explain = |cause| Error::from_bundle(cause, format!("write base `{}`", folder.display()));
    let stored = stored(parts);
    let editable = editable(parts, &stored)?;
    let named = stored.iter().map(|tensor| NamedTensor {
        name: &tensor.name,
        dtype: StoredDtype::F32,
        shape: &tensor.shape,
        bytes: &tensor.bytes,
    });
    let model = safetensors(&named.collect::<Vec<_>>())?;
    let file = TensorFile::parse(&model).map_err(explain)?;
    let graph = graph::write(parts.name, parts.config, &file, &editable)?;
    let network = serde_json::to_value(parts.config)
        .map_err(|cause| Error::usage("the network cannot be described as JSON").caused_by(cause))?;
    let draft = BaseDraft {
        name: parts.name.to_owned(),
        network,
        interface: Interface::Pictures(Pictures {
            preprocessing: parts.preprocessing.clone(),
            feature_width: parts.config.feature_width() as u32,
        }),
        stands_for: None,
        heads: parts.heads.iter().map(|(name, head)| entry(name, head)).collect(),
        editable,
    };
    let base = Base::describe(draft, &file, &model).map_err(explain)?;
    write_files(folder, &model, &graph, &base)?;
    Ok(base)
}

/// The three files of a bundle.
pub(crate) fn write_files(folder: &Path, model: &[u8], graph: &[u8], base: &Base) -> Result<()> {
    fs::create_dir_all(folder).map_err(|cause| Error::io("create", folder, cause))?;
    // A bundle that is written over is none until it is whole again.
    let described = folder.join(BASE_FILE);
    match fs::remove_file(&described) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(Error::io("remove", &described, cause)),
        _ => {}
    }
    write_file(&folder.join(MODEL_FILE), model)?;
    write_file(&folder.join(GRAPH_FILE), graph)?;
    write_file(&described, base.to_json().as_bytes())
}

/// Writes the bundle of the base that the finished run in `run` trained. Its head keeps the recipe's name.
///
/// # Errors
/// `Usage` when the run is not finished or trained a skill; what the parts say.
pub fn bundle_run(run: &Path, folder: &Path) -> Result<Base> {
    if !run.join(RUN_FILE).exists() {
        return Err(Error::usage(format!("`{}` holds no finished run: there is no `{RUN_FILE}`", run.display()))
            .with_help("start the same `taskvec train` again; it goes on from its checkpoint"));
    }
    let recipe = Recipe::open(&run.join(RECIPE_FILE))?;
    let Some(config) = &recipe.network else {
        return Err(Error::usage(format!("run `{}` trained a skill, expected a base", run.display()))
            .with_help("`taskvec pack` makes a pack of it"));
    };
    let path = run.join(TUNED_FILE);
    let bytes = fs::read(&path).map_err(|cause| Error::io("read", &path, cause))?;
    let file =
        TensorFile::parse(&bytes).map_err(|cause| Error::from_bundle(cause, format!("read `{}`", path.display())))?;
    let network = read_network(config, &file, &bytes, &Device::flex())?;
    let heads = [(recipe.name.clone(), read_head(run)?)];
    let parts = Parts {
        name: &recipe.name,
        network: &network,
        config,
        preprocessing: &Start::preprocessing_of(config, &recipe.pixels)?,
        heads: &heads,
        editable: &recipe.editable,
    };
    write_bundle(folder, &parts)
}

fn stored(parts: &Parts<'_>) -> Vec<Stored> {
    let wide = |shape: Vec<usize>| shape.into_iter().map(|side| side as u64).collect();
    let of_network = to_safetensors(parts.network).into_iter();
    let mut stored: Vec<Stored> =
        of_network.map(|(name, shape, bytes)| Stored { name, shape: wide(shape), bytes }).collect();
    for (name, head) in parts.heads {
        let HeadEntry { weight, bias, .. } = entry(name, head);
        let classes = head.class_count() as u64;
        let shape = vec![classes, head.feature_width() as u64];
        stored.push(Stored { name: weight, shape, bytes: f32_bytes(head.weight()) });
        stored.push(Stored { name: bias, shape: vec![classes], bytes: f32_bytes(head.bias()) });
    }
    stored.sort_by(|left, right| left.name.cmp(&right.name));
    stored
}

fn editable(parts: &Parts<'_>, stored: &[Stored]) -> Result<Vec<String>> {
    let names = stored.iter().map(|tensor| &tensor.name).filter(|name| !name.starts_with(HEADS_PREFIX));
    let names: Vec<&String> = names.collect();
    if let Some(idle) = parts.editable.iter().find(|pattern| !names.iter().any(|name| pattern.matches(name))) {
        return Err(Error::usage(format!("editable `{}` matches no tensor of the network", idle.as_str()))
            .with_help("tensors are called `blocks.0.attn.qkv.weight`, for instance; `*` is any run of characters"));
    }
    let names = names.into_iter().filter(|name| parts.editable.iter().any(|pattern| pattern.matches(name)));
    Ok(names.cloned().collect())
}

fn entry(name: &str, head: &Head) -> HeadEntry {
    HeadEntry {
        name: name.to_owned(),
        labels: head.labels().to_vec(),
        weight: format!("{HEADS_PREFIX}{name}.weight"),
        bias: format!("{HEADS_PREFIX}{name}.bias"),
    }
}

#[cfg(test)]
mod tests;
