//! The real server over real sockets: what it answers, what it refuses, under load, and how it ends.
#![cfg(unix)]

mod client;
mod doors;
mod limits;
mod load;
mod manual;
mod onnxruntime;
mod started;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use self::client::Request;
use self::started::{Started, floats, infer, letter, pixels, store};
use crate::places::handwriting;
use crate::programs::{taskvec_device, told};

#[test]
fn every_endpoint_answers() {
    let folder = tempfile::tempdir().unwrap();
    let server = Started::on(&store(folder.path()), &[]);
    assert_eq!(server.get("/healthz")["status"], "alive");
    let packs = server.get("/packs");
    let digest = |name: &str| {
        let pack = packs.as_array().unwrap().iter().find(|pack| pack["name"] == name).expect("it is installed");
        pack["digest"].as_str().expect("a digest").to_owned()
    };
    let base = server.get("/compositions/default");
    assert_eq!(base["skills"], json!([]));
    assert_eq!(server.get("/readyz"), json!({"status": "ready", "composition": base["digest"]}));

    let attached = server.post("/compositions/default/attach", &json!({"pack": "korean"}));
    assert_eq!(attached["composition"]["skills"][0]["digest"], digest("korean"));
    assert!(attached["touched_bytes"].as_u64() > Some(0), "{attached}");
    let by_digits = json!({"pack": &digest("sketches")[..12], "alpha": -0.5});
    let both = server.post("/compositions/default/attach", &by_digits)["composition"].clone();
    let shown = server.get("/compositions/default");
    assert_eq!([&shown["digest"], &shown["skills"]], [&both["digest"], &both["skills"]]);
    let weighed = server.post("/compositions/default/alpha", &json!({"skill": "sketches", "alpha": 0.25}));
    let alphas = |composition: &Value| -> BTreeMap<String, f64> {
        let skills = composition["skills"].as_array().expect("skills").iter();
        skills.map(|skill| (skill["name"].as_str().unwrap().to_owned(), skill["alpha"].as_f64().unwrap())).collect()
    };
    assert_eq!(alphas(&weighed["composition"]), [("korean".to_owned(), 1.0), ("sketches".to_owned(), 0.25)].into());
    let detached = server.post("/compositions/default/detach", &json!({"skill": "sketches"}))["composition"].clone();
    assert_eq!(detached, attached["composition"], "only what remains counts");

    let made = Request::json("PUT", "/compositions/drawings", &json!({"skills": [{"pack": "sketches"}]}));
    let drawings = server.ask(&made).json(201)["composition"].clone();
    assert_eq!(server.ask(&made).json(200)["composition"], drawings, "the second time it is there");
    let listed = server.get("/compositions");
    let names: Vec<&str> = listed.as_array().unwrap().iter().filter_map(|one| one["name"].as_str()).collect();
    assert_eq!(names, ["default", "drawings"]);
    let answers = ["default", "drawings"].map(|name| server.ask(&infer(name, 1)).json(200));
    assert_eq!([&answers[0]["composition"], &answers[1]["composition"]], [&detached["digest"], &drawings["digest"]]);
    assert_ne!(
        answers[0]["answers"], answers[1]["answers"],
        "each request is answered by the composition of its choice"
    );
    server.ask(&Request::of("DELETE", "/compositions/drawings")).json(200);
    server.ask(&Request::get("/compositions/drawings")).json(404);
    assert_eq!(server.put("default", &json!([])), server_base(&base));
    assert!(
        server.ask(&Request::get("/metrics")).header("content-type").unwrap().starts_with("text/plain; version=0.0.4")
    );
    server.stop();
}

/// What a change says about what a list shows.
fn server_base(listed: &Value) -> Value {
    json!({"base": listed["base"], "digest": listed["digest"], "skills": listed["skills"]})
}

#[test]
fn an_answer_is_that_of_run_in_whatever_form_the_image_comes() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let image = letter(folder.path());
    let mut run = taskvec_device(&store);
    run.args(["run", "--json", "--engine", "burn", "--allow-unsigned", "--base"]).arg(handwriting());
    run.arg("--pack").arg(handwriting().join("skills/korean.tvp")).arg(&image);
    let expected = told(&mut run).json(0);

    let server = Started::on(&store, &[]);
    server.post("/compositions/default/attach", &json!({"pack": "korean"}));
    let of = |content_type: &str, body: Vec<u8>| {
        let request = Request::of("POST", "/compositions/default/infer").with_body(content_type, body);
        server.ask(&request).json(200)
    };
    let answered = of("image/png", std::fs::read(&image).unwrap());
    assert_eq!(answered["composition"], expected["composition"]);
    for key in ["class", "label", "share"] {
        assert_eq!(answered["answers"][0][key], expected["answers"][0][key], "{key}");
    }
    let numbers = pixels(3);
    let as_floats = of("application/octet-stream", floats(&numbers));
    assert_eq!(as_floats["answers"].as_array().unwrap().len(), 3);
    let body = format!("{{\"pixels\": {}}}", serde_json::to_string(&numbers).unwrap());
    assert_eq!(of("application/json; charset=utf-8", body.into_bytes()), as_floats, "to the last bit");
    server.stop();
}

