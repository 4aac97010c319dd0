use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Command;

use burn::tensor::{Tensor, TensorData};
use taskvec_bundle::Resize;
use taskvec_networks::{Gelu, Tangent, VitConfig, parameters, with_weights};

use super::*;
use crate::finetune::leaves::to_host;
use crate::random::Random;
use crate::run_folder::f32s;

fn tiny(gelu: Gelu) -> NetworkConfig {
    NetworkConfig::Vit(VitConfig {
        image_size: 8,
        patch_size: 4,
        channels: 3,
        width: 12,
        depth: 2,
        heads: 3,
        mlp_width: 20,
        gelu,
        layer_norm_epsilon: 1e-6,
    })
}

fn network(config: &NetworkConfig) -> Network {
    let mut draw = |name: &str, shape: &[usize]| {
        let mut random = Random::new(3, name);
        (0..shape.iter().product()).map(|_| 0.4 * random.normal()).collect()
    };
    Network::init(config, &mut draw, &Device::flex()).unwrap()
}

fn written(folder: &Path, config: &NetworkConfig, network: &Network, editable: &[Pattern]) -> Base {
    write(folder, config, network, editable).unwrap()
}

fn write(folder: &Path, config: &NetworkConfig, network: &Network, editable: &[Pattern]) -> Result<Base> {
    let width = config.feature_width();
    let head = Head::new(vec!["a".to_owned(), "b".to_owned()], vec![0.5; 2 * width], vec![0.0, 1.0], width).unwrap();
    let side = config.input_shape()[1] as u32;
    let preprocessing = Preprocessing::new(3, (side, side), Resize::Bilinear, vec![0.5; 3], vec![0.5; 3]).unwrap();
    let parts = Parts {
        name: "tiny",
        network,
        config,
        preprocessing: &preprocessing,
        heads: &[("letters".to_owned(), head)],
        editable,
    };
    write_bundle(folder, &parts)
}

#[test]
fn the_same_parts_give_the_same_bytes() {
    let [one, two] = [0, 1].map(|_| tempfile::tempdir().unwrap());
    let config = tiny(Gelu::Exact);
    for folder in [&one, &two] {
        written(folder.path(), &config, &network(&config), &[Pattern::new("*")]);
    }
    for name in [MODEL_FILE, GRAPH_FILE, BASE_FILE] {
        let [left, right] = [&one, &two].map(|folder| fs::read(folder.path().join(name)).unwrap());
        assert_eq!(left, right, "{name}");
    }
}

#[test]
fn a_bundle_says_what_may_be_edited_and_brings_its_head() {
    let folder = tempfile::tempdir().unwrap();
    let config = tiny(Gelu::Exact);
    let base = written(folder.path(), &config, &network(&config), &[Pattern::new("*.attn.*.weight")]);
    let expected = ["blocks.0.attn.proj", "blocks.0.attn.qkv", "blocks.1.attn.proj", "blocks.1.attn.qkv"]
        .map(|name| format!("{name}.weight"));
    assert_eq!(base.editable(), expected);
    let bytes = fs::read(folder.path().join(MODEL_FILE)).unwrap();
    let file = TensorFile::parse(&bytes).unwrap();
    Base::read(folder.path()).unwrap().verify(&file, &bytes).unwrap();
    assert_eq!(base.head("letters", &file, &bytes).unwrap().labels(), ["a", "b"]);
}

#[test]
fn writing_over_a_bundle_leaves_no_description_of_other_files() {
    let folder = tempfile::tempdir().unwrap();
    let config = tiny(Gelu::Exact);
    written(folder.path(), &config, &network(&config), &[Pattern::new("*")]);
    // The graph cannot be replaced, as if the program had been killed on the way there.
    fs::remove_file(folder.path().join(GRAPH_FILE)).unwrap();
    fs::create_dir(folder.path().join(GRAPH_FILE)).unwrap();
    let refused = write(folder.path(), &config, &network(&config), &[Pattern::new("*")]).unwrap_err();
    assert_eq!(refused.kind(), crate::ErrorKind::Io);
    assert!(!folder.path().join(BASE_FILE).exists());
}

#[test]
fn a_misspelt_editable_pattern_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let config = tiny(Gelu::Exact);
    let patterns = [Pattern::new("*.attn.*"), Pattern::new("*.atn.*")];
    let refused = write(folder.path(), &config, &network(&config), &patterns).unwrap_err();
    assert_eq!(refused.to_string(), "editable `*.atn.*` matches no tensor of the network");
}

