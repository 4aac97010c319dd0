//! Where the tangent kernel's eigenfunctions live: on a task's own images, or everywhere.
//!
//! Ortiz-Jimenez et al. (2023) explain task arithmetic by eigenfunctions of the tangent kernel that are localized: those by which
//! a task is learned hardly move the answers on other inputs. They publish no code for it; what is computed here, exactly:
//!
//! 1. The images x are as many test images of the task as of the control.
//! 2. For each image and each draw of random signs v, one for each feature: the gradient of v . features(x) by all weights that
//!    packs may edit. The kernel K(x, y) is the mean over the draws of the dot products of two images' gradients. Over many draws
//!    that is the trace, over the features, of the tangent kernel of the network without its head.
//! 3. K = sum of lambda phi phi^T, with the phi of length 1. The **local energy** of an eigenfunction is the sum of the squares of
//!    phi on the task's images: 0.5 where it lives on both sets alike, 1 where it lives on the task alone.
//! 4. What the task is, as a function: one of each class on the images of that class less its mean on the task's images, and 0 on
//!    the control's. An eigenfunction **carries** the share of it that is the square of their dot product, over all classes.
//! 5. The **localization** is the mean of the local energies, each weighed by the share that its eigenfunction carries.
//!
//! The same is done on a network of the same shape that was drawn and has learned nothing.

use std::collections::HashMap;
use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use nalgebra::{DMatrix, SymmetricEigen};
use serde::{Deserialize, Serialize};
use taskvec_networks::Network;

use super::ground::Ground;
use super::suite::KernelSettings;
use crate::error::{Error, Result};
use crate::examples::{Examples, input, spread};
use crate::finetune::leaves::{HostTensor, each_gradient, host_tensors, tracked};
use crate::random::Random;

/// Eigenfunctions that are kept for readers: those that carry most.
const KEPT: usize = 24;
/// Bytes of gradients that may be in memory together.
const GRADIENTS_MAX: usize = 2 << 30;
/// Elements that are multiplied and added up in f32 before they are in f64.
const CHUNK: usize = 256;

/// Localization of a task's eigenfunctions, of one network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Localization {
    /// The task.
    pub task: String,
    /// Seed of the signs, and of the network that was drawn.
    pub seed: u64,
    /// Whether the network is the base, or one that was drawn.
    pub is_base: bool,
    /// Images of the task, and of the control.
    pub images: [u64; 2],
    /// Mean local energy, weighed by what the eigenfunctions carry.
    pub localization: f64,
    /// The eigenfunctions that carry most, those first: the share that each carries, and its local energy.
    pub eigenfunctions: Vec<[f64; 2]>,
}

/// A network, and the tensors by which gradients are taken.
struct Subject<'a> {
    network: &'a Network,
    tensors: &'a [HostTensor],
    is_base: bool,
}

/// The localization of a task against the control, whose labels do not count: of the base, and of a network that was drawn.
pub(crate) fn localizations(
    ground: &Ground<'_>,
    settings: &KernelSettings,
    (name, seed): (&str, u64),
    [task, control]: [&Arc<Examples>; 2],
) -> Result<Vec<Localization>> {
    let drawn = ground.start.drawn_twin(seed, &ground.device)?;
    let tensors = ground.start.editable();
    let is_editable = |tensor: &HostTensor| tensors.iter().any(|editable| editable.name == tensor.name);
    let of_drawn: Vec<HostTensor> = host_tensors(&drawn).into_iter().filter(is_editable).collect();
    let subjects = [
        Subject { network: &ground.start.network, tensors: &tensors, is_base: true },
        Subject { network: &drawn, tensors: &of_drawn, is_base: false },
    ];
    let count = settings.images.min(task.len()).min(control.len());
    let (task, control) = (spread(task, count), spread(control, count));
    let parameters: usize = tensors.iter().map(|tensor| tensor.values.len()).sum();
    if 2 * count * parameters * size_of::<f32>() > GRADIENTS_MAX {
        let clause = format!("the gradients of {} images by {parameters} weights do not fit into 2 GiB", 2 * count);
        return Err(Error::limit(clause).with_help("lower `kernel.images`"));
    }
    let pixels = [task.pixels, control.pixels].concat();
    let both = Arc::new(Examples { shape: task.shape, pixels, labels: [task.labels.clone(), control.labels].concat() });
    let of_subject = |subject: &Subject<'_>| {
        let kernel = kernel(ground, subject, seed, &both, settings.draws);
        let (localization, eigenfunctions) = weigh(&kernel, &task.labels);
        Localization {
            task: name.to_owned(),
            seed,
            is_base: subject.is_base,
            images: [count as u64; 2],
            localization,
            eigenfunctions,
        }
    };
    Ok(subjects.iter().map(of_subject).collect())
}

