//! No inference library: the session composes weights, and somebody else infers with them.

use super::{Engine, EngineKind, Inference};
use crate::error::{Error, ErrorKind};
use crate::weights::Weights;

/// In the place of an engine, where there is none.
pub(super) struct NoEngine;

impl Engine for NoEngine {
    fn kind(&self) -> EngineKind {
        EngineKind::Any
    }

    fn describe(&self) -> String {
        "no engine".into()
    }

    fn over(&self, _weights: &Weights) -> Result<Box<dyn Inference>, Error> {
        Ok(Box::new(Self))
    }

    fn infers(&self) -> bool {
        false
    }
}

impl Inference for NoEngine {
    fn features(&self, _pixels: &[f32], _batch: usize) -> Result<Vec<f32>, Error> {
        Err(Error::new(ErrorKind::Usage, "this session has no engine to infer with")
            .with_help("open it with an engine, or infer with the weights that it composes"))
    }
}
