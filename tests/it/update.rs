//! Updates on a device: made by one program, installed by the other, as if the pack had been fetched whole.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::places::{handwriting, left_out};
use crate::programs::{Told, taskvec, taskvec_device, told};
use crate::small_pack::{contents, small_pack};

/// Two versions of a skill with one mask, and the update from the first to the second.
struct Family {
    folder: TempDir,
    old: PathBuf,
    new: PathBuf,
    update: PathBuf,
}

impl Family {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let old = small_pack(folder.path(), "skill", 0);
        fs::rename(&old, folder.path().join("old.tvp")).unwrap();
        let (old, new) = (folder.path().join("old.tvp"), small_pack(folder.path(), "skill", 1));
        let update = folder.path().join("skill.tvu");
        let made = made(&new, &[&old], &update).json(0);
        assert_eq!(made["parents"][0]["is_needed"], true);
        Self { folder, old, new, update }
    }

    fn store(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn made(pack: &Path, parents: &[&Path], update: &Path) -> Told {
    let mut command = taskvec();
    command.args(["update", "--json"]).arg(pack).arg("-o").arg(update);
    for parent in parents {
        command.arg("--from").arg(parent);
    }
    told(&mut command)
}

fn install(store: &Path, file: &Path) -> Told {
    told(taskvec_device(store).args(["install", "--json", "--allow-unsigned"]).arg(file))
}

/// Everything that is installed, and nothing that was left aside.
fn packs(store: &Path) -> Vec<Vec<u8>> {
    let files = if store.is_dir() { contents(store) } else { Default::default() };
    assert!(files.keys().all(|path| !path.to_string_lossy().ends_with(".aside")), "{:?}", files.keys());
    files
        .into_iter()
        .filter(|(path, _)| path.extension().is_some_and(|end| end == "tvp"))
        .map(|(_, bytes)| bytes)
        .collect()
}

#[test]
fn an_installed_update_is_the_very_pack_that_it_was_made_of() {
    let family = Family::new();
    let store = family.store("store");
    install(&store, &family.old).ended_with(0);
    let installed = install(&store, &family.update).json(0);
    assert_eq!((&installed["name"], &installed["is_new"]), (&Value::from("skill"), &Value::from(true)));
    let whole = family.store("whole");
    assert_eq!(install(&whole, &family.new).json(0)["digest"], installed["digest"]);
    assert!(packs(&store).contains(&fs::read(&family.new).unwrap()));
    assert_eq!(install(&store, &family.update).json(0)["is_new"], false);

    // Attached as a file: the pack is then installed, too.
    let other = family.store("other");
    install(&other, &family.old).ended_with(0);
    let mut attach = taskvec_device(&other);
    attach.args(["attach", "--json", "--allow-unsigned", "--engine", "burn", "--base"]).arg(handwriting());
    let attached = told(attach.arg(&family.update)).json(0);
    assert_eq!(attached["composition"]["skills"][0]["digest"], installed["digest"]);
    assert_eq!(packs(&other), packs(&store));
}

#[test]
fn a_parent_that_is_missing_is_named_and_nothing_is_installed() {
    let family = Family::new();
    let store = family.store("store");
    let digest = |file: &Path| told(taskvec().args(["inspect", "--json"]).arg(file)).json(0)["digest"].clone();
    let [old, new] = [&family.old, &family.new].map(|file| digest(file).as_str().unwrap().to_owned());
    let refused = install(&store, &family.update);
    refused.refused(&["skill.tvu", &format!("`skill` ({old})"), "not installed"]);
    assert!(refused.stderr.contains(&format!("help: fetch pack `skill` itself ({new})")), "{refused}");
    assert!(packs(&store).is_empty());
    // A pack that is there and is no parent does not help.
    let third = small_pack(family.folder.path(), "third", 50);
    install(&store, &third).ended_with(0);
    install(&store, &family.update).refused(&[&old]);

    // A parent that was damaged on the disk.
    install(&store, &family.old).ended_with(0);
    let path = store.join("packs").join(format!("{old}.tvp"));
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last / 2] ^= 1;
    fs::remove_file(&path).unwrap();
    fs::write(&path, bytes).unwrap();
    install(&store, &family.update).refused(&["skill.tvu", &old]);
}

