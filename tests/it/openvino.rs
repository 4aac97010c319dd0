//! An accelerator on a device: OpenVINO asked for, proved, used for a skill that comes and goes; and the same device when the
//! library with OpenVINO has been taken away.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::places::{handwriting, has_onnxruntime, openvino};
use crate::programs::{Told, taskvec_device, told};

/// Runs a command on the handwriting base with OpenVINO preferred, on this ONNX Runtime or on the usual one.
fn on_openvino(store: &Path, command: &str, library: Option<&PathBuf>, more: &[&str]) -> Told {
    let mut device = taskvec_device(store);
    device.args([command, "--json", "--allow-unsigned", "--engine", "ort"]);
    device.args(["--provider", "openvino,cpu", "--base"]).arg(handwriting());
    if let Some(library) = library {
        device.arg("--onnxruntime").arg(library);
    }
    told(device.args(more))
}

fn check<'a>(doctor: &'a Value, subject: &str) -> &'a Value {
    let checks = doctor["checks"].as_array().expect("a list");
    checks.iter().find(|check| check["subject"] == subject).unwrap_or_else(|| panic!("no check of {subject}: {doctor}"))
}

fn tier<'a>(doctor: &'a Value, provider: usize, name: &str) -> &'a Value {
    let tiers = doctor["providers"][provider]["tiers"].as_array().expect("a list");
    tiers.iter().find(|tier| tier["tier"] == name).unwrap_or_else(|| panic!("no tier {name}: {doctor}"))
}

#[test]
fn a_skill_comes_and_goes_on_openvino_and_doctor_shows_it() {
    let Some(library) = openvino() else { return };
    let store = tempfile::tempdir().unwrap();
    let run = |command: &str, more: &[&str]| on_openvino(store.path(), command, Some(&library), more);

    let doctor = run("doctor", &[]).json(0);
    assert_eq!(doctor["providers"][0]["used"], "bare_inputs", "{doctor}");
    assert_eq!(tier(&doctor, 0, "inputs")["felt"], false, "OpenVINO takes the defaults of inputs for constants");
    for name in ["bare_inputs", "rebuild"] {
        let tier = tier(&doctor, 0, name);
        assert_eq!((&tier["felt"], &tier["restored"]), (&true.into(), &true.into()), "{tier}");
    }
    assert_eq!(doctor["providers"][1]["used"], "inputs", "{doctor}");
    assert_eq!(check(&doctor, "engine")["status"], "ok");

    let alone = run("info", &[]).json(0);
    assert_eq!(alone["engine_report"]["provider"], "openvino");
    let pack = handwriting().join("skills/korean.tvp");
    let attached = run("attach", &[pack.to_str().expect("a path in UTF-8")]).json(0);
    assert_eq!(attached["proof"]["kind"], "probes", "{attached}");
    assert_ne!(attached["composition"]["digest"], alone["composition"]["digest"]);
    // A boot in the rebuild tier brings the same into force.
    let rebuilt = run("info", &["--tier", "rebuild"]).json(0);
    assert_eq!(rebuilt["engine_report"]["tier"], "rebuild");
    assert_eq!(rebuilt["composition"], attached["composition"]);
    run("detach", &["korean"]).ended_with(0);
    assert_eq!(run("info", &[]).json(0)["composition"], alone["composition"]);
}

#[test]
fn without_openvinos_library_the_cpu_computes_and_doctor_says_why() {
    if !has_onnxruntime() {
        return;
    }
    let store = tempfile::tempdir().unwrap();
    let doctor = on_openvino(store.path(), "doctor", None, &[]).json(3);
    let engine = check(&doctor, "engine");
    assert_eq!(engine["status"], "warning");
    let why = "without this execution provider";
    for check in [engine, check(&doctor, "provider openvino")] {
        assert!(check["reason"].as_str().is_some_and(|reason| reason.contains(why)), "{check}");
    }
    assert_eq!(check(&doctor, "provider cpu")["status"], "ok");

    let info = on_openvino(store.path(), "info", None, &[]).json(0);
    assert_eq!(info["engine_report"]["provider"], "cpu");
    assert_eq!(info["engine_report"]["fallbacks"][0]["tried"], "openvino");
}
