//! `taskvec-device run --base FOLDER (--data FOLDER | IMAGE...)`: answers for images with the skills in force. `taskvec-device run
//! --base FOLDER --inputs FILE --outputs FILE`: answers for arrays, where the base takes no pictures.
//!
//! The committed composition is booted: proved, with the attempt counted in the store, and passed over if it fails.
//! With `--pack` the packs named there are in force for this run, and the committed composition is left alone. With
//! `--data` the answers to the folder's test images are counted against their labels.

use std::path::Path;

use serde::Serialize;
use taskvec_bundle::{Image, softmax};
use taskvec_dataset::{Dataset, DatasetLimits, read_image};
use taskvec_runtime::{HeadChoice, PackLimits, Session, Skill, Store};

use super::{Outcome, arrays};
use crate::args::Run;
use crate::render;

/// Images that go through the engine together.
const BATCH: usize = 16;

#[derive(Serialize)]
struct Answered {
    engine: String,
    composition: String,
    /// Share of right answers, 0 to 1; only with a data set.
    #[serde(skip_serializing_if = "Option::is_none")]
    accuracy: Option<f64>,
    answers: Vec<Answer>,
}

#[derive(Serialize)]
struct Answer {
    image: String,
    class: usize,
    label: String,
    /// The head's share for it, 0 to 1.
    share: f32,
}

pub(crate) fn run(store: &Path, typed: &Run, json: bool) -> anyhow::Result<Outcome> {
    let session = super::open(&typed.on, store)?;
    let mut outcome = Outcome::Done;
    if typed.pack.is_empty() {
        outcome = super::warn(&Store::open(store)?.boot(&session)?);
    }
    let mut head = typed.head.clone().map(HeadChoice::Named);
    for pack in &typed.pack {
        let skill = Skill::open(&pack.path, &PackLimits::default())?;
        session.attach(&skill, pack.alpha.unwrap_or(skill.recommended_alpha()))?;
        head.get_or_insert(HeadChoice::Skill(skill.digest()));
    }
    if let (Some(inputs), Some(outputs)) = (&typed.inputs, &typed.outputs) {
        arrays::answer(&session, inputs, outputs, json)?;
        return Ok(outcome);
    }
    let head = head.unwrap_or(HeadChoice::Only);
    let Asked { images, labels } = asked(typed)?;
    let answers = answer(&session, &images, &head)?;
    let accuracy = labels.map(|labels| {
        let right = answers.iter().zip(&labels).filter(|(answer, label)| answer.class == **label as usize).count();
        right as f64 / labels.len().max(1) as f64
    });
    let (engine, composition) = (session.engine(), session.digest().to_string());
    render::result(json, &Answered { engine, composition, accuracy, answers }, story)?;
    Ok(outcome)
}

/// What is asked about.
struct Asked {
    /// What each image is called, and the image.
    images: Vec<(String, Image)>,
    /// One for each image of a data set.
    labels: Option<Vec<u32>>,
}

fn asked(typed: &Run) -> anyhow::Result<Asked> {
    if let Some(folder) = &typed.data {
        let test = Dataset::open(folder)?.test;
        let named = test.images.into_iter().enumerate().map(|(at, image)| (format!("test {at}"), image));
        return Ok(Asked { images: named.collect(), labels: Some(test.labels) });
    }
    let mut images = Vec::new();
    for path in &typed.images {
        images.push((path.display().to_string(), read_image(path, &DatasetLimits::default())?));
    }
    Ok(Asked { images, labels: None })
}

fn answer(session: &Session, images: &[(String, Image)], head: &HeadChoice) -> anyhow::Result<Vec<Answer>> {
    let mut answers = Vec::with_capacity(images.len());
    for batch in images.chunks(BATCH) {
        let mut pixels = Vec::new();
        for (_, image) in batch {
            pixels.extend(session.base().pictures()?.preprocessing.pixels(image)?);
        }
        let logits = session.infer(&pixels, batch.len(), head)?;
        let rows = logits.values.chunks(logits.class_count).zip(logits.classes());
        for ((image, _), (row, class)) in batch.iter().zip(rows) {
            // Only NaN everywhere gives no class, and a composition is proved to give finite features.
            let class = class.unwrap_or(0);
            let (label, share) = (logits.head.labels()[class].clone(), softmax(row)[class]);
            answers.push(Answer { image: image.clone(), class, label, share });
        }
    }
    Ok(answers)
}

fn story(value: &Answered) -> String {
    let mut text = format!("engine {}\ncomposition {}\n", value.engine, value.composition);
    match value.accuracy {
        Some(accuracy) => {
            text.push_str(&format!("{:.1} % of {} test images right\n", 100.0 * accuracy, value.answers.len()));
        }
        None => {
            for answer in &value.answers {
                text.push_str(&format!("{}: {} ({:.1} %)\n", answer.image, answer.label, 100.0 * answer.share));
            }
        }
    }
    text
}
