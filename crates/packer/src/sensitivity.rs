//! A score for each parameter: the sum over calibration images of the squared gradient of one image's log-probability.
//!
//! With labels drawn from the network's own predictions this is the diagonal of the Fisher information (Iurada et al.,
//! ICLR 2025, score their masks with it); the published code takes the raw logit instead, and the recipe can, too.
//!
//! The square is of each image's gradient, not of a batch's. Still one backward pass serves many images: it goes from the sum of
//! their scores to the outputs of the layers, and what each layer saw gives each image's own gradients by small products
//! (`taskvec_networks::Recording`). They are squared where they are made, and nothing as large as the network is kept for an image.
//! Pieces run side by side: the images are cut into as many runs as the recipe has shards, each summed in order, and the
//! sums are added in order, so the bits do not depend on the machine.
//!
//! Sums are f64, squares are f32. A confident network has gradients of 1e-20 and less, whose squares are zero in f32, and a score of
//! exactly zero is to mean that nothing arrived, not that it was small. So the scores of a piece are multiplied by a power of two
//! that makes the largest slope of its logits about 1, and the sums are divided by its square.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use burn::module::ParamId;
use burn::tensor::{Tensor, TensorData};
use taskvec_networks::{Network, Recording};

use crate::crew::Crew;
use crate::examples::{Examples, input};
use crate::finetune::leaves::to_host;
use crate::finetune::shards::{DeviceHead, cut};
use crate::random::Random;
use crate::recipe::{LabelSource, Score};

/// Images of one run that go through the network together; between two pieces lies a look at the stop flag.
const PIECE: usize = 32;

/// Whose sensitivity is measured, and how. Cloning shares the numbers.
#[derive(Clone)]
pub(crate) struct Probe {
    /// The network, plain, with the soft mask already on its weights.
    pub(crate) network: Network,
    /// The task's head, plain.
    pub(crate) head: DeviceHead,
    /// Place of each tensor that is measured.
    pub(crate) places: Arc<HashMap<ParamId, usize>>,
    /// What is squared.
    pub(crate) score: Score,
    /// Whose labels.
    pub(crate) labels: LabelSource,
    /// Labels for each image; more than one only where they are drawn.
    pub(crate) draws: u32,
    /// Where drawn labels come from.
    pub(crate) seed: u64,
    /// Which round of the calibration this is: each draws anew.
    pub(crate) round: u32,
}

/// The scores of all measured tensors, of `lengths` elements, by place; `None` when `goes_on` said no. It is told how many
/// images are done.
pub(crate) fn measure(
    crew: &Crew,
    probe: &Probe,
    examples: &Arc<Examples>,
    lengths: &[usize],
    shards: usize,
    goes_on: &mut dyn FnMut(usize) -> bool,
) -> Option<Vec<Vec<f64>>> {
    let mut runs = cut(examples.len(), shards);
    let zeros = || lengths.iter().map(|&length| vec![0.0; length]).collect::<Vec<Vec<f64>>>();
    let mut sums: Vec<Vec<Vec<f64>>> = runs.iter().map(|_| zeros()).collect();
    let mut done = 0;
    while done < examples.len() {
        if !goes_on(done) {
            return None;
        }
        let tasks = runs.iter_mut().zip(std::mem::take(&mut sums)).map(|(run, sums)| {
            let piece = run.start..run.end.min(run.start + PIECE);
            run.start = piece.end;
            done += piece.len();
            let (probe, examples) = (probe.clone(), Arc::clone(examples));
            move || probe.add(&examples, piece, sums)
        });
        let tasks: Vec<_> = tasks.collect();
        sums = crew.map(tasks);
    }
    goes_on(done);
    let mut parts = sums.into_iter();
    let mut total = parts.next().unwrap_or_else(zeros);
    for part in parts {
        for (total, part) in total.iter_mut().zip(part) {
            total.iter_mut().zip(part).for_each(|(total, value)| *total += value);
        }
    }
    Some(total)
}

impl Probe {
    /// Adds the squares of each of these images to `sums`.
    fn add(self, examples: &Examples, images: Range<usize>, mut sums: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
        let rows: Vec<usize> = images.flat_map(|image| std::iter::repeat_n(image, self.draws as usize)).collect();
        let mut drawing = Drawing::default();
        for rows in rows.chunks(PIECE) {
            self.add_rows(examples, rows, &mut drawing, &mut sums);
        }
        sums
    }

