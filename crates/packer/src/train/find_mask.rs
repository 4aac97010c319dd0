//! Which entries learn: known from the names, measured on the base, taken from elsewhere, or found by training first.

use std::sync::Arc;

use super::{Journey, MovedIn, Phase, Progress, SharedMask};
use crate::error::{Error, Result};
use crate::examples::Examples;
use crate::finetune::checkpoint::Saved;
use crate::finetune::ranked::{self, FinishedRun};
use crate::finetune::shared_mask::MaskSource;
use crate::finetune::sparse::{Calibration, Ground};
use crate::finetune::{HostHead, Training, attention_only, dense, lora};
use crate::mask::{Entries, Mask, TensorMask};
use crate::recipe::{Method, Recipe};

/// Images that a mask is calibrated on, at most, unless the recipe says: as in the published code.
pub const CALIBRATION_IMAGES_MAX: usize = 5000;

/// Where a mask comes from that is neither known nor measured.
pub(super) enum MaskFrom {
    /// The pack whose mask is taken.
    Pack(MaskSource),
    /// The run in which weights moved.
    Run(Box<FinishedRun>),
}

/// The mask, and how it was found.
pub(super) struct Found {
    pub(super) mask: Mask,
    pub(super) calibration: Option<Calibration>,
    pub(super) shared: Option<SharedMask>,
    pub(super) moved_in: Option<MovedIn>,
}

impl Found {
    /// A mask that nothing had to be done for.
    fn known(mask: Mask) -> Found {
        Found { mask, calibration: None, shared: None, moved_in: None }
    }
}

impl MaskFrom {
    /// What the recipe names, for the methods that take a mask from elsewhere.
    pub(super) fn open(recipe: &Recipe, start: &super::Start) -> Result<Option<MaskFrom>> {
        let Some(path) = recipe.mask_path() else { return Ok(None) };
        let base = start.fingerprint();
        Ok(Some(match recipe.method {
            Method::LotteryMask => {
                MaskFrom::Run(Box::new(FinishedRun::open(&path, base.map(|base| base.to_string()).as_deref())?))
            }
            _ => MaskFrom::Pack(MaskSource::open(&path, base)?),
        }))
    }

    /// What identifies it.
    pub(super) fn digest(&self) -> String {
        match self {
            MaskFrom::Pack(source) => source.shared.pack.clone(),
            MaskFrom::Run(run) => run.moved_in().tuned,
        }
    }
}

