//! The graph of a model with its weights in another file: a walk over its bytes that writes the initializers anew and adds
//! the inputs, and leaves every other byte as it is.

use std::collections::HashMap;

use taskvec_bundle::onnx::{
    ENTRY_KEY, ENTRY_VALUE, Fields, GRAPH_INITIALIZER, GRAPH_INPUT, MODEL_GRAPH, TENSOR_EXTERNAL_DATA, TENSOR_NAME,
    VALUE_NAME, data_type_of, string, write_field, write_number,
};
use taskvec_bundle::{MODEL_FILE, StoredDtype, TensorInfo};
use taskvec_dataset::{Error, Result};

/// Of `TensorProto`.
const TENSOR_DIMS: u64 = 1;
const TENSOR_DATA_TYPE: u64 = 2;
const TENSOR_RAW_DATA: u64 = 9;
const TENSOR_DATA_LOCATION: u64 = 14;
/// `TensorProto.EXTERNAL`.
const EXTERNAL: u64 = 1;
/// `ValueInfoProto.type`, `TypeProto.tensor_type`.
const VALUE_TYPE: u64 = 2;
const TYPE_TENSOR: u64 = 1;
/// Of `TypeProto.Tensor`, and `TensorShapeProto.dim`, `Dimension.dim_value`.
const TENSOR_TYPE_ELEMENT: u64 = 1;
const TENSOR_TYPE_SHAPE: u64 = 2;
const SHAPE_DIM: u64 = 1;
const DIM_VALUE: u64 = 1;

/// Where an initializer's numbers are from now on.
#[derive(Debug)]
pub enum Home<'a> {
    /// In `model.safetensors`.
    Model {
        /// Where it lies there.
        tensor: &'a TensorInfo,
        /// Whether it is an input as well, whose default it is.
        is_input: bool,
    },
    /// In the graph.
    Graph {
        /// Type of its elements.
        dtype: StoredDtype,
        /// Its sides.
        shape: Vec<u64>,
        /// Its elements, little-endian.
        bytes: Vec<u8>,
    },
}

/// The model with the initializers that have a new home there, and all others as they are.
///
/// # Errors
/// `Damaged` when the bytes are no ONNX model; `Unsupported` for a dtype that ONNX has no number for.
pub fn rewrite(model: &[u8], homes: &HashMap<String, Home<'_>>) -> Result<Vec<u8>> {
    let unknown = homes.iter().find(|(_, home)| data_type_of(home.dtype()).is_none());
    if let Some((name, home)) = unknown {
        return Err(Error::unsupported(format!("tensor `{name}`: ONNX has no {}", home.dtype().name())));
    }
    rewritten(model, homes).ok_or_else(|| Error::damaged("no ONNX model: a field does not end where it should"))
}

impl Home<'_> {
    fn dtype(&self) -> StoredDtype {
        match self {
            Home::Model { tensor, .. } => tensor.dtype(),
            Home::Graph { dtype, .. } => *dtype,
        }
    }
}

fn rewritten(model: &[u8], homes: &HashMap<String, Home<'_>>) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for field in Fields(model) {
        let field = field?;
        let Some(graph) = field.payload_of(MODEL_GRAPH) else {
            bytes.extend_from_slice(field.whole);
            continue;
        };
        let (mut kept, mut inputs) = (Vec::new(), Vec::new());
        for inner in Fields(graph) {
            let inner = inner?;
            let name = match inner.payload_of(GRAPH_INITIALIZER) {
                Some(tensor) => string(tensor, TENSOR_NAME)?.and_then(|name| std::str::from_utf8(name).ok()),
                None => None,
            };
            let Some((name, home)) = name.and_then(|name| Some((name, homes.get(name)?))) else {
                kept.extend_from_slice(inner.whole);
                continue;
            };
            write_field(&mut kept, GRAPH_INITIALIZER, &initializer(name, home)?);
            if let Home::Model { tensor, is_input: true } = home {
                write_field(&mut inputs, GRAPH_INPUT, &input(tensor)?);
            }
        }
        // After the model's own inputs, which keep their order.
        kept.extend(inputs);
        write_field(&mut bytes, MODEL_GRAPH, &kept);
    }
    Some(bytes)
}

/// A `TensorProto`.
fn initializer(name: &str, home: &Home<'_>) -> Option<Vec<u8>> {
    let shape = match home {
        Home::Model { tensor, .. } => tensor.shape(),
        Home::Graph { shape, .. } => shape,
    };
    let mut bytes = Vec::new();
    shape.iter().for_each(|&side| write_number(&mut bytes, TENSOR_DIMS, side));
    write_number(&mut bytes, TENSOR_DATA_TYPE, u64::try_from(data_type_of(home.dtype())?).ok()?);
    write_field(&mut bytes, TENSOR_NAME, name.as_bytes());
    match home {
        Home::Graph { bytes: held, .. } => write_field(&mut bytes, TENSOR_RAW_DATA, held),
        Home::Model { tensor, .. } => {
            let range = tensor.range();
            let entries = [
                ("location", MODEL_FILE.to_owned()),
                ("offset", range.start.to_string()),
                ("length", range.len().to_string()),
            ];
            for (key, value) in entries {
                let mut entry = Vec::new();
                write_field(&mut entry, ENTRY_KEY, key.as_bytes());
                write_field(&mut entry, ENTRY_VALUE, value.as_bytes());
                write_field(&mut bytes, TENSOR_EXTERNAL_DATA, &entry);
            }
            write_number(&mut bytes, TENSOR_DATA_LOCATION, EXTERNAL);
        }
    }
    Some(bytes)
}

/// A `ValueInfoProto`.
fn input(tensor: &TensorInfo) -> Option<Vec<u8>> {
    let mut shape = Vec::new();
    for &side in tensor.shape() {
        let mut dimension = Vec::new();
        write_number(&mut dimension, DIM_VALUE, side);
        write_field(&mut shape, SHAPE_DIM, &dimension);
    }
    let mut tensor_type = Vec::new();
    write_number(&mut tensor_type, TENSOR_TYPE_ELEMENT, u64::try_from(data_type_of(tensor.dtype())?).ok()?);
    write_field(&mut tensor_type, TENSOR_TYPE_SHAPE, &shape);
    let (mut of_tensor, mut value) = (Vec::new(), Vec::new());
    write_field(&mut of_tensor, TYPE_TENSOR, &tensor_type);
    write_field(&mut value, VALUE_NAME, tensor.name().as_bytes());
    write_field(&mut value, VALUE_TYPE, &of_tensor);
    Some(value)
}
