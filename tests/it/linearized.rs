//! Skills of the tangent space on a device: trained linearized, attached to the linearized bundle, whose weights and fingerprint are
//! the base's, and refused by the base itself, on whose network they mean something else.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::places::{handwriting, has_onnxruntime};
use crate::programs::{Told, taskvec, taskvec_device, told};

/// A device with a base and an engine.
struct Device<'a> {
    store: PathBuf,
    base: &'a Path,
    engine: &'a [&'a str],
}

impl Device<'_> {
    fn does(&self, command: &str, more: &[&str]) -> Told {
        let mut device = taskvec_device(&self.store);
        device.args([command, "--json", "--allow-unsigned", "--base"]).arg(self.base).args(self.engine).args(more);
        told(&mut device)
    }

    /// What the base's own head says: without a skill there is no other.
    fn answers_of_base(&self) -> Value {
        self.answers(&["--head", "handwriting"])
    }

    fn answers(&self, more: &[&str]) -> Value {
        let data = handwriting().join("data/digits8x8");
        self.does("run", &[&["--data", data.to_str().expect("a path that is text")], more].concat()).json(0)
    }
}

/// Every way in which weights reach an engine that is here.
fn engines() -> Vec<&'static [&'static str]> {
    let all: [&[&str]; 4] = [
        &["--engine", "burn"],
        &["--engine", "ort", "--tier", "inputs"],
        &["--engine", "ort", "--tier", "bare-inputs"],
        &["--engine", "ort", "--tier", "rebuild"],
    ];
    all.into_iter().take(if has_onnxruntime() { all.len() } else { 1 }).collect()
}

#[test]
fn a_skill_of_the_tangent_space_is_attached_to_the_linearized_bundle_and_to_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (linearized, recipe, run, pack) = (at("LINEARIZED"), at("recipe.yaml"), at("run"), at("skill.tvp"));
    let mut bundle = taskvec();
    bundle.arg("bundle").arg(handwriting()).args(["--json", "--linearized", "-o"]).arg(&linearized);
    let made = told(&mut bundle).json(if has_onnxruntime() { 0 } else { 3 });
    let [ours, theirs] = [&handwriting(), &linearized].map(|base| fs::read(base.join("model.safetensors")).unwrap());
    assert!(ours == theirs, "other weights");
    if has_onnxruntime() {
        let [found, largest] = ["difference_max", "answer_max"].map(|name| made["agreement"][name].as_f64().unwrap());
        assert!(found < 1e-5 * largest, "burn and ONNX Runtime differ by {found}, of {largest}");
    }

    let text = json!({
        "name": "tangent", "base": handwriting(), "data": handwriting().join("data/digits8x8"), "linearized": true,
        "steps": 40, "optimizer": {"learning_rate": 3e-3, "weight_decay": 0}, "pack": {"probes": 4},
    });
    fs::write(&recipe, text.to_string()).unwrap();
    let train = |base: &Path| {
        told(taskvec().args(["train", "--json"]).arg(&recipe).arg("--base").arg(base).arg("-o").arg(&run))
    };
    let refused = train(&linearized);
    refused.ended_with(2);
    assert!(refused.stderr.contains("is linearized") && refused.stderr.contains("help: "), "{refused}");
    let right = train(&handwriting()).json(0)["accuracy"]["test"].as_f64().unwrap();
    told(taskvec().args(["pack", "--json"]).arg(&run).arg("-o").arg(&pack)).ended_with(0);

    let (pack, other) = (pack.to_str().unwrap().to_owned(), handwriting().join("skills/sketches.tvp"));
    for (number, engine) in engines().into_iter().enumerate() {
        let on = |base, store: &str| Device { store: at(&format!("{store}{number}")), base, engine };
        let device = on(&linearized, "linearized");
        let before = device.answers_of_base();
        let attached = device.does("attach", &[&pack]).json(0);
        assert_eq!(attached["proof"]["kind"], "probes", "{engine:?}: {attached}");
        let found = device.answers(&[])["accuracy"].as_f64().unwrap();
        assert!((found - right).abs() < 0.01, "{engine:?}: {found}, in training {right}");
        device.does("detach", &["tangent"]).ended_with(0);
        assert_eq!(device.answers_of_base(), before, "{engine:?}: detached");
        // What was trained on the network itself is proved by its probes to be something else here.
        let refused = device.does("attach", &[other.to_str().unwrap()]);
        refused.ended_with(1);
        assert!(refused.stderr.contains("probe") && refused.stderr.contains("the base is linearized"), "{refused}");

        let whole = handwriting();
        let device = on(&whole, "whole");
        let before = device.answers_of_base();
        let refused = device.does("attach", &[&pack]);
        refused.ended_with(1);
        assert!(refused.stderr.contains("probe") && refused.stderr.contains("BASE --linearized"), "{refused}");
        assert_eq!(device.answers_of_base(), before, "{engine:?}: a refused skill left a trace");
    }
    assert!(fs::read(linearized.join("model.safetensors")).unwrap() == theirs, "the base was written to");
}
