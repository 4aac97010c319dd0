//! What a network and a head are worth on a task; and what a suite of methods is worth on many.
//!
//! A suite (`suite/`) is one plain value. [`evaluate()`] trains what it names (`runs.rs`), judges each row with each seed
//! (`judge.rs`: `coefficient.rs`, `addition.rs`, `negation.rs`; `analogy.rs`, `disentanglement.rs`, `kernel.rs`), and makes tables of it
//! (`report.rs`, `claims.rs`).

mod addition;
mod agreement;
mod analogy;
mod answers;
mod claims;
mod class_means;
mod coefficient;
mod disentanglement;
mod evaluation;
mod found;
mod ground;
mod judge;
mod kernel;
mod markdown;
mod negation;
mod report;
mod row;
mod runs;
pub mod suite;
mod table;
mod vectors;
mod watch;

use std::sync::Arc;

use burn::tensor::Device;
use taskvec_bundle::{Head, argmax};

use crate::crew::Crew;
use crate::error::{Error, Result};
use crate::examples::{Examples, input};
use crate::finetune::leaves::to_host;
use crate::model::Model;

pub use addition::{Addition, Tried};
pub use agreement::{BYTES_TOLERANCE, SHARE_TOLERANCE, disagreements};
pub use analogy::{Analogy, AnalogyLine};
pub use claims::Claim;
pub use class_means::class_means_head;
pub use disentanglement::ErrorMap;
pub use evaluation::{
    COSTS_FILE, Costs, Ending, RESULTS_FILE, Results, TABLES_FILE, TABLES_JSON_FILE, Tables, evaluate,
};
pub use found::Found;
pub use judge::{Outcome, TaskOutcome};
pub use kernel::Localization;
pub use negation::{Candidate, Negation, choose};
pub use report::{Cell, Table, TableLine, Unit};
pub use runs::{Cost, RunCost};
pub use table::{SkillTable, TableCell, TableColumn, TableRow, table};
pub use watch::{Part, Watch};

/// The row of the base alone.
pub const ZERO_SHOT: &str = "zero-shot";

/// Images that go through a network together.
const BATCH: usize = 64;

/// The features of every image, `[images, feature_width]`, row-major.
///
/// The model must be plain: on an autodiff device each forward pass without a backward pass leaks its whole graph.
pub(crate) fn features(crew: &Crew, model: impl Into<Model>, examples: &Arc<Examples>, device: &Device) -> Vec<f32> {
    let model = model.into();
    let tasks: Vec<_> = (0..examples.len())
        .step_by(BATCH)
        .map(|start| {
            let (model, examples, device) = (model.clone(), Arc::clone(examples), device.clone());
            move || {
                let size: usize = examples.shape.iter().product();
                let end = (start + BATCH).min(examples.len());
                let pixels = examples.pixels[start * size..end * size].to_vec();
                to_host(model.features(input(examples.shape, pixels, &device)))
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
