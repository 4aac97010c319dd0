//! ONNX Runtime: editable tensors are graph inputs that lie over the composed mapping.
//!
//! The graph has no weights of its own. Tensors that packs may edit are initializers that are also graph inputs, so
//! that giving a value overrides them, which is within ONNX Runtime's contract; all others stay initializers, which it
//! prepacks as it likes. The composed weights are therefore used by construction, and an attached skill costs nothing.
//! (User-owned *initializers* are the other way, and a trap: under prepacking, edits of biases are seen and edits of
//! matrices are not.)
//!
//! One ONNX Runtime session serves every composition: what differs between two of them is which values are given. A run
//! is a call of the C function `Run`, which ONNX Runtime allows from several threads at once; ort's own `run` takes the
//! session mutably, and its `IoBinding` may serve one thread only (and clones, silently, a tensor that ort made from
//! borrowed memory, which would then show the base for ever). So the values are made and the runs are done by ONNX
//! Runtime's own calls. This is the second place in the crate with `unsafe`, apart from `map.rs`: it cannot move there,
//! because `ort` is named only here.

use std::ffi::{CString, c_char};
use std::path::{Path, PathBuf};
use std::ptr::{self, NonNull};
use std::sync::{Arc, Mutex, PoisonError};

use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::memory::{Allocator, MemoryInfo};
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::sys::ONNXTensorElementDataType as ElementType;
use ort::value::{DynValue, Tensor};
use ort::{AsPointer as _, api};
use taskvec_pack::Dtype;

use super::{Engine, EngineKind, Inference, OrtSettings, library};
use crate::base_model::{BaseModel, BaseTensor};
use crate::error::{Error, ErrorKind};
use crate::map::WeightsReader;
use crate::weights::Weights;

/// Name of the graph's input.
const PIXELS: &str = "pixels";
/// Name of the graph's output.
const FEATURES: &std::ffi::CStr = c"features";

/// A session of ONNX Runtime for a base.
pub(super) struct OrtEngine {
    opened: Arc<Opened>,
    description: String,
}

/// What all compositions share.
struct Opened {
    session: Session,
    /// Names of the inputs that every run is given: the pixels, then the editable tensors in the base's order.
    inputs: Vec<CString>,
    image: [usize; 3],
}

/// The editable tensors of one composition, as values of ONNX Runtime.
struct Bound {
    opened: Arc<Opened>,
    // Dropped in this order: what holds addresses goes before what keeps them readable.
    values: Vec<DynValue>,
    _weights: WeightsReader,
}

impl OrtEngine {
    /// # Errors
    /// `Unsupported` when no library is found, it is too old, or it refuses the graph; `Mismatch` when an editable
    /// tensor of the base is no input of the graph.
    pub(super) fn open(settings: &OrtSettings, base: &BaseModel) -> Result<Self, Error> {
        if settings.threads == 0 {
            return Err(Error::new(ErrorKind::Usage, "0 threads for ONNX Runtime, expected at least 1"));
        }
        let (environment, library) = environment(settings)?;
        let graph = base.graph_path();
        if !graph.is_file() {
            return Err(Error::new(ErrorKind::Damaged, format!("the base has no `{}`", graph.display()))
                .with_help("copy the bundle again, or use the burn engine"));
        }
        let session = build(&environment, &graph, settings.threads).map_err(|cause| {
            Error::new(ErrorKind::Unsupported, format!("ONNX Runtime refuses `{}`", graph.display())).with_source(cause)
        })?;
        check_inputs(&session, base)?;
        let editable = base.tensors().iter().filter(|tensor| tensor.editable).map(|tensor| tensor.name.as_str());
        let name = |name: &str| {
            let clause =
                || format!("tensor `{}`: a name with a zero byte cannot be a graph input", name.escape_debug());
            CString::new(name).map_err(|_| Error::new(ErrorKind::Unsupported, clause()))
        };
        let inputs = std::iter::once(PIXELS).chain(editable).map(name).collect::<Result<_, _>>()?;
        let version = version_of(&library);
        let description = format!("ONNX Runtime {version}, {} threads, {}", settings.threads, library.display());
        let opened = Arc::new(Opened { session, inputs, image: base.image_shape() });
        Ok(Self { opened, description })
    }
}

impl Engine for OrtEngine {
    fn kind(&self) -> EngineKind {
        EngineKind::Ort
    }

    fn describe(&self) -> String {
        self.description.clone()
    }

