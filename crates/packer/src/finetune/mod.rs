//! The training loop: steps on batches, from the weights of a base to those of a run.
//!
//! The state of a run is on the host: for each tensor that learns its weights and the packed moments of its entries,
//! by name. The device has a plain network that is renewed after each step where something learned. Batches,
//! augmentation and drawn labels are keyed by seed, step and place, never by what was drawn before, so a run is repeated
//! from any step with nothing but this state. Where deltas are rounded in the loop (`rounded.rs`), the state is in full and
//! the network is not.

pub(crate) mod attention_only;
pub(crate) mod checkpoint;
pub(crate) mod dense;
pub(crate) mod leaves;
pub(crate) mod rounded;
pub(crate) mod shards;
pub(crate) mod shared_mask;
pub(crate) mod sparse;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use burn::module::ParamId;
use burn::tensor::{Device, TensorData};
use taskvec_networks::Network;
use taskvec_pack::Dtype;
use taskvec_pack::write::Rounding;

use self::leaves::{HostTensor, replaced};
use self::rounded::Rounded;
use self::shards::{DeviceHead, Plan, Shard, ShardResult, cut, gather, sum};
use crate::augment::augment;
use crate::crew::Crew;
use crate::error::{Error, Result};
use crate::examples::Examples;
use crate::mask::{Entries, Mask};
use crate::optimizer::{Moments, StepFactors, clip_scale, learning_rate, squared_norm};
use crate::random::Random;
use crate::recipe::{AugmentationRecipe, ClipOver, OptimizerRecipe, Recipe};
use crate::task_vector::{Deltas, TensorDelta};

/// What the head's weight is called among the tensors that learn.
pub(crate) const HEAD_WEIGHT: &str = "head.weight";
/// What the head's bias is called.
pub(crate) const HEAD_BIAS: &str = "head.bias";

/// A tensor that learns.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Learner {
    /// Its name in the file, or one of the head's.
    pub(crate) name: String,
    /// Its shape.
    pub(crate) shape: Vec<usize>,
    /// Which of its elements learn.
    pub(crate) entries: Entries,
    /// All of its elements, in full.
    pub(crate) values: Vec<f32>,
    /// Moments of those that learn.
    pub(crate) moments: Moments,
    /// How the network's differ from them; not at all if none.
    rounded: Option<Rounded>,
}

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

/// A run between two steps.
pub(crate) struct Training {
    network: Network,
    head: DeviceHead,
    fixed_head: HostHead,
    learners: Vec<Learner>,
    ids: HashMap<String, ParamId>,
    plan: Arc<Plan>,
    step: u64,
    device: Device,
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
}

impl HostHead {
    /// On the device, plain.
    pub(crate) fn to_device(&self, device: &Device) -> DeviceHead {
        DeviceHead::new(&self.weight, &self.bias, self.feature_width, device)
    }
}