/// `[count, count]`, row-major.
fn kernel(ground: &Ground<'_>, subject: &Subject<'_>, seed: u64, images: &Arc<Examples>, draws: usize) -> Vec<f64> {
    let count = images.len();
    let places: Arc<HashMap<_, usize>> =
        Arc::new(subject.tensors.iter().enumerate().map(|(place, tensor)| (tensor.id, place)).collect());
    let mut kernel = vec![0.0; count * count];
    for draw in 0..draws {
        let mut random = Random::new(seed, &format!("kernel/draw {draw}"));
        let signs = (0..ground.start.feature_width).map(|_| if random.uniform() < 0.5 { -1.0 } else { 1.0 });
        let signs: Arc<Vec<f32>> = Arc::new(signs.collect());
        let gradients = (0..count).map(|image| {
            let (network, images, signs) = (subject.network.clone(), Arc::clone(images), Arc::clone(&signs));
            let (places, device) = (Arc::clone(&places), ground.device.clone());
            move || gradient(network, &images, image, &signs, &places, &device)
        });
        let gradients = Arc::new(ground.crew.map(gradients.collect::<Vec<_>>()));
        let rows = (0..count).map(|row| {
            let gradients = Arc::clone(&gradients);
            move || (0..=row).map(|column| dot(&gradients[row], &gradients[column])).collect::<Vec<f64>>()
        });
        for (row, products) in ground.crew.map(rows.collect::<Vec<_>>()).into_iter().enumerate() {
            for (column, product) in products.into_iter().enumerate() {
                kernel[row * count + column] += product / draws as f64;
                if column != row {
                    kernel[column * count + row] += product / draws as f64;
                }
            }
        }
    }
    kernel
}

/// The gradient of signs . features of one image, tensor after tensor.
fn gradient(
    network: Network,
    images: &Examples,
    image: usize,
    signs: &[f32],
    places: &HashMap<burn::module::ParamId, usize>,
    device: &Device,
) -> Vec<f32> {
    let device = device.clone().autodiff();
    let network = tracked(network, |id| places.contains_key(&id));
    let features = network.features(input(images.shape, images.image(image).to_vec(), &device));
    let signs = Tensor::<2>::from_data(TensorData::new(signs.to_vec(), [1, signs.len()]), &device);
    let mut gradients = (features * signs).sum().backward();
    let mut parts = vec![Vec::new(); places.len()];
    each_gradient(&network, &mut gradients, |id, gradient| {
        if let Some(place) = places.get(&id) {
            parts[*place] = gradient;
        }
    });
    parts.concat()
}

/// In f32 within a chunk, in f64 from chunk to chunk, always in this order.
fn dot(left: &[f32], right: &[f32]) -> f64 {
    let chunks = left.chunks(CHUNK).zip(right.chunks(CHUNK));
    chunks
        .map(|(left, right)| {
            let mut sums = [0.0f32; 16];
            let (lanes, rest) = left.as_chunks::<16>();
            let (others, other_rest) = right.as_chunks::<16>();
            for (lane, other) in lanes.iter().zip(others) {
                for at in 0..16 {
                    sums[at] += lane[at] * other[at];
                }
            }
            let rest: f32 = rest.iter().zip(other_rest).map(|(left, right)| left * right).sum();
            f64::from(sums.iter().sum::<f32>() + rest)
        })
        .sum()
}

