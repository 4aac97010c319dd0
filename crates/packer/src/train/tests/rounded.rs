//! Runs whose deltas are rounded in training: what was evaluated is what ships, bit for bit.

use taskvec_pack::write::quantize;
use taskvec_pack::{Limits, Pack};

use super::*;
use crate::ErrorKind;
use crate::apply::apply;
use crate::encode::rounding;
use crate::pack_run::{PackWishes, PackedRun, pack_run};
use crate::recipe::Values;
use crate::task_vector::Deltas;

fn in_training(values: &str, settings: &str) -> String {
    skill(&format!("{settings}, pack: {{values: {values}, rounded: in_training}}"))
}

fn packed(folder: &Path, values: Option<Values>) -> PackedRun {
    pack_run(folder, &PackWishes { values, ..PackWishes::default() }).unwrap()
}

/// The weights that a device would have.
fn applied(ground: &Ground, base: &str, pack: &[u8]) -> Vec<u8> {
    let out = ground.path("applied.safetensors");
    apply(&ground.path(base), &[(pack, 1.0)], &out).unwrap();
    fs::read(out).unwrap()
}

fn vector(bytes: &[u8]) -> TaskVector {
    TaskVector::of_pack(&Pack::read(bytes, &Limits::default()).unwrap())
}

#[test]
fn a_pack_holds_the_very_network_that_was_evaluated() {
    let ground = Ground::new();
    ground.bundle("base run", "half", StoredDtype::F16, |_, _| {});
    let masks = [
        "method: talos, mask: {density: 0.1, granule: element}",
        "method: random_mask, mask: {granule: row}",
        "method: dense",
    ];
    let values = ["f32", "f16", "bf16", "int8", "int6", "int4", "int3", "int2", "sign"];
    for (number, values) in values.into_iter().enumerate() {
        for base in ["base", "half"] {
            let name = format!("{values} on {base}");
            let text = in_training(values, masks[number % masks.len()]).replace("base: base", &format!("base: {base}"));
            let run = ground.run(&text, &name);
            let folder = ground.path(&name);
            let packed = packed(&folder, None);
            assert!(packed.as_trained, "{name}");
            assert_eq!(packed.accuracy, run.accuracy, "{name}");
            assert_eq!(run.accuracy.held_out, run.epochs.last().unwrap().held_out_accuracy, "{name}");
            let tuned = fs::read(folder.join(TUNED_FILE)).unwrap();
            assert!(applied(&ground, base, &packed.encoded.bytes) == tuned, "{name}: other weights");
            let kept = fs::read(folder.join(DELTAS_FILE)).unwrap();
            assert_eq!(vector(&kept), vector(&packed.encoded.bytes), "{name}");
            let entries: u64 = packed.encoded.tensors.iter().map(|tensor| tensor.entry_count).sum();
            assert_eq!(entries, run.mask.entries, "{name}: a delta of 0 keeps its place in its block");
            assert!(run.epochs.last().unwrap().loss < run.epochs[0].loss, "{name}: {:?}", run.epochs);
        }
    }
}

/// Between any two steps: the network in memory, the file that would be written, and nothing of the numbers in full.
#[test]
fn the_network_of_each_step_is_the_file_of_that_step() {
    let ground = Ground::new();
    ground.bundle("base run", "half", StoredDtype::F16, |_, _| {});
    let device = Device::flex();
    for base in ["base", "half"] {
        let recipe =
            ground.recipe(&in_training("int2", "method: dense").replace("base: base", &format!("base: {base}")));
        let start = Start::new(&recipe, &device).unwrap();
        let task = Task::open(&recipe, &start.preprocessing).unwrap();
        let editable = start.editable();
        let shapes: Vec<_> = editable.iter().map(|tensor| (tensor.name.clone(), tensor.shape.clone())).collect();
        let (mask, head) = (dense::mask(&shapes), start.fresh_head(4, 1));
        let mut training = Training::begin(beginning(&start, &editable, &mask, head, &recipe, &device)).unwrap();
        training.round_deltas(recipe.pack.rounding_in_training().unwrap(), |name| start.dtype(name));
        for step in 0..4 {
            let bytes = start.tuned(training.learners()).unwrap();
            let written = start.with_tensors(&TensorFile::parse(&bytes).unwrap(), &bytes).unwrap();
            let bits = |network| -> Vec<(String, Vec<u32>)> {
                let tensors = crate::finetune::leaves::host_tensors(network).into_iter();
                tensors
                    .map(|tensor| (tensor.name, tensor.values.iter().map(|value| value.to_bits()).collect()))
                    .collect()
            };
            let crate::model::Model::Whole(network) = training.model() else { panic!() };
            assert!(bits(&network) == bits(&written), "{base}, step {step}");
            assert_eq!(bits(&written) == bits(&start.network), step == 0, "{base}, step {step}");
            let learner = training.learners().iter().find(|learner| learner.name == "blocks.0.mlp.fc1.weight").unwrap();
            assert_eq!(learner.in_full() == learner.computed(), step == 0, "{base}, step {step}");
            training.advance(&Crew::new(2), &task.train, [&[0, 1, 2, 3, 4, 5, 6, 7], &[]], &recipe);
        }
    }
}

