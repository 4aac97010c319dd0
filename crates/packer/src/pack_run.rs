//! From a finished run to a pack that can prove itself.
//!
//! The pack's promises are made with the numbers that a reader will see: the deltas are rounded first, the tuned weights
//! are put together again from the pack as a device does it, and only then are accuracy and probes taken.
//!
//! A run that **rounded in training** kept its deltas (`deltas.tvp`), and its pack holds those very numbers: rounding them again
//! changes nothing, so at coefficient 1 the pack reaches what the run has measured. With other values, or within a budget,
//! these deltas are rounded again; losslessly, the pack holds the distances to the weights that they made.
//!
//! **Probes** are the test images (training images where there is no test set) nearest to an even spread over the set, as
//! pixels of 8 bits in the network's size. The expected logits come from burn on the CPU.
//!
//! **Tolerance**: two engines add the same products in another order. On the networks here that moves a logit by about
//! 1e-6 of the largest one; 1e-3 of it is far below what changes an answer, and far above what an engine's sums do.

use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use taskvec_bundle::{Head, Preprocessing, TensorFile};
use taskvec_checkpoint::Checkpoint;
use taskvec_networks::Network;
use taskvec_pack::write::{ProbeInputs, ProbeParts};
use taskvec_pack::{EngineKind, Fingerprint, Limits, Pack};

use crate::apply::apply;
use crate::budget::{CurvePoint, Goal, Rated, Wanted};
use crate::crew::Crew;
use crate::encode::{Encoded, PackDetails, PackWriter};
use crate::error::{Error, Result};
use crate::evaluate::{accuracy, features};
use crate::examples::Examples;
use crate::model::Model;
use crate::recipe::{Recipe, Rounded, Values};
use crate::run_folder::{DELTAS_FILE, RECIPE_FILE, RUN_FILE, TUNED_FILE, read_head, read_json};
use crate::task::Task;
use crate::task_vector::{Exactness, TaskVector, TensorDelta, compare};
use crate::train::{Accuracy, Run, Start};

/// Share of the largest logit by which an answer may differ from the expected one.
const TOLERANCE_SHARE: f32 = 1e-3;

/// The pack of a run, and what it is worth as a device will see it.
#[derive(Clone, Debug)]
pub struct PackedRun {
    /// The file, tensor by tensor.
    pub encoded: Encoded,
    /// What the run said.
    pub run: Run,
    /// The base with this pack at its recommended alpha, deltas rounded as they are written.
    pub accuracy: Accuracy,
    /// What the deltas were rounded to in training; none if training knew nothing of it.
    pub trained_with: Option<Values>,
    /// Whether the pack's deltas are those that were trained, bit for bit, and not rounded since.
    pub as_trained: bool,
    /// Norm of what is lost divided by the norm of the task vector; none where no budget was given.
    pub error: Option<f64>,
    /// Other packs that could have been made within other budgets, the largest first.
    pub curve: Vec<CurvePoint>,
}

/// What is wanted of a pack beside what the recipe of its run says.
#[derive(Clone, Copy, Debug, Default)]
pub struct PackWishes {
    /// How deltas are written. Default: as the recipe says.
    pub values: Option<Values>,
    /// What the pack must keep to; then entries and roundings are searched for. Default: nothing.
    pub budget: Option<Wanted>,
    /// Number of probes, 0 to 64. Default: as the recipe says.
    pub probes: Option<u32>,
}

