//! A device over its life: attach, list, info, detach, each in a process of its own, with a store between them.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::places::{handwriting, has_onnxruntime};
use crate::programs::{Told, running, taskvec_device, told};
use crate::small_pack::{contents, diff, small_pack};

/// A command that needs a base, on the handwriting base, with the engine that is always there. Who has signed a pack is the
/// matter of `trust.rs`.
fn with_base(store: &Path, command: &str, subject: &[&Path]) -> Command {
    let mut device = taskvec_device(store);
    device.args([command, "--json", "--allow-unsigned", "--engine", "burn", "--base"]).arg(handwriting()).args(subject);
    device
}

fn on_base(store: &Path, command: &str, subject: &[&Path]) -> Told {
    told(&mut with_base(store, command, subject))
}

/// Runs a command that needs none.
fn on_store(store: &Path, words: &[&str]) -> Told {
    told(taskvec_device(store).arg("--json").args(words))
}

/// Name and alpha of each installed pack; none for one that is not in force.
fn listed(store: &Path) -> Vec<(String, Option<f64>)> {
    let listed = told(taskvec_device(store).args(["list", "--json"])).json(0);
    let line = |pack: &Value| (pack["name"].as_str().expect("a name").to_owned(), pack["alpha"].as_f64());
    listed.as_array().expect("a list").iter().map(line).collect()
}

fn composition(store: &Path) -> Value {
    on_base(store, "info", &[]).json(0)["composition"].clone()
}

#[test]
fn skills_come_and_go_and_the_base_alone_is_what_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let [first, second] = [("first", 0), ("second", 100)].map(|(name, at)| small_pack(folder.path(), name, at));
    let alone = composition(&store);
    assert!(listed(&store).is_empty());

    let attached = on_base(&store, "attach", &[&first]).json(0);
    assert_eq!(attached["composition"], composition(&store), "the next process has in force what this one attached");
    assert_eq!(attached["entries"], 3);
    assert_eq!(listed(&store), [("first".to_owned(), Some(1.0))]);

    let at_alpha = second.with_file_name("second.tvp@-0.5");
    let both = on_base(&store, "attach", &[&at_alpha]).json(0);
    assert_eq!(listed(&store), [("first".to_owned(), Some(1.0)), ("second".to_owned(), Some(-0.5))]);

    let other_order = folder.path().join("other-order");
    on_base(&other_order, "attach", &[&at_alpha]).ended_with(0);
    on_base(&other_order, "attach", &[&first]).ended_with(0);
    assert_eq!(composition(&other_order)["digest"], both["composition"]["digest"], "the order does not matter");

    let detached = on_base(&store, "detach", &[Path::new("second")]).json(0);
    assert_eq!(detached["composition"], attached["composition"]);
    assert_eq!(listed(&store), [("first".to_owned(), Some(1.0)), ("second".to_owned(), None)]);
    let digest = attached["composition"]["skills"][0]["digest"].as_str().expect("a digest").to_owned();
    on_base(&store, "detach", &[Path::new(&digest[..16])]).ended_with(0);
    assert_eq!(composition(&store), alone);
    assert_eq!(listed(&store), [("first".to_owned(), None), ("second".to_owned(), None)]);
}

#[test]
fn an_attach_that_fails_leaves_every_byte_of_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let good = small_pack(folder.path(), "good", 0);
    on_base(&store, "attach", &[&good]).ended_with(0);
    let before = contents(&store);

    let foreign = {
        let path = folder.path().join("foreign.safetensors");
        fs::copy(folder.path().join("good.safetensors"), &path).unwrap();
        // The tuned model is another base than the one it was tuned from.
        let model = handwriting().join("model.safetensors");
        fs::copy(&model, folder.path().join("model.safetensors")).unwrap();
        diff(&path, &folder.path().join("model.safetensors"), "foreign")
    };
    let truncated = folder.path().join("truncated.tvp");
    let bytes = fs::read(&good).unwrap();
    fs::write(&truncated, &bytes[..bytes.len() - 1]).unwrap();
    let missing = folder.path().join("missing.tvp");
    for wrong in [&foreign, &truncated, &missing, &good] {
        let refused = on_base(&store, "attach", &[wrong]);
        assert!(matches!(refused.code, Some(1 | 2)), "{refused}");
        assert!(refused.stderr.starts_with("error: "), "{refused}");
        assert_eq!(contents(&store), before, "{refused}");
    }
}

#[test]
fn what_is_not_in_force_cannot_be_detached() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    on_base(&store, "attach", &[&small_pack(folder.path(), "good", 0)]).ended_with(0);
    let before = contents(&store);
    let refused = on_base(&store, "detach", &[Path::new("better")]);
    assert_eq!(refused.code, Some(2), "{refused}");
    for name in ["`better`", "`good`"] {
        assert!(refused.stderr.contains(name), "{refused}");
    }
    assert_eq!(contents(&store), before);
}

#[test]
fn a_pack_is_installed_attached_by_name_rolled_back_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let pack = small_pack(folder.path(), "skill", 0);
    let pack = pack.to_str().unwrap();
    for is_new in [true, false] {
        assert_eq!(on_store(&store, &["install", "--allow-unsigned", pack]).json(0)["is_new"], is_new);
    }
    assert_eq!(listed(&store), [("skill".to_owned(), None)]);
    let alone = composition(&store);

    let attached = on_base(&store, "attach", &[Path::new("skill@0.5")]).json(0);
    assert_eq!(attached["composition"]["skills"][0]["alpha"], 0.5);
    let refused = on_store(&store, &["remove", "skill"]);
    refused.refused(&["in force"]);
    assert_eq!(refused.code, Some(2), "{refused}");

    let back = on_store(&store, &["rollback"]).json(0);
    assert_eq!(back["to"], serde_json::json!([]));
    assert_eq!(composition(&store), alone);
    on_store(&store, &["rollback"]).refused(&["nothing is kept"]);
    on_store(&store, &["remove", "skill"]).ended_with(0);
    assert!(listed(&store).is_empty());
    on_store(&store, &["install", "--allow-unsigned", pack]).ended_with(0);
    let collected = on_store(&store, &["gc"]).json(0);
    assert_eq!(collected["packs"].as_array().map(Vec::len), Some(1));
    assert!(listed(&store).is_empty());
}

