//! What a network and a head are worth on a task.

mod class_means;
mod table;

use std::sync::Arc;

use burn::tensor::Device;
use taskvec_bundle::{Head, argmax};
use taskvec_networks::Network;

use crate::crew::Crew;
use crate::error::{Error, Result};
use crate::examples::{Examples, input};
use crate::finetune::leaves::to_host;

pub use class_means::class_means_head;
pub use table::{SkillTable, TableCell, TableColumn, TableRow, table};

/// Images that go through a network together.
const BATCH: usize = 64;

/// The features of every image, `[images, feature_width]`, row-major.
///
/// `network` must be plain: on an autodiff device each forward pass without a backward pass leaks its whole graph.
pub(crate) fn features(crew: &Crew, network: &Network, examples: &Arc<Examples>, device: &Device) -> Vec<f32> {
    let tasks: Vec<_> = (0..examples.len())
        .step_by(BATCH)
        .map(|start| {
            let (network, examples, device) = (network.clone(), Arc::clone(examples), device.clone());
            move || {
                let size: usize = examples.shape.iter().product();
                let end = (start + BATCH).min(examples.len());
                let pixels = examples.pixels[start * size..end * size].to_vec();
                to_host(network.features(input(examples.shape, pixels, &device)))
            }
        })
        .collect();
    crew.map(tasks).concat()
}

/// Share of the images whose label the head finds, `None` without an image.
///
/// # Shapes
/// `features`: `[images, feature_width]`, row-major; `labels`: `[images]`.
///
/// # Errors
/// `Usage` when the features are not those of this head.
pub fn accuracy(head: &Head, features: &[f32], labels: &[u32]) -> Result<Option<f64>> {
    if labels.is_empty() {
        return Ok(None);
    }
    let logits = head.logits(features).map_err(|cause| Error::from_bundle(cause, "judge by a head"))?;
    let rows = logits.chunks_exact(head.class_count()).zip(labels);
    let correct = rows.filter(|(row, label)| argmax(row) == Some(**label as usize)).count();
    Ok(Some(correct as f64 / labels.len() as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accuracy_counts_labels_that_were_found() {
        let labels = vec!["a".to_owned(), "b".to_owned()];
        let head = Head::new(labels, vec![1.0, 0.0, 0.0, 1.0], vec![0.0; 2], 2).unwrap();
        let features = [3.0, 1.0, 1.0, 2.0, 5.0, 4.0, 0.0, 1.0];
        assert_eq!(accuracy(&head, &features, &[0, 1, 1, 1]).unwrap(), Some(0.75));
        assert_eq!(accuracy(&head, &[], &[]).unwrap(), None);
        assert!(accuracy(&head, &[1.0], &[0]).is_err());
    }
}
