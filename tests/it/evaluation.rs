//! `taskvec eval`: does a suite come out as tables that agree, again and again, and what is said when it cannot?

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::places::handwriting;
use crate::programs::{Told, taskvec, told};

/// A suite of seconds: a few classes, two methods, hardly any steps.
const TINY: &str = "
name: tiny
tasks:
  digits: {data: digits8x8, classes: ['0', '1', '2']}
  zeros: {data: digits8x8, classes: ['0', '1'], merged: false}
  threes: {data: digits8x8, classes: ['2', '3'], merged: false}
  korean: {data: omniglot_korean, classes: [character01, character02, character03]}
control: {data: [omniglot_greek], classes: [character01, character02, character03]}
defaults: {steps: 4, batch: 8, held_out: 0.2, optimizer: {warmup_steps: 2}}
methods:
  dense: {method: dense}
  talos: {method: talos, mask: {density: 0.1, rounds: 1}}
merges:
  ties: {of: dense, merge_method: ties, parameters: {density: 0.5}}
seeds: [1]
alphas: {points: 3}
search_images: 20
analogies:
  more: {a: zeros, b: threes, c: korean, d: digits, methods: [dense]}
disentanglement: {pairs: [[digits, korean]], methods: [talos], points: 3, images: 10}
kernel: {tasks: [korean], images: 6, draws: 1}
profiles:
  density: {title: Density, points: ['10 %', '100 %'], lines: {some: [talos, dense]}, beside: dense}
";

/// The suite as a file in `folder`, on the embedded base and data.
fn tiny(folder: &Path, change: impl Fn(&str) -> String) -> PathBuf {
    let path = folder.join("tiny.yaml");
    let (base, root) = (handwriting(), handwriting().join("data"));
    fs::write(&path, change(&format!("{TINY}\nbase: {}\nroot: {}\n", base.display(), root.display()))).unwrap();
    path
}

fn unchanged(text: &str) -> String {
    text.to_owned()
}

/// The cells of all rows of a table in `tables.md`, by its heading.
fn markdown_rows(markdown: &str, title: &str) -> Vec<Vec<String>> {
    let section = markdown.split("\n## ").find(|section| section.starts_with(&format!("{title}\n"))).expect(title);
    let lines = section.lines().filter(|line| line.starts_with('|')).skip(2);
    lines.map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
}

/// What a share looks like where readers see it.
fn shown(cell: &Value) -> String {
    let (factor, decimals, unit) = match cell["unit"].as_str().unwrap() {
        "share" => (100.0, 1, " %"),
        "number" => (1.0, 2, ""),
        "bytes" if cell["mean"].as_f64().is_some_and(|mean| mean >= 1_048_576.0) => (1.0 / 1_048_576.0, 2, " MiB"),
        "bytes" => (1.0 / 1024.0, 1, " KiB"),
        unit => panic!("no accuracy table has {unit}"),
    };
    let Some(mean) = cell["mean"].as_f64() else { return "-".to_owned() };
    let spread = cell["spread"].as_f64().map(|spread| format!(" \u{b1} {:.decimals$}", factor * spread));
    format!("{:.decimals$}{}{unit}", factor * mean, spread.unwrap_or_default())
}

fn told_again(out: &Path, earlier: &Path) -> Told {
    told(taskvec().args(["eval", "suites/small.yaml", "--against"]).arg(earlier).arg("-o").arg(out))
}

