//! `taskvec run BASE [--pack PACK[@ALPHA]]... (--data FOLDER | IMAGE...)`: answers for images with a base and any skills.
//!
//! With `--data` the answers to the folder's test images are counted against their labels; with images each gets a line.

use anyhow::Context;
use serde::Serialize;
use taskvec_bundle::Image;
use taskvec_dataset::{Dataset, DatasetLimits, read_image};
use taskvec_runtime::{BaseModel, HeadChoice};

use super::Outcome;
use super::answers::{Answer, accuracy, answers};
use crate::args::Run;
use crate::render::{self, percent};

#[derive(Serialize)]
struct Answered {
    engine: String,
    composition: String,
    /// Share of right answers, 0 to 1; only with a data set.
    #[serde(skip_serializing_if = "Option::is_none")]
    accuracy: Option<f64>,
    answers: Vec<Line>,
}

#[derive(Serialize)]
struct Line {
    image: String,
    #[serde(flatten)]
    answer: Answer,
    #[serde(skip_serializing_if = "Option::is_none")]
    truth: Option<String>,
}

pub(crate) fn run(typed: &Run, json: bool) -> anyhow::Result<Outcome> {
    let base = BaseModel::open(&typed.base)?;
    let session = super::open(&base, &super::engine(typed.engine, typed.onnxruntime.as_deref()))?;
    let mut head = typed.head.clone().map(HeadChoice::Named);
    for pack in &typed.pack {
        let (skill, alpha) = super::skill(pack)?;
        session.attach(&skill, alpha)?;
        head.get_or_insert(HeadChoice::Skill(skill.digest()));
    }
    let head = head.unwrap_or(HeadChoice::Only);
    let mut value = Answered {
        engine: session.engine(),
        composition: session.digest().to_string(),
        accuracy: None,
        answers: Vec::new(),
    };
    match &typed.data {
        Some(folder) => {
            let set = Dataset::open(folder)?;
            let found = answers(&session, &set.test.images, &head)?;
            value.accuracy = Some(accuracy(&found, &set.test.labels));
            let truths = set.test.labels.iter().map(|label| set.classes[*label as usize].clone());
            value.answers = found
                .into_iter()
                .zip(truths)
                .enumerate()
                .map(|(at, (answer, truth))| Line { image: format!("test {at}"), answer, truth: Some(truth) })
                .collect();
        }
        None => {
            let images = typed
                .images
                .iter()
                .map(|path| read_image(path, &DatasetLimits::default()).with_context(|| "answer for images"))
                .collect::<anyhow::Result<Vec<Image>>>()?;
            let found = answers(&session, &images, &head)?;
            value.answers = found
                .into_iter()
                .zip(&typed.images)
                .map(|(answer, path)| Line { image: path.display().to_string(), answer, truth: None })
                .collect();
        }
    }
    render::result(json, &value, table)?;
    Ok(Outcome::Done)
}

fn table(value: &Answered) -> String {
    let mut text = format!("engine {}\ncomposition {}\n", value.engine, value.composition);
    match value.accuracy {
        Some(accuracy) => {
            text.push_str(&format!("{} of {} test images right\n", percent(accuracy), value.answers.len()));
        }
        None => {
            let row = |line: &Line| {
                vec![line.image.clone(), line.answer.label.clone(), percent(f64::from(line.answer.share))]
            };
            let rows: Vec<_> = value.answers.iter().map(row).collect();
            text.push('\n');
            text.push_str(&render::table(&["image", "answer", "share"], &rows));
        }
    }
    text
}
