//! Runs on a tiny network and drawn pictures: what comes out, on any number of threads, stopped or not.

#[cfg(any(feature = "cuda", feature = "wgpu"))]
mod gpu;
mod linearized;
mod masks;
mod rounded;
mod statistics;
mod ways;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use taskvec_bundle::{BASE_FILE, Base, BaseDraft, Interface, MODEL_FILE, NamedTensor, Pictures, StoredDtype};
use taskvec_checkpoint::Checkpoint;
use tempfile::TempDir;

use super::*;
use crate::evaluate::table;
use crate::finetune::dense;
use crate::finetune::leaves::HostTensor;
use crate::mask::Mask;
use crate::random::Random;
use crate::run_folder::{CHECKPOINT_FOLDER, HEAD_FILE, LABELS_FILE, f32_bytes, f32s, read_head, safetensors};

const SIDE: usize = 8;
const VIT: &str = "{family: vit, image_size: 8, patch_size: 4, channels: 1, width: 16, depth: 2, heads: 2,
    mlp_width: 32, gelu: exact, layer_norm_epsilon: 1e-6}";
const RESNET: &str = "{family: resnet, image_size: 8, channels: 1, width: 8, depth: 8, batch_norm_epsilon: 1e-5}";

/// A folder with a base trained on five drawn classes and the data of another task of four.
struct Ground {
    folder: TempDir,
    network: &'static str,
}

impl Ground {
    fn new() -> Ground {
        Ground::of(VIT)
    }

    fn of(network: &'static str) -> Ground {
        let ground = Ground { folder: tempfile::tempdir().unwrap(), network };
        write_data(&ground.path("shapes"), "shapes", 5);
        write_data(&ground.path("signs"), "signs", 4);
        let recipe = format!(
            "{{name: tiny, seed: 1, network: {network}, data: shapes, epochs: 12, batch: 16, held_out: 0.2,
               optimizer: {{learning_rate: 3e-3, warmup_steps: 5}}}}"
        );
        let run = ground.run(&recipe, "base run");
        assert!(run.accuracy.test.unwrap() > 0.8, "the base learned: {run:?}");
        assert_eq!(run.base_accuracy, None);
        ground.bundle("base run", "base", StoredDtype::F32, |_, _| {});
        ground
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn recipe(&self, text: &str) -> Recipe {
        Recipe::parse(text, self.folder.path()).unwrap()
    }

    fn run(&self, recipe: &str, name: &str) -> Run {
        let ending = train(&self.recipe(recipe), &self.path(name), &mut (), &AtomicBool::new(false)).unwrap();
        let Ending::Finished(run) = ending else { panic!("{ending:?}") };
        *run
    }

    /// A bundle of the weights of a base run, as f32 or f16, after `change` has seen each tensor.
    fn bundle(&self, run: &str, name: &str, dtype: StoredDtype, change: impl Fn(&str, &mut [f32])) {
        let tuned = Checkpoint::open(&self.path(run).join(TUNED_FILE)).unwrap();
        let tensors = tuned.tensors().iter().map(|tensor| {
            let mut values = f32s(&tuned.read(tensor).unwrap());
            change(tensor.name(), &mut values);
            let halves = || values.iter().flat_map(|value| half::f16::from_f32(*value).to_le_bytes()).collect();
            (tensor.name(), tensor.shape(), if dtype == StoredDtype::F16 { halves() } else { f32_bytes(&values) })
        });
        let tensors: Vec<_> = tensors.collect();
        let named = tensors.iter().map(|(name, shape, bytes)| NamedTensor { name, dtype, shape, bytes });
        let bytes = safetensors(&named.collect::<Vec<_>>()).unwrap();
        let recipe = self.recipe(&format!("{{name: x, network: {}, data: shapes, steps: 1}}", self.network));
        let start = Start::new(&recipe, &Device::flex());
        let config = recipe.network.unwrap();
        let mut editable: Vec<String> = tensors.iter().map(|(name, ..)| (*name).to_owned()).collect();
        editable.sort();
        let draft = BaseDraft {
            name: name.to_owned(),
            network: serde_json::to_value(&config).unwrap(),
            interface: Interface::Pictures(Pictures {
                preprocessing: start.unwrap().preprocessing,
                feature_width: config.feature_width() as u32,
            }),
            stands_for: None,
            heads: vec![],
            editable,
        };
        let file = TensorFile::parse(&bytes).unwrap();
        let base = Base::describe(draft, &file, &bytes).unwrap();
        fs::create_dir_all(self.path(name)).unwrap();
        fs::write(self.path(name).join(MODEL_FILE), &bytes).unwrap();
        fs::write(self.path(name).join(BASE_FILE), base.to_json()).unwrap();
    }

    /// The indices of the entries in which a run differs from the base, by tensor.
    fn changed(&self, base: &str, run: &str) -> BTreeMap<String, Vec<usize>> {
        let base = Checkpoint::open(&self.path(base)).unwrap();
        let tuned = Checkpoint::open(&self.path(run).join(TUNED_FILE)).unwrap();
        let changed = |tensor: &taskvec_checkpoint::StoredTensor| {
            let then = f32s(&base.read(tensor).unwrap());
            let now = f32s(&tuned.read(tuned.tensor(tensor.name()).unwrap()).unwrap());
            let differs = |index: &usize| then[*index].to_bits() != now[*index].to_bits();
            (tensor.name().to_owned(), (0..then.len()).filter(differs).collect())
        };
        base.tensors().iter().map(changed).collect()
    }
}

