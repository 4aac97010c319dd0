//! ONNX Runtime: editable tensors are graph inputs bound once over the composed mapping.
//!
//! The graph has no weights of its own. Tensors that packs may edit are initializers that are also graph inputs, so
//! that binding a value overrides them, which is within ONNX Runtime's contract; all others stay initializers, which it
//! prepacks as it likes. A change of the composed weights is therefore seen by the next inference by construction, and
//! an attached skill costs nothing. (User-owned *initializers* are the other way, and a trap: under prepacking, edits
//! of biases are seen and edits of matrices are not.)
//!
//! `IoBinding::bind_input` clones a tensor that ort made from borrowed memory, silently, and would then show the base
//! for ever. So the values are made by ONNX Runtime's own call and handed to ort as owned ones. This is the second
//! place in the crate with `unsafe`, apart from `map.rs`: it cannot move there, because `ort` is named only here.

use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::{Mutex, PoisonError};

use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::memory::{Allocator, MemoryInfo};
use ort::session::builder::GraphOptimizationLevel;
use ort::session::{IoBinding, Session};
use ort::sys::ONNXTensorElementDataType as ElementType;
use ort::value::{DynValue, Tensor};
use ort::{AsPointer as _, api};
use taskvec_pack::Dtype;

use super::{Engine, EngineKind, OrtSettings, library};
use crate::base_model::{BaseModel, BaseTensor};
use crate::error::{Error, ErrorKind};
use crate::map::KeepMapped;
use crate::weights::Weights;

/// Name of the graph's input.
const PIXELS: &str = "pixels";
/// Name of the graph's output.
const FEATURES: &str = "features";

/// A session of ONNX Runtime over the composed mapping.
pub(super) struct OrtEngine {
    // Dropped in this order: what holds addresses goes before what keeps them mapped.
    binding: IoBinding,
    session: Session,
    _mapped: Vec<KeepMapped>,
    output: MemoryInfo<'static>,
    image: [usize; 3],
    description: String,
}

impl OrtEngine {
    /// # Errors
    /// `Unsupported` when no library is found, it is too old, or it refuses the graph; `Mismatch` when an editable
    /// tensor of the base is no input of the graph.
    pub(super) fn open(settings: &OrtSettings, base: &BaseModel, weights: &Weights) -> Result<Self, Error> {
        if settings.threads == 0 {
            return Err(Error::new(ErrorKind::Usage, "0 threads for ONNX Runtime, expected at least 1"));
        }
        let (environment, library) = environment(settings)?;
        let graph = base.graph_path();
        if !graph.is_file() {
            return Err(Error::new(ErrorKind::Damaged, format!("the base has no `{}`", graph.display()))
                .with_help("copy the bundle again, or use the burn engine"));
        }
        let refused = |cause: ort::Error| {
            Error::new(ErrorKind::Unsupported, format!("ONNX Runtime refuses `{}`", graph.display())).with_source(cause)
        };
        let session = build(&environment, &graph, settings.threads).map_err(refused)?;
        check_inputs(&session, base)?;
        let mut binding = session.create_binding().map_err(refused)?;
        let mut mapped = Vec::new();
        for tensor in base.tensors().iter().filter(|tensor| tensor.editable) {
            let (value, keep) = tensor_over(weights, tensor)?;
            mapped.push(keep);
            binding.bind_input(&tensor.name, &value).map_err(refused)?;
        }
        let version = version_of(&library);
        let description = format!("ONNX Runtime {version}, {} threads, {}", settings.threads, library.display());
        let image = base.image_shape();
        Ok(Self { binding, session, _mapped: mapped, output: MemoryInfo::default(), image, description })
    }

    fn run(&mut self, pixels: &[f32], batch: usize) -> ort::Result<Vec<f32>> {
        let [channels, height, width] = self.image;
        let pixels = Tensor::from_array(([batch, channels, height, width], pixels.to_vec()))?;
        self.binding.bind_input(PIXELS, &pixels)?;
        // Bound anew each time: a bound output is filled again as it is, and would refuse another batch size.
        self.binding.bind_output_to_device(FEATURES, &self.output)?;
        let outputs = self.session.run_binding(&self.binding)?;
        let features = outputs.get(FEATURES).ok_or_else(|| ort::Error::new("the graph gave no output `features`"))?;
        Ok(features.try_extract_tensor::<f32>()?.1.to_vec())
    }
}

impl Engine for OrtEngine {
    fn kind(&self) -> EngineKind {
        EngineKind::Ort
    }

    fn describe(&self) -> String {
        self.description.clone()
    }

    fn features(&mut self, _weights: &Weights, pixels: &[f32], batch: usize) -> Result<Vec<f32>, Error> {
        self.run(pixels, batch)
            .map_err(|cause| Error::new(ErrorKind::Unsupported, "ONNX Runtime refuses to infer").with_source(cause))
    }
}

/// The one environment that a process may have, and the library it came from.
static LOADED: Mutex<Option<(Environment, PathBuf)>> = Mutex::new(None);

