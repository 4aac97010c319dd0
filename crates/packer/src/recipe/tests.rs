//! What a recipe file may say, and how a slip in one is answered.

use super::*;

const SKILL: &str = "
name: digits
base: ../base
data: data/digits8x8
method: talos
mask:
  density: 0.05
  granule: block4k
steps: 100
";

const BASE: &str = "
name: handwriting
seed: 3
network:
  family: vit
  image_size: 28
  patch_size: 7
  channels: 1
  width: 96
  depth: 4
  heads: 4
  mlp_width: 384
  gelu: exact
  layer_norm_epsilon: 1e-6
data: [data/omniglot_greek, data/omniglot_latin]
epochs: 10
augmentation: {shift_pixels: 2, rotate_degrees: 10}
";

fn parse(text: &str) -> Result<Recipe> {
    Recipe::parse(text, Path::new("/recipes"))
}

fn refusal(text: &str) -> (String, Option<String>) {
    let error = parse(text).expect_err(text);
    assert_eq!(error.kind(), crate::ErrorKind::Usage, "{error:?}");
    let mut whole = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        whole.push_str(": ");
        whole.push_str(&inner.to_string());
        cause = inner.source();
    }
    (whole, error.help().map(str::to_owned))
}

#[test]
fn reads_a_skill_and_fills_in_the_defaults() {
    let recipe = parse(SKILL).unwrap();
    assert_eq!(recipe.method, Method::Talos);
    assert_eq!(recipe.mask.granule(), Granule::Block4k);
    assert_eq!((recipe.mask.rounds, recipe.mask.soft), (4, 0.1));
    assert_eq!((recipe.shards, recipe.batch, recipe.seed), (2, 32, 0));
    assert_eq!(recipe.base_path().unwrap(), Path::new("/recipes/../base"));
    assert_eq!(recipe.data_paths(), [Path::new("/recipes/data/digits8x8")]);
}

#[test]
fn reads_a_base_from_scratch() {
    let recipe = parse(BASE).unwrap();
    assert!(recipe.network.is_some());
    assert_eq!(recipe.data_names(), ["omniglot_greek", "omniglot_latin"]);
    assert_eq!(recipe.augmentation.rotate_degrees, 10.0);
}

/// Runs and packs know their recipe by this digest, and a run goes on only under the same.
#[test]
fn a_recipe_keeps_the_digest_that_it_had_before_deltas_could_be_rounded_in_training() {
    const DIGEST: &str = "b3dc365155bd2feb579c03b3d7c4245aa5dbd2778310321577db28c6a84c2afd";
    assert_eq!(parse(SKILL).unwrap().digest().to_string(), DIGEST);
    let with = |pack: &str| parse(&format!("{SKILL}pack: {pack}\n")).unwrap().digest().to_string();
    assert_eq!(with("{rounded: afterwards}"), DIGEST);
    assert_ne!(with("{values: int8, rounded: in_training}"), with("{values: int8}"));
}

#[test]
fn rounding_in_training_needs_a_base_and_a_rounding() {
    let (message, help) = refusal(&format!("{SKILL}pack: {{values: lossless, rounded: in_training}}\n"));
    assert!(message.contains("`pack.values` is `lossless`") && help.is_some(), "{message}");
    let (message, help) = refusal(&format!("{BASE}pack: {{values: int8, rounded: in_training}}\n"));
    assert!(message.contains("trained from scratch") && help.unwrap().contains("skills"), "{message}");
    let (message, help) = refusal(&format!("{SKILL}pack: {{values: int8, rounded: in_trainning}}\n"));
    assert!(message.contains("`in_trainning`"), "{message}");
    assert_eq!(help.as_deref(), Some("did you mean `in_training`?"));
}

#[test]
fn what_a_run_folder_keeps_reads_back_as_the_same_recipe() {
    for text in [SKILL, BASE] {
        let recipe = parse(text).unwrap();
        let yaml = recipe.to_yaml().unwrap();
        let again = Recipe::parse(&yaml, Path::new("/elsewhere")).unwrap_or_else(|error| panic!("{error:?}\n{yaml}"));
        assert_eq!(again.digest(), recipe.digest(), "{yaml}");
        assert_eq!(again.data_paths(), recipe.data_paths());
    }
}

#[test]
fn the_digest_covers_settings_and_not_places() {
    let recipe = parse(SKILL).unwrap();
    let mut moved = recipe.clone();
    moved.folder = "/other".into();
    moved.replace_base(Path::new("/some/base")).unwrap();
    moved.replace_data(&["/my/digits8x8".into()]).unwrap();
    assert_eq!(moved.digest(), recipe.digest());
    let mut changed = recipe.clone();
    changed.seed = 1;
    assert_ne!(changed.digest(), recipe.digest());
    let mut changed = recipe.clone();
    changed.mask.frozen.pop();
    assert_ne!(changed.digest(), recipe.digest());
    moved.replace_data(&["/my/letters".into()]).unwrap();
    assert_ne!(moved.digest(), recipe.digest());
}