/// The recipe of a skill on the task `signs`, with more settings in front.
fn skill(settings: &str) -> String {
    format!(
        "{{name: signs, seed: 7, base: base, data: signs, epochs: 6, batch: 16, held_out: 0.25, {settings},
           optimizer: {{learning_rate: 3e-3, warmup_steps: 5, weight_decay: 0.1}}, checkpoint_steps: 4}}"
    )
}

/// Classes are pictures of drawn bars; images are noisy, shifted copies.
fn write_data(folder: &Path, kind: &str, classes: usize) {
    fs::create_dir_all(folder).unwrap();
    let picture = |class: usize| {
        let mut random = Random::new(11, &format!("{kind}/{class}"));
        (0..SIDE * SIDE).map(|_| if random.uniform() < 0.4 { 200.0 } else { 30.0 }).collect::<Vec<f32>>()
    };
    for (part, per_class) in [("train", 40), ("test", 25)] {
        let count = classes * per_class;
        let mut random = Random::new(12, &format!("{kind}/{part}"));
        let (mut images, mut labels) = (vec![0, 0, 8, 3], vec![0, 0, 8, 1]);
        for size in [count, SIDE, SIDE] {
            images.extend((size as u32).to_be_bytes());
        }
        labels.extend((count as u32).to_be_bytes());
        for image in 0..count {
            let picture = picture(image % classes);
            let shift = random.below(2) as usize;
            for place in 0..SIDE * SIDE {
                let (y, x) = (place / SIDE, (place % SIDE + shift) % SIDE);
                images.push((picture[y * SIDE + x] + 45.0 * random.normal()).clamp(0.0, 255.0) as u8);
            }
            labels.push((image % classes) as u8);
        }
        fs::write(folder.join(format!("{part}-images.idx3-ubyte")), images).unwrap();
        fs::write(folder.join(format!("{part}-labels.idx1-ubyte")), labels).unwrap();
    }
}

/// Of a training of ten steps with a head that learns.
fn beginning<'a>(
    start: &Start,
    tensors: &'a [HostTensor],
    mask: &'a Mask,
    head: HostHead,
    recipe: &'a Recipe,
    device: &'a Device,
) -> Beginning<'a> {
    Beginning {
        network: start.network.clone(),
        tensors,
        mask,
        head,
        head_learns: true,
        recipe,
        curvature: None,
        steps: 0..10,
        finds_mask: false,
        device,
    }
}

/// Everything that a finished run leaves, but for the times.
fn results(folder: &Path) -> BTreeMap<&'static str, Vec<u8>> {
    let mut names = vec![RECIPE_FILE, TUNED_FILE, HEAD_FILE, LABELS_FILE, RUN_FILE];
    names.extend(folder.join(DELTAS_FILE).exists().then_some(DELTAS_FILE));
    names.into_iter().map(|name| (name, fs::read(folder.join(name)).unwrap())).collect()
}

