//! Sparse fine-tuning: finding the mask (TaLoS; Iurada et al., ICLR 2025, section 4.2 and the published code).
//!
//! In each of R rounds the sensitivity is measured anew and the share `density^(r/R)` of the maskable parameters is
//! left; what was closed never comes back. While a round measures, the weights closed by the rounds before it are
//! shrunk to a tenth (the **soft mask**), not to zero; training later starts from the whole base again.
//!
//! Where we differ from the published code, on purpose: the count is exact also with ties; class token, position
//! embedding and key biases stay out (`mask/candidates.rs`); no augmentation during calibration; and **dead weights** are not
//! chosen. A weight is dead when nothing arrives at it: a score of exactly zero, or one so small that its root is lost in
//! the rounding of the average gradient ([`DEAD_RATIO`]; a unit that a GELU has shut leaves 1e-38 and not zero). A tensor
//! of dead weights only is never used by the network, leaves the count and is named in the report. Single ones are left
//! out while there are few; when there are more than [`DEAD_SHARE_MAX`] of all that could be chosen, the data is too little to tell
//! dead weights from quiet ones (a reproduction of the method fell to chance that way) and the run is refused. A network with ReLUs
//! has units that are shut for good (4 % of the weights of a public ResNet-20, whether 10 images are looked at or 410), so there
//! the limit is [`SHUT_SHARE_MAX`]. And there the soft mask is left out: its statistics stay as they
//! are, so shrunk weights shut whole layers (after one round a quarter of ResNet-20 is dead, with 0.1), and scores would be of
//! another network.

use std::collections::HashMap;
use std::sync::Arc;

use burn::tensor::TensorData;
use serde::{Deserialize, Serialize};
use taskvec_networks::Network;

use super::leaves::{HostTensor, replaced};
use super::shards::DeviceHead;
use crate::crew::Crew;
use crate::error::{Error, Result};
use crate::examples::Examples;
use crate::mask::{Candidates, Mask, Ranking};
use crate::recipe::{MaskRecipe, Method};
use crate::sensitivity::{Probe, measure};

/// Dead weights that a mask may leave out, as a share of the maskable parameters, before it is refused: a hundredth of the usual
/// mask of a tenth.
pub const DEAD_SHARE_MAX: f64 = 0.001;

/// The same for a network with ReLUs.
pub const SHUT_SHARE_MAX: f64 = 0.1;

/// Below this share of the mean score a weight is dead: the square of half a unit in the last place of an f32.
pub const DEAD_RATIO: f64 = 1.0 / (1u64 << 48) as f64;

/// How far the search for a mask has come.
#[derive(Clone, Debug)]
pub(crate) struct Calibration {
    /// What may still be chosen.
    pub(crate) candidates: Candidates,
    /// What is known so far.
    pub(crate) report: CalibrationReport,
}

/// What the search for a mask found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CalibrationReport {
    /// Parameters that could have been chosen: the density is a share of these.
    pub maskable: u64,
    /// Tensors that no image ever reached.
    pub untouched: Vec<String>,
    /// One for each finished round.
    pub rounds: Vec<RoundReport>,
}

/// One round of the calibration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoundReport {
    /// Parameters left after it.
    pub kept: u64,
    /// Parameters whose score was exactly zero, without the untouched tensors.
    pub zero_scores: u64,
    /// Parameters that are dead, the former included.
    pub dead: u64,
    /// Smallest score of those that were left.
    pub lowest: f64,
    /// Largest score of those that were left.
    pub highest: f64,
}

/// What the rounds work on.
pub(crate) struct Ground<'a> {
    /// The base, plain.
    pub(crate) network: &'a Network,
    /// The tensors of the base that packs may edit.
    pub(crate) tensors: &'a [HostTensor],
    /// The task's head over the base's features.
    pub(crate) head: &'a DeviceHead,
    /// Images to measure on.
    pub(crate) examples: &'a Arc<Examples>,
    /// The recipe's settings.
    pub(crate) recipe: &'a MaskRecipe,
    /// Which scores learn.
    pub(crate) method: Method,
    /// The recipe's seed.
    pub(crate) seed: u64,
    /// Runs that the images are cut into.
    pub(crate) shards: usize,
}

impl Calibration {
    /// Nothing chosen yet.
    ///
    /// # Errors
    /// `Usage` when the recipe's patterns leave nothing.
    pub(crate) fn begin(ground: &Ground<'_>) -> Result<Calibration> {
        let candidates = ground.candidates()?;
        let report = CalibrationReport { maskable: candidates.count(), ..CalibrationReport::default() };
        Ok(Calibration { candidates, report })
    }

    /// Where an earlier call stopped: its report, and for each tensor which elements were open.
    ///
    /// # Errors
    /// `Mismatch` when the state is another base's.
    pub(crate) fn resume(
        ground: &Ground<'_>,
        report: CalibrationReport,
        open: impl Fn(&str) -> Option<Vec<bool>>,
    ) -> Result<Calibration> {
        let mut candidates = ground.candidates()?;
        candidates.restore(open)?;
        Ok(Calibration { candidates, report })
    }

