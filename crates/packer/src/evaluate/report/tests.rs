//! Tables and claims of outcomes that were made by hand.

use std::path::Path;

use super::*;
use crate::evaluate::addition::Addition;
use crate::evaluate::claims::claims;
use crate::evaluate::negation::{Candidate, Negation};

const SUITE: &str = "
name: hand
base: base
tasks: {a: {data: a}, b: {data: b}}
control: {data: [c]}
defaults: {steps: 1}
methods: {strong: {method: dense}, weak: {method: dense}}
seeds: [1, 2]
checks:
  - {claim: strong is better, column: addition, higher: strong, lower: weak}
  - {claim: weak is better, column: addition, higher: weak, lower: strong}
  - {claim: weak is better for its own, column: addition_normalized, higher: weak, lower: strong}
  - {claim: nobody packs, column: pack_bytes, higher: zero-shot, lower: weak}
";

fn suite() -> Suite {
    Suite::parse(SUITE, Path::new("/suites"), None, "suite").unwrap()
}

/// Both tasks alike: accuracy of the own models, and of the sum.
fn outcome(row: &str, seed: u64, single: f64, sum: f64, chosen: [Option<Candidate>; 2]) -> Outcome {
    let task = |name: &str| TaskOutcome {
        task: name.to_owned(),
        base: 0.3,
        single,
        pack_bytes: 2048,
        packed: Some(single),
        entries: 5,
        optimizer_bytes: 40,
        images: [10, 2, 4],
    };
    let [a, b] = chosen;
    let negation = |name: &str, chosen| Negation { task: name.to_owned(), chosen };
    Outcome {
        row: row.to_owned(),
        of: None,
        seed,
        tasks: vec![task("a"), task("b")],
        addition: Addition {
            alpha: 0.25,
            accuracies: vec![sum; 2],
            at_one: vec![0.1; 2],
            alphas: vec![0.5, 0.25],
            per_task: vec![sum; 2],
            curve: Vec::new(),
        },
        negation: vec![negation("a", a), negation("b", b)],
    }
}

fn outcomes() -> Vec<Outcome> {
    let kept = Some(Candidate { alpha: 0.5, target: 0.2, control: 0.7 });
    vec![
        outcome("strong", 1, 0.9, 0.6, [kept, kept]),
        outcome("strong", 2, 0.9, 0.7, [kept, kept]),
        outcome("weak", 1, 0.4, 0.4, [kept, None]),
        outcome("weak", 2, 0.4, 0.4, [None, None]),
    ]
}

fn cell<'a>(table: &'a Table, row: &str, column: Column) -> &'a Cell {
    let at = table.columns.iter().position(|title| title == column.title()).unwrap();
    &table.rows.iter().find(|line| line.name == row).unwrap().cells[at]
}

/// Trap 15: normalized accuracy alone rewards methods whose own models are weak.
#[test]
fn normalized_accuracy_never_stands_without_the_accuracy_of_each_tasks_own_model() {
    let found = Found { outcomes: outcomes(), ..Found::default() };
    let tables = tables(&suite(), Some(0.75), &found);
    let methods = &tables[0];
    assert!((cell(methods, "weak", Column::AdditionNormalized).mean.unwrap() - 1.0).abs() < 1e-12, "it looks perfect");
    assert_eq!(cell(methods, "weak", Column::SingleTask).mean, Some(0.4), "and here is why");
    assert_eq!(cell(methods, "zero-shot", Column::SingleTask).mean, Some(0.3));
    assert!(methods.note.contains("flatters"), "{}", methods.note);
}

/// Trap 16: a coefficient is part of what is shipped, and at 1 sums of dense vectors break.
#[test]
fn the_sum_at_coefficient_1_is_always_shown() {
    let tables = tables(&suite(), Some(0.75), &Found { outcomes: outcomes(), ..Found::default() });
    assert_eq!(cell(&tables[0], "strong", Column::AdditionAtOne).mean, Some(0.1));
    let shown = cell(&tables[0], "strong", Column::Addition);
    assert_eq!(shown.to_string(), "65.0 \u{b1} 7.1 %");
}

/// Trap: a rule that finds nothing and returns nothing.
#[test]
fn where_no_coefficient_keeps_the_control_the_table_says_so() {
    let tables = tables(&suite(), Some(0.75), &Found { outcomes: outcomes(), ..Found::default() });
    let cell = cell(&tables[0], "weak", Column::NegationTarget);
    assert_eq!(cell.to_string(), "20.0 % (no coefficient keeps the control in 3 of 4)");
    let none = vec![outcome("weak", 1, 0.4, 0.4, [None, None])];
    let tables = super::tables(&suite(), Some(0.75), &Found { outcomes: none, ..Found::default() });
    let cell = self::cell(&tables[0], "weak", Column::NegationTarget);
    assert_eq!(cell.to_string(), "no coefficient keeps the control in 2 of 2");
}

#[test]
fn a_claim_holds_if_the_difference_is_larger_than_its_spread() {
    let claims = claims(&suite(), Some(0.75), &outcomes());
    let holds: Vec<bool> = claims.iter().map(|claim| claim.holds).collect();
    assert_eq!(holds, [true, false, true, false]);
    assert!((claims[0].difference.unwrap() - 0.25).abs() < 1e-12);
    assert!((claims[0].spread.unwrap() - 0.1 / 2.0_f64.sqrt()).abs() < 1e-12, "0.2 and 0.3");
    let said = claims[0].to_string();
    assert_eq!(
        said,
        "strong is better: **holds** (strong above weak: difference +25.0 against a spread of 7.1 points)"
    );
    assert!(claims[3].to_string().ends_with("**does not hold** (zero-shot above weak: not measured)"), "{}", claims[3]);
    let mut nearly = outcomes();
    (nearly[2].addition.accuracies, nearly[3].addition.accuracies) = (vec![0.5; 2], vec![0.75; 2]);
    let claim = &super::super::claims::claims(&suite(), None, &nearly)[0];
    assert!(!claim.holds && claim.to_string().contains("within the spread"), "{claim}");
}

#[test]
fn markdown_has_every_cell_and_escapes_what_would_end_one() {
    let found = Found { outcomes: outcomes(), ..Found::default() };
    let mut table = tables(&suite(), Some(0.75), &found).remove(0);
    table.rows[1].name = "a|b".to_owned();
    let results = crate::evaluate::Results {
        suite: "hand".to_owned(),
        about: "By hand.".to_owned(),
        base: "00".to_owned(),
        control_of_base: Some(0.75),
        claims: claims(&suite(), Some(0.75), &found.outcomes),
        tables: vec![table.clone()],
        found,
    };
    let costs = crate::evaluate::Costs { table: cost_table(&suite(), &[]), runs: Vec::new() };
    let text = crate::evaluate::markdown::markdown(&results, &costs);
    assert!(text.contains("| a\\|b "), "{text}");
    for cell in table.rows.iter().flat_map(|row| &row.cells) {
        assert!(text.contains(&format!("| {cell} ")), "{cell}");
    }
    assert!(text.contains("- strong is better: **holds**"), "{text}");
}
