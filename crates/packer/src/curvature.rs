//! How strongly other tasks feel a change of each linear layer, as two small factors, looked up once in their data.
//!
//! What the factors are and what is done with them stands in `finetune/penalty/curvature.rs`. They are measured like sensitivities:
//! the base, with a head of class means for each task, labels drawn from its own predictions, one backward pass for a batch that stops at
//! the layers' outputs (`crates/networks`, `pass/recording.rs`). The images of a task are drawn by the recipe's seed. Whoever has the
//! factors needs the data no more: a run leaves them in its folder, and other runs on the same base take them from there.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use burn::module::ParamId;
use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};
use taskvec_bundle::{NamedTensor, StoredDtype, TensorFile};
use taskvec_networks::{Network, Recording};

use crate::crew::Crew;
use crate::error::{Error, Result};
use crate::examples::{Examples, input};
use crate::finetune::leaves::{HostTensor, to_host};
use crate::finetune::matrix::{Matrix, sides};
use crate::finetune::penalty::curvature::Factors;
use crate::finetune::shards::{DeviceHead, cut};
use crate::random::Random;
use crate::run_folder::{f32_bytes, f32s, safetensors};
use crate::sensitivity::probabilities;

/// Images that go through the network together.
const PIECE: usize = 16;
/// Raised when a file written before means something else.
const VERSION: u32 = 1;
const ABOUT: &str = "about";

/// The factors of all layers, by name of their weight.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Curvature {
    layers: BTreeMap<String, Arc<[Factors]>>,
}

/// What is looked at.
pub(crate) struct OtherTask<'a> {
    /// What its folder is called.
    pub(crate) name: &'a str,
    /// The base, plain.
    pub(crate) network: &'a Network,
    /// The tensors that may learn.
    pub(crate) tensors: &'a [HostTensor],
    /// The task's head over the base's features.
    pub(crate) head: &'a DeviceHead,
    /// Its images.
    pub(crate) examples: &'a Arc<Examples>,
    /// How many of them are looked at, at most.
    pub(crate) images: usize,
    /// Labels that are drawn for each.
    pub(crate) draws: u32,
    /// Where draws come from.
    pub(crate) seed: u64,
    /// Runs that the images are cut into.
    pub(crate) shards: usize,
}

#[derive(Serialize, Deserialize)]
struct About {
    version: u32,
    base: String,
}

/// Sums over images, by place of the tensor and first row.
type Sums = BTreeMap<(usize, usize), Sum>;

/// Outer products, summed.
struct Sum {
    inputs: Matrix,
    outputs: Matrix,
    places: usize,
}

impl Curvature {
    /// The factors of one task; `None` when `goes_on` said no.
    pub(crate) fn measure(crew: &Crew, task: &OtherTask<'_>, goes_on: &dyn Fn() -> bool) -> Option<Curvature> {
        let mut images: Vec<usize> = (0..task.examples.len()).collect();
        Random::new(task.seed, &format!("curvature/{}/images", task.name)).shuffle(&mut images);
        images.truncate(task.images);
        images.sort_unstable();
        let is_matrix = |tensor: &HostTensor| sides(&tensor.shape).is_some();
        let matrices = task.tensors.iter().enumerate().filter(|(_, tensor)| is_matrix(tensor));
        let places: Arc<HashMap<ParamId, usize>> = Arc::new(matrices.map(|(at, tensor)| (tensor.id, at)).collect());
        let looks = images.len() * task.draws as usize;
        let runs = cut(images.len(), task.shards);
        let mut sums: Vec<Sums> = runs.iter().map(|_| Sums::new()).collect();
        for first in (0..runs.iter().map(|run| run.len()).max()?).step_by(PIECE) {
            if !goes_on() {
                return None;
            }
            let tasks = runs.iter().zip(std::mem::take(&mut sums)).map(|(run, sums)| {
                let piece = (run.start + first).min(run.end)..(run.start + first + PIECE).min(run.end);
                let piece = Piece {
                    network: task.network.clone(),
                    head: task.head.clone(),
                    places: Arc::clone(&places),
                    examples: Arc::clone(task.examples),
                    images: images[piece].to_vec(),
                    stream: format!("curvature/{}", task.name),
                    draws: task.draws,
                    seed: task.seed,
                };
                move || piece.add(sums)
            });
            sums = crew.map(tasks.collect::<Vec<_>>());
        }
        let mut parts = sums.into_iter();
        let mut total = parts.next()?;
        parts.for_each(|part| part.into_iter().for_each(|(place, sum)| add(&mut total, place, sum)));
        let mut layers: BTreeMap<String, Vec<Factors>> = BTreeMap::new();
        for ((place, first_row), sum) in total {
            let factors = Factors {
                first_row,
                inputs: sum.inputs.scaled(1.0 / sum.places as f32),
                outputs: sum.outputs.scaled(1.0 / looks as f32),
            };
            layers.entry(task.tensors[place].name.clone()).or_default().push(factors);
        }
        Some(Curvature { layers: layers.into_iter().map(|(name, factors)| (name, factors.into())).collect() })
    }

