//! A session of ONNX Runtime and how it is run: the calls of the C interface that ort does not offer.
//!
//! A run is a call of the C function `Run`, which ONNX Runtime allows from several threads at once; ort's own `run` takes
//! the session mutably, and its `IoBinding` may serve one thread only (and clones, silently, a tensor that ort made from
//! borrowed memory, which would then show the base for ever). ort can serve external data from memory, but only from a
//! buffer on the heap. So values over a mapping are made, runs are done and mappings are served by ONNX Runtime's own
//! calls. This is the second place in the crate with `unsafe`, apart from `map.rs`: it cannot move there, because `ort` is
//! named only in this folder.

use std::ffi::{CString, c_char};
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::{Mutex, PoisonError};

use ort::memory::{Allocator, MemoryInfo};
use ort::session::Session;
use ort::session::builder::SessionBuilder;
use ort::sys::{ONNXTensorElementDataType as ElementType, os_char};
use ort::value::{DynValue, TensorElementType, ValueType};
use ort::{AsPointer as _, api};
use taskvec_bundle::{Interface, MODEL_FILE, MODEL_FILE_OF_BASE, StoredDtype};

use crate::array::Array;
use crate::base_model::BaseTensor;
use crate::error::{Error, ErrorKind};
use crate::map::WeightsReader;

/// Name of the input of a graph that takes pictures.
const PIXELS: &str = "pixels";
/// Name of its output.
const FEATURES: &str = "features";

/// A session that many threads may run.
pub(super) struct Runner {
    session: Session,
    outputs: Vec<CString>,
    /// Sides of a picture, where the graph takes pictures.
    picture: Option<[u64; 3]>,
    /// Held during a run where the provider cannot compute for several callers at once.
    one_at_a_time: Option<Mutex<()>>,
}

impl Runner {
    /// # Errors
    /// `Unsupported` when the name of an output has a zero byte.
    pub(super) fn new(session: Session, interface: &Interface, one_at_a_time: bool) -> Result<Self, Error> {
        let (outputs, picture) = match interface {
            Interface::Pictures(pictures) => (vec![FEATURES], Some(pictures.shape().map(|side| side as u64))),
            Interface::Arrays(arrays) => (arrays.outputs.iter().map(|port| port.name.as_str()).collect(), None),
        };
        let outputs = outputs.into_iter().map(c_name).collect::<Result<_, _>>()?;
        Ok(Self { session, outputs, picture, one_at_a_time: one_at_a_time.then(Mutex::default) })
    }

    /// The features for `pixels`, with `weights` for the inputs called `names`, a value for each.
    pub(super) fn features(
        &self,
        names: &[CString],
        weights: &[DynValue],
        pixels: &[f32],
        batch: usize,
    ) -> Result<Vec<f32>, Error> {
        let no_picture = || Error::new(ErrorKind::Usage, "the graph takes arrays, no pictures");
        let [channels, height, width] = self.picture.ok_or_else(no_picture)?;
        let pixels = Array::of_f32(PIXELS, &[batch as u64, channels, height, width], pixels)?;
        let answer = self.run(names, weights, &[pixels])?;
        let features = answer.first().and_then(Array::as_f32).map(<[f32]>::to_vec);
        features.ok_or_else(|| Error::new(ErrorKind::Mismatch, format!("the graph's `{FEATURES}` are no f32")))
    }

    /// The outputs for `inputs`, with `weights` for the inputs called `names`, a value for each.
    pub(super) fn run(&self, names: &[CString], weights: &[DynValue], inputs: &[Array]) -> Result<Vec<Array>, Error> {
        let input_names = inputs.iter().map(|input| c_name(input.name())).collect::<Result<Vec<_>, _>>()?;
        let refused =
            |cause: ort::Error| Error::new(ErrorKind::Unsupported, "ONNX Runtime refuses to infer").with_source(cause);
        let values = inputs
            .iter()
            .map(|input| tensor_over(input.bytes(), input.shape(), element_of(input.dtype())?))
            .collect::<ort::Result<Vec<_>>>()
            .map_err(refused)?;
        let given: Vec<_> = (input_names.iter().zip(&values))
            .chain(names.iter().zip(weights))
            .map(|(name, value)| (name.as_ptr(), value.ptr()))
            .collect();
        let turn = self.one_at_a_time.as_ref().map(|turn| turn.lock().unwrap_or_else(PoisonError::into_inner));
        let answer = run(&self.session, &given, &self.outputs).map_err(refused)?;
        drop(turn);
        let array = |(value, name): (&DynValue, &CString)| array_of(value, name.to_string_lossy().into_owned());
        answer.iter().zip(&self.outputs).map(array).collect()
    }
}

/// A name of the graph, for C.
pub(super) fn c_name(name: &str) -> Result<CString, Error> {
    let clause = || format!("`{}`: a name with a zero byte cannot be one of the graph", name.escape_debug());
    CString::new(name).map_err(|_| Error::new(ErrorKind::Unsupported, clause()))
}

