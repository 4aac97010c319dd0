//! The training loop: steps on batches, from the weights of a base to those of a run.
//!
//! The state of a run is on the host: for each tensor the numbers that learn and the packed moments of its entries
//! (`learner.rs`), by name. The device has a plain network that is renewed after each step where something learned. Batches,
//! augmentation and drawn labels are keyed by seed, step and place, never by what was drawn before, so a run is repeated
//! from any step with nothing but this state. Where deltas are rounded in the loop (`rounded.rs`), the state is in full and
//! the network is not.

pub(crate) mod attention_only;
mod batch;
pub(crate) mod checkpoint;
pub(crate) mod dense;
mod diff_pruning;
pub(crate) mod learner;
pub(crate) mod leaves;
pub(crate) mod lora;
pub(crate) mod matrix;
pub(crate) mod penalty;
pub(crate) mod ranked;
mod rounded;
pub(crate) mod shards;
pub(crate) mod shared_mask;
pub(crate) mod sparse;
mod taps;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use burn::module::ParamId;
use burn::tensor::{Device, TensorData};
use taskvec_networks::Network;
use taskvec_pack::Dtype;
use taskvec_pack::write::Rounding;

use self::batch::Part;
use self::learner::{Learner, Pulled, Role};
use self::leaves::{HostTensor, replaced};
use self::penalty::Penalty;
use self::shards::{DeviceHead, Plan, Shard, ShardResult, sum};
use crate::crew::Crew;
use crate::curvature::Curvature;
use crate::error::{Error, Result};
use crate::examples::Examples;
use crate::mask::{Entries, Mask};
use crate::model::Model;
use crate::optimizer::{Moments, clip_scale};
use crate::random::Random;
use crate::recipe::{ClipOver, OptimizerRecipe, Recipe};

/// What the head's weight is called among the tensors that learn.
pub(crate) const HEAD_WEIGHT: &str = "head.weight";
/// What the head's bias is called.
pub(crate) const HEAD_BIAS: &str = "head.bias";

/// A head's numbers, on the host.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct HostHead {
    /// `[classes, features]`
    pub(crate) weight: Vec<f32>,
    /// `[classes]`
    pub(crate) bias: Vec<f32>,
    /// Numbers per image that the network gives.
    pub(crate) feature_width: usize,
}

/// What a training begins with.
pub(crate) struct Beginning<'a> {
    /// Plain.
    pub(crate) network: Network,
    /// Its numbers, those that may learn.
    pub(crate) tensors: &'a [HostTensor],
    /// Which of them do.
    pub(crate) mask: &'a Mask,
    /// The head.
    pub(crate) head: HostHead,
    /// Whether it learns, too.
    pub(crate) head_learns: bool,
    /// What it all depends on.
    pub(crate) recipe: &'a Recipe,
    /// How other tasks feel a change, for a penalty on that.
    pub(crate) curvature: Option<&'a Curvature>,
    /// The steps that are made on one schedule.
    pub(crate) steps: Range<u64>,
    /// Whether they are there to find the mask of those behind them.
    pub(crate) finds_mask: bool,
    /// Where the network is.
    pub(crate) device: &'a Device,
}

/// A run between two steps.
pub(crate) struct Training {
    network: Network,
    /// Where the model is linearized, if it is.
    base: Option<Network>,
    head: DeviceHead,
    fixed_head: HostHead,
    learners: Vec<Learner>,
    ids: HashMap<String, ParamId>,
    plan: Arc<Plan>,
    steps: Range<u64>,
    step: u64,
    /// The batch of the next step.
    ready: Option<Ready>,
    device: Device,
}

/// A batch that was made before its step.
struct Ready {
    step: u64,
    indices: Vec<usize>,
    parts: Vec<Part>,
}

/// What a thread of the crew has done.
enum Done {
    Shard(ShardResult),
    Part(Part),
}

/// What one step says about itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct StepOutcome {
    /// Mean loss of the batch, before the step.
    pub(crate) loss: f64,
    /// Images that were recognized.
    pub(crate) correct: usize,
    /// Images in the batch.
    pub(crate) count: usize,
    /// What was added to the loss, before the step, where something is.
    pub(crate) penalty: Option<f64>,
}

impl HostHead {
    /// On the device, plain.
    pub(crate) fn to_device(&self, device: &Device) -> DeviceHead {
        DeviceHead::new(&self.weight, &self.bias, self.feature_width, device)
    }
}