#[test]
fn every_method_learns_and_changes_no_bit_outside_its_mask() {
    let ground = Ground::new();
    struct Case {
        name: &'static str,
        settings: &'static str,
        density: Option<f64>,
    }
    let cases = [
        Case { name: "dense", settings: "method: dense", density: None },
        Case { name: "attention", settings: "method: attention_only", density: None },
        Case { name: "talos", settings: "method: talos, mask: {density: 0.1, granule: element}", density: Some(0.1) },
        Case {
            name: "most",
            settings: "method: most_sensitive, mask: {density: 0.1, granule: element, rounds: 2}",
            density: Some(0.1),
        },
        Case {
            name: "random",
            settings: "method: random_mask, mask: {density: 0.1, granule: element}",
            density: Some(0.1),
        },
    ];
    for Case { name, settings, density } in cases {
        let run = ground.run(&skill(settings), name);
        // A head of class means is good on drawn pictures; learning has to keep that up and bring the loss down.
        let (base, tuned) = (run.base_accuracy.unwrap().test.unwrap(), run.accuracy.test.unwrap());
        assert!(tuned >= base - 0.05 && tuned > 0.7, "{name}: {base} became {tuned}");
        let (first, last) = (&run.epochs[0], run.epochs.last().unwrap());
        assert!(last.loss < first.loss, "{name}: {:?}", run.epochs);
        assert_eq!(run.epochs.len(), 6);
        let changed = ground.changed("base", name);
        for tensor in &run.mask.tensors {
            let count = changed[&tensor.name].len() as u64;
            assert!(count <= tensor.entries, "{name}: `{}` has {count} changes for {tensor:?}", tensor.name);
        }
        let changes: usize = changed.values().map(Vec::len).sum();
        assert!(changes as f64 > 0.9 * run.mask.entries as f64, "{name}: {changes} of {}", run.mask.entries);
        if let Some(density) = density {
            let report = run.mask.calibration.as_ref().unwrap();
            assert_eq!(run.mask.entries, (density * report.maskable as f64).round() as u64, "{name}");
            assert!(changed["cls_token"].is_empty() && changed["pos_embed"].is_empty());
            let biases = &changed["blocks.0.attn.qkv.bias"];
            assert!(biases.iter().all(|index| !(16..32).contains(index)), "key biases: {biases:?}");
            // Optimizer memory: two f32 for each entry of the mask and of the head.
            assert_eq!(run.optimizer_bytes, 8 * (run.mask.entries + 4 * 17));
        }
        assert!(!ground.path(name).join(CHECKPOINT_FOLDER).exists());
    }
}

#[test]
fn one_thread_and_several_give_the_same_bytes() {
    let ground = Ground::new();
    let recipe = ground.recipe(&skill("method: talos, shards: 3, augmentation: {shift_pixels: 1, rotate_degrees: 5}"));
    let mut all = Vec::new();
    for threads in [1, 2, 4] {
        let folder = ground.path(&format!("threads {threads}"));
        let ending = train_on(&Crew::new(threads), &recipe, &folder, &mut (), &AtomicBool::new(false)).unwrap();
        assert!(matches!(ending, Ending::Finished(_)));
        all.push(results(&folder));
    }
    assert!(all[0] == all[1] && all[1] == all[2]);
}

/// Stops after so many looks at what happens.
struct StopAfter<'a> {
    stop: &'a AtomicBool,
    left: usize,
}

impl StopAfter<'_> {
    fn look(&mut self) {
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
}

impl Progress for StopAfter<'_> {
    fn advance(&mut self, _: u64) {
        self.look();
    }

    fn step(&mut self, _: &StepReport) {
        self.look();
    }
}

#[test]
fn a_run_that_was_stopped_again_and_again_ends_with_the_same_bytes() {
    let ground = Ground::new();
    let rounded = "method: random_mask, pack: {values: int3, rounded: in_training}";
    for (number, settings) in ["method: talos, augmentation: {shift_pixels: 1}", "method: dense", rounded]
        .into_iter()
        .chain(ways::ALL)
        .enumerate()
    {
        let recipe = ground.recipe(&skill(settings));
        let whole = ground.path(&format!("whole {number}"));
        train(&recipe, &whole, &mut (), &AtomicBool::new(false)).unwrap();
        // 13 divides neither the pieces of a calibration round, nor an epoch, nor the steps between checkpoints.
        let pieces = ground.path(&format!("pieces {number}"));
        let mut stops = 0;
        loop {
            let stop = AtomicBool::new(false);
            let ending = train(&recipe, &pieces, &mut StopAfter { stop: &stop, left: 13 }, &stop).unwrap();
            if matches!(ending, Ending::Finished(_)) {
                break;
            }
            stops += 1;
            assert!(stops < 50, "{settings}: no progress");
        }
        assert!(stops >= 3, "{settings}: stopped {stops} times");
        assert!(results(&whole) == results(&pieces), "{settings}");
    }
}

