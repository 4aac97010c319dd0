//! Models of others as bases: exported, bundled, edited on ONNX Runtime, quantized; each step by the real programs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use taskvec_bundle::{Base, NamedTensor, StoredDtype, TensorFile, write_tensors};
use taskvec_dataset::Dataset;
use taskvec_runtime::{BaseModel, Composed, CompositionLimits, PackLimits, Skill, Trust};

use crate::places::{handwriting, has_onnxruntime, python, pytorch, repository, shared_data};
use crate::programs::{Told, taskvec, taskvec_device, told};

/// How far accuracy may fall on whole numbers, in points of a hundred: where activations are quantized as they come, and where
/// their grids were calibrated on the base, before there was a skill.
const POINTS_LOST_MAX: [(&str, f64); 2] = [("dynamic", 1.0), ("qdq", 2.5)];

/// A folder with what one of the scripts of `tests/exports` has made.
fn exported(python: &Path, script: &str, arguments: &[&Path]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let out = [folder.path()];
    let all = arguments.iter().take(1).chain(&out).chain(arguments.iter().skip(1));
    let told = told(Command::new(python).arg(repository().join("tests/exports").join(script)).args(all));
    told.ended_with(0);
    folder
}

fn text() -> Option<tempfile::TempDir> {
    let folder = tempfile::tempdir().unwrap();
    let script = repository().join("tests/exports/text.py");
    told(Command::new(python()?).arg(script).arg(folder.path())).ended_with(0);
    has_onnxruntime().then_some(folder)
}

fn bundle(model: &Path, base: &Path, more: &[&str]) -> Told {
    told(taskvec().args(["bundle", "--json"]).arg(model).arg("-o").arg(base).args(more))
}

fn diff(base: &Path, tuned: &Path, pack: &Path, more: &[&str]) -> Value {
    told(taskvec().args(["diff", "--json"]).arg(base).arg(tuned).arg("-o").arg(pack).args(more)).json(0)
}

/// The bytes of each output, with `packs` in force, or else what is in force in the store.
fn answers(store: &Path, base: &Path, inputs: &Path, packs: &[&Path]) -> Vec<(String, Vec<u8>)> {
    let outputs = store.with_extension("outputs");
    let mut run = taskvec_device(store);
    run.args(["run", "--json", "--engine", "ort", "--allow-unsigned", "--base"]).arg(base);
    run.arg("--inputs").arg(inputs).arg("--outputs").arg(&outputs);
    for pack in packs {
        run.arg("--pack").arg(pack);
    }
    told(&mut run).json(0);
    numbers_in(&outputs)
}

/// The bytes of each tensor in a file.
fn numbers_in(path: &Path) -> Vec<(String, Vec<u8>)> {
    let bytes = fs::read(path).unwrap();
    let file = TensorFile::parse(&bytes).unwrap();
    file.tensors().iter().map(|it| (it.name().to_owned(), it.bytes(&bytes).unwrap().to_vec())).collect()
}

/// The largest difference between two arrays of f32.
fn distance(left: &[(String, Vec<u8>)], right: &[(String, Vec<u8>)], name: &str) -> f32 {
    let [left, right] = [left, right].map(|answers| {
        let (_, bytes) = answers.iter().find(|(found, _)| found == name).expect("an output of this name");
        bytes.as_chunks().0.iter().map(|&word| f32::from_le_bytes(word)).collect::<Vec<f32>>()
    });
    assert_eq!(left.len(), right.len());
    assert!(left.iter().chain(&right).all(|number| number.is_finite()), "`f32::max` leaves out what is no number");
    left.iter().zip(&right).map(|(left, right)| (left - right).abs()).fold(0.0, f32::max)
}

#[test]
fn two_exports_of_a_model_are_a_base_and_a_skill() {
    let Some(folder) = text() else { return };
    let at = |name: &str| folder.path().join(name);
    let made = bundle(&at("base.onnx"), &at("BASE"), &[]).json(0);
    assert_eq!((&made["tensors"], &made["editable"]), (&7.into(), &7.into()));
    assert!(made["agreement"]["difference_max"].as_f64().unwrap() < 1e-5, "{made}");
    bundle(&at("tuned.onnx"), &at("TUNED"), &[]).json(0);
    let pack = diff(&at("BASE"), &at("tuned.onnx"), &at("skill.tvp"), &[]);
    assert_eq!(pack["lossless"], true);

    let (store, inputs) = (at("store"), at("inputs.safetensors"));
    let [base, tuned] = ["BASE", "TUNED"].map(|bundle| answers(&at(bundle), &at(bundle), &inputs, &[]));
    assert_eq!(base.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["hidden", "sides"]);
    assert!(distance(&base, &tuned, "hidden") > 1e-3, "the two exports have to differ");

    let device = |words: &[&str], subject: &Path| {
        let mut device = taskvec_device(&store);
        device.args(words).args(["--json", "--engine", "ort", "--allow-unsigned", "--base"]).arg(at("BASE"));
        told(device.arg(subject)).json(0)
    };
    let attached = device(&["attach"], &at("skill.tvp"));
    assert_eq!(attached["proof"]["kind"], "felt", "{attached}");
    assert!(
        answers(&store, &at("BASE"), &inputs, &[]) == tuned,
        "with the skill, the base is the tuned model bit for bit"
    );
    device(&["detach"], Path::new("tuned"));
    assert!(answers(&store, &at("BASE"), &inputs, &[]) == base, "without it, the base is what it was");
}