/// Runs the graph with these values for the inputs of these names, and gives the outputs of these names.
#[expect(unsafe_code, reason = "the only way to run from several threads at once; see the head of this file")]
fn run(
    session: &Session,
    inputs: &[(*const c_char, *const ort::sys::OrtValue)],
    outputs: &[CString],
) -> ort::Result<Vec<DynValue>> {
    let (names, values): (Vec<_>, Vec<_>) = inputs.iter().copied().unzip();
    let outputs: Vec<*const c_char> = outputs.iter().map(|name| name.as_ptr()).collect();
    let mut answers = vec![ptr::null_mut(); outputs.len()];
    // SAFETY: `session` is a live session, on which ONNX Runtime allows concurrent runs, whatever C takes it as. `names`
    // and `outputs` are as long as is said and point to strings that end in a zero byte; `values` is as long as `names`
    // and points to live values, which are only read: the one caller holds all of them during this call. There is room for
    // as many outputs as are asked for; null lets ONNX Runtime allocate them, and take its default options.
    let status = unsafe {
        (api().Run)(
            session.ptr().cast_mut(),
            ptr::null(),
            names.as_ptr(),
            values.as_ptr(),
            values.len(),
            outputs.as_ptr(),
            outputs.len(),
            answers.as_mut_ptr(),
        )
    };
    // SAFETY: `status` is what the call above returned, and it is used once.
    unsafe { ort::Error::result_from_status(status) }?;
    let owned = answers.into_iter().map(|answer| {
        let answer = NonNull::new(answer).ok_or_else(|| ort::Error::new("the graph gave no answer for an output"))?;
        // SAFETY: `answer` is a valid value that nobody else owns. It is in the memory of the CPU, where the default
        // allocator is; it is read once and dropped, so that nothing is ever allocated with it.
        Ok(unsafe { DynValue::from_ptr(answer, Some(&Allocator::default())) })
    });
    owned.collect()
}

/// A copy of a tensor of numbers.
#[expect(unsafe_code, reason = "ort gives bytes of one dtype at a time, and not of every dtype")]
fn array_of(value: &DynValue, name: String) -> Result<Array, Error> {
    let refused = |what: &str| Error::new(ErrorKind::Unsupported, format!("output `{name}` is {what}"));
    let ValueType::Tensor { ty, shape, .. } = value.dtype() else {
        return Err(refused("no tensor"));
    };
    let dtype = dtype_of(*ty).ok_or_else(|| refused("of a dtype that is none here"))?;
    let sides: Option<Vec<u64>> = shape.iter().map(|&side| u64::try_from(side).ok()).collect();
    let sides = sides.ok_or_else(|| refused("of an unknown size"))?;
    let count = sides.iter().try_fold(1u64, |count, &side| count.checked_mul(side));
    let byte_count = count.and_then(|count| usize::try_from(count.checked_mul(dtype.size_bits() / 8)?).ok());
    let byte_count = byte_count.ok_or_else(|| refused("larger than memory"))?;
    if byte_count == 0 {
        return Array::new(name, dtype, &sides, &[]);
    }
    let mut data = ptr::null_mut();
    // SAFETY: `value` is a live tensor of numbers, as its type says; the address of its data is written to `data`.
    let status = unsafe { (api().GetTensorMutableData)(value.ptr().cast_mut(), &mut data) };
    // SAFETY: `status` is what the call above returned, and it is used once.
    unsafe { ort::Error::result_from_status(status) }.map_err(|cause| refused("not to be read").with_source(cause))?;
    if data.is_null() {
        return Err(refused("without data"));
    }
    // SAFETY: the data of a tensor of this dtype and these sides is that many bytes, in the memory of the CPU, which nobody
    // writes to: the value is held here, and has been computed.
    let bytes = unsafe { slice::from_raw_parts(data.cast::<u8>().cast_const(), byte_count) };
    Array::new(name, dtype, &sides, bytes)
}

/// Whether ONNX Runtime's dtypes are ours, by name, in both directions.
macro_rules! elements {
    ($($stored:ident $element:ident $sys:ident,)*) => {
        fn dtype_of(element: TensorElementType) -> Option<StoredDtype> {
            match element {
                $(TensorElementType::$element => Some(StoredDtype::$stored),)*
                _ => None,
            }
        }

        fn element_of(dtype: StoredDtype) -> ort::Result<ElementType> {
            match dtype {
                $(StoredDtype::$stored => Ok(ElementType::$sys),)*
                other => Err(ort::Error::new(format!("it has no tensors of {}", other.name()))),
            }
        }
    };
}

elements! {
    F32 Float32 ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
    F64 Float64 ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE,
    F16 Float16 ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16,
    Bf16 Bfloat16 ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16,
    I8 Int8 ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8,
    I16 Int16 ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16,
    I32 Int32 ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32,
    I64 Int64 ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64,
    U8 Uint8 ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8,
    U16 Uint16 ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16,
    U32 Uint32 ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32,
    U64 Uint64 ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64,
    Bool Bool ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL,
}

