//! A session of ONNX Runtime and how it is run: the calls of the C interface that ort does not offer.
//!
//! A run is a call of the C function `Run`, which ONNX Runtime allows from several threads at once; ort's own `run` takes
//! the session mutably, and its `IoBinding` may serve one thread only (and clones, silently, a tensor that ort made from
//! borrowed memory, which would then show the base for ever). ort can serve external data from memory, but only from a
//! buffer on the heap. So values over a mapping are made, runs are done and mappings are served by ONNX Runtime's own
//! calls. This is the second place in the crate with `unsafe`, apart from `map.rs`: it cannot move there, because `ort` is
//! named only in this folder.

use std::ffi::{CStr, CString, c_char};
use std::ptr::{self, NonNull};
use std::sync::{Mutex, PoisonError};

use ort::memory::{Allocator, MemoryInfo};
use ort::session::Session;
use ort::session::builder::SessionBuilder;
use ort::sys::{ONNXTensorElementDataType as ElementType, os_char};
use ort::value::{DynValue, Tensor};
use ort::{AsPointer as _, api};
use taskvec_bundle::MODEL_FILE;
use taskvec_pack::Dtype;

use crate::base_model::BaseTensor;
use crate::error::{Error, ErrorKind};
use crate::map::WeightsReader;

/// Name of the graph's input.
pub(super) const PIXELS: &CStr = c"pixels";
/// Name of the graph's output.
const FEATURES: &CStr = c"features";

/// A session that many threads may run.
pub(super) struct Runner {
    session: Session,
    image: [usize; 3],
    /// Held during a run where the provider cannot compute for several callers at once.
    one_at_a_time: Option<Mutex<()>>,
}

impl Runner {
    pub(super) fn new(session: Session, image: [usize; 3], one_at_a_time: bool) -> Self {
        Self { session, image, one_at_a_time: one_at_a_time.then(Mutex::default) }
    }

    /// The features for `pixels`, with `weights` for the inputs called `names`, a value for each.
    pub(super) fn features(
        &self,
        names: &[CString],
        weights: &[DynValue],
        pixels: &[f32],
        batch: usize,
    ) -> Result<Vec<f32>, Error> {
        self.run(names, weights, pixels, batch)
            .map_err(|cause| Error::new(ErrorKind::Unsupported, "ONNX Runtime refuses to infer").with_source(cause))
    }

    fn run(&self, names: &[CString], weights: &[DynValue], pixels: &[f32], batch: usize) -> ort::Result<Vec<f32>> {
        let [channels, height, width] = self.image;
        let pixels = Tensor::from_array(([batch, channels, height, width], pixels.to_vec()))?;
        let inputs: Vec<_> = std::iter::once((PIXELS.as_ptr(), pixels.ptr()))
            .chain(names.iter().zip(weights).map(|(name, value)| (name.as_ptr(), value.ptr())))
            .collect();
        let _turn = self.one_at_a_time.as_ref().map(|turn| turn.lock().unwrap_or_else(PoisonError::into_inner));
        let features = run(&self.session, &inputs)?;
        Ok(features.try_extract_tensor::<f32>()?.1.to_vec())
    }
}

/// Runs the graph with these values for the inputs of these names, and gives the one output `features`.
#[expect(unsafe_code, reason = "the only way to run from several threads at once; see the head of this file")]
fn run(session: &Session, inputs: &[(*const c_char, *const ort::sys::OrtValue)]) -> ort::Result<DynValue> {
    let (names, values): (Vec<_>, Vec<_>) = inputs.iter().copied().unzip();
    let outputs = [FEATURES.as_ptr()];
    let mut features = ptr::null_mut();
    // SAFETY: `session` is a live session, on which ONNX Runtime allows concurrent runs, whatever C takes it as. `names`
    // and `outputs` are as long as is said and point to strings that end in a zero byte; `values` is as long as `names`
    // and points to live values, which are only read: the one caller holds all of them during this call. One output is
    // asked for, and there is room for one; null lets ONNX Runtime allocate it, and take its default options.
    let status = unsafe {
        (api().Run)(
            session.ptr().cast_mut(),
            ptr::null(),
            names.as_ptr(),
            values.as_ptr(),
            values.len(),
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

/// Commits a session whose graph is `graph` and whose external data is `weights` instead of a file.
///
/// The library copies what it needs of `weights` into the session. (`AddInitializer` would not copy, and is a trap: its
/// optimizers compute with the values in the file, and not with ours.)
#[expect(unsafe_code, reason = "ort serves external data from a heap buffer only; see the head of this file")]
pub(super) fn commit_from_memory(mut builder: SessionBuilder, graph: &[u8], weights: &[u8]) -> ort::Result<Session> {
    let name: Vec<os_char> = MODEL_FILE.bytes().chain([0]).map(|byte| byte as os_char).collect();
    let names = [name.as_ptr()];
    let buffers = [weights.as_ptr().cast_mut().cast::<c_char>()];
    let lengths = [weights.len()];
    // SAFETY: the builder is live, and the arrays have the one element each that is said; the name ends in a zero. The
    // buffer is as long as is said and outlives the builder, which is consumed here; the library reads it while the
    // session is made, writes nothing to it, and keeps no address of it (it copies: the configuration key that would have
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
    builder.commit_from_memory(graph)
}

/// A value of ONNX Runtime that lies over the tensor's bytes in the composed mapping.
#[expect(unsafe_code, reason = "the only way to give memory without a copy; see the head of this file")]
pub(super) fn tensor_over(weights: &WeightsReader, tensor: &BaseTensor) -> Result<DynValue, Error> {
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
    // opened), and they stay mapped and unwritten while a reader of these weights lives, which the caller drops after the
    // value. ONNX Runtime takes the address as mutable and never writes to an input.
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