    /// The same of these rows. A row is an image, or one of an image's draws.
    fn add_rows(&self, examples: &Examples, rows: &[usize], drawing: &mut Drawing, sums: &mut [Vec<f64>]) {
        let device = self.head.weight.device();
        let mut recording = Recording::new(rows.len(), self.places.keys().copied().collect());
        let (pixels, _) = examples.gather(rows);
        let features = self.network.recorded_features(&mut recording, input(examples.shape, pixels, &device));
        let logits = self.head.clone().tracked(false).logits(features);
        let (slopes, factor) = self.slopes(examples, rows, drawing, &to_host(logits.clone().inner()));
        let shape = logits.dims();
        let slopes = Tensor::<2>::from_data(TensorData::new(slopes, shape), &device);
        let mut gradients = (logits * Tensor::from_inner(slopes)).sum().backward();
        let shrink = 1.0 / (factor * factor);
        for record in recording.finish(&mut gradients) {
            record.squares(&mut |squares| {
                let Some(&place) = self.places.get(&squares.parameter) else { return };
                let sums = &mut sums[place][squares.first..squares.first + squares.values.len()];
                sums.iter_mut().zip(&squares.values).for_each(|(sum, square)| *sum += f64::from(*square) * shrink);
            });
        }
    }

    /// What each row's score wants of its logits, `[rows, classes]`, times a power of two, and that power.
    fn slopes(&self, examples: &Examples, rows: &[usize], drawing: &mut Drawing, logits: &[f32]) -> (Vec<f32>, f64) {
        let classes = logits.len() / rows.len().max(1);
        let mut slopes = Vec::with_capacity(logits.len());
        for (&image, logits) in rows.iter().zip(logits.chunks_exact(classes.max(1))) {
            let shares = softmax(logits);
            let label = match self.labels {
                LabelSource::True => examples.labels[image] as usize,
                LabelSource::Sampled => drawing.of(self, image).choose(&probabilities(logits)),
                LabelSource::Argmax => highest(logits),
            };
            let others: f64 = (0..classes).filter(|class| *class != label).map(|class| shares[class]).sum();
            slopes.extend((0..classes).map(|class| match (self.score, class == label) {
                (Score::LogProbability, true) => others,
                (Score::LogProbability, false) => -shares[class],
                (Score::RawLogit, is_label) => f64::from(u8::from(is_label)),
            }));
        }
        let largest = slopes.iter().fold(0.0f64, |largest, slope| largest.max(slope.abs()));
        let exponent = if largest > 0.0 { -libm::floor(libm::log2(largest)) } else { 0.0 };
        let factor = libm::exp2(exponent.clamp(0.0, 500.0));
        (slopes.into_iter().map(|slope| (slope * factor) as f32).collect(), factor)
    }
}

/// What labels are drawn by.
pub(crate) fn probabilities(logits: &[f32]) -> Vec<f32> {
    softmax(logits).into_iter().map(|share| share as f32).collect()
}

/// By way of f64 and `libm`: the drawn labels are the same wherever the logits are.
fn softmax(logits: &[f32]) -> Vec<f64> {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f64> = logits.iter().map(|logit| libm::exp(f64::from(*logit) - f64::from(highest))).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|power| power / sum).collect()
}

/// The stream that an image's labels are drawn from, one after the other.
#[derive(Default)]
struct Drawing(Option<(usize, Random)>);

impl Drawing {
    fn of(&mut self, probe: &Probe, image: usize) -> &mut Random {
        let known = self.0.take().filter(|(known, _)| *known == image);
        let fresh = || (image, Random::new(probe.seed, &format!("calibration/round {}/image {image}", probe.round)));
        &mut self.0.insert(known.unwrap_or_else(fresh)).1
    }
}

