//! What a session asks of an inference library, and which library it asks.
//!
//! An engine turns pixels into features with the weights of the composed mapping, and nothing else: heads, probes and
//! compositions are the session's, in the same code for every engine. The library itself, opened once for a base, is an
//! [`Engine`]; what it needs for one composition is an [`Inference`], made when the composition has been written and
//! dropped before its memory is written again. Neither ever sees weights change.

#[cfg(feature = "burn")]
mod burn;
#[cfg(feature = "ort")]
mod capability;
mod none;
#[cfg(feature = "ort")]
mod ort;
mod provider;
mod report;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
pub use taskvec_pack::EngineKind;

pub use self::provider::{Provider, ProviderName};
pub use self::report::{EngineReport, Fallback, ProviderCheck, Tier, TierCheck};

use crate::array::Array;
use crate::base_model::BaseModel;
use crate::error::{Error, ErrorKind};
use crate::weights::Weights;

/// An inference library, opened for one base. All views of a session, and all sessions beside it, share it.
pub trait Engine: Send + Sync {
    /// Which library this is: a pack states its probes' tolerance for each kind.
    fn kind(&self) -> EngineKind;

    /// The library, its version and its settings, for people: `ONNX Runtime 1.32.0, 2 threads, /opt/...`.
    fn describe(&self) -> String;

    /// The same for programs. Default: what [`Engine::describe`] says, and no more.
    fn report(&self) -> EngineReport {
        EngineReport::named(self.describe())
    }

    /// Makes the library ready to infer with `weights` as they are. They stay as they are for as long as the result
    /// lives, if it holds a [`crate::WeightsReader`] of them.
    ///
    /// # Errors
    /// `Unsupported`, `Mismatch` or `Damaged`, when the library refuses the weights.
    fn over(&self, weights: &Weights) -> Result<Box<dyn Inference>, Error>;

    /// Whether an [`Inference`] of this engine takes memory for weights of its own, so that one that is not in use is
    /// not kept. Default: no.
    fn copies_weights(&self) -> bool {
        false
    }

    /// Whether it answers at all: without an answer a composition is proved to be felt, and no more. Default: yes.
    fn infers(&self) -> bool {
        true
    }
}

/// An inference library over the weights of one composition.
pub trait Inference: Send + Sync {
    /// The network's answer with these weights. May be called by several threads at once.
    ///
    /// # Shapes
    /// `pixels`: `[batch, channels, height, width]`, row-major; returns `[batch, feature_width]`, row-major. The
    /// session has checked the length of `pixels` and checks the length of the answer.
    ///
    /// # Errors
    /// `Unsupported` or `Damaged`, when the library refuses.
    fn features(&self, pixels: &[f32], batch: usize) -> Result<Vec<f32>, Error>;

    /// The network's answers to arrays by name, for a base that takes no pictures. Default: refused.
    ///
    /// # Shapes
    /// As the base says, which the session has checked; one array for each of its outputs, in its order.
    ///
    /// # Errors
    /// `Unsupported` or `Damaged`, when the library refuses.
    fn run(&self, inputs: &[Array]) -> Result<Vec<Array>, Error> {
        let clause = format!("this engine answers for pictures only, and was given {} arrays", inputs.len());
        Err(Error::new(ErrorKind::Unsupported, clause).with_help("use ONNX Runtime"))
    }

    /// Called in the place of dropping it when its composition is no longer in force, while its weights are still as they
    /// were. With `keep_pages`, memory that it has written may stay for the next one ([`crate::Session::keeping_pages`]).
    /// Default: it is dropped.
    fn retire(self: Box<Self>, keep_pages: bool) {
        let _ = keep_pages;
    }
}

/// Which engine a session opens.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EngineChoice {
    /// ONNX Runtime where its library is found and accepts the base, else burn; [`Engine::describe`] then says why.
    Auto(OrtSettings),
    /// ONNX Runtime, on the first execution provider and in the first tier that work here; [`Engine::report`] says which.
    Ort(OrtSettings),
    /// burn on the CPU: pure Rust, always there.
    Burn,
    /// No inference library: the session composes weights and lets them be looked at, and refuses to infer. For programs
    /// that bring their own inference.
    None,
}

impl Default for EngineChoice {
    fn default() -> Self {
        Self::Auto(OrtSettings::default())
    }
}

/// How ONNX Runtime is found and run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrtSettings {
    /// The library itself. Default: none; then the variable `ORT_DYLIB_PATH`, the folder of the executable and Python
    /// environments are looked at, in this order.
    pub library: Option<PathBuf>,
    /// Python environments to look at before `VIRTUAL_ENV` and the system's, each the folder that holds `lib`. Default:
    /// none.
    pub python_environments: Vec<PathBuf>,
    /// Threads of one inference, at least 1. The same number gives the same bits on the same machine. Default: 1.
    pub threads: usize,
    /// Execution providers in order of preference. The first is used whose capability is proved on this device; the CPU's
    /// is tried last, also where it is not named. Default: the CPU's alone.
    pub providers: Vec<Provider>,
    /// The one tier to try with each provider; [`Tier::Packed`] is tried before the provider's own. Default: none; then
    /// each provider has its own order.
    pub tier: Option<Tier>,
    /// A folder of the caller's for [`Tier::Packed`], which keeps the weights packed for this library and processor in it:
    /// up to twice the size of the base for each base, made when they are first asked for, which takes seconds to a
    /// minute and about five times the base's size of memory. Whoever can write to it can change what the network computes. Default:
    /// none; then there is no such tier.
    pub packed_folder: Option<PathBuf>,
}

