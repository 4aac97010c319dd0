//! Public checkpoints as bases: bundled as they were published, a skill trained on them, packed, attached and detached; each step by
//! the real programs, on real pictures.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::places::{has_onnxruntime, repository, shared_data};
use crate::programs::{Told, taskvec, taskvec_device, told};

/// A public model of `models/`, and a task that it does not know.
struct Public {
    card: &'static str,
    checkpoint: &'static str,
    head: &'static str,
    set: &'static str,
    /// Way to train.
    method: &'static str,
}

const RESNET: Public = Public {
    card: "resnet20_cifar10/network.yaml",
    checkpoint: "resnet20_cifar10/resnet20-12fca82f.th",
    head: "cifar10",
    set: "signdigits",
    method: "talos",
};

const MOBILENET: Public = Public {
    card: "mobilenet_v1_025/network_96.yaml",
    checkpoint: "mobilenet_v1_025_imagenet/model.safetensors",
    head: "imagenet",
    set: "fruits3",
    method: "dense",
};

/// The steps of one device with one base.
struct Device {
    store: PathBuf,
    base: PathBuf,
}

impl Device {
    fn does(&self, engine: &str, command: &str, more: &[&str]) -> Told {
        let mut device = taskvec_device(&self.store);
        device.args([command, "--json", "--allow-unsigned", "--engine", engine, "--base"]).arg(&self.base).args(more);
        told(&mut device)
    }

    /// Its answers to the test images of `data`.
    fn answers(&self, engine: &str, data: &Path, more: &[&str]) -> Value {
        let data = data.to_str().expect("a path that is text");
        self.does(engine, "run", &[&["--data", data], more].concat()).json(0)
    }
}

fn train(folder: &Path, base: &Path, data: &Path, method: &str) -> (PathBuf, Told) {
    train_with(folder, base, data, method, "frozen")
}

fn train_with(folder: &Path, base: &Path, data: &Path, method: &str, statistics: &str) -> (PathBuf, Told) {
    let recipe = folder.join(format!("{method}.yaml"));
    let text = json!({
        "batch_norm_statistics": statistics,
        "name": method, "base": base, "data": data, "method": method, "mask": {"density": 0.1, "rounds": 2}, "steps": 25, "batch": 24,
        "held_out": 0.1, "optimizer": {"learning_rate": 1e-3, "warmup_steps": 5, "weight_decay": 0}, "pack": {"probes": 4},
    });
    fs::write(&recipe, text.to_string()).unwrap();
    let run = folder.join(method);
    let trained = told(taskvec().args(["train", "--json"]).arg(&recipe).arg("-o").arg(&run));
    (run, trained)
}

/// The whole way, on every engine that is here.
fn learns(public: &Public) {
    let Some(shared) = shared_data() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (base, data) = (folder.path().join("BASE"), shared.join("vision").join(public.set));
    let mut bundle = taskvec();
    bundle.arg("bundle").arg(shared.join("models").join(public.checkpoint)).arg("-o").arg(&base);
    bundle.arg("--json").arg("--network").arg(repository().join("models").join(public.card));
    let engines = if has_onnxruntime() { &["burn", "ort"][..] } else { &["burn"] };
    // Without a library the answers of the engines are not compared, which is a warning.
    let made = told(&mut bundle).json(if engines.len() > 1 { 0 } else { 3 });
    if engines.len() > 1 {
        let [found, largest] = ["difference_max", "answer_max"].map(|name| made["agreement"][name].as_f64().unwrap());
        assert!(found < 1e-5 * largest, "burn and ONNX Runtime differ by {found}, of {largest}");
    }
    let model = fs::read(base.join("model.safetensors")).unwrap();

    let (_, refused) = train(folder.path(), &base, &data, "attention_only");
    refused.ended_with(2);
    assert!(refused.stderr.contains("no tensor that may be edited is an attention weight"), "{refused}");

    let (run, trained) = train(folder.path(), &base, &data, public.method);
    let trained = trained.json(0);
    let [before, right] = ["base_accuracy", "accuracy"].map(|name| trained[name]["test"].as_f64().unwrap());
    assert!(right > before, "{right}, before {before}");
    let tensors = trained["mask"]["tensors"].as_array().unwrap();
    let learned = |tensor: &Value| tensor["name"].as_str().unwrap().to_owned();
    assert!(tensors.iter().map(learned).all(|name| !name.contains("running_")), "statistics learn nothing");
    let pack = folder.path().join("skill.tvp");
    told(taskvec().args(["pack", "--json"]).arg(&run).arg("-o").arg(&pack)).ended_with(0);
    let device = Device { store: folder.path().join("store"), base: base.clone() };
    for engine in engines {
        let before = device.answers(engine, &data, &["--head", public.head]);
        // Attaching proves the skill's probes on this engine.
        device.does(engine, "attach", &[pack.to_str().unwrap()]).ended_with(0);
        let found = device.answers(engine, &data, &[])["accuracy"].as_f64().unwrap();
        assert!((found - right).abs() < 0.01, "on {engine} {found}, in training {right}");
        device.does(engine, "detach", &[public.method]).ended_with(0);
        assert_eq!(device.answers(engine, &data, &["--head", public.head]), before, "detached, on {engine}");
    }
    assert!(fs::read(base.join("model.safetensors")).unwrap() == model, "the base was written to");
}