impl Training {
    /// Before the first step.
    ///
    /// # Errors
    /// `Usage` when neither a weight nor the head learns.
    pub(crate) fn begin(beginning: Beginning<'_>) -> Result<Training> {
        let Beginning { network, tensors, mask, head, head_learns, recipe, curvature, steps, finds_mask, device } =
            beginning;
        let mut learners = Vec::new();
        let mut ids = HashMap::new();
        let mut places = HashMap::new();
        let masks: HashMap<&str, &Entries> =
            mask.tensors.iter().map(|tensor| (tensor.name.as_str(), &tensor.entries)).collect();
        let count_of_tensors = mask.tensors.iter().filter(|tensor| tensor.entry_count() > 0).count();
        for tensor in tensors {
            let count = tensor.values.len();
            let entries = masks.get(tensor.name.as_str()).map_or(Entries::None, |entries| (*entries).clone());
            if entries.count(count) == 0 {
                continue;
            }
            places.insert(tensor.id, learners.len());
            ids.insert(tensor.name.clone(), tensor.id);
            let mut learner = learner(tensor, entries, recipe, finds_mask, count_of_tensors);
            let factors = curvature.and_then(|curvature| curvature.of(&tensor.name));
            let penalty = recipe.penalty.as_ref().and_then(|recipe| Penalty::of(recipe, &tensor.shape, factors));
            if let Some(penalty) = penalty {
                learner.penalize(penalty);
            }
            learner.prepare(steps.start);
            learners.push(learner);
        }
        if head_learns {
            let shape = vec![head.bias.len(), head.feature_width];
            learners.push(Learner::plain(HEAD_WEIGHT.to_owned(), shape, Entries::All, head.weight.clone()));
            let shape = vec![head.bias.len()];
            learners.push(Learner::plain(HEAD_BIAS.to_owned(), shape, Entries::All, head.bias.clone()));
        }
        if learners.is_empty() {
            return Err(Error::usage("nothing learns: the mask is empty and the head is fixed")
                .with_help("raise `mask.density`, or take `head: {kind: trained}`"));
        }
        let plan = Plan {
            places,
            entries: learners.iter().map(|learner| learner.entries.clone()).collect(),
            keeps_all: recipe.optimizer.clip_over == ClipOver::All,
            head_learns,
            label_smoothing: recipe.label_smoothing,
        };
        let device_head = head.to_device(device);
        let device = device.clone();
        Ok(Training {
            base: recipe.linearized.then(|| network.clone()),
            network,
            head: device_head,
            fixed_head: head,
            learners,
            ids,
            plan: Arc::new(plan),
            step: steps.start,
            steps,
            ready: None,
            device,
        })
    }

    /// From here on the network has the base with rounded deltas, as a pack of the run would give it; `dtype` is a tensor's in
    /// the base. The head is written in f32 and stays as it is. To be called before the first step.
    pub(crate) fn round_deltas(&mut self, rounding: Rounding, dtype: impl Fn(&str) -> Dtype) {
        for learner in self.learners.iter_mut().filter(|learner| !learner.is_head()) {
            let dtype = dtype(&learner.name);
            learner.round(dtype, rounding);
        }
        let data = self.learners.iter().map(Learner::to_data).collect();
        self.renew(data);
    }

    /// Goes to the state of an earlier run of the same recipe, in which a part of a tensor had these values and moments.
    ///
    /// # Errors
    /// `Mismatch` when the tensors that learn are not the same.
    pub(crate) fn resume(
        &mut self,
        step: u64,
        state: impl Fn(Role, &str) -> Option<(Vec<f32>, Moments)>,
    ) -> Result<()> {
        for learner in &mut self.learners {
            for part in &mut learner.parts {
                let fits = |(values, moments): &(Vec<f32>, Moments)| {
                    let count = part.moments.mean.len();
                    values.len() == part.values.len() && moments.mean.len() == count && moments.square.len() == count
                };
                let Some((values, moments)) = state(part.role, &learner.name).filter(fits) else {
                    return Err(Error::mismatch(format!("the checkpoint does not fit tensor `{}`", learner.name)));
                };
                (part.values, part.moments) = (values, moments);
            }
            learner.prepare(step);
        }
        self.step = step;
        let data = self.learners.iter().map(Learner::to_data).collect();
        self.renew(data);
        Ok(())
    }

