//! A method with one seed: its runs, opened when they are asked for, and what was measured of it, kept in files.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use taskvec_pack::Digest;

use super::addition::Learned;
use super::answers::{Question, accuracies};
use super::ground::{Ground, Shelf};
use super::runs::Trained;
use super::suite::Suite;
use super::vectors::Vector;
use crate::error::{Error, Result};
use crate::run_folder::{TUNED_FILE, read_head, read_json, write_json};

/// Sets what was measured apart from all other digests, and is raised when it is measured in another way.
const DOMAIN: &[u8] = b"taskvec evaluation v2\0";

/// A method with one seed.
pub(crate) struct Row<'a> {
    pub(crate) suite: &'a Suite,
    pub(crate) ground: &'a Ground<'a>,
    pub(crate) shelf: &'a mut Shelf,
    pub(crate) name: &'a str,
    pub(crate) seed: u64,
    /// Whether its vectors are judged linearized, however they were learned.
    pub(crate) is_linearized: bool,
    /// Its run of each task.
    pub(crate) runs: HashMap<&'a str, &'a Trained>,
    /// Where files are kept.
    pub(crate) folder: &'a Path,
    /// Tasks that were opened.
    pub(crate) opened: HashMap<String, Arc<Learned>>,
}

/// Something that was measured, and what it depends on.
#[derive(Serialize, Deserialize)]
struct Kept<T> {
    depends_on: String,
    measured: T,
}

impl<'a> Row<'a> {
    /// The run of `task`.
    pub(crate) fn trained(&self, task: &str) -> Result<&'a Trained> {
        let missing = || Error::usage(format!("method `{}` has no run of task `{task}`", self.name));
        self.runs.get(task).copied().ok_or_else(missing)
    }

    /// `task` as this method has learned it.
    ///
    /// # Errors
    /// Those of the run's files and of the data.
    pub(crate) fn learned(&mut self, task: &str) -> Result<Arc<Learned>> {
        if let Some(learned) = self.opened.get(task) {
            return Ok(Arc::clone(learned));
        }
        let (trained, ground) = (self.trained(task)?, self.ground);
        let images = self.shelf.images(ground, &trained.recipe, self.suite.search_images)?;
        let head = Arc::new(read_head(&trained.folder)?);
        let is_linearized = self.is_linearized || trained.recipe.linearized;
        let vector = Arc::new(Vector::between(&ground.start, &trained.folder.join(TUNED_FILE), is_linearized)?);
        let question = |sum, examples| Question { sum, head: Arc::clone(&head), examples: Arc::clone(examples) };
        let own = || vec![(1.0, Arc::clone(&vector))];
        let questions =
            [question(own(), &images.search), question(own(), &images.test), question(vec![], &images.test)];
        let found = accuracies(ground, &questions)?;
        let learned = Arc::new(Learned { vector, head, images, single: [found[0], found[1]], base: found[2] });
        self.opened.insert(task.to_owned(), Arc::clone(&learned));
        Ok(learned)
    }

    /// What `measure` finds, or what it has found before under the same `settings` of the same runs of `tasks`. `what` names its
    /// file.
    pub(crate) fn kept<T: Serialize + DeserializeOwned>(
        &mut self,
        what: &str,
        settings: &str,
        tasks: &[&str],
        measure: impl FnOnce(&mut Row<'_>) -> Result<T>,
    ) -> Result<T> {
        let mut parts = vec![settings.to_owned(), self.ground.identity()];
        for task in tasks {
            let trained = self.trained(task)?;
            let run = &trained.run;
            parts.extend([run.recipe.clone(), run.data.clone(), run.tuned.clone(), format!("{:?}", trained.packed)]);
        }
        let file = self.folder.join(format!("{}-seed-{}{what}.json", self.name, self.seed));
        kept(&file, &parts, || measure(self))
    }
}

/// What `measure` finds, or what the file at `file` says that it has found when `parts` were the same.
pub(crate) fn kept<T: Serialize + DeserializeOwned>(
    file: &Path,
    parts: &[String],
    measure: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let mut hash = Sha256::new();
    hash.update(DOMAIN);
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let depends_on = Digest(hash.finalize().into()).to_string();
    // What cannot be read, of an earlier version for instance, is measured again.
    if let Some(kept) = read_json::<Kept<T>>(file).ok().filter(|kept| kept.depends_on == depends_on) {
        return Ok(kept.measured);
    }
    let kept = Kept { depends_on, measured: measure()? };
    write_json(file, &kept)?;
    Ok(kept.measured)
}
