//! The state of an unfinished run on disk: everything that the next step depends on.
//!
//! One safetensors file, replaced as a whole: the description as JSON in a tensor of bytes, and the numbers by name. There
//! is no state of a random generator, because numbers are drawn by place; and nothing is kept under burn's parameter
//! ids, which no file knows: an optimizer keyed by them finds nothing after a restart, without a word.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use taskvec_bundle::{NamedTensor, StoredDtype, TensorFile};

use super::StepOutcome;
use super::learner::{Learner, Role};
use super::sparse::CalibrationReport;
use crate::error::{Error, Result};
use crate::mask::Candidates;
use crate::optimizer::Moments;
use crate::run_folder::{CHECKPOINT_FOLDER, f32_bytes, f32s, safetensors, write_file};
use crate::train::EpochReport;

/// Raised when a state written before means something else.
const VERSION: u32 = 2;
const STATE_FILE: &str = "state.safetensors";
const ABOUT: &str = "about";

/// What a run is bound to: a state is used for nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// Digest of the recipe.
    pub(crate) recipe: String,
    /// Digest of the data.
    pub(crate) data: String,
    /// Fingerprint of the base; none from scratch.
    pub(crate) base: Option<String>,
    /// Digest of the pack whose mask is taken; none where a mask is found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) mask: Option<String>,
    /// Digest of what other tasks feel, for a penalty on that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) curvature: Option<String>,
}

/// Where the training stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Position {
    /// Steps that were made.
    pub(crate) step: u64,
    /// Finished epochs.
    pub(crate) epochs: Vec<EpochReport>,
    /// Sum of the losses of the images of the epoch at hand.
    pub(crate) loss: f64,
    /// Sum of what was added to them, where something is.
    #[serde(default)]
    pub(crate) penalty: Option<f64>,
    /// Images recognized in it.
    pub(crate) correct: u64,
    /// Images seen in it.
    pub(crate) seen: u64,
}

#[derive(Serialize, Deserialize)]
struct About {
    version: u32,
    identity: Identity,
    calibration: Option<CalibrationReport>,
    position: Option<Position>,
}

/// What is kept of a part.
#[derive(Clone, Copy)]
enum Kind {
    Numbers,
    Mean,
    Square,
}

/// What is written.
pub(crate) struct Saving<'a> {
    /// Whose state it is.
    pub(crate) identity: &'a Identity,
    /// The search for the mask.
    pub(crate) calibration: Option<(&'a Candidates, &'a CalibrationReport)>,
    /// The training.
    pub(crate) training: Option<(&'a Position, &'a [Learner])>,
    /// Whether the entries of the learners were found by training.
    pub(crate) mask_by_training: bool,
}

/// What is read.
#[derive(Debug)]
pub(crate) struct Saved {
    /// The search for the mask.
    pub(crate) calibration: Option<CalibrationReport>,
    /// Where the training stands.
    pub(crate) position: Option<Position>,
    tensors: HashMap<String, Vec<u8>>,
}

impl Identity {
    /// What sets two runs apart, if anything does.
    pub(crate) fn first_difference(&self, other: &Identity) -> Option<&'static str> {
        let differences = [
            ("recipe", self.recipe != other.recipe),
            ("data", self.data != other.data),
            ("base", self.base != other.base),
            ("mask", self.mask != other.mask),
            ("curvature", self.curvature != other.curvature),
        ];
        differences.iter().find(|(_, differs)| *differs).map(|(what, _)| *what)
    }
}

impl Position {
    /// After a step.
    pub(crate) fn count(&mut self, outcome: &StepOutcome) {
        self.step += 1;
        self.loss += outcome.loss * outcome.count as f64;
        if let Some(penalty) = outcome.penalty {
            *self.penalty.get_or_insert(0.0) += penalty * outcome.count as f64;
        }
        self.correct += outcome.correct as u64;
        self.seen += outcome.count as u64;
    }

    /// At the end of an epoch.
    pub(crate) fn end_epoch(&mut self, held_out_accuracy: Option<f64>) -> EpochReport {
        let seen = self.seen.max(1) as f64;
        let report = EpochReport {
            step: self.step,
            loss: self.loss / seen,
            penalty: self.penalty.map(|penalty| penalty / seen),
            accuracy: self.correct as f64 / seen,
            held_out_accuracy,
        };
        (self.loss, self.penalty, self.correct, self.seen) = (0.0, None, 0, 0);
        self.epochs.push(report.clone());
        report
    }
}