#[test]
fn the_mask_of_a_pack_is_taken_only_when_the_method_says_so() {
    let shared = SKILL.replacen("talos", "shared_mask", 1).replacen("density: 0.05", "from: korean.tvp", 1);
    let recipe = parse(&shared).unwrap();
    assert_eq!(recipe.mask_path().unwrap(), Path::new("/recipes/korean.tvp"));
    let mut elsewhere = parse(SKILL).unwrap();
    elsewhere.mask.density = 0.1;
    assert_ne!(elsewhere.digest(), recipe.digest());
    elsewhere.share_mask(Path::new("/packs/other.tvp")).unwrap();
    assert_eq!(elsewhere.digest(), recipe.digest(), "what is in the pack is recorded, not where it lies");
    let again = Recipe::parse(&recipe.to_yaml().unwrap(), Path::new("/elsewhere")).unwrap();
    assert_eq!((again.digest(), again.mask_path()), (recipe.digest(), recipe.mask_path()));
    for (right, wrong) in [("from: korean.tvp", "density: 0.1"), ("shared_mask", "random_mask")] {
        let (message, help) = refusal(&shared.replacen(right, wrong, 1));
        assert!(message.contains("`mask.from`") && help.is_some(), "{message}");
    }
}

#[test]
fn recipes_from_before_masks_were_shared_keep_their_digests() {
    let digest = parse(SKILL).unwrap().digest().to_string();
    assert_eq!(digest, "b3dc365155bd2feb579c03b3d7c4245aa5dbd2778310321577db28c6a84c2afd");
}