/// Loads the library at the first call; later calls get the same one.
fn environment(settings: &OrtSettings) -> Result<(Environment, PathBuf), Error> {
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let (Some((environment, library)), None) = (&*loaded, &settings.library) {
        return Ok((environment.clone(), library.clone()));
    }
    let library = library::find(settings)?;
    if let Some((environment, first)) = &*loaded {
        if same_file(&library, first) {
            return Ok((environment.clone(), first.clone()));
        }
        let clause = format!("`{}` cannot be loaded: this process runs on `{}`", library.display(), first.display());
        return Err(Error::new(ErrorKind::Usage, clause)
            .with_help("a process has one ONNX Runtime; name the library when the first session is opened"));
    }
    let refused = || {
        Error::new(ErrorKind::Unsupported, format!("`{}` cannot be used as ONNX Runtime", library.display())).with_help(
            format!("ONNX Runtime 1.{} or newer is needed: `pip install -U onnxruntime`", ort::MINOR_VERSION),
        )
    };
    let environment = ort::init_from(&library)
        .map_err(|cause| refused().with_source(cause.to_string()))?
        .with_name("taskvec")
        .with_telemetry(false)
        .build()
        .map_err(|cause| refused().with_source(cause))?;
    *loaded = Some((environment.clone(), library.clone()));
    Ok((environment, library))
}

fn same_file(a: &Path, b: &Path) -> bool {
    a == b || matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

fn build(environment: &Environment, graph: &Path, threads: usize) -> ort::Result<Session> {
    Session::builder(environment)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_intra_threads(threads)?
        .with_inter_threads(1)?
        .with_deterministic_compute(true)?
        // A warning for each initializer that is also an input says what we do on purpose.
        .with_log_level(LogLevel::Error)?
        .commit_from_file(graph)
}

/// Every editable tensor must be an input: an edit of any other would not be seen.
fn check_inputs(session: &Session, base: &BaseModel) -> Result<(), Error> {
    let initializers = session.overridable_initializers();
    let is_input = |name: &str| {
        initializers.iter().any(|input| input.name() == name)
            || session.inputs().iter().any(|input| input.name() == name)
    };
    match base.tensors().iter().find(|tensor| tensor.editable && !is_input(&tensor.name)) {
        None => Ok(()),
        Some(tensor) => Err(Error::new(
            ErrorKind::Mismatch,
            format!("tensor `{}`: editable in `base.json`, and no input of `graph.onnx`", tensor.name),
        )
        .with_help("`base.json` and `graph.onnx` are of two bundles: copy the bundle again")),
    }
}

/// What the library says of itself: "git-branch=..., build type=..." has no version, its file name mostly has.
fn version_of(library: &Path) -> String {
    let real = library.canonicalize().unwrap_or_else(|_| library.to_owned());
    let name = real.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let version: Vec<_> = name.split('.').filter(|part| part.bytes().all(|byte| byte.is_ascii_digit())).collect();
    if version.is_empty() { "of an unknown version".into() } else { version.join(".") }
}

/// A value of ONNX Runtime that lies over the tensor's bytes in the composed mapping, and what keeps them mapped.
#[expect(unsafe_code, reason = "the only way to bind memory without a copy; see the head of this file")]
fn tensor_over(weights: &Weights, tensor: &BaseTensor) -> Result<(DynValue, KeepMapped), Error> {
    let refused = || Error::new(ErrorKind::Unsupported, format!("tensor `{}`: cannot be bound", tensor.name));
    let (address, keep) = weights.address(tensor).ok_or_else(refused)?;
    let shape: Vec<i64> =
        tensor.shape.iter().map(|&side| i64::try_from(side)).collect::<Result<_, _>>().map_err(|_| refused())?;
    let element = match tensor.dtype {
        Dtype::F32 => ElementType::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
        Dtype::F16 => ElementType::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16,
        Dtype::BF16 => ElementType::ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16,
        _ => return Err(refused()),
    };
    let info = MemoryInfo::default();
    let mut value = ptr::null_mut();
    // SAFETY: `info` and `shape` live during the call; `address` is the start of `place.len()` mapped bytes, which is
    // what the shape takes (checked when the base was opened), and they stay mapped while the caller holds `keep`,
    // which `OrtEngine` drops after the binding. ONNX Runtime reads them only inside `run`, that is inside a call of
    // `Engine::features`, when the session's lock keeps writers out; it never writes inputs.
    let status = unsafe {
        (api().CreateTensorWithDataAsOrtValue)(
            info.ptr(),
            address.as_ptr().cast(),
            tensor.place.len(),
            shape.as_ptr(),
            shape.len(),
            element,
            &mut value,
        )
    };
    // SAFETY: `status` is what the call above returned, and it is used once.
    unsafe { ort::Error::result_from_status(status) }.map_err(|cause| refused().with_source(cause))?;
    let value = ptr::NonNull::new(value).ok_or_else(refused)?;
    // SAFETY: `value` is a valid tensor that nobody else owns. It does not own its bytes, so that releasing it frees
    // only the handle; the allocator is the one of the memory that `info` describes.
    let value = unsafe { DynValue::from_ptr(value, Some(&Allocator::default())) };
    Ok((value, keep))
}
