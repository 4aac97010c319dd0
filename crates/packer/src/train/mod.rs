//! A training run, from a recipe to a folder of results.
//!
//! A run opens its data and its start (a base bundle or a fresh network), gives the base its fair chance with a head of
//! class means, finds the mask if the method has one, trains, and writes what came out (`run_folder.rs` lists it).
//!
//! **Stopping.** The flag is looked at between steps. A stopped run leaves its state in `checkpoint/`; the same call again
//! goes on from there and ends with the same bytes as a run that was never stopped, on any number of cores. A finished
//! run is not done twice: the same call returns what was measured.

mod find_mask;
mod other_tasks;
mod progress;
mod report;
mod start;

#[cfg(test)]
mod tests;

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use burn::tensor::Device;
use taskvec_bundle::{Head, TensorFile, digest_tensor};
use taskvec_networks::Network;

use crate::crew::Crew;
use crate::curvature::Curvature;
use crate::encode::{PackDetails, encode};
use crate::error::{Error, Result};
use crate::evaluate::{accuracy, class_means_head, features};
use crate::examples::{Examples, spread};
use crate::finetune::checkpoint::{self, Identity, Position, Saved, Saving};
use crate::finetune::learner::Learner;
use crate::finetune::{Beginning, HostHead, Schedule, Training};
use crate::mask::TensorMask;
use crate::model::Model;
use crate::recipe::{BatchNormStatistics, HeadKind, Method, Recipe};
use crate::run_folder::{
    DELTAS_FILE, RECIPE_FILE, RUN_FILE, TIMING_FILE, TUNED_FILE, read_json, write_file, write_head, write_json,
};
use crate::task::Task;
use crate::task_vector::TaskVector;

pub use crate::finetune::shared_mask::SharedMask;
pub use crate::finetune::sparse::{CalibrationReport, DEAD_RATIO, DEAD_SHARE_MAX, RoundReport, SHUT_SHARE_MAX};
pub use find_mask::CALIBRATION_IMAGES_MAX;
use find_mask::{Found, MaskFrom};
use other_tasks::OtherTasks;
pub use progress::{Phase, Progress, StepReport};
pub use report::{Accuracy, EpochReport, GateReport, MaskReport, MovedIn, Run, TensorReport, Timing};
pub(crate) use start::{Start, config_of, numbers, read_network};

/// Images on which statistics of batch norms are measured, at most: they go through the network together.
const STATISTICS_IMAGES_MAX: usize = 256;

/// Threads of a crew, at most: more shards than this do not exist.
const THREADS_MAX: usize = 64;

/// How a call of [`train`] ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Ending {
    /// All results are in the run folder.
    Finished(Box<Run>),
    /// The stop flag was seen; the state is in the run folder.
    Stopped {
        /// Steps that were made.
        step: u64,
        /// Steps of the whole run.
        total: u64,
    },
}

/// Does what `recipe` says and writes the results into `out_dir`, which is made if need be.
///
/// `stop` is looked at between steps; see the module's documentation.
///
/// # Errors
/// `Usage` for an impossible recipe or data set and for dead weights; `Mismatch` for a folder that holds another run; `Io`,
/// `Damaged`, `Unsupported`, `Limit` as its parts say.
pub fn train(recipe: &Recipe, out_dir: &Path, progress: &mut dyn Progress, stop: &AtomicBool) -> Result<Ending> {
    train_on(&Crew::for_this_machine(THREADS_MAX), recipe, out_dir, progress, stop)
}

pub(crate) fn train_on(
    crew: &Crew,
    recipe: &Recipe,
    out_dir: &Path,
    progress: &mut dyn Progress,
    stop: &AtomicBool,
) -> Result<Ending> {
    let began = Instant::now();
    recipe.check()?;
    fs::create_dir_all(out_dir).map_err(|cause| Error::io("create", out_dir, cause))?;
    progress.phase(Phase::Opening, 1);
    let device = crate::device::open(recipe.device)?;
    let mut start = Start::new(recipe, &device)?;
    let task = Task::open(recipe, &start.preprocessing)?;
    let mask_from = MaskFrom::open(recipe, &start)?;
    let others = OtherTasks::open(recipe, &start)?;
    let identity = Identity {
        recipe: recipe.digest().to_string(),
        data: task.digest.to_string(),
        base: start.fingerprint().map(|fingerprint| fingerprint.to_string()),
        mask: mask_from.as_ref().map(MaskFrom::digest),
        curvature: others.as_ref().map(OtherTasks::digest),
    };
    if let Some(run) = finished(&identity, out_dir)? {
        return Ok(Ending::Finished(Box::new(run)));
    }
    let saved = Saved::read(out_dir, &identity)?;
    let base = start.network.clone();
    if recipe.batch_norm_statistics == BatchNormStatistics::Measured {
        start.take_statistics(&spread(&task.train, STATISTICS_IMAGES_MAX), &device)?;
    }
    let schedule = Schedule::new(recipe, task.train.len());
    let journey = Journey {
        crew,
        recipe,
        out_dir,
        device,
        start,
        base,
        task,
        mask_from,
        others,
        identity,
        schedule,
        stop,
        began,
    };
    journey.go(progress, saved)
}

