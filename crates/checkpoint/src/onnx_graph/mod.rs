//! The graph of an ONNX model: what goes in and out, who uses which tensor how, and the same model with its numbers in another
//! file.
//!
//! What is looked at is decoded; nothing of it is run, and a graph within a node (`If`, `Loop`) is looked at for its uses only.

mod rewrite;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use prost::Message;
use taskvec_bundle::onnx::dtype_of;
use taskvec_bundle::{Arrays, Port, Side, StoredDtype};

use taskvec_dataset::{Error, Result};

pub use self::rewrite::{Home, rewrite};

/// Of an ONNX model what is looked at here; numbers of weights are skipped, not read.
#[derive(Clone, PartialEq, Message)]
struct ModelProto {
    #[prost(message, optional, tag = "7")]
    graph: Option<GraphProto>,
}

#[derive(Clone, PartialEq, Message)]
struct GraphProto {
    #[prost(message, repeated, tag = "1")]
    node: Vec<NodeProto>,
    #[prost(message, repeated, tag = "5")]
    initializer: Vec<InitializerProto>,
    #[prost(message, repeated, tag = "11")]
    input: Vec<ValueInfoProto>,
    #[prost(message, repeated, tag = "12")]
    output: Vec<ValueInfoProto>,
}

#[derive(Clone, PartialEq, Message)]
struct NodeProto {
    #[prost(string, repeated, tag = "1")]
    input: Vec<String>,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(string, tag = "4")]
    op_type: String,
    #[prost(message, repeated, tag = "5")]
    attribute: Vec<AttributeProto>,
}

#[derive(Clone, PartialEq, Message)]
struct AttributeProto {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(int64, optional, tag = "3")]
    i: Option<i64>,
    #[prost(message, optional, tag = "6")]
    g: Option<GraphProto>,
    #[prost(message, repeated, tag = "11")]
    graphs: Vec<GraphProto>,
}

#[derive(Clone, PartialEq, Message)]
struct InitializerProto {
    #[prost(int64, repeated, tag = "1")]
    dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    data_type: i32,
    #[prost(int32, repeated, tag = "5")]
    int32_data: Vec<i32>,
    #[prost(string, tag = "8")]
    name: String,
    #[prost(int32, tag = "14")]
    data_location: i32,
}

#[derive(Clone, PartialEq, Message)]
struct ValueInfoProto {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    r#type: Option<TypeProto>,
}