/// Localization, and the eigenfunctions that carry most. The first images are the task's, with these labels.
fn weigh(kernel: &[f64], labels: &[u32]) -> (f64, Vec<[f64; 2]>) {
    let size = (kernel.len() as f64).sqrt().round() as usize;
    let classes = labels.iter().max().map_or(0, |most| *most + 1);
    let functions: Vec<Vec<f64>> = (0..classes)
        .map(|class| {
            let share = labels.iter().filter(|label| **label == class).count() as f64 / labels.len() as f64;
            labels.iter().map(|label| f64::from(u8::from(*label == class)) - share).collect()
        })
        .collect();
    let whole: f64 = functions.iter().flatten().map(|value| value * value).sum::<f64>().max(f64::MIN_POSITIVE);
    let vectors = SymmetricEigen::new(DMatrix::from_row_slice(size, size, kernel)).eigenvectors;
    let weighed = vectors.column_iter().map(|vector| {
        let product =
            |function: &Vec<f64>| function.iter().zip(&vector).map(|(value, phi)| value * phi).sum::<f64>().powi(2);
        let carried = functions.iter().map(product).sum::<f64>() / whole;
        let local = vector.iter().take(labels.len()).map(|phi| phi * phi).sum();
        [carried, local]
    });
    let mut weighed: Vec<[f64; 2]> = weighed.collect();
    let localization = weighed.iter().map(|[carried, local]| carried * local).sum();
    weighed.sort_by(|left, right| right[0].total_cmp(&left[0]));
    weighed.truncate(KEPT);
    (localization, weighed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel of features that images have of their own set, and of those that both sets share.
    fn kernel_of(own: f64, shared: f64) -> Vec<f64> {
        let labels = [0, 1, 0, 1];
        let feature = |at: usize, set: usize| {
            let value = if labels[at % 4] == 0 { 1.0 } else { -1.0 } + 0.1 * at as f64;
            if at / 4 == set { own * value } else { 0.0 }
        };
        let common = |at: usize| shared * if labels[at % 4] == 0 { 1.0 } else { -1.0 };
        let element = |at: usize| {
            let (row, column) = (at / 8, at % 8);
            let own: f64 = (0..2).map(|set| feature(row, set) * feature(column, set)).sum();
            own + common(row) * common(column)
        };
        (0..64).map(element).collect()
    }

    #[test]
    fn features_of_the_task_alone_are_localized_and_shared_ones_are_not() {
        let labels = [0, 1, 0, 1];
        let (alone, _) = weigh(&kernel_of(1.0, 0.0), &labels);
        let (shared, kept) = weigh(&kernel_of(0.0, 1.0), &labels);
        assert!(alone > 0.95, "{alone}");
        // The one eigenfunction carries half of the task, the other half is on the task's images by definition.
        assert!((kept[0][1] - 0.5).abs() < 1e-9, "{kept:?}");
        assert!(shared < 0.8 && shared < alone, "{shared}");
        let carried: f64 = kept.iter().map(|[carried, _]| carried).sum();
        assert!((carried - 1.0).abs() < 1e-9, "all of them carry all of it");
    }

    #[test]
    fn a_dot_product_is_that_of_the_numbers() {
        let left: Vec<f32> = (0..1000).map(|at| (at % 7) as f32 - 3.0).collect();
        let right: Vec<f32> = (0..1000).map(|at| (at % 5) as f32 - 2.0).collect();
        let exact: f32 = left.iter().zip(&right).map(|(left, right)| left * right).sum();
        assert_eq!(dot(&left, &right), f64::from(exact));
    }
}
