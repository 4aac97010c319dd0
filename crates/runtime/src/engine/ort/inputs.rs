//! The tiers in which editable tensors are inputs of the graph that lie over the composed mapping.
//!
//! The graph has no weights of its own. Tensors that packs may edit are initializers that are also graph inputs, so
//! that giving a value overrides them, which is within ONNX Runtime's contract; all others stay initializers, which it
//! prepacks as it likes. The composed weights are therefore used by construction, and an attached skill costs nothing.
//! (User-owned *initializers* are the other way, and a trap: under prepacking, edits of biases are seen and edits of
//! matrices are not.) That is [`Tier::Inputs`].
//!
//! Not every execution provider keeps to the contract: OpenVINO 2025.4 takes the initializers for constants, whatever
//! values are given. For such a provider the initializers go, and the tensors are inputs and nothing else; the weights
//! that nobody edits are then served from memory, since a graph that is not a file has no folder where they could lie.
//! That is [`Tier::BareInputs`].
//!
//! One ONNX Runtime session serves every composition: what differs between two of them is which values are given.
//!
//! [`Tier::Inputs`]: crate::Tier::Inputs
//! [`Tier::BareInputs`]: crate::Tier::BareInputs

use std::ffi::CString;
use std::sync::Arc;

use ort::session::Session;
use ort::value::DynValue;

use super::runner::{self, Runner};
use super::{Place, graph};
use crate::array::Array;
use crate::base_model::{BaseModel, BaseTensor};
use crate::engine::Inference;
use crate::engine::capability::Prepares;
use crate::error::{Error, ErrorKind};
use crate::map::WeightsReader;
use crate::weights::Weights;

/// A session that all compositions share.
pub(super) struct Inputs {
    runner: Arc<Runner>,
    /// Names of the editable tensors, in the base's order.
    names: Arc<[CString]>,
}

/// The editable tensors of one composition, as values of ONNX Runtime.
struct Bound {
    runner: Arc<Runner>,
    names: Arc<[CString]>,
    // Dropped in this order: what holds addresses goes before what keeps them readable.
    values: Vec<DynValue>,
    _weights: WeightsReader,
}

impl Inputs {
    /// Over the graph as it is.
    pub(super) fn open(place: &Place, base: &BaseModel) -> Result<Self, Error> {
        let path = base.graph_path();
        let session = place
            .builder()
            .and_then(|mut builder| builder.commit_from_file(&path))
            .map_err(|cause| place.refuses(base, cause))?;
        check_inputs(&session, base.tensors().iter().filter(|tensor| tensor.editable))?;
        Self::of(session, place, base)
    }

    /// Over the graph without the defaults of its inputs.
    pub(super) fn open_bare(place: &Place, base: &BaseModel) -> Result<Self, Error> {
        let bare = graph::bare_inputs(&super::read_graph(base)?, base)?;
        let session = place
            .builder()
            .and_then(|builder| runner::commit_from_memory(builder, &bare, base.bytes(), base.bytes()))
            .map_err(|cause| place.refuses(base, cause))?;
        check_inputs(&session, base.tensors().iter().filter(|tensor| tensor.editable))?;
        Self::of(session, place, base)
    }

    fn of(session: Session, place: &Place, base: &BaseModel) -> Result<Self, Error> {
        let editable = base.tensors().iter().filter(|tensor| tensor.editable);
        let names = editable.map(|tensor| runner::c_name(&tensor.name)).collect::<Result<_, _>>()?;
        Ok(Self { runner: Arc::new(place.runner(session, base)?), names })
    }
}

impl Prepares for Inputs {
    fn over(&self, weights: &Weights) -> Result<Box<dyn Inference>, Error> {
        let reader = weights.reader();
        let editable = weights.base().tensors().iter().filter(|tensor| tensor.editable);
        let values = editable.map(|tensor| runner::weight_over(&reader, tensor)).collect::<Result<_, _>>()?;
        let (runner, names) = (Arc::clone(&self.runner), Arc::clone(&self.names));
        Ok(Box::new(Bound { runner, names, values, _weights: reader }))
    }
}

impl Inference for Bound {
    fn features(&self, pixels: &[f32], batch: usize) -> Result<Vec<f32>, Error> {
        self.runner.features(&self.names, &self.values, pixels, batch)
    }

    fn run(&self, inputs: &[Array]) -> Result<Vec<Array>, Error> {
        self.runner.run(&self.names, &self.values, inputs)
    }
}

/// Each of the tensors must be an input: an edit of any other would not be seen.
pub(super) fn check_inputs<'a>(
    session: &Session,
    mut tensors: impl Iterator<Item = &'a BaseTensor>,
) -> Result<(), Error> {
    let initializers = session.overridable_initializers();
    let is_input = |name: &str| {
        initializers.iter().any(|input| input.name() == name)
            || session.inputs().iter().any(|input| input.name() == name)
    };
    match tensors.find(|tensor| !is_input(&tensor.name)) {
        None => Ok(()),
        Some(tensor) => Err(Error::new(
            ErrorKind::Mismatch,
            format!("tensor `{}`: editable in `base.json`, and no input of `graph.onnx`", tensor.name),
        )
        .with_help("`base.json` and `graph.onnx` are of two bundles: copy the bundle again")),
    }
}