impl Default for OrtSettings {
    fn default() -> Self {
        Self {
            library: None,
            python_environments: Vec::new(),
            threads: 1,
            providers: vec![Provider::CPU],
            tier: None,
            packed_folder: None,
        }
    }
}

impl OrtSettings {
    /// That the library is found, can be loaded and is new enough.
    ///
    /// # Errors
    /// `Unsupported` when it is not.
    pub fn check(&self) -> Result<(), Error> {
        #[cfg(feature = "ort")]
        return ort::check_library(self);
        #[cfg(not(feature = "ort"))]
        Err(not_built("ONNX Runtime", "ort"))
    }
}

/// Opens the chosen engine for `base`.
pub(crate) fn open(choice: &EngineChoice, base: &BaseModel) -> Result<Arc<dyn Engine>, Error> {
    match choice {
        EngineChoice::Ort(settings) => open_ort(settings, base),
        EngineChoice::Burn => open_burn(base, None),
        EngineChoice::None => Ok(Arc::new(none::NoEngine)),
        EngineChoice::Auto(settings) => match open_ort(settings, base) {
            Err(cause) if cause.kind() == ErrorKind::Unsupported => open_burn(base, Some(&cause)).map_err(|_| cause),
            opened_or_wrong => opened_or_wrong,
        },
    }
}

/// What execution providers of ONNX Runtime can do on this device with `base`: each tier is tried with a change of every
/// editable tensor. With no provider named, all that the library has.
///
/// # Errors
/// `Unsupported` when no library is found or it is too old; `Damaged` when the base has no graph. What goes wrong with a
/// provider stands in its check.
pub fn check_providers(
    settings: &OrtSettings,
    base: &BaseModel,
    providers: &[Provider],
) -> Result<Vec<ProviderCheck>, Error> {
    #[cfg(feature = "ort")]
    return ort::check_providers(settings, base, providers);
    #[cfg(not(feature = "ort"))]
    {
        let (_, _, _) = (settings, base, providers);
        Err(not_built("ONNX Runtime", "ort"))
    }
}

/// How far the answers of a base are from those of the model that it was made of, or of the same base by another engine.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Agreement {
    /// Numbers of the answer that were compared.
    pub numbers: usize,
    /// Largest difference of two of them; infinite where one is no number and the other is.
    pub difference_max: f32,
    /// Largest of the finite ones, without its sign.
    pub answer_max: f32,
    /// Time of an answer of what the base was compared with, the median of a few, in ms.
    pub model_ms: f64,
    /// Time of an answer of the base, whose weights are inputs and cannot be packed ahead.
    pub base_ms: f64,
}

/// Holds the answer of `base`, with its weights as inputs, against that of `model`, the ONNX file that it was made of: both by
/// ONNX Runtime's own kernels, to the input that bases are tried with.
///
/// # Errors
/// `Unsupported` when no library is found, it refuses the model, the base or the input, or the answer has no numbers; `Mismatch`
/// when an answer has other sides.
pub fn compare_with_model(settings: &OrtSettings, base: &BaseModel, model: &Path) -> Result<Agreement, Error> {
    #[cfg(feature = "ort")]
    return ort::compare_with_model(settings, base, model);
    #[cfg(not(feature = "ort"))]
    {
        let (_, _, _) = (settings, base, model);
        Err(not_built("ONNX Runtime", "ort"))
    }
}

/// Holds the answer of `base` by ONNX Runtime, with its weights as inputs, against the one by burn, to the input that bases are tried
/// with: the graph of a bundle and the network that trains skills must be the same.
///
/// # Errors
/// `Unsupported` when one of the engines is not here or does not know the base's network.
pub fn compare_with_burn(settings: &OrtSettings, base: &BaseModel) -> Result<Agreement, Error> {
    #[cfg(all(feature = "burn", feature = "ort"))]
    return ort::compare_with_burn(settings, base);
    #[cfg(not(all(feature = "burn", feature = "ort")))]
    {
        let (_, _) = (settings, base);
        Err(not_built("burn or ONNX Runtime", "burn` and `ort"))
    }
}

#[cfg(feature = "ort")]
fn open_ort(settings: &OrtSettings, base: &BaseModel) -> Result<Arc<dyn Engine>, Error> {
    Ok(Arc::new(ort::OrtEngine::open(settings, base)?))
}

#[cfg(not(feature = "ort"))]
fn open_ort(_settings: &OrtSettings, _base: &BaseModel) -> Result<Arc<dyn Engine>, Error> {
    Err(not_built("ONNX Runtime", "ort"))
}

#[cfg(feature = "burn")]
fn open_burn(base: &BaseModel, in_place_of: Option<&Error>) -> Result<Arc<dyn Engine>, Error> {
    Ok(Arc::new(burn::BurnEngine::open(base, in_place_of)?))
}

#[cfg(not(feature = "burn"))]
fn open_burn(_base: &BaseModel, _in_place_of: Option<&Error>) -> Result<Arc<dyn Engine>, Error> {
    Err(not_built("burn", "burn"))
}

#[cfg(not(all(feature = "burn", feature = "ort")))]
fn not_built(engine: &str, feature: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("this program was built without the engine {engine}"))
        .with_help(format!("build it with the feature `{feature}`, or choose another engine"))
}