/// What [`MODEL_FILE_OF_BASE`] is called in memory. The library takes two spellings of one path for one file, so that the graph has
/// to be given another name there; it is as long, and no length in the message changes.
const BASE_IN_MEMORY: &[u8; MODEL_FILE_OF_BASE.len()] = b"@/model.safetensors";

/// Commits a session whose graph is `graph` and whose external data is `weights` instead of a file; of `base` where the graph asks
/// for the base's numbers whatever the composition.
///
/// The library copies what it needs of `weights` into the session. (`AddInitializer` would not copy, and is a trap: its
/// optimizers compute with the values in the file, and not with ours.)
#[expect(unsafe_code, reason = "ort serves external data from a heap buffer only; see the head of this file")]
pub(super) fn commit_from_memory(
    mut builder: SessionBuilder,
    graph: &[u8],
    weights: &[u8],
    base: &[u8],
) -> ort::Result<Session> {
    let mut graph = graph.to_vec();
    let mut files: Vec<(&[u8], &[u8])> = vec![(MODEL_FILE.as_bytes(), weights)];
    let spelled = MODEL_FILE_OF_BASE.as_bytes();
    let places: Vec<usize> = (0..graph.len()).filter(|&at| graph[at..].starts_with(spelled)).collect();
    if !places.is_empty() {
        places.into_iter().for_each(|at| graph[at..at + spelled.len()].copy_from_slice(BASE_IN_MEMORY));
        files.push((BASE_IN_MEMORY, base));
    }
    let ended = |name: &[u8]| -> Vec<os_char> { name.iter().chain(&[0]).map(|&byte| byte as os_char).collect() };
    let spellings: Vec<Vec<os_char>> = files.iter().map(|(name, _)| ended(name)).collect();
    let names: Vec<*const os_char> = spellings.iter().map(|name| name.as_ptr()).collect();
    let buffers: Vec<*mut c_char> = files.iter().map(|(_, bytes)| bytes.as_ptr().cast_mut().cast::<c_char>()).collect();
    let lengths: Vec<usize> = files.iter().map(|(_, bytes)| bytes.len()).collect();
    // SAFETY: the builder is live, and the arrays have the elements that are said, as many each; the names end in a zero. The
    // buffers are as long as is said and outlive the builder, which is consumed here; the library reads them while the
    // session is made, writes nothing to them, and keeps no address of them (it copies: the configuration key that would have
    // it borrow, `session.use_external_initializer_file_buffers_directly`, is not set).
    let status = unsafe {
        (api().AddExternalInitializersFromMemory)(
            builder.ptr_mut(),
            names.as_ptr(),
            buffers.as_ptr(),
            lengths.as_ptr(),
            names.len(),
        )
    };
    // SAFETY: `status` is what the call above returned, and it is used once.
    unsafe { ort::Error::result_from_status(status) }?;
    builder.commit_from_memory(&graph)
}

/// A value of ONNX Runtime that lies over the tensor's bytes in the composed mapping.
pub(super) fn weight_over(weights: &WeightsReader, tensor: &BaseTensor) -> Result<DynValue, Error> {
    let refused = || Error::new(ErrorKind::Unsupported, format!("tensor `{}`: cannot be an input", tensor.name));
    let bytes = weights.as_ref().get(tensor.place.clone()).ok_or_else(refused)?;
    let value = element_of(tensor.stored()).and_then(|element| tensor_over(bytes, &tensor.shape, element));
    value.map_err(|cause| refused().with_source(cause))
}

/// A value of ONNX Runtime that lies over `bytes`, which the caller keeps where they are, unwritten, for as long as it keeps
/// the value.
#[expect(unsafe_code, reason = "the only way to give memory without a copy; see the head of this file")]
fn tensor_over(bytes: &[u8], shape: &[u64], element: ElementType) -> ort::Result<DynValue> {
    let shape: Result<Vec<i64>, _> = shape.iter().map(|&side| i64::try_from(side)).collect();
    let shape = shape.map_err(|_| ort::Error::new("a side is longer than ONNX Runtime can count"))?;
    let info = MemoryInfo::default();
    let mut value = ptr::null_mut();
    // SAFETY: `info` and `shape` live during the call; `bytes` are as many as the shape takes (checked when the base was
    // opened, or the array made), and they stay where they are and unwritten while the value lives: over a mapping, because
    // the caller drops the value before its reader; over an array, because the run ends before the borrow. ONNX Runtime takes
    // the address as mutable and never writes to an input.
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
    unsafe { ort::Error::result_from_status(status) }?;
    let value = NonNull::new(value).ok_or_else(|| ort::Error::new("no value was made"))?;
    // SAFETY: `value` is a valid tensor that nobody else owns. It does not own its bytes, so that releasing it frees
    // only the handle; the allocator is the one of the memory that `info` describes.
    Ok(unsafe { DynValue::from_ptr(value, Some(&Allocator::default())) })
}
