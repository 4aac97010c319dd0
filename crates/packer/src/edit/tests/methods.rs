//! What holds for each method: laws, on models in memory.

use proptest::prelude::{ProptestConfig, any, proptest};

use super::super::{MergeMethod, MergeSettings, ModelsInMemory, Scope, TensorInMemory, merged_deltas};
use crate::random::Random;

const NAMES: [&str; 5] = ["german", "medicine", "law", "poetry", "cooking"];
const SHAPES: [(&str, &[usize]); 4] =
    [("tall", &[7, 4]), ("wide", &[3, 6]), ("bias", &[5]), ("convolution", &[2, 2, 3, 1])];

/// What a model changed of each tensor.
type Task = Vec<Vec<f32>>;

fn drawn(seed: u64, count: usize) -> Vec<Task> {
    let tensor = |random: &mut Random, shape: &[usize]| (0..shape.iter().product()).map(|_| random.normal()).collect();
    let task = |at: usize| {
        let mut random = Random::new(seed, &format!("task {at}"));
        SHAPES.iter().map(|(_, shape)| tensor(&mut random, shape)).collect()
    };
    (0..count).map(task).collect()
}

fn merged(settings: &MergeSettings, tasks: &[Task]) -> Task {
    let base: Task = SHAPES.iter().map(|(_, shape)| vec![0.5; shape.iter().product()]).collect();
    let tensor = |at: usize| TensorInMemory {
        name: SHAPES[at].0,
        shape: SHAPES[at].1,
        base: &base[at],
        deltas: tasks.iter().map(|task| &task[at][..]).collect(),
    };
    merged_deltas(settings, &ModelsInMemory::new((0..SHAPES.len()).map(tensor).collect()).unwrap()).unwrap()
}

/// Every method that treats models alike and draws nothing of each, ready for models of these names.
fn symmetric(names: &[&str]) -> Vec<(String, MergeSettings)> {
    let mut all = Vec::new();
    let mut add = |method: MergeMethod, what: &str, set: &dyn Fn(&mut MergeSettings)| {
        let mut settings = MergeSettings::new(method, names.iter().copied());
        settings.parameters.weight = method.is_weighted().then_some(0.5);
        set(&mut settings);
        all.push((format!("{}{what}", method.name()), settings));
    };
    let density = |settings: &mut MergeSettings| settings.parameters.density = Some(0.4);
    add(MergeMethod::Linear, "", &|_| ());
    add(MergeMethod::TaskArithmetic, "", &|_| ());
    add(MergeMethod::Ties, "", &density);
    add(MergeMethod::Ties, ", global", &|settings| {
        density(settings);
        settings.parameters.scope = Some(Scope::Global);
    });
    add(MergeMethod::Breadcrumbs, "", &density);
    add(MergeMethod::BreadcrumbsTies, "", &density);
    if names.len() > 1 {
        add(MergeMethod::ModelStock, "", &|_| ());
    }
    add(MergeMethod::Sce, "", &|_| ());
    add(MergeMethod::Sce, ", half", &|settings| settings.parameters.select_topk = Some(0.5));
    add(MergeMethod::Consensus, "", &|settings| settings.parameters.tasks_min = Some(names.len().min(2)));
    add(MergeMethod::Cart, "", &|settings| settings.parameters.rank = Some(0.5));
    add(MergeMethod::Tsv, "", &|_| ());
    add(MergeMethod::Awd, "", &|_| ());
    add(MergeMethod::Bases, "", &|settings| {
        settings.parameters.vectors = Some(names.len().div_ceil(2));
        settings.parameters.steps = Some(200);
    });
    all
}

