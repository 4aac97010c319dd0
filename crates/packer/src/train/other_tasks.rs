//! What other tasks feel of a change, for a penalty on that: measured in their data, or taken from an earlier run.

use std::fs;
use std::path::Path;

use sha2::{Digest as _, Sha256};
use taskvec_pack::Digest;

use super::{Journey, Phase, Progress, Start};
use crate::curvature::{Curvature, OtherTask};
use crate::error::{Error, Result};
use crate::evaluate::{class_means_head, features};
use crate::recipe::Recipe;
use crate::run_folder::{CURVATURE_FILE, write_file};
use crate::task::Task;

/// Sets digests of other tasks' data apart from all other digests of this project.
const DOMAIN: &[u8] = b"taskvec other tasks v1\0";

/// Where the curvature of other tasks comes from.
pub(super) enum OtherTasks {
    /// A file that an earlier run has left.
    Measured(Vec<u8>),
    /// Their data, each with its name.
    Data(Vec<(String, Task)>),
}

impl OtherTasks {
    /// What the recipe names; none where there is no penalty on what other tasks feel.
    pub(super) fn open(recipe: &Recipe, start: &Start) -> Result<Option<OtherTasks>> {
        if let Some(path) = recipe.curvature_path() {
            let bytes = fs::read(&path).map_err(|cause| Error::io("read", &path, cause))?;
            return Ok(Some(OtherTasks::Measured(bytes)));
        }
        if recipe.curvature().is_none() {
            return Ok(None);
        }
        let open = |(name, folder): (String, std::path::PathBuf)| {
            let mut other = recipe.clone();
            (other.data, other.classes, other.quarter_turns, other.held_out) = (vec![folder], Vec::new(), false, 0.0);
            // The folder is whole already, and in whatever form it is.
            (other.folder, other.form) = (std::path::PathBuf::new(), None);
            Ok((name, Task::open(&other, &start.preprocessing)?))
        };
        let tasks = recipe.curvature_names().into_iter().zip(recipe.curvature_paths()).map(open);
        Ok(Some(OtherTasks::Data(tasks.collect::<Result<_>>()?)))
    }

    /// What identifies it.
    pub(super) fn digest(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(DOMAIN);
        match self {
            OtherTasks::Measured(bytes) => hash.update(bytes),
            OtherTasks::Data(tasks) => tasks.iter().for_each(|(_, task)| hash.update(task.digest.0)),
        }
        Digest(hash.finalize().into()).to_string()
    }
}

impl Journey<'_> {
    /// The curvature of other tasks, in the run folder as well; an empty one where there is no penalty on it. `None` when stopped.
    pub(super) fn curvature(&self, progress: &mut dyn Progress) -> Result<Option<Curvature>> {
        let (Some(others), Some(recipe)) = (&self.others, self.recipe.curvature()) else {
            return Ok(Some(Curvature::default()));
        };
        let (editable, base) = (self.start.editable(), self.identity.base.clone().unwrap_or_default());
        let tasks = match others {
            OtherTasks::Measured(bytes) => {
                let path = self.recipe.curvature_path().unwrap_or_else(|| Path::new(CURVATURE_FILE).to_owned());
                return Curvature::parse(bytes, &path, &base, &editable).map(Some);
            }
            OtherTasks::Data(tasks) => tasks,
        };
        progress.phase(Phase::MeasuringCurvature, tasks.len() as u64);
        let mut measured = Vec::new();
        for (name, task) in tasks {
            let features = features(self.crew, &self.start.network, &task.train, &self.device);
            let (width, temperature) = (self.start.feature_width, self.recipe.head.temperature);
            let head = class_means_head(&features, width, &task.train.labels, &task.classes, temperature)?;
            let other = OtherTask {
                name,
                network: &self.start.network,
                tensors: &editable,
                head: &super::host_head(&head, width).to_device(&self.device),
                examples: &task.train,
                images: recipe.images as usize,
                draws: recipe.draws,
                seed: self.recipe.seed,
                shards: self.recipe.shards as usize,
            };
            let Some(curvature) = Curvature::measure(self.crew, &other, &|| !self.is_stopped()) else {
                return Ok(None);
            };
            measured.push(curvature);
            progress.advance(measured.len() as u64);
        }
        let curvature = Curvature::merged(&measured);
        write_file(&self.out_dir.join(CURVATURE_FILE), &curvature.to_bytes(&base)?)?;
        Ok(Some(curvature))
    }
}
