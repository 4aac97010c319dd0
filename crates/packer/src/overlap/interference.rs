//! What two skills cost each other, measured before anybody ships them together: each skill's task, answered by its own head, over the
//! base, with either skill in force, and with both.
//!
//! Beside the measured loss with both stands the one that is **predicted to first order**: the loss with a task's own skill alone, plus
//! its slope along the other skill, `L(own) + d/dt L(own + t * other)` at `t = 0`. The slope is half the difference of two measured
//! losses, with a small share of the other skill put on and taken off, so that it needs no gradient and sees weights as a device has
//! them. Where the prediction holds, a smaller coefficient of the other skill costs in proportion less; a measured loss far
//! above it says that the skills bend each other, and no coefficient near 1 will do.

use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use serde::Serialize;
use taskvec_bundle::Head;
use taskvec_dataset::{Dataset, folder_name};
use taskvec_pack::{Limits, Pack};

use crate::crew::Crew;
use crate::error::{Error, Result};
use crate::evaluate::{accuracy, features};
use crate::examples::Examples;
use crate::pack_run::as_a_device_has_it;
use crate::train::Start;

/// Share of the other skill by which the slope is measured, to either side.
const SHARE: f32 = 1.0 / 16.0;

/// What either of two skills costs the other.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Interference {
    /// The task of the first skill, then that of the second.
    pub tasks: [TaskInterference; 2],
}

/// A task with its own skill, with another, and with both.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TaskInterference {
    /// Name of its skill.
    pub skill: String,
    /// Name of its data.
    pub data: String,
    /// Images that were answered: those of the test set, or of the training set where there is none.
    pub images: u64,
    /// Without any skill.
    pub base: Standing,
    /// With its own skill.
    pub own: Standing,
    /// With the other.
    pub other: Standing,
    /// With both.
    pub both: Standing,
    /// Loss with both, if the other skill's effect were a straight line.
    pub both_loss_predicted: f64,
}

/// How well a task's head answers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Standing {
    /// Share of the images that it recognized.
    pub accuracy: f64,
    /// Mean of the negative logarithms of what it gave to the right answers.
    pub loss: f64,
}

/// Measures two packs for the base in the bundle `base`, each on its own data, at the coefficients that they recommend.
///
/// # Errors
/// `Usage` when a pack has no head or a data set no image or other classes; `Mismatch` when a pack is for another base;
/// `Damaged`, `Unsupported` or `Limit` for what cannot be read, `Io`.
pub fn interference(packs: [&[u8]; 2], base: &Path, data: [&Path; 2]) -> Result<Interference> {
    let device = Device::flex();
    let start = Start::from_bundle(base, &device)?;
    let crew = Crew::for_this_machine(usize::MAX);
    let skills = [Skill::read(packs[0], data[0], &start)?, Skill::read(packs[1], data[1], &start)?];
    let task = |own: &Skill<'_>, other: &Skill<'_>| -> Result<TaskInterference> {
        let standing = |own_alpha: f32, other_alpha: f32| {
            let in_force: Vec<(&[u8], f32)> = [(own.bytes, own_alpha), (other.bytes, other_alpha)]
                .into_iter()
                .filter(|(_, alpha)| *alpha != 0.0)
                .collect();
            let network = as_a_device_has_it(&start, base, &in_force)?;
            own.judge(&features(&crew, &network, &own.examples, &device))
        };
        let alone = standing(own.alpha, 0.0)?;
        let [less, more] = [-SHARE, SHARE].map(|share| standing(own.alpha, share * other.alpha));
        let slope = (more?.loss - less?.loss) / f64::from(2.0 * SHARE);
        Ok(TaskInterference {
            skill: own.name.clone(),
            data: own.data.clone(),
            images: own.examples.len() as u64,
            base: standing(0.0, 0.0)?,
            own: alone,
            other: standing(0.0, other.alpha)?,
            both: standing(own.alpha, other.alpha)?,
            both_loss_predicted: alone.loss + slope,
        })
    };
    Ok(Interference { tasks: [task(&skills[0], &skills[1])?, task(&skills[1], &skills[0])?] })
}

/// A pack with its task.
struct Skill<'a> {
    bytes: &'a [u8],
    name: String,
    alpha: f32,
    head: Head,
    data: String,
    examples: Arc<Examples>,
}

