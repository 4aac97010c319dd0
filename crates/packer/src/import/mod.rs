//! From an ONNX model of somebody else's to a base bundle.
//!
//! | file | content |
//! |---|---|
//! | `model.safetensors` | every initializer of floats and every quantized weight, under the graph's own names and in its layout |
//! | `graph.onnx` | the model without them: they point into `model.safetensors`; those that may be edited are inputs as well. Numbers of less than [`SMALL_BYTES`] that may not be edited stand in the graph too, since libraries look at constants there |
//! | `base.json` | what goes in and out, what may be edited, and what each tensor is in the checkpoint that the model was exported from |
//!
//! Nothing of the graph is computed or changed here; whether its answers are the model's is for an engine to say. The whole
//! model is in memory twice.

mod recognize;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::Path;

use taskvec_bundle::{
    BASE_FILE, Base, BaseDraft, Counterpart, HEADS_PREFIX, HeadEntry, Interface, NamedTensor, Side, StandsFor,
    StoredDtype, TensorFile,
};
use taskvec_checkpoint::onnx_graph::{Home, OnnxGraph, WholeNumbers, rewrite};
use taskvec_checkpoint::{Checkpoint, Form, StoredTensor};

use self::recognize::{Quantized, grid_of, recognize};
use crate::error::{Error, Result};
use crate::export::write_files;
use crate::recipe::Pattern;
use crate::run_folder::safetensors;

/// Below this, numbers that may not be edited stand in the graph.
pub const SMALL_BYTES: usize = 1024;

/// How a model becomes a base.
#[derive(Clone, Debug, Default)]
pub struct ImportSettings<'a> {
    /// What people call the base. Default: the file's name without its ending.
    pub name: Option<&'a str>,
    /// The checkpoint that the model was exported or quantized from, or the bundle of it: packs that are made for it are then
    /// attached to this base too. Default: none.
    pub of: Option<&'a Path>,
    /// Which weights packs may edit: those whose name, whose name in `of`, or one of whose layers' names fits one of these
    /// patterns; each group of them has to fit a weight. Each weight costs latency on ONNX Runtime. Default: all weights; with a
    /// bundle in `of`, those that may be edited there.
    pub editable: Vec<Vec<Pattern>>,
    /// Sizes of named sides when the base is tried. Default: 1 for a batch, else 8.
    pub sizes: Vec<(String, u64)>,
    /// What an input is filled with when the base is tried, where not any number will do. Default: nothing in particular.
    pub fills: Vec<(String, f64)>,
}

/// What became of a model.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The base.
    pub base: Base,
    /// Weights that could be edited in this graph, and are no tensor of `of`: made by the exporter of one or more of them. Only
    /// with `of`.
    pub not_recognized: Vec<String>,
    /// Tensors of `of` that are nowhere in the graph. Only with `of`.
    pub absent: Vec<String>,
    /// What was decided on the way.
    pub notes: Vec<String>,
}

/// A tensor that will lie in `model.safetensors`.
struct Weight {
    name: String,
    dtype: StoredDtype,
    shape: Vec<u64>,
    bytes: Vec<u8>,
}

/// The checkpoint that a model was made from.
struct Original {
    checkpoint: Checkpoint,
    /// If it is a bundle.
    base: Option<Base>,
}

/// Writes the bundle of the ONNX model in the file `model` into `folder`, which is made if need be.
///
/// # Errors
/// `Usage` when `model` is no ONNX file, a pattern fits no weight, or a size or fill is of nothing; `Mismatch` when no weight is a
/// tensor of `of`; `Damaged`, `Unsupported` or `Limit` when the model cannot be read; `Io`.
pub fn import(model: &Path, folder: &Path, settings: &ImportSettings<'_>) -> Result<Imported> {
    import_checked(model, folder, settings).map_err(|cause| cause.within(format!("model `{}`", model.display())))
}