#[test]
fn the_same_call_after_the_end_returns_what_was_measured() {
    let ground = Ground::new();
    let text = skill("method: attention_only");
    let run = ground.run(&text, "run");
    let written = results(&ground.path("run"));
    assert_eq!(ground.run(&text, "run"), run);
    assert!(results(&ground.path("run")) == written);
    assert_eq!(read_head(&ground.path("run")).unwrap().labels(), run.classes);
}

#[test]
fn a_folder_of_another_run_is_refused_and_left_alone() {
    let ground = Ground::new();
    ground.run(&skill("method: attention_only"), "finished");
    let other = ground.recipe(&skill("method: dense"));
    let error = train(&other, &ground.path("finished"), &mut (), &AtomicBool::new(false)).unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::Mismatch, "{error}");
    assert!(error.help().is_some() && error.to_string().contains("another recipe"), "{error}");
    let stop = AtomicBool::new(false);
    let first = ground.recipe(&skill("method: attention_only"));
    let ending = train(&first, &ground.path("stopped"), &mut StopAfter { stop: &stop, left: 3 }, &stop).unwrap();
    assert_eq!(ending, Ending::Stopped { step: 3, total: 42 });
    let error = train(&other, &ground.path("stopped"), &mut (), &AtomicBool::new(false)).unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::Mismatch, "{error}");
    assert!(error.to_string().contains("another recipe"), "{error}");
    write_data(&ground.path("signs"), "other signs", 4);
    let error = train(&first, &ground.path("finished"), &mut (), &AtomicBool::new(false)).unwrap_err();
    assert!(error.to_string().contains("another data"), "{error}");
}

/// Trap of the published code: the norm is that of all gradients, masked or not. Which it is must be said, and both can be had.
#[test]
fn the_clip_norm_counts_what_the_recipe_says() {
    let ground = Ground::new();
    let with = |over: &str| {
        let text = skill("method: talos")
            .replace("warmup_steps: 5", &format!("warmup_steps: 5, clip_norm: 0.05, clip_over: {over}"));
        ground.run(&text, over);
        fs::read(ground.path(over).join(TUNED_FILE)).unwrap()
    };
    assert!(with("masked") != with("all"));
    assert_eq!(ground.changed("base", "masked"), ground.changed("base", "all"));
}

/// Traps: leftovers of another network in a checkpoint, and a delta that anybody could put on any base.
#[test]
fn a_run_has_the_tensors_of_its_base_and_its_pack_names_base_and_recipe() {
    let ground = Ground::new();
    let run = ground.run(&skill("method: talos, mask: {density: 0.1, granule: element}"), "run");
    let [base, tuned] = ["base", "run"].map(|name| {
        Checkpoint::open(&ground.path(name).join(if name == "base" { MODEL_FILE } else { TUNED_FILE })).unwrap()
    });
    let names = |checkpoint: &Checkpoint| {
        checkpoint
            .tensors()
            .iter()
            .map(|tensor| (tensor.name().to_owned(), tensor.shape().to_vec()))
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&base), names(&tuned));
    let packed = crate::pack_run::pack_run(&ground.path("run"), &crate::pack_run::PackWishes::default()).unwrap();
    let pack = taskvec_pack::Pack::read(&packed.encoded.bytes, &taskvec_pack::Limits::default()).unwrap();
    let manifest = pack.manifest();
    assert_eq!(Some(manifest.base.to_string()), run.base);
    assert_eq!((manifest.method, manifest.seed), (taskvec_pack::Method::LeastSensitive, 7));
    assert_eq!((manifest.alpha, manifest.density), (1.0, 0.1));
    let provenance: BTreeMap<&str, &str> = manifest.provenance().collect();
    assert_eq!((provenance["recipe"], provenance["data digest"]), (run.recipe.as_str(), run.data.as_str()));
    for tensor in pack.tensors() {
        let shape = names(&base).into_iter().find(|(name, _)| name == tensor.name()).unwrap().1;
        assert!(tensor.shape().eq(shape), "`{}`", tensor.name());
    }
}