    /// At the end of a stage: what is drawn takes the value that it has without noise.
    pub(crate) fn settle(&mut self) {
        self.learners.iter_mut().for_each(Learner::settle);
    }

    /// Goes on from where another stage has left what learns here, too; with no moments. To be called before the first step.
    pub(crate) fn go_on_from(&mut self, before: &Training) {
        for learner in &mut self.learners {
            if let Some(then) = before.learners.iter().find(|then| then.name == learner.name) {
                learner.take_values(&then.in_full());
            }
        }
        let data = self.learners.iter().map(Learner::to_data).collect();
        self.renew(data);
    }

    /// What learns.
    pub(crate) fn learners(&self) -> &[Learner] {
        &self.learners
    }

    /// The network as it computes now.
    pub(crate) fn model(&self) -> Model {
        match &self.base {
            None => Model::Whole(self.network.clone()),
            Some(base) => Model::linearized(base, &self.network, |id| self.plan.places.contains_key(&id)),
        }
    }

    /// The head as it is now.
    pub(crate) fn head(&self) -> HostHead {
        let values = |name| {
            let learner = self.learners.iter().find(|learner| learner.name == name);
            learner.map(|learner| learner.in_full().into_owned())
        };
        match (values(HEAD_WEIGHT), values(HEAD_BIAS)) {
            (Some(weight), Some(bias)) => HostHead { weight, bias, feature_width: self.fixed_head.feature_width },
            _ => self.fixed_head.clone(),
        }
    }

    /// One step on the images at `indices`. Those at `next` are made ready meanwhile, for the step that follows.
    pub(crate) fn advance(
        &mut self,
        crew: &Crew,
        examples: &Arc<Examples>,
        [indices, next]: [&[usize]; 2],
        recipe: &Recipe,
    ) -> StepOutcome {
        let mut results = self.run_shards(crew, examples, [indices, next], recipe);
        let gradients = self.gradients(crew, &mut results);
        let outcome = StepOutcome {
            loss: results.iter().map(|result| result.loss).sum(),
            correct: results.iter().map(|result| result.correct).sum(),
            count: indices.len(),
            penalty: gradients.iter().filter_map(|(pulled, _)| pulled.penalty).reduce(|sum, penalty| sum + penalty),
        };
        let squared: f64 = gradients.iter().map(|(_, squared)| squared).sum();
        let scale = clip_scale(squared, recipe.optimizer.clip_norm);
        self.update(crew, gradients, &recipe.optimizer, scale);
        outcome
    }

    fn run_shards(
        &mut self,
        crew: &Crew,
        examples: &Arc<Examples>,
        [indices, next]: [&[usize]; 2],
        recipe: &Recipe,
    ) -> Vec<ShardResult> {
        let ready = self.ready.take().filter(|ready| ready.step == self.step && ready.indices == indices);
        let parts = ready.map(|ready| ready.parts);
        let parts = parts.unwrap_or_else(|| crew.map(batch::parts(examples, indices, recipe, self.step)));
        let model = self.model();
        let (shape, batch) = (examples.shape, indices.len());
        let shards = parts.into_iter().map(|Part { pixels, labels }| {
            let (model, head, plan) = (model.clone(), self.head.clone(), Arc::clone(&self.plan));
            let shard = Shard { model, head, pixels, shape, labels, batch, plan };
            Box::new(move || Done::Shard(shard.run())) as Box<dyn FnOnce() -> Done + Send>
        });
        let step = self.step + 1;
        let coming = batch::parts(examples, next, recipe, step)
            .map(|part| Box::new(move || Done::Part(part())) as Box<dyn FnOnce() -> Done + Send>);
        let (mut results, mut parts) = (Vec::new(), Vec::new());
        for done in crew.map(shards.chain(coming).collect::<Vec<_>>()) {
            match done {
                Done::Shard(result) => results.push(result),
                Done::Part(part) => parts.push(part),
            }
        }
        self.ready = Some(Ready { step, indices: next.to_vec(), parts });
        results
    }

