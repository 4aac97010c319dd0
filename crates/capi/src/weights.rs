//! The composed weights of one composition, for programs that bring their own inference.

use std::ffi::{c_char, c_void, CString};
use std::mem::MaybeUninit;

use taskvec_runtime::{BaseModel, BaseTensor, StoredDtype, WeightsReader};

use crate::guard::guarded;
use crate::handle::{c_text, given, output, text};
use crate::session::taskvec_session;
use crate::status::{taskvec_status, Failure};

/// IEEE 754 with 32 bits.
pub const TASKVEC_DTYPE_F32: u32 = 1;
/// IEEE 754 with 16 bits.
pub const TASKVEC_DTYPE_F16: u32 = 2;
/// The upper 16 bits of an f32.
pub const TASKVEC_DTYPE_BF16: u32 = 3;
/// Signed bytes that stand for floats: weights of a quantized base.
pub const TASKVEC_DTYPE_I8: u32 = 4;
/// Unsigned bytes that stand for floats: weights of a quantized base.
pub const TASKVEC_DTYPE_U8: u32 = 5;
/// Signed numbers of 32 bits that stand for floats: biases of a quantized base.
pub const TASKVEC_DTYPE_I32: u32 = 6;

/// The weights of the composition that was in force when they were opened. They stay as they are while they are open,
/// whatever is attached or detached meanwhile; a change does not wait for them. They own the pages that their
/// composition touched; all others are shared.
pub struct taskvec_weights {
    base: BaseModel,
    reader: WeightsReader,
    /// Of each tensor of the base, in its order.
    names: Vec<CString>,
}

/// A tensor of weights and where it lies. All pointers belong to the weights that it was asked of.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct taskvec_tensor {
    /// Its name, as in the safetensors file.
    pub name: *const c_char,
    /// Its elements, little-endian and row-major, one after the other.
    pub data: *const c_void,
    /// Size of all elements.
    pub size_bytes: usize,
    /// Its dimensions, `rank` of them.
    pub shape: *const u64,
    /// How many dimensions it has; 0 for a single number.
    pub rank: usize,
    /// One of `TASKVEC_DTYPE_...`.
    pub dtype: u32,
    /// Whether packs may edit it. The others are the base's for ever.
    pub is_editable: bool,
}

/// The weights of what is in force in `session` now. Close them with `taskvec_weights_close`, before the session or
/// after it.
#[no_mangle]
pub extern "C" fn taskvec_weights_open(
    session: Option<&taskvec_session>,
    weights: Option<&mut MaybeUninit<Box<taskvec_weights>>>,
) -> taskvec_status {
    guarded(|| {
        let session = &given(session, "session")?.session;
        let place = output(weights, "weights")?;
        let reader = session.look_at_weights(|weights| weights.reader());
        place.write(Box::new(taskvec_weights::of(session.base(), reader)));
        Ok(())
    })
}

/// Closes weights: pointers into them are no longer good. NULL does nothing.
#[no_mangle]
pub extern "C" fn taskvec_weights_close(weights: Option<Box<taskvec_weights>>) -> taskvec_status {
    guarded(|| {
        drop(weights);
        Ok(())
    })
}

/// The whole `model.safetensors` as composed, header and all.
#[no_mangle]
pub extern "C" fn taskvec_weights_bytes(
    weights: Option<&taskvec_weights>,
    bytes: Option<&mut MaybeUninit<*const u8>>,
    byte_count: Option<&mut MaybeUninit<usize>>,
) -> taskvec_status {
    guarded(|| {
        let all = given(weights, "weights")?.reader.as_ref();
        let (bytes, byte_count) = (output(bytes, "bytes")?, output(byte_count, "byte_count")?);
        bytes.write(all.as_ptr());
        byte_count.write(all.len());
        Ok(())
    })
}

/// How many tensors of floats there are.
#[no_mangle]
pub extern "C" fn taskvec_weights_tensor_count(
    weights: Option<&taskvec_weights>,
    count: Option<&mut MaybeUninit<usize>>,
) -> taskvec_status {
    guarded(|| {
        let weights = given(weights, "weights")?;
        output(count, "count")?.write(weights.names.len());
        Ok(())
    })
}

/// The tensor at `index`, counted from 0 in byte order of the names.
#[no_mangle]
pub extern "C" fn taskvec_weights_tensor_at(
    weights: Option<&taskvec_weights>,
    index: usize,
    tensor: Option<&mut MaybeUninit<taskvec_tensor>>,
) -> taskvec_status {
    guarded(|| {
        let weights = given(weights, "weights")?;
        let place = output(tensor, "tensor")?;
        let found = weights.tensor(index).ok_or_else(|| {
            let clause = format!("tensor {index}, expected one below {}", weights.names.len());
            Failure::new(taskvec_status::Usage, clause)
        })?;
        place.write(found);
        Ok(())
    })
}

/// The tensor called `name`.
#[no_mangle]
pub unsafe extern "C" fn taskvec_weights_tensor(
    weights: Option<&taskvec_weights>,
    name: *const c_char,
    tensor: Option<&mut MaybeUninit<taskvec_tensor>>,
) -> taskvec_status {
    guarded(|| {
        let weights = given(weights, "weights")?;
        // SAFETY: the contract of the header.
        let name = unsafe { text(name, "name") }?;
        let place = output(tensor, "tensor")?;
        let index = weights.base.tensors().binary_search_by(|tensor| tensor.name.as_str().cmp(name)).ok();
        let found = index.and_then(|index| weights.tensor(index)).ok_or_else(|| {
            Failure::new(taskvec_status::Usage, format!("the base has no tensor of floats called `{name}`"))
        })?;
        place.write(found);
        Ok(())
    })
}

fn dtype_of(tensor: &BaseTensor) -> u32 {
    match &tensor.quantization {
        None => u32::from(tensor.dtype.code()),
        Some(quantization) => match quantization.stored {
            StoredDtype::U8 => TASKVEC_DTYPE_U8,
            StoredDtype::I32 => TASKVEC_DTYPE_I32,
            _ => TASKVEC_DTYPE_I8,
        },
    }
}

impl taskvec_weights {
    pub(crate) fn of(base: &BaseModel, reader: WeightsReader) -> Self {
        let names = base.tensors().iter().map(|tensor| c_text(tensor.name.as_str())).collect();
        Self { base: base.clone(), reader, names }
    }

    fn tensor(&self, index: usize) -> Option<taskvec_tensor> {
        let (tensor, name) = (self.base.tensors().get(index)?, self.names.get(index)?);
        let bytes = self.reader.as_ref().get(tensor.place.clone())?;
        Some(taskvec_tensor {
            name: name.as_ptr(),
            data: bytes.as_ptr().cast(),
            size_bytes: bytes.len(),
            shape: tensor.shape.as_ptr(),
            rank: tensor.shape.len(),
            dtype: dtype_of(tensor),
            is_editable: tensor.editable,
        })
    }
}