    fn over(&self, weights: &Weights) -> Result<Box<dyn Inference>, Error> {
        let reader = weights.reader();
        let editable = weights.base().tensors().iter().filter(|tensor| tensor.editable);
        let values = editable.map(|tensor| tensor_over(&reader, tensor)).collect::<Result<_, _>>()?;
        Ok(Box::new(Bound { opened: Arc::clone(&self.opened), values, _weights: reader }))
    }
}

impl Inference for Bound {
    fn features(&self, pixels: &[f32], batch: usize) -> Result<Vec<f32>, Error> {
        self.run(pixels, batch)
            .map_err(|cause| Error::new(ErrorKind::Unsupported, "ONNX Runtime refuses to infer").with_source(cause))
    }
}

impl Bound {
    fn run(&self, pixels: &[f32], batch: usize) -> ort::Result<Vec<f32>> {
        let [channels, height, width] = self.opened.image;
        let pixels = Tensor::from_array(([batch, channels, height, width], pixels.to_vec()))?;
        let weights = self.values.iter().map(|value| value.ptr());
        let values: Vec<_> = std::iter::once(pixels.ptr()).chain(weights).collect();
        let features = run(&self.opened.session, &self.opened.inputs, &values)?;
        Ok(features.try_extract_tensor::<f32>()?.1.to_vec())
    }
}

/// Runs the graph with `values` for the inputs called `names`, and gives the one output `features`.
#[expect(unsafe_code, reason = "the only way to run from several threads at once; see the head of this file")]
fn run(session: &Session, names: &[CString], values: &[*const ort::sys::OrtValue]) -> ort::Result<DynValue> {
    let names: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
    let outputs = [FEATURES.as_ptr()];
    let mut features = ptr::null_mut();
    debug_assert_eq!(names.len(), values.len(), "a value for each name");
    // SAFETY: `session` is a live session, on which ONNX Runtime allows concurrent runs, whatever C takes it as. `names`
    // and `outputs` are as long as is said and point to strings that end in a zero byte; `values` is as long as `names`
    // (checked by the one caller's making) and points to live values, which are only read. One output is asked for, and
    // there is room for one; null lets ONNX Runtime allocate it, and take its default options.
    let status = unsafe {
        (api().Run)(
            session.ptr().cast_mut(),
            ptr::null(),
            names.as_ptr(),
            values.as_ptr(),
            values.len().min(names.len()),
            outputs.as_ptr(),
            outputs.len(),
            &mut features,
        )
    };
    // SAFETY: `status` is what the call above returned, and it is used once.
    unsafe { ort::Error::result_from_status(status) }?;
    let features = NonNull::new(features).ok_or_else(|| ort::Error::new("the graph gave no output `features`"))?;
    // SAFETY: `features` is a valid tensor that nobody else owns. It is in the memory of the CPU, where the default
    // allocator is; it is read once and dropped, so that nothing is ever allocated with it.
    Ok(unsafe { DynValue::from_ptr(features, Some(&Allocator::default())) })
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

/// A value of ONNX Runtime that lies over the tensor's bytes in the composed mapping.
#[expect(unsafe_code, reason = "the only way to give memory without a copy; see the head of this file")]
fn tensor_over(weights: &WeightsReader, tensor: &BaseTensor) -> Result<DynValue, Error> {
    let refused = || Error::new(ErrorKind::Unsupported, format!("tensor `{}`: cannot be an input", tensor.name));
    let bytes = weights.as_ref().get(tensor.place.clone()).ok_or_else(refused)?;
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
    // SAFETY: `info` and `shape` live during the call; `bytes` are as many as the shape takes (checked when the base was
    // opened), and they stay mapped and unwritten while a reader of these weights lives, which `Bound` drops after its
    // values. ONNX Runtime takes the address as mutable and never writes to an input.
    let status = unsafe {
        (api().CreateTensorWithDataAsOrtValue)(
            info.ptr(),
            bytes.as_ptr().cast_mut().cast(),
            bytes.len(),
            shape.as_ptr(),
            shape.len(),
            element,
            &mut value,
        )
    };
    // SAFETY: `status` is what the call above returned, and it is used once.
    unsafe { ort::Error::result_from_status(status) }.map_err(|cause| refused().with_source(cause))?;
    let value = NonNull::new(value).ok_or_else(refused)?;
    // SAFETY: `value` is a valid tensor that nobody else owns. It does not own its bytes, so that releasing it frees
    // only the handle; the allocator is the one of the memory that `info` describes.
    Ok(unsafe { DynValue::from_ptr(value, Some(&Allocator::default())) })
}