impl Training {
    /// Before the first step: `network` is plain, `tensors` are its numbers, `mask` says which of them learn.
    ///
    /// # Errors
    /// `Usage` when neither a weight nor the head learns.
    pub(crate) fn begin(
        network: Network,
        tensors: &[HostTensor],
        mask: &Mask,
        head: HostHead,
        head_learns: bool,
        recipe: &Recipe,
        device: &Device,
    ) -> Result<Training> {
        let mut learners = Vec::new();
        let mut ids = HashMap::new();
        let mut places = HashMap::new();
        let masks: HashMap<&str, &Entries> =
            mask.tensors.iter().map(|tensor| (tensor.name.as_str(), &tensor.entries)).collect();
        for tensor in tensors {
            let count = tensor.values.len();
            let entries = masks.get(tensor.name.as_str()).map_or(Entries::None, |entries| (*entries).clone());
            if entries.count(count) == 0 {
                continue;
            }
            places.insert(tensor.id, learners.len());
            ids.insert(tensor.name.clone(), tensor.id);
            let (shape, values) = (tensor.shape.clone(), tensor.values.clone());
            learners.push(Learner::new(tensor.name.clone(), shape, entries, values));
        }
        if head_learns {
            let shape = vec![head.bias.len(), head.feature_width];
            learners.push(Learner::new(HEAD_WEIGHT.to_owned(), shape, Entries::All, head.weight.clone()));
            let shape = vec![head.bias.len()];
            learners.push(Learner::new(HEAD_BIAS.to_owned(), shape, Entries::All, head.bias.clone()));
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
            network,
            head: device_head,
            fixed_head: head,
            learners,
            ids,
            plan: Arc::new(plan),
            step: 0,
            device,
        })
    }

    /// From here on the network has the base with rounded deltas, as a pack of the run would give it; `dtype` is a tensor's in
    /// the base. The head is written in f32 and stays as it is. To be called before the first step.
    pub(crate) fn round_deltas(&mut self, rounding: Rounding, dtype: impl Fn(&str) -> Dtype) {
        for learner in self.learners.iter_mut().filter(|learner| !learner.is_head()) {
            learner.rounded = Some(Rounded::new(learner.values.clone(), dtype(&learner.name), rounding));
        }
        let data = self.learners.iter().map(Learner::to_data).collect();
        self.renew(data);
    }

    /// Goes to the state of an earlier run of the same recipe.
    ///
    /// # Errors
    /// `Mismatch` when the tensors that learn are not the same.
    pub(crate) fn resume(&mut self, step: u64, mut states: HashMap<String, (Vec<f32>, Moments)>) -> Result<()> {
        for learner in &mut self.learners {
            let fits = |(values, moments): &(Vec<f32>, Moments)| {
                let count = learner.moments.mean.len();
                values.len() == learner.values.len() && moments.mean.len() == count && moments.square.len() == count
            };
            let state = states.remove(&learner.name).filter(fits);
            let Some((values, moments)) = state else {
                return Err(Error::mismatch(format!("the checkpoint does not fit tensor `{}`", learner.name)));
            };
            (learner.values, learner.moments) = (values, moments);
        }
        self.step = step;
        let data = self.learners.iter().map(Learner::to_data).collect();
        self.renew(data);
        Ok(())
    }

    /// What learns.
    pub(crate) fn learners(&self) -> &[Learner] {
        &self.learners
    }

    /// The network as it is now, plain.
    pub(crate) fn network(&self) -> &Network {
        &self.network
    }

    /// The head as it is now.
    pub(crate) fn head(&self) -> HostHead {
        let values =
            |name| self.learners.iter().find(|learner| learner.name == name).map(|learner| learner.values.clone());
        match (values(HEAD_WEIGHT), values(HEAD_BIAS)) {
            (Some(weight), Some(bias)) => HostHead { weight, bias, feature_width: self.fixed_head.feature_width },
            _ => self.fixed_head.clone(),
        }
    }

    /// One step on the images at `indices`.
    pub(crate) fn advance(
        &mut self,
        crew: &Crew,
        examples: &Arc<Examples>,
        indices: &[usize],
        recipe: &Recipe,
        total: u64,
    ) -> StepOutcome {
        let mut results = self.run_shards(crew, examples, indices, recipe);
        let outcome = StepOutcome {
            loss: results.iter().map(|result| result.loss).sum(),
            correct: results.iter().map(|result| result.correct).sum(),
            count: indices.len(),
        };
        let gradients = self.gradients(crew, &mut results);
        let squared: f64 = gradients.iter().map(|(_, squared)| squared).sum();
        let scale = clip_scale(squared, recipe.optimizer.clip_norm);
        self.update(crew, gradients, &recipe.optimizer, total, scale);
        outcome
    }

    fn run_shards(
        &self,
        crew: &Crew,
        examples: &Arc<Examples>,
        indices: &[usize],
        recipe: &Recipe,
    ) -> Vec<ShardResult> {
        let tasks: Vec<_> = cut(indices.len(), recipe.shards as usize)
            .into_iter()
            .map(|range| {
                let (network, head, plan) = (self.network.clone(), self.head.clone(), Arc::clone(&self.plan));
                let (examples, augmentation) = (Arc::clone(examples), recipe.augmentation.clone());
                let (indices, batch, first) = (indices[range.clone()].to_vec(), indices.len(), range.start);
                let (seed, step) = (recipe.seed, self.step);
                move || {
                    let (mut pixels, labels) = gather(&examples, &indices);
                    if !augmentation.is_off() {
                        change(&mut pixels, &examples, &indices, &augmentation, |place| {
                            Random::new(seed, &format!("augment/step {step}/place {}", first + place))
                        });
                    }
                    Shard { network, head, pixels, shape: examples.shape, labels, batch, plan }.run()
                }
            })
            .collect();
        crew.map(tasks)
    }

    /// The gradients of the batch, one list of entries for each learner, and the squares that count for the clip norm.
    fn gradients(&self, crew: &Crew, results: &mut [ShardResult]) -> Vec<(Vec<f32>, f64)> {
        let tasks: Vec<_> = (self.learners.iter().enumerate())
            .map(|(place, learner)| {
                let parts: Vec<Vec<f32>> =
                    results.iter_mut().map(|result| std::mem::take(&mut result.gradients[place])).collect();
                let entries = if self.plan.keeps_all { learner.entries.clone() } else { Entries::All };
                move || {
                    let total = sum(parts.into_iter());
                    let squared = squared_norm(&total);
                    (entries.pack(total), squared)
                }
            })
            .collect();
        crew.map(tasks)
    }

    fn update(
        &mut self,
        crew: &Crew,
        gradients: Vec<(Vec<f32>, f64)>,
        recipe: &OptimizerRecipe,
        total: u64,
        scale: f64,
    ) {
        let learners = std::mem::take(&mut self.learners);
        let tasks: Vec<_> = (learners.into_iter().zip(gradients))
            .map(|(mut learner, (gradient, _))| {
                let factors = learner.factors(recipe, self.step, total, scale);
                move || {
                    learner.moments.step(&factors, &mut learner.values, &learner.entries, &gradient);
                    let data = learner.to_data();
                    (learner, data)
                }
            })
            .collect();
        let (learners, data) = crew.map(tasks).into_iter().unzip();
        self.learners = learners;
        self.step += 1;
        self.renew(data);
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

impl Learner {
    fn new(name: String, shape: Vec<usize>, entries: Entries, values: Vec<f32>) -> Learner {
        let moments = Moments::zeros(entries.count(values.len()));
        Learner { name, shape, entries, values, moments, rounded: None }
    }

    /// The numbers that the network has.
    pub(crate) fn computed(&self) -> Cow<'_, [f32]> {
        match &self.rounded {
            Some(rounded) => Cow::Owned(rounded.composed(&self.entries, &self.values)),
            None => Cow::Borrowed(&self.values),
        }
    }

    /// The rounded deltas that the network has, one for each entry of the mask, 0 or not: which they are decides how they
    /// are cut into blocks. None where nothing is rounded.
    pub(crate) fn delta(&self) -> Option<TensorDelta> {
        let rounded = self.rounded.as_ref()?;
        let mut indices = Vec::with_capacity(self.entries.count(self.values.len()));
        self.entries.for_each(self.values.len(), |index| indices.push(index as u64));
        Some(TensorDelta {
            name: self.name.clone(),
            dtype: rounded.dtype(),
            shape: self.shape.iter().map(|side| *side as u64).collect(),
            indices,
            deltas: Deltas::Numbers(rounded.deltas(&self.entries, &self.values)),
        })
    }

    fn to_data(&self) -> TensorData {
        TensorData::new(self.computed().into_owned(), self.shape.clone())
    }

    fn is_head(&self) -> bool {
        self.name == HEAD_WEIGHT || self.name == HEAD_BIAS
    }

    /// Decay is for tensors of two or more dimensions, and the head may have a rate of its own.
    fn factors(&self, recipe: &OptimizerRecipe, step: u64, total: u64, scale: f64) -> StepFactors {
        let peak = recipe.head_learning_rate.filter(|_| self.is_head()).unwrap_or(recipe.learning_rate);
        let decay = if self.shape.len() >= 2 { recipe.weight_decay } else { 0.0 };
        StepFactors::new(recipe, step, learning_rate(recipe, peak, step, total), decay, scale)
    }
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

/// Augments each image in place; `random(place)` is the stream of the image at that place.
fn change(
    pixels: &mut [f32],
    examples: &Examples,
    indices: &[usize],
    recipe: &AugmentationRecipe,
    random: impl Fn(usize) -> Random,
) {
    let size: usize = examples.shape.iter().product();
    for (place, (out, &index)) in pixels.chunks_exact_mut(size.max(1)).zip(indices).enumerate() {
        augment(examples.image(index), examples.shape, recipe, &mut random(place), out);
    }
}
