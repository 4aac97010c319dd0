//! What all of an evaluation stands on: the base, opened once, and images prepared for it.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use burn::tensor::Device;
use sha2::{Digest as _, Sha256};
use taskvec_bundle::{BASE_FILE, Head, MODEL_FILE};
use taskvec_dataset::{Dataset, Split};
use taskvec_pack::Digest;

use super::answers::{Question, accuracies};
use super::suite::{Control, Suite};
use super::{class_means_head, features};
use crate::crew::Crew;
use crate::error::{Error, Result};
use crate::examples::{Examples, spread};
use crate::recipe::{HeadRecipe, Recipe};
use crate::task::Task;
use crate::train::Start;

/// Images of the control that choose, and as many that judge, at most.
const CONTROL_IMAGES_MAX: usize = 500;

/// Base, cores and control.
pub(crate) struct Ground<'a> {
    /// Looked at before a network is asked.
    pub(crate) stop: &'a AtomicBool,
    pub(crate) crew: Crew,
    pub(crate) device: Device,
    pub(crate) start: Start,
    /// Digest of the bundle's description and of its file of weights, heads and all: a fingerprint covers the weights alone.
    pub(crate) base: String,
    pub(crate) control: Option<ControlGround>,
}

/// What must not suffer when a task is negated.
pub(crate) struct ControlGround {
    pub(crate) head: Arc<Head>,
    /// Images that choose coefficients.
    pub(crate) search: Arc<Examples>,
    /// Images that judge.
    pub(crate) test: Arc<Examples>,
    /// The base's accuracy on both.
    pub(crate) of_base: [f64; 2],
    /// What the suite says of it, and the digest of its data.
    identity: String,
}

/// The images of a task that no run has learned from.
#[derive(Clone)]
pub(crate) struct Images {
    /// Held out: those that choose coefficients.
    pub(crate) search: Arc<Examples>,
    /// Those that judge.
    pub(crate) test: Arc<Examples>,
    /// How many the runs learn from.
    pub(crate) train_count: usize,
    /// Digest of the data, before the split.
    pub(crate) digest: Digest,
}

/// Images by what they depend on, so that rows of one seed share them.
#[derive(Default)]
pub(crate) struct Shelf(HashMap<String, Images>);

