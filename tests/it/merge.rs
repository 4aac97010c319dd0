//! Merging by the real program: packs and checkpoints, into either; beside mergekit; and what a newcomer gets wrong.

use std::fs;
use std::process::Command;

use crate::places::{handwriting, mergekit, repository};
use crate::programs::{self, taskvec, told};

#[test]
fn two_skills_become_one_pack_that_is_their_sum() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let base = handwriting().join("model.safetensors");
    let skills = ["korean", "sketches"].map(|name| handwriting().join(format!("skills/{name}.tvp")));
    let recipe = format!(
        "merge_method: task_arithmetic\nbase_model: {}\nmodels:\n  - model: {}\n    parameters: {{weight: 0.5}}\n  - model: {}\n    parameters: {{weight: 0.25}}\n",
        base.display(),
        skills[0].display(),
        skills[1].display()
    );
    fs::write(at("both.yaml"), recipe).unwrap();
    let merge =
        |out: &str| told(taskvec().args(["merge", "--json"]).arg(at("both.yaml")).arg("-o").arg(at(out))).json(0);
    let merged = merge("both.tvp");
    assert_eq!((&merged["method"], &merged["models"]), (&"task_arithmetic".into(), &2.into()), "{merged}");
    let inspected = told(taskvec().args(["inspect", "--json"]).arg(at("both.tvp"))).json(0);
    assert_eq!((&inspected["name"], &inspected["method"]), (&"both".into(), &"Edit".into()), "{inspected}");
    merge("both.safetensors");
    // The same sum, made by the device's arithmetic of the two packs.
    let [korean, sketches] = skills.map(|path| path.display().to_string());
    for (packs, out) in [
        (vec![format!("{korean}@0.5"), format!("{sketches}@0.25")], "applied.safetensors"),
        (vec![at("both.tvp").display().to_string()], "of_the_merged.safetensors"),
    ] {
        told(taskvec().arg("apply").arg(&base).args(packs).arg("-o").arg(at(out))).ended_with(0);
    }
    let numbers = |name: &str| -> Vec<f32> {
        let bytes = fs::read(at(name)).unwrap();
        let file = taskvec_bundle::TensorFile::parse(&bytes).unwrap();
        let tensors = file.tensors().iter().flat_map(|it| it.bytes(&bytes).unwrap().to_vec()).collect::<Vec<u8>>();
        tensors.as_chunks().0.iter().map(|&word| f32::from_le_bytes(word)).collect()
    };
    let merged = numbers("both.safetensors");
    for other in ["applied.safetensors", "of_the_merged.safetensors"] {
        let off = merged.iter().zip(numbers(other)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off < 1e-6, "{other} is off by {off}");
    }
}

#[test]
fn what_is_wrong_with_a_recipe_is_said_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let (recipe, out) = (folder.path().join("x.yaml"), folder.path().join("x.tvp"));
    let merge = |text: &str| {
        fs::write(&recipe, text).unwrap();
        told(taskvec().arg("merge").arg(&recipe).arg("-o").arg(&out))
    };
    merge("merge_method: ties\nbase: a\nmodels: []\n").refused(&["line 2", "unknown key `base`"]);
    merge("merge_method: tie\nmodels: []\n").refused(&["line 1", "unknown value `tie`"]);
    merge("merge_method: ties\nbase_model: none.safetensors\nmodels: [{model: a, parameters: {weight: 1}}]\n")
        .refused(&["none.safetensors"]);
    told(taskvec().args(["merge", "missing.yaml", "-o"]).arg(&out)).refused(&["missing.yaml"]);
    assert!(!out.exists());
}

#[test]
fn the_same_recipes_give_mergekits_numbers() {
    let Some(python) = mergekit() else { return };
    let out = tempfile::tempdir().unwrap();
    let script = repository().join("tests/mergekit/compare.py");
    let compared = told(Command::new(python).arg(script).arg(programs::folder().join("taskvec")).arg(out.path()));
    compared.ended_with(0);
    assert_eq!(compared.stdout.lines().count(), 18, "{compared}");
}