/// The gradient of a rounded network moves numbers that are not, so what is lost in a step is not lost for ever.
#[test]
fn few_bits_learn_more_in_training_than_they_keep_afterwards() {
    let ground = Ground::new();
    let method = "method: random_mask, mask: {density: 0.3}";
    for values in ["int2", "sign"] {
        ground.run(&skill(&format!("{method}, pack: {{values: {values}}}")), &format!("{values} afterwards"));
        ground.run(&in_training(values, method), values);
        let [afterwards, in_training] =
            [format!("{values} afterwards"), values.to_owned()].map(|name| packed(&ground.path(&name), None));
        assert_eq!(afterwards.trained_with, None);
        assert!(!afterwards.as_trained && in_training.as_trained);
        let [afterwards, in_training] = [afterwards, in_training].map(|packed| packed.accuracy.test.unwrap());
        assert!(in_training >= afterwards, "{values}: {in_training} in training, {afterwards} afterwards");
    }
}

#[test]
fn other_values_round_the_trained_deltas_again() {
    let ground = Ground::new();
    ground.run(&in_training("int8", "method: talos"), "run");
    let folder = ground.path("run");
    let trained = vector(&fs::read(folder.join(DELTAS_FILE)).unwrap());
    let fewer = packed(&folder, Some(Values::Int2));
    assert_eq!((fewer.trained_with, fewer.as_trained), (Some(Values::Int8), false));
    let found = vector(&fewer.encoded.bytes);
    for (trained, found) in trained.tensors.iter().zip(&found.tensors) {
        let Deltas::Numbers(numbers) = &trained.deltas else { panic!("{trained:?}") };
        assert_eq!(found.deltas, Deltas::Numbers(quantize(numbers, rounding(Values::Int2).unwrap())));
        assert_eq!(found.indices, trained.indices);
    }
    // Losslessly the trained weights come back, from the weights.
    let exact = packed(&folder, Some(Values::Lossless));
    assert_eq!((exact.trained_with, exact.as_trained), (Some(Values::Int8), false));
    assert!(applied(&ground, "base", &exact.encoded.bytes) == fs::read(folder.join(TUNED_FILE)).unwrap());
    assert_eq!(exact.accuracy, exact.run.accuracy);
    assert!(packed(&folder, Some(Values::Int8)).as_trained);
}

#[test]
fn deltas_that_are_gone_or_of_another_run_are_refused() {
    let ground = Ground::new();
    ground.bundle("base run", "half", StoredDtype::F16, |_, _| {});
    ground.run(&in_training("int4", "method: talos"), "run");
    ground.run(&in_training("int4", "method: talos").replace("base: base", "base: half"), "other");
    let deltas = ground.path("run").join(DELTAS_FILE);
    let refusal = || pack_run(&ground.path("run"), &PackWishes::default()).unwrap_err();
    fs::copy(ground.path("other").join(DELTAS_FILE), &deltas).unwrap();
    assert_eq!(refusal().kind(), ErrorKind::Mismatch, "{}", refusal());
    fs::write(&deltas, b"no pack").unwrap();
    assert_eq!(refusal().kind(), ErrorKind::Damaged, "{}", refusal());
    fs::remove_file(&deltas).unwrap();
    assert_eq!(refusal().kind(), ErrorKind::Io, "{}", refusal());
    assert!(refusal().to_string().contains("deltas.tvp") && refusal().help().is_some(), "{:?}", refusal());
}
