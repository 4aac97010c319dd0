//! The same server on ONNX Runtime: its answers, its changes, requests while it changes, and its end.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::{Value, json};

use super::client::Request;
use super::started::{Started, infer, letter, store};
use crate::places::{handwriting, has_onnxruntime};
use crate::programs::{taskvec_device, told};

/// Changes under load: each is prepared, proved and switched to while clients ask.
const CHANGES: usize = 60;

#[test]
fn it_answers_as_run_does_on_onnxruntime() {
    if !has_onnxruntime() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let image = letter(folder.path());
    let mut run = taskvec_device(&store);
    run.args(["run", "--json", "--engine", "ort", "--allow-unsigned", "--base"]).arg(handwriting());
    run.arg("--pack").arg(handwriting().join("skills/korean.tvp")).arg(&image);
    let expected = told(&mut run).json(0);

    let server = Started::on_engine("ort", &store);
    assert!(
        server.opened["engine"].as_str().is_some_and(|engine| engine.contains("ONNX Runtime")),
        "{}",
        server.opened
    );
    let of_base = server.ask(&infer("default", 2)).json(200);
    let attached = server.post("/compositions/default/attach", &json!({"pack": "korean"}));
    assert!(attached["touched_bytes"].as_u64() > Some(0), "{attached}");
    let png = Request::of("POST", "/compositions/default/infer").with_body("image/png", std::fs::read(&image).unwrap());
    let answered = server.ask(&png).json(200);
    assert_eq!(answered["composition"], expected["composition"]);
    for key in ["class", "label", "share"] {
        assert_eq!(answered["answers"][0][key], expected["answers"][0][key], "{key}");
    }
    let of_korean = server.ask(&infer("default", 2)).json(200);
    assert_ne!(of_korean["answers"], of_base["answers"], "the skill is felt");
    server.post("/compositions/default/detach", &json!({"skill": "korean"}));
    assert_eq!(server.ask(&infer("default", 2)).json(200), of_base, "to the last bit");
    server.stop();

    // What is in force has one name, whatever computes it.
    let on_burn = Started::on(&store, &[]);
    let of_burn = on_burn.post("/compositions/default/attach", &json!({"pack": "korean"}));
    assert_eq!(of_burn["composition"], attached["composition"]);
    on_burn.stop();
}

#[test]
fn on_onnxruntime_every_answer_is_that_of_the_digest_it_carries() {
    if !has_onnxruntime() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = Started::on_engine("ort", &store(folder.path()));
    let compositions =
        [json!([]), json!([{"pack": "korean"}]), json!([{"pack": "korean", "alpha": 0.5}, {"pack": "sketches"}])];
    let known: BTreeMap<String, Value> = compositions
        .iter()
        .map(|skills| {
            server.put("default", skills);
            let answered = server.ask(&infer("default", 2)).json(200);
            (answered["composition"].as_str().unwrap().to_owned(), answered["answers"].clone())
        })
        .collect();
    assert_eq!(known.len(), compositions.len());
    let is_over = AtomicBool::new(false);
    let answered: usize = thread::scope(|scope| {
        let client = || {
            let mut count = 0;
            while !is_over.load(Ordering::Relaxed) {
                let answered = server.ask(&infer("default", 2)).json(200);
                let digest = answered["composition"].as_str().unwrap();
                assert_eq!(Some(&answered["answers"]), known.get(digest), "{digest}");
                count += 1;
            }
            count
        };
        let clients = [scope.spawn(client), scope.spawn(client)];
        for skills in compositions.iter().cycle().take(CHANGES) {
            server.put("default", skills);
        }
        is_over.store(true, Ordering::Relaxed);
        clients.map(|client| client.join().expect("no client failed")).iter().sum()
    });
    assert!(answered > CHANGES / 10, "{answered} answers during {CHANGES} changes");
    let ended = server.stop();
    assert_eq!(ended["abandoned"], 0, "{ended}");
}