fn import_checked(path: &Path, folder: &Path, settings: &ImportSettings<'_>) -> Result<Imported> {
    let checkpoint = Checkpoint::open(path)?;
    if checkpoint.form() != Form::Onnx {
        return Err(Error::usage("not an ONNX model by its ending and its first bytes").with_help(
            "export the model to a file that ends in `.onnx`, or say with `--network` what this checkpoint is",
        ));
    }
    let model = fs::read(path).map_err(|cause| Error::io("read", path, cause))?;
    let graph = OnnxGraph::read(&model)?;
    if let Some(name) = graph.stranded().first() {
        return Err(Error::unsupported(format!(
            "initializer `{name}` lies in another file, from where it cannot be moved"
        ))
        .with_help("save the model in one file, or without 4-bit and 8-bit floats"));
    }
    let original = settings.of.map(Original::open).transpose()?;
    let mut weights = weights(&checkpoint, &graph)?;
    let parts: HashMap<&str, &Weight> = weights.iter().map(|weight| (weight.name.as_str(), weight)).collect();
    let grids: BTreeMap<&str, Quantized> =
        (weights.iter()).filter_map(|weight| Some((weight.name.as_str(), grid_of(weight, &graph, &parts)?))).collect();
    // What the checkpoint says is about comparing, where integers are left out; here they stay in the graph.
    let mut notes = Vec::new();
    let counterparts = match &original {
        Some(original) => recognize(&weights, &grids, &original.checkpoint)?,
        None => Vec::new(),
    };
    if original.is_none() && !grids.is_empty() {
        notes.push(format!(
            "{} quantized weights can be edited only by packs for the float model: name it with `--of`",
            grids.len()
        ));
    }
    let given = weights.iter().filter(|it| it.dtype.editable().is_some() && graph.is_port(&it.name)).count();
    if given > 0 {
        notes.push(format!(
            "{given} weights are inputs or outputs of the graph already, as IR version 3 has all of them, and cannot be edited: \
             take them out of `graph.input` with `onnx` and set `ir_version` to 8"
        ));
    }
    let usable = usable(&weights, &grids, &graph);
    let editable = editable(&usable, &counterparts, &graph, original.as_ref(), settings)?;
    let not_recognized = original.as_ref().map_or_else(Vec::new, |_| not_recognized(&usable, &counterparts));
    let absent = original.as_ref().map_or_else(Vec::new, |original| original.absent(&counterparts));
    let interface = interface(&graph, original.as_ref(), settings)?;
    let heads = heads(&interface, original.as_ref(), &mut weights)?;

    let named = weights.iter().map(|weight| NamedTensor {
        name: &weight.name,
        dtype: weight.dtype,
        shape: &weight.shape,
        bytes: &weight.bytes,
    });
    let file_bytes = safetensors(&named.collect::<Vec<_>>())?;
    let explain = |cause| Error::from_bundle(cause, "describe it as a base");
    let file = TensorFile::parse(&file_bytes).map_err(explain)?;
    let graph = rewrite(&model, &homes(&checkpoint, &file, &weights, &editable)?)?;
    let stem = path.file_stem().map_or_else(|| "model".to_owned(), |stem| stem.to_string_lossy().into_owned());
    let fingerprint = original.as_ref().map(Original::fingerprint).transpose()?;
    let draft = BaseDraft {
        name: settings.name.map_or(stem, str::to_owned),
        network: serde_json::json!({ "family": "onnx" }),
        interface,
        stands_for: fingerprint.map(|fingerprint| StandsFor { fingerprint, tensors: counterparts }),
        heads,
        editable,
    };
    let mut base = Base::describe(draft.clone(), &file, &file_bytes).map_err(explain)?;
    if base.stands_for().is_some_and(|it| it.fingerprint == base.fingerprint()) {
        // Nothing was changed on the way: it is that base.
        base = Base::describe(BaseDraft { stands_for: None, ..draft }, &file, &file_bytes).map_err(explain)?;
    }
    write_files(folder, &file_bytes, &graph, &base)?;
    Ok(Imported { base, not_recognized, absent, notes })
}

/// Floats, and whole numbers that may be quantized weights or their zero points.
fn weights(checkpoint: &Checkpoint, graph: &OnnxGraph) -> Result<Vec<Weight>> {
    let is_dequantized =
        |name: &str| graph.uses(name).iter().any(|it| it.node.op == "DequantizeLinear" && it.input != 1);
    let wanted = |tensor: &&StoredTensor| match tensor.dtype() {
        StoredDtype::I8 | StoredDtype::U8 => true,
        // All others are shapes and indices.
        StoredDtype::I32 => is_dequantized(tensor.name()),
        dtype => dtype.editable().is_some(),
    };
    let mut weights = Vec::new();
    for tensor in checkpoint.tensors().iter().filter(wanted) {
        let (name, shape) = (tensor.name().to_owned(), tensor.shape().to_vec());
        if name.starts_with(HEADS_PREFIX) {
            return Err(Error::unsupported(format!("initializer `{name}`: `{HEADS_PREFIX}` is kept for heads"))
                .with_help("rename it"));
        }
        weights.push(Weight { name, dtype: tensor.dtype(), shape, bytes: checkpoint.read(tensor)? });
    }
    for (name, numbers) in graph.written_one_by_one() {
        let is_wanted = numbers.dtype != StoredDtype::I32 || is_dequantized(name);
        if is_wanted && weights.iter().all(|weight| weight.name != *name) {
            let WholeNumbers { dtype, shape, bytes } = numbers.clone();
            weights.push(Weight { name: name.clone(), dtype, shape, bytes });
        }
    }
    Ok(weights)
}

