//! Ways to train whose numbers are not the tensor's own: what they leave, and that they learn.

use super::*;

/// Settings of every such way, for tests of what holds for all.
pub(super) const ALL: [&str; 14] = [
    "method: lora, lora: {rank: 3}",
    "method: lora, pack: {values: int4, rounded: in_training}",
    "method: magnitude_mask, mask: {scope: per_row, rule: lowest}",
    "method: lottery_mask, mask: {granule: row}",
    "method: lottery_mask, mask: {search_share: 0.3}, pack: {values: int3, rounded: in_training}",
    "method: taps, taps: {penalty: 0.1, gate_learning_rate: 0.01}",
    "method: diff_pruning",
    "method: diff_pruning, diff_pruning: {structured: true}, mask: {granule: row}, pack: {values: int4, rounded: in_training}",
    "method: talos, penalty: {orthogonality: {factor: 0.1}}",
    "method: lora, penalty: {orthogonality: {factor: 10, length: own}}",
    "linearized: true",
    "method: talos, linearized: true, pack: {values: int6, rounded: in_training}",
    "method: dense, penalty: {curvature: {factor: 0.1, data: shapes, images: 50}}",
    "linearized: true, penalty: {curvature: {factor: 0.1, data: shapes, images: 50}}",
];

/// Learning brings the loss down and keeps what a head of class means was worth.
fn assert_learned(name: &str, run: &Run) {
    let (base, tuned) = (run.base_accuracy.unwrap().test.unwrap(), run.accuracy.test.unwrap());
    assert!(tuned >= base - 0.05 && tuned > 0.7, "{name}: {base} became {tuned}");
    assert!(run.epochs.last().unwrap().loss < run.epochs[0].loss, "{name}: {:?}", run.epochs);
}

/// Tuned minus base of a matrix, and its sides.
fn delta(ground: &Ground, run: &str, name: &str) -> (Vec<f64>, usize, usize) {
    let base = Checkpoint::open(&ground.path("base")).unwrap();
    let tuned = Checkpoint::open(&ground.path(run).join(TUNED_FILE)).unwrap();
    let tensor = base.tensor(name).unwrap();
    let (then, now) = (f32s(&base.read(tensor).unwrap()), f32s(&tuned.read(tuned.tensor(name).unwrap()).unwrap()));
    let delta = then.iter().zip(now).map(|(then, now)| f64::from(now) - f64::from(*then)).collect();
    (delta, tensor.shape()[0] as usize, tensor.shape()[1] as usize)
}

/// What is left of the norm of a matrix when `rank` of its columns, the largest left each time, are taken out of all.
fn left_after(mut matrix: Vec<f64>, rows: usize, columns: usize, rank: usize) -> f64 {
    let norm = |matrix: &[f64]| matrix.iter().map(|value| value * value).sum::<f64>().sqrt();
    let whole = norm(&matrix);
    for _ in 0..rank {
        let column = |matrix: &[f64], at: usize| (0..rows).map(|row| matrix[row * columns + at]).collect::<Vec<f64>>();
        let pivot = (0..columns).map(|at| column(&matrix, at)).max_by(|a, b| norm(a).total_cmp(&norm(b))).unwrap();
        let length = norm(&pivot);
        for at in 0..columns {
            let along: f64 = pivot.iter().zip(column(&matrix, at)).map(|(pivot, value)| pivot * value).sum();
            (0..rows).for_each(|row| matrix[row * columns + at] -= along / length / length * pivot[row]);
        }
    }
    norm(&matrix) / whole
}

#[test]
fn every_way_learns() {
    let ground = Ground::new();
    for (number, settings) in ALL.into_iter().enumerate() {
        let run = ground.run(&skill(settings), &format!("run {number}"));
        assert_learned(settings, &run);
    }
}

#[test]
fn a_delta_of_low_rank_has_that_rank_and_no_more() {
    let ground = Ground::new();
    let run = ground.run(&skill("method: lora, lora: {rank: 3, targets: ['*.mlp.*.weight']}"), "lora");
    let changed = ground.changed("base", "lora");
    for (name, indices) in &changed {
        assert_eq!(indices.is_empty(), !name.contains(".mlp.") || name.ends_with("bias"), "`{name}`");
    }
    for name in ["blocks.0.mlp.fc1.weight", "blocks.1.mlp.fc2.weight"] {
        let (delta, rows, columns) = delta(&ground, "lora", name);
        let left = |rank| left_after(delta.clone(), rows, columns, rank);
        // What is left is the rounding of base + delta to f32; a fourth direction of its own would leave as much as the third.
        assert!(left(3) < 1e-3 && left(2) > 1e-2, "`{name}`: {} after 2, {} after 3", left(2), left(3));
    }
    // Factors of 3 by 16 and 3 by 32 in four matrices, and the head of four classes.
    assert_eq!(run.optimizer_bytes, 8 * (4 * 3 * (16 + 32) + 4 * 17));
    assert_eq!(run.mask.entries, 4 * 16 * 32);
}