/// One network of each kind, its statistics drawn as well.
fn kinds() -> Vec<(&'static str, NetworkConfig)> {
    let read = |text: &str| serde_json::from_str(text).unwrap();
    let mobilenet = |padding: &str| {
        read(&format!(
            r#"{{"family": "mobilenet_v1", "image_size": 64, "channels": 3, "width_multiplier": 0.0625,
                "padding": "{padding}", "batch_norm_epsilon": 1e-3}}"#
        ))
    };
    let resnet = r#"{"family": "resnet", "image_size": 8, "channels": 3, "width": 4, "depth": 14,
        "batch_norm_epsilon": 1e-5}"#;
    vec![
        ("vit exact", tiny(Gelu::Exact)),
        ("vit quick", tiny(Gelu::Quick)),
        ("mobilenet tensorflow", mobilenet("tensorflow")),
        ("mobilenet pytorch", mobilenet("pytorch")),
        ("resnet", read(resnet)),
    ]
}

/// A network whose every tensor is drawn, statistics too: what is never 0 or 1 cannot be mistaken for another.
fn drawn(config: &NetworkConfig) -> Network {
    let shapes: HashMap<String, Vec<usize>> = config.tensors().unwrap().into_iter().collect();
    let plain = network(config);
    let values: HashMap<String, Vec<f32>> =
        to_safetensors(&plain).into_iter().map(|(name, _, bytes)| (name, f32s(&bytes))).collect();
    let give = |name: &str| {
        let mut random = Random::new(4, name);
        let norm = |value: &f32, random: &mut Random| match name.ends_with("running_var") {
            true => 1.0 + 0.3 * random.normal().abs(),
            false => value + 0.2 * random.normal(),
        };
        let values = values[name].iter().map(|value| match shapes[name].len() {
            1 => norm(value, &mut random),
            // `network` draws 0.4 for a Transformer; what only ReLUs follow keeps its size by itself.
            4 if !name.starts_with("patch_embed") => value / 0.4,
            _ => *value,
        });
        Some(TensorData::new(values.collect::<Vec<f32>>(), shapes[name].clone()))
    };
    with_weights(plain, give).unwrap()
}

/// The graph, held against burn by those who define what a graph means: the checker of the package `onnx`, and ONNX Runtime
/// from Python, once as it is and once with every editable tensor given as an input.
#[test]
fn onnx_runtime_gives_the_features_that_burn_gives() {
    let Some(python) = python() else { return };
    for (name, config) in kinds() {
        let folder = tempfile::tempdir().unwrap();
        let network = drawn(&config);
        written(folder.path(), &config, &network, &[Pattern::new("*")]);
        let expected = features(&config, |input| network.features(input));
        fs::write(folder.path().join("expected.f32"), f32_bytes(&expected)).unwrap();
        check_graph(&python, name, folder.path(), &config);
    }
}

fn python() -> Option<PathBuf> {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/python/bin/python");
    let python = std::env::var_os("TASKVEC_PYTHON").map_or(ours, PathBuf::from);
    if !python.exists() {
        eprintln!(
            "left out: no Python with onnx and onnxruntime: `bash tests/run` makes one, TASKVEC_PYTHON names one"
        );
        return None;
    }
    Some(python)
}

fn pixels(config: &NetworkConfig) -> Vec<f32> {
    let mut random = Random::new(5, "pixels");
    (0..3 * config.input_shape().iter().product::<usize>()).map(|_| random.normal()).collect()
}

fn features(config: &NetworkConfig, of: impl FnOnce(Tensor<4>) -> Tensor<2>) -> Vec<f32> {
    to_host(of(crate::examples::input(config.input_shape(), pixels(config), &Device::flex())))
}

/// Has Python hold the graph in `folder` against the features that were written there.
fn check_graph(python: &Path, name: &str, folder: &Path, config: &NetworkConfig) {
    fs::write(folder.join("pixels.f32"), f32_bytes(&pixels(config))).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/check_graph.py");
    let sides = config.input_shape().map(|side| side.to_string());
    let checked = Command::new(python).arg(script).arg(folder).args(sides).output().unwrap();
    let said = String::from_utf8_lossy(&checked.stdout).into_owned() + &String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "{name}: {said}");
}