#[test]
fn a_pack_of_the_checkpoint_finds_the_matrices_that_the_exporter_turned() {
    let Some(folder) = text() else { return };
    let at = |name: &str| folder.path().join(name);
    let of = at("base.safetensors");
    let made = bundle(&at("base.onnx"), &at("BASE"), &["--of", &of.display().to_string()]).json(0);
    assert_eq!((&made["turned"], &made["editable"]), (&2.into(), &7.into()), "{made}");
    assert_eq!(made["not_recognized"], Value::Array(Vec::new()));
    bundle(&at("tuned.onnx"), &at("TUNED"), &[]).json(0);
    diff(&of, &at("tuned.safetensors"), &at("skill.tvp"), &[]);
    let inputs = at("inputs.safetensors");
    let found = answers(&at("store"), &at("BASE"), &inputs, &[&at("skill.tvp")]);
    assert!(found == answers(&at("store"), &at("TUNED"), &inputs, &[]), "the tuned model's answers, bit for bit");
}

#[test]
fn a_skill_of_the_float_model_works_on_the_quantized_one() {
    let Some(folder) = text() else { return };
    let at = |name: &str| folder.path().join(name);
    let of = at("base.safetensors");
    let made = bundle(&at("dynamic.onnx"), &at("QUANTIZED"), &["--of", &of.display().to_string()]).json(0);
    assert_eq!((&made["turned"], &made["quantized"]), (&2.into(), &3.into()), "{made}");
    for name in ["base", "tuned"] {
        bundle(&at(&format!("{name}.onnx")), &at(name), &[]).json(0);
    }
    let [lossless, rounded] = [at("lossless.tvp"), at("rounded.tvp")];
    diff(&of, &at("tuned.safetensors"), &lossless, &[]);
    diff(&of, &at("tuned.safetensors"), &rounded, &["--values", "bf16"]);
    let (store, inputs) = (at("store"), at("inputs.safetensors"));
    let on = |base: &str, packs: &[&Path]| answers(&store, &at(base), &inputs, packs);
    let (base, tuned) = (on("base", &[]), on("tuned", &[]));
    let (quantized, skilled) = (on("QUANTIZED", &[]), on("QUANTIZED", &[&rounded]));
    let (off, change) = (distance(&skilled, &tuned, "hidden"), distance(&base, &tuned, "hidden"));
    let quantizing = distance(&quantized, &base, "hidden");
    assert!(
        off < 2.0 * quantizing && off < change / 2.0,
        "off by {off}, change {change}, quantizing alone {quantizing}"
    );

    // The tiny change that providers are tried with is felt in whole numbers too.
    let doctor = told(taskvec_device(&store).args(["doctor", "--json", "--base"]).arg(at("QUANTIZED"))).json(0);
    let tiers = doctor["providers"][0]["tiers"].as_array().unwrap_or_else(|| panic!("tiers in {doctor}"));
    for tier in tiers {
        assert_eq!((&tier["tensors"], &tier["unfelt"]), (&7.into(), &Value::Array(Vec::new())), "{tier}");
    }
    assert!(tiers.len() >= 3, "{tiers:?}");
    // With its weights as constants, a session of its own is made of the changed whole numbers.
    let mut run = taskvec_device(&store);
    run.args(["run", "--json", "--engine", "ort", "--tier", "rebuild", "--allow-unsigned", "--base"])
        .arg(at("QUANTIZED"));
    run.arg("--inputs").arg(&inputs).arg("--outputs").arg(at("rebuilt")).arg("--pack").arg(&rounded);
    let engine = told(&mut run).json(0)["engine"].to_string();
    assert!(engine.contains("rebuild"), "{engine}");
    let rebuilt = numbers_in(&at("rebuilt"));
    assert!(distance(&rebuilt, &skilled, "hidden") < change / 10.0, "the tiers answer alike");
    // Whole numbers are not compared: packs are made for the floats.
    let mut diff = taskvec();
    diff.arg("diff").arg(at("QUANTIZED")).arg(at("tuned.safetensors")).arg("-o").arg(at("x.tvp"));
    told(&mut diff).refused(&["is quantized", "packs are made for the floats"]);
    let mut attach = taskvec_device(&store);
    attach.args(["attach", "--engine", "ort", "--allow-unsigned", "--base"]).arg(at("QUANTIZED")).arg(&lossless);
    told(&mut attach).refused(&["`tuned`", "distances between the bits of floats", "quantized"]);
    let verify = |pack: &Path| told(taskvec().args(["verify", "--json"]).arg(pack).arg("--base").arg(at("QUANTIZED")));
    let verified = verify(&rounded).json(0);
    assert_eq!((&verified["answers"][2]["holds"], &verified["answers"][3]["holds"]), (&true.into(), &Value::Null));
    assert_eq!(verify(&lossless).json(1)["answers"][2]["holds"], false);
}