    /// Those of several tasks in the size of one: the inputs' factor is the mean weighted by the traces of the outputs', which are
    /// summed. The trace of the sum of the products stays what it is.
    pub(crate) fn merged(tasks: &[Curvature]) -> Curvature {
        let Some(first) = tasks.first() else { return Curvature::default() };
        let merged = |name: &String, factors: &Arc<[Factors]>| -> Arc<[Factors]> {
            let run = |at: usize| {
                let all = tasks.iter().filter_map(|task| task.layers.get(name)?.get(at));
                let weight: f64 = all.clone().map(|factors| trace(&factors.outputs)).sum();
                let mean = |factors: &Factors| if weight > 0.0 { trace(&factors.outputs) / weight } else { 0.0 };
                let mut sum = factors[at].clone();
                [&mut sum.inputs, &mut sum.outputs].into_iter().for_each(|matrix| matrix.values.fill(0.0));
                for factors in all {
                    sum.inputs.add(&factors.inputs.clone().scaled(mean(factors) as f32));
                    sum.outputs.add(&factors.outputs);
                }
                sum
            };
            (0..factors.len()).map(run).collect()
        };
        Curvature { layers: first.layers.iter().map(|(name, factors)| (name.clone(), merged(name, factors))).collect() }
    }

    /// Those of a tensor.
    pub(crate) fn of(&self, name: &str) -> Option<Arc<[Factors]>> {
        self.layers.get(name).cloned()
    }

    /// The file, for a base.
    ///
    /// # Errors
    /// Those of writing safetensors.
    pub(crate) fn to_bytes(&self, base: &str) -> Result<Vec<u8>> {
        let about = serde_json::to_vec(&About { version: VERSION, base: base.to_owned() })
            .map_err(|cause| Error::usage("curvature cannot be written as JSON").caused_by(cause))?;
        let mut tensors = vec![(ABOUT.to_owned(), StoredDtype::U8, vec![about.len() as u64], about)];
        for (name, factors) in &self.layers {
            for run in factors.iter() {
                for (kind, matrix) in [("inputs", &run.inputs), ("outputs", &run.outputs)] {
                    let shape = vec![matrix.rows as u64, matrix.columns as u64];
                    let bytes = f32_bytes(&matrix.values);
                    tensors.push((format!("{kind}/{}/{name}", run.first_row), StoredDtype::F32, shape, bytes));
                }
            }
        }
        let named = tensors.iter().map(|(name, dtype, shape, bytes)| NamedTensor { name, dtype: *dtype, shape, bytes });
        safetensors(&named.collect::<Vec<_>>())
    }