fn off(found: &Task, expected: &Task) -> f32 {
    found.iter().flatten().zip(expected.iter().flatten()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_order_of_the_models_changes_nothing(seed in any::<u64>(), count in 1usize..=5) {
        let tasks = drawn(seed, count);
        let mut order: Vec<usize> = (0..count).collect();
        Random::new(seed, "order").shuffle(&mut order);
        let moved: Vec<Task> = order.iter().map(|at| tasks[*at].clone()).collect();
        let names: Vec<&str> = order.iter().map(|at| NAMES[*at]).collect();
        for ((what, settings), (_, of_moved)) in symmetric(&NAMES[..count]).iter().zip(symmetric(&names)) {
            let (expected, found) = (merged(settings, &tasks), merged(&of_moved, &moved));
            assert!(off(&found, &expected) < 1e-4, "{what}: off by {}", off(&found, &expected));
        }
    }

    #[test]
    fn models_that_changed_nothing_merge_to_nothing(count in 1usize..=4) {
        let nothing: Task = SHAPES.iter().map(|(_, shape)| vec![0.0; shape.iter().product()]).collect();
        for (what, settings) in symmetric(&NAMES[..count]) {
            let found = merged(&settings, &vec![nothing.clone(); count]);
            assert!(found.iter().flatten().all(|delta| *delta == 0.0), "{what}: {found:?}");
        }
    }

    /// Without a density that would take something off.
    #[test]
    fn one_model_alone_is_itself(seed in any::<u64>()) {
        let tasks = drawn(seed, 1);
        for (what, mut settings) in symmetric(&NAMES[..1]) {
            settings.parameters.weight = settings.parameters.weight.map(|_| 1.0);
            settings.parameters.density = None;
            // Nothing varies in one model.
            if what == "sce, half" {
                continue;
            }
            let found = merged(&settings, &tasks);
            assert!(off(&found, &tasks[0]) < 1e-5, "{what}: off by {}", off(&found, &tasks[0]));
        }
    }

    /// A suite that looks for the best coefficient merges once.
    #[test]
    fn lambda_is_a_factor_on_what_a_method_merges(seed in any::<u64>()) {
        let tasks = drawn(seed, 3);
        for (what, mut settings) in symmetric(&NAMES[..3]) {
            if ["linear", "model_stock", "cart"].contains(&what.as_str()) {
                continue;
            }
            let whole = merged(&settings, &tasks);
            settings.parameters.lambda = Some(0.3);
            let expected = whole.iter().map(|deltas| deltas.iter().map(|delta| 0.3 * delta).collect()).collect();
            let found = merged(&settings, &tasks);
            assert!(off(&found, &expected) < 1e-5, "{what}: off by {}", off(&found, &expected));
        }
    }
}

#[test]
fn at_full_rank_cart_is_the_mean_and_equal_models_merge_to_what_they_are() {
    let tasks = drawn(3, 3);
    let mut settings = MergeSettings::new(MergeMethod::Cart, NAMES[..3].iter().copied());
    settings.parameters.rank = Some(1.0);
    settings.parameters.lambda = Some(1.7);
    let mut mean = MergeSettings::new(MergeMethod::Linear, NAMES[..3].iter().copied());
    mean.parameters.weight = Some(1.0);
    assert!(off(&merged(&settings, &tasks), &merged(&mean, &tasks)) < 1e-5);
    let equal = vec![tasks[0].clone(); 3];
    settings.parameters.rank = None;
    assert!(off(&merged(&settings, &equal), &tasks[0]) < 1e-5);
    let mut settings = MergeSettings::new(MergeMethod::Tsv, NAMES[..3].iter().copied());
    settings.parameters.rank = Some(1.0);
    assert!(off(&merged(&settings, &equal), &tasks[0]) < 1e-5);
}

/// Trap 2 of the field: a share of each tensor and a share of the whole model are not the same deltas.
#[test]
fn trimming_the_whole_model_is_not_trimming_each_tensor() {
    let mut tasks = drawn(1, 2);
    // A tensor that hardly changed.
    tasks.iter_mut().for_each(|task| task[2].iter_mut().for_each(|delta| *delta *= 0.001));
    let with = |scope| {
        let mut settings = MergeSettings::new(MergeMethod::Ties, NAMES[..2].iter().copied());
        settings.parameters.weight = Some(1.0);
        settings.parameters.density = Some(0.2);
        settings.parameters.scope = scope;
        merged(&settings, &tasks)
    };
    let (each, whole) = (with(None), with(Some(Scope::Global)));
    assert_eq!(with(Some(Scope::Tensor)), each);
    assert!(each[2].iter().any(|delta| *delta != 0.0) && whole[2].iter().all(|delta| *delta == 0.0), "{whole:?}");
    // By hand, of the flattened model: the largest fifth of each, the sign of the sum, the mean of those that have it.
    let flat: Vec<Vec<f32>> = tasks.iter().map(|task| task.concat()).collect();
    let trimmed: Vec<Vec<f32>> = flat
        .iter()
        .map(|deltas| {
            let mut magnitudes: Vec<f32> = deltas.iter().map(|delta| delta.abs()).collect();
            magnitudes.sort_by(f32::total_cmp);
            let least = magnitudes[magnitudes.len() - magnitudes.len() / 5];
            deltas.iter().map(|delta| if delta.abs() >= least { *delta } else { 0.0 }).collect()
        })
        .collect();
    let element = |at: usize| {
        let sum: f32 = trimmed.iter().map(|deltas| deltas[at]).sum();
        let agreeing: Vec<f32> = trimmed.iter().map(|deltas| deltas[at]).filter(|delta| delta * sum > 0.0).collect();
        agreeing.iter().sum::<f32>() / agreeing.len().max(1) as f32
    };
    let expected: Vec<f32> = (0..flat[0].len()).map(element).collect();
    assert!(off(&vec![whole.concat()], &vec![expected]) < 1e-6);
}

/// Trap 7 of the field: the base's weights stood where the sum of the task vectors belongs.
#[test]
fn tall_masks_compare_deltas_with_deltas_and_give_a_task_back() {
    let tasks = drawn(8, 3);
    let mut settings = MergeSettings::new(MergeMethod::TallMask, NAMES[..3].iter().copied());
    settings.parameters.task = Some("medicine".to_owned());
    let found = merged(&settings, &tasks);
    let (mut in_mask, mut outside) = (0, 0);
    for (tensor, found) in found.iter().enumerate() {
        for (at, found) in found.iter().enumerate() {
            let sum: f32 = tasks.iter().map(|task| task[tensor][at]).sum();
            let own = tasks[1][tensor][at];
            let expected = if own.abs() > 0.4 * (sum - own).abs() { sum } else { 0.0 };
            assert!((found - expected).abs() < 1e-6);
            *if expected == 0.0 { &mut outside } else { &mut in_mask } += 1;
        }
    }
    assert!(in_mask > 10 && outside > 10, "{in_mask} and {outside}");
    // Masks of tasks that touch other elements give each of them back, bit for bit.
    let mut apart = tasks;
    for (place, task) in apart.iter_mut().enumerate() {
        let elements = task.iter_mut().flat_map(|deltas| deltas.iter_mut().enumerate());
        elements.filter(|(at, _)| at % 3 != place).for_each(|(_, delta)| *delta = 0.0);
    }
    assert_eq!(merged(&settings, &apart), apart[1]);
}

/// What a basis knows of a task, and the sum of what it is.
#[test]
fn a_basis_of_all_tasks_gives_each_back() {
    let tasks = drawn(5, 3);
    let mut settings = MergeSettings::new(MergeMethod::Bases, NAMES[..3].iter().copied());
    settings.parameters.vectors = Some(3);
    for (at, task) in tasks.iter().enumerate() {
        settings.parameters.task = Some(NAMES[at].to_owned());
        let found = merged(&settings, &tasks);
        assert!(off(&found, task) < 0.05, "{at}: off by {}", off(&found, task));
    }
}
