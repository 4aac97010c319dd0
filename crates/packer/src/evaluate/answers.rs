//! What networks answer, many questions at a time.
//!
//! A question is a base with task vectors, a head and images. All questions are cut into batches of one size, whatever the machine,
//! and the batches of all of them are shared by the crew, so that small sets keep every core busy and no answer depends on how many
//! there are. A linearized network goes over images once for each vector, and then every coefficient is a sum of what it said.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use burn::tensor::{Device, Tensor};
use taskvec_bundle::{Head, argmax};
use taskvec_networks::{Network, Tangent};

use super::ground::Ground;
use super::vectors::{Line, Vector};
use crate::error::{Error, Result};
use crate::examples::{Examples, input};
use crate::finetune::leaves::to_host;

/// Images that go through a network together.
const BATCH: usize = 64;
/// Questions whose networks are in memory together, at most.
const TOGETHER: usize = 8;
/// The answer of a network whose logits are no numbers: right for no image.
const NO_LABEL: u32 = u32::MAX;

/// What is asked about images: the base with vectors, each times its coefficient.
#[derive(Clone)]
pub(crate) struct Question {
    pub(crate) sum: Vec<(f64, Arc<Vector>)>,
    pub(crate) head: Arc<Head>,
    pub(crate) examples: Arc<Examples>,
}

/// Where the features of a question's images come from.
#[derive(Clone)]
enum Source {
    Network(Box<Network>),
    Lines(Arc<Vec<(f64, Arc<Line>)>>),
}

/// For each question the label of each of its images, as the network has it.
///
/// # Errors
/// `Usage` when a head is for other features, and when the evaluation is stopped.
pub(crate) fn answers(ground: &Ground<'_>, questions: &[Question]) -> Result<Vec<Vec<u32>>> {
    draw_lines(ground, questions)?;
    let together = questions.chunks(TOGETHER).map(|questions| answers_together(ground, questions));
    Ok(together.collect::<Result<Vec<_>>>()?.concat())
}

fn answers_together(ground: &Ground<'_>, questions: &[Question]) -> Result<Vec<Vec<u32>>> {
    let mut sources: Vec<(&Question, Source)> = Vec::new();
    for question in questions {
        // Tasks are asked about one sum, and its network is made once.
        let known = sources.iter().find(|(other, source)| source.is_network() && other.is_of_same_sum(question));
        let source = known.map_or_else(|| question.source(ground), |(_, source)| source.clone());
        sources.push((question, source));
    }
    let batches = sources.iter().flat_map(|(question, source)| {
        batches(&question.examples).map(move |first| {
            let (head, examples) = (Arc::clone(&question.head), Arc::clone(&question.examples));
            let (source, device) = (source.clone(), ground.device.clone());
            move || labels(&head, &source.features(&examples, first, &device))
        })
    });
    let mut batches = mapped(ground, batches.collect::<Vec<_>>())?.into_iter();
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
pub(crate) fn accuracies(ground: &Ground<'_>, questions: &[Question]) -> Result<Vec<f64>> {
    let share = |(answers, question): (Vec<u32>, &Question)| {
        let right = answers.iter().zip(&question.examples.labels).filter(|(answer, label)| answer == label).count();
        right as f64 / (answers.len() as f64).max(1.0)
    };
    Ok(answers(ground, questions)?.into_iter().zip(questions).map(share).collect())
}

/// Sees to it that linearized vectors know what the network says of the images that they are asked about.
fn draw_lines(ground: &Ground<'_>, questions: &[Question]) -> Result<()> {
    let mut missing: Vec<(&Arc<Vector>, &Arc<Examples>)> = Vec::new();
    for question in questions {
        for (_, vector) in question.sum.iter().filter(|(_, vector)| vector.is_linearized()) {
            let is_same = |(other, examples): &(&Arc<Vector>, &Arc<Examples>)| {
                Arc::ptr_eq(other, vector) && Arc::ptr_eq(examples, &question.examples)
            };
            if vector.line(&question.examples).is_none() && !missing.iter().any(is_same) {
                missing.push((vector, &question.examples));
            }
        }
    }
    let parts = missing.iter().flat_map(|(vector, examples)| {
        let deltas = Arc::new(vector.deltas(&ground.start, &ground.device));
        batches(examples).map(move |first| {
            let (base, deltas) = (ground.start.network.clone(), Arc::clone(&deltas));
            let (examples, device) = (Arc::clone(examples), ground.device.clone());
            move || {
                let pixels = batch(&examples, first, &device);
                let (value, derivative) = base.features_and_derivative(&mut Tangent::new((*deltas).clone()), pixels);
                let derivative = derivative.unwrap_or_else(|| value.zeros_like());
                (to_host(value), to_host(derivative))
            }
        })
    });
    let mut parts = mapped(ground, parts.collect::<Vec<_>>())?.into_iter();
    for (vector, examples) in missing {
        let (values, derivatives): (Vec<_>, Vec<_>) = parts.by_ref().take(examples.len().div_ceil(BATCH)).unzip();
        vector.keep(examples, Line { value: values.concat(), derivative: derivatives.concat() });
    }
    Ok(())
}

fn mapped<T: Send + 'static>(ground: &Ground<'_>, tasks: Vec<impl FnOnce() -> T + Send + 'static>) -> Result<Vec<T>> {
    if ground.stop.load(Ordering::Relaxed) {
        return Err(Error::usage("the evaluation was stopped"));
    }
    Ok(ground.crew.map(tasks))
}