    /// The gradients of the batch, those of its parts for each learner, and the squares that count for the clip norm.
    fn gradients(&mut self, crew: &Crew, results: &mut [ShardResult]) -> Vec<(Pulled, f64)> {
        let (keeps_all, (step, total)) = (self.plan.keeps_all, self.place());
        let share = step as f64 / total as f64;
        let tasks: Vec<_> = (std::mem::take(&mut self.learners).into_iter().enumerate())
            .map(|(place, learner)| {
                let parts: Vec<Vec<f32>> =
                    results.iter_mut().map(|result| std::mem::take(&mut result.gradients[place])).collect();
                move || {
                    let gradients = learner.pull_back(sum(parts.into_iter()), keeps_all, share);
                    (learner, gradients)
                }
            })
            .collect();
        let (learners, gradients) = crew.map(tasks).into_iter().unzip();
        self.learners = learners;
        gradients
    }

    fn update(&mut self, crew: &Crew, gradients: Vec<(Pulled, f64)>, recipe: &OptimizerRecipe, scale: f64) {
        let ((step, total), next) = (self.place(), self.step + 1);
        let learners = std::mem::take(&mut self.learners);
        let tasks: Vec<_> = (learners.into_iter().zip(gradients))
            .map(|(mut learner, (pulled, _))| {
                let recipe = recipe.clone();
                move || {
                    learner.step(&recipe, step, total, scale, &pulled.gradients);
                    learner.prepare(next);
                    let data = learner.to_data();
                    (learner, data)
                }
            })
            .collect();
        let (learners, data) = crew.map(tasks).into_iter().unzip();
        self.learners = learners;
        self.step = next;
        self.renew(data);
    }

    /// The step at hand on its schedule, and how many that has.
    fn place(&self) -> (u64, u64) {
        (self.step - self.steps.start, self.steps.end - self.steps.start)
    }

    /// Puts the learners' numbers into the network and the head.
    fn renew(&mut self, data: Vec<TensorData>) {
        let mut values = HashMap::new();
        for (learner, data) in self.learners.iter().zip(data) {
            match self.ids.get(&learner.name) {
                Some(id) => drop(values.insert(*id, data)),
                None if learner.name == HEAD_WEIGHT => {
                    self.head.weight = burn::tensor::Tensor::from_data(data, &self.device)
                }
                None => self.head.bias = burn::tensor::Tensor::from_data(data, &self.device),
            }
        }
        self.network = replaced(self.network.clone(), values);
    }
}

/// How `tensor`, one of `count`, learns: as itself, in `entries`, or as its method makes it of other numbers.
fn learner(tensor: &HostTensor, entries: Entries, recipe: &Recipe, finds_mask: bool, count: usize) -> Learner {
    if let Some(lora) = &recipe.lora {
        return lora::learner(tensor, lora, recipe.seed);
    }
    if let Some(taps) = &recipe.taps {
        return taps::learner(tensor, taps, count);
    }
    if let Some(pruning) = recipe.diff_pruning.as_ref().filter(|_| finds_mask) {
        return diff_pruning::learner(tensor, pruning, recipe.seed);
    }
    Learner::plain(tensor.name.clone(), tensor.shape.clone(), entries, tensor.values.clone())
}

/// Which images each step sees: all of them once per epoch, in an order drawn for the epoch. What does not fill a batch at
/// the end of an epoch waits for the next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Schedule {
    /// Images to learn from.
    pub(crate) images: usize,
    /// Images per step.
    pub(crate) batch: usize,
    /// Steps per epoch.
    pub(crate) steps_per_epoch: u64,
    /// Steps of the whole run.
    pub(crate) total: u64,
}

impl Schedule {
    /// The schedule of a recipe on this many images.
    pub(crate) fn new(recipe: &Recipe, images: usize) -> Schedule {
        let batch = (recipe.batch as usize).min(images).max(1);
        let steps_per_epoch = (images / batch).max(1) as u64;
        let by_epochs = |epochs: f64| ((epochs * steps_per_epoch as f64).ceil() as u64).max(1);
        let total = recipe.steps.unwrap_or_else(|| by_epochs(recipe.epochs.unwrap_or(1.0)));
        Schedule { images, batch, steps_per_epoch, total }
    }

    /// The order of the images in the epoch of `step`.
    pub(crate) fn order(&self, seed: u64, epoch: u64) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.images).collect();
        Random::new(seed, &format!("order/epoch {epoch}")).shuffle(&mut order);
        order
    }

    /// Epoch of a step, and its place in it.
    pub(crate) fn place(&self, step: u64) -> (u64, usize) {
        (step / self.steps_per_epoch, (step % self.steps_per_epoch) as usize)
    }
}
