//! The linearized bundle of a base: the same weights, answered by the first-order approximation of the network around them.
//!
//! `model.safetensors` is the base's to the last byte, and so is the fingerprint: a pack for the one can be attached to the other,
//! and its probes tell which of the two it was trained for. Batch norms' statistics are no longer editable: training leaves them
//! alone, and there is no derivative in them here.

use std::fs;
use std::path::Path;

use taskvec_bundle::{Base, BaseDraft, HEADS_PREFIX, MODEL_FILE, StoredDtype, TensorFile};
use taskvec_networks::{LinearizedConfig, NetworkConfig, is_statistic};

use super::{graph, write_files};
use crate::error::{Error, Result, from_networks};
use crate::train::config_of;

/// Writes the linearized bundle of the base in `from` into `folder`, which is made if need be.
///
/// # Errors
/// `Usage` when the base is linearized already, or none of its tensors may be edited; `Unsupported` for a network that is not known
/// here, or weights that are not all f32; `Damaged` when the bundle is not what it says; `Io`.
pub fn linearized_bundle(from: &Path, folder: &Path) -> Result<Base> {
    let explain = |cause| Error::from_bundle(cause, format!("open base `{}`", from.display()));
    let base = Base::read(from).map_err(explain)?;
    let path = from.join(MODEL_FILE);
    let model = fs::read(&path).map_err(|cause| Error::io("read", &path, cause))?;
    let file = TensorFile::parse(&model).map_err(explain)?;
    base.verify(&file, &model).map_err(explain)?;
    let of = config_of(&base)?;
    if matches!(of, NetworkConfig::Linearized(_)) {
        return Err(Error::usage(format!("base `{}` is linearized already", from.display())));
    }
    check_weights(&of, &file)?;
    let editable: Vec<String> = base.editable().iter().filter(|name| !is_statistic(name)).cloned().collect();
    let config = NetworkConfig::Linearized(LinearizedConfig { of: Box::new(of) });
    let graph = graph::write(base.name(), &config, &file, &editable)?;
    let draft = BaseDraft {
        name: base.name().to_owned(),
        network: serde_json::to_value(&config)
            .map_err(|cause| Error::usage("the network cannot be described as JSON").caused_by(cause))?,
        interface: base.interface().clone(),
        stands_for: None,
        heads: base.heads().to_vec(),
        editable,
    };
    let linearized = Base::describe(draft, &file, &model).map_err(explain)?;
    write_files(folder, &model, &graph, &linearized)?;
    Ok(linearized)
}

/// That the file has all tensors of the network, in f32, and nothing beside them and heads.
fn check_weights(config: &NetworkConfig, file: &TensorFile) -> Result<()> {
    let wanted = config.tensors().map_err(|cause| from_networks(cause, "read the base's network"))?;
    for (name, shape) in &wanted {
        let Some(tensor) = file.tensor(name) else {
            return Err(Error::damaged(format!("the base's network has tensor `{name}`, its weights have not")));
        };
        if tensor.dtype() != StoredDtype::F32 {
            let found = tensor.dtype().name();
            return Err(Error::unsupported(format!("tensor `{name}` has dtype {found}, a linearized graph is of F32"))
                .with_help("linearize the base that it was rounded from"));
        }
        if !tensor.shape().iter().copied().eq(shape.iter().map(|&side| side as u64)) {
            let found = tensor.shape();
            return Err(Error::damaged(format!("tensor `{name}` has shape {found:?}, the network expects {shape:?}")));
        }
    }
    let names = file.tensors().iter().map(|tensor| tensor.name());
    let is_other = |name: &&str| !name.starts_with(HEADS_PREFIX) && !wanted.iter().any(|(wanted, _)| wanted == name);
    match names.into_iter().find(is_other) {
        None => Ok(()),
        Some(name) => Err(Error::damaged(format!("the base's network has no place for tensor `{name}`"))),
    }
}
