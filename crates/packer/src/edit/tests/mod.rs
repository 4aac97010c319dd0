//! Merging files, and what is refused; beside it what holds for each method.

mod methods;

use std::path::PathBuf;

use taskvec_bundle::{NamedTensor, StoredDtype, TensorFile};
use taskvec_pack::{Limits, Pack};
use tempfile::TempDir;

use super::method::Sparsifier;
use super::sparsify::sparsify;
use super::*;
use crate::error::{ErrorKind, Result};
use crate::random::Random;
use crate::recipe::Values;
use crate::run_folder::{f32_bytes, f32s, safetensors};
use crate::task_vector::{Deltas, TaskVector};

/// A folder with models and recipes in it.
struct Desk(TempDir);

impl Desk {
    /// `base`, `one` and `two`, of a matrix and a short bias.
    fn new() -> Desk {
        let desk = Desk(tempfile::tempdir().unwrap());
        desk.model("base", 0.0);
        desk.model("one", 0.02);
        desk.model("two", 0.03);
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn model(&self, name: &str, change: f32) {
        let mut base = Random::new(1, "base");
        let mut tuned = Random::new(2, name);
        let mut numbers =
            |count: usize| -> Vec<f32> { (0..count).map(|_| base.normal() + change * tuned.normal()).collect() };
        let (matrix, bias) = (f32_bytes(&numbers(96)), f32_bytes(&numbers(5)));
        let tensors = [
            NamedTensor { name: "bias", dtype: StoredDtype::F32, shape: &[5], bytes: &bias },
            NamedTensor { name: "matrix", dtype: StoredDtype::F32, shape: &[12, 8], bytes: &matrix },
        ];
        std::fs::write(self.path(&format!("{name}.safetensors")), safetensors(&tensors).unwrap()).unwrap();
    }

    fn recipe(&self, text: &str) -> Result<MergeRecipe> {
        std::fs::write(self.path("recipe.yaml"), text).unwrap();
        MergeRecipe::open(&self.path("recipe.yaml"))
    }

    fn merged(&self, text: &str) -> Vec<Vec<f32>> {
        merge_into_checkpoint(&self.recipe(text).unwrap(), &self.path("out.safetensors")).unwrap();
        self.numbers("out")
    }

    fn numbers(&self, name: &str) -> Vec<Vec<f32>> {
        let bytes = std::fs::read(self.path(&format!("{name}.safetensors"))).unwrap();
        let file = TensorFile::parse(&bytes).unwrap();
        ["bias", "matrix"].map(|tensor| f32s(file.tensor(tensor).unwrap().bytes(&bytes).unwrap())).to_vec()
    }
}

fn each(tensors: &[Vec<f32>], others: &[Vec<f32>], both: impl Fn(f32, f32) -> f32) -> Vec<Vec<f32>> {
    tensors.iter().zip(others).map(|(a, b)| a.iter().zip(b).map(|(a, b)| both(*a, *b)).collect()).collect()
}

fn close(found: &[Vec<f32>], expected: &[Vec<f32>]) {
    let off = each(found, expected, |a, b| (a - b).abs()).into_iter().flatten().fold(0.0, f32::max);
    assert!(off < 1e-6, "off by {off}");
}

#[test]
fn adding_a_skill_and_its_negative_is_the_base_and_an_analogy_adds_what_differs() {
    let desk = Desk::new();
    let [base, one, two] = ["base", "one", "two"].map(|name| desk.numbers(name));
    let sum = |weights: [f32; 2]| {
        desk.merged(&format!(
            "{{merge_method: task_arithmetic, base_model: base.safetensors, models: [\
             {{model: one.safetensors, parameters: {{weight: {}}}}}, {{model: two.safetensors, parameters: {{weight: {}}}}}]}}",
            weights[0], weights[1]
        ))
    };
    close(&sum([1.0, 0.0]), &one);
    close(&sum([-1.0, 0.0]), &each(&base, &one, |base, one| 2.0 * base - one));
    close(&sum([-1.0, 1.0]), &each(&base, &each(&two, &one, |two, one| two - one), |base, change| base + change));
}

#[test]
fn a_pack_leads_to_the_merged_model_and_is_a_model_itself() {
    let desk = Desk::new();
    let text = "{merge_method: ties, base_model: base.safetensors, parameters: {density: 0.5, weight: 1}, models: [\
                {model: one.safetensors}, {model: two.safetensors}]}";
    let merged = desk.merged(text);
    let (pack, found) = merge_into_pack(&desk.recipe(text).unwrap(), Values::F32, "merged").unwrap();
    assert_eq!(found.tensor_count, 2);
    std::fs::write(desk.path("merged.tvp"), &pack.bytes).unwrap();
    crate::apply::apply(&desk.path("base.safetensors"), &[(&pack.bytes, 1.0)], &desk.path("applied.safetensors"))
        .unwrap();
    assert_eq!(desk.numbers("applied"), merged);
    let again = desk.merged(
        "{merge_method: task_arithmetic, base_model: base.safetensors, models: [{model: merged.tvp, parameters: {weight: 1}}]}",
    );
    assert_eq!(again, merged);
    let error = merge_into_pack(&desk.recipe(text).unwrap(), Values::Lossless, "merged").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
}

#[test]
fn a_lossless_pack_is_the_checkpoint_that_it_was_made_of() {
    let desk = Desk::new();
    let made = crate::diff::diff(&desk.path("base.safetensors"), &desk.path("one.safetensors"), Values::Lossless, None)
        .unwrap();
    std::fs::write(desk.path("one.tvp"), made.encoded.bytes).unwrap();
    for method in ["slerp", "linear", "ties"] {
        let with = |model: &str| {
            desk.merged(&format!(
                "{{merge_method: {method}, base_model: base.safetensors, parameters: {{t: 0.4, weight: 0.7, density: 0.5}}, \
                 models: [{{model: {model}}}]}}"
            ))
        };
        assert_eq!(with("one.tvp"), with("one.safetensors"), "{method}");
    }
}

/// Trap 5 of the field: a bias of five numbers at a density of a tenth, of which there is not even one whole number.
#[test]
fn a_small_tensor_keeps_at_least_one_delta() {
    let parameters = MergeParameters { density: Some(0.1), ..MergeParameters::default() };
    for how in [Sparsifier::Largest, Sparsifier::Middle] {
        let mut deltas = [0.1, -0.5, 0.2, 0.3, -0.4];
        sparsify(&mut deltas, 5, how, &parameters, Rescale::Magnitudes(false), &mut Random::new(1, "x"));
        assert_eq!(deltas, [0.0, -0.5, 0.0, 0.0, 0.0], "{how:?}");
    }
}

/// Trap 4: where no delta is among the largest that go, those that stay are not none.
#[test]
fn without_outliers_breadcrumbs_keep_the_largest() {
    let parameters = MergeParameters { density: Some(0.5), gamma: Some(0.0), ..MergeParameters::default() };
    let mut deltas = [1.0, 4.0, -3.0, 2.0];
    sparsify(&mut deltas, 4, Sparsifier::Middle, &parameters, Rescale::Magnitudes(false), &mut Random::new(1, "x"));
    assert_eq!(deltas, [0.0, 4.0, -3.0, 0.0]);
    let parameters = MergeParameters { density: Some(0.5), gamma: Some(0.25), ..MergeParameters::default() };
    let mut deltas = [1.0, 4.0, -3.0, 2.0];
    sparsify(&mut deltas, 4, Sparsifier::Middle, &parameters, Rescale::Magnitudes(false), &mut Random::new(1, "x"));
    assert_eq!(deltas, [0.0, 0.0, -3.0, 2.0]);
}

/// Trap 3: DARE as published scales by one over the density, mergekit by the magnitudes.
#[test]
fn the_two_ways_to_rescale_are_what_they_say() {
    let whole: Vec<f32> = (0..20_000).map(|at| 0.01 * (1 + at % 7) as f32).collect();
    let parameters = MergeParameters { density: Some(0.3), ..MergeParameters::default() };
    let sparse = |rescale| {
        let mut deltas = whole.clone();
        sparsify(&mut deltas, 100, Sparsifier::Random, &parameters, rescale, &mut Random::new(9, "dare"));
        deltas
    };
    let sum = |deltas: &[f32]| deltas.iter().map(|delta| f64::from(*delta)).sum::<f64>();
    let (plain, unbiased) = (sparse(Rescale::Magnitudes(false)), sparse(Rescale::Named(NamedRescale::Unbiased)));
    let kept = plain.iter().filter(|delta| **delta != 0.0).count() as f64 / 20_000.0;
    assert!((kept - 0.3).abs() < 0.02, "{kept}");
    assert!(plain.iter().zip(&unbiased).all(|(plain, scaled)| (plain / 0.3 - scaled).abs() < 1e-6));
    let exact = sum(&sparse(Rescale::Magnitudes(true))) / sum(&whole);
    assert!((exact - 1.0).abs() < 1e-5, "{exact}");
    assert_eq!(sparse(Rescale::Named(NamedRescale::L1)), sparse(Rescale::Magnitudes(true)));
}

#[test]
fn larger_deltas_are_likelier_to_stay_in_della() {
    let parameters = MergeParameters { density: Some(0.5), epsilon: Some(0.4), ..MergeParameters::default() };
    let mut deltas: Vec<f32> = (0..20_000).map(|at| (1 + at % 100) as f32).collect();
    sparsify(&mut deltas, 100, Sparsifier::ByRank, &parameters, Rescale::Magnitudes(false), &mut Random::new(3, "x"));
    let share = |low: usize| {
        let kept = deltas
            .chunks(100)
            .map(|row| row[low..low + 20].iter().filter(|delta| **delta != 0.0).count())
            .sum::<usize>();
        kept as f64 / 4000.0
    };
    assert!((share(0) - 0.18).abs() < 0.03 && (share(80) - 0.82).abs() < 0.03, "{} and {}", share(0), share(80));
}

#[test]
fn recipes_that_cannot_be_followed_are_refused_with_a_next_step() {
    let desk = Desk::new();
    let model = "models: [{model: one.safetensors, parameters: {weight: 1}}]";
    let with = |method: &str, parameters: &str, message: &'static str| {
        let models = "models: [{model: one}, {model: two}]";
        (format!("{{merge_method: {method}, base_model: b, parameters: {parameters}, {models}}}"), message)
    };
    for (text, message) in [
        (format!("{{merge_method: tees, base_model: base.safetensors, {model}}}"), "unknown value `tees`"),
        (format!("{{merge_method: ties, {model}}}"), "`ties` needs the model that the others were tuned from"),
        ("{merge_method: ties, base_model: b, models: []}".to_owned(), "found 0"),
        ("{merge_method: ties, base_model: b, models: [{model: one}]}".to_owned(), "`one` has no weight"),
        (format!("{{merge_method: slerp, base_model: b, {model}}}"), "`slerp` needs a place"),
        (format!("{{merge_method: ties, base_model: b, slices: [], {model}}}"), "unknown key `slices`"),
        (
            "{merge_method: ties, base_model: b, models: [{model: one, parameters: {weight: 1, density: 7}}]}"
                .to_owned(),
            "`density` is 7, expected a share from 0 to 1",
        ),
        (
            "{merge_method: della, base_model: b, models: [{model: one, parameters: {weight: 1, density: 0.1}}]}"
                .to_owned(),
            "gives chances beyond 0 and 1",
        ),
        (
            "{merge_method: ties, base_model: b, models: [{model: one, parameters: {weight: 1, lambda: 2}}]}"
                .to_owned(),
            "`one`: `lambda` is for all models",
        ),
        with("consensus", "{lamda: 2}", "unknown key `lamda`; did you mean `lambda`?"),
        with("consensus", "{tasks_mim: 2}", "unknown key `tasks_mim`; did you mean `tasks_min`?"),
        with("consensus", "{tasks_min: 3}", "`tasks_min` is 3, expected a whole number from 1 to 2"),
        with("consensus", "{threshold: -1}", "`threshold` is -1, expected a number from 0"),
        with("consensus", "{weight: 1}", "`weight` means nothing to `consensus`"),
        with("ties", "{weight: 1, rank: 0.1}", "`rank` means nothing to `ties`; leave it out; it is for cart, tsv"),
        with("ties", "{weight: 1, scope: globe}", "unknown value `globe`; did you mean `global`?"),
        with("ties", "{weight: 1, scope: global, rescale: true}", "`scope` is `global`"),
        with("cart", "{rank: 0}", "`rank` is 0, expected a share above 0 and up to 1"),
        with("cart", "{lambda: .nan}", "`lambda` is NaN, expected a finite number"),
        with("tall_mask", "{}", "`tall_mask` needs the task"),
        with("tall_mask", "{task: tow}", "`task` is `tow`, which is none of the models; did you mean `two`?"),
        with("bases", "{}", "`bases` needs the number of its vectors"),
        with("bases", "{vectors: 0}", "`vectors` is 0, expected a whole number from 1 to 2"),
        with("bases", "{vectors: 1, temperature: 0}", "`temperature` is 0, expected a number above 0"),
        with("awd", "{}", "`one` has no weight"),
        with("awd", "{weight: 1, rate: 0}", "`rate` is 0, expected a number above 0"),
        with("sce", "{select_topk: 2}", "`select_topk` is 2, expected a share from 0 to 1"),
        (
            "{merge_method: consensus, base_model: b, models: [{model: one}]}".to_owned(),
            "`consensus` keeps what two tasks need, found one model",
        ),
    ] {
        let error = desk.recipe(&text).unwrap_err();
        let said = match (std::error::Error::source(&error), error.help()) {
            (Some(cause), Some(help)) => format!("{error}: {cause}; {help}"),
            (None, Some(help)) => format!("{error}; {help}"),
            (_, None) => panic!("{text}: {error} has no next step"),
        };
        assert!(said.contains(message), "{text}: {said}");
        assert_eq!(error.kind(), ErrorKind::Usage, "{text}");
    }
    let text = format!("{{merge_method: task_arithmetic, base_model: base.safetensors, {model}}}");
    let recipe = desk.recipe(&text).unwrap();
    let before = desk.numbers("one");
    let error = merge_into_checkpoint(&recipe, &desk.path("one.safetensors")).unwrap_err();
    assert!(error.to_string().contains("is one of the models"), "{error}");
    assert_eq!(desk.numbers("one"), before);
}