#[test]
fn the_small_suite_runs_and_its_json_and_its_markdown_say_the_same_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("small");
    let told = told(taskvec().args(["eval", "suites/small.yaml", "--json", "-o"]).arg(&out)).json(0);
    let results: Value = serde_json::from_slice(&fs::read(out.join("results.json")).unwrap()).unwrap();
    assert_eq!(told["results"], results, "what is printed is what is written");
    let markdown = fs::read_to_string(out.join("tables.md")).unwrap();
    let tables = results["tables"].as_array().unwrap();
    assert!(tables.len() >= 3);
    for table in tables {
        let rows = markdown_rows(&markdown, table["title"].as_str().unwrap());
        assert_eq!(rows.len(), table["rows"].as_array().unwrap().len(), "{}", table["title"]);
        for (row, in_markdown) in table["rows"].as_array().unwrap().iter().zip(rows) {
            assert_eq!(in_markdown[0], row["name"].as_str().unwrap());
            for (cell, in_markdown) in row["cells"].as_array().unwrap().iter().zip(&in_markdown[1..]) {
                assert_eq!(in_markdown, &shown(cell), "{} of {}", row["name"], table["title"]);
            }
        }
    }

    // Once more, nothing is trained, and the tables are compared with earlier ones.
    let earlier = folder.path().join("earlier.json");
    let again = |tables: &Value| {
        fs::write(&earlier, tables.to_string()).unwrap();
        told_again(&out, &earlier)
    };
    let kept: Value = serde_json::from_slice(&fs::read(out.join("tables.json")).unwrap()).unwrap();
    assert_eq!((&kept["tables"], &kept["claims"]), (&results["tables"], &results["claims"]));
    again(&kept).ended_with(0);
    let mut other = kept.clone();
    other["tables"][0]["rows"][1]["cells"][0]["mean"] = Value::from(0.01);
    let disagreed = again(&other);
    disagreed.ended_with(3);
    assert!(disagreed.stderr.contains("disagreements: 1") && disagreed.stderr.contains("single task"), "{disagreed}");
    fs::write(&earlier, "{}").unwrap();
    let refused = told_again(&out, &earlier);
    assert!(refused.stderr.contains("is no `tables.json`"), "{refused}");

    // The page needs nothing beside it, and the pictures are also files.
    let page = fs::read_to_string(out.join("index.html")).unwrap();
    for outside in ["http:", "https:", "src=", "href=", "<script", "<link", "@import", "url("] {
        let without_names = page.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
        assert!(!without_names.contains(outside), "the page says `{outside}`");
    }
    for table in tables {
        assert!(page.contains(&format!("id=\"{}\"", table["id"].as_str().unwrap())), "{}", table["id"]);
    }
    for name in ["methods", "coefficients", "map-dense-digits-sketches", "kernel-digits"] {
        let picture = fs::read_to_string(out.join(format!("pictures/{name}.svg"))).unwrap();
        assert!(page.contains(&picture), "the page shows `{name}`");
        assert!(!picture.contains("NaN") && !picture.contains("inf"), "{name}");
    }

    // The protocol's columns are all there, and so is the base's row.
    let methods = &tables[0];
    let columns: Vec<&str> = methods["columns"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    for column in ["single task", "addition", "addition, normalized", "addition at alpha 1", "bytes per task"] {
        assert!(columns.contains(&column), "no column `{column}` in {columns:?}");
    }
    assert_eq!(methods["rows"][0]["name"], "zero-shot");
    let accuracy = |row: usize, column: &str| {
        let at = columns.iter().position(|name| *name == column).unwrap();
        methods["rows"][row]["cells"][at]["mean"].as_f64().unwrap()
    };
    for row in 1..3 {
        let (base, single) = (accuracy(0, "single task"), accuracy(row, "single task"));
        assert!(single > base, "a task's own model beats the base: {single} against {base}");
        // What a claim says is the difference of two cells.
    }
    let claim = &results["claims"][0];
    let difference = accuracy(0, "addition at alpha 1") - accuracy(1, "addition at alpha 1");
    assert!((claim["difference"].as_f64().unwrap() - difference).abs() < 1e-9);
    assert!(markdown.contains(if claim["holds"] == true { "**holds**" } else { "**does not hold**" }));
}

/// Two kinds of drawings in colour, 20 x 20 pixels, as MNIST's files and as folders of PNG files.
fn unseen(folder: &Path) {
    let pixel = |class: u8, image: u32, x: u32, y: u32| {
        let is_ink = if class == 0 { x % 10 < 4 } else { y % 10 < 4 };
        let level = if is_ink { 180 + (image * 7 + x) % 60 } else { (image * 3 + y) % 40 };
        [level as u8, level as u8 / 2, 30]
    };
    let files = folder.join("stripes");
    fs::create_dir_all(&files).unwrap();
    for (split, count) in [("train", 24u32), ("test", 10)] {
        let labels: Vec<u8> = (0..count).map(|image| (image % 2) as u8).collect();
        let numbers = |numbers: &[u32]| numbers.iter().flat_map(|number| number.to_be_bytes()).collect::<Vec<u8>>();
        let pixels = labels.iter().zip(0..).flat_map(|(class, image)| {
            (0..400).flat_map(move |at| pixel(*class, image, at % 20, at / 20)).collect::<Vec<u8>>()
        });
        let images = [&[0, 0, 8, 4][..], &numbers(&[count, 20, 20, 3]), &pixels.collect::<Vec<u8>>()].concat();
        fs::write(files.join(format!("{split}-images.idx4-ubyte")), images).unwrap();
        let labels = [&[0, 0, 8, 1][..], &numbers(&[count]), &labels].concat();
        fs::write(files.join(format!("{split}-labels.idx1-ubyte")), labels).unwrap();
    }
    for (class, name) in [(0, "upright"), (1, "lying")] {
        fs::create_dir_all(folder.join("pictures").join(name)).unwrap();
        for image in 0..20 {
            let picture = image::RgbImage::from_fn(20, 20, |x, y| image::Rgb(pixel(class, image, x, y)));
            picture.save(folder.join(format!("pictures/{name}/{image}.png"))).unwrap();
        }
    }
}

