//! What networks answer, many questions at a time.
//!
//! A question is a model, a head and images. All questions are cut into batches of one size, whatever the machine, and the
//! batches of all of them are shared by the crew, so that small sets keep every core busy and no answer depends on how many there
//! are.

use std::sync::Arc;

use burn::tensor::Device;
use taskvec_bundle::{Head, argmax};

use crate::crew::Crew;
use crate::error::{Error, Result};
use crate::examples::{Examples, input};
use crate::finetune::leaves::to_host;
use crate::model::Model;

/// Images that go through a network together.
const BATCH: usize = 64;

/// Who is asked about what. Cloning shares the numbers.
#[derive(Clone)]
pub(crate) struct Question {
    /// Plain.
    pub(crate) model: Model,
    pub(crate) head: Arc<Head>,
    pub(crate) examples: Arc<Examples>,
}

/// For each question the label of each of its images, as the network has it.
///
/// # Errors
/// `Usage` when a head is for other features.
pub(crate) fn answers(crew: &Crew, device: &Device, questions: &[Question]) -> Result<Vec<Vec<u32>>> {
    let batches = questions.iter().flat_map(|question| {
        (0..question.examples.len()).step_by(BATCH).map(move |first| {
            let (question, device) = (question.clone(), device.clone());
            move || question.batch(first, &device)
        })
    });
    let mut batches = crew.map(batches.collect::<Vec<_>>()).into_iter();
    let of_question = |question: &Question| {
        let count = question.examples.len().div_ceil(BATCH);
        Ok(batches.by_ref().take(count).collect::<Result<Vec<_>>>()?.concat())
    };
    questions.iter().map(of_question).collect()
}

/// The share of the images of each question that is answered rightly; of no image 0.
///
/// # Errors
/// As [`answers`].
pub(crate) fn accuracies(crew: &Crew, device: &Device, questions: &[Question]) -> Result<Vec<f64>> {
    let share = |(answers, question): (Vec<u32>, &Question)| {
        let right = answers.iter().zip(&question.examples.labels).filter(|(answer, label)| answer == label).count();
        right as f64 / (answers.len() as f64).max(1.0)
    };
    Ok(answers(crew, device, questions)?.into_iter().zip(questions).map(share).collect())
}

impl Question {
    fn batch(self, first: usize, device: &Device) -> Result<Vec<u32>> {
        let examples = &self.examples;
        let size: usize = examples.shape.iter().product();
        let last = (first + BATCH).min(examples.len());
        let pixels = examples.pixels[first * size..last * size].to_vec();
        let features = to_host(self.model.features(input(examples.shape, pixels, device)));
        let logits = self.head.logits(&features).map_err(|cause| Error::from_bundle(cause, "answer by a head"))?;
        let labels =
            logits.chunks_exact(self.head.class_count()).map(|row| argmax(row).map_or(0, |label| label as u32));
        Ok(labels.collect())
    }
}