/// LoTA: what moved most in a first part is the mask, and training starts from the base again.
#[test]
fn a_lottery_mask_is_what_moved_most_when_all_learned() {
    let ground = Ground::new();
    let settings = "method: lottery_mask, mask: {density: 0.05, frozen: [], search_share: 0.5}";
    let run = ground.run(&skill(settings), "lottery");
    assert_eq!((run.steps, run.optimizer_bytes), (42, 8 * (run.mask.entries + 4 * 17)));
    // Its first part is a dense run of half the length, so another run may be that part: then all steps are inside the mask.
    ground.run(&skill("method: dense").replace("epochs: 6", "steps: 21"), "dense");
    let from = settings.replace("search_share: 0.5", "from: dense");
    let other = ground.run(&skill(&from), "from dense");
    assert_eq!(other.mask.tensors, run.mask.tensors);
    assert_eq!(ground.changed("base", "lottery"), ground.changed("base", "from dense"));
    assert_ne!(run.tuned, other.tuned);
    let names = [&run, &other].map(|run| run.mask.moved_in.as_ref().map(|run| run.name.as_str()));
    assert_eq!(names, [None, Some("signs")]);
    assert_eq!(ground.run(&skill(&from), "from dense"), other, "a finished run is known by the run that it looked at");
    let moved = ground.changed("base", "dense");
    for (name, indices) in ground.changed("base", "from dense") {
        assert!(indices.iter().all(|index| moved[&name].contains(index)), "`{name}`");
    }
}

#[test]
fn the_run_to_look_at_may_be_one_of_16_bits() {
    let ground = Ground::new();
    ground.bundle("base run", "half", StoredDtype::F16, |_, _| {});
    let on_half = |settings: &str| skill(settings).replace("base: base", "base: half");
    ground.run(&on_half("method: dense"), "moved");
    let run = ground.run(&on_half("method: lottery_mask, mask: {from: moved, density: 0.1}"), "lottery");
    assert_learned("lottery", &run);
    // Class token and position embedding are no candidates.
    let share = run.mask.entries as f64 / run.mask.elements as f64;
    assert!(share > 0.09 && share <= 0.1, "{share}");
}

#[test]
fn a_run_to_look_at_must_be_finished_and_on_the_same_base() {
    let ground = Ground::new();
    let text = skill("method: lottery_mask, mask: {from: dense}");
    let refusal = || train(&ground.recipe(&text), &ground.path("run"), &mut (), &AtomicBool::new(false)).unwrap_err();
    assert_eq!(refusal().kind(), crate::ErrorKind::Usage, "{}", refusal());
    assert!(refusal().to_string().contains("`mask.from`") && refusal().help().is_some());
    ground.bundle("base run", "other", StoredDtype::F32, |_, values| values[0] += 1.0);
    ground.run(&skill("method: dense").replace("base: base", "base: other"), "dense");
    assert_eq!(refusal().kind(), crate::ErrorKind::Mismatch, "{}", refusal());
}

#[test]
fn masks_by_magnitude_take_the_ends_that_the_rule_says() {
    let ground = Ground::new();
    let base = Checkpoint::open(&ground.path("base")).unwrap();
    let mean = |run: &str| {
        let (mut sum, mut count) = (0.0, 0);
        for (name, indices) in ground.changed("base", run) {
            let values = f32s(&base.read(base.tensor(&name).unwrap()).unwrap());
            indices.iter().for_each(|index| sum += f64::from(values[*index].abs()));
            count += indices.len();
        }
        sum / count as f64
    };
    let weights = "maskable: ['*.weight']";
    ground.run(&skill(&format!("method: magnitude_mask, mask: {{rule: lowest, {weights}}}")), "lowest");
    ground.run(&skill(&format!("method: random_mask, mask: {{{weights}}}")), "random");
    ground.run(&skill(&format!("method: magnitude_mask, mask: {{{weights}}}")), "highest");
    assert!(2.0 * mean("lowest") < mean("random") && 2.0 * mean("random") < mean("highest"));
}

