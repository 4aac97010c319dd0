//! Statistics of batch norms that a recipe has measured: who has them, and to which bit.

use taskvec_networks::is_statistic;

use super::*;
use crate::apply::apply;
use crate::budget::{Budget, Goal, Wanted};
use crate::pack_run::{PackWishes, pack_run};
use crate::recipe::Values;

const MEASURED: &str = "batch_norm_statistics: measured, method: dense";

/// The statistics in a file: names and bytes.
fn statistics(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let file = Checkpoint::open(path).unwrap();
    let tensors = file.tensors().iter().filter(|tensor| is_statistic(tensor.name()));
    tensors.map(|tensor| (tensor.name().to_owned(), file.read(tensor).unwrap())).collect()
}

#[test]
fn a_run_has_the_statistics_of_its_images_and_the_base_is_judged_by_its_own() {
    let ground = Ground::of(RESNET);
    let [run, frozen] = [MEASURED, "method: dense"].map(|settings| {
        let name = if settings == MEASURED { "measured" } else { "frozen" };
        ground.run(&skill(settings), name)
    });
    assert_eq!(run.base_accuracy, frozen.base_accuracy);
    assert!(run.epochs.last().unwrap().loss < run.epochs[0].loss, "{:?}", run.epochs);
    let [of_base, of_run, of_frozen] =
        [ground.path("base"), ground.path("measured").join(TUNED_FILE), ground.path("frozen").join(TUNED_FILE)]
            .map(|path| statistics(&path));
    assert_eq!(of_base.len(), 2 * 7, "a network of depth 8 has seven batch norms");
    assert!(of_base == of_frozen);
    assert!(of_base.iter().all(|(name, bytes)| of_run[name] != *bytes));
    // Neither masks nor optimizers know of them.
    assert!(run.mask.tensors.iter().all(|tensor| !is_statistic(&tensor.name)));
    assert_eq!((run.mask.entries, run.optimizer_bytes), (frozen.mask.entries, frozen.optimizer_bytes));
}

#[test]
fn every_pack_carries_them_to_the_bit_whatever_its_encoding() {
    let ground = Ground::of(RESNET);
    ground.bundle("base run", "half", StoredDtype::F16, |_, _| {});
    for (base, dtype) in [("base", "f32"), ("half", "f16")] {
        let settings =
            |settings: &str| skill(&format!("{MEASURED}{settings}")).replace("base: base", &format!("base: {base}"));
        ground.run(&settings(""), &format!("{dtype} run"));
        ground.run(&settings(", pack: {values: int4, rounded: in_training}"), &format!("{dtype} rounded"));
        let budget = |goal| {
            let wanted = Wanted { goal, rescale: true, reserved: 0, curve_points: 0 };
            PackWishes { budget: Some(wanted), ..PackWishes::default() }
        };
        let values = |values| PackWishes { values: Some(values), ..PackWishes::default() };
        let wishes = [
            ("run", values(Values::Sign)),
            ("run", values(Values::Int8)),
            ("run", values(Values::Lossless)),
            ("run", budget(Goal::Within(Budget::Bytes(9000)))),
            ("rounded", PackWishes::default()),
        ];
        for (run, wishes) in wishes {
            let run = ground.path(&format!("{dtype} {run}"));
            let packed = pack_run(&run, &wishes).unwrap();
            let applied = ground.path("applied.safetensors");
            apply(&ground.path(base), &[(&packed.encoded.bytes, 1.0)], &applied).unwrap();
            assert!(statistics(&applied) == statistics(&run.join(TUNED_FILE)), "{dtype}: {wishes:?}");
        }
    }
}

#[test]
fn an_interrupted_run_measures_the_same_again() {
    let ground = Ground::of(RESNET);
    let recipe = ground.recipe(&skill(&format!("{MEASURED}, augmentation: {{shift_pixels: 1}}")));
    train(&recipe, &ground.path("whole"), &mut (), &AtomicBool::new(false)).unwrap();
    for left in [3, 17] {
        let stop = AtomicBool::new(false);
        let ending = train(&recipe, &ground.path("run"), &mut StopAfter { stop: &stop, left }, &stop).unwrap();
        assert!(matches!(ending, Ending::Stopped { .. }), "{ending:?}");
    }
    train(&recipe, &ground.path("run"), &mut (), &AtomicBool::new(false)).unwrap();
    assert!(results(&ground.path("run")) == results(&ground.path("whole")));
}

#[test]
fn a_mask_may_come_from_a_pack_that_has_statistics() {
    let ground = Ground::of(RESNET);
    ground.run(&skill(MEASURED), "first");
    let packed = pack_run(&ground.path("first"), &PackWishes::default()).unwrap();
    fs::write(ground.path("first.tvp"), &packed.encoded.bytes).unwrap();
    let run = ground.run(&skill("method: shared_mask, mask: {from: first.tvp}"), "second");
    assert!(run.mask.entries > 0);
    assert!(statistics(&ground.path("second").join(TUNED_FILE)) == statistics(&ground.path("base")));
}
