//! Answers of a session to many images: in batches, each with its class and its certainty.

use serde::Serialize;
use taskvec_bundle::{Image, softmax};
use taskvec_runtime::{HeadChoice, Session};

/// Images that go through the engine together.
const BATCH: usize = 32;

/// What the model says about one image.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Answer {
    /// Index of the class.
    pub(crate) class: usize,
    /// Its name.
    pub(crate) label: String,
    /// The head's share for it, 0 to 1.
    pub(crate) share: f32,
}

/// The session's answer to each image, with the head of the caller's choice.
pub(crate) fn answers(session: &Session, images: &[Image], head: &HeadChoice) -> anyhow::Result<Vec<Answer>> {
    let mut all = Vec::with_capacity(images.len());
    for batch in images.chunks(BATCH) {
        let logits = session.infer(&pixels(session, batch)?, batch.len(), head)?;
        for (row, class) in logits.values.chunks(logits.class_count).zip(logits.classes()) {
            // NaN everywhere cannot come out of a composition that was proved finite; class 0 then says so with share NaN.
            let class = class.unwrap_or(0);
            all.push(Answer { class, label: logits.head.labels()[class].clone(), share: softmax(row)[class] });
        }
    }
    Ok(all)
}

/// The session's features of each image, `[images, feature_width]`.
pub(crate) fn features(session: &Session, images: &[Image]) -> anyhow::Result<Vec<f32>> {
    let mut all = Vec::new();
    for batch in images.chunks(BATCH) {
        all.extend(session.features(&pixels(session, batch)?, batch.len())?);
    }
    Ok(all)
}

/// Share of answers that are the label, 0 to 1.
pub(crate) fn accuracy(answers: &[Answer], labels: &[u32]) -> f64 {
    let right = answers.iter().zip(labels).filter(|(answer, label)| answer.class == **label as usize).count();
    right as f64 / labels.len().max(1) as f64
}

fn pixels(session: &Session, images: &[Image]) -> anyhow::Result<Vec<f32>> {
    let preprocessing = &session.base().pictures()?.preprocessing;
    let mut pixels = Vec::with_capacity(images.len() * preprocessing.pixels_len());
    for image in images {
        pixels.extend(preprocessing.pixels(image)?);
    }
    Ok(pixels)
}
