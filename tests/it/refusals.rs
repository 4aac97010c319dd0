//! Everything that can be wrong with what a device is given: a message with its subject and a next step, and a composition
//! in force that stays as it was.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::places::handwriting;
use crate::programs::{Told, taskvec, taskvec_device, told};
use crate::small_pack::{contents, diff, small_pack};

/// A device with a skill in force, and a second pack that it could attach.
struct Device {
    folder: TempDir,
    store: PathBuf,
    pack: PathBuf,
}

impl Device {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("store");
        let [in_force, pack] = [("in-force", 0), ("other", 50)].map(|(name, at)| small_pack(folder.path(), name, at));
        let device = Self { folder, store, pack };
        told(&mut device.attach(&in_force)).ended_with(0);
        device
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Attaches with the engine that is always there.
    fn attach(&self, pack: &Path) -> Command {
        let mut command = self.on_base("attach");
        command.args(["--engine", "burn"]).arg(pack);
        command
    }

    fn on_base(&self, command: &str) -> Command {
        let mut device = taskvec_device(&self.store);
        device.args([command, "--allow-unsigned", "--base"]).arg(handwriting());
        device
    }

    fn list(&self) -> String {
        let listed = told(taskvec_device(&self.store).args(["list", "--json"]));
        listed.ended_with(0);
        listed.stdout
    }

    /// Fails unless each command is refused with these subjects and leaves the device as it was.
    fn refuses(&self, commands: Vec<Command>, subjects: &[&str]) {
        let before = (self.list(), contents(&self.store));
        let missing: Vec<String> = commands
            .into_iter()
            .filter_map(|mut command| {
                let refused = told(&mut command);
                assert_eq!((self.list(), contents(&self.store)), before, "the composition changed\n{refused}");
                refused.is_no_refusal_of(subjects)
            })
            .collect();
        assert!(missing.is_empty(), "{}", missing.join("\n\n"));
    }
}

/// Every command that opens a pack, on this one.
fn openings(device: &Device, pack: &Path) -> Vec<Command> {
    let mut commands = vec![device.attach(pack), device.on_base("run"), taskvec(), taskvec(), taskvec()];
    let data = handwriting().join("data/digits8x8");
    commands[1].args(["--engine", "burn", "--data"]).arg(&data).arg("--pack").arg(pack);
    commands[2].arg("run").arg(handwriting()).args(["--engine", "burn", "--data"]).arg(&data).arg("--pack").arg(pack);
    commands[3].arg("inspect").arg(pack);
    commands[4].arg("apply").arg(handwriting()).arg(pack).arg("-o").arg(device.path("applied.safetensors"));
    commands
}

#[test]
fn a_pack_for_another_base_is_refused_with_both_fingerprints() {
    let device = Device::new();
    let (other, tuned) = (device.path("in-force.safetensors"), device.path("back.safetensors"));
    fs::copy(handwriting().join("model.safetensors"), &tuned).unwrap();
    let pack = diff(&other, &tuned, "foreign");
    let info = told(device.on_base("info").args(["--json", "--engine", "burn"])).json(0);
    let inspected = told(taskvec().args(["inspect", "--json"]).arg(&pack)).json(0);
    let ours = info["fingerprint"].as_str().expect("a fingerprint");
    let theirs = inspected["base"].as_str().expect("a fingerprint");
    let mut openings = openings(&device, &pack);
    // Inspecting needs no base.
    openings.remove(3);
    device.refuses(openings, &["foreign", ours, theirs]);
}

#[test]
fn a_truncated_pack_is_refused_by_every_command() {
    let device = Device::new();
    let bytes = fs::read(&device.pack).unwrap();
    for length in [0, 8, 31, bytes.len() / 2, bytes.len() - 1] {
        let pack = device.path("truncated.tvp");
        fs::write(&pack, &bytes[..length]).unwrap();
        device.refuses(openings(&device, &pack), &["truncated.tvp"]);
    }
}