/// What all parts of a run need.
struct Journey<'a> {
    crew: &'a Crew,
    recipe: &'a Recipe,
    out_dir: &'a Path,
    device: Device,
    start: Start,
    /// The network of the start, its own statistics and all.
    base: Network,
    task: Task,
    /// Where the mask comes from, for the methods that take one.
    mask_from: Option<MaskFrom>,
    /// What shall not feel the task vector, if anything.
    others: Option<OtherTasks>,
    identity: Identity,
    schedule: Schedule,
    stop: &'a AtomicBool,
    began: Instant,
}

/// A part of the training, with a schedule of its own.
struct Stage {
    /// Whether it is there to find the mask of the next.
    finds_mask: bool,
    /// Its steps.
    steps: Range<u64>,
}

/// How the head begins, and what the base is worth with it.
struct FirstHead {
    head: HostHead,
    base_accuracy: Option<Accuracy>,
}

impl Journey<'_> {
    fn go(&self, progress: &mut dyn Progress, saved: Option<Saved>) -> Result<Ending> {
        write_file(&self.out_dir.join(RECIPE_FILE), self.recipe.to_yaml()?.as_bytes())?;
        let first = self.first_head(progress)?;
        let Some(curvature) = self.curvature(progress)? else { return Ok(self.stopped(0)) };
        let Some(mut found) = self.find_mask(&first.head, saved.as_ref(), progress)? else {
            return Ok(self.stopped(0));
        };
        let mut position = saved.as_ref().and_then(|saved| saved.position.clone()).unwrap_or_default();
        let first_step = position.step;
        let mut stage = self.stage(first_step);
        if let Some(saved) = saved.as_ref().filter(|_| stage.follows_a_search()) {
            found.mask = self.mask_of(saved)?;
        }
        let mut training = self.begin(&found, &first.head, &curvature, &stage)?;
        if let Some(saved) = saved.as_ref().filter(|saved| saved.position.is_some()) {
            training.resume(first_step, |role, name| saved.part(role, name))?;
        }
        let mut seconds = self.learn(&mut training, &mut position, &stage, &found, progress)?;
        if stage.finds_mask && position.step == stage.steps.end {
            training.settle();
            found.mask = self.mask_by_training(&training)?;
            stage = self.stage(position.step);
            let before = std::mem::replace(&mut training, self.begin(&found, &first.head, &curvature, &stage)?);
            if self.recipe.method == Method::DiffPruning {
                training.go_on_from(&before);
            }
            self.save(&found, Some((&position, &training)), &stage)?;
            seconds += self.learn(&mut training, &mut position, &stage, &found, progress)?;
        }
        if position.step < self.schedule.total {
            return Ok(self.stopped(position.step));
        }
        progress.phase(Phase::Finishing, 1);
        let run = self.finish(&training, position, &first, &found)?;
        let steps = run.steps - first_step;
        let seconds_per_step = if steps > 0 { seconds / steps as f64 } else { 0.0 };
        let timing = Timing { seconds: self.began.elapsed().as_secs_f64(), steps, seconds_per_step };
        write_json(&self.out_dir.join(TIMING_FILE), &timing)?;
        write_json(&self.out_dir.join(RUN_FILE), &run)?;
        checkpoint::remove(self.out_dir)?;
        Ok(Ending::Finished(Box::new(run)))
    }

    /// From scratch a drawn head; for a skill the class means of the base's features, with what that is worth.
    fn first_head(&self, progress: &mut dyn Progress) -> Result<FirstHead> {
        if self.recipe.network.is_some() {
            let head = self.start.fresh_head(self.task.classes.len(), self.recipe.seed);
            return Ok(FirstHead { head, base_accuracy: None });
        }
        progress.phase(Phase::MeasuringBase, 1);
        let (width, classes) = (self.start.feature_width, &self.task.classes);
        let temperature = self.recipe.head.temperature;
        let head = |network: &Network| {
            let features = features(self.crew, network, &self.task.train, &self.device);
            class_means_head(&features, width, &self.task.train.labels, classes, temperature)
        };
        let of_base = head(&self.base)?;
        let base_accuracy = Some(self.judge(&Model::from(&self.base), &of_base)?);
        // What learns may have other statistics than the base, and so other features.
        let head = if self.start.statistics.is_empty() { of_base } else { head(&self.start.network)? };
        Ok(FirstHead { head: host_head(&head, width), base_accuracy })
    }

    /// The stage of a step.
    fn stage(&self, step: u64) -> Stage {
        let total = self.schedule.total;
        let Some(share) = self.recipe.search_share() else { return Stage { finds_mask: false, steps: 0..total } };
        let search_ends = ((share * total as f64).round() as u64).clamp(1, total.saturating_sub(1).max(1));
        if step < search_ends {
            return Stage { finds_mask: true, steps: 0..search_ends };
        }
        Stage { finds_mask: false, steps: search_ends..total }
    }

    /// Before the first step of a stage.
    fn begin(&self, found: &Found, head: &HostHead, curvature: &Curvature, stage: &Stage) -> Result<Training> {
        let mut training = Training::begin(Beginning {
            network: self.start.network.clone(),
            tensors: &self.start.editable(),
            mask: &found.mask,
            head: head.clone(),
            head_learns: self.recipe.network.is_some() || self.recipe.head.kind == HeadKind::Trained,
            recipe: self.recipe,
            curvature: Some(curvature),
            steps: stage.steps.clone(),
            finds_mask: stage.finds_mask,
            device: &self.device,
        })?;
        if let Some(rounding) = self.recipe.pack.rounding_in_training() {
            training.round_deltas(rounding, |name| self.start.dtype(name));
        }
        Ok(training)
    }

    /// Trains until the end of the stage or until stopped, and returns the seconds spent in steps.
    fn learn(
        &self,
        training: &mut Training,
        position: &mut Position,
        stage: &Stage,
        found: &Found,
        progress: &mut dyn Progress,
    ) -> Result<f64> {
        let (schedule, seed) = (self.schedule, self.recipe.seed);
        progress.phase(if stage.finds_mask { Phase::Searching } else { Phase::Training }, schedule.total);
        let (mut seconds, mut seen) = (0.0, 0);
        let mut order = (u64::MAX, Vec::new());
        let mut batch_of = |step: u64| {
            let (epoch, place) = schedule.place(step);
            if order.0 != epoch {
                order = (epoch, schedule.order(seed, epoch));
            }
            order.1[place * schedule.batch..(place + 1) * schedule.batch].to_vec()
        };
        let mut batch = batch_of(position.step);
        while position.step < stage.steps.end {
            if self.is_stopped() {
                self.save(found, Some((position, training)), stage)?;
                break;
            }
            let is_last = position.step + 1 == stage.steps.end;
            let next = if is_last { Vec::new() } else { batch_of(position.step + 1) };
            let began = Instant::now();
            let outcome = training.advance(self.crew, &self.task.train, [&batch, &next], self.recipe);
            seconds += began.elapsed().as_secs_f64();
            batch = next;
            seen += outcome.count;
            position.count(&outcome);
            if !outcome.loss.is_finite() {
                return Err(Error::damaged(format!("the loss of step {} is {}", position.step, outcome.loss))
                    .with_help("lower `optimizer.learning_rate`, or set `optimizer.clip_norm`"));
            }
            progress.step(&StepReport {
                step: position.step,
                total: schedule.total,
                loss: outcome.loss,
                accuracy: outcome.correct as f64 / outcome.count as f64,
                examples_per_second: seen as f64 / seconds,
            });
            if position.step.is_multiple_of(schedule.steps_per_epoch) || position.step == schedule.total {
                let held_out = self.judge_on(&training.model(), &self.head(training)?, &self.task.held_out)?;
                progress.epoch(&position.end_epoch(held_out));
            }
            if position.step.is_multiple_of(self.recipe.checkpoint_steps) && position.step < stage.steps.end {
                self.save(found, Some((position, training)), stage)?;
            }
        }
        Ok(seconds)
    }

    /// Writes the results, but for `run.json`, and says what was measured.
    fn finish(&self, training: &Training, position: Position, first: &FirstHead, found: &Found) -> Result<Run> {
        let bytes = self.start.tuned(training.learners())?;
        // Judged is what was written, rounded to the file's dtype.
        let file =
            TensorFile::parse(&bytes).map_err(|cause| Error::from_bundle(cause, "read the tuned weights back"))?;
        let network = self.start.with_tensors(&file, &bytes)?;
        let head = self.head(training)?;
        let model = Model::of(&self.start.network, network, self.recipe.linearized);
        let accuracy = self.judge(&model, &head)?;
        write_file(&self.out_dir.join(TUNED_FILE), &bytes)?;
        self.write_deltas(training)?;
        write_head(self.out_dir, &head)?;
        Ok(Run {
            name: self.recipe.name.clone(),
            recipe: self.identity.recipe.clone(),
            data: self.identity.data.clone(),
            base: self.identity.base.clone(),
            curvature: self.identity.curvature.clone(),
            tuned: digest_tensor(&bytes).to_string(),
            method: self.recipe.method,
            seed: self.recipe.seed,
            classes: self.task.classes.clone(),
            train_images: self.task.train.len() as u64,
            steps: position.step,
            epochs: position.epochs,
            base_accuracy: first.base_accuracy,
            accuracy,
            mask: found.report(training),
            optimizer_bytes: training.learners().iter().map(Learner::optimizer_bytes).sum(),
        })
    }

    /// Keeps the rounded deltas, if the network was trained with such: tuned minus base is near them, and not the same.
    fn write_deltas(&self, training: &Training) -> Result<()> {
        let Some(base) = self.start.fingerprint().filter(|_| self.recipe.pack.rounding_in_training().is_some()) else {
            return Ok(());
        };
        let tensors =
            training.learners().iter().filter_map(Learner::delta).chain(self.start.statistics_deltas()).collect();
        let encoded = encode(&TaskVector { base, tensors }, &PackDetails::of_recipe(self.recipe))?;
        write_file(&self.out_dir.join(DELTAS_FILE), &encoded.bytes)
    }

    fn head(&self, training: &Training) -> Result<Head> {
        let head = training.head();
        Head::new(self.task.classes.clone(), head.weight, head.bias, head.feature_width)
            .map_err(|cause| Error::from_bundle(cause, "the head after training"))
    }

    fn judge(&self, model: &Model, head: &Head) -> Result<Accuracy> {
        Ok(Accuracy {
            held_out: self.judge_on(model, head, &self.task.held_out)?,
            test: self.judge_on(model, head, &self.task.test)?,
        })
    }

    fn judge_on(&self, model: &Model, head: &Head, examples: &Arc<Examples>) -> Result<Option<f64>> {
        accuracy(head, &features(self.crew, model, examples, &self.device), &examples.labels)
    }

    fn save(&self, found: &Found, training: Option<(&Position, &Training)>, stage: &Stage) -> Result<()> {
        let calibration = found.calibration.as_ref();
        let saving = Saving {
            identity: &self.identity,
            calibration: calibration.map(|calibration| (&calibration.candidates, &calibration.report)),
            training: training.map(|(position, training)| (position, training.learners())),
            mask_by_training: stage.follows_a_search(),
        };
        saving.write(self.out_dir)
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn stopped(&self, step: u64) -> Ending {
        Ending::Stopped { step, total: self.schedule.total }
    }
}