#[test]
fn a_change_is_committed_and_in_force_again_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let server = Started::on(&store, &[]);
    let skills = json!([{"pack": "korean", "alpha": 0.5}, {"pack": "sketches", "alpha": 2}]);
    let committed = server.put("default", &skills);
    server.put("beside", &json!([{"pack": "korean"}]));
    let refused = server.ask(&Request::json("POST", "/compositions/default/attach", &json!({"pack": "korean"})));
    assert_eq!(refused.is_no_refusal(400, "in force already"), None);
    let answer = server.ask(&infer("default", 2)).json(200);
    server.signal("KILL");
    drop(server);

    let again = Started::on(&store, &[]);
    assert_eq!(again.opened["composition"], committed);
    assert_eq!(again.ask(&infer("default", 2)).json(200), answer);
    again.ask(&Request::get("/compositions/beside")).json(404);
    again.stop();
    let mut info = taskvec_device(&store);
    info.args(["info", "--json", "--engine", "burn", "--allow-unsigned", "--base"]).arg(handwriting());
    assert_eq!(told(&mut info).json(0)["composition"], committed, "other commands see the same");
}

#[test]
fn metrics_add_up_with_what_was_sent() {
    let folder = tempfile::tempdir().unwrap();
    let server = Started::on(&store(folder.path()), &[]);
    let attached = server.post("/compositions/default/attach", &json!({"pack": "korean"}));
    server.ask(&Request::json("POST", "/compositions/default/attach", &json!({"pack": "nobody's"}))).json(404);
    server.post("/compositions/default/alpha", &json!({"skill": "korean", "alpha": 0.5}));
    server.put("default", &json!([{"pack": "korean"}]));
    for image_count in [1, 2, 3] {
        server.ask(&infer("default", image_count)).json(200);
    }
    server.ask(&infer("default", 17)).json(413);
    server.ask(&Request::get("/nothing")).json(404);
    server.ask(&infer("nobody", 1)).json(404);

    let page = server.ask(&Request::get("/metrics"));
    let samples: BTreeMap<&str, f64> = page
        .text()
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.rsplit_once(' ').expect("a name and a value"))
        .map(|(name, value)| (name, value.parse().expect("a number")))
        .collect();
    let digest = attached["composition"]["digest"].as_str().unwrap();
    let of = |name: &str, more: &str| format!("{name}{{composition=\"default\"{more}}}");
    let expected = [
        (of("taskvec_inferences_total", ""), 3.0),
        (of("taskvec_images_total", ""), 6.0),
        (of("taskvec_inference_failures_total", ""), 1.0),
        (of("taskvec_inference_seconds_count", ""), 3.0),
        (of("taskvec_inference_seconds_bucket", ",le=\"+Inf\""), 3.0),
        (of("taskvec_changes_total", ",change=\"attach\""), 1.0),
        (of("taskvec_changes_total", ",change=\"alpha\""), 1.0),
        (of("taskvec_changes_total", ",change=\"swap\""), 1.0),
        (of("taskvec_changes_total", ",change=\"detach\""), 0.0),
        (of("taskvec_change_failures_total", ",change=\"attach\""), 1.0),
        (of("taskvec_change_seconds_count", ""), 3.0),
        (of("taskvec_composition_info", &format!(",digest=\"{digest}\"")), 1.0),
        (of("taskvec_composition_skills", ""), 1.0),
        (of("taskvec_touched_bytes", ""), attached["touched_bytes"].as_f64().unwrap()),
        ("taskvec_requests_total".to_owned(), 11.0),
        ("taskvec_responses_total{status=\"200\"}".to_owned(), 6.0),
        ("taskvec_responses_total{status=\"404\"}".to_owned(), 3.0),
        ("taskvec_responses_total{status=\"413\"}".to_owned(), 1.0),
        ("taskvec_abandoned_total".to_owned(), 0.0),
    ];
    let wrong: Vec<String> = expected
        .iter()
        .filter(|(name, value)| samples.get(name.as_str()) != Some(value))
        .map(|(name, value)| format!("{name}: expected {value}, found {:?}", samples.get(name.as_str())))
        .collect();
    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), page.text());
    assert_eq!(server.stop(), json!({"requests": 11, "answered": 11, "abandoned": 0}));
}