/// Weights that an engine takes from outside: floats that are no settings of an operator, and quantized weights.
fn usable<'a>(weights: &'a [Weight], grids: &BTreeMap<&str, Quantized>, graph: &OnnxGraph) -> Vec<&'a Weight> {
    /// Operators that want constants, or whose floats are no weights.
    const SETTINGS: [&str; 8] =
        ["QuantizeLinear", "DequantizeLinear", "Resize", "Upsample", "Clip", "Pad", "Range", "ConstantOfShape"];
    let of_grids: HashSet<&str> = (grids.values())
        .flat_map(|grid| [Some(grid.names.scale.as_str()), grid.names.zero_point.as_deref()])
        .flatten()
        .collect();
    let is_usable = |weight: &&Weight| {
        let (name, uses) = (weight.name.as_str(), graph.uses(&weight.name));
        let is_kind = match weight.dtype.editable() {
            Some(_) => uses.iter().all(|it| !SETTINGS.contains(&it.node.op.as_str())),
            None => grids.contains_key(name),
        };
        let count = weight.shape.iter().product::<u64>();
        is_kind && count >= 2 && !uses.is_empty() && !of_grids.contains(name) && !graph.is_port(name)
    };
    weights.iter().filter(is_usable).collect()
}

/// Names of the usable weights that the settings mean, in byte order.
fn editable(
    usable: &[&Weight],
    counterparts: &[Counterpart],
    graph: &OnnxGraph,
    original: Option<&Original>,
    settings: &ImportSettings<'_>,
) -> Result<Vec<String>> {
    let there: HashMap<&str, &str> =
        counterparts.iter().map(|counterpart| (counterpart.name.as_str(), counterpart.of.as_str())).collect();
    let reachable: Vec<&Weight> = (usable.iter().copied())
        .filter(|weight| match original {
            Some(_) => there.contains_key(weight.name.as_str()),
            None => weight.dtype.editable().is_some(),
        })
        .collect();
    if let (Some(original), true) = (original, reachable.is_empty()) {
        let of = original.checkpoint.path().display();
        return Err(Error::mismatch(format!("none of its {} weights is a tensor of `{of}`", usable.len())).with_help(
            "name the very checkpoint that the model was exported from, in the dtype that it was exported in",
        ));
    }
    let fits = |pattern: &Pattern, weight: &Weight| {
        pattern.matches(&weight.name)
            || there.get(weight.name.as_str()).is_some_and(|of| pattern.matches(of))
            || graph.uses(&weight.name).iter().any(|it| pattern.matches(&it.node.name))
    };
    for group in &settings.editable {
        if !reachable.iter().any(|weight| group.iter().any(|pattern| fits(pattern, weight))) {
            let example = reachable.first().map_or("", |weight| weight.name.as_str());
            let group: Vec<&str> = group.iter().map(Pattern::as_str).collect();
            return Err(Error::usage(format!(
                "editable `{}` fits none of {} weights",
                group.join("`, `"),
                reachable.len()
            ))
            .with_help(format!("weights are called `{example}`, for instance; `*` is any run of characters")));
        }
    }
    let of_base = original.and_then(|original| original.base.as_ref());
    let is_meant = |weight: &&Weight| match (settings.editable.as_slice(), of_base) {
        ([], None) => true,
        ([], Some(base)) => there.get(weight.name.as_str()).is_some_and(|of| base.is_editable(of)),
        (groups, _) => groups.iter().flatten().any(|pattern| fits(pattern, weight)),
    };
    let mut editable: Vec<String> = reachable.into_iter().filter(is_meant).map(|weight| weight.name.clone()).collect();
    editable.sort();
    Ok(editable)
}

