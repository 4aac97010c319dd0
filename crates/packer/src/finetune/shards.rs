//! A batch cut into a fixed number of parts, each with a graph of its own on one thread.
//!
//! The number of shards is a setting of the recipe and not of the machine. Their gradients are summed in the order of the
//! shards, so a step has the same bits on one core and on many.
//!
//! Only what learns is in the graph: for a tensor without an entry in the mask no gradient is computed at all, and of the
//! others no more than the entries leaves the thread, unless the norm of whole gradients was asked for.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use burn::module::ParamId;
use burn::tensor::{Device, Tensor, TensorData, activation::log_softmax};

use super::leaves::to_host;
use crate::examples::input;
use crate::mask::Entries;
use crate::model::Model;

/// What a gradient is taken of, and of which parameters: the same for all steps of a run.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Place of each learning tensor of the network in the list of gradients.
    pub(crate) places: HashMap<ParamId, usize>,
    /// Which entries of the tensor in each place; the head's follow those of the network.
    pub(crate) entries: Vec<Entries>,
    /// Whether gradients leave the thread whole.
    pub(crate) keeps_all: bool,
    /// Whether the head learns: then its weight and its bias have the two last places.
    pub(crate) head_learns: bool,
    /// Share of the target that goes to all classes alike.
    pub(crate) label_smoothing: f64,
}

/// A head on the device, plain.
#[derive(Clone, Debug)]
pub(crate) struct DeviceHead {
    /// `[classes, features]`
    pub(crate) weight: Tensor<2>,
    /// `[classes]`
    pub(crate) bias: Tensor<1>,
}

/// One part of a batch.
pub(crate) struct Shard {
    /// What computes.
    pub(crate) model: Model,
    /// The plain head.
    pub(crate) head: DeviceHead,
    /// Normalized images, one after the other.
    pub(crate) pixels: Vec<f32>,
    /// Channels, height, width.
    pub(crate) shape: [usize; 3],
    /// One label per image.
    pub(crate) labels: Vec<u32>,
    /// Images in the whole batch.
    pub(crate) batch: usize,
    /// What learns.
    pub(crate) plan: Arc<Plan>,
}

/// What a shard found out.
#[derive(Debug)]
pub(crate) struct ShardResult {
    /// Its part of the mean loss of the batch.
    pub(crate) loss: f64,
    /// Images whose highest logit is their label's.
    pub(crate) correct: usize,
    /// Its part of the gradients, by place.
    pub(crate) gradients: Vec<Vec<f32>>,
}

impl DeviceHead {
    /// # Panics
    /// When the lengths are not those of a head of this feature width.
    pub(crate) fn new(weight: &[f32], bias: &[f32], feature_width: usize, device: &Device) -> DeviceHead {
        let shape = [bias.len(), feature_width];
        DeviceHead {
            weight: Tensor::from_data(TensorData::new(weight.to_vec(), shape), device),
            bias: Tensor::from_data(TensorData::new(bias.to_vec(), [bias.len()]), device),
        }
    }

    /// As leaves of a new graph.
    pub(crate) fn tracked(self, learns: bool) -> DeviceHead {
        DeviceHead {
            weight: self.weight.autodiff().set_require_grad(learns),
            bias: self.bias.autodiff().set_require_grad(learns),
        }
    }

    /// # Shapes
    /// `features`: `[batch, features]`; the result: `[batch, classes]`.
    pub(crate) fn logits(&self, features: Tensor<2>) -> Tensor<2> {
        features.matmul(self.weight.clone().transpose()) + self.bias.clone().unsqueeze()
    }
}

impl Shard {
    /// Forward and backward.
    pub(crate) fn run(self) -> ShardResult {
        let device = self.head.weight.device().autodiff();
        let plan = &self.plan;
        let leaves = self.model.tracked(|id| plan.places.contains_key(&id));
        let pixels = input(self.shape, self.pixels, &self.head.weight.device());
        let head = self.head.tracked(plan.head_learns);
        let logits = head.logits(leaves.features(pixels));
        let [count, classes] = logits.dims();
        let correct = correct(&to_host(logits.clone().inner()), &self.labels);
        let targets = targets(&self.labels, classes, plan.label_smoothing);
        let targets = Tensor::<2>::from_data(TensorData::new(targets, [count, classes]), &device);
        let loss = (log_softmax(logits, 1) * targets).sum().mul_scalar(-1.0 / self.batch as f64);
        let value: f32 = to_host(loss.clone().inner())[0];
        let mut found = loss.backward();
        let mut gradients = vec![Vec::new(); plan.entries.len()];
        let keep = |place: usize, gradient| if plan.keeps_all { gradient } else { plan.entries[place].pack(gradient) };
        leaves.each_gradient(&mut found, |id, gradient| {
            if let Some(&place) = plan.places.get(&id) {
                gradients[place] = keep(place, gradient);
            }
        });
        if plan.head_learns {
            let place = plan.entries.len() - 2;
            gradients[place] = head.weight.grad_remove(&mut found).map(to_host).unwrap_or_default();
            gradients[place + 1] = head.bias.grad_remove(&mut found).map(to_host).unwrap_or_default();
        }
        ShardResult { loss: f64::from(value), correct, gradients }
    }
}