#[test]
fn a_suite_runs_over_folders_that_nobody_has_seen() {
    let folder = tempfile::tempdir().unwrap();
    unseen(folder.path());
    let suite = folder.path().join("unseen.yaml");
    let text = format!(
        "name: unseen\nbase: {}\ncontrol: {{data: [stripes]}}\ntasks: {{files: {{data: stripes}}, folders: {{data: pictures}}}}\n\
         defaults: {{steps: 6, batch: 8, held_out: 0.25}}\nmethods: {{dense: {{method: dense}}}}\nseeds: [1]\n\
         alphas: {{points: 3}}\n",
        handwriting().display()
    );
    fs::write(&suite, text).unwrap();
    let out = folder.path().join("out");
    let mut command = taskvec();
    command.arg("eval").arg(&suite).arg("--data").arg(folder.path()).arg("--json").arg("-o").arg(&out);
    let results = &told(&mut command).json(0)["results"];
    let single = |task: usize| results["outcomes"][0]["tasks"][task]["single"].as_f64().unwrap();
    // Upright stripes and lying ones: a network that has read letters tells them apart, if gray is what it should be.
    assert!(single(0) > 0.8 && single(1) > 0.8, "{} and {}", single(0), single(1));
    assert_eq!(results["outcomes"][0]["tasks"][1]["images"].as_array().unwrap().len(), 3);
    assert!(fs::read_to_string(out.join("index.html")).unwrap().contains("folders"));
}

#[test]
#[cfg(unix)]
fn an_interrupted_evaluation_goes_on_and_ends_with_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let suite = tiny(folder.path(), unchanged);
    let eval = |out: &Path| {
        let mut command = taskvec();
        command.arg("eval").arg(&suite).arg("-o").arg(out);
        command
    };
    let [disturbed, undisturbed] = ["disturbed", "undisturbed"].map(|name| folder.path().join(name));
    told(&mut eval(&undisturbed)).ended_with(0);

    // Once while it trains, once while it judges.
    let mut stopped = 0;
    for there in ["runs/talos/korean", "judged/dense-seed-1.json"] {
        let mut child = eval(&disturbed).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        while !disturbed.join(there).exists() && child.try_wait().unwrap().is_none() {
            thread::sleep(Duration::from_millis(2));
        }
        let kill = format!("kill -INT {} 2>/dev/null || true", child.id());
        assert!(std::process::Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        let code = child.wait().unwrap().code();
        assert!(matches!(code, Some(0 | 3)), "exit code {code:?}");
        stopped += usize::from(code == Some(3));
    }
    assert!(stopped > 0, "no evaluation was interrupted");
    told(&mut eval(&disturbed)).ended_with(0);
    let [found, expected] = [&disturbed, &undisturbed].map(|out| fs::read(out.join("results.json")).unwrap());
    assert!(found == expected, "`results.json` differs");

    // A method more, and what is there already is not trained again.
    let before = fs::metadata(disturbed.join("judged/dense-seed-1.json")).unwrap().modified().unwrap();
    tiny(folder.path(), |text| text.replacen("  dense:", "  attention: {method: attention_only}\n  dense:", 1));
    told(&mut eval(&disturbed)).ended_with(0);
    let results: Value = serde_json::from_slice(&fs::read(disturbed.join("results.json")).unwrap()).unwrap();
    assert_eq!(results["tables"][0]["rows"].as_array().unwrap().len(), 5);
    assert_eq!(fs::metadata(disturbed.join("judged/dense-seed-1.json")).unwrap().modified().unwrap(), before);
}