    /// Rounds that are still to be done. A random mask needs no scores and one round.
    pub(crate) fn rounds_left(&self, ground: &Ground<'_>) -> u32 {
        ground.rounds().saturating_sub(self.rounds_done())
    }

    /// Rounds that are done.
    pub(crate) fn rounds_done(&self) -> u32 {
        u32::try_from(self.report.rounds.len()).unwrap_or(u32::MAX)
    }

    /// One round. `Ok(false)` when `goes_on` said no, which is told how many images are done; nothing has changed then.
    ///
    /// # Errors
    /// `Usage` for dead weights, `Damaged` when the network computes no numbers.
    pub(crate) fn round(
        &mut self,
        crew: &Crew,
        ground: &Ground<'_>,
        goes_on: &mut dyn FnMut(usize) -> bool,
    ) -> Result<bool> {
        let share = f64::from(self.rounds_done() + 1) / f64::from(ground.rounds());
        if ground.method == Method::RandomMask {
            self.narrow(ground, Ranking::Random(ground.seed), share)?;
            let kept = self.candidates.count();
            let report = RoundReport { kept, zero_scores: 0, dead: 0, lowest: 0.0, highest: 0.0 };
            self.report.rounds.push(report);
            return Ok(true);
        }
        let Some(mut scores) = self.scores(crew, ground, goes_on)? else { return Ok(false) };
        check_finite(&self.candidates, &scores)?;
        let exact_zeros = self.clear_dead(&mut scores);
        if self.report.rounds.is_empty() {
            self.close_untouched(&scores)?;
        }
        let (mut dead, mut zero_scores) = (0, 0);
        self.each_open(&scores, |score| dead += u64::from(score == 0.0));
        self.each_open(&exact_zeros, |is_zero| zero_scores += u64::from(is_zero));
        let mut extremes = (f64::INFINITY, 0.0f64);
        let ranking = if ground.method == Method::MostSensitive {
            Ranking::Most(&scores)
        } else {
            self.close_dead(ground, &scores)?;
            Ranking::Least(&scores)
        };
        self.narrow(ground, ranking, share)?;
        self.each_open(&scores, |score| extremes = (extremes.0.min(score), extremes.1.max(score)));
        let kept = self.candidates.count();
        self.report.rounds.push(RoundReport { kept, zero_scores, dead, lowest: extremes.0, highest: extremes.1 });
        Ok(true)
    }

    /// Leaves what is left when this share of the rounds is done.
    fn narrow(&mut self, ground: &Ground<'_>, ranking: Ranking<'_>, share_of_rounds: f64) -> Result<()> {
        let mut first = ground.candidates()?;
        let untouched: Vec<bool> =
            first.tensors().iter().map(|tensor| self.report.untouched.contains(&tensor.name)).collect();
        first.close(|tensor, _| untouched[tensor]);
        let share = libm::pow(ground.recipe.density, share_of_rounds);
        self.candidates.narrow_within(ground.recipe.scope, ranking, ground.recipe.granule(), &first, share);
        Ok(())
    }

    /// The mask, when all rounds are done.
    pub(crate) fn mask(&self) -> Mask {
        self.candidates.to_mask()
    }

