//! Learning in the tangent space.

use super::*;
use crate::model::Model;

/// The run's network, as it was judged and otherwise.
fn accuracies(ground: &Ground, run: &str) -> [f64; 2] {
    let device = Device::flex();
    let start = Start::from_bundle(&ground.path("base"), &device).unwrap();
    let recipe = Recipe::open(&ground.path(run).join(RECIPE_FILE)).unwrap();
    let task = Task::open(&recipe, &start.preprocessing).unwrap();
    let bytes = std::fs::read(ground.path(run).join(TUNED_FILE)).unwrap();
    let network = start.with_tensors(&TensorFile::parse(&bytes).unwrap(), &bytes).unwrap();
    let head = crate::run_folder::read_head(&ground.path(run)).unwrap();
    [true, false].map(|is_linearized| {
        let model = Model::of(&start.network, network.clone(), is_linearized);
        accuracy(&head, &features(&Crew::new(1), &model, &task.test, &device), &task.test.labels).unwrap().unwrap()
    })
}

#[test]
fn a_linearized_run_is_judged_linearized_and_its_pack_says_so() {
    let ground = Ground::new();
    let run = ground.run(&skill("linearized: true").replace("learning_rate: 3e-3", "learning_rate: 3e-2"), "tangent");
    let [linearized, whole] = accuracies(&ground, "tangent");
    assert_eq!(run.accuracy.test, Some(linearized));
    assert_ne!(linearized, whole, "the deltas are so small that the test cannot fail");
    let packed = crate::pack_run::pack_run(&ground.path("tangent"), &Default::default()).unwrap();
    assert_eq!(packed.accuracy.test, Some(linearized));
    let pack = taskvec_pack::Pack::read(&packed.encoded.bytes, &taskvec_pack::Limits::default()).unwrap();
    assert_eq!(pack.manifest().method, taskvec_pack::Method::Linearized);
}

/// With a loss whose gradient is the same, and the base for a start, the first steps are those of the network itself.
#[test]
fn the_first_step_is_that_of_the_network_itself() {
    let ground = Ground::new();
    let steps = |settings: &str, run: &str| {
        let steady =
            "optimizer: {learning_rate: 0.01, warmup_steps: 0, schedule: constant, epsilon: 1.0, weight_decay: 0}";
        let recipe = skill(settings).replace("epochs: 6", "steps: 1");
        ground
            .run(&recipe.replace("optimizer: {learning_rate: 3e-3, warmup_steps: 5, weight_decay: 0.1}", steady), run);
        let bytes = std::fs::read(ground.path(run).join(TUNED_FILE)).unwrap();
        let file = TensorFile::parse(&bytes).unwrap();
        let start = Start::from_bundle(&ground.path("base"), &Device::flex()).unwrap();
        crate::finetune::leaves::host_tensors(&start.with_tensors(&file, &bytes).unwrap())
    };
    let (whole, tangent) = (steps("linearized: false", "whole"), steps("linearized: true", "tangent"));
    let start = Start::from_bundle(&ground.path("base"), &Device::flex()).unwrap();
    for ((whole, tangent), base) in whole.iter().zip(&tangent).zip(&start.tensors) {
        let moved = |now: &HostTensor| -> Vec<f32> {
            now.values.iter().zip(&base.values).map(|(now, then)| now - then).collect()
        };
        let (whole, tangent) = (moved(whole), moved(tangent));
        let largest = whole.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
        for (whole, tangent) in whole.iter().zip(&tangent) {
            assert!((whole - tangent).abs() <= 1e-3 * largest + 1e-7, "`{}`: {whole} {tangent}", base.name);
        }
    }
}