/// What a method has of its own is written out, defaults and all, and nothing of it in recipes of other methods.
#[test]
fn settings_of_a_way_to_train_belong_to_it() {
    let with = |settings: &str| SKILL.split("method: talos").next().unwrap().to_owned() + settings + "\nsteps: 100\n";
    let recipe = parse(&with("method: lora")).unwrap();
    assert_eq!(recipe.lora, Some(LoraRecipe::default()));
    assert!(recipe.to_yaml().unwrap().contains("*.attn.*.weight"));
    let spelled = parse(&with("method: lora\nlora: {rank: 8}")).unwrap();
    assert_eq!(spelled.digest(), recipe.digest());
    let other = parse(&with("method: lora\nlora: {rank: 4}")).unwrap();
    assert_ne!(other.digest(), recipe.digest());
    let lottery = parse(&with("method: lottery_mask")).unwrap();
    assert_eq!((lottery.mask.rule, lottery.mask.search_share), (Some(Rule::Highest), Some(0.5)));
    let from = parse(&with("method: lottery_mask\nmask: {from: run}")).unwrap();
    assert_eq!((from.mask.rule, from.mask.search_share), (Some(Rule::Highest), None));
    let taps = parse(&with("method: taps")).unwrap();
    assert_eq!((taps.taps, taps.mask.search_share), (Some(TapsRecipe::default()), None));
    let pruning = parse(&with("method: diff_pruning\nmask: {density: 0.005}")).unwrap();
    assert_eq!(pruning.diff_pruning, Some(DiffPruningRecipe::default()));
    assert_eq!((pruning.mask.rule, pruning.mask.search_share), (None, Some(0.5)));
    // Rows, where a table says that they cost nothing; elements, where a method was published so.
    let granules = [
        ("method: talos", Granule::Row),
        ("method: random_mask\nmask: {density: 0.01}", Granule::Row),
        ("method: talos\nmask: {granule: element}", Granule::Element),
        ("method: talos\nmask: {scope: per_row}", Granule::Element),
        ("method: magnitude_mask", Granule::Element),
        ("method: diff_pruning", Granule::Element),
    ];
    for (settings, granule) in granules {
        assert_eq!(parse(&with(settings)).unwrap().mask.granule(), granule, "{settings}");
    }
    let penalized = parse(&with("penalty: {orthogonality: {factor: 0.5}}")).unwrap();
    assert_eq!(penalized.penalty.unwrap().orthogonality.unwrap().length, DeltaLength::One);
    let curvature = parse(&with("penalty: {curvature: {data: data/mnist}}")).unwrap();
    assert_eq!(curvature.curvature_paths(), [Path::new("/recipes/data/mnist")]);
    let again = Recipe::parse(&curvature.to_yaml().unwrap(), Path::new("/elsewhere")).unwrap();
    assert_eq!((again.digest(), again.curvature_paths()), (curvature.digest(), curvature.curvature_paths()));
    let (message, _) = refusal(&format!("{BASE}penalty: {{orthogonality: {{factor: 1}}}}\n"));
    assert!(message.contains("`penalty` is given for a base"), "{message}");
    let (message, _) = refusal(&format!("{BASE}batch_norm_statistics: measured\n"));
    assert!(message.contains("`batch_norm_statistics` is `measured` for a base"), "{message}");
    struct Case(&'static str, &'static str);
    let cases = [
        Case("batch_norm_statistics: measured\nlinearized: true", "`measured` and the network is linearized"),
        Case(
            "batch_norm_statistics: measured\npenalty: {curvature: {data: a}}",
            "`measured` and `penalty.curvature` is given",
        ),
        Case("batch_norm_statistics: carried", "unknown value `carried`"),
        Case("device: gpu", "unknown value `gpu`"),
        Case("method: talos\nlora: {rank: 4}", "`lora` is given and `method` is another"),
        Case("method: lora\nlora: {rank: 0}", "`lora.rank` is 0"),
        Case("method: lora\nlora: {alpha: 0}", "`lora.alpha` is 0"),
        Case("method: lora\nlora: {targets: []}", "`lora.targets` is empty"),
        Case("method: lora\noptimizer: {clip_over: all}", "`optimizer.clip_over` is `all`"),
        Case("method: lora\nlora: {rnk: 4}", "unknown key `rnk`"),
        Case("method: talos\nmask: {draws: 0}", "`mask.draws` is 0"),
        Case("method: talos\nmask: {draws: 2, labels: argmax}", "`mask.draws` is more than 1"),
        Case("method: talos\nmask: {images: 0}", "`mask.images` is 0"),
        Case("penalty: {curvature: {factor: 1}}", "`penalty.curvature` needs either `data` or `from`"),
        Case("penalty: {curvature: {data: a, from: b}}", "`penalty.curvature` needs either `data` or `from`"),
        Case("penalty: {curvature: {data: [a/digits8x8]}}", "names `digits8x8`, which is the task itself"),
        Case("penalty: {curvature: {data: [a/x, b/x]}}", "two folders of `penalty.curvature.data` are called `x`"),
        Case("penalty: {curvature: {data: a, images: 0}}", "`penalty.curvature.images` is 0"),
        Case("penalty: {curvature: {data: a, draws: 0}}", "`penalty.curvature.draws` is 0"),
        Case("penalty: {curvature: {data: a, factor: -1}}", "`penalty.curvature.factor` is -1"),
        Case("penalty: {}", "`penalty` says nothing"),
        Case("penalty: {orthogonality: {factor: 0}}", "`penalty.orthogonality.factor` is 0"),
        Case("penalty: {orthogonality: {length: two}}", "unknown value `two`"),
        Case("method: dense\ntaps: {penalty: 1}", "`taps` is given and `method` is another"),
        Case("method: taps\ntaps: {gate: 0.05}", "`taps.gate` is 0.05, expected `taps.threshold` or more"),
        Case("method: taps\ntaps: {warmup_share: 1}", "`taps.warmup_share` is 1"),
        Case("method: taps\nmask: {scope: per_row}", "`mask.scope` is given and `method` chooses nothing"),
        Case("method: taps\noptimizer: {clip_over: all}", "`optimizer.clip_over` is `all`"),
        Case("method: diff_pruning\ndiff_pruning: {penalty: -1}", "`diff_pruning.penalty` is -1"),
        Case("method: diff_pruning\nmask: {rule: lowest}", "`mask.rule` is given and `method` has a rule"),
        Case("method: dense\nmask: {scope: per_row}", "`mask.scope` is given and `method` chooses nothing"),
        Case("method: talos\nmask: {rule: highest}", "`mask.rule` is given and `method` has a rule of its own"),
        Case("method: talos\nmask: {scope: per_row, granule: row}", "`mask.scope` is no larger than `mask.granule`"),
        Case("method: talos\nmask: {scope: per_tensor, granule: tensor}", "`mask.scope` is no larger"),
        Case("method: talos\nmask: {search_share: 0.5}", "`mask.search_share` is given and no mask is looked for"),
        Case("method: lottery_mask\nmask: {search_share: 1}", "`mask.search_share` is 1, expected above 0, below 1"),
        Case("method: lottery_mask\nmask: {search_share: 0.5, from: run}", "`mask.search_share` is given"),
        Case("method: magnitude_mask\nmask: {from: run}", "`mask.from` names a pack or a run"),
    ];
    for Case(settings, expected) in cases {
        let (message, _) = refusal(&with(settings));
        assert!(message.contains(expected), "{settings}: {message}");
    }
}

