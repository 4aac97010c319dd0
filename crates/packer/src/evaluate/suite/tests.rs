//! What a suite file may say, and how a slip in one is answered.

use super::*;
use crate::recipe::{DataForm, HeadKind, Method, Values};

const SMALL: &str = "
name: small
base: base
root: data
control: {data: [greek], quarter_turns: true}
tasks:
  digits: {data: digits8x8, steps: 100}
  korean: {data: omniglot_korean, classes: [a, b], form: idx}
  half: {data: digits8x8, merged: false}
defaults:
  epochs: 3
  optimizer: {learning_rate: 2.0e-3, warmup_steps: 5}
methods:
  dense: {method: dense}
  talos: {method: talos, mask: {density: 0.05}, optimizer: {learning_rate: 5.0e-3}}
checks:
  - {claim: masks interfere less, column: addition_normalized, higher: talos, lower: dense}
";

fn parse(text: &str) -> Result<Suite> {
    Suite::parse(text, Path::new("/suites"), None, "suite `small.yaml`")
}

#[test]
fn a_recipe_is_the_suites_defaults_the_methods_fragment_and_the_tasks_length() {
    let suite = parse(SMALL).unwrap();
    let recipe = suite.recipe("talos", "digits", 2, Path::new("/base")).unwrap();
    assert_eq!((recipe.name.as_str(), recipe.seed, recipe.method), ("talos-digits", 2, Method::Talos));
    assert_eq!((recipe.steps, recipe.epochs), (Some(100), None), "the task's length counts");
    assert_eq!((recipe.mask.density, recipe.optimizer.learning_rate, recipe.optimizer.warmup_steps), (0.05, 5e-3, 5));
    assert_eq!(
        (recipe.head.kind, recipe.pack.values),
        (HeadKind::ClassMeans, Values::Int8),
        "unless somebody says otherwise"
    );
    assert_eq!(recipe.data_paths(), [Path::new("/suites/data/digits8x8")]);
    let recipe = suite.recipe("dense", "korean", 1, Path::new("/base")).unwrap();
    assert_eq!((recipe.epochs, recipe.optimizer.learning_rate), (Some(3.0), 2e-3));
    assert_eq!((recipe.classes, recipe.form), (vec!["a".to_owned(), "b".to_owned()], Some(DataForm::Idx)));
    assert_eq!(suite.merged_tasks().map(|(name, _)| name).collect::<Vec<_>>(), ["digits", "korean"]);
}

#[test]
fn what_is_not_merged_is_learned_by_those_who_are_asked_and_by_nobody_else() {
    let runs = |suite: &Suite| suite.runs().map(|(method, task)| format!("{method} {task}")).collect::<Vec<_>>();
    let all = ["dense digits", "dense korean", "talos digits", "talos korean"];
    assert_eq!(runs(&parse(SMALL).unwrap()), all);
    let asked = format!("{SMALL}analogies: {{x: {{a: half, b: digits, c: korean, d: korean, methods: [talos]}}}}\n");
    assert_eq!(runs(&parse(&asked).unwrap()), [&all[..], &["talos half"]].concat());
    let kernel = format!("{SMALL}kernel: {{tasks: [half]}}\n");
    assert_eq!(
        runs(&parse(&kernel).unwrap()),
        ["dense digits", "dense korean", "dense half", "talos digits", "talos korean"]
    );
}

#[test]
fn a_penalty_may_look_at_the_data_of_all_others() {
    let others = "  talos: {method: talos, mask: {density: 0.05}, penalty: {curvature: {data: others}}, optimizer:";
    let suite = parse(&SMALL.replace("  talos: {method: talos, mask: {density: 0.05}, optimizer:", others)).unwrap();
    let looked_at = |task: &str| {
        let recipe = suite.recipe("talos", task, 1, Path::new("/base")).unwrap();
        recipe.penalty.unwrap().curvature.unwrap().data
    };
    assert_eq!(looked_at("digits"), [Path::new("/suites/data/omniglot_korean")]);
    assert_eq!(looked_at("korean"), [Path::new("/suites/data/digits8x8")]);
    assert_eq!(looked_at("half"), looked_at("digits"), "whose folder is the same");
}

#[test]
fn rows_come_in_order_and_each_has_a_name_of_its_own() {
    let more = "linearized_afterwards: {posthoc: dense}\nmerges: {ties: {of: dense, merge_method: ties}}\n";
    let suite = parse(&format!("{SMALL}{more}")).unwrap();
    assert_eq!(suite.rows().collect::<Vec<_>>(), ["dense", "talos", "posthoc", "ties"]);
    for twice in ["linearized_afterwards: {talos: dense}", "merges: {dense: {of: dense, merge_method: ties}}"] {
        let error = parse(&format!("{SMALL}{twice}\n")).unwrap_err();
        assert!(format!("{error:?}").contains("two rows are called"), "{error:?}");
    }
    let error = parse(&format!("{SMALL}linearized_afterwards: {{posthoc: dnese}}\n")).unwrap_err();
    assert!(format!("{error:?}").contains("no method `dnese`"), "{error:?}");
}

