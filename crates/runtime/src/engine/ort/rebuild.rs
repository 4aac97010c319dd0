//! The tier for execution providers that keep copies of weights: each composition gets a session made from its bytes.
//!
//! The editable tensors are constants of its graph, and their values are read from the composed mapping while the session
//! is made, never from the file. The session shows these weights for ever, which is right, because a composition never
//! changes: the next one gets a session of its own, made beside the one that serves until the switch. That costs what
//! opening a session costs, and for as long as two compositions live, two models' memory. In return the library may fold
//! and pack as it likes, so that inference is as fast as with a plain session.

use ort::session::Session;

use super::runner::{self, Runner};
use super::{Place, graph};
use crate::array::Array;
use crate::base_model::BaseModel;
use crate::engine::Inference;
use crate::engine::capability::Prepares;
use crate::error::Error;
use crate::weights::Weights;

/// What every composition's session is made of.
pub(super) struct Rebuild {
    place: Place,
    /// The graph, with constants for the editable tensors.
    graph: Vec<u8>,
}

/// The session of one composition.
struct Rebuilt {
    runner: Runner,
}

impl Rebuild {
    pub(super) fn open(place: Place, base: &BaseModel) -> Result<Self, Error> {
        let graph = graph::constants(&super::read_graph(base)?, base)?;
        Ok(Self { place, graph })
    }
}

impl Prepares for Rebuild {
    fn over(&self, weights: &Weights) -> Result<Box<dyn Inference>, Error> {
        let base = weights.base();
        let session: Session = self
            .place
            .builder()
            .and_then(|builder| runner::commit_from_memory(builder, &self.graph, weights.bytes(), base.bytes()))
            .map_err(|cause| self.place.refuses(base, cause))?;
        Ok(Box::new(Rebuilt { runner: self.place.runner(session, base)? }))
    }

    fn copies_weights(&self) -> bool {
        true
    }

    fn prepares_slowly(&self) -> bool {
        true
    }
}

impl Inference for Rebuilt {
    fn features(&self, pixels: &[f32], batch: usize) -> Result<Vec<f32>, Error> {
        self.runner.features(&[], &[], pixels, batch)
    }

    fn run(&self, inputs: &[Array]) -> Result<Vec<Array>, Error> {
        self.runner.run(&[], &[], inputs)
    }
}