impl Saving<'_> {
    /// Replaces the state in the run folder.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn write(&self, run_folder: &Path) -> Result<()> {
        let folder = run_folder.join(CHECKPOINT_FOLDER);
        fs::create_dir_all(&folder).map_err(|cause| Error::io("create", &folder, cause))?;
        let about = About {
            version: VERSION,
            identity: self.identity.clone(),
            calibration: self.calibration.map(|(_, report)| report.clone()),
            position: self.training.map(|(position, _)| position.clone()),
        };
        let about = serde_json::to_vec(&about)
            .map_err(|cause| Error::usage("the state of the run cannot be written as JSON").caused_by(cause))?;
        let mut tensors = vec![(ABOUT.to_owned(), StoredDtype::U8, about)];
        let mut numbers = |name: String, values: &[f32]| tensors.push((name, StoredDtype::F32, f32_bytes(values)));
        for learner in self.training.map_or(&[][..], |(_, learners)| learners) {
            for part in &learner.parts {
                let name = |kind: Kind| kind.of(part.role, &learner.name);
                numbers(name(Kind::Numbers), &part.values);
                numbers(name(Kind::Mean), &part.moments.mean);
                numbers(name(Kind::Square), &part.moments.square);
            }
        }
        for learner in self.training.filter(|_| self.mask_by_training).map_or(&[][..], |(_, learners)| learners) {
            let mut chosen = vec![0; learner.element_count()];
            learner.entries.for_each(learner.element_count(), |index| chosen[index] = 1);
            tensors.push((format!("chosen/{}", learner.name), StoredDtype::U8, chosen));
        }
        for tensor in self.calibration.map_or(&[][..], |(candidates, _)| candidates.tensors()) {
            let open = tensor.open.iter().map(|open| u8::from(*open)).collect();
            tensors.push((format!("open/{}", tensor.name), StoredDtype::U8, open));
        }
        let shapes: Vec<[u64; 1]> =
            tensors.iter().map(|(_, dtype, bytes)| [bytes.len() as u64 * 8 / dtype.size_bits()]).collect();
        let named = tensors.iter().zip(&shapes);
        let named: Vec<NamedTensor<'_>> =
            named.map(|((name, dtype, bytes), shape)| NamedTensor { name, dtype: *dtype, shape, bytes }).collect();
        write_file(&folder.join(STATE_FILE), &safetensors(&named)?)
    }
}

impl Saved {
    /// The state in the run folder, if there is one.
    ///
    /// # Errors
    /// `Io`, `Damaged`; `Mismatch` when it is another run's.
    pub(crate) fn read(run_folder: &Path, identity: &Identity) -> Result<Option<Saved>> {
        let path = run_folder.join(CHECKPOINT_FOLDER).join(STATE_FILE);
        if !path.exists() {
            return Ok(None);
        }
        let bytes = fs::read(&path).map_err(|cause| Error::io("read", &path, cause))?;
        let explain = |cause| Error::from_bundle(cause, format!("read checkpoint `{}`", path.display()));
        let file = TensorFile::parse(&bytes).map_err(explain)?;
        let mut tensors = HashMap::new();
        for tensor in file.tensors() {
            tensors.insert(tensor.name().to_owned(), tensor.bytes(&bytes).map_err(explain)?.to_vec());
        }
        let about = tensors.remove(ABOUT).and_then(|about| serde_json::from_slice::<About>(&about).ok());
        let about = about.filter(|about| about.version == VERSION).ok_or_else(|| {
            Error::damaged(format!("checkpoint `{}` is not one that this version writes", path.display()))
                .with_help(format!("remove `{}` to start over", run_folder.display()))
        })?;
        check_identity(&path, run_folder, identity, &about.identity)?;
        Ok(Some(Saved { calibration: about.calibration, position: about.position, tensors }))
    }

    /// Which elements of a tensor may still be chosen.
    pub(crate) fn open(&self, name: &str) -> Option<Vec<bool>> {
        self.flags(&format!("open/{name}"))
    }

    /// Which elements of a tensor were chosen by training; none of a tensor that is not there.
    pub(crate) fn chosen(&self, name: &str) -> Option<Vec<bool>> {
        self.flags(&format!("chosen/{name}"))
    }

    fn flags(&self, name: &str) -> Option<Vec<bool>> {
        self.tensors.get(name).map(|flags| flags.iter().map(|flag| *flag != 0).collect())
    }

    /// Numbers and moments of a part of a tensor that learns.
    pub(crate) fn part(&self, role: Role, name: &str) -> Option<(Vec<f32>, Moments)> {
        let numbers = |kind: Kind| self.tensors.get(&kind.of(role, name)).map(|bytes| f32s(bytes));
        let moments = Moments { mean: numbers(Kind::Mean)?, square: numbers(Kind::Square)? };
        Some((numbers(Kind::Numbers)?, moments))
    }
}

impl Kind {
    fn of(self, role: Role, name: &str) -> String {
        let kind = match self {
            Kind::Numbers => "numbers",
            Kind::Mean => "mean",
            Kind::Square => "square",
        };
        format!("{kind}/{}/{name}", role.name())
    }
}

fn check_identity(path: &Path, run_folder: &Path, now: &Identity, then: &Identity) -> Result<()> {
    match now.first_difference(then) {
        None => Ok(()),
        Some(what) => {
            Err(Error::mismatch(format!("checkpoint `{}` belongs to a run with another {what}", path.display()))
                .with_help(format!(
                    "name another folder for this run, or remove `{}` to start over",
                    run_folder.display()
                )))
        }
    }
}

/// Removes the state in the run folder.
///
/// # Errors
/// `Io`.
pub(crate) fn remove(run_folder: &Path) -> Result<()> {
    let folder: PathBuf = run_folder.join(CHECKPOINT_FOLDER);
    match fs::remove_dir_all(&folder) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", &folder, cause)),
        _ => Ok(()),
    }
}
