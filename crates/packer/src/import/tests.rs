use std::path::PathBuf;

use prost::Message as _;
use taskvec_bundle::{GRAPH_FILE, MODEL_FILE, Port};
use tempfile::TempDir;

use super::*;
use crate::error::ErrorKind;
use crate::export::onnx::{
    ATTRIBUTE_INT, AttributeProto, DimensionProto, GraphProto, ModelProto, NodeProto, TensorProto, TensorShapeProto,
    TensorTypeProto, TypeProto, ValueInfoProto,
};
use crate::random::Random;

const FLOAT: i32 = 1;
const UINT8: i32 = 2;
const INT8: i32 = 3;
const INT64: i32 = 7;

/// A folder with models and checkpoints in it.
struct Desk(TempDir);

impl Desk {
    fn new() -> Desk {
        Desk(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn model(&self, name: &str, graph: GraphProto) -> PathBuf {
        let model = ModelProto { ir_version: 9, graph: Some(graph), ..ModelProto::default() };
        fs::write(self.path(name), model.encode_to_vec()).unwrap();
        self.path(name)
    }

    fn checkpoint(&self, name: &str, tensors: &[(&str, &[u64], Vec<f32>)]) -> PathBuf {
        let bytes: Vec<Vec<u8>> = tensors.iter().map(|(_, _, values)| bytes(values)).collect();
        let named = tensors.iter().zip(&bytes).map(|((name, shape, _), bytes)| NamedTensor {
            name,
            dtype: StoredDtype::F32,
            shape,
            bytes,
        });
        fs::write(self.path(name), safetensors(&named.collect::<Vec<_>>()).unwrap()).unwrap();
        self.path(name)
    }

    fn import(&self, model: &Path, settings: &ImportSettings<'_>) -> Result<Imported> {
        import(model, &self.path("base"), settings)
    }

    fn bytes_of(&self, tensor: &str) -> Vec<u8> {
        let model = fs::read(self.path("base").join(MODEL_FILE)).unwrap();
        let file = TensorFile::parse(&model).unwrap();
        file.tensor(tensor).unwrap().bytes(&model).unwrap().to_vec()
    }

    fn graph(&self) -> GraphProto {
        let bytes = fs::read(self.path("base").join(GRAPH_FILE)).unwrap();
        ModelProto::decode(bytes.as_slice()).unwrap().graph.unwrap()
    }
}

/// What an error says, with its causes.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(it) = cause {
        text.push_str(&format!(": {it}"));
        cause = it.source();
    }
    text
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn numbers(name: &str, count: usize) -> Vec<f32> {
    let mut random = Random::new(5, name);
    (0..count).map(|_| random.normal()).collect()
}

fn initializer(name: &str, data_type: i32, dims: &[i64], raw: Vec<u8>) -> TensorProto {
    TensorProto { name: name.to_owned(), data_type, dims: dims.to_vec(), raw_data: Some(raw), ..TensorProto::default() }
}

fn float(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    initializer(name, FLOAT, dims, bytes(values))
}

fn node(op: &str, name: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        op_type: op.to_owned(),
        name: name.to_owned(),
        input: inputs.iter().map(|input| (*input).to_owned()).collect(),
        output: vec![output.to_owned()],
        attribute: Vec::new(),
    }
}

fn with_axis(mut node: NodeProto, axis: i64) -> NodeProto {
    node.attribute.push(AttributeProto {
        name: "axis".to_owned(),
        i: Some(axis),
        r#type: ATTRIBUTE_INT,
        ..AttributeProto::default()
    });
    node
}