/// A whole tensor is in the mask or out of it.
#[test]
fn tensors_are_granules_too() {
    let ground = Ground::new();
    let run = ground.run(&skill("method: talos, mask: {density: 0.3, granule: tensor}"), "tensors");
    let budget = 0.3 * run.mask.calibration.as_ref().unwrap().maskable as f64;
    assert!(run.mask.entries > 0 && run.mask.entries as f64 <= budget, "{} of {budget}", run.mask.entries);
    for tensor in &run.mask.tensors {
        // Key biases are no candidates.
        let whole = if tensor.name.ends_with("qkv.bias") { tensor.elements / 3 * 2 } else { tensor.elements };
        assert!([0, whole].contains(&tensor.entries), "{tensor:?}");
    }
    let pack = crate::pack_run::pack_run(&ground.path("tensors"), &crate::pack_run::PackWishes::default()).unwrap();
    let pack = taskvec_pack::Pack::read(&pack.encoded.bytes, &taskvec_pack::Limits::default()).unwrap();
    assert_eq!(pack.manifest().granule, taskvec_pack::Granule::Tensor);
}

#[test]
fn with_a_threshold_in_each_tensor_all_have_the_same_density() {
    let ground = Ground::new();
    let run = ground
        .run(&skill("method: talos, mask: {density: 0.1, granule: element, scope: per_tensor, rounds: 2}"), "each");
    for tensor in &run.mask.tensors {
        let candidates = match tensor.name.as_str() {
            "cls_token" | "pos_embed" => 0.0,
            name if name.ends_with("qkv.bias") => tensor.elements as f64 / 1.5,
            _ => tensor.elements as f64,
        };
        assert_eq!(tensor.entries, (0.1 * candidates).round() as u64, "{tensor:?}");
    }
}

/// TAPS: which tensors a task needs is the result, and the others are the base's, bit for bit.
#[test]
fn tensors_whose_gates_are_shut_are_the_bases() {
    let ground = Ground::new();
    let taps = |penalty: f64| format!("method: taps, taps: {{penalty: {penalty}, gate_learning_rate: 0.01}}");
    let open = |penalty: f64| {
        let name = format!("taps {penalty}");
        let run = ground.run(&skill(&taps(penalty)), &name);
        let changed = ground.changed("base", &name);
        let pack = crate::pack_run::pack_run(&ground.path(&name), &crate::pack_run::PackWishes::default()).unwrap();
        let pack = taskvec_pack::Pack::read(&pack.encoded.bytes, &taskvec_pack::Limits::default()).unwrap();
        assert_eq!(pack.manifest().method, taskvec_pack::Method::TensorGates);
        assert_eq!(run.mask.gates.len(), changed.len() - 2, "class token and position embedding have none");
        for gate in &run.mask.gates {
            let tensor = run.mask.tensors.iter().find(|tensor| tensor.name == gate.name).unwrap();
            assert_eq!(tensor.entries, if gate.is_open { tensor.elements } else { 0 }, "{gate:?}");
            assert_eq!(gate.is_open, gate.gate >= 0.1, "{gate:?}");
            assert_eq!(gate.is_open, !changed[&gate.name].is_empty(), "{gate:?}");
            assert_eq!(pack.tensors().any(|tensor| tensor.name() == gate.name), gate.is_open, "{gate:?}");
        }
        assert!(run.epochs[1].penalty.unwrap() > 0.0);
        // A gate beside each delta, and all moments are there whether it is open or not.
        let gated = run.mask.tensors.iter().filter(|tensor| run.mask.gates.iter().any(|gate| gate.name == tensor.name));
        let deltas: u64 = gated.map(|tensor| tensor.elements).sum();
        assert_eq!(run.optimizer_bytes, 8 * (deltas + run.mask.gates.len() as u64 + 4 * 17));
        run.mask.gates.iter().filter(|gate| gate.is_open).count()
    };
    let [all, some, none] = [0.0001, 0.1, 1000.0].map(open);
    assert!(all > some && some > none, "{all} {some} {none}");
}

/// Trap: a threshold keeps about as many as were asked for, and ties make them more.
#[test]
fn diff_pruning_ends_with_exactly_the_density_that_was_asked_for() {
    let ground = Ground::new();
    for (density, settings) in [(0.05, ""), (0.005, ", diff_pruning: {structured: true}")] {
        let name = format!("pruned {density}");
        let run = ground.run(&skill(&format!("method: diff_pruning, mask: {{density: {density}}}{settings}")), &name);
        // All but class token and position embedding, and the key biases of two blocks.
        let count = |frozen: &str| run.mask.tensors.iter().find(|tensor| tensor.name == frozen).unwrap().elements;
        let maskable = run.mask.elements - count("cls_token") - count("pos_embed") - 2 * 16;
        assert_eq!(run.mask.entries, (density * maskable as f64).round() as u64);
        let changed = ground.changed("base", &name);
        let changes: usize = changed.values().map(Vec::len).sum();
        assert!(changes as u64 <= run.mask.entries && changes as f64 > 0.95 * run.mask.entries as f64);
        assert!(changed["cls_token"].is_empty() && changed["pos_embed"].is_empty());
        assert_eq!(run.optimizer_bytes, 8 * (run.mask.entries + 4 * 17), "the second part is a run in a mask");
        let penalties: Vec<bool> = run.epochs.iter().map(|epoch| epoch.penalty.is_some()).collect();
        assert_eq!(penalties, [true, true, true, false, false, false]);
        assert!(run.epochs[5].loss < run.epochs[0].loss, "{:?}", run.epochs);
    }
}