#[derive(Clone, PartialEq, Message)]
struct TypeProto {
    #[prost(message, optional, tag = "1")]
    tensor_type: Option<TensorTypeProto>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorTypeProto {
    #[prost(int32, tag = "1")]
    elem_type: i32,
    #[prost(message, optional, tag = "2")]
    shape: Option<ShapeProto>,
}

#[derive(Clone, PartialEq, Message)]
struct ShapeProto {
    #[prost(message, repeated, tag = "1")]
    dim: Vec<DimensionProto>,
}

#[derive(Clone, PartialEq, Message)]
struct DimensionProto {
    #[prost(int64, optional, tag = "1")]
    dim_value: Option<i64>,
    #[prost(string, optional, tag = "2")]
    dim_param: Option<String>,
}

/// A graph, without its numbers.
#[derive(Debug)]
pub struct OnnxGraph {
    inputs: Vec<ValueInfoProto>,
    outputs: Vec<ValueInfoProto>,
    initializers: HashSet<String>,
    uses: HashMap<String, Vec<Use>>,
    /// Whole numbers that are written one by one: zero points, as `onnx.helper` writes them.
    written_one_by_one: BTreeMap<String, WholeNumbers>,
    /// See [`OnnxGraph::stranded`].
    stranded: Vec<String>,
}

/// A tensor of whole numbers that is written one by one, so that it has no place to be read by range.
#[derive(Clone, Debug, PartialEq)]
pub struct WholeNumbers {
    /// I8, U8 or I32.
    pub dtype: StoredDtype,
    /// Its sides.
    pub shape: Vec<u64>,
    /// Its elements, little-endian; as many as its sides ask for.
    pub bytes: Vec<u8>,
}

/// One use of a tensor.
#[derive(Clone, Debug)]
pub struct Use {
    /// Who uses it. Shared by all inputs of the node: a copy for each would grow with the square of their number.
    pub node: Arc<Node>,
    /// Which of its inputs the tensor is.
    pub input: usize,
}

/// A node that uses tensors.
#[derive(Debug)]
pub struct Node {
    /// The operator's name.
    pub op: String,
    /// Its own name; exporters write the layer's into it.
    pub name: String,
    /// All its inputs.
    pub inputs: Vec<String>,
    /// Its attribute `axis`.
    pub axis: Option<i64>,
}

impl OnnxGraph {
    /// The graph of the model in these bytes.
    ///
    /// # Errors
    /// `Damaged` when they are no ONNX model.
    pub fn read(model: &[u8]) -> Result<OnnxGraph> {
        let no_model = || {
            Error::damaged("no ONNX model: it holds no graph")
                .with_help("name the `.onnx` file that the exporter wrote")
        };
        let model = ModelProto::decode(model).map_err(|cause| no_model().caused_by(cause))?;
        let graph = model.graph.ok_or_else(no_model)?;
        /// `TensorProto.EXTERNAL`.
        const EXTERNAL: i32 = 1;
        let (mut uses, mut stranded) = (HashMap::new(), Vec::new());
        note_uses(&graph, &mut uses, &mut |inner| {
            let external = inner.initializer.iter().filter(|initializer| initializer.data_location == EXTERNAL);
            stranded.extend(external.map(|initializer| initializer.name.clone()));
        });
        let unknown = graph.initializer.iter().filter(|initializer| dtype_of(initializer.data_type).is_none());
        let external = unknown.filter(|initializer| initializer.data_location == EXTERNAL);
        stranded.extend(external.map(|initializer| initializer.name.clone()));
        let one_by_one = graph.initializer.iter().filter_map(|initializer| {
            let dtype = dtype_of(initializer.data_type)?;
            if initializer.int32_data.is_empty() {
                return None;
            }
            let numbers = initializer.int32_data.iter();
            let bytes = match dtype {
                // Of an element of 8 bits the lowest 8 count.
                StoredDtype::I8 | StoredDtype::U8 => numbers.map(|&number| number as u8).collect(),
                StoredDtype::I32 => numbers.flat_map(|number| number.to_le_bytes()).collect(),
                _ => return None,
            };
            let shape = initializer.dims.iter().map(|&side| u64::try_from(side).ok()).collect::<Option<Vec<_>>>()?;
            let bytes: Vec<u8> = bytes;
            let count = shape.iter().try_fold(1u64, |count, &side| count.checked_mul(side))?;
            let fits = count.checked_mul(dtype.size_bits() / 8) == Some(bytes.len() as u64);
            fits.then(|| (initializer.name.clone(), WholeNumbers { dtype, shape, bytes }))
        });
        let written_one_by_one = one_by_one.collect();
        let initializers = graph.initializer.into_iter().map(|initializer| initializer.name).collect();
        Ok(OnnxGraph { inputs: graph.input, outputs: graph.output, initializers, uses, written_one_by_one, stranded })
    }

    /// Names of initializers that lie in another file and cannot be moved: those of graphs within nodes, and of dtypes that have
    /// no name here.
    pub fn stranded(&self) -> &[String] {
        &self.stranded
    }

    /// Whether it has an initializer of this name.
    pub fn holds(&self, name: &str) -> bool {
        self.initializers.contains(name)
    }

    /// How the tensor of this name is used.
    pub fn uses(&self, name: &str) -> &[Use] {
        self.uses.get(name).map_or(&[], Vec::as_slice)
    }

    /// Whether it is given from outside or may be, or is an answer itself: then it is more than a weight.
    pub fn is_port(&self, name: &str) -> bool {
        self.inputs.iter().chain(&self.outputs).any(|port| port.name == name)
    }

    /// Initializers of whole numbers that are written one by one, by name.
    pub fn written_one_by_one(&self) -> &BTreeMap<String, WholeNumbers> {
        &self.written_one_by_one
    }