impl<'a> Skill<'a> {
    fn read(bytes: &'a [u8], folder: &Path, start: &Start) -> Result<Skill<'a>> {
        let pack = Pack::read(bytes, &Limits::default())
            .map_err(|cause| Error::from_pack(cause, "the pack of a skill cannot be read"))?;
        let name = pack.manifest().name.to_owned();
        let stored = pack.head().ok_or_else(|| {
            Error::usage(format!("pack `{name}` has no head, and nothing answers its task"))
                .with_help("compare its entries alone: leave `--data` out")
        })?;
        let labels: Vec<String> = stored.labels().map(str::to_owned).collect();
        let (weight, bias) = (stored.weight().collect(), stored.bias().collect());
        let head = Head::new(labels.clone(), weight, bias, stored.feature_width as usize)
            .map_err(|cause| Error::from_bundle(cause, format!("read the head of pack `{name}`")))?;
        let within = |error: Error| error.within(format!("data `{}` of skill `{name}`", folder.display()));
        let set = Dataset::open(folder)?.select(&labels).map_err(within)?;
        let split = if set.test.is_empty() { &set.train } else { &set.test };
        let examples = Arc::new(Examples::new(split, &start.preprocessing)?);
        if examples.is_empty() {
            return Err(Error::usage(format!("data `{}` has no image of a class of `{name}`", folder.display()))
                .with_help(format!("its classes are {}", labels.join(", "))));
        }
        Ok(Skill { bytes, name, alpha: pack.manifest().alpha, head, data: folder_name(folder), examples })
    }

    fn judge(&self, features: &[f32]) -> Result<Standing> {
        let labels = &self.examples.labels;
        let logits = self.head.logits(features).map_err(|cause| Error::from_bundle(cause, "judge by a head"))?;
        let rows = logits.chunks_exact(self.head.class_count()).zip(labels);
        let loss = rows.map(|(row, label)| negative_log_likelihood(row, *label as usize)).sum::<f64>();
        Ok(Standing {
            accuracy: accuracy(&self.head, features, labels)?.unwrap_or_default(),
            loss: loss / labels.len() as f64,
        })
    }
}

fn negative_log_likelihood(logits: &[f32], label: usize) -> f64 {
    let highest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let sum: f64 = logits.iter().map(|logit| libm::exp(f64::from(*logit) - highest)).sum();
    highest + libm::log(sum) - f64::from(logits[label])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn handwriting(name: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/handwriting").join(name)
    }

    #[test]
    fn the_loss_is_that_of_the_softmax() {
        assert!((negative_log_likelihood(&[0.0, 0.0], 1) - libm::log(2.0)).abs() < 1e-12);
        assert!((negative_log_likelihood(&[1000.0, 0.0], 1) - 1000.0).abs() < 1e-9);
        assert!(negative_log_likelihood(&[1000.0, 0.0], 0).abs() < 1e-9);
    }

    /// The embedded skills: each is made worse by the other, and the README of the base has what each is worth alone.
    #[test]
    fn two_skills_are_measured_alone_and_together_beside_what_was_predicted() {
        let [korean, sketches] =
            ["skills/korean.tvp", "skills/sketches.tvp"].map(|name| std::fs::read(handwriting(name)).unwrap());
        let data = ["data/omniglot_korean", "data/quickdraw3"].map(handwriting);
        let found = interference([&korean, &sketches], &handwriting(""), [&data[0], &data[1]]).unwrap();
        for (task, (skill, images, alone)) in found.tasks.iter().zip([("korean", 200, 0.940), ("sketches", 600, 0.933)])
        {
            assert_eq!((task.skill.as_str(), task.images), (skill, images));
            assert!((task.own.accuracy - alone).abs() < 0.006, "{task:?}");
            assert!(task.base.loss > task.own.loss && task.other.loss > task.own.loss, "{task:?}");
            assert!(task.both.loss > task.own.loss && task.both.loss < task.other.loss, "{task:?}");
            // Right in direction, and in size to a factor of a few: the network is no straight line.
            let (measured, predicted) = (task.both.loss - task.own.loss, task.both_loss_predicted - task.own.loss);
            assert!(predicted > 0.0 && predicted < 3.0 * measured, "{measured} measured, {predicted} predicted");
        }
        let error = interference([&korean, &sketches], &handwriting(""), [&data[1], &data[0]]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
    }
}
