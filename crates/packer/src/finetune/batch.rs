//! A batch on the host, gathered and augmented, in the parts that shards compute. That of the next step is made while this one
//! computes: by the threads of the crew that have nothing else to do.

use std::sync::Arc;

use super::shards::cut;
use crate::augment::augment;
use crate::examples::Examples;
use crate::random::Random;
use crate::recipe::{AugmentationRecipe, Recipe};

/// Images of one part of a batch.
pub(crate) struct Part {
    /// Normalized, one after the other.
    pub(crate) pixels: Vec<f32>,
    /// One per image.
    pub(crate) labels: Vec<u32>,
}

/// What makes the parts of the batch of `step`, the images at `indices`: a task for each part.
pub(crate) fn parts(
    examples: &Arc<Examples>,
    indices: &[usize],
    recipe: &Recipe,
    step: u64,
) -> impl Iterator<Item = impl FnOnce() -> Part + Send + use<>> + use<> {
    let (examples, augmentation, seed) = (Arc::clone(examples), recipe.augmentation.clone(), recipe.seed);
    let indices = indices.to_vec();
    cut(indices.len(), recipe.shards as usize).into_iter().map(move |range| {
        let (examples, augmentation) = (Arc::clone(&examples), augmentation.clone());
        let (first, indices) = (range.start, indices[range].to_vec());
        move || {
            let (mut pixels, labels) = examples.gather(&indices);
            if !augmentation.is_off() {
                change(&mut pixels, &examples, &indices, &augmentation, |place| {
                    Random::new(seed, &format!("augment/step {step}/place {}", first + place))
                });
            }
            Part { pixels, labels }
        }
    })
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