/// The first of the highest logits.
fn highest(logits: &[f32]) -> usize {
    (0..logits.len()).fold(0, |best, class| if logits[class] > logits[best] { class } else { best })
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;
    use crate::finetune::leaves::{HostTensor, host_tensors, replaced};

    const CONFIG: &str = r#"{"family": "vit", "image_size": 4, "patch_size": 2, "channels": 1, "width": 8, "depth": 1,
        "heads": 2, "mlp_width": 8, "gelu": "exact", "layer_norm_epsilon": 1e-6}"#;
    const CLASSES: usize = 3;

    struct Ground {
        tensors: Vec<HostTensor>,
        probe: Probe,
        examples: Arc<Examples>,
    }

    /// A drawn network with weights large enough to matter, and six drawn images.
    fn ground(score: Score, labels: LabelSource) -> Ground {
        let device = Device::flex();
        let draws = |name: &str, count: usize| {
            let mut random = Random::new(5, name);
            (0..count).map(|_| random.normal()).collect::<Vec<f32>>()
        };
        let mut scaled = |name: &str, shape: &[usize]| {
            draws(name, shape.iter().product()).into_iter().map(|draw| 20.0 * draw).collect::<Vec<f32>>()
        };
        let network = Network::init(&serde_json::from_str(CONFIG).unwrap(), &mut scaled, &device).unwrap();
        let tensors = host_tensors(&network);
        let places = tensors.iter().enumerate().map(|(place, tensor)| (tensor.id, place)).collect();
        let head = DeviceHead::new(&draws("head", CLASSES * 8), &draws("bias", CLASSES), 8, &device);
        let examples = Examples { shape: [1, 4, 4], pixels: draws("images", 6 * 16), labels: vec![0, 1, 2, 2, 1, 0] };
        let probe = Probe { network, head, places: Arc::new(places), score, labels, draws: 1, seed: 3, round: 0 };
        Ground { tensors, probe, examples: Arc::new(examples) }
    }

    impl Ground {
        fn scores(&self, crew: &Crew, shards: usize) -> Vec<Vec<f64>> {
            let lengths: Vec<usize> = self.tensors.iter().map(|tensor| tensor.values.len()).collect();
            measure(crew, &self.probe, &self.examples, &lengths, shards, &mut |_| true).unwrap()
        }

        /// What is differentiated, for one image, when element `index` of tensor `at` is moved by `by`.
        fn value(&self, image: usize, at: usize, index: usize, by: f32) -> f64 {
            let tensor = &self.tensors[at];
            let mut values = tensor.values.clone();
            values[index] += by;
            let data = TensorData::new(values, tensor.shape.clone());
            let network = replaced(self.probe.network.clone(), HashMap::from([(tensor.id, data)]));
            let pixels = input(self.examples.shape, self.examples.image(image).to_vec(), &Device::flex());
            let logits = to_host(self.probe.head.logits(network.features(pixels)));
            let logits: Vec<f64> = logits.into_iter().map(f64::from).collect();
            let label = self.examples.labels[image] as usize;
            match self.probe.score {
                Score::RawLogit => logits[label],
                Score::LogProbability => logits[label] - logits.iter().map(|logit| logit.exp()).sum::<f64>().ln(),
            }
        }
    }

    #[test]
    fn scores_are_sums_over_images_of_squared_slopes() {
        const STEP: f32 = 3e-3;
        for score in [Score::LogProbability, Score::RawLogit] {
            let ground = ground(score, LabelSource::True);
            let scores = ground.scores(&Crew::new(2), 2);
            for (at, tensor) in ground.tensors.iter().enumerate() {
                let index = tensor.values.len() / 5;
                let slope = |image| {
                    (ground.value(image, at, index, STEP) - ground.value(image, at, index, -STEP))
                        / f64::from(2.0 * STEP)
                };
                let expected: f64 = (0..ground.examples.len()).map(|image| slope(image).powi(2)).sum();
                // Differences of f32 outputs over a step of 3e-3 are good to about 1e-3 of the largest slopes.
                let error = (scores[at][index] - expected).abs();
                assert!(
                    error < 0.02 * expected + 1e-4,
                    "`{}`: {} by slopes {expected}",
                    tensor.name,
                    scores[at][index]
                );
            }
            // Nothing but rounding reaches the key biases, and that is why they are no candidates.
            let qkv_bias = ground.tensors.iter().position(|tensor| tensor.name.ends_with("qkv.bias")).unwrap();
            let sum = |range: Range<usize>| scores[qkv_bias][range].iter().sum::<f64>();
            assert!(sum(8..16) < 1e-6 * (sum(0..8) + sum(16..24)), "{:?}", scores[qkv_bias]);
        }
    }

    /// The square of a sum is not the sum of squares: a batch's gradient would be wrong.
    #[test]
    fn every_image_is_squared_on_its_own() {
        let whole = ground(Score::LogProbability, LabelSource::True);
        let scores = whole.scores(&Crew::new(1), 1);
        let mut apart = vec![0.0; scores[0].len()];
        for image in 0..whole.examples.len() {
            let mut one = ground(Score::LogProbability, LabelSource::True);
            let examples = Examples {
                shape: [1, 4, 4],
                pixels: whole.examples.image(image).to_vec(),
                labels: vec![whole.examples.labels[image]],
            };
            one.examples = Arc::new(examples);
            one.scores(&Crew::new(1), 1)[0].iter().zip(&mut apart).for_each(|(score, sum)| *sum += score);
        }
        for (score, apart) in scores[0].iter().zip(&apart) {
            assert!((score - apart).abs() < 1e-5 * apart, "{score} {apart}");
        }
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let ground = ground(Score::LogProbability, LabelSource::Sampled);
        let bits = |crew: &Crew| {
            let scores = ground.scores(crew, 2);
            scores.iter().flatten().map(|score| score.to_bits()).collect::<Vec<u64>>()
        };
        assert_eq!(bits(&Crew::new(1)), bits(&Crew::new(3)));
    }

    #[test]
    fn labels_are_drawn_anew_for_each_round_and_each_seed() {
        let scores = |seed, round| {
            let mut ground = ground(Score::RawLogit, LabelSource::Sampled);
            (ground.probe.seed, ground.probe.round) = (seed, round);
            // A flat prediction, so that every label is likely.
            ground.probe.head = DeviceHead::new(&[0.01, 0.02, 0.03].repeat(8), &[0.0; CLASSES], 8, &Device::flex());
            ground.scores(&Crew::new(1), 1)
        };
        assert_eq!(scores(1, 0), scores(1, 0));
        assert_ne!(scores(1, 0), scores(1, 1));
        assert_ne!(scores(1, 0), scores(2, 0));
    }

    #[test]
    fn more_draws_add_up_and_begin_with_the_first() {
        let scores = |draws| {
            let mut ground = ground(Score::RawLogit, LabelSource::Sampled);
            ground.probe.draws = draws;
            ground.probe.head = DeviceHead::new(&[0.01, 0.02, 0.03].repeat(8), &[0.0; CLASSES], 8, &Device::flex());
            ground.scores(&Crew::new(1), 1)[0].clone()
        };
        let [one, two, many] = [1, 2, 400].map(scores);
        assert!(one.iter().zip(&two).all(|(one, two)| two >= one) && one != two);
        // Of drawn labels the mean is that over all labels: each is nearly as likely as the others.
        let mut all = vec![0.0; one.len()];
        for label in 0..CLASSES as u32 {
            let mut ground = ground(Score::RawLogit, LabelSource::True);
            ground.probe.head = DeviceHead::new(&[0.01, 0.02, 0.03].repeat(8), &[0.0; CLASSES], 8, &Device::flex());
            let labels = vec![label; ground.examples.len()];
            ground.examples = Arc::new(Examples { labels, ..(*ground.examples).clone() });
            let scores = ground.scores(&Crew::new(1), 1);
            all.iter_mut().zip(&scores[0]).for_each(|(sum, score)| *sum += score / CLASSES as f64);
        }
        let (drawn, exact) = (many.iter().sum::<f64>() / 400.0, all.iter().sum::<f64>());
        assert!((drawn - exact).abs() < 0.1 * exact, "{drawn} {exact}");
    }

    #[test]
    fn the_predicted_label_is_the_one_with_the_highest_logit() {
        let predicted = ground(Score::LogProbability, LabelSource::Argmax);
        let pixels = |image| input([1, 4, 4], predicted.examples.image(image).to_vec(), &Device::flex());
        let label = |image| {
            let logits = to_host(predicted.probe.head.logits(predicted.probe.network.features(pixels(image))));
            (0..CLASSES).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap() as u32
        };
        let mut given = ground(Score::LogProbability, LabelSource::True);
        let labels: Vec<u32> = (0..given.examples.len()).map(label).collect();
        assert_ne!(labels, given.examples.labels);
        given.examples = Arc::new(Examples { labels, ..(*given.examples).clone() });
        assert_eq!(predicted.scores(&Crew::new(1), 1), given.scores(&Crew::new(1), 1));
        assert_eq!(highest(&[1.0, 3.0, 3.0]), 1);
    }

    /// Squares of such gradients are zero in f32, and the mask would take them for dead.
    #[test]
    fn a_network_that_is_sure_has_small_scores_and_no_zeros() {
        let scores = |sureness: f32| {
            let mut ground = ground(Score::LogProbability, LabelSource::Argmax);
            let weight: Vec<f32> =
                (0..CLASSES * 8).map(|at| if at < 8 { 0.01 * (at * at) as f32 } else { 0.0 }).collect();
            ground.probe.head = DeviceHead::new(&weight, &[sureness, 0.0, 0.0], 8, &Device::flex());
            ground.scores(&Crew::new(1), 1)[0].clone()
        };
        let (sure, surer) = (scores(20.0), scores(60.0));
        for (sure, surer) in sure.iter().zip(&surer) {
            assert!(*surer > 0.0 && *surer < 1e-40, "{surer}");
            // The slope is the probability of being wrong, of which the logarithm is the difference of the logits.
            let ratio = (sure / surer).ln() / 2.0;
            assert!((ratio - 40.0).abs() < 0.01, "{ratio}");
        }
        assert!(scores(300.0).iter().all(|score| *score > 0.0), "as far as an f64 goes");
    }

    #[test]
    fn a_stop_leaves_nothing() {
        let ground = ground(Score::LogProbability, LabelSource::True);
        let lengths: Vec<usize> = ground.tensors.iter().map(|tensor| tensor.values.len()).collect();
        let mut looks = Vec::new();
        let stopped = measure(&Crew::new(1), &ground.probe, &ground.examples, &lengths, 1, &mut |done| {
            looks.push(done);
            false
        });
        assert!(stopped.is_none());
        assert_eq!(looks, [0]);
    }

    #[test]
    fn probabilities_add_up_also_far_from_zero() {
        let probabilities = softmax(&[1000.0, 1000.0, -1000.0]);
        assert_eq!(probabilities, [0.5, 0.5, 0.0]);
    }
}
