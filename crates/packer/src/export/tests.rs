use std::process::Command;

use super::*;
use crate::random::Random;
use taskvec_bundle::Resize;
use taskvec_networks::{Gelu, VitConfig};

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
    let head = Head::new(vec!["a".to_owned(), "b".to_owned()], vec![0.5; 24], vec![0.0, 1.0], 12).unwrap();
    let preprocessing = Preprocessing::new(3, (8, 8), Resize::Bilinear, vec![0.5; 3], vec![0.5; 3]).unwrap();
    let parts = Parts {
        name: "tiny",
        network,
        config,
        preprocessing: &preprocessing,
        heads: &[("letters".to_owned(), head)],
        editable,
    };
    write_bundle(folder, &parts).unwrap()
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

/// The graph, held against burn by those who define what a graph means: the checker of the package `onnx`, and ONNX Runtime
/// from Python, once as it is and once with every editable tensor given as an input.
#[test]
fn onnx_runtime_gives_the_features_that_burn_gives() {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/python/bin/python");
    if !python.exists() {
        eprintln!("left out: there is no target/python with onnx and onnxruntime (`bash tests/run` makes one)");
        return;
    }
    for gelu in [Gelu::Exact, Gelu::Quick] {
        let folder = tempfile::tempdir().unwrap();
        let config = tiny(gelu);
        let network = network(&config);
        written(folder.path(), &config, &network, &[Pattern::new("*")]);
        let mut random = Random::new(5, "pixels");
        let pixels: Vec<f32> = (0..3 * 3 * 8 * 8).map(|_| random.normal()).collect();
        let input = crate::examples::input([3, 8, 8], pixels.clone(), &Device::flex());
        let expected = crate::finetune::leaves::to_host(network.features(input));
        fs::write(folder.path().join("pixels.f32"), f32_bytes(&pixels)).unwrap();
        fs::write(folder.path().join("expected.f32"), f32_bytes(&expected)).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/check_graph.py");
        let checked = Command::new(&python).arg(script).arg(folder.path()).args(["3", "8", "8"]).output().unwrap();
        let said = String::from_utf8_lossy(&checked.stdout).into_owned() + &String::from_utf8_lossy(&checked.stderr);
        assert!(checked.status.success(), "{gelu:?}: {said}");
    }
}

#[test]
#[ignore]
fn zz_big() {
    for (i, (size, patch, width, depth, heads)) in [(64, 8, 192, 6, 3), (28, 7, 96, 4, 4)].into_iter().enumerate() {
        let config = NetworkConfig::Vit(VitConfig {
            image_size: size, patch_size: patch, channels: 3, width, depth, heads, mlp_width: 4 * width,
            gelu: Gelu::Exact, layer_norm_epsilon: 1e-6,
        });
        let preprocessing = Preprocessing::new(3, (size as u32, size as u32), Resize::Bilinear, vec![0.5; 3], vec![0.5; 3]).unwrap();
        let network = network(&config);
        let parts = Parts { name: "big", network: &network, config: &config, preprocessing: &preprocessing, heads: &[], editable: &[Pattern::new("*.attn.*.weight")] };
        write_bundle(Path::new(&format!("{}_{i}", std::env::var("BIG").unwrap())), &parts).unwrap();
    }
}