/// What the doctor says about each thing that is not well.
fn complaints(report: &Value) -> Vec<String> {
    let checks = report["checks"].as_array().expect("checks");
    let unwell = checks.iter().filter(|check| check["status"] != "ok");
    unwell.map(|check| format!("{}: {}", check["subject"], check["reason"])).collect()
}

#[test]
fn the_doctor_finds_a_damaged_pack_and_a_boot_goes_on_with_what_was_before() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    assert!(complaints(&on_store(&store, &["doctor"]).json(0)).is_empty(), "nothing is nothing wrong");
    on_base(&store, "attach", &[&small_pack(folder.path(), "first", 0)]).ended_with(0);
    let both = on_base(&store, "attach", &[&small_pack(folder.path(), "second", 100)]).json(0);
    let well = on_base(&store, "doctor", &[]).json(0);
    assert!(complaints(&well).is_empty(), "{well}");
    assert!(well["checks"].to_string().contains("\"boot\""), "{well}");

    let skills = both["composition"]["skills"].as_array().unwrap();
    let second = skills.iter().find(|skill| skill["name"] == "second").unwrap();
    let path = store.join("packs").join(format!("{}.tvp", second["digest"].as_str().unwrap()));
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::remove_file(&path).unwrap();
    fs::write(&path, bytes).unwrap();

    let complaints = complaints(&on_base(&store, "doctor", &[]).json(1));
    assert_eq!(complaints.len(), 3, "the pack, the composition and the boot: {complaints:?}");
    let data = handwriting().join("data/digits8x8");
    for failures in 1..=4 {
        let ran = on_base(&store, "run", &[Path::new("--head"), Path::new("handwriting"), Path::new("--data"), &data]);
        assert_eq!(ran.code, Some(3), "{ran}");
        assert!(ran.stderr.contains("warning: passed over"), "{ran}");
        let report = on_store(&store, &["doctor"]).json(1);
        let told = format!("{} of 3 failures", failures.min(3));
        let committed = report["checks"].as_array().unwrap();
        let committed = committed.iter().find(|check| check["subject"] == "committed composition").unwrap();
        assert!(committed["reason"].to_string().contains(&told), "{committed}");
    }
    on_store(&store, &["rollback"]).ended_with(0);
    assert_eq!(listed_whole(&store), ["first"]);
}

/// The names of the packs that can be read.
fn listed_whole(store: &Path) -> Vec<String> {
    let listed = on_store(store, &["list"]).json(0);
    let names = listed.as_array().expect("a list").iter();
    names.filter_map(|pack| pack["name"].as_str().map(str::to_owned)).collect()
}

#[test]
fn packed_weights_are_kept_in_the_store_and_nothing_needs_them() {
    if !has_onnxruntime() || !cfg!(target_os = "linux") {
        return;
    }
    let store = tempfile::tempdir().unwrap();
    let run = |command: &str, subject: &[&str]| {
        let mut device = taskvec_device(store.path());
        device.args([command, "--json", "--allow-unsigned", "--engine", "ort", "--tier", "packed", "--base"]);
        told(device.arg(handwriting()).args(subject)).json(0)
    };
    let korean = handwriting().join("skills/korean.tvp");
    run("attach", &[korean.to_str().expect("a path in UTF-8")]);
    let packed = store.path().join("packed");
    assert!(packed.is_dir());
    on_store(store.path(), &["gc"]).ended_with(0);
    let in_force = run("info", &[]);
    assert_eq!(in_force["engine_report"]["tier"], "packed");
    fs::remove_dir_all(&packed).unwrap();
    let doctor = run("doctor", &[]);
    assert_eq!(doctor["providers"][0]["used"], "packed");
    assert!(packed.is_dir(), "made again");
    assert_eq!(run("info", &[])["composition"], in_force["composition"]);
}

#[test]
fn two_processes_that_attach_at_once_come_one_after_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let [first, second] = [("first", 0), ("second", 100)].map(|(name, at)| small_pack(folder.path(), name, at));
    for round in 0..3 {
        let store = folder.path().join(format!("store {round}"));
        let two = [&first, &second].map(|pack| running(with_base(&store, "attach", &[pack])));
        for attached in two {
            attached.told().ended_with(0);
        }
        assert_eq!(listed(&store), [("first".to_owned(), Some(1.0)), ("second".to_owned(), Some(1.0))]);

        let two = [Path::new("first@2"), Path::new("first@3")];
        on_base(&store, "detach", &[Path::new("first")]).ended_with(0);
        let mut codes = two.map(|pack| running(with_base(&store, "attach", &[pack]))).map(|two| two.told().code);
        codes.sort_unstable();
        assert_eq!(codes, [Some(0), Some(2)], "one was first, and for the other it is in force already");
        let alpha = listed(&store)[0].1;
        assert!([Some(2.0), Some(3.0)].contains(&alpha), "{alpha:?}");
        on_store(&store, &["doctor"]).ended_with(0);
    }
}