    /// What goes in and what comes out. `sizes` and `fills` are the caller's choice for a trial; sides without a size are 1 if
    /// their name speaks of a batch, else 8.
    ///
    /// # Errors
    /// `Unsupported` for an input or output that is no tensor of numbers, `Usage` for a size or fill of nothing.
    pub fn arrays(&self, sizes: &[(String, u64)], fills: &[(String, f64)]) -> Result<Arrays> {
        // Before IR version 4, initializers are inputs as well.
        let given = self.inputs.iter().filter(|input| !self.initializers.contains(&input.name));
        let mut inputs = given.map(port).collect::<Result<Vec<_>>>()?;
        let outputs = self.outputs.iter().map(port).collect::<Result<Vec<_>>>()?;
        for (name, fill) in fills {
            let Some(input) = inputs.iter_mut().find(|input| input.name == *name) else {
                let names: Vec<_> = inputs.iter().map(|input| format!("`{}`", input.name)).collect();
                return Err(Error::usage(format!("there is no input `{name}` to fill"))
                    .with_help(format!("inputs of this model: {}", names.join(", "))));
            };
            input.fill = Some(*fill);
        }
        let mut of_trial = BTreeMap::new();
        for side in inputs.iter().flat_map(|input| &input.shape) {
            if let Side::Named(name) = side {
                of_trial.entry(name.clone()).or_insert(if name.to_lowercase().contains("batch") { 1 } else { 8 });
            }
        }
        for (name, size) in sizes {
            let Some(known) = of_trial.get_mut(name) else {
                let names: Vec<_> = of_trial.keys().map(|name| format!("`{name}`")).collect();
                return Err(Error::usage(format!("no side of an input is called `{name}`"))
                    .with_help(format!("sides of this model: {}", names.join(", "))));
            };
            *known = *size;
        }
        Ok(Arrays { inputs, outputs, sizes: of_trial })
    }
}

/// Notes who uses what, and calls `inside` with each graph within a node.
fn note_uses(graph: &GraphProto, uses: &mut HashMap<String, Vec<Use>>, inside: &mut dyn FnMut(&GraphProto)) {
    for node in &graph.node {
        let axis = node.attribute.iter().find(|attribute| attribute.name == "axis").and_then(|attribute| attribute.i);
        let (op, name, inputs) = (node.op_type.clone(), node.name.clone(), node.input.clone());
        let shared = Arc::new(Node { op, name, inputs, axis });
        for (input, name) in shared.inputs.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
            uses.entry(name.clone()).or_default().push(Use { node: Arc::clone(&shared), input });
        }
        for inner in node.attribute.iter().flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs)) {
            inside(inner);
            note_uses(inner, uses, inside);
        }
    }
}

fn port(value: &ValueInfoProto) -> Result<Port> {
    let refuse = |what: &str| Error::unsupported(format!("`{}` {what}, expected a tensor of numbers", value.name));
    let tensor = value.r#type.as_ref().and_then(|it| it.tensor_type.as_ref()).ok_or_else(|| refuse("is no tensor"))?;
    let dtype = dtype_of(tensor.elem_type).ok_or_else(|| refuse("holds no numbers"))?;
    let sides = tensor.shape.as_ref().map_or(&[][..], |shape| &shape.dim);
    let side = |(index, side): (usize, &DimensionProto)| match (side.dim_value, &side.dim_param) {
        (Some(size), _) if size > 0 => Side::Fixed(size as u64),
        (_, Some(name)) if !name.is_empty() => Side::Named(name.clone()),
        _ => Side::Named(format!("{}.{index}", value.name)),
    };
    Ok(Port { name: value.name.clone(), dtype, shape: sides.iter().enumerate().map(side).collect(), fill: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_of_one_node_share_it() {
        let node = NodeProto { input: vec!["w".to_owned(); 50_000], ..NodeProto::default() };
        let graph = GraphProto { node: vec![node], ..GraphProto::default() };
        let model = ModelProto { graph: Some(graph) }.encode_to_vec();
        // A copy of the inputs for each would be 50,000 times 50,000 names.
        let graph = OnnxGraph::read(&model).unwrap();
        let uses = graph.uses("w");
        assert_eq!((uses.len(), uses[49_999].input), (50_000, 49_999));
        assert!(uses.iter().all(|it| Arc::ptr_eq(&it.node, &uses[0].node)));
    }
}
