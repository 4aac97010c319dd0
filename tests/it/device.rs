//! A device over its life: attach, list, info, detach, each in a process of its own, with a store between them.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::places::handwriting;
use crate::programs::{Told, taskvec_device, told};
use crate::small_pack::{contents, diff, small_pack};

/// Runs a command that needs a base on the handwriting base, with the engine that is always there. Who has signed a pack is
/// the matter of `trust.rs`.
fn on_base(store: &Path, command: &str, subject: &[&Path]) -> Told {
    let mut device = taskvec_device(store);
    device.args([command, "--json", "--allow-unsigned", "--engine", "burn", "--base"]).arg(handwriting()).args(subject);
    told(&mut device)
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
