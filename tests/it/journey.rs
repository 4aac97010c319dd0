//! From images to answers: train, pack, and the device's answers, which do not depend on the engine.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::places::{handwriting, has_onnxruntime, shared_data};
use crate::programs::{taskvec, taskvec_device, told};

/// Trains a skill on `data` for a few steps and packs it.
pub(super) fn trained(folder: &Path, data: &Path) -> PathBuf {
    let recipe = folder.join("recipe.yaml");
    // JSON is YAML.
    let text = json!({
        "name": "journey",
        "seed": 1,
        "base": handwriting(),
        "data": data,
        "method": "talos",
        "mask": {"density": 0.1},
        "steps": 60,
        "optimizer": {"learning_rate": 1e-3, "weight_decay": 0},
        "pack": {"values": "int8", "alpha_range": [0, 1]},
    });
    fs::write(&recipe, text.to_string()).unwrap();
    let (run, pack) = (folder.join("run"), folder.join("journey.tvp"));
    let trained = told(taskvec().args(["train", "--json"]).arg(&recipe).arg("-o").arg(&run)).json(0);
    let packed = told(taskvec().args(["pack", "--json"]).arg(&run).arg("-o").arg(&pack)).json(0);
    assert_eq!(packed["entries"], trained["mask"]["entries"]);
    assert_eq!(packed["pack_bytes"].as_u64(), Some(fs::metadata(&pack).unwrap().len()));
    pack
}

/// The device's answers to the test images of `data` with this pack alone.
pub(super) fn answered(folder: &Path, engine: &str, pack: &Path, data: &Path) -> Value {
    let mut run = taskvec_device(&folder.join("store"));
    run.args(["run", "--json", "--allow-unsigned", "--engine", engine, "--base"]).arg(handwriting());
    run.arg("--pack").arg(pack).arg("--data").arg(data);
    let answered = told(&mut run).json(0);
    assert!(answered["engine"].as_str().is_some_and(|name| name.to_lowercase().contains(engine_word(engine))));
    answered
}

/// What the name of an engine says whatever its version.
fn engine_word(engine: &str) -> &str {
    if engine == "ort" { "onnx" } else { engine }
}

fn classes(answered: &Value) -> Vec<u64> {
    let answers = answered["answers"].as_array().expect("answers");
    answers.iter().map(|answer| answer["class"].as_u64().expect("a class")).collect()
}

/// The whole way on this data set: the packed skill is better than chance by far, and both engines say the same.
fn goes_well_on(data: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let pack = trained(folder.path(), data);
    let burn = answered(folder.path(), "burn", &pack, data);
    let accuracy = burn["accuracy"].as_f64().expect("an accuracy");
    assert!(accuracy > 0.5, "ten classes, {accuracy} right");
    if !has_onnxruntime() {
        return;
    }
    let ort = answered(folder.path(), "ort", &pack, data);
    assert_eq!(ort["composition"], burn["composition"]);
    let (ort, burn) = (classes(&ort), classes(&burn));
    let different: Vec<usize> = (0..burn.len()).filter(|&at| ort[at] != burn[at]).collect();
    assert_eq!(ort.len(), burn.len());
    assert!(different.is_empty(), "ONNX Runtime and burn differ on test images {different:?}");
}

#[test]
fn small_digits_are_learned_packed_and_read_the_same_by_both_engines() {
    goes_well_on(&handwriting().join("data/digits8x8"));
}

#[test]
fn mnist_is_learned_packed_and_read_the_same_by_both_engines() {
    if let Some(shared) = shared_data() {
        goes_well_on(&shared.join("vision/mnist"));
    }
}