    /// Scores for every element of every editable tensor, on the softly masked base.
    fn scores(
        &self,
        crew: &Crew,
        ground: &Ground<'_>,
        goes_on: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Option<Vec<Vec<f64>>>> {
        let mut places = HashMap::new();
        for (place, (tensor, candidates)) in ground.tensors.iter().zip(self.candidates.tensors()).enumerate() {
            if candidates.open.contains(&true) {
                places.insert(tensor.id, place);
            }
        }
        let probe = Probe {
            network: self.softly_masked(ground)?,
            head: ground.head.clone(),
            places: Arc::new(places),
            score: ground.recipe.score,
            labels: ground.recipe.labels,
            draws: ground.recipe.draws,
            seed: ground.seed,
            round: self.rounds_done(),
        };
        let lengths: Vec<usize> = ground.tensors.iter().map(|tensor| tensor.values.len()).collect();
        Ok(measure(crew, &probe, ground.examples, &lengths, ground.shards, goes_on))
    }

    /// The base with the weights that were closed by earlier rounds shrunk.
    fn softly_masked(&self, ground: &Ground<'_>) -> Result<Network> {
        let mut values = HashMap::new();
        if ground.network.has_relus() {
            return Ok(ground.network.clone());
        }
        let soft = ground.recipe.soft as f32;
        for (tensor, (first, now)) in
            ground.tensors.iter().zip(ground.candidates()?.tensors().iter().zip(self.candidates.tensors()))
        {
            if first.open == now.open {
                continue;
            }
            let closed = first.open.iter().zip(&now.open).map(|(first, now)| *first && !*now);
            let masked =
                tensor.values.iter().zip(closed).map(|(value, closed)| if closed { value * soft } else { *value });
            values.insert(tensor.id, TensorData::new(masked.collect::<Vec<f32>>(), tensor.shape.clone()));
        }
        Ok(replaced(ground.network.clone(), values))
    }

    /// Sets the scores of dead weights to zero, and says which of all scores were zero before.
    fn clear_dead(&self, scores: &mut [Vec<f64>]) -> Vec<Vec<bool>> {
        let (mut sum, mut count) = (0.0, 0u64);
        self.each_open(scores, |score| (sum, count) = (sum + score, count + 1));
        let floor = DEAD_RATIO * sum / count.max(1) as f64;
        let zeros = scores.iter().map(|scores| scores.iter().map(|score| *score == 0.0).collect()).collect();
        scores.iter_mut().flatten().filter(|score| **score < floor).for_each(|score| *score = 0.0);
        zeros
    }

    /// Tensors that no gradient ever reached take no part, and their parameters do not count.
    fn close_untouched(&mut self, scores: &[Vec<f64>]) -> Result<()> {
        let untouched: Vec<bool> = (self.candidates.tensors().iter().zip(scores))
            .map(|(tensor, scores)| tensor.open.contains(&true) && scores.iter().all(|score| *score == 0.0))
            .collect();
        let named = self.candidates.tensors().iter().zip(&untouched).filter(|(_, untouched)| **untouched);
        self.report.untouched = named.map(|(tensor, _)| tensor.name.clone()).collect();
        self.candidates.close(|tensor, _| untouched[tensor]);
        self.report.maskable = self.candidates.count();
        if self.report.maskable == 0 {
            return Err(Error::usage("no calibration image changes the output of the base at all")
                .with_help("the base has not learned anything, or its inputs are constant"));
        }
        Ok(())
    }

    /// Leaves out the granules that are dead, or refuses.
    fn close_dead(&mut self, ground: &Ground<'_>, scores: &[Vec<f64>]) -> Result<()> {
        let before: Vec<u64> = self.open_by_tensor();
        let dead = self.candidates.close_zeros(scores, ground.recipe.granule());
        let share_max = if ground.network.has_relus() { SHUT_SHARE_MAX } else { DEAD_SHARE_MAX };
        let maskable = self.report.maskable;
        let most = (share_max * maskable as f64) as u64;
        if dead <= most {
            return Ok(());
        }
        let lost = before.iter().zip(self.open_by_tensor()).map(|(before, after)| before - after);
        let (count, worst) = lost
            .zip(self.candidates.tensors())
            .max_by_key(|(lost, _)| *lost)
            .map_or_else(|| (0, String::new()), |(count, tensor)| (count, tensor.name.clone()));
        let (images, round) = (ground.examples.len(), self.rounds_done() + 1);
        Err(Error::usage(format!(
            "the mask would consist of dead weights: in round {round} of the calibration on {images} images, {dead} \
             parameters have no sensitivity at all ({count} of them in `{worst}`), expected at most {most} of {maskable}"
        ))
        .with_help(format!(
            "calibrate on more images (`held_out`), in fewer rounds (`mask.rounds`), or name what is never used in \
             `mask.frozen`; `{worst}` has the most"
        )))
    }

    fn open_by_tensor(&self) -> Vec<u64> {
        let open = |tensor: &crate::mask::CandidateTensor| tensor.open.iter().filter(|open| **open).count() as u64;
        self.candidates.tensors().iter().map(open).collect()
    }

    fn each_open<T: Copy>(&self, scores: &[Vec<T>], mut visit: impl FnMut(T)) {
        for (tensor, scores) in self.candidates.tensors().iter().zip(scores) {
            tensor.open.iter().zip(scores).filter(|(open, _)| **open).for_each(|(_, score)| visit(*score));
        }
    }
}

impl Ground<'_> {
    fn candidates(&self) -> Result<Candidates> {
        let tensors: Vec<(String, Vec<usize>)> =
            self.tensors.iter().map(|tensor| (tensor.name.clone(), tensor.shape.clone())).collect();
        Candidates::new(&tensors, &self.recipe.maskable, &self.recipe.frozen)
    }

    fn rounds(&self) -> u32 {
        if self.method == Method::RandomMask { 1 } else { self.recipe.rounds }
    }
}

fn check_finite(candidates: &Candidates, scores: &[Vec<f64>]) -> Result<()> {
    for (tensor, scores) in candidates.tensors().iter().zip(scores) {
        if scores.iter().any(|score| !score.is_finite()) {
            return Err(Error::damaged(format!("the sensitivity of tensor `{}` is not a finite number", tensor.name))
                .with_help("the base computes no finite outputs on this data; check it with `taskvec inspect`"));
        }
    }
    Ok(())
}
