//! Does the demo do what it says, and do the commands that it recommends work on the files that it leaves?

use std::fs;

use crate::programs::{taskvec, taskvec_device, told};

#[test]
fn the_demo_halves_the_errors_restores_the_base_and_leaves_files_for_the_next_commands() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("demo");
    let shown = told(taskvec().args(["demo", "--json", "--out"]).arg(&out)).json(0);

    let share = |key: &str| {
        let share = shown[key].as_f64().unwrap_or_else(|| panic!("`{key}` is no number: {shown}"));
        assert!((0.0..=1.0).contains(&share), "`{key}` is {share}");
        share
    };
    let (base, attached, detached) = (share("base_accuracy"), share("attached_accuracy"), share("detached_accuracy"));
    assert!(1.0 - attached <= (1.0 - base) / 2.0, "the skill does not halve the errors: {base} to {attached}");
    assert_eq!(detached, base, "detached, the base answers as before");
    assert_eq!(shown["base_restored"], true);
    // Every skill on its own task: the diagonal under the base's row.
    let rows = shown["rows"].as_array().expect("rows");
    for task in 0..rows.len() - 1 {
        let errors = |row: usize| 1.0 - rows[row]["accuracy"][task].as_f64().expect("an accuracy for each task");
        assert!(errors(task + 1) <= errors(0) / 2.0, "{} does not halve the errors", rows[task + 1]["composition"]);
    }
    assert!(rows.len() > 3, "at least three skills on one base, found {} rows", rows.len());

    let (pack, home) = (out.join("digits.tvp"), out.join("handwriting"));
    let data = home.join("data/digits8x8");
    for (key, path) in [("pack_bytes", &pack), ("base_bytes", &home.join("model.safetensors"))] {
        assert_eq!(shown[key].as_u64(), Some(fs::metadata(path).unwrap().len()), "{key}");
    }
    assert!(fs::read_to_string(out.join("demo.svg")).unwrap().contains("<svg"));

    // The demo's packs are signed with a key of its own, which a device can pin.
    let store = folder.path().join("store");
    told(taskvec_device(&store).args(["trust", "add"]).arg(out.join("demo.pub"))).ended_with(0);
    let carried = home.join("skills/korean.tvp");
    for signed in [&pack, &carried] {
        let mut attach = taskvec_device(&store);
        told(attach.args(["attach", "--engine", "burn", "--base"]).arg(&home).arg(signed)).ended_with(0);
    }

    let inspected = told(taskvec().args(["inspect", "--json"]).arg(&pack)).json(0);
    assert_eq!(inspected["name"], "digits");
    assert_eq!(inspected["pack_bytes"], shown["pack_bytes"]);
    assert!(told(taskvec().arg("inspect").arg(&pack)).stdout.contains("times the bound"));

    let mut run = taskvec();
    run.args(["run", "--json", "--engine", "burn"]).arg(&home).arg("--pack").arg(&pack).arg("--data").arg(&data);
    let ran = told(&mut run).json(0);
    assert_eq!(ran["accuracy"], shown["attached_accuracy"], "the same engine, base, skill and images");
    let as_recommended = told(taskvec().arg("run").arg(&home).arg("--pack").arg(&pack).arg("--data").arg(&data));
    as_recommended.ended_with(0);
    assert!(as_recommended.stdout.contains("test images right"), "{as_recommended}");
}

#[test]
fn the_demo_replaces_nothing_that_is_not_a_demos() {
    let folder = tempfile::tempdir().unwrap();
    let mine = folder.path().join("thesis.txt");
    fs::write(&mine, "years of work").unwrap();
    let refused = told(taskvec().args(["demo", "--out"]).arg(folder.path()));
    assert_eq!(refused.code, Some(1), "{refused}");
    assert_eq!(fs::read_to_string(&mine).unwrap(), "years of work");
}