/// What is judged is what was trained, at the coefficient that is said.
#[test]
fn own_models_are_those_of_the_runs_and_coefficients_scale_what_they_should() {
    let folder = tempfile::tempdir().unwrap();
    // Steps so long that all answers move.
    let more = "  dense: {method: dense, optimizer: {learning_rate: 1.0e-2}}
  tangent: {method: dense, linearized: true, optimizer: {learning_rate: 1.0e-2}}";
    let merges = "merges:
  cart: {of: dense, merge_method: cart}
  mean: {of: dense, merge_method: task_arithmetic, parameters: {weight: 0.5}}
  half: {of: tangent, merge_method: task_arithmetic, parameters: {weight: 0.5}}";
    let suite =
        tiny(folder.path(), |text| text.replacen("  dense: {method: dense}", more, 1).replacen("merges:", merges, 1));
    let out = folder.path().join("out");
    let results = told(taskvec().args(["eval", "--json"]).arg(&suite).arg("-o").arg(&out)).json(0);
    let outcomes = results["results"]["outcomes"].as_array().unwrap();
    let outcome = |row: &str| outcomes.iter().find(|outcome| outcome["row"] == row).unwrap();
    for row in ["dense", "tangent"] {
        for task in outcome(row)["tasks"].as_array().unwrap() {
            let name = task["task"].as_str().unwrap();
            let mut runs = fs::read_dir(out.join("runs").join(row).join(name)).unwrap();
            let run = fs::read(runs.next().unwrap().unwrap().path().join("run.json")).unwrap();
            let run: Value = serde_json::from_slice(&run).unwrap();
            assert_eq!(task["single"], run["accuracy"]["test"], "{row} on {name}");
            assert_eq!(task["base"], run["base_accuracy"]["test"], "{row} on {name}");
            assert_ne!(task["single"], task["base"], "{row} on {name} has learned nothing");
        }
    }
    let at = |row: &str, place: usize| outcome(row)["addition"]["curve"][place]["absolute"].as_f64().unwrap();
    // Coefficients are 0, a half and 1, and there are two tasks: of CART nothing but the mean is left at 0.
    assert_eq!(at("cart", 0), at("mean", 2));
    assert_ne!(at("cart", 0), at("dense", 0), "the mean answers like the base");
    assert_eq!(at("half", 2), at("tangent", 1));
    assert_ne!(at("half", 2), at("tangent", 2), "half a sum answers like a whole one");
}

#[test]
fn a_suite_that_cannot_be_run_is_refused_before_anything_is_trained() {
    struct Case(&'static str, &'static str, &'static [&'static str]);
    let cases = [
        Case("data: digits8x8", "data: digits9x9", &["task `digits`", "digits9x9"]),
        Case("data: [omniglot_greek]", "data: [omniglot_gerek]", &["`control`", "omniglot_gerek"]),
        Case("\nbase: ", "\nbase: /nowhere", &["`base`", "/nowhere"]),
        Case("density: 0.1", "densty: 0.1", &["line 12", "unknown key `densty`"]),
        Case("of: dense", "of: dnese", &["no method `dnese`"]),
        Case("d: digits", "d: digit", &["no task `digit`"]),
        Case("lines: {some: [talos, dense]}", "lines: {some: [talos]}", &["line `some`", "1 methods, expected 2"]),
        Case("merge_method: ties", "merge_method: teis", &["unknown value `teis`"]),
        Case("seeds:", "sedes:", &["line 15", "unknown key `sedes`"]),
        Case("method: talos", "method: talso", &["method `talos`", "unknown value `talso`"]),
        Case("classes: ['0', '1', '2']", "classes: ['0', 'one']", &["no class `one`"]),
        Case(
            "data: [omniglot_greek], classes: [character01,",
            "data: [omniglot_greek], classes: [alpha,",
            &["no class `alpha`"],
        ),
        Case("control: {", "control: {head: handwriting, ", &["head `handwriting`", "3 classes"]),
    ];
    for Case(right, wrong, subjects) in cases {
        let folder = tempfile::tempdir().unwrap();
        let suite = tiny(folder.path(), |text| text.replacen(right, wrong, 1));
        let refusal = told(taskvec().arg("eval").arg(&suite).arg("-o").arg(folder.path().join("out")));
        refusal.refused(subjects);
        assert!(!folder.path().join("out/runs").exists(), "{wrong}: something was trained");
    }
}