/// The linearized graph, as it is and with other numbers for every editable tensor; also where one tensor moves alone, since what
/// is added then has to be given its shape.
#[test]
fn onnx_runtime_gives_the_linearized_features_that_burn_gives() {
    let Some(python) = python() else { return };
    let cases = kinds().into_iter().flat_map(|(name, config)| {
        let alone: &[&str] = match name {
            "vit exact" => &[
                "cls_token",
                "pos_embed",
                "patch_embed.proj.bias",
                "blocks.0.norm1.weight",
                "blocks.0.norm1.bias",
                "blocks.1.attn.qkv.weight",
                "blocks.1.mlp.fc2.bias",
                "norm.bias",
            ],
            "resnet" => &["bn1.bias", "bn1.weight"],
            _ => &[],
        };
        let alone = alone.iter().copied();
        ["*", "*.bias"].into_iter().chain(alone).map(move |editable| (name, config.clone(), editable))
    });
    for (name, config, editable) in cases {
        let [whole, folder] = [0, 1].map(|_| tempfile::tempdir().unwrap());
        let network = drawn(&config);
        written(whole.path(), &config, &network, &[Pattern::new(editable)]);
        let base = linearized_bundle(whole.path(), folder.path()).unwrap();
        let mut now = Vec::new();
        let mut deltas = HashMap::new();
        let ids: HashMap<String, _> = parameters(&network).into_iter().map(|it| (it.name, it.id)).collect();
        let values: HashMap<String, Vec<f32>> =
            to_safetensors(&network).into_iter().map(|(name, _, bytes)| (name, f32s(&bytes))).collect();
        for tensor in base.editable() {
            let mut random = Random::new(6, tensor);
            let delta: Vec<f32> = values[tensor].iter().map(|_| random.normal()).collect();
            now.extend(values[tensor].iter().zip(&delta).map(|(value, delta)| value + delta));
            deltas.insert(ids[tensor], Tensor::from_floats(delta.as_slice(), &Device::flex()));
        }
        let at_base = features(&config, |input| network.features(input));
        let along = features(&config, |input| network.linearized_features(&mut Tangent::new(deltas), input));
        let largest = |numbers: &[f32]| numbers.iter().fold(0.0f32, |largest, number| largest.max(number.abs()));
        let moved = at_base.iter().zip(&along).fold(0.0f32, |moved, (then, now)| moved.max((now - then).abs()));
        // Ten times what the answers may differ by.
        assert!(moved > 1e-4 * largest(&along), "{name}, {editable}: nothing moves, the test cannot fail");
        for (file, numbers) in [("expected.f32", at_base), ("now.f32", now), ("expected_now.f32", along)] {
            fs::write(folder.path().join(file), f32_bytes(&numbers)).unwrap();
        }
        check_graph(&python, &format!("{name}, {editable}"), folder.path(), &config);
    }
}

#[test]
fn a_linearized_bundle_has_the_weights_and_the_fingerprint_of_its_base() {
    let [whole, folder] = [0, 1].map(|_| tempfile::tempdir().unwrap());
    let (_, config) = kinds().pop().unwrap();
    let base = written(whole.path(), &config, &drawn(&config), &[Pattern::new("*")]);
    let linearized = linearized_bundle(whole.path(), folder.path()).unwrap();
    let [left, right] = [&whole, &folder].map(|folder| fs::read(folder.path().join(MODEL_FILE)).unwrap());
    assert!(left == right, "other weights");
    assert_eq!(linearized.fingerprint(), base.fingerprint());
    assert_eq!((linearized.heads(), linearized.interface()), (base.heads(), base.interface()));
    assert_eq!(linearized.network(), &serde_json::json!({ "family": "linearized", "of": base.network() }));
    let statistics = |base: &Base| base.editable().iter().filter(|name| name.contains("running_")).count();
    assert!(statistics(&base) > 0 && statistics(&linearized) == 0, "statistics have no derivative");
    let again = linearized_bundle(folder.path(), whole.path()).unwrap_err();
    assert!(again.to_string().ends_with("is linearized already"), "{again}");
}

#[test]
fn skills_are_not_trained_on_a_linearized_bundle() {
    let [whole, folder] = [0, 1].map(|_| tempfile::tempdir().unwrap());
    let config = tiny(Gelu::Quick);
    written(whole.path(), &config, &drawn(&config), &[Pattern::new("*")]);
    linearized_bundle(whole.path(), folder.path()).unwrap();
    let Err(refused) = Start::from_bundle(folder.path(), &Device::flex()) else { panic!("it was opened") };
    assert_eq!(refused.kind(), crate::ErrorKind::Usage);
    assert!(refused.to_string().ends_with("is linearized, and skills are trained on the base itself"), "{refused}");
    assert!(refused.help().unwrap().contains("`linearized: true`"));
}