    /// The file `bytes` that lies at `path`, for the base with this fingerprint and these tensors.
    ///
    /// # Errors
    /// `Damaged` when it is no such file; `Mismatch` when it is another base's.
    pub(crate) fn parse(bytes: &[u8], path: &Path, base: &str, tensors: &[HostTensor]) -> Result<Curvature> {
        let explain = |cause| Error::from_bundle(cause, format!("read curvature `{}`", path.display()));
        let damaged = || Error::damaged(format!("`{}` is not what a run leaves of curvature", path.display()));
        let file = TensorFile::parse(bytes).map_err(explain)?;
        let about = file.tensor(ABOUT).ok_or_else(damaged)?.bytes(bytes).map_err(explain)?;
        let about: About = serde_json::from_slice(about).map_err(|cause| damaged().caused_by(cause))?;
        if about.version != VERSION {
            return Err(damaged());
        }
        if about.base != base {
            return Err(Error::mismatch(format!(
                "the curvature in `{}` is of base {}, the run starts from {base}",
                path.display(),
                about.base
            ))
            .with_help("measure it on this base: `penalty: {curvature: {data: [FOLDER, ..]}}`"));
        }
        let matrix = |name: &str| -> Result<Matrix> {
            let tensor = file.tensor(name).filter(|tensor| tensor.dtype() == StoredDtype::F32).ok_or_else(damaged)?;
            let &[rows, columns] = tensor.shape() else { return Err(damaged()) };
            Ok(Matrix::new(rows as usize, columns as usize, f32s(tensor.bytes(bytes).map_err(explain)?)))
        };
        let mut layers: BTreeMap<String, Vec<Factors>> = BTreeMap::new();
        for tensor in file.tensors() {
            let Some((row, name)) = tensor.name().strip_prefix("inputs/").and_then(|rest| rest.split_once('/')) else {
                continue;
            };
            let first_row: usize = row.parse().map_err(|_| damaged())?;
            let (inputs, outputs) = (matrix(tensor.name())?, matrix(&format!("outputs/{row}/{name}"))?);
            let of_base = tensors.iter().find(|tensor| tensor.name == name).and_then(|tensor| sides(&tensor.shape));
            let (rows, columns) = of_base.ok_or_else(damaged)?;
            let is_finite = |matrix: &Matrix| matrix.values.iter().all(|value| value.is_finite());
            let fits = is_finite(&inputs)
                && is_finite(&outputs)
                && inputs.rows == columns
                && inputs.columns == columns
                && outputs.rows == outputs.columns
                && first_row.checked_add(outputs.rows).is_some_and(|end| end <= rows);
            if !fits {
                return Err(damaged());
            }
            layers.entry(name.to_owned()).or_default().push(Factors { first_row, inputs, outputs });
        }
        // Names are in the order of their letters, and 16 before 8.
        layers.values_mut().for_each(|factors| factors.sort_by_key(|run| run.first_row));
        let in_a_row = |runs: &Vec<Factors>| {
            runs.iter().try_fold(0, |end, run| (run.first_row == end).then_some(end + run.outputs.rows)).is_some()
        };
        if layers.is_empty() || !layers.values().all(in_a_row) {
            return Err(damaged());
        }
        Ok(Curvature { layers: layers.into_iter().map(|(name, factors)| (name, factors.into())).collect() })
    }
}

/// A few images, on one thread.
struct Piece {
    network: Network,
    head: DeviceHead,
    places: Arc<HashMap<ParamId, usize>>,
    examples: Arc<Examples>,
    images: Vec<usize>,
    stream: String,
    draws: u32,
    seed: u64,
}

impl Piece {
    fn add(self, mut sums: Sums) -> Sums {
        if self.images.is_empty() {
            return sums;
        }
        let count = self.images.len();
        let device = self.head.weight.device();
        let head = self.head.tracked(false);
        for draw in 0..self.draws {
            let (pixels, _) = self.examples.gather(&self.images);
            let mut recording = Recording::new(count, self.places.keys().copied().collect());
            let pixels = input(self.examples.shape, pixels, &device);
            let logits = head.logits(self.network.recorded_features(&mut recording, pixels));
            let numbers = to_host(logits.clone().inner());
            let rows = numbers.chunks_exact(numbers.len() / count).zip(&self.images);
            let labels = rows.map(|(logits, image)| {
                let stream = format!("{}/draw {draw}/image {image}", self.stream);
                Random::new(self.seed, &stream).choose(&probabilities(logits)) as i64
            });
            let labels = TensorData::new(labels.collect::<Vec<i64>>(), [count, 1]);
            let labels = Tensor::<2, Int>::from_data(labels, &device.clone().autodiff());
            let mut gradients = log_softmax(logits, 1).gather(1, labels).sum().backward();
            for record in recording.finish(&mut gradients) {
                let Some((id, first_row, inputs, outputs)) = record.factors() else { continue };
                let places = inputs.dims()[0];
                let squares = |rows: Tensor<2>| Matrix::of(rows.clone().transpose().matmul(rows));
                add(
                    &mut sums,
                    (self.places[&id], first_row),
                    Sum { inputs: squares(inputs), outputs: squares(outputs), places },
                );
            }
        }
        sums
    }
}