impl<'a> Ground<'a> {
    /// The base in the bundle at `base`, and the control of `suite`.
    pub(crate) fn open(suite: &Suite, base: &Path, stop: &'a AtomicBool) -> Result<Ground<'a>> {
        let (crew, device) = (Crew::for_this_machine(usize::MAX), Device::flex());
        let start = Start::from_bundle(base, &device)?;
        let mut hash = Sha256::new();
        for name in [BASE_FILE, MODEL_FILE] {
            let path = base.join(name);
            hash.update(fs::read(&path).map_err(|cause| Error::io("read", &path, cause))?);
        }
        let base = Digest(hash.finalize().into()).to_string();
        let mut ground = Ground { stop, crew, device, start, base, control: None };
        ground.control = suite.control.as_ref().map(|control| ground.control(suite, control)).transpose()?;
        Ok(ground)
    }

    /// What identifies base and control.
    pub(crate) fn identity(&self) -> String {
        let control = self.control.as_ref().map(|control| control.identity.as_str()).unwrap_or_default();
        format!("{} {control}", self.base)
    }

    fn control(&self, suite: &Suite, control: &Control) -> Result<ControlGround> {
        let opened = control.data.iter().map(|folder| Dataset::open(&suite.data_path(folder)));
        let set = Dataset::join(opened.collect::<Result<Vec<_>>>()?)?.select(&control.classes)?;
        let set = if control.quarter_turns { set.with_quarter_turns() } else { set };
        let settings = serde_json::to_string(control).unwrap_or_default();
        let identity = format!("{settings} {}", set.digest());
        let (search, test) = halves(&set.test);
        if search.is_empty() || test.is_empty() {
            return Err(Error::usage(format!(
                "control `{}` has {} test images, expected two of a class",
                set.name,
                set.test.len()
            ))
            .with_help("half of them choose coefficients, the other half judges"));
        }
        let examples = |split: &Split, most| {
            Ok::<_, Error>(Arc::new(spread(&Examples::new(split, &self.start.preprocessing)?, most)))
        };
        let head = match &control.head {
            Some(name) => self.own_head(name, &set.classes)?,
            None => {
                let train = examples(&set.train, usize::MAX)?;
                let found = features(&self.crew, &self.start.network, &train, &self.device);
                let temperature = HeadRecipe::default().temperature;
                class_means_head(&found, self.start.feature_width, &train.labels, &set.classes, temperature)?
            }
        };
        let (head, search, test) =
            (Arc::new(head), examples(&search, CONTROL_IMAGES_MAX)?, examples(&test, CONTROL_IMAGES_MAX)?);
        let question = |examples| Question { sum: Vec::new(), head: Arc::clone(&head), examples: Arc::clone(examples) };
        let of_base = accuracies(self, &[question(&search), question(&test)])?;
        Ok(ControlGround { of_base: [of_base[0], of_base[1]], head, search, test, identity })
    }

    /// The head called `name` of the base, if its classes are those of the control.
    fn own_head(&self, name: &str, classes: &[String]) -> Result<Head> {
        let head = self.start.own_head(name)?;
        if head.labels() == classes {
            return Ok(head);
        }
        let [of_head, of_data] =
            [head.labels(), classes].map(|labels| format!("{} classes from `{}`", labels.len(), labels[0]));
        Err(Error::mismatch(format!("head `{name}` of the base knows {of_head}, the control has {of_data}")).with_help(
            "name the control's data as the base's recipe names it, in its order; or leave `control.head` out",
        ))
    }
}

impl Shelf {
    /// The images of `recipe`'s task.
    ///
    /// # Errors
    /// `Usage` when there is none to choose or to judge by; those of the data.
    pub(crate) fn images(&mut self, ground: &Ground<'_>, recipe: &Recipe, search_max: usize) -> Result<Images> {
        let key = format!(
            "{:?} {:?} {:?} {} {} {}",
            recipe.data_paths(),
            recipe.form,
            recipe.classes,
            recipe.quarter_turns,
            recipe.seed,
            recipe.held_out
        );
        if let Some(images) = self.0.get(&key) {
            return Ok(images.clone());
        }
        let task = Task::open(recipe, &ground.start.preprocessing)?;
        for (what, examples) in [("held-out", &task.held_out), ("test", &task.test)] {
            if examples.is_empty() {
                let clause = format!("`{}` has no {what} image", recipe.name);
                return Err(Error::usage(clause)
                    .with_help("coefficients are chosen on held-out images and judged on test images"));
            }
        }
        let search = Arc::new(spread(&task.held_out, search_max));
        let images = Images { search, test: task.test, train_count: task.train.len(), digest: task.digest };
        self.0.insert(key, images.clone());
        Ok(images)
    }
}

/// Every other image of each class, from the first on, and the others.
fn halves(split: &Split) -> (Split, Split) {
    let mut seen: HashMap<u32, usize> = HashMap::new();
    let (mut first, mut second) = (Split::default(), Split::default());
    for (image, &label) in split.images.iter().zip(&split.labels) {
        let count = seen.entry(label).or_default();
        if count.is_multiple_of(2) { &mut first } else { &mut second }.push(image.clone(), label);
        *count += 1;
    }
    (first, second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_image_of_a_control_chooses_and_judges() {
        let image = |gray: u8| taskvec_bundle::Image { width: 1, height: 1, channels: 1, data: vec![gray] };
        let split = Split { images: (0..7).map(image).collect(), labels: vec![0, 0, 1, 0, 1, 0, 0] };
        let (search, test) = halves(&split);
        assert_eq!((search.labels, test.labels), (vec![0, 1, 0, 0], vec![0, 1, 0]));
        assert!(search.images.iter().all(|image| !test.images.contains(image)));
    }
}