impl Stage {
    /// Whether the mask was found by the steps before it.
    fn follows_a_search(&self) -> bool {
        !self.finds_mask && self.steps.start > 0
    }
}

impl Found {
    /// Of what differs from the base in the end.
    fn report(&self, training: &Training) -> MaskReport {
        let learner = |name: &str| training.learners().iter().find(|learner| learner.name == name);
        let tensor = |tensor: &TensorMask| TensorReport {
            name: tensor.name.clone(),
            entries: learner(&tensor.name).map_or(0, |learner| learner.changes().count(tensor.element_count()) as u64),
            elements: tensor.element_count() as u64,
        };
        let tensors: Vec<TensorReport> = self.mask.tensors.iter().map(tensor).collect();
        let gate = |learner: &Learner| {
            let (gate, is_open) = learner.gate()?;
            Some(GateReport { name: learner.name.clone(), gate, is_open })
        };
        MaskReport {
            entries: tensors.iter().map(|tensor| tensor.entries).sum(),
            elements: tensors.iter().map(|tensor| tensor.elements).sum(),
            calibration: self.calibration.as_ref().map(|calibration| calibration.report.clone()),
            shared: self.shared.clone(),
            moved_in: self.moved_in.clone(),
            gates: training.learners().iter().filter_map(gate).collect(),
            tensors,
        }
    }
}

fn host_head(head: &Head, feature_width: usize) -> HostHead {
    HostHead { weight: head.weight().to_vec(), bias: head.bias().to_vec(), feature_width }
}

/// What an earlier call of the same run measured.
fn finished(identity: &Identity, out_dir: &Path) -> Result<Option<Run>> {
    let path = out_dir.join(RUN_FILE);
    if !path.exists() {
        return Ok(None);
    }
    let run: Run = read_json(&path)?;
    let then = Identity {
        recipe: run.recipe.clone(),
        data: run.data.clone(),
        base: run.base.clone(),
        mask: (run.mask.shared.as_ref().map(|shared| shared.pack.clone()))
            .or_else(|| run.mask.moved_in.as_ref().map(|run| run.tuned.clone())),
        curvature: run.curvature.clone(),
    };
    match identity.first_difference(&then) {
        None => Ok(Some(run)),
        Some(what) => Err(Error::mismatch(format!(
            "`{}` holds the finished run `{}` with another {what}",
            out_dir.display(),
            run.name
        ))
        .with_help("name another folder for this run, or remove that one")),
    }
}
