use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Command;

use burn::tensor::TensorData;
use taskvec_bundle::Resize;
use taskvec_networks::{Gelu, VitConfig, with_weights};

use super::*;
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
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/python/bin/python");
    let python = std::env::var_os("TASKVEC_PYTHON").map_or(ours, PathBuf::from);
    if !python.exists() {
        eprintln!(
            "left out: no Python with onnx and onnxruntime: `bash tests/run` makes one, TASKVEC_PYTHON names one"
        );
        return;
    }
    for (name, config) in kinds() {
        let folder = tempfile::tempdir().unwrap();
        let network = drawn(&config);
        written(folder.path(), &config, &network, &[Pattern::new("*")]);
        let mut random = Random::new(5, "pixels");
        let shape = config.input_shape();
        let pixels: Vec<f32> = (0..3 * shape.iter().product::<usize>()).map(|_| random.normal()).collect();
        let input = crate::examples::input(shape, pixels.clone(), &Device::flex());
        let expected = crate::finetune::leaves::to_host(network.features(input));
        fs::write(folder.path().join("pixels.f32"), f32_bytes(&pixels)).unwrap();
        fs::write(folder.path().join("expected.f32"), f32_bytes(&expected)).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/check_graph.py");
        let checked = Command::new(&python)
            .arg(script)
            .arg(folder.path())
            .args(shape.map(|side| side.to_string()))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&checked.stdout).into_owned() + &String::from_utf8_lossy(&checked.stderr);
        assert!(checked.status.success(), "{name}: {said}");
    }
}