/// The ranges of `count` things cut into `parts`: as equal as can be, the longer ones first, none empty.
pub(crate) fn cut(count: usize, parts: usize) -> Vec<Range<usize>> {
    let parts = parts.clamp(1, count.max(1));
    let (length, longer) = (count / parts, count % parts);
    let start = |part: usize| part * length + part.min(longer);
    (0..parts).map(|part| start(part)..start(part + 1)).filter(|range| !range.is_empty()).collect()
}

/// Adds the gradients of `parts` in their order.
pub(crate) fn sum(mut parts: impl Iterator<Item = Vec<f32>>) -> Vec<f32> {
    let mut total = parts.next().unwrap_or_default();
    for part in parts {
        total.iter_mut().zip(&part).for_each(|(total, value)| *total += value);
    }
    total
}

/// What each class should get: `[images, classes]`.
fn targets(labels: &[u32], classes: usize, smoothing: f64) -> Vec<f32> {
    let low = (smoothing / classes as f64) as f32;
    let mut targets = vec![low; labels.len() * classes];
    for (row, label) in targets.chunks_exact_mut(classes).zip(labels) {
        row[*label as usize] += (1.0 - smoothing) as f32;
    }
    targets
}

fn correct(logits: &[f32], labels: &[u32]) -> usize {
    let classes = logits.len() / labels.len().max(1);
    let highest = |row: &[f32]| (0..row.len()).fold(0, |best, class| if row[class] > row[best] { class } else { best });
    logits.chunks_exact(classes.max(1)).zip(labels).filter(|(row, label)| highest(row) == **label as usize).count()
}

#[cfg(test)]
mod tests {
    use burn::tensor::TensorData;
    use taskvec_networks::Network;

    use super::*;
    use crate::finetune::leaves::{HostTensor, host_tensors, replaced, tracked};
    use crate::random::Random;