/// By hand: which deltas have the sign of the sum, and what the sum is divided by.
#[test]
fn ties_counts_what_agrees_with_the_sum_and_divides_by_its_weights() {
    let deltas = [
        (1.0, vec![4.0, -4.0, 0.0, 2.0, 0.0]),
        (0.5, vec![2.0, 2.0, 6.0, -4.0, 0.0]),
        (2.0, vec![0.0, 1.0, 0.0, -1.0, 0.0]),
    ];
    let sum = |method, normalize| combine::sum(&deltas, method, normalize, 1.0);
    // Sums: 5, -1, 3, -2 and 0, of which the last is positive, and has nothing that agrees with it.
    assert_eq!(sum(MergeMethod::Ties, false), [5.0, -4.0, 3.0, -4.0, 0.0]);
    // A delta of 0 has no sign, so that its weight does not count.
    assert_eq!(sum(MergeMethod::Ties, true), [5.0 / 1.5, -4.0, 6.0, -4.0 / 2.5, 0.0]);
    assert_eq!(sum(MergeMethod::TaskArithmetic, false), [5.0, -1.0, 3.0, -2.0, 0.0]);
    assert_eq!(sum(MergeMethod::TaskArithmetic, true), [5.0 / 3.5, -1.0 / 3.5, 3.0 / 3.5, -2.0 / 3.5, 0.0]);
    assert_eq!(combine::sum(&deltas, MergeMethod::Ties, false, 0.5), [2.5, -2.0, 1.5, -2.0, 0.0]);
}

