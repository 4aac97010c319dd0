//! Whether a base answers as the ONNX model that it was made of, and what its editable weights cost an answer.

use std::path::Path;
use std::time::Instant;

use super::inputs::Inputs;
use super::runner::Runner;
use super::{Library, Place, difference};
use crate::array::Array;
use crate::base_model::BaseModel;
use crate::engine::capability::{self, Prepares as _};
use crate::engine::{Agreement, Inference, OrtSettings, Provider};
use crate::error::{Error, ErrorKind};
use crate::probe::Trial;
use crate::weights::Weights;

/// As [`crate::compare_with_model`].
pub(in crate::engine) fn compare_with_model(
    settings: &OrtSettings,
    base: &BaseModel,
    model: &Path,
) -> Result<Agreement, Error> {
    let library = Library::load(settings)?;
    let place = Place { library, provider: Provider::CPU, threads: settings.threads };
    let refused = |cause: ort::Error| {
        let clause = format!("ONNX Runtime refuses `{}`", model.display());
        Error::new(ErrorKind::Unsupported, clause).with_source(cause)
    };
    let session = place.builder().and_then(|mut builder| builder.commit_from_file(model)).map_err(refused)?;
    compare(&place, &Weights::over(base)?, &Plain(place.runner(session, base)?))
}

/// As [`crate::compare_with_burn`].
#[cfg(feature = "burn")]
pub(in crate::engine) fn compare_with_burn(settings: &OrtSettings, base: &BaseModel) -> Result<Agreement, Error> {
    use crate::engine::{Engine as _, burn::BurnEngine};
    let place = Place { library: Library::load(settings)?, provider: Provider::CPU, threads: settings.threads };
    let mut weights = Weights::over(base)?;
    if base.is_linearized() {
        // At the base itself it would only be seen that the derivative vanishes.
        let editable = base.tensors().iter().enumerate().filter(|(_, tensor)| tensor.editable);
        editable.map(|(number, _)| number).try_for_each(|number| weights.disturb(number))?;
    }
    let burn = BurnEngine::open(base, None)?.over(&weights)?;
    compare(&place, &weights, &*burn)
}

/// Holds the answer of the base with `weights` as inputs against that of `model`.
fn compare(place: &Place, weights: &Weights, model: &dyn Inference) -> Result<Agreement, Error> {
    let base = weights.base();
    let ours = Inputs::open(place, base)?.over(weights)?;
    let trial = Trial::varied(base)?;
    let (expected, found) = (trial.answer(model, base)?, trial.answer(&*ours, base)?);
    if expected.len() != found.len() {
        let clause = format!("the base answers with {} numbers, its model with {}", found.len(), expected.len());
        return Err(Error::new(ErrorKind::Mismatch, clause));
    }
    if expected.is_empty() {
        return Err(Error::new(ErrorKind::Unsupported, "the model answers with no numbers that could be compared"));
    }
    if let Some(wrong) = expected.iter().find(|number| !number.is_finite()) {
        let clause = format!("the model answers with {wrong}, and a skill is proved by an answer that is finite");
        return Err(Error::new(ErrorKind::Unsupported, clause)
            .with_help("export it without the mask or logarithm at its end, or try it with other inputs"));
    }
    let answer_max = expected.iter().fold(0.0f32, |max, number| max.max(number.abs()));
    let model_ms = time_ms(&trial, model, base)?;
    let base_ms = time_ms(&trial, &*ours, base)?;
    Ok(Agreement { numbers: found.len(), difference_max: difference(&found, &expected), answer_max, model_ms, base_ms })
}

/// Time of an answer: the median of a few, once the library has warmed up.
fn time_ms(trial: &Trial, inference: &dyn Inference, base: &BaseModel) -> Result<f64, Error> {
    let mut times = Vec::new();
    for _ in 0..9 {
        let started = Instant::now();
        trial.answer(inference, base)?;
        times.push(started.elapsed().as_secs_f64() * 1e3);
    }
    Ok(capability::median(&mut times))
}

/// A model that nobody edits.
struct Plain(Runner);

impl Inference for Plain {
    fn features(&self, pixels: &[f32], batch: usize) -> Result<Vec<f32>, Error> {
        self.0.features(&[], &[], pixels, batch)
    }

    fn run(&self, inputs: &[Array]) -> Result<Vec<Array>, Error> {
        self.0.run(&[], &[], inputs)
    }
}