/// The pack of the finished run in `folder`.
///
/// The base's network, and the one that the pack makes of it, are in memory to be measured. The task vector is not, but within a
/// budget.
///
/// # Errors
/// `Usage` when the run is not finished or trained a base, and when no pack keeps to the budget; `Mismatch` when the base is
/// another one by now; what the parts say.
pub fn pack_run(folder: &Path, wishes: &PackWishes) -> Result<PackedRun> {
    let run = finished_run(folder)?;
    let mut recipe = Recipe::open(&folder.join(RECIPE_FILE))?;
    let trained_with = Some(recipe.pack.values).filter(|_| recipe.pack.rounded == Rounded::InTraining);
    let values = wishes.values.unwrap_or(recipe.pack.values);
    if values != recipe.pack.values {
        (recipe.pack.values, recipe.pack.rounded) = (values, Rounded::Afterwards);
    }
    recipe.pack.probes = wishes.probes.unwrap_or(recipe.pack.probes);
    recipe.check()?;
    let Some(base) = recipe.base_path() else {
        return Err(Error::usage(format!("run `{}` trained a base, expected a skill", folder.display()))
            .with_help("a base is shipped as the bundle that the run left; packs are made of skills"));
    };
    let device = Device::flex();
    let start = Start::from_bundle(&base, &device)?;
    check_base(&start, &run, &base)?;
    let task = Task::open(&recipe, &start.preprocessing)?;

    let head = read_head(folder)?;
    let mut details = PackDetails::of_recipe(&recipe);
    details.head = Some(head.clone());
    details.preprocessing = Some(start.preprocessing.clone());
    if let Some(budget) = wishes.budget {
        details.provenance.push(("budget".to_owned(), budget.to_string()));
    }
    details.provenance.push(("data".to_owned(), recipe.data_names().join(", ")));
    details.provenance.push(("data digest".to_owned(), run.data.clone()));
    if let Some(shared) = &run.mask.shared {
        (details.density, details.granule) = (shared.density, shared.granule());
        details.provenance.push(("mask of".to_owned(), shared.pack.clone()));
    }
    let shown = if task.test.is_empty() { &task.train } else { &task.test };

    let crew = Crew::for_this_machine(usize::MAX);
    let judge = |model: &Model, examples: &Arc<Examples>| {
        accuracy(&head, &features(&crew, model, examples, &device), &examples.labels)
    };
    let on_device = |pack: &[u8]| {
        let network = as_a_device_has_it(&start, &base, &[(pack, recipe.pack.alpha)])?;
        Ok(Model::of(&start.network, network, recipe.linearized))
    };
    let prove = |pack: &[u8]| {
        let model = on_device(pack)?;
        let accuracy = Accuracy { held_out: judge(&model, &task.held_out)?, test: judge(&model, &task.test)? };
        Ok((accuracy, probes(&crew, &model, &head, &start.preprocessing, shown, recipe.pack.probes)?))
    };
    let as_trained = trained_with == Some(recipe.pack.values) && wishes.budget.is_none();
    let lossless = recipe.pack.values == Values::Lossless && wishes.budget.is_none();
    let kept = trained_with.filter(|_| !lossless).map(|_| read_deltas(folder)).transpose()?;
    let kept = kept.as_deref().map(|bytes| trained_deltas(bytes, folder, &run)).transpose()?;
    let (before, tuned) = (Checkpoint::open(&base)?, Checkpoint::open(&folder.join(TUNED_FILE))?);
    let Some(budget) = wishes.budget else {
        let exactness = Exactness::of(details.values);
        let fill = |writer: &mut PackWriter| match &kept {
            Some(kept) => kept.tensors().try_for_each(|entry| writer.tensor(&TensorDelta::of_entry(&entry))),
            None => compare(&before, &tuned, exactness, |tensor| writer.changed(&tensor)).map(drop),
        };
        let (encoded, accuracy) = proved(before.fingerprint()?, &details, fill, prove)?;
        return Ok(PackedRun { encoded, run, accuracy, trained_with, as_trained, error: None, curve: Vec::new() });
    };
    // Only deltas can be cut down.
    let vector = match &kept {
        Some(kept) => TaskVector::of_pack(kept),
        None => TaskVector::between(&before, &tuned, Exactness::Rounded)?.0,
    };
    let rated = Rated::new(&vector, budget.rescale)?;
    let judge_held_out = |pack: &[u8]| judge(&on_device(pack)?, &task.held_out);
    let probe_bytes = probes_bytes(&head, &start.preprocessing, recipe.pack.probes.min(shown.len() as u32));
    let reserved = probe_bytes + budget.reserved;
    let (fitted, curve) = match budget.goal {
        Goal::Within(within) => {
            let fitted = rated.fit(within, reserved, &details)?;
            (fitted, rated.curve(budget.curve_points, reserved, &details, judge_held_out)?)
        }
        Goal::AccuracyDrop(drop_max) => {
            let no_data = || {
                Error::usage("the run held no images out, on which accuracy could be kept to")
                    .with_help("say `held_out: 0.1` in the recipe and train again, or use `--max-error`")
            };
            let whole = run.accuracy.held_out.ok_or_else(no_data)?;
            let judge = |pack: &[u8]| judge_held_out(pack)?.ok_or_else(no_data);
            rated.fit_judged(whole, drop_max, reserved, budget.curve_points > 0, &details, judge)?
        }
    };
    let (accuracy, probes) = prove(&fitted.encoded.bytes)?;
    details.probes = probes;
    let encoded = rated.again(&fitted, &details)?.encoded;
    Ok(PackedRun { encoded, run, accuracy, trained_with, as_trained, error: Some(fitted.error), curve })
}

/// The pack of what `fill` gives it, with the probes that `prove` takes from it, and what it is worth. It is packed tensor by
/// tensor, and once.
fn proved(
    base: Fingerprint,
    details: &PackDetails,
    fill: impl FnOnce(&mut PackWriter) -> Result<()>,
    prove: impl Fn(&[u8]) -> Result<(Accuracy, Option<ProbeParts>)>,
) -> Result<(Encoded, Accuracy)> {
    let mut writer = PackWriter::new(base, details)?;
    fill(&mut writer)?;
    let (accuracy, probes) = prove(&writer.so_far()?)?;
    if let Some(probes) = probes {
        writer.probes(probes);
    }
    Ok((writer.finish()?, accuracy))
}

/// The file of the deltas that a run was trained with.
fn read_deltas(folder: &Path) -> Result<Vec<u8>> {
    let path = folder.join(DELTAS_FILE);
    std::fs::read(&path).map_err(|cause| {
        Error::io("read", &path, cause).with_help("a run that rounds in training leaves this file; train again")
    })
}