/// Every method, so that one who merges in memory has what `taskvec merge` has.
#[test]
fn models_in_memory_merge_as_files_do() {
    let desk = Desk::new();
    let [base, one, two] = ["base", "one", "two"].map(|name| desk.numbers(name));
    let deltas = [&one, &two].map(|tuned| each(tuned, &base, |tuned, base| tuned - base));
    let shapes: [&[usize]; 2] = [&[5], &[12, 8]];
    let tensor = |at: usize| TensorInMemory {
        name: ["bias", "matrix"][at],
        shape: shapes[at],
        base: &base[at],
        deltas: deltas.iter().map(|deltas| &deltas[at][..]).collect(),
    };
    let models = ModelsInMemory::new(vec![tensor(0), tensor(1)]).unwrap();
    let methods = [
        ("linear", "weight: 0.4"),
        ("slerp", "t: 0.3"),
        ("task_arithmetic", "weight: 0.4"),
        ("ties", "weight: 0.4, density: 0.5"),
        ("ties", "weight: 0.4, density: 0.5, scope: global"),
        ("dare_linear", "weight: 0.4, density: 0.5"),
        ("dare_ties", "weight: 0.4, density: 0.5"),
        ("breadcrumbs", "weight: 0.4, density: 0.5"),
        ("breadcrumbs_ties", "weight: 0.4, density: 0.5"),
        ("della", "weight: 0.4, density: 0.5"),
        ("della_linear", "weight: 0.4, density: 0.5"),
        ("model_stock", ""),
        ("sce", "select_topk: 0.5"),
        ("consensus", "threshold: 0.3"),
        ("tall_mask", "task: two.safetensors"),
        ("cart", "rank: 0.3, matrices: [mat*]"),
        ("tsv", "lambda: 0.7"),
        ("awd", "weight: 0.4, normalize: true"),
        ("bases", "vectors: 1"),
        ("bases", "vectors: 2, task: one.safetensors"),
    ];
    for (method, parameters) in methods {
        let names = ["{model: one.safetensors}", "{model: two.safetensors}"];
        let count = if method == "slerp" { 1 } else { 2 };
        let text = format!(
            "{{merge_method: {method}, base_model: base.safetensors, seed: 4, parameters: {{{parameters}}}, models: [{}]}}",
            names[..count].join(", ")
        );
        let mut tensors = vec![tensor(0), tensor(1)];
        tensors.iter_mut().for_each(|tensor| tensor.deltas.truncate(count));
        let models = ModelsInMemory::new(tensors).unwrap();
        let found = merged_deltas(&desk.recipe(&text).unwrap().settings(), &models).unwrap();
        close(&each(&found, &base, |delta, base| base + delta), &desk.merged(&text));
        assert!(found.iter().flatten().any(|delta| *delta != 0.0), "{method}");
    }
    let text = "{merge_method: tsv, base_model: base.safetensors, parameters: {matrices: [block.*]}, models: [{model: one.safetensors}]}";
    let error = merge_into_checkpoint(&desk.recipe(text).unwrap(), &desk.path("out.safetensors")).unwrap_err();
    assert!(error.to_string().contains("`matrices` names `block.*`, which fits no tensor"), "{error}");
    let settings = MergeSettings::new(MergeMethod::ModelStock, ["one", "two", "three"]);
    let error = merged_deltas(&settings, &models).unwrap_err();
    assert_eq!((error.kind(), error.to_string().contains("3 models, found 2")), (ErrorKind::Mismatch, true), "{error}");
    let short = TensorInMemory { deltas: vec![&[0.0; 4]], ..tensor(0) };
    let error = ModelsInMemory::new(vec![short]).unwrap_err();
    assert!(error.to_string().contains("`bias`: [5] is 5 elements, found 4"), "{error}");
    let error =
        ModelsInMemory::new(vec![tensor(0), TensorInMemory { deltas: vec![&deltas[0][1]], ..tensor(1) }]).unwrap_err();
    assert!(error.to_string().contains("`matrix` has deltas of 1 models, expected 2"), "{error}");
}