#[test]
fn a_fixed_head_stays_the_class_means() {
    let ground = Ground::new();
    let run = ground.run(&skill("method: dense, head: {kind: class_means}"), "fixed");
    let start = Start::from_bundle(&ground.path("base"), &Device::flex()).unwrap();
    let recipe = ground.recipe(&skill("method: dense"));
    let task = Task::open(&recipe, &start.preprocessing).unwrap();
    let found = features(&Crew::new(1), &start.network, &task.train, &Device::flex());
    let means = class_means_head(&found, 16, &task.train.labels, &task.classes, recipe.head.temperature).unwrap();
    assert_eq!(read_head(&ground.path("fixed")).unwrap(), means);
    assert!(run.accuracy.test.unwrap() > 0.7);
}

/// Trap: a forward pass on an autodiff device that no backward pass follows is never freed.
#[test]
fn what_is_evaluated_is_on_a_plain_device() {
    let ground = Ground::new();
    let recipe = ground.recipe(&skill("method: dense"));
    let device = Device::flex();
    let start = Start::new(&recipe, &device).unwrap();
    let task = Task::open(&recipe, &start.preprocessing).unwrap();
    let editable = start.editable();
    let shapes: Vec<_> = editable.iter().map(|tensor| (tensor.name.clone(), tensor.shape.clone())).collect();
    let (mask, head) = (dense::mask(&shapes), start.fresh_head(4, 1));
    let mut training = Training::begin(beginning(&start, &editable, &mask, head, &recipe, &device)).unwrap();
    training.advance(&Crew::new(2), &task.train, [&[0, 1, 2, 3], &[]], &recipe);
    let crate::model::Model::Whole(taskvec_networks::Network::Vit(vit)) = training.model() else { panic!() };
    assert!(!vit.norm.weight.val().is_autodiff());
}

#[test]
fn a_table_shows_each_skill_on_each_task() {
    let ground = Ground::new();
    write_data(&ground.path("marks"), "marks", 3);
    ground.run(&skill("method: talos"), "signs run");
    ground.run(
        &skill("method: talos").replace("data: signs", "data: marks").replace("name: signs", "name: marks"),
        "marks run",
    );
    let (signs, marks) = (ground.path("signs run"), ground.path("marks run"));
    let table = table(&ground.path("base"), &[&signs, &marks]).unwrap();
    assert_eq!(table.rows.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), ["base", "signs", "marks"]);
    assert_eq!(table.columns.iter().map(|column| column.class_count).collect::<Vec<_>>(), [4, 3]);
    for (at, row) in table.rows.iter().enumerate() {
        for (column, cell) in row.cells.iter().enumerate() {
            assert_eq!(cell.is_own, at == column + 1);
            assert!(cell.accuracy.unwrap() > 1.2 / table.columns[column].class_count as f64, "{table:?}");
        }
    }
    let run: Run = read_json(&signs.join(RUN_FILE)).unwrap();
    assert_eq!(table.rows[1].cells[0].accuracy, run.accuracy.test);
    assert_eq!(table.rows[0].cells[0].accuracy, run.base_accuracy.unwrap().test);
}

#[test]
fn a_damaged_checkpoint_is_an_error_and_not_a_fresh_start() {
    let ground = Ground::new();
    let recipe = ground.recipe(&skill("method: dense"));
    let folder = ground.path("run");
    let stop = AtomicBool::new(false);
    train(&recipe, &folder, &mut StopAfter { stop: &stop, left: 5 }, &stop).unwrap();
    let state = folder.join(CHECKPOINT_FOLDER).join("state.safetensors");
    let whole = fs::read(&state).unwrap();
    for bytes in [&whole[..whole.len() - 1], &whole[..7], b"".as_slice()] {
        fs::write(&state, bytes).unwrap();
        let error = train(&recipe, &folder, &mut (), &AtomicBool::new(false)).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Damaged, "{error}");
    }
    fs::write(&state, &whole).unwrap();
    assert!(matches!(train(&recipe, &folder, &mut (), &AtomicBool::new(false)).unwrap(), Ending::Finished(_)));
}