#[test]
fn a_pack_from_a_newer_version_is_refused_by_every_command() {
    let device = Device::new();
    let mut bytes = fs::read(&device.pack).unwrap();
    // FORMAT.md 4.1: the major version, and the checksum of the header without itself and of the section table.
    bytes[8] = 2;
    let sections = usize::from(bytes[12]);
    let checksum = taskvec_testkit::crc32(&[&bytes[..24], &bytes[28..32 + 24 * sections]]);
    bytes[24..28].copy_from_slice(&checksum.to_le_bytes());
    let pack = device.path("newer.tvp");
    fs::write(&pack, bytes).unwrap();
    device.refuses(openings(&device, &pack), &["newer.tvp", "version"]);
}

#[test]
fn each_single_flipped_byte_of_a_pack_is_noticed() {
    let device = Device::new();
    let bytes = fs::read(&device.pack).unwrap();
    let pack = device.path("flipped.tvp");
    let before = contents(&device.store);
    let mut wrong = Vec::new();
    for place in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[place] ^= 1 << (place % 8);
        fs::write(&pack, flipped).unwrap();
        let refused = told(&mut device.attach(&pack));
        wrong.extend(refused.is_no_refusal_of(&["flipped.tvp"]).map(|missing| format!("byte {place}: {missing}")));
    }
    assert!(wrong.is_empty(), "{} of {} bytes:\n{}", wrong.len(), bytes.len(), wrong.join("\n"));
    assert_eq!(contents(&device.store), before);
    // Nothing but the flipped byte was wrong.
    told(&mut device.attach(&device.pack)).ended_with(0);
}

#[test]
fn a_missing_onnx_runtime_library_is_named() {
    let device = Device::new();
    let library = device.path("nowhere/libonnxruntime.so");
    let mut commands = [device.on_base("attach"), device.on_base("run"), device.on_base("info"), taskvec()];
    commands[0].arg(&device.pack);
    commands[1].arg("--data").arg(handwriting().join("data/digits8x8"));
    commands[3].arg("run").arg(handwriting()).arg("--data").arg(handwriting().join("data/digits8x8"));
    for command in &mut commands {
        command.args(["--engine", "ort", "--onnxruntime"]).arg(&library);
    }
    device.refuses(commands.into(), &["ONNX Runtime", "libonnxruntime.so"]);
}

#[test]
fn an_alpha_that_is_no_finite_number_is_refused_by_every_command() {
    let device = Device::new();
    for alpha in ["NaN", "inf", "-inf"] {
        let pack = device.path(&format!("other.tvp@{alpha}"));
        let mut openings = openings(&device, &pack);
        // Inspecting takes a file and no alpha.
        openings.remove(3);
        device.refuses(openings, &["alpha", alpha]);
    }
}

#[test]
fn a_missing_data_folder_is_named() {
    let device = Device::new();
    let data = device.path("no-such-data");
    let mut on_device = device.on_base("run");
    on_device.args(["--engine", "burn", "--data"]).arg(&data).arg("--pack").arg(&device.pack);
    let mut run = taskvec();
    run.arg("run").arg(handwriting()).args(["--engine", "burn", "--data"]).arg(&data);
    let mut train = taskvec();
    train.arg("train").arg(handwriting().join("recipes/digits.yaml")).arg("--data").arg(&data);
    train.arg("-o").arg(device.path("run"));
    device.refuses(vec![on_device, run, train], &["no-such-data"]);
}

#[test]
fn a_recipe_with_a_misspelt_key_is_refused_with_its_line_and_the_key_that_was_meant() {
    let folder = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(handwriting().join("recipes/digits.yaml")).unwrap();
    let recipe = folder.path().join("misspelt.yaml");
    let trained = |text: String| -> Told {
        fs::write(&recipe, text).unwrap();
        let run = folder.path().join("run");
        let told = told(taskvec().arg("train").arg(&recipe).arg("-o").arg(&run));
        assert!(!run.exists(), "{told}");
        told
    };
    let line = text.lines().count() + 1;
    let top = trained(format!("{}\nlabel_smoothin: 0.1\n", text.trim_end()));
    top.refused(&["misspelt.yaml", "`label_smoothin`", &format!("line {line}")]);
    assert!(top.stderr.contains("did you mean `label_smoothing`?"), "{top}");
    let nested = trained(text.replace("learning_rate", "learnin_rate"));
    nested.refused(&["misspelt.yaml", "`learnin_rate`"]);
    assert!(nested.stderr.contains("did you mean `learning_rate`?"), "{nested}");
}