#[test]
fn a_misspelt_key_names_its_line_and_the_nearest_key() {
    struct Case(&'static str, &'static str, &'static str, &'static str, usize);
    let cases = [
        Case(SKILL, "density:", "densty:", "density", 7),
        Case(SKILL, "method:", "metod:", "method", 5),
        Case(SKILL, "steps:", "step:", "steps", 9),
        Case(BASE, "width: 96", "widht: 96", "width", 9),
        Case(BASE, "seed:", "sed:", "seed", 3),
    ];
    for Case(text, right, wrong, meant, line) in cases {
        let (message, help) = refusal(&text.replacen(right, wrong, 1));
        let word = wrong.split(':').next().unwrap();
        assert!(message.contains(&format!("line {line}: unknown key `{word}`")), "{message}");
        assert_eq!(help.as_deref(), Some(format!("did you mean `{meant}`?").as_str()), "{message}");
    }
}

#[test]
fn a_key_like_no_other_gets_the_list() {
    let (message, help) = refusal(&format!("{SKILL}quantum_entanglement: 3\n"));
    assert!(message.contains("unknown key `quantum_entanglement`"), "{message}");
    assert!(help.unwrap().starts_with("keys here: name, seed, base"));
}

#[test]
fn a_misspelt_value_is_answered_the_same_way() {
    let (message, help) = refusal(&SKILL.replace("talos", "tallos"));
    assert!(message.contains("line 5: unknown value `tallos`"), "{message}");
    assert_eq!(help.as_deref(), Some("did you mean `talos`?"));
}

#[test]
fn true_labels_may_be_asked_for_in_plain_yaml() {
    let recipe = parse(&SKILL.replace("granule: block4k", "labels: true")).unwrap();
    assert_eq!(recipe.mask.labels, LabelSource::True);
}

#[test]
fn impossible_settings_are_refused_by_name() {
    struct Case(&'static str, &'static str, &'static str);
    let cases = [
        Case("density: 0.05", "density: 0", "`mask.density` is 0, expected more than 0, at most 1"),
        Case("density: 0.05", "density: .nan", "`mask.density` is NaN"),
        Case("steps: 100", "steps: 0", "`steps` is 0"),
        Case("steps: 100", "epochs: 0", "`epochs` is 0"),
        Case("steps: 100", "", "neither `epochs` nor `steps`"),
        Case("steps: 100", "steps: 1\nepochs: 1", "both `epochs` and `steps`"),
        Case("steps: 100", "steps: 1\nbatch: 4\nshards: 5", "`shards` is 5"),
        Case("steps: 100", "steps: 1\noptimizer: {learning_rate: -1}", "`optimizer.learning_rate` is -1"),
        Case("steps: 100", "steps: 1\npack: {alpha: 2}", "`pack.alpha` is 2"),
        Case("steps: 100", "steps: 1\nclasses: [a, b, a]", "`classes` names `a` twice"),
        Case("steps: 100", "steps: many", "line 9"),
        Case("base: ../base", "", "neither `base` nor `network`"),
        Case("name: digits", "", "key `name` is missing"),
        Case("name: digits", "name: digits\nname: more", "key `name` is given twice"),
        Case("data: data/digits8x8", "data: [a/x, b/x]", "two folders of `data` are called `x`"),
        Case("data: data/digits8x8", "data: []", "`data` names no folder"),
        Case("data: data/digits8x8", "data: {a: b}", "line 4"),
    ];
    let mut wrong = Vec::new();
    for Case(right, replacement, expected) in cases {
        let (message, _) = refusal(&SKILL.replacen(right, replacement, 1));
        if !message.contains(expected) {
            wrong.push(format!("{replacement}: {message}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_missing_recipe_file_is_an_io_error_that_names_it() {
    let error = Recipe::open(Path::new("no/such/recipe.yaml")).unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::Io);
    assert!(error.to_string().contains("no/such/recipe.yaml"));
}

#[test]
fn the_mask_of_a_pack_is_taken_whatever_the_method_was() {
    for method in [
        "method: lora",
        "method: taps",
        "method: diff_pruning",
        "method: magnitude_mask\nmask: {rule: lowest, scope: per_tensor}",
        "method: lottery_mask",
    ] {
        let mut recipe = parse(&format!("name: newer\nbase: base\ndata: digits\nsteps: 4\n{method}\n")).unwrap();
        recipe.share_mask(Path::new("other.tvp")).unwrap();
        recipe.check().unwrap_or_else(|error| panic!("{method}: {error:?}"));
        assert_eq!(recipe.method, Method::SharedMask);
    }
}

#[test]
fn every_recipe_of_the_repository_can_be_read() {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models");
    let mut found = 0;
    for model in std::fs::read_dir(models).unwrap() {
        let Ok(recipes) = std::fs::read_dir(model.unwrap().path().join("recipes")) else { continue };
        for recipe in recipes {
            let path = recipe.unwrap().path();
            Recipe::open(&path).unwrap_or_else(|error| panic!("{error:?}"));
            found += 1;
        }
    }
    assert!(found > 0, "the repository comes with recipes");
}