fn value(name: &str, elem_type: i32, sides: &[Side]) -> ValueInfoProto {
    let side = |side: &Side| match side {
        Side::Fixed(size) => DimensionProto { dim_value: Some(*size as i64), dim_param: None },
        Side::Named(name) => DimensionProto { dim_value: None, dim_param: Some(name.clone()) },
    };
    let shape = Some(TensorShapeProto { dim: sides.iter().map(side).collect() });
    let r#type = Some(TypeProto { tensor_type: Some(TensorTypeProto { elem_type, shape }) });
    ValueInfoProto { name: name.to_owned(), r#type }
}

fn named(name: &str) -> Side {
    Side::Named(name.to_owned())
}

/// A small text model as PyTorch's older exporter writes it: an embedding, a linear layer turned and renamed, a norm, a shape.
fn text_model() -> GraphProto {
    GraphProto {
        name: "text".to_owned(),
        node: vec![
            node("Gather", "/embed/Gather", &["embed.weight", "ids"], "embedded"),
            node("MatMul", "/layer.0/attention/query/MatMul", &["embedded", "onnx::MatMul_9"], "product"),
            node("Add", "/layer.0/attention/query/Add", &["layer.0.attention.query.bias", "product"], "query"),
            node("Mul", "/layer.0/Mul", &["query", "half"], "halved"),
            node("Clip", "/Clip", &["halved", "lowest", "highest"], "clipped"),
            node("Reshape", "/Reshape", &["clipped", "sides"], "hidden"),
        ],
        initializer: vec![
            float("embed.weight", &[40, 24], &numbers("embed", 960)),
            float("onnx::MatMul_9", &[24, 16], &turned_numbers("query", 16, 24)),
            float("layer.0.attention.query.bias", &[16], &numbers("bias", 16)),
            float("half", &[], &[0.5]),
            float("lowest", &[2], &[-1.0, -1.0]),
            float("highest", &[2], &[1.0, 1.0]),
            initializer("sides", INT64, &[2], [0i64, -1].iter().flat_map(|side| side.to_le_bytes()).collect()),
        ],
        input: vec![value("ids", INT64, &[named("batch"), named("sequence")])],
        output: vec![value("hidden", FLOAT, &[named("batch"), Side::Fixed(16)])],
    }
}

/// The numbers of a matrix `[rows, columns]`, as `[columns, rows]`.
fn turned_numbers(name: &str, rows: usize, columns: usize) -> Vec<f32> {
    let values = numbers(name, rows * columns);
    (0..rows * columns).map(|at| values[at % rows * columns + at / rows]).collect()
}

fn text_checkpoint(desk: &Desk) -> PathBuf {
    desk.checkpoint(
        "text.safetensors",
        &[
            ("model.embed.weight", &[40, 24], numbers("embed", 960)),
            ("model.layer.0.attention.query.bias", &[16], numbers("bias", 16)),
            ("model.layer.0.attention.query.weight", &[16, 24], numbers("query", 384)),
            ("model.pooler.weight", &[4, 4], numbers("pooler", 16)),
        ],
    )
}

#[test]
fn weights_move_out_and_every_other_byte_of_the_graph_stays() {
    let desk = Desk::new();
    let model = desk.model("text.onnx", text_model());
    let imported = desk.import(&model, &ImportSettings::default()).unwrap();
    let base = &imported.base;
    assert_eq!(base.name(), "text");
    // Settings of operators, single numbers and whole numbers are no weights.
    assert_eq!(base.editable(), ["embed.weight", "layer.0.attention.query.bias", "onnx::MatMul_9"]);
    assert_eq!(base.tensors().len(), 6);
    assert_eq!(desk.bytes_of("onnx::MatMul_9"), bytes(&turned_numbers("query", 16, 24)));
    let (before, after) = (text_model(), desk.graph());
    assert_eq!((&after.node, &after.output, &after.name), (&before.node, &before.output, &before.name));
    let inputs: Vec<&str> = after.input.iter().map(|input| input.name.as_str()).collect();
    assert_eq!(inputs, ["ids", "embed.weight", "onnx::MatMul_9", "layer.0.attention.query.bias"]);
    for (before, after) in before.initializer.iter().zip(&after.initializer) {
        let is_out = base.is_editable(&before.name);
        assert_eq!((&after.name, &after.dims, after.data_type), (&before.name, &before.dims, before.data_type));
        assert_eq!(after.raw_data.is_none(), is_out, "{}", before.name);
        assert_eq!(after.external_data.len(), if is_out { 3 } else { 0 });
    }
    let Interface::Arrays(arrays) = base.interface() else { panic!("no arrays") };
    let ids = Port {
        name: "ids".to_owned(),
        dtype: StoredDtype::I64,
        shape: vec![named("batch"), named("sequence")],
        fill: None,
    };
    assert_eq!(arrays.inputs, [ids]);
    assert_eq!(arrays.sizes, [("batch".to_owned(), 1), ("sequence".to_owned(), 8)].into());
}

#[test]
fn weights_that_are_inputs_already_are_said_to_be_out_of_reach() {
    let desk = Desk::new();
    let mut graph = text_model();
    graph.input.push(value("embed.weight", FLOAT, &[Side::Fixed(40), Side::Fixed(24)]));
    let imported = desk.import(&desk.model("old.onnx", graph), &ImportSettings::default()).unwrap();
    assert!(!imported.base.is_editable("embed.weight"));
    assert!(imported.notes.iter().any(|note| note.starts_with("1 weights are inputs")), "{:?}", imported.notes);
}

#[test]
fn patterns_are_on_names_on_those_of_layers_and_on_those_of_the_checkpoint() {
    let desk = Desk::new();
    let (model, of) = (desk.model("text.onnx", text_model()), text_checkpoint(&desk));
    let editable = |pattern: &str, of: Option<&Path>| {
        let settings = ImportSettings { editable: vec![vec![Pattern::new(pattern)]], of, ..ImportSettings::default() };
        desk.import(&model, &settings).map(|imported| imported.base.editable().to_vec())
    };
    assert_eq!(editable("embed*", None).unwrap(), ["embed.weight"]);
    assert_eq!(editable("*attention*", None).unwrap(), ["layer.0.attention.query.bias", "onnx::MatMul_9"]);
    assert_eq!(editable("model.*.query.weight", Some(&of)).unwrap(), ["onnx::MatMul_9"]);
    let either = vec![vec![Pattern::new("*attention*"), Pattern::new("*attn*")]];
    let imported = desk.import(&model, &ImportSettings { editable: either, ..ImportSettings::default() }).unwrap();
    assert_eq!(imported.base.editable().len(), 2);
    let error = editable("*decoder*", None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(chain(&error).contains("editable `*decoder*` fits none of 3 weights"), "{}", chain(&error));
}

#[test]
fn what_the_exporter_turned_and_renamed_is_recognized_by_its_numbers() {
    let desk = Desk::new();
    let (mut graph, of) = (text_model(), text_checkpoint(&desk));
    // Folded: it is no tensor of the checkpoint.
    graph.initializer[2] = float("layer.0.attention.query.bias", &[16], &numbers("folded", 16));
    let model = desk.model("text.onnx", graph);
    let imported = desk.import(&model, &ImportSettings { of: Some(&of), ..ImportSettings::default() }).unwrap();
    let stands_for = imported.base.stands_for().unwrap();
    assert_eq!(stands_for.fingerprint, Checkpoint::open(&of).unwrap().fingerprint().unwrap());
    let found: Vec<_> = stands_for.tensors.iter().map(|it| (it.name.as_str(), it.of.as_str(), it.turned)).collect();
    assert_eq!(
        found,
        [
            ("embed.weight", "model.embed.weight", false),
            ("onnx::MatMul_9", "model.layer.0.attention.query.weight", true)
        ]
    );
    assert_eq!(imported.base.editable(), ["embed.weight", "onnx::MatMul_9"]);
    assert_eq!(imported.not_recognized, ["layer.0.attention.query.bias"]);
    assert_eq!(imported.absent, ["model.layer.0.attention.query.bias", "model.pooler.weight"]);
}

#[test]
fn of_equal_tensors_the_one_called_alike_is_taken_or_none() {
    let desk = Desk::new();
    let zeros = vec![0.0f32; 16];
    let mut graph = text_model();
    graph.initializer[2] = float("layer.0.attention.query.bias", &[16], &zeros);
    let model = desk.model("text.onnx", graph);
    let counterpart = |names: [&str; 2]| {
        let of = desk.checkpoint(
            "zeros.safetensors",
            &[
                (names[0], &[16], zeros.clone()),
                (names[1], &[16], zeros.clone()),
                ("embed.weight", &[40, 24], numbers("embed", 960)),
            ],
        );
        let imported = desk.import(&model, &ImportSettings { of: Some(&of), ..ImportSettings::default() }).unwrap();
        imported.base.counterpart("layer.0.attention.query.bias").map(|it| it.of.clone())
    };
    assert_eq!(counterpart(["a.bias", "b.bias"]), None);
    // Both end as it does: that tells nothing.
    assert_eq!(counterpart(["query.bias", "attention.query.bias"]), None);
    let alike = "bert.layer.0.attention.query.bias";
    assert_eq!(counterpart(["a.bias", alike]).as_deref(), Some(alike));
}

/// A linear layer quantized to 8 bits, with a scale for each column, as ONNX Runtime's dynamic quantizer writes it.
fn quantized_model() -> (GraphProto, Vec<u8>) {
    let weights = turned_numbers("query", 16, 24);
    let scales: Vec<f32> = (0..16)
        .map(|column| weights.iter().skip(column).step_by(16).fold(0.0f32, |most, it| most.max(it.abs())) / 127.0)
        .collect();
    let elements: Vec<u8> =
        weights.iter().enumerate().map(|(at, it)| (it / scales[at % 16]).round_ties_even() as i8 as u8).collect();
    let zero_points = initializer("q.weight_zero_point", INT8, &[16], vec![0; 16]);
    let graph = GraphProto {
        name: "quantized".to_owned(),
        node: vec![
            node("DynamicQuantizeLinear", "", &["x"], "x_quantized"),
            node(
                "MatMulInteger",
                "q_quant",
                &["x_quantized", "q.weight_quantized", "", "q.weight_zero_point"],
                "product",
            ),
            node("Mul", "scales", &["product", "q.weight_scale"], "hidden"),
        ],
        initializer: vec![
            initializer("q.weight_quantized", INT8, &[24, 16], elements.clone()),
            float("q.weight_scale", &[16], &scales),
            zero_points,
        ],
        input: vec![value("x", FLOAT, &[named("batch"), Side::Fixed(24)])],
        output: vec![value("hidden", FLOAT, &[named("batch"), Side::Fixed(16)])],
    };
    (graph, elements)
}

#[test]
fn a_quantized_weight_is_that_which_it_is_nearest_to() {
    let desk = Desk::new();
    let (graph, elements) = quantized_model();
    let model = desk.model("quantized.onnx", graph.clone());
    let of = desk.checkpoint(
        "float.safetensors",
        &[("another", &[16, 24], numbers("another", 384)), ("layer.weight", &[16, 24], numbers("query", 384))],
    );
    let imported = desk.import(&model, &ImportSettings { of: Some(&of), ..ImportSettings::default() }).unwrap();
    assert_eq!(imported.base.editable(), ["q.weight_quantized"]);
    let counterpart = imported.base.counterpart("q.weight_quantized").unwrap();
    assert_eq!((counterpart.of.as_str(), counterpart.turned), ("layer.weight", true));
    let grid = counterpart.grid.as_ref().unwrap();
    assert_eq!((grid.scale.as_str(), grid.axis), ("q.weight_scale", Some(1)));
    assert_eq!(desk.bytes_of("q.weight_quantized"), elements);
    // One element that is two steps off, and it is not that tensor any more; nor are elements that are ends of the grid, if
    // their numbers do not lie beyond.
    let steps_off = |elements: &mut Vec<u8>| elements[40] ^= 2;
    let only_ends =
        |elements: &mut Vec<u8>| elements.iter_mut().zip([127, 129].iter().cycle()).for_each(|(it, end)| *it = *end);
    for change in [&steps_off as &dyn Fn(&mut Vec<u8>), &only_ends] {
        let mut off = graph.clone();
        change(off.initializer[0].raw_data.as_mut().unwrap());
        let model = desk.model("off.onnx", off);
        let error = desk.import(&model, &ImportSettings { of: Some(&of), ..ImportSettings::default() }).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Mismatch);
        assert!(chain(&error).contains("none of its 1 weights is a tensor of"), "{}", chain(&error));
    }
}

#[test]
fn of_equal_quantized_tensors_the_one_called_alike_is_taken_or_none() {
    let desk = Desk::new();
    let model = desk.model("quantized.onnx", quantized_model().0);
    let counterpart = |names: [&str; 2]| {
        let of = desk.checkpoint("twins.safetensors", &names.map(|name| (name, &[16, 24][..], numbers("query", 384))));
        let imported = desk.import(&model, &ImportSettings { of: Some(&of), ..ImportSettings::default() });
        imported.ok().and_then(|it| Some(it.base.counterpart("q.weight_quantized")?.of.clone()))
    };
    assert_eq!(counterpart(["a", "b"]), None);
    assert_eq!(counterpart(["a.q.weight", "b.q.weight"]), None);
    assert_eq!(counterpart(["a", "b.q.weight"]).as_deref(), Some("b.q.weight"));
    assert_eq!(counterpart(["a.q.weight", "q.weight"]).as_deref(), Some("q.weight"));
}

#[test]
fn sides_of_nothing_are_no_grid() {
    let desk = Desk::new();
    let mut graph = text_model();
    let sides = [0, 2, 1 << 40, 1 << 40];
    graph.node.push(with_axis(node("DequantizeLinear", "", &["w.q", "w.s", "w.z"], "w"), 1));
    graph.initializer.push(initializer("w.q", UINT8, &sides, Vec::new()));
    graph.initializer.push(float("w.s", &[2], &[1.0, 1.0]));
    graph.initializer.push(initializer("w.z", UINT8, &[2], vec![0; 2]));
    let model = desk.model("nothing.onnx", graph);
    let (imported, of) = (desk.import(&model, &ImportSettings::default()).unwrap(), text_checkpoint(&desk));
    assert!(!imported.base.is_editable("w.q"));
    let imported = desk.import(&model, &ImportSettings { of: Some(&of), ..ImportSettings::default() }).unwrap();
    assert!(imported.base.counterpart("w.q").is_none());
}

#[test]
fn zero_points_that_are_written_one_by_one_are_read_and_stay_in_the_graph() {
    let desk = Desk::new();
    let (mut graph, _) = quantized_model();
    graph.initializer.pop();
    let model = ModelProto { ir_version: 9, graph: None, ..ModelProto::default() };
    // As `onnx.helper.make_tensor` writes them: packed in `int32_data`, which is field 5.
    let mut zero_points =
        TensorProto { raw_data: None, ..initializer("q.weight_zero_point", INT8, &[16], vec![]) }.encode_to_vec();
    taskvec_bundle::onnx::write_field(&mut zero_points, 5, &[0; 16]);
    let mut inside = graph.encode_to_vec();
    taskvec_bundle::onnx::write_field(&mut inside, taskvec_bundle::onnx::GRAPH_INITIALIZER, &zero_points);
    let mut whole = model.encode_to_vec();
    taskvec_bundle::onnx::write_field(&mut whole, taskvec_bundle::onnx::MODEL_GRAPH, &inside);
    fs::write(desk.path("q.onnx"), whole).unwrap();
    let of = desk.checkpoint("float.safetensors", &[("layer.weight", &[16, 24], numbers("query", 384))]);
    let settings = ImportSettings { of: Some(&of), ..ImportSettings::default() };
    let imported = desk.import(&desk.path("q.onnx"), &settings).unwrap();
    let grid = imported.base.counterpart("q.weight_quantized").unwrap().grid.clone().unwrap();
    assert_eq!(grid.zero_point.as_deref(), Some("q.weight_zero_point"));
    assert_eq!(desk.bytes_of("q.weight_zero_point"), [0; 16]);
}

#[test]
fn a_quantized_weight_without_its_original_is_said_to_be_out_of_reach() {
    let desk = Desk::new();
    let model = desk.model("quantized.onnx", quantized_model().0);
    let imported = desk.import(&model, &ImportSettings::default()).unwrap();
    assert!(imported.base.editable().is_empty());
    assert_eq!(imported.notes.len(), 1);
    assert!(imported.notes[0].contains("`--of`"));
}

#[test]
fn a_grid_along_a_side_is_that_of_its_dequantization() {
    let desk = Desk::new();
    let weights = numbers("conv", 3 * 8);
    let scales: Vec<f32> =
        weights.chunks(8).map(|row| row.iter().fold(0.0f32, |most, it| most.max(it.abs())) / 100.0).collect();
    let element = |(at, it): (usize, &f32)| ((it / scales[at / 8]).round_ties_even() + 120.0) as u8;
    let graph = GraphProto {
        name: "qdq".to_owned(),
        node: vec![
            with_axis(node("DequantizeLinear", "", &["w.q", "w.s", "w.z"], "w"), 0),
            node("Conv", "", &["x", "w"], "y"),
        ],
        initializer: vec![
            initializer("w.q", UINT8, &[3, 2, 4, 1], weights.iter().enumerate().map(element).collect()),
            float("w.s", &[3], &scales),
            initializer("w.z", UINT8, &[3], vec![120; 3]),
        ],
        input: vec![value("x", FLOAT, &[Side::Fixed(1), Side::Fixed(2), Side::Fixed(4), Side::Fixed(1)])],
        output: vec![value("y", FLOAT, &[Side::Fixed(1), Side::Fixed(3), Side::Fixed(1), Side::Fixed(1)])],
    };
    let model = desk.model("qdq.onnx", graph);
    let of = desk.checkpoint("conv.safetensors", &[("conv.weight", &[3, 2, 4, 1], weights)]);
    let imported = desk.import(&model, &ImportSettings { of: Some(&of), ..ImportSettings::default() }).unwrap();
    let grid = imported.base.counterpart("w.q").unwrap().grid.clone().unwrap();
    assert_eq!((grid.axis, grid.zero_point.as_deref()), (Some(0), Some("w.z")));
}

#[test]
fn sizes_and_fills_are_of_something() {
    let desk = Desk::new();
    let model = desk.model("text.onnx", text_model());
    let with = |sizes: &[(&str, u64)], fills: &[(&str, f64)]| {
        let sizes = sizes.iter().map(|(name, size)| ((*name).to_owned(), *size)).collect();
        let fills = fills.iter().map(|(name, fill)| ((*name).to_owned(), *fill)).collect();
        desk.import(&model, &ImportSettings { sizes, fills, ..ImportSettings::default() })
    };
    let imported = with(&[("sequence", 3)], &[("ids", 7.0)]).unwrap();
    let Interface::Arrays(arrays) = imported.base.interface() else { panic!("no arrays") };
    assert_eq!((arrays.trial_shape(&arrays.inputs[0]), arrays.inputs[0].fill), (vec![1, 3], Some(7.0)));
    for (error, message) in [
        (with(&[("length", 3)], &[]), "no side of an input is called `length`"),
        (with(&[], &[("mask", 1.0)]), "there is no input `mask` to fill"),
    ] {
        assert!(chain(&error.unwrap_err()).contains(message), "{message}");
    }
}

#[test]
fn what_is_no_model_is_refused_and_leaves_nothing() {
    let desk = Desk::new();
    let of = text_checkpoint(&desk);
    let error = desk.import(&of, &ImportSettings::default()).unwrap_err();
    assert!(chain(&error).contains("not an ONNX model"), "{}", chain(&error));
    let whole = ModelProto { ir_version: 9, graph: Some(text_model()), ..ModelProto::default() }.encode_to_vec();
    for end in (0..whole.len()).step_by(97) {
        fs::write(desk.path("cut.onnx"), &whole[..end]).unwrap();
        desk.import(&desk.path("cut.onnx"), &ImportSettings::default()).unwrap_err();
    }
    let mut graph = text_model();
    // INT4, in a file of its own, which would not come along.
    let elsewhere = TensorProto { raw_data: None, data_location: Some(1), ..initializer("four", 22, &[2], vec![]) };
    graph.initializer.push(elsewhere);
    let error = desk.import(&desk.model("four.onnx", graph), &ImportSettings::default()).unwrap_err();
    assert!(chain(&error).contains("`four` lies in another file"), "{}", chain(&error));
    let mut graph = text_model();
    graph.initializer[2].name = "heads.a".to_owned();
    let error = desk.import(&desk.model("heads.onnx", graph), &ImportSettings::default()).unwrap_err();
    assert!(chain(&error).contains("`heads.` is kept for heads"), "{}", chain(&error));
    assert!(!desk.path("base").exists());
}

/// An embedding that is the output layer too, once as it is and once turned: an edit of one of them alone would be half of one.
#[test]
fn a_tensor_that_the_exporter_wrote_twice_is_out_of_reach() {
    let desk = Desk::new();
    let mut graph = text_model();
    graph.initializer.push(float("onnx::MatMul_20", &[24, 40], &turned_numbers("embed", 40, 24)));
    graph.node.push(node("MatMul", "/output/MatMul", &["embedded", "onnx::MatMul_20"], "logits"));
    let (model, of) = (desk.model("text.onnx", graph), text_checkpoint(&desk));
    let imported = desk.import(&model, &ImportSettings { of: Some(&of), ..ImportSettings::default() }).unwrap();
    assert_eq!(imported.base.editable(), ["layer.0.attention.query.bias", "onnx::MatMul_9"]);
    assert_eq!(imported.not_recognized, ["embed.weight", "onnx::MatMul_20"]);
}