#[test]
fn no_bit_of_an_update_can_be_flipped() {
    let family = Family::new();
    let store = family.store("store");
    install(&store, &family.old).ended_with(0);
    let before = contents(&store);
    let update = fs::read(&family.update).unwrap();
    let flipped = family.folder.path().join("flipped.tvu");
    // A process for each bit takes long; the crate's own tests try every bit.
    for byte in (0..update.len()).step_by(update.len() / 40) {
        let mut bytes = update.clone();
        bytes[byte] ^= 1 << (byte % 8);
        fs::write(&flipped, bytes).unwrap();
        install(&store, &flipped).refused(&["flipped.tvu"]);
    }
    fs::write(&flipped, &update[..update.len() - 1]).unwrap();
    install(&store, &flipped).refused(&["flipped.tvu", "checksum"]);
    assert_eq!(contents(&store), before);
}

#[test]
fn trust_is_asked_of_the_pack_that_an_update_makes() {
    let family = Family::new();
    let (store, key) = (family.store("store"), family.folder.path().join("me.key"));
    install(&store, &family.old).ended_with(0);
    told(taskvec().args(["key", "new", "-o"]).arg(&key)).ended_with(0);
    told(taskvec_device(&store).args(["trust", "add"]).arg(key.with_extension("pub"))).ended_with(0);
    let strict = |file: &Path| told(taskvec_device(&store).args(["install", "--json"]).arg(file));
    strict(&family.update).refused(&["not signed"]);
    let signed = family.folder.path().join("signed.tvp");
    told(taskvec().arg("sign").arg(&family.new).arg("--key").arg(&key).arg("-o").arg(&signed)).ended_with(0);
    made(&signed, &[&family.old], &family.update).ended_with(0);
    assert_eq!(strict(&family.update).json(0)["is_new"], true);
    assert!(packs(&store).contains(&fs::read(&signed).unwrap()), "with its signature");
}

#[test]
fn an_update_without_parents_needs_none_and_a_useless_parent_is_said() {
    let family = Family::new();
    let store = family.store("store");
    let korean = handwriting().join("skills/korean.tvp");
    let alone = made(&korean, &[], &family.update).json(0);
    assert_eq!(alone["zstd_patch_bytes"], Value::Null);
    assert!(alone["update_bytes"].as_u64() < alone["zstd_bytes"].as_u64(), "{alone}");
    assert_eq!(install(&store, &family.update).json(0)["is_new"], true);
    assert_eq!(packs(&store), [fs::read(&korean).unwrap()]);
    let useless = made(&korean, &[&family.old], &family.update);
    assert_eq!(useless.json(3)["parents"][0]["is_needed"], false);
    assert!(useless.stderr.contains("warning: nothing of `skill`"), "{useless}");
    made(&family.update, &[], &family.store("again.tvu")).refused(&["skill.tvu"]);
}

#[test]
fn an_install_that_is_killed_leaves_no_half_of_a_pack() {
    let traced = Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).status();
    if !traced.is_ok_and(|status| status.success()) {
        left_out("an install that is killed (no strace, or it may not trace)");
        return;
    }
    let family = Family::new();
    let whole = fs::read(&family.new).unwrap();
    let mut kills = 0;
    for (call, count) in [("openat", 60), ("write", 12), ("fsync", 6), ("rename", 2), ("flock", 2)] {
        for at in (1..=count).step_by(1 + count / 12) {
            let store = family.store(&format!("{call} {at}"));
            install(&store, &family.old).ended_with(0);
            let device = {
                let mut device = taskvec_device(&store);
                device.args(["install", "--allow-unsigned"]).arg(&family.update);
                device
            };
            let mut killed = Command::new("strace");
            killed.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("inject={call}:signal=KILL:when={at}")]);
            let told_of = told(killed.arg(device.get_program()).args(device.get_args()));
            kills += usize::from(told_of.code != Some(0));
            let files = contents(&store);
            let there = files.iter().filter(|(path, _)| path.extension().is_some_and(|end| end == "tvp"));
            let new = there.filter(|(_, bytes)| **bytes != fs::read(&family.old).unwrap());
            assert!(new.into_iter().all(|(_, bytes)| *bytes == whole), "{told_of}");
            let doctor = told(taskvec_device(&store).arg("doctor"));
            assert!(matches!(doctor.code, Some(0 | 3)), "at most something is left aside: {doctor}");
            install(&store, &family.update).ended_with(0);
        }
    }
    assert!(kills > 10, "only {kills} kills");
}