/// Pixels of training images, in a file as `quantize.py` reads it.
fn pixels_file(folder: &Path, base: &Base, data: &Path) -> PathBuf {
    let preprocessing = &base.pictures().unwrap().preprocessing;
    let train = Dataset::open(data).unwrap().train.images;
    let some = train.iter().step_by((train.len() / 64).max(1)).take(64);
    let pixels: Vec<f32> = some.flat_map(|image| preprocessing.pixels(image).unwrap()).collect();
    let bytes: Vec<u8> = pixels.iter().flat_map(|pixel| pixel.to_le_bytes()).collect();
    let shape = [(pixels.len() / (28 * 28)) as u64, 1, 28, 28];
    let tensor = NamedTensor { name: "pixels", dtype: StoredDtype::F32, shape: &shape, bytes: &bytes };
    let mut file = Vec::new();
    write_tensors(&mut file, &[tensor]).unwrap();
    let path = folder.join(format!("{}.safetensors", data.file_name().unwrap().to_string_lossy()));
    fs::write(&path, file).unwrap();
    path
}

#[test]
fn skills_lose_at_most_a_point_on_the_quantized_handwriting_base_and_leave_its_bytes() {
    let (true, Some(python)) = (has_onnxruntime(), python()) else { return };
    let base = Base::read(&handwriting()).unwrap();
    let data = [("korean", "omniglot_korean"), ("sketches", "quickdraw3")]
        .map(|(skill, data)| (skill, handwriting().join("data").join(data)));
    let images_in = tempfile::tempdir().unwrap();
    let images = data.each_ref().map(|(_, data)| pixels_file(images_in.path(), &base, data));
    let bundle_of = handwriting();
    let models = exported(&python, "quantize.py", &[&bundle_of, &images[0], &images[1]]);
    let at = |name: &str| models.path().join(name);
    let accuracy = |base: &Path, skill: &str, data: &Path| -> f64 {
        let mut run = taskvec_device(&at("store"));
        run.args(["run", "--json", "--engine", "ort", "--allow-unsigned", "--base"]).arg(base).arg("--data").arg(data);
        let run = run.arg("--pack").arg(handwriting().join("skills").join(format!("{skill}.tvp")));
        100.0 * told(run).json(0)["accuracy"].as_f64().unwrap()
    };
    for (quantizer, points_lost_max) in POINTS_LOST_MAX {
        let quantized = at(quantizer);
        let of = handwriting().display().to_string();
        let made = bundle(&at(&format!("{quantizer}.onnx")), &quantized, &["--of", &of]).json(0);
        assert_eq!(made["not_recognized"], Value::Array(Vec::new()), "{quantizer}");
        for (skill, data) in &data {
            let [float, whole] = [&handwriting(), &quantized].map(|base| accuracy(base, skill, data));
            assert!(float - whole <= points_lost_max, "{skill} on {quantizer}: {whole} %, on floats {float} %");
        }
        let base = BaseModel::open(&quantized).unwrap();
        assert!(base.tensors().iter().filter(|tensor| tensor.quantization.is_some()).count() >= 17);
        comes_and_goes(&base, &handwriting().join("skills/sketches.tvp"));
    }
}