fn not_recognized(usable: &[&Weight], counterparts: &[Counterpart]) -> Vec<String> {
    let known: HashSet<&str> = counterparts.iter().map(|counterpart| counterpart.name.as_str()).collect();
    let unknown = usable.iter().filter(|weight| !known.contains(weight.name.as_str()));
    unknown.map(|weight| weight.name.clone()).collect()
}

/// The original's, if the graph takes its pictures and gives its features; else the graph's own.
fn interface(graph: &OnnxGraph, original: Option<&Original>, settings: &ImportSettings<'_>) -> Result<Interface> {
    let arrays = graph.arrays(&settings.sizes, &settings.fills)?;
    let pictures = original.and_then(|original| original.base.as_ref()?.pictures());
    let (Some(pictures), [input], [output]) = (pictures, arrays.inputs.as_slice(), arrays.outputs.as_slice()) else {
        return Ok(Interface::Arrays(arrays));
    };
    let sides = pictures.shape().map(|side| Side::Fixed(side as u64));
    let takes_them = input.name == "pixels" && input.shape.get(1..) == Some(&sides[..]);
    let gives_them = output.name == "features" && output.dtype == StoredDtype::F32;
    Ok(if takes_them && gives_them { Interface::Pictures(pictures.clone()) } else { Interface::Arrays(arrays) })
}

/// The heads of the original, whose tensors come along; none for a base that takes arrays.
fn heads(interface: &Interface, original: Option<&Original>, weights: &mut Vec<Weight>) -> Result<Vec<HeadEntry>> {
    let (Interface::Pictures(_), Some(Original { checkpoint, base: Some(base) })) = (interface, original) else {
        return Ok(Vec::new());
    };
    for tensor in checkpoint.tensors().iter().filter(|tensor| tensor.name().starts_with(HEADS_PREFIX)) {
        let (name, shape, bytes) = (tensor.name().to_owned(), tensor.shape().to_vec(), checkpoint.read(tensor)?);
        weights.push(Weight { name, dtype: tensor.dtype(), shape, bytes });
    }
    Ok(base.heads().to_vec())
}

/// Where the numbers of each initializer are in the bundle.
fn homes<'a>(
    checkpoint: &Checkpoint,
    file: &'a TensorFile,
    weights: &[Weight],
    editable: &[String],
) -> Result<HashMap<String, Home<'a>>> {
    let mut homes = HashMap::new();
    for weight in weights {
        let Some(tensor) = file.tensor(&weight.name) else { continue };
        let is_input = editable.binary_search(&weight.name).is_ok();
        let home = match is_input || weight.bytes.len() >= SMALL_BYTES {
            true => Home::Model { tensor, is_input },
            false => {
                let (dtype, shape, bytes) = (weight.dtype, weight.shape.clone(), weight.bytes.clone());
                Home::Graph { dtype, shape, bytes }
            }
        };
        homes.insert(weight.name.clone(), home);
    }
    // All else stays where it is, unless that is a file that does not come along.
    for tensor in checkpoint.tensors().iter().filter(|tensor| checkpoint.file_of(tensor) != checkpoint.path()) {
        if file.tensor(tensor.name()).is_none() {
            let (dtype, shape, bytes) = (tensor.dtype(), tensor.shape().to_vec(), checkpoint.read(tensor)?);
            homes.insert(tensor.name().to_owned(), Home::Graph { dtype, shape, bytes });
        }
    }
    Ok(homes)
}

impl Original {
    fn open(path: &Path) -> Result<Original> {
        let base = if path.join(BASE_FILE).is_file() {
            let explain = |cause| Error::from_bundle(cause, format!("open base `{}`", path.display()));
            Some(Base::read(path).map_err(explain)?)
        } else {
            None
        };
        Ok(Original { checkpoint: Checkpoint::open(path)?, base })
    }

    fn fingerprint(&self) -> Result<taskvec_pack::Fingerprint> {
        match &self.base {
            Some(base) => Ok(base.fingerprint()),
            None => self.checkpoint.fingerprint(),
        }
    }

    /// Names of its tensors that are no counterpart.
    fn absent(&self, counterparts: &[Counterpart]) -> Vec<String> {
        let there: HashSet<&str> = counterparts.iter().map(|counterpart| counterpart.of.as_str()).collect();
        let absent = self.checkpoint.body().filter(|tensor| !there.contains(tensor.name()));
        absent.map(|tensor| tensor.name().to_owned()).collect()
    }
}
