//! Packs within a budget, through the programs: the size or the error that was asked for, a skill that still works, and a
//! curve of what could have been had.

use std::fs;
use std::path::Path;

use crate::journey::{answered, trained};
use crate::places::{handwriting, shared_data};
use crate::programs::{taskvec, told};

#[test]
fn a_checkpoint_becomes_a_pack_of_the_size_or_error_that_was_asked_for() {
    let Some(shared) = shared_data() else { return };
    let pair = ["scale2.0x_model", "noise1_scale2.0x_model"]
        .map(|name| shared.join("pairs/waifu2x_upconv7_photo").join(format!("{name}.safetensors")));
    let folder = tempfile::tempdir().unwrap();
    let (pack, svg) = (folder.path().join("small.tvp"), folder.path().join("curve.svg"));
    let diff = |budget: &[&str], more: &[&Path]| {
        let mut diff = taskvec();
        told(diff.args(["diff", "--json"]).args(&pair).arg("-o").arg(&pack).args(budget).args(more))
    };

    let made = diff(&["--max-bytes", "100KiB", "--curve"], &[&svg]).json(0);
    let size = fs::metadata(&pack).unwrap().len();
    assert_eq!(made["pack_bytes"], size);
    assert!((90 << 10..=100 << 10).contains(&size), "{size} bytes");
    let error = made["error"].as_f64().expect("an error");
    assert!(0.1 < error && error < 0.9 && made["lossless"] == false, "{made}");
    let points = made["curve"].as_array().expect("a curve");
    let errors: Vec<f64> = points.iter().map(|point| point["error"].as_f64().expect("an error")).collect();
    assert!(errors.len() > 8 && errors.is_sorted(), "{errors:?}");
    let drawn = fs::read_to_string(&svg).unwrap();
    assert_eq!(drawn.matches("<circle").count(), points.len() + 1);
    let written = folder.path().join("written.safetensors");
    told(taskvec().arg("apply").arg(&pair[0]).arg(&pack).arg("-o").arg(&written)).ended_with(0);

    let key = folder.path().join("key");
    told(taskvec().args(["key", "new", "-o"]).arg(&key)).ended_with(0);
    let signed = diff(&["--max-bytes", "20KiB", "--sign"], &[&key]).json(0);
    assert!(signed["pack_bytes"].as_u64() <= Some(20 << 10), "the signature is in the budget: {signed}");

    let made = diff(&["--max-error", "0.05"], &[]).json(0);
    assert!(made["error"].as_f64().expect("an error") <= 0.05 && made["pack_bytes"].as_u64() > Some(size), "{made}");

    // (Three digits, since the budget stands in the pack.)
    let refused = diff(&["--max-bytes", "100"], &[]);
    refused.ended_with(2);
    let least = refused.stderr.split_once("without any entry it has ").expect("the least").1;
    let least = least.split_once(' ').expect("a number of bytes").0;
    // As many bytes are enough without a signature, and not with one.
    diff(&["--max-bytes", least], &[]).ended_with(0);
    diff(&["--max-bytes", least, "--sign"], &[&key]).ended_with(2);
    let before = fs::read(&pack).unwrap();
    for wrong in [
        &["--max-bytes", "10"][..],
        &["--max-bytes", "3KB"],
        &["--max-error", "7"],
        &["--max-error", "0.1", "--values", "int8"],
    ] {
        diff(wrong, &[]).ended_with(2);
    }
    diff(&["--curve"], &[&svg]).ended_with(2);
    assert_eq!(fs::read(&pack).unwrap(), before, "a pack that was refused took the place of another");
}

/// A third of the bytes, and the promises of the pack are those of the smaller one.
#[test]
fn a_skill_within_a_budget_still_answers_and_proves_itself() {
    let folder = tempfile::tempdir().unwrap();
    let data = handwriting().join("data/digits8x8");
    let whole = trained(folder.path(), &data);
    let most = fs::metadata(&whole).unwrap().len() / 3;
    let small = folder.path().join("small.tvp");
    let mut pack = taskvec();
    pack.args(["pack", "--json", "--max-bytes", &most.to_string()]).arg(folder.path().join("run"));
    let packed = told(pack.arg("-o").arg(&small)).json(0);
    assert!(packed["pack_bytes"].as_u64() <= Some(most), "{packed}");
    let promised = packed["pack_accuracy"]["test"].as_f64().expect("an accuracy");
    let found = answered(folder.path(), "burn", &small, &data);
    assert_eq!(found["accuracy"].as_f64(), Some(promised));
    assert!(promised > 0.5, "ten classes, {promised} right");
}

/// The smallest pack that holds an accuracy, its curve with accuracies, and no such thing where there is no data.
#[test]
fn a_pack_keeps_the_accuracy_that_was_asked_for_and_is_smaller_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let data = handwriting().join("data/digits8x8");
    let whole = trained(folder.path(), &data);
    let (small, svg) = (folder.path().join("small.tvp"), folder.path().join("curve.svg"));
    let pack = |drop: &str| {
        let mut pack = taskvec();
        pack.args(["pack", "--json", "--max-accuracy-drop", drop, "--curve"]).arg(&svg);
        told(pack.arg(folder.path().join("run")).arg("-o").arg(&small))
    };
    let packed = pack("2").json(0);
    let held_out = |accuracy: &serde_json::Value| accuracy["held_out"].as_f64().expect("held-out images");
    let (before, after) = (held_out(&packed["run_accuracy"]), held_out(&packed["pack_accuracy"]));
    assert!(before - after <= 0.02 + 1e-9, "{packed}");
    let size = fs::metadata(&small).unwrap().len();
    assert!(size * 3 < fs::metadata(&whole).unwrap().len() * 2, "{size} bytes");
    let points = packed["curve"].as_array().expect("a curve");
    assert!(points.len() > 8 && points.iter().all(|point| point["accuracy"].is_f64()), "{points:?}");
    let drawn = fs::read_to_string(&svg).unwrap();
    assert_eq!(drawn.matches("<circle").count(), 2 * (points.len() + 1));
    let found = answered(folder.path(), "burn", &small, &data);
    assert_eq!(found["accuracy"].as_f64(), packed["pack_accuracy"]["test"].as_f64());

    pack("101").ended_with(2);
    let mut diff = taskvec();
    diff.arg("diff").arg(handwriting()).arg(folder.path().join("run/tuned.safetensors"));
    let diff = told(diff.args(["--max-accuracy-drop", "1", "-o"]).arg(folder.path().join("x.tvp")));
    diff.refused(&["accuracy cannot be kept to without data"]);
}