    const CONFIG: &str = r#"{"family": "vit", "image_size": 4, "patch_size": 2, "channels": 1, "width": 8, "depth": 1,
        "heads": 2, "mlp_width": 8, "gelu": "exact", "layer_norm_epsilon": 1e-6}"#;
    const IMAGES: usize = 5;
    const SMOOTHING: f64 = 0.1;

    struct Ground {
        network: Network,
        tensors: Vec<HostTensor>,
        head: (Vec<f32>, Vec<f32>),
        pixels: Vec<f32>,
    }

    fn ground() -> Ground {
        let draws = |name: &str, count: usize| {
            let mut random = Random::new(8, name);
            (0..count).map(|_| random.normal()).collect::<Vec<f32>>()
        };
        let mut scaled = |name: &str, shape: &[usize]| {
            draws(name, shape.iter().product()).into_iter().map(|draw| 20.0 * draw).collect::<Vec<f32>>()
        };
        let network = Network::init(&serde_json::from_str(CONFIG).unwrap(), &mut scaled, &Device::flex()).unwrap();
        let tensors = host_tensors(&network);
        Ground {
            network,
            tensors,
            head: (draws("head", 3 * 8), draws("bias", 3)),
            pixels: draws("images", IMAGES * 16),
        }
    }

    impl Ground {
        /// A shard of the first `count` images, of a batch of all.
        fn shard(&self, network: Network, learns: impl Fn(&str) -> bool, keeps_all: bool, count: usize) -> Shard {
            let learning = self.tensors.iter().filter(|tensor| learns(&tensor.name));
            let places: HashMap<ParamId, usize> =
                learning.enumerate().map(|(place, tensor)| (tensor.id, place)).collect();
            let third = |count: usize| Entries::Some((0..count as u32).step_by(3).collect());
            let mut entries: Vec<Entries> = self
                .tensors
                .iter()
                .filter(|tensor| learns(&tensor.name))
                .map(|tensor| third(tensor.values.len()))
                .collect();
            entries.extend([Entries::All, Entries::All]);
            let plan = Plan { places, entries, keeps_all, head_learns: true, label_smoothing: SMOOTHING };
            Shard {
                model: Model::Whole(network),
                head: DeviceHead::new(&self.head.0, &self.head.1, 8, &Device::flex()),
                pixels: self.pixels[..count * 16].to_vec(),
                shape: [1, 4, 4],
                labels: [0, 2, 1, 1, 0][..count].to_vec(),
                batch: IMAGES,
                plan: Arc::new(plan),
            }
        }
    }

    #[test]
    fn gradients_are_the_slopes_of_the_loss() {
        const STEP: f32 = 3e-3;
        let ground = ground();
        let whole = ground.shard(ground.network.clone(), |_| true, true, IMAGES).run();
        for (place, tensor) in ground.tensors.iter().enumerate() {
            let index = tensor.values.len() / 3;
            let loss = |by: f32| {
                let mut values = tensor.values.clone();
                values[index] += by;
                let data = TensorData::new(values, tensor.shape.clone());
                let network = replaced(ground.network.clone(), HashMap::from([(tensor.id, data)]));
                ground.shard(network, |_| true, true, IMAGES).run().loss
            };
            let slope = (loss(STEP) - loss(-STEP)) / f64::from(2.0 * STEP);
            let found = f64::from(whole.gradients[place][index]);
            assert!((slope - found).abs() < 0.01 * slope.abs() + 1e-3, "`{}`: {found}, slope {slope}", tensor.name);
        }
        let head_bias = whole.gradients.last().unwrap();
        assert!(head_bias.iter().sum::<f32>().abs() < 1e-5, "a softmax does not see a common shift: {head_bias:?}");
    }

    #[test]
    fn what_does_not_learn_has_no_gradient_and_changes_no_other() {
        let ground = ground();
        let all = ground.shard(ground.network.clone(), |_| true, true, IMAGES).run();
        let is_attention = |name: &str| name.contains("attn.qkv");
        let some = ground.shard(ground.network.clone(), is_attention, false, IMAGES).run();
        assert_eq!(some.gradients.len(), 2 + 2);
        let learning = ground.tensors.iter().enumerate().filter(|(_, tensor)| is_attention(&tensor.name));
        for (place, (at, tensor)) in learning.enumerate() {
            let thirds: Vec<f32> = all.gradients[at].iter().copied().step_by(3).collect();
            assert_eq!(some.gradients[place], thirds, "`{}`", tensor.name);
        }
        let network = tracked(ground.network.clone(), |id| {
            ground.tensors.iter().any(|tensor| tensor.id == id && is_attention(&tensor.name))
        });
        let Network::Vit(vit) = &network else { panic!("a Vision Transformer") };
        assert!(vit.blocks[0].attn.qkv.weight.val().is_require_grad());
        assert!(!vit.blocks[0].mlp.fc1.weight.val().is_require_grad());
    }

    #[test]
    fn shards_add_up_to_the_batch() {
        let ground = ground();
        let whole = ground.shard(ground.network.clone(), |_| true, true, IMAGES).run();
        let first = ground.shard(ground.network.clone(), |_| true, true, 2).run();
        let mut rest = ground.shard(ground.network.clone(), |_| true, true, IMAGES);
        rest.pixels.drain(..2 * 16);
        rest.labels.drain(..2);
        let rest = rest.run();
        assert!((whole.loss - first.loss - rest.loss).abs() < 1e-6);
        assert_eq!(whole.correct, first.correct + rest.correct);
        for ((whole, first), rest) in whole.gradients.iter().zip(first.gradients).zip(rest.gradients) {
            let largest = whole.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
            for (whole, parts) in whole.iter().zip(sum([first, rest].into_iter())) {
                assert!((whole - parts).abs() <= 1e-5 * largest.max(1e-3), "{whole} {parts}");
            }
        }
    }

    #[test]
    fn a_batch_is_cut_into_equal_parts_none_empty() {
        assert_eq!(cut(7, 3), [0..3, 3..5, 5..7]);
        assert_eq!(cut(2, 5), [0..1, 1..2]);
        assert_eq!(cut(4, 2), [0..2, 2..4]);
        assert!(cut(0, 2).is_empty());
    }

    #[test]
    fn smoothed_targets_add_up_to_one() {
        let targets = targets(&[2, 0], 4, 0.2);
        assert_eq!(targets[2], 0.05 + 0.8);
        assert!(targets.chunks(4).all(|row| (row.iter().sum::<f32>() - 1.0).abs() < 1e-6));
    }
}
