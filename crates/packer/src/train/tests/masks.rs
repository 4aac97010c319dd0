//! Masks that are measured on the base: how many, which, and what they rest on.

use super::*;

#[test]
fn the_kept_share_falls_round_by_round() {
    let ground = Ground::new();
    let run = ground.run(&skill("method: talos, mask: {density: 0.1, granule: element}"), "talos");
    let report = run.mask.calibration.unwrap();
    let shares: Vec<f64> = report.rounds.iter().map(|round| round.kept as f64 / report.maskable as f64).collect();
    // methods.md 3.3: density 0.1 in 4 rounds.
    for (share, expected) in shares.iter().zip([0.5623, 0.3162, 0.1778, 0.1000]) {
        assert!((share - expected).abs() < 1e-3, "{shares:?}");
    }
    assert!(report.untouched.is_empty());
}

/// Trap: with too little to tell them from quiet ones, the lowest scores are dead weights, and nothing learns.
#[test]
fn dead_weights_are_refused_by_name() {
    let ground = Ground::new();
    // Half of the units of the first MLP never fire: GELU of -100 is 0, and flat.
    ground.bundle("base run", "half dead", StoredDtype::F32, |name, values| {
        if name == "blocks.0.mlp.fc1.bias" {
            values[..16].fill(-100.0);
        }
    });
    let text = skill("method: talos, mask: {granule: element}").replace("base: base", "base: half dead");
    let error = train(&ground.recipe(&text), &ground.path("run"), &mut (), &AtomicBool::new(false)).unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::Usage);
    let message = error.to_string();
    // 16 rows of fc1 of 16, as many columns of fc2, 16 biases.
    assert!(
        message.contains("dead weights") && message.contains("528 parameters") && message.contains("at most 4 of"),
        "{message}"
    );
    assert!(error.help().unwrap().contains("`mask.rounds`"), "{error:?}");
    // Frozen by name there is nothing dead left to choose, and the run goes through.
    let text = text.replace("granule: element", "granule: element, frozen: [cls_token, pos_embed, blocks.0.mlp.*]");
    let run = ground.run(&text, "run");
    assert!(run.mask.calibration.unwrap().rounds.iter().all(|round| round.dead == 0));
}

#[test]
fn what_a_run_needs_and_is_not_there_is_refused_by_name() {
    let ground = Ground::new();
    let refused = |settings: &str| {
        let error = train(&ground.recipe(&skill(settings)), &ground.path("run"), &mut (), &AtomicBool::new(false));
        let error = error.expect_err(settings);
        assert!(error.help().is_some(), "{error:?}");
        (error.kind(), error.to_string())
    };
    let (kind, message) = refused("batch_norm_statistics: measured");
    assert_eq!(kind, crate::ErrorKind::Usage);
    assert!(message.contains("the network has no batch norm"), "{message}");
    #[cfg(not(feature = "cuda"))]
    assert_eq!(refused("device: cuda").0, crate::ErrorKind::Unsupported);
    #[cfg(not(feature = "wgpu"))]
    assert!(refused("device: wgpu").1.contains("built without `wgpu`"));
}

/// Trap of the published code: tensors that are never used score 0 and eat the budget.
#[test]
fn tensors_that_are_never_used_do_not_count() {
    let ground = Ground::new();
    ground.bundle("base run", "idle", StoredDtype::F32, |name, values| {
        if name == "blocks.1.mlp.fc1.bias" {
            values.fill(-100.0);
        }
    });
    let run = ground.run(&skill("method: talos, mask: {granule: element}").replace("base: base", "base: idle"), "run");
    let report = run.mask.calibration.unwrap();
    let idle = [
        "blocks.1.norm2.weight",
        "blocks.1.norm2.bias",
        "blocks.1.mlp.fc1.weight",
        "blocks.1.mlp.fc1.bias",
        "blocks.1.mlp.fc2.weight",
    ];
    assert_eq!(report.untouched, idle);
    assert_eq!(run.mask.entries, (0.1 * report.maskable as f64).round() as u64);
    for tensor in run.mask.tensors.iter().filter(|tensor| idle.contains(&tensor.name.as_str())) {
        assert_eq!(tensor.entries, 0, "{tensor:?}");
    }
}

#[test]
fn granules_are_chosen_whole() {
    let ground = Ground::new();
    for (granule, length) in [("row", 16), ("block4k", 1024)] {
        let settings = format!(
            "method: talos, mask: {{density: 0.3, granule: {granule}, maskable: ['*.attn.qkv.weight', '*.mlp.fc1.weight']}}"
        );
        let run = ground.run(&skill(&settings), granule);
        let report = run.mask.calibration.unwrap();
        let budget = (0.3 * report.maskable as f64).round() as u64;
        assert!(
            run.mask.entries <= budget.max(length) && run.mask.entries > 0,
            "{granule}: {} of {budget}",
            run.mask.entries
        );
        for (name, indices) in ground.changed("base", granule) {
            let tensor = run.mask.tensors.iter().find(|tensor| tensor.name == name).unwrap();
            assert_eq!(indices.len() as u64, tensor.entries, "{granule} `{name}`");
            let pieces: std::collections::BTreeSet<u64> = indices.iter().map(|index| *index as u64 / length).collect();
            let whole: u64 = pieces.iter().map(|piece| length.min(tensor.elements - piece * length)).sum();
            assert_eq!(tensor.entries, whole, "{granule} `{name}`");
        }
    }
}

/// What the method rests on: a step of one length moves the outputs least along the least sensitive weights, and most along
/// the most sensitive ones. Measured on test images, averaged over directions.
#[test]
fn outputs_move_least_along_the_least_sensitive_weights() {
    let ground = Ground::new();
    let device = Device::flex();
    let start = Start::from_bundle(&ground.path("base"), &device).unwrap();
    let moved = |method: &str| {
        let settings = format!("method: {method}, mask: {{density: 0.1}}");
        let run = ground.run(&skill(&settings), method);
        let changed = ground.changed("base", method);
        let task = Task::open(&ground.recipe(&skill(&settings)), &start.preprocessing).unwrap();
        let crew = Crew::new(1);
        let before = features(&crew, &start.network, &task.test, &device);
        let mut total = 0.0;
        for direction in 0..8 {
            let mut random = Random::new(direction, "direction");
            let values = start.tensors.iter().map(|tensor| {
                let mut values = tensor.values.clone();
                for index in &changed[&tensor.name] {
                    values[*index] += 0.05 * random.normal();
                }
                (tensor.id, burn::tensor::TensorData::new(values, tensor.shape.clone()))
            });
            let network = crate::finetune::leaves::replaced(start.network.clone(), values.collect());
            let after = features(&crew, &network, &task.test, &device);
            total += before.iter().zip(after).map(|(before, after)| f64::from(before - after).powi(2)).sum::<f64>();
        }
        assert!(run.mask.entries > 400);
        total
    };
    let [least, random, most] = ["talos", "random_mask", "most_sensitive"].map(moved);
    // In fact the factors are far larger; two are beyond any doubt about drawn directions.
    assert!(2.0 * least < random && 2.0 * random < most, "least {least}, random {random}, most {most}");
}
