//! Numbers between Python and Rust: arrays come in by the buffer protocol, and go out as numpy arrays.
//!
//! The buffer protocol is part of the stable ABI since Python 3.11 and is what numpy arrays have anyway. A binding to numpy's
//! own C interface would bring three crates of matrix code along for the one thing that is needed: bytes, a type, a shape.

use pyo3::buffer::PyUntypedBuffer;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyDict, PyTuple};
use taskvec_runtime::{Array, BaseTensor, Image, StoredDtype};

use crate::error::{raised, usage};

/// Pixels as the network takes them, copied.
pub(crate) struct Pixels {
    /// `[batch, channels, height, width]`, row-major.
    pub(crate) values: Vec<f32>,
    pub(crate) batch: usize,
}

impl Pixels {
    /// Copies `array`, which must be f32 of shape `[batch, channels, height, width]`; strides may be any.
    ///
    /// # Errors
    /// `TypeError` when it is no array, `Usage` for another type or shape.
    pub(crate) fn of(array: &Bound<'_, PyAny>, image: [usize; 3]) -> PyResult<Self> {
        let buffer = buffer(array, "pixels")?;
        let [channels, height, width] = image;
        if !holds(&buffer, b'f') {
            return Err(usage(
                format!("pixels: elements are {}, expected float32", dtype(array, &buffer)),
                "make pixels of pictures with `Base.pixels`; convert other numbers with `.astype(numpy.float32)`",
            ));
        }
        match *buffer.shape() {
            [batch, ref sides @ ..] if *sides == image && batch > 0 => {
                Ok(Self { values: buffer.into_typed::<f32>()?.to_vec(array.py())?, batch })
            }
            _ => Err(usage(
                format!(
                    "pixels: shape is {:?}, expected [batch, {channels}, {height}, {width}] with a batch of at least 1",
                    buffer.shape()
                ),
                "make pixels of pictures with `Base.pixels`",
            )),
        }
    }
}

/// Copies `array`, which must be u8 of shape `[batch, height, width]` or `[batch, height, width, channels]`, as pictures.
///
/// # Errors
/// `TypeError` when it is no array, `Usage` for another type or shape.
pub(crate) fn pictures(array: &Bound<'_, PyAny>) -> PyResult<Vec<Image>> {
    let buffer = buffer(array, "pictures")?;
    if !holds(&buffer, b'B') {
        return Err(usage(
            format!("pictures: elements are {}, expected uint8", dtype(array, &buffer)),
            "give the bytes of the picture, 0 for dark and 255 for bright",
        ));
    }
    let wrong = || {
        usage(
            format!(
                "pictures: shape is {:?}, expected [batch, height, width] or [.., 1 or 3 channels]",
                buffer.shape()
            ),
            "a single picture is a batch of one: `picture[None]`",
        )
    };
    let (sides, channels) = match *buffer.shape() {
        [_, height, width] => ([height, width], 1),
        [_, height, width, channels @ (1 | 3)] => ([height, width], channels),
        _ => return Err(wrong()),
    };
    let [Ok(height), Ok(width)] = sides.map(u32::try_from) else { return Err(wrong()) };
    let size = sides[0] * sides[1] * channels;
    if size == 0 || buffer.item_count() == 0 {
        return Err(wrong());
    }
    let bytes = buffer.into_typed::<u8>()?.to_vec(array.py())?;
    let picture = |data: &[u8]| Image { width, height, channels: channels as u32, data: data.to_vec() };
    Ok(bytes.chunks_exact(size).map(picture).collect())
}

/// A numpy array of its own memory over a copy of `bytes`; `dtype` as numpy writes types: `<f4`.
pub(crate) fn array<'py>(
    py: Python<'py>,
    bytes: &[u8],
    dtype: &str,
    shape: impl IntoIterator<Item = usize, IntoIter: ExactSizeIterator>,
) -> PyResult<Bound<'py, PyAny>> {
    let flat = py.import("numpy")?.call_method1("frombuffer", (PyByteArray::new(py, bytes), dtype))?;
    flat.call_method1("reshape", (PyTuple::new(py, shape)?,))
}

/// A copy of the bytes of `tensor` as a numpy array.
pub(crate) fn tensor_array<'py>(py: Python<'py>, tensor: &BaseTensor, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    // The shape is that of bytes in memory, so that it fits.
    array(py, bytes, numpy_name(tensor.stored())?, tensor.shape.iter().map(|&side| side as usize))
}