impl Journey<'_> {
    /// The mask of the recipe's method; of one that looks for it by training the tensors that learn until then. `None` when stopped.
    pub(super) fn find_mask(
        &self,
        head: &HostHead,
        saved: Option<&Saved>,
        progress: &mut dyn Progress,
    ) -> Result<Option<Found>> {
        let editable = self.start.editable();
        let shapes: Vec<_> = editable.iter().map(|tensor| (tensor.name.clone(), tensor.shape.clone())).collect();
        let (method, recipe) = (self.recipe.method, &self.recipe.mask);
        let rule = recipe.rule.unwrap_or_default();
        let known = |mask| Ok(Some(Found::known(mask)));
        match (method, &self.mask_from) {
            (_, Some(MaskFrom::Pack(source))) => {
                let shared = Some(source.shared.clone());
                return Ok(Some(Found { shared, ..Found::known(source.mask(&shapes)?) }));
            }
            (_, Some(MaskFrom::Run(run))) => {
                let mask = ranked::mask(&editable, &run.movements(&editable)?, recipe, rule)?;
                return Ok(Some(Found { moved_in: Some(run.moved_in()), ..Found::known(mask) }));
            }
            (Method::Dense, None) => return known(dense::mask(&shapes)),
            (Method::AttentionOnly, None) => return known(attention_only::mask(&shapes)?),
            (Method::Lora, None) => {
                return known(lora::mask(&shapes, &self.recipe.lora.clone().unwrap_or_default())?);
            }
            (Method::MagnitudeMask, None) => {
                return known(ranked::mask(&editable, &ranked::magnitudes(&editable), recipe, rule)?);
            }
            (Method::LotteryMask | Method::DiffPruning | Method::Taps, None) => {
                return known(ranked::before_it_is_found(&shapes, recipe)?);
            }
            // The recipe's check has seen to it that the last one has a source.
            (Method::Talos | Method::MostSensitive | Method::RandomMask | Method::SharedMask, None) => {}
        }
        let ground = Ground {
            network: &self.start.network,
            tensors: &editable,
            head: &head.to_device(&self.device),
            examples: &self.calibration_images(),
            recipe,
            method,
            seed: self.recipe.seed,
            shards: self.recipe.shards as usize,
        };
        let mut calibration = match saved.and_then(|saved| saved.calibration.clone().map(|report| (report, saved))) {
            Some((report, saved)) => Calibration::resume(&ground, report, |name| saved.open(name))?,
            None => Calibration::begin(&ground)?,
        };
        let mut found = Found::known(calibration.mask());
        let rounds = calibration.rounds_done() + calibration.rounds_left(&ground);
        while calibration.rounds_left(&ground) > 0 {
            let round = calibration.rounds_done() + 1;
            progress.phase(Phase::Calibrating { round, rounds }, ground.examples.len() as u64);
            let mut goes_on = |done: usize| {
                progress.advance(done as u64);
                !self.is_stopped()
            };
            if !calibration.round(self.crew, &ground, &mut goes_on)? {
                return Ok(None);
            }
            found.calibration = Some(calibration.clone());
            self.save(&found, None, &self.stage(0))?;
        }
        found.mask = calibration.mask();
        found.calibration = Some(calibration);
        Ok(Some(found))
    }

    /// The mask that the first part of the training has found.
    pub(super) fn mask_by_training(&self, training: &Training) -> Result<Mask> {
        let editable = self.start.editable();
        let now: Vec<(&str, Vec<f32>)> = (training.learners().iter())
            .map(|learner| (learner.name.as_str(), learner.in_full().into_owned()))
            .collect();
        let moved = ranked::movements(&editable, |name| {
            now.iter().find(|(learner, _)| *learner == name).map(|(_, values)| values.as_slice())
        });
        ranked::mask(&editable, &moved, &self.recipe.mask, self.recipe.mask.rule.unwrap_or_default())
    }

    /// The mask that an earlier call found by training.
    ///
    /// # Errors
    /// `Mismatch` when it is another base's.
    pub(super) fn mask_of(&self, saved: &Saved) -> Result<Mask> {
        let of = |tensor: crate::finetune::leaves::HostTensor| {
            let flags = saved.chosen(&tensor.name);
            if flags.as_ref().is_some_and(|flags| flags.len() != tensor.values.len()) {
                let clause = format!("the checkpoint has no mask that fits tensor `{}`", tensor.name);
                return Err(Error::mismatch(clause));
            }
            let entries = flags.map_or(Entries::None, |flags| Entries::from_flags(&flags));
            Ok(TensorMask { name: tensor.name, shape: tensor.shape, entries })
        };
        Ok(Mask { tensors: self.start.editable().into_iter().map(of).collect::<Result<_>>()? })
    }

    /// The images held out, or the training images where none are; no more than the recipe says, or [`CALIBRATION_IMAGES_MAX`].
    fn calibration_images(&self) -> Arc<Examples> {
        let images = if self.task.held_out.is_empty() { &self.task.train } else { &self.task.held_out };
        let most = self.recipe.mask.images.map_or(CALIBRATION_IMAGES_MAX, |images| images as usize);
        if images.len() <= most {
            return Arc::clone(images);
        }
        let mut fewer = (**images).clone();
        fewer.truncate(most);
        Arc::new(fewer)
    }
}