/// A pack `NAME.tvp` of what a model changed at the elements that `holds` is true for, counted through all tensors.
fn sparse_pack(desk: &Desk, name: &str, holds: impl Fn(usize) -> bool) -> Vec<u8> {
    let [base, tuned] = ["base", name].map(|name| desk.numbers(name));
    let number = std::cell::Cell::new(0);
    let sparse = each(&tuned, &base, |tuned, base| {
        number.set(number.get() + 1);
        if holds(number.get()) { tuned } else { base }
    });
    let [bias, matrix] = [&sparse[0], &sparse[1]].map(|numbers| f32_bytes(numbers));
    let tensors = [
        NamedTensor { name: "bias", dtype: StoredDtype::F32, shape: &[5], bytes: &bias },
        NamedTensor { name: "matrix", dtype: StoredDtype::F32, shape: &[12, 8], bytes: &matrix },
    ];
    std::fs::write(desk.path("sparse.safetensors"), safetensors(&tensors).unwrap()).unwrap();
    let [from, to] = ["base", "sparse"].map(|name| desk.path(&format!("{name}.safetensors")));
    let bytes = crate::diff::diff(&from, &to, Values::F32, None).unwrap().encoded.bytes;
    std::fs::write(desk.path(&format!("{name}.tvp")), &bytes).unwrap();
    bytes
}