/// Attaching changes whole numbers of `base`, and detaching gives every byte back.
fn comes_and_goes(base: &BaseModel, pack: &Path) {
    let before = base.bytes().to_vec();
    let skill = Skill::open(pack, &PackLimits::default()).unwrap();
    let composed = |skills: Vec<(Skill, f32)>| {
        Composed::of(base, skills, &Trust::unsigned_too(), &CompositionLimits::default()).unwrap()
    };
    let with = composed(vec![(skill, 1.0)]);
    let is_other = |tensor: &&taskvec_runtime::BaseTensor| {
        with.weights().bytes()[tensor.place.clone()] != before[tensor.place.clone()]
    };
    let changed: Vec<_> = base.tensors().iter().filter(is_other).collect();
    assert!(changed.iter().any(|tensor| tensor.quantization.is_some()), "no whole number was changed");
    assert!(composed(Vec::new()).weights().bytes() == before && base.bytes() == before);
}

#[test]
fn real_models_of_both_exporters_of_pytorch_become_bases() {
    let (true, Some(python), Some(data)) = (has_onnxruntime(), pytorch(), shared_data()) else { return };
    let models = exported(&python, "pytorch.py", &[&data]);
    let at = |name: &str| models.path().join(name);
    for model in ["resnet20", "minilm"] {
        for exporter in ["script", "dynamo"] {
            let name = format!("{model}_{exporter}");
            let tuned = format!("{model}_tuned_{exporter}");
            let made = bundle(&at(&format!("{name}.onnx")), &at(&name), &[]).json(0);
            assert!(made["agreement"]["difference_max"].as_f64().unwrap() < 1e-4, "{made}");
            bundle(&at(&format!("{tuned}.onnx")), &at(&tuned), &[]).json(0);
            let inputs = at(&format!("{model}_inputs.safetensors"));
            let pack = at(&format!("{name}.tvp"));
            diff(&at(&name), &at(&format!("{tuned}.onnx")), &pack, &[]);
            let expected = answers(&at("store"), &at(&tuned), &inputs, &[]);
            assert!(answers(&at("store"), &at(&name), &inputs, &[&pack]) == expected, "{name}");
            if model == "minilm" {
                // A pack of the checkpoints goes to the same places.
                let (of, turned) = (at("minilm.safetensors"), at(&format!("{name}_of")));
                let made = bundle(&at(&format!("{name}.onnx")), &turned, &["--of", &of.display().to_string()]).json(0);
                assert_eq!((&made["turned"], &made["not_recognized"]), (&36.into(), &Value::Array(Vec::new())));
                let pack = at("checkpoints.tvp");
                diff(&of, &at("minilm_tuned.safetensors"), &pack, &[]);
                assert!(answers(&at("store"), &turned, &inputs, &[&pack]) == expected, "{name} of its checkpoint");
            }
        }
    }
}

#[test]
fn a_newcomer_is_told_what_is_wrong() {
    let Some(folder) = text() else { return };
    let at = |name: &str| folder.path().join(name);
    bundle(&at("missing.onnx"), &at("A"), &[]).refused(&["missing.onnx"]);
    bundle(&at("base.safetensors"), &at("A"), &[]).refused(&["not an ONNX model"]);
    bundle(&at("base.onnx"), &at("A"), &["--editable", "*decoder*"]).refused(&["`*decoder*` fits none of 7 weights"]);
    bundle(&at("base.onnx"), &at("A"), &["--size", "length=3"]).refused(&["no side of an input is called `length`"]);
    bundle(&at("infinite.onnx"), &at("A"), &[]).refused(&["the model answers with -inf"]);
    bundle(folder.path(), &at("A"), &["--name", "x"]).refused(&["is the run of a base", "--name"]);
    let other = handwriting().display().to_string();
    bundle(&at("base.onnx"), &at("A"), &["--of", &other]).refused(&["none of its 7 weights is a tensor of"]);
    assert!(!at("A").exists(), "what was refused left a folder");
    bundle(&at("base.onnx"), &at("A"), &[]).ended_with(0);
    bundle(&at("base.onnx"), &at("A"), &[]).refused(&["is there already"]);
    // Pictures are not what it takes, and arrays have to be its own.
    let mut run = taskvec_device(&at("store"));
    run.args(["run", "--engine", "ort", "--base"]).arg(at("A")).arg(handwriting().join("data/digits8x8")).arg("x.png");
    assert_ne!(told(&mut run).code, Some(0));
    let mut run = taskvec_device(&at("store"));
    run.args(["run", "--engine", "ort", "--base"]).arg(at("A")).arg("--inputs").arg(at("base.safetensors"));
    told(run.arg("--outputs").arg(at("out"))).refused(&["has no input `embed.weight`, its inputs are `ids`"]);
    let burn = told(taskvec_device(&at("store")).args(["info", "--engine", "burn", "--base"]).arg(at("A")));
    assert!(burn.stderr.contains("use ONNX Runtime") || burn.stdout.contains("use ONNX Runtime"), "{burn}");
}
