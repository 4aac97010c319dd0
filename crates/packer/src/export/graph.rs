//! An ONNX graph whose weights stay in `model.safetensors`.
//!
//! Every tensor of the network is an initializer under its safetensors name, with external data at its absolute offset in
//! the untouched file. The editable ones are graph inputs as well, which makes the initializer a default (IR version 4 and
//! above): plain ONNX Runtime answers as the base, and a runtime that gives these inputs answers with what it gives.
//!
//! One input `pixels` `[batch, channels, height, width]`, one output `features` `[batch, feature_width]`, both f32.
//! Opset 20 has GELU and layer normalization as single nodes; every ONNX Runtime from 1.17 reads it.

use prost::Message as _;
use taskvec_bundle::{HEADS_PREFIX, MODEL_FILE, TensorFile, TensorInfo};
use taskvec_networks::{LinearizedConfig, NetworkConfig};

use super::{linearize, mobilenet_v1, onnx, resnet, vit};
use crate::error::{Error, Result};

const OPSET: i64 = 20;
/// IR version that came with opset 20 (ONNX 1.15).
const IR_VERSION: i64 = 9;

/// The graph of a network whose weights lie in `file`.
pub(super) fn write(name: &str, config: &NetworkConfig, file: &TensorFile, editable: &[String]) -> Result<Vec<u8>> {
    let graph = match config {
        NetworkConfig::Linearized(LinearizedConfig { of }) => {
            linearize::linearized(whole(name, of, file, editable)?, editable)?
        }
        config => whole(name, config, file, editable)?,
    };
    let model = onnx::ModelProto {
        ir_version: IR_VERSION,
        producer_name: "taskvec".to_owned(),
        graph: Some(graph),
        opset_import: vec![onnx::OperatorSetIdProto { domain: String::new(), version: OPSET }],
    };
    Ok(model.encode_to_vec())
}

/// The graph of a network as it is.
fn whole(name: &str, config: &NetworkConfig, file: &TensorFile, editable: &[String]) -> Result<onnx::GraphProto> {
    let mut graph = Graph::default();
    match config {
        NetworkConfig::Vit(config) => vit::add(&mut graph, config),
        NetworkConfig::MobileNetV1(config) => mobilenet_v1::add(&mut graph, config),
        NetworkConfig::ResNet(config) => resnet::add(&mut graph, config),
        other => return Err(Error::unsupported(format!("there is no ONNX graph for {other:?} here"))),
    }
    let [channels, height, width] = config.input_shape();
    let pixels = value("pixels", &[None, Some(channels), Some(height), Some(width)]);
    let features = value("features", &[None, Some(config.feature_width())]);
    let weights: Vec<&TensorInfo> =
        file.tensors().iter().filter(|tensor| !tensor.name().starts_with(HEADS_PREFIX)).collect();
    let editable = weights.iter().filter(|tensor| editable.iter().any(|name| name == tensor.name()));
    let inputs = editable.map(|tensor| {
        let shape: Vec<_> = tensor.shape().iter().map(|side| Some(*side as usize)).collect();
        value(tensor.name(), &shape)
    });
    Ok(onnx::GraphProto {
        node: graph.nodes,
        name: name.to_owned(),
        initializer: weights.iter().map(|tensor| external(tensor)).chain(graph.constants).collect(),
        input: std::iter::once(pixels).chain(inputs).collect(),
        output: vec![features],
    })
}

/// Nodes and small constants, as a network's file adds them.
#[derive(Default)]
pub(super) struct Graph {
    pub(super) nodes: Vec<onnx::NodeProto>,
    pub(super) constants: Vec<onnx::TensorProto>,
}

/// An attribute of a node.
pub(super) enum Attribute {
    Float(f32),
    Int(i64),
    Ints(Vec<i64>),
}

impl Graph {
    /// Adds a node whose outputs are called `outputs`.
    pub(super) fn node(&mut self, op: &str, inputs: &[&str], outputs: &[&str], attributes: Vec<(&str, Attribute)>) {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        self.nodes.push(onnx::NodeProto {
            input: owned(inputs),
            output: owned(outputs),
            name: outputs[0].to_owned(),
            op_type: op.to_owned(),
            attribute: attributes.into_iter().map(|(name, value)| attribute(name, value)).collect(),
        });
    }

    /// Adds a list of whole numbers, such as a shape.
    pub(super) fn ints(&mut self, name: &str, values: &[i64]) {
        self.constants.push(onnx::TensorProto {
            dims: vec![values.len() as i64],
            data_type: onnx::INT64,
            name: name.to_owned(),
            raw_data: Some(values.iter().flat_map(|value| value.to_le_bytes()).collect()),
            ..onnx::TensorProto::default()
        });
    }

    /// Adds a list of so many zeros.
    pub(super) fn zeros(&mut self, name: &str, count: i64) {
        let bytes = usize::try_from(count).unwrap_or_default() * size_of::<f32>();
        self.constants.push(onnx::TensorProto {
            dims: vec![count],
            data_type: onnx::FLOAT,
            name: name.to_owned(),
            raw_data: Some(vec![0; bytes]),
            ..onnx::TensorProto::default()
        });
    }

    /// Adds a single number.
    pub(super) fn float(&mut self, name: &str, value: f32) {
        self.constants.push(onnx::TensorProto {
            data_type: onnx::FLOAT,
            name: name.to_owned(),
            raw_data: Some(value.to_le_bytes().to_vec()),
            ..onnx::TensorProto::default()
        });
    }
}

fn attribute(name: &str, value: Attribute) -> onnx::AttributeProto {
    let named = onnx::AttributeProto { name: name.to_owned(), ..onnx::AttributeProto::default() };
    match value {
        Attribute::Float(value) => onnx::AttributeProto { f: Some(value), r#type: onnx::ATTRIBUTE_FLOAT, ..named },
        Attribute::Int(value) => onnx::AttributeProto { i: Some(value), r#type: onnx::ATTRIBUTE_INT, ..named },
        Attribute::Ints(values) => onnx::AttributeProto { ints: values, r#type: onnx::ATTRIBUTE_INTS, ..named },
    }
}

/// A tensor of floats of this shape; the side that is `None` is the batch.
fn value(name: &str, shape: &[Option<usize>]) -> onnx::ValueInfoProto {
    let side = |side: &Option<usize>| match side {
        Some(side) => onnx::DimensionProto { dim_value: Some(*side as i64), dim_param: None },
        None => onnx::DimensionProto { dim_value: None, dim_param: Some("batch".to_owned()) },
    };
    let shape = onnx::TensorShapeProto { dim: shape.iter().map(side).collect() };
    let tensor = onnx::TensorTypeProto { elem_type: onnx::FLOAT, shape: Some(shape) };
    onnx::ValueInfoProto { name: name.to_owned(), r#type: Some(onnx::TypeProto { tensor_type: Some(tensor) }) }
}

fn external(tensor: &TensorInfo) -> onnx::TensorProto {
    let entry = |key: &str, value: String| onnx::StringStringEntryProto { key: key.to_owned(), value };
    let range = tensor.range();
    onnx::TensorProto {
        dims: tensor.shape().iter().map(|side| *side as i64).collect(),
        data_type: onnx::FLOAT,
        name: tensor.name().to_owned(),
        external_data: vec![
            entry("location", MODEL_FILE.to_owned()),
            entry("offset", range.start.to_string()),
            entry("length", range.len().to_string()),
        ],
        data_location: Some(onnx::EXTERNAL),
        ..onnx::TensorProto::default()
    }
}