#[test]
fn a_pack_that_is_scaled_or_negated_keeps_its_mask() {
    let desk = Desk::new();
    let bytes = sparse_pack(&desk, "one", |number| number % 5 == 2);
    let vector = |bytes: &[u8]| TaskVector::of_pack(&Pack::read(bytes, &Limits::default()).unwrap());
    let before = vector(&bytes);
    for weight in [-1.0f32, 0.5] {
        let text = format!(
            "{{merge_method: task_arithmetic, base_model: base.safetensors, models: [\
             {{model: one.tvp, parameters: {{weight: {weight}}}}}]}}"
        );
        let (pack, _) = merge_into_pack(&desk.recipe(&text).unwrap(), Values::F32, "scaled").unwrap();
        let after = vector(&pack.bytes);
        assert_eq!((after.entry_count(), after.tensors.len()), (20, before.tensors.len()));
        for (after, before) in after.tensors.iter().zip(&before.tensors) {
            assert_eq!((&after.name, &after.indices), (&before.name, &before.indices));
            let Deltas::Numbers(numbers) = &before.deltas else { panic!("{before:?}") };
            assert_eq!(after.deltas, Deltas::Numbers(numbers.iter().map(|delta| weight * delta).collect()));
        }
    }
}

/// What no model changed is no entry of a merged pack, whatever the method.
#[test]
fn sparse_packs_merge_to_a_sparse_pack() {
    let desk = Desk::new();
    // Two elements of five in each, one of them in both.
    sparse_pack(&desk, "one", |number| [0, 2].contains(&(number % 5)));
    sparse_pack(&desk, "two", |number| [1, 2].contains(&(number % 5)));
    // Three elements of five are in either, one is in both: 61 and 20 of 101.
    for (method, parameters, least, most) in [
        ("task_arithmetic", "weight: 1", 61, 61),
        ("ties", "weight: 1, density: 0.2, scope: global", 20, 40),
        ("consensus", "tasks_min: 1", 50, 61),
        ("consensus", "tasks_min: 2, threshold: 0.01", 10, 20),
        ("tall_mask", "task: one.tvp", 30, 41),
        ("awd", "weight: 1", 61, 61),
        ("bases", "vectors: 1", 61, 61),
        ("sce", "", 50, 61),
    ] {
        let text = format!(
            "{{merge_method: {method}, base_model: base.safetensors, parameters: {{{parameters}}}, \
             models: [{{model: one.tvp}}, {{model: two.tvp}}]}}"
        );
        let (_, merged) = merge_into_pack(&desk.recipe(&text).unwrap(), Values::F32, "merged").unwrap();
        assert!((least..=most).contains(&merged.entry_count), "{method}: {} entries", merged.entry_count);
    }
}
