//! Training with rounded deltas, through the programs: what training evaluated is what the pack gives on a device.

use std::fs;

use serde_json::json;

use crate::journey::answered;
use crate::places::handwriting;
use crate::programs::{taskvec, told};

#[test]
fn what_was_evaluated_is_what_ships() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let data = handwriting().join("data/digits8x8");
    let (recipe, run, pack) = (at("recipe.yaml"), at("run"), at("skill.tvp"));
    let text = json!({
        "name": "rounded", "base": handwriting(), "data": data, "method": "talos", "mask": {"density": 0.1}, "steps": 40,
        "optimizer": {"learning_rate": 3e-3, "weight_decay": 0}, "pack": {"alpha_range": [0, 1]},
    });
    fs::write(&recipe, text.to_string()).unwrap();
    let train = |values: &str| told(taskvec().args(["train", "--values", values]).arg(&recipe).arg("-o").arg(&run));

    // Nobody has to guess what went wrong.
    let typo = train("int5");
    typo.ended_with(2);
    assert!(typo.stderr.contains("int5") && typo.stderr.contains("int4"), "{typo}");
    let lossless = train("lossless");
    lossless.ended_with(2);
    assert!(lossless.stderr.contains("`in_training`") && lossless.stderr.contains("help: "), "{lossless}");
    assert!(!run.exists(), "a refused run left a folder");

    let trained = train("int4");
    trained.ended_with(0);
    assert!(trained.stdout.contains("with the skill in int4"), "{trained}");
    let measured: serde_json::Value = serde_json::from_slice(&fs::read(run.join("run.json")).unwrap()).unwrap();
    let accuracy = &measured["accuracy"]["test"];
    let pack_of_run =
        |more: &[&str]| told(taskvec().args(["pack", "--json"]).arg(&run).arg("-o").arg(&pack).args(more));
    let packed = pack_of_run(&[]);
    assert!(!packed.stderr.contains("again"), "{packed}");
    let packed = packed.json(0);
    assert_eq!((&packed["trained_with"], &packed["as_trained"]), (&json!("int4"), &json!(true)));
    assert_eq!(&packed["pack_accuracy"]["test"], accuracy);
    assert_eq!(&answered(folder.path(), "burn", &pack, &data)["accuracy"], accuracy, "on a device");
    let applied = at("applied.safetensors");
    told(taskvec().arg("apply").arg(handwriting()).arg(&pack).arg("-o").arg(&applied)).ended_with(0);
    assert!(fs::read(applied).unwrap() == fs::read(run.join("tuned.safetensors")).unwrap(), "other weights");

    // Packed in another way it is no longer so, and that is said.
    for (more, said) in [
        (&["--values", "sign"][..], "rounded to int4; the pack rounds them again, to sign"),
        (&["--values", "lossless"], "the distances to the weights that these made, bit for bit"),
        (&["--max-bytes", "40KiB"], "the budget rounds them again"),
    ] {
        let packed = pack_of_run(more);
        assert!(packed.stderr.contains(said), "{packed}");
        assert_eq!(packed.json(0)["as_trained"], false);
    }

    // The folder is that of a run in int4, and stays it.
    let other = train("int8");
    other.ended_with(1);
    assert!(other.stderr.contains("another recipe") && other.stderr.contains("help: "), "{other}");
}