/// A run of a few steps for digits, packed: its file, and what training said.
fn trained(folder: &Path, name: &str, settings: &str, words: &[&str]) -> (PathBuf, Told) {
    let recipe = folder.join(format!("{name}.yaml"));
    let base = handwriting();
    let text = format!(
        "name: digits\nbase: {0}\ndata: {0}/data/digits8x8\nsteps: 4\npack: {{values: int8, probes: 1}}\n{settings}",
        base.display()
    );
    fs::write(&recipe, text).unwrap();
    let run = folder.join(name);
    let trained = told(taskvec().args(["train", "--json"]).arg(&recipe).args(words).arg("-o").arg(&run));
    let pack = run.with_extension("tvp");
    if trained.code == Some(0) {
        told(taskvec().arg("pack").arg(&run).arg("-o").arg(&pack)).ended_with(0);
    }
    (pack, trained)
}

#[test]
fn a_new_version_trained_on_the_mask_of_the_old_one_sends_no_mask() {
    let folder = tempfile::tempdir().unwrap();
    let random = "method: random_mask\nmask: {density: 0.05, granule: element}\n";
    let (old, first) = trained(folder.path(), "old", random, &[]);
    assert_eq!(first.json(0)["mask"].get("shared"), None);
    let old_digest = told(taskvec().args(["inspect", "--json"]).arg(&old)).json(0)["digest"].clone();
    let mask = old.to_str().unwrap();
    let (new, second) = trained(folder.path(), "new", random, &["--mask", mask, "--seed", "5"]);
    let second = second.json(0);
    assert_eq!(second["mask"]["shared"]["pack"], old_digest);
    assert_eq!(second["mask"]["entries"], first.json(0)["mask"]["entries"]);
    let inspected = told(taskvec().args(["inspect", "--json"]).arg(&new)).json(0);
    assert_eq!(inspected["granule"], "Element");
    let streams = |pack: &[u8]| -> Vec<(String, Vec<u8>)> {
        let pack = taskvec_pack::Pack::read(pack, &taskvec_pack::Limits::default()).unwrap();
        assert!((pack.manifest().density - 0.05).abs() < 1e-6);
        pack.tensors().map(|tensor| (tensor.name().to_owned(), tensor.index_bytes().to_vec())).collect()
    };
    let masks = streams(&fs::read(&old).unwrap());
    assert_eq!(streams(&fs::read(&new).unwrap()), masks);
    let mask_bytes: usize = masks.iter().map(|(_, stream)| stream.len()).sum();
    let update = made(&new, &[&old], &folder.path().join("new.tvu")).json(0);
    assert!(update["copied_bytes"].as_u64().unwrap() >= mask_bytes as u64, "{update}");
    assert!(update["summed_bytes"].as_u64().unwrap() > 0, "{update}");

    // The same recipe with the mask of another pack is another run, and a mask is of one base.
    let (_, other) = trained(folder.path(), "new", random, &["--mask", new.to_str().unwrap(), "--seed", "5"]);
    other.refused(&["another mask"]);
    let (_, nothing) = trained(folder.path(), "nothing", "method: shared_mask\n", &[]);
    nothing.refused(&["`mask.from` names no pack"]);
    let foreign = folder.path().join("foreign.tvp");
    let tuned = folder.path().join("old/tuned.safetensors");
    let model = handwriting().join("model.safetensors");
    told(taskvec().arg("diff").arg(&tuned).arg(&model).arg("-o").arg(&foreign)).ended_with(0);
    let (_, refused) = trained(folder.path(), "refused", random, &["--mask", foreign.to_str().unwrap()]);
    refused.refused(&["foreign.tvp", "is for base"]);
}