/// The deltas that the run was trained with, out of their file.
fn trained_deltas<'a>(bytes: &'a [u8], folder: &Path, run: &Run) -> Result<Pack<'a>> {
    let path = folder.join(DELTAS_FILE);
    let pack = Pack::read(bytes, &Limits::default())
        .map_err(|cause| Error::from_pack(cause, format!("`{}` is not what the run wrote", path.display())))?;
    let found = pack.manifest().base.to_string();
    if run.base.as_ref() == Some(&found) {
        return Ok(pack);
    }
    Err(Error::mismatch(format!(
        "`{}` is for base {found}, run `{}` was trained on {}",
        path.display(),
        run.name,
        run.base.as_deref().unwrap_or("none")
    ))
    .with_help("put the run's own file back, or train again"))
}

/// How many bytes so many probes take at most, with their place in the section table and what fills up to it.
fn probes_bytes(head: &Head, preprocessing: &Preprocessing, count: u32) -> u64 {
    const AROUND: u64 = 24 + 16 + 8 + 8;
    if count == 0 {
        return 0;
    }
    AROUND + u64::from(count) * (preprocessing.pixels_len() as u64 + 4 * head.class_count() as u64)
}

fn finished_run(folder: &Path) -> Result<Run> {
    if !folder.is_dir() {
        return Err(Error::usage(format!("there is no run folder `{}`", folder.display()))
            .with_help("`taskvec train RECIPE -o FOLDER` makes one"));
    }
    if !folder.join(RUN_FILE).exists() {
        return Err(Error::usage(format!("`{}` holds no finished run: there is no `{RUN_FILE}`", folder.display()))
            .with_help("start the same `taskvec train` again; it goes on from its checkpoint"));
    }
    read_json(&folder.join(RUN_FILE))
}

fn check_base(start: &Start, run: &Run, base: &Path) -> Result<()> {
    let found = start.fingerprint().map(|fingerprint| fingerprint.to_string());
    if found == run.base {
        return Ok(());
    }
    let name = |fingerprint: &Option<String>| fingerprint.clone().unwrap_or_else(|| "none".to_owned());
    Err(Error::mismatch(format!(
        "run `{}` was trained on base {}, `{}` is {}",
        run.name,
        name(&run.base),
        base.display(),
        name(&found)
    ))
    .with_help("bring the old base back, or train again"))
}

/// The network of base and pack, put together through a file as `taskvec apply` does.
pub(crate) fn as_a_device_has_it(start: &Start, base: &Path, packs: &[(&[u8], f32)]) -> Result<Network> {
    let aside = tempfile::tempdir().map_err(|cause| Error::io("create a folder in", &std::env::temp_dir(), cause))?;
    let path = aside.path().join(TUNED_FILE);
    apply(base, packs, &path)?;
    let bytes = std::fs::read(&path).map_err(|cause| Error::io("read", &path, cause))?;
    let file = TensorFile::parse(&bytes).map_err(|cause| Error::from_bundle(cause, "read the composed weights"))?;
    start.with_tensors(&file, &bytes)
}

fn probes(
    crew: &Crew,
    model: &Model,
    head: &Head,
    preprocessing: &Preprocessing,
    shown: &Examples,
    count: u32,
) -> Result<Option<ProbeParts>> {
    let count = (count as usize).min(shown.len());
    if count == 0 {
        return Ok(None);
    }
    let explain = |cause| Error::from_bundle(cause, "make probes");
    let (mut planes, mut pixels, mut labels) = (Vec::new(), Vec::new(), Vec::new());
    for probe in 0..count {
        let image = probe * shown.len() / count;
        let plane = eight_bits(shown.image(image), preprocessing);
        pixels.extend(preprocessing.normalize(&plane).map_err(explain)?);
        planes.extend(plane);
        labels.push(shown.labels[image]);
    }
    let inputs = Arc::new(Examples { shape: shown.shape, pixels, labels });
    let outputs = head.logits(&features(crew, model, &inputs, &Device::flex())).map_err(explain)?;
    let largest = outputs.iter().fold(0.0_f32, |largest, logit| largest.max(logit.abs()));
    Ok(Some(ProbeParts {
        count: count as u32,
        inputs: ProbeInputs::U8(planes),
        outputs,
        tolerances: vec![(EngineKind::Any, TOLERANCE_SHARE * largest.max(1.0))],
    }))
}

/// Normalized numbers back as pixels of 8 bits, to the nearest.
fn eight_bits(normalized: &[f32], preprocessing: &Preprocessing) -> Vec<u8> {
    let plane_len = normalized.len() / preprocessing.mean().len().max(1);
    let planes = normalized.chunks(plane_len.max(1)).zip(preprocessing.mean().iter().zip(preprocessing.std()));
    planes
        .flat_map(|(plane, (mean, std))| plane.iter().map(move |value| ((value * std + mean) * 255.0).round() as u8))
        .collect()
}
