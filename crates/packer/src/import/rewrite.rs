//! The graph of a model with its weights in another file: a walk over its bytes that writes the initializers anew and adds
//! the inputs, and leaves every other byte as it is.

use std::collections::HashMap;

use prost::Message as _;
use taskvec_bundle::onnx::{
    Fields, GRAPH_INITIALIZER, GRAPH_INPUT, MODEL_GRAPH, TENSOR_NAME, data_type_of, string, write_field,
};
use taskvec_bundle::{MODEL_FILE, StoredDtype, TensorInfo};

use crate::error::{Error, Result};
use crate::export::onnx::{
    DimensionProto, EXTERNAL, StringStringEntryProto, TensorProto, TensorShapeProto, TensorTypeProto, TypeProto,
    ValueInfoProto,
};

/// Where an initializer's numbers are from now on.
pub(super) enum Home<'a> {
    /// In `model.safetensors`; and whether it is an input as well, whose default it is.
    Model { tensor: &'a TensorInfo, is_input: bool },
    /// In the graph.
    Graph(TensorProto),
}

/// An initializer with its numbers in the graph; none for a dtype that ONNX has no number for.
pub(super) fn held(name: &str, dtype: StoredDtype, shape: &[u64], bytes: Vec<u8>) -> Option<TensorProto> {
    Some(TensorProto {
        dims: shape.iter().map(|&side| side as i64).collect(),
        data_type: data_type_of(dtype)?,
        name: name.to_owned(),
        raw_data: Some(bytes),
        ..TensorProto::default()
    })
}

/// The model with the initializers that have a new home there, and all others as they are.
///
/// # Errors
/// `Damaged` when the bytes are no ONNX model.
pub(super) fn rewrite(model: &[u8], homes: &HashMap<String, Home<'_>>) -> Result<Vec<u8>> {
    rewritten(model, homes).ok_or_else(|| Error::damaged("no ONNX model: a field does not end where it should"))
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
            match name.and_then(|name| homes.get(name)) {
                None => kept.extend_from_slice(inner.whole),
                Some(Home::Model { tensor, is_input }) => {
                    write_field(&mut kept, GRAPH_INITIALIZER, &external(tensor)?.encode_to_vec());
                    if *is_input {
                        write_field(&mut inputs, GRAPH_INPUT, &input(tensor)?.encode_to_vec());
                    }
                }
                Some(Home::Graph(held)) => write_field(&mut kept, GRAPH_INITIALIZER, &held.encode_to_vec()),
            }
        }
        // After the model's own inputs, which keep their order.
        kept.extend(inputs);
        write_field(&mut bytes, MODEL_GRAPH, &kept);
    }
    Some(bytes)
}

fn external(tensor: &TensorInfo) -> Option<TensorProto> {
    let entry = |key: &str, value: String| StringStringEntryProto { key: key.to_owned(), value };
    let range = tensor.range();
    let external_data = vec![
        entry("location", MODEL_FILE.to_owned()),
        entry("offset", range.start.to_string()),
        entry("length", range.len().to_string()),
    ];
    let held = held(tensor.name(), tensor.dtype(), tensor.shape(), Vec::new())?;
    Some(TensorProto { raw_data: None, external_data, data_location: Some(EXTERNAL), ..held })
}

fn input(tensor: &TensorInfo) -> Option<ValueInfoProto> {
    let side = |&side: &u64| DimensionProto { dim_value: Some(side as i64), dim_param: None };
    let shape = TensorShapeProto { dim: tensor.shape().iter().map(side).collect() };
    let tensor_type = TensorTypeProto { elem_type: data_type_of(tensor.dtype())?, shape: Some(shape) };
    let r#type = Some(TypeProto { tensor_type: Some(tensor_type) });
    Some(ValueInfoProto { name: tensor.name().to_owned(), r#type })
}