fn add(sums: &mut Sums, place: (usize, usize), sum: Sum) {
    match sums.get_mut(&place) {
        Some(total) => {
            total.inputs.add(&sum.inputs);
            total.outputs.add(&sum.outputs);
            total.places += sum.places;
        }
        None => drop(sums.insert(place, sum)),
    }
}

fn trace(matrix: &Matrix) -> f64 {
    (0..matrix.rows).map(|row| f64::from(matrix.values[row * matrix.columns + row])).sum()
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::finetune::leaves::{each_gradient, host_tensors, tracked};
    use crate::finetune::penalty::curvature::slope;

    const CONFIG: &str = r#"{"family": "vit", "image_size": 4, "patch_size": 2, "channels": 1, "width": 8, "depth": 2,
        "heads": 2, "mlp_width": 12, "gelu": "exact", "layer_norm_epsilon": 1e-6}"#;
    const CLASSES: usize = 3;

    struct Ground {
        network: Network,
        tensors: Vec<HostTensor>,
        head: DeviceHead,
        examples: Arc<Examples>,
    }

    fn draws(name: &str, count: usize) -> Vec<f32> {
        let mut random = Random::new(5, name);
        (0..count).map(|_| random.normal()).collect()
    }

    fn ground(images: usize) -> Ground {
        let device = Device::flex();
        let mut scaled = |name: &str, shape: &[usize]| {
            draws(name, shape.iter().product()).into_iter().map(|draw| 20.0 * draw).collect::<Vec<f32>>()
        };
        let network = Network::init(&serde_json::from_str(CONFIG).unwrap(), &mut scaled, &device).unwrap();
        Ground {
            tensors: host_tensors(&network),
            network,
            head: DeviceHead::new(&draws("head", CLASSES * 8), &draws("bias", CLASSES), 8, &device),
            examples: Arc::new(Examples {
                shape: [1, 4, 4],
                pixels: draws("images", images * 16),
                labels: vec![0; images],
            }),
        }
    }

    impl Ground {
        fn measured(&self, crew: &Crew, shards: usize, draws: u32) -> Curvature {
            let task = OtherTask {
                name: "other",
                network: &self.network,
                tensors: &self.tensors,
                head: &self.head,
                examples: &self.examples,
                images: usize::MAX,
                draws,
                seed: 3,
                shards,
            };
            Curvature::measure(crew, &task, &|| true).unwrap()
        }

        /// The gradients of the log-probability of `label` at the one image, by an ordinary backward pass.
        fn gradients(&self, label: usize) -> HashMap<String, Vec<f32>> {
            let device = Device::flex().autodiff();
            let network = tracked(self.network.clone(), |_| true);
            let pixels = input(self.examples.shape, self.examples.image(0).to_vec(), &device);
            let logits = self.head.clone().tracked(false).logits(network.features(pixels));
            let mut gradients = log_softmax(logits, 1).narrow(1, label, 1).sum().backward();
            let mut found = HashMap::new();
            each_gradient(&network, &mut gradients, |id, gradient| {
                let tensor = self.tensors.iter().find(|tensor| tensor.id == id).unwrap();
                found.insert(tensor.name.clone(), gradient);
            });
            found
        }
    }

    fn value(factors: &[Factors], delta: &Matrix) -> f64 {
        slope(delta, factors, 1.0).value
    }

    /// The mean over drawn labels of the squared derivative along `delta`: what the quadratic form is where a layer sees one place.
    #[test]
    fn of_one_image_and_one_place_the_form_is_the_squared_derivative() {
        let ground = ground(1);
        let curvature = ground.measured(&Crew::new(1), 1, 8);
        let labels: Vec<usize> = (0..8)
            .map(|draw| {
                let pixels = input([1, 4, 4], ground.examples.image(0).to_vec(), &Device::flex());
                let logits = to_host(ground.head.logits(ground.network.features(pixels)));
                Random::new(3, &format!("curvature/other/draw {draw}/image 0")).choose(&probabilities(&logits))
            })
            .collect();
        // Behind the attention of the last block there is the first token alone.
        for name in ["blocks.1.attn.proj.weight", "blocks.1.mlp.fc1.weight", "blocks.1.mlp.fc2.weight"] {
            let tensor = ground.tensors.iter().find(|tensor| tensor.name == name).unwrap();
            let (rows, columns) = sides(&tensor.shape).unwrap();
            let delta = Matrix::new(rows, columns, draws(name, rows * columns));
            let along = |label: usize| {
                let gradient = &ground.gradients(label)[name];
                gradient.iter().zip(&delta.values).map(|(g, d)| f64::from(*g) * f64::from(*d)).sum::<f64>()
            };
            // The mean of products is a product of means where what comes in is the same for all labels.
            let expected = labels.iter().map(|label| along(*label).powi(2)).sum::<f64>() / labels.len() as f64;
            let found = value(&curvature.of(name).unwrap(), &delta);
            assert!((found - expected).abs() < 1e-3 * expected.max(1e-6), "`{name}`: {found} {expected}");
        }
    }

    #[test]
    fn every_matrix_has_factors_for_all_of_its_rows_and_threads_change_no_bit() {
        let ground = ground(37);
        let curvature = ground.measured(&Crew::new(1), 2, 1);
        assert!(ground.measured(&Crew::new(3), 2, 1) == curvature);
        for tensor in &ground.tensors {
            let Some((rows, columns)) = sides(&tensor.shape).filter(|_| tensor.shape.len() != 3) else {
                assert_eq!(curvature.of(&tensor.name), None, "`{}`", tensor.name);
                continue;
            };
            let factors = curvature.of(&tensor.name).unwrap_or_else(|| panic!("`{}` has none", tensor.name));
            assert_eq!(factors.iter().map(|run| run.outputs.rows).sum::<usize>(), rows, "`{}`", tensor.name);
            let mut next = 0;
            for run in factors.iter() {
                assert_eq!((run.first_row, run.inputs.rows), (next, columns));
                next += run.outputs.rows;
            }
            let delta = Matrix::new(rows, columns, draws(&tensor.name, rows * columns));
            assert!(value(&factors, &delta) > 0.0);
        }
        let stopped = OtherTask {
            name: "other",
            network: &ground.network,
            tensors: &ground.tensors,
            head: &ground.head,
            examples: &ground.examples,
            images: 8,
            draws: 1,
            seed: 3,
            shards: 2,
        };
        assert_eq!(Curvature::measure(&Crew::new(1), &stopped, &|| false), None);
    }

    #[test]
    fn several_tasks_take_the_room_of_one_and_keep_the_sum_of_traces() {
        let [one, two] = [5, 11].map(|images| ground(images).measured(&Crew::new(1), 1, 1));
        let merged = Curvature::merged(&[one.clone(), two.clone()]);
        for (name, factors) in &merged.layers {
            let all = |of: &Curvature| {
                of.layers[name].iter().map(|run| trace(&run.inputs) * trace(&run.outputs)).sum::<f64>()
            };
            let (sum, found) = (all(&one) + all(&two), all(&merged));
            assert!((sum - found).abs() < 1e-4 * sum, "`{name}`: {found} for {sum}");
            assert_eq!(factors.len(), one.layers[name].len());
        }
        // Of one task twice there is twice of everything.
        let twice = Curvature::merged(&[one.clone(), one.clone()]);
        let name = "blocks.0.mlp.fc1.weight";
        let delta = Matrix::new(12, 8, draws("delta", 96));
        let [of_one, of_twice] = [&one, &twice].map(|curvature| value(&curvature.of(name).unwrap(), &delta));
        assert!((2.0 * of_one - of_twice).abs() < 1e-4 * of_twice);
        assert_eq!(Curvature::merged(&[]), Curvature::default());
    }

    #[test]
    fn a_file_comes_back_as_it_was_and_belongs_to_its_base() {
        let ground = ground(4);
        let curvature = ground.measured(&Crew::new(1), 1, 1);
        let bytes = curvature.to_bytes("abc").unwrap();
        let parse = |bytes: &[u8], base: &str, tensors| Curvature::parse(bytes, Path::new("file"), base, tensors);
        assert!(parse(&bytes, "abc", &ground.tensors).unwrap() == curvature);
        let error = parse(&bytes, "def", &ground.tensors).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Mismatch);
        assert!(error.help().is_some(), "{error}");
        let fewer = &ground.tensors[..3];
        for (bytes, tensors) in
            [(&bytes[..bytes.len() - 1], &ground.tensors[..]), (b"", &ground.tensors), (&bytes, fewer)]
        {
            let error = parse(bytes, "abc", tensors).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::Damaged, "{error}");
        }
    }
}