/// Where the batches of these images begin.
fn batches(examples: &Examples) -> impl Iterator<Item = usize> + use<> {
    (0..examples.len()).step_by(BATCH)
}

fn batch(examples: &Examples, first: usize, device: &Device) -> Tensor<4> {
    let size: usize = examples.shape.iter().product();
    let last = (first + BATCH).min(examples.len());
    input(examples.shape, examples.pixels[first * size..last * size].to_vec(), device)
}

fn labels(head: &Head, features: &[f32]) -> Result<Vec<u32>> {
    let logits = head.logits(features).map_err(|cause| Error::from_bundle(cause, "answer by a head"))?;
    let labels = logits.chunks_exact(head.class_count()).map(|row| argmax(row).map_or(NO_LABEL, |label| label as u32));
    Ok(labels.collect())
}

impl Question {
    fn is_of_same_sum(&self, other: &Question) -> bool {
        let mut pairs = self.sum.iter().zip(&other.sum);
        self.sum.len() == other.sum.len()
            && pairs.all(|(ours, theirs)| ours.0 == theirs.0 && Arc::ptr_eq(&ours.1, &theirs.1))
    }

    fn source(&self, ground: &Ground<'_>) -> Source {
        let lines = self.sum.iter().map(|(alpha, vector)| Some((*alpha, vector.line(&self.examples)?)));
        match lines.collect::<Option<Vec<_>>>() {
            Some(lines) if !lines.is_empty() => Source::Lines(Arc::new(lines)),
            _ => {
                let sum = self.sum.iter().map(|(alpha, vector)| (*alpha as f32, &**vector));
                Source::Network(Box::new(Vector::sum(&sum.collect::<Vec<_>>()).network(&ground.start)))
            }
        }
    }
}

impl Source {
    fn is_network(&self) -> bool {
        matches!(self, Source::Network(_))
    }

    fn features(&self, examples: &Examples, first: usize, device: &Device) -> Vec<f32> {
        match self {
            Source::Network(network) => to_host(network.features(batch(examples, first, device))),
            Source::Lines(lines) => {
                let width = lines[0].1.value.len() / examples.len();
                let part = first * width..(first + BATCH).min(examples.len()) * width;
                let mut features = lines[0].1.value[part.clone()].to_vec();
                for (alpha, line) in lines.iter() {
                    let alpha = *alpha as f32;
                    features
                        .iter_mut()
                        .zip(&line.derivative[part.clone()])
                        .for_each(|(sum, slope)| *sum += alpha * slope);
                }
                features
            }
        }
    }
}