#[test]
fn data_lies_under_the_root_that_is_given() {
    let suite = Suite::parse(SMALL, Path::new("/suites"), Some(Path::new("/elsewhere")), "suite").unwrap();
    assert_eq!(suite.data_path(Path::new("mnist")), Path::new("/elsewhere/mnist"));
}

/// Traps 12 and 13: a threshold of the control that no default has, and one whose default is 0, so that everything keeps it.
#[test]
fn unless_it_is_said_there_are_21_coefficients_three_seeds_and_a_control_threshold_of_95_percent() {
    let suite = parse(SMALL).unwrap();
    let alphas = suite.alphas.values();
    assert_eq!((alphas.len(), alphas[0], alphas[20]), (21, 0.0, 1.0));
    assert!((alphas[1] - 0.05).abs() < 1e-12);
    assert_eq!(suite.seeds, [1, 2, 3]);
    assert_eq!(suite.control.unwrap().threshold, 0.95);
}

#[test]
fn a_slip_names_its_line_and_what_was_meant() {
    struct Case(&'static str, &'static str, &'static str, Option<&'static str>);
    let cases = [
        Case("control:", "contrl:", "line 5: unknown key `contrl`", Some("did you mean `control`?")),
        Case("steps: 100", "setps: 100", "unknown key `setps`", Some("did you mean `steps`?")),
        // Inside a fragment, which is read as a part of each recipe.
        Case("density:", "densty:", "line 15: unknown key `densty`", Some("did you mean `density`?")),
        Case(
            "warmup_steps:",
            "warmup_step:",
            "line 12: unknown key `warmup_step`",
            Some("did you mean `warmup_steps`?"),
        ),
        Case("method: talos", "method: talso", "line 15: unknown value `talso`", Some("did you mean `talos`?")),
        Case("lower: dense", "lower: dnese", "no row `dnese`", Some("did you mean `dense`?")),
        Case(
            "column: addition_normalized",
            "column: aditon",
            "unknown value `aditon`",
            Some("did you mean `addition`?"),
        ),
        Case("  dense: {method: dense}", "  dense: {method: dense, seed: 5}", "says `seed`", None),
        Case("epochs: 3", "epochs: 3\n  held_out: 0", "holds no images out", Some("say `held_out: 0.1` in `defaults`")),
        Case("epochs: 3", "epochs: 3\n  batch_norm_statistics: measured", "measures statistics", None),
        Case("name: small", "name: small\nseeds: [1, 1]", "names 1 twice", None),
        Case("  dense: {", "  zero-shot: {", "`zero-shot`", None),
        Case("  dense: {", "  ../dense: {", "`../dense`", Some("names become names of files")),
        Case(
            "control:",
            "merges: {cart: {of: dense, merge_method: cart, parameters: {lambda: 1}}}\ncontrol:",
            "merge `cart` says `lambda`",
            Some("leave `lambda` out; `alphas` says which are tried"),
        ),
        Case(
            "control:",
            "profiles: {sizes: {title: Sizes, column: pack_bytes, points: [a], lines: {all: [dense]}}}\ncontrol:",
            "profile `sizes` is of bytes",
            None,
        ),
    ];
    for Case(right, wrong, message, help) in cases {
        let text = SMALL.replacen(right, wrong, 1);
        let error = parse(&text).expect_err(wrong);
        let said = format!("{error:?}");
        assert_eq!(error.kind(), crate::ErrorKind::Usage, "{said}");
        assert!(said.contains(message), "{wrong}: {said}");
        if let Some(help) = help {
            assert_eq!(error.help(), Some(help), "{wrong}: {said}");
        }
    }
}

#[test]
fn every_suite_of_the_repository_can_be_read() {
    let suites = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../suites");
    let mut found = 0;
    for file in std::fs::read_dir(suites).unwrap() {
        let path = file.unwrap().path();
        let is_base = path.to_string_lossy().ends_with("-base.yaml");
        if is_base {
            Recipe::open(&path).unwrap_or_else(|error| panic!("{error:?}"));
        } else if path.extension().is_some_and(|ending| ending == "yaml") {
            let suite = Suite::open(&path, None).unwrap_or_else(|error| panic!("{error:?}"));
            // The base of the colour suite is made of a published checkpoint first.
            assert!(suite.base_path().exists() || suite.name == "colour", "{}", path.display());
            found += 1;
        }
    }
    assert!(found > 2, "the repository comes with suites");
}