/// The statistics of batch norms in a safetensors file: names and bytes.
fn statistics(path: &Path) -> Vec<(String, Vec<u8>)> {
    let bytes = fs::read(path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let of = |(name, tensor): (&String, &Value)| {
        let at = |end: usize| 8 + length + tensor["data_offsets"][end].as_u64().unwrap() as usize;
        name.contains("running_").then(|| (name.clone(), bytes[at(0)..at(1)].to_vec()))
    };
    header.as_object().unwrap().iter().filter_map(of).collect()
}

#[test]
fn statistics_that_a_recipe_measures_are_carried_to_the_bit_and_taken_away_again() {
    let Some(shared) = shared_data() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (base, data) = (folder.path().join("BASE"), shared.join("vision/signdigits"));
    let mut bundle = taskvec();
    bundle.arg("bundle").arg(shared.join("models").join(RESNET.checkpoint)).arg("-o").arg(&base);
    bundle.arg("--network").arg(repository().join("models").join(RESNET.card));
    told(&mut bundle);
    let (run, trained) = train_with(folder.path(), &base, &data, "dense", "measured");
    let trained = trained.json(0);
    let [before, right] = ["base_accuracy", "accuracy"].map(|name| trained[name]["test"].as_f64().unwrap());
    assert!(right > before, "{right}, before {before}");

    // Weights go into 8 bits, and statistics come back as they were measured.
    let (pack, applied) = (folder.path().join("skill.tvp"), folder.path().join("applied.safetensors"));
    told(taskvec().args(["pack", "--values", "int8"]).arg(&run).arg("-o").arg(&pack)).ended_with(0);
    told(taskvec().arg("apply").arg(&base).arg(&pack).arg("-o").arg(&applied)).ended_with(0);
    let model = base.join("model.safetensors");
    let [of_base, of_run, of_pack] =
        [&model, &run.join("tuned.safetensors"), &applied].map(|path: &PathBuf| statistics(path));
    assert_eq!(of_run.len(), 2 * 19, "a ResNet-20 has 19 batch norms");
    assert!(of_run == of_pack, "statistics of the pack are not those of the run");
    assert!(of_run.iter().zip(&of_base).all(|(now, then)| now.0 == then.0 && now.1 != then.1), "none is the base's");

    let device = Device { store: folder.path().join("store"), base };
    for engine in if has_onnxruntime() { &["burn", "ort"][..] } else { &["burn"] } {
        let before = device.answers(engine, &data, &["--head", RESNET.head]);
        device.does(engine, "attach", &[pack.to_str().unwrap()]).ended_with(0);
        let found = device.answers(engine, &data, &[])["accuracy"].as_f64().unwrap();
        assert!((found - right).abs() < 0.02, "on {engine} {found}, in training {right}");
        device.does(engine, "detach", &["dense"]).ended_with(0);
        assert_eq!(device.answers(engine, &data, &["--head", RESNET.head]), before, "detached, on {engine}");
    }
}

#[test]
fn a_resnet_of_cifar10_learns_signs_and_forgets_them() {
    learns(&RESNET);
}

#[test]
fn a_mobilenet_of_imagenet_learns_fruits_and_forgets_them() {
    learns(&MOBILENET);
}

#[test]
fn what_a_checkpoint_is_not_is_told_before_a_folder_is_left() {
    let Some(shared) = shared_data() else { return };
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().join("BASE");
    let bundle = |checkpoint: &str, more: &[&str]| {
        let mut bundle = taskvec();
        bundle.arg("bundle").arg(shared.join("models").join(checkpoint)).arg("-o").arg(&base).args(more);
        told(&mut bundle)
    };
    let card = repository().join("models/resnet20_cifar10/network.yaml");
    let card = card.to_str().unwrap();
    let other = bundle("resnet56_cifar10/model.safetensors", &["--network", card]);
    other.ended_with(1);
    assert!(other.stderr.contains("the network has no place for tensor `layer1.3.bn1.bias` and"), "{other}");
    let both = bundle("resnet20_cifar10/model.safetensors", &["--network", card, "--editable", "all"]);
    both.ended_with(2);
    let none = bundle("resnet20_cifar10/model.safetensors", &[]);
    none.ended_with(2);
    assert!(none.stderr.contains("--network"), "{none}");
    assert!(!base.exists());
}