/// How far from equal the singular values of all deltas are: `||D^T D - c^2 I||^2 / ||D||^4`, 0 for equal ones.
fn departure(ground: &Ground, run: &str) -> f64 {
    let mut sum = 0.0;
    for name in ["attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"] {
        let (delta, rows, columns) = delta(ground, run, &format!("blocks.0.{name}.weight"));
        let (sides, inner) = if columns <= rows { (columns, rows) } else { (rows, columns) };
        let element =
            |side: usize, at: usize| delta[if columns <= rows { at * columns + side } else { side * columns + at }];
        let norm: f64 = delta.iter().map(|value| value * value).sum();
        let gram: f64 = (0..sides * sides)
            .map(|at| (0..inner).map(|k| element(at / sides, k) * element(at % sides, k)).sum::<f64>().powi(2))
            .sum();
        sum += gram / norm / norm - 1.0 / sides as f64;
    }
    sum
}

#[test]
fn a_penalty_on_orthogonality_lowers_its_own_term() {
    let ground = Ground::new();
    ground.run(&skill("method: dense"), "free");
    let with = |length: &str, factor: f64| {
        let settings = format!("method: dense, penalty: {{orthogonality: {{length: {length}, factor: {factor}}}}}");
        let name = format!("{length} {factor}");
        let run = ground.run(&skill(&settings), &name);
        assert_learned(&name, &run);
        (run, name)
    };
    let (own, name) = with("own", 100.0);
    assert!(departure(&ground, &name) < 0.8 * departure(&ground, "free"));
    assert!(own.epochs.iter().all(|epoch| epoch.penalty.is_some_and(|penalty| penalty >= 0.0)));
    // As published, of length 1: deltas grow towards it, and the term falls all the way.
    let (one, _) = with("one", 0.1);
    let penalties: Vec<f64> = one.epochs.iter().map(|epoch| epoch.penalty.unwrap()).collect();
    assert!(penalties.is_sorted_by(|before, after| before > after), "{penalties:?}");
}

/// TAK: what other tasks feel of a task vector is what the penalty takes from it. Felt is a change of their features.
#[test]
fn a_penalty_on_curvature_spares_the_tasks_that_it_was_measured_on() {
    let ground = Ground::new();
    let penalty = "penalty: {curvature: {factor: 3, data: shapes}}";
    let free = ground.run(&skill("method: dense"), "free");
    let spared = ground.run(&skill(&format!("method: dense, {penalty}")), "spared");
    assert_learned("spared", &spared);
    assert!(spared.epochs.iter().all(|epoch| epoch.penalty.is_some_and(|penalty| penalty > 0.0)));
    let (device, crew) = (Device::flex(), Crew::new(1));
    let start = Start::from_bundle(&ground.path("base"), &device).unwrap();
    let shapes = ground.recipe(&skill("method: dense").replace("data: signs", "data: shapes"));
    let shapes = Task::open(&shapes, &start.preprocessing).unwrap();
    let before = features(&crew, &start.network, &shapes.test, &device);
    let felt = |run: &str| {
        let bytes = fs::read(ground.path(run).join(TUNED_FILE)).unwrap();
        let network = start.with_tensors(&TensorFile::parse(&bytes).unwrap(), &bytes).unwrap();
        let after = features(&crew, &network, &shapes.test, &device);
        before.iter().zip(after).map(|(before, after)| f64::from(before - after).powi(2)).sum::<f64>()
    };
    assert!(felt("spared") < 0.5 * felt("free"), "{} {}", felt("spared"), felt("free"));
    // Whoever has the file needs the data no more.
    let from = penalty.replace("data: shapes", "from: spared/curvature.safetensors");
    let taken = ground.run(&skill(&format!("method: dense, {from}")), "taken");
    assert_eq!((taken.tuned, taken.accuracy), (spared.tuned.clone(), spared.accuracy));
    assert_ne!((&taken.curvature, &spared.curvature), (&None, &None));
    assert_eq!(free.curvature, None);
    write_data(&ground.path("shapes"), "other shapes", 5);
    let recipe = ground.recipe(&skill(&format!("method: dense, {penalty}")));
    let error = train(&recipe, &ground.path("spared"), &mut (), &AtomicBool::new(false)).unwrap_err();
    assert!(error.to_string().contains("another curvature"), "{error}");
}