/// A copy of an answer as a numpy array.
pub(crate) fn answer_array<'py>(py: Python<'py>, answer: &Array) -> PyResult<Bound<'py, PyAny>> {
    let shape: Vec<usize> = answer.shape().iter().map(|&side| side as usize).collect();
    array(py, answer.bytes(), numpy_name(answer.dtype())?, shape)
}

/// What numpy calls each dtype. It has no bfloat16, whose bits go out as whole numbers.
const NUMPY_NAMES: [(&str, StoredDtype); 13] = [
    ("<f4", StoredDtype::F32),
    ("<f2", StoredDtype::F16),
    ("<f8", StoredDtype::F64),
    ("<i8", StoredDtype::I64),
    ("<i4", StoredDtype::I32),
    ("<i2", StoredDtype::I16),
    ("|i1", StoredDtype::I8),
    ("|u1", StoredDtype::U8),
    ("<u2", StoredDtype::U16),
    ("<u4", StoredDtype::U32),
    ("<u8", StoredDtype::U64),
    ("|b1", StoredDtype::Bool),
    ("<u2", StoredDtype::Bf16),
];

fn numpy_name(dtype: StoredDtype) -> PyResult<&'static str> {
    let found = NUMPY_NAMES.iter().find(|(_, known)| *known == dtype);
    let unknown = || usage(format!("numpy has no {}", dtype.name()), "read it with another engine");
    found.map(|(name, _)| *name).ok_or_else(unknown)
}

/// The arrays of a dict by name, copied.
///
/// # Errors
/// `TypeError` when a key is no text or a value is no array, `Usage` for a type that no network takes.
pub(crate) fn named_arrays(inputs: &Bound<'_, PyDict>) -> PyResult<Vec<Array>> {
    let mut arrays = Vec::new();
    for (name, value) in inputs {
        let name: String = name.extract()?;
        // Anything with a buffer is an array for numpy, and is then whole and row-major.
        let shape = value.getattr("shape").map_err(|_| {
            let found = value.get_type().name().map_or_else(|_| "something else".to_owned(), |name| name.to_string());
            pyo3::exceptions::PyTypeError::new_err(format!("input `{name}`: expected a numpy array, found {found}"))
        })?;
        let shape: Vec<u64> = shape.extract()?;
        let whole = value.py().import("numpy")?.call_method1("ascontiguousarray", (&value,))?;
        let found: String = whole.getattr("dtype")?.getattr("str")?.extract()?;
        let Some((_, dtype)) = NUMPY_NAMES.iter().find(|(known, _)| *known == found) else {
            return Err(usage(
                format!("input `{name}`: elements are {found}"),
                "give numbers in this machine's order, such as numpy.int64",
            ));
        };
        let bytes = whole.call_method0("tobytes")?;
        arrays.push(Array::new(name, *dtype, &shape, bytes.cast::<PyBytes>()?.as_bytes()).map_err(raised)?);
    }
    Ok(arrays)
}

/// A numpy array of f32.
pub(crate) fn array_of_f32<'py, const N: usize>(
    py: Python<'py>,
    values: &[f32],
    shape: [usize; N],
) -> PyResult<Bound<'py, PyAny>> {
    array(py, bytemuck::cast_slice(values), "<f4", shape)
}

fn buffer(array: &Bound<'_, PyAny>, subject: &str) -> PyResult<PyUntypedBuffer> {
    PyUntypedBuffer::get(array).map_err(|cause| {
        let found = array.get_type().name().map_or_else(|_| "something else".to_owned(), |name| name.to_string());
        let error = pyo3::exceptions::PyTypeError::new_err(format!("{subject}: expected a numpy array, found {found}"));
        error.set_cause(array.py(), Some(cause));
        error
    })
}

/// Whether the elements are of this type of Python's `struct`, in this machine's order of bytes, which is little-endian.
fn holds(buffer: &PyUntypedBuffer, element: u8) -> bool {
    matches!(*buffer.format().to_bytes(), [found] | [b'@' | b'=' | b'<', found] if found == element)
}

/// What the elements of `array` are called: numpy's name where it is a numpy array.
fn dtype(array: &Bound<'_, PyAny>, buffer: &PyUntypedBuffer) -> String {
    let named = array.getattr("dtype").and_then(|dtype| dtype.str()).map(|name| name.to_string());
    named.unwrap_or_else(|_| format!("`{}`", buffer.format().to_string_lossy()))
}
