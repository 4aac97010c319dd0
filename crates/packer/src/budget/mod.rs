//! A task vector within a budget: which entries stay and in how many bits, so that the pack is as small as it can be.
//!
//! Two things make a vector smaller: leaving out its small entries (magnitude pruning) and rounding what stays. Entries are left
//! out one by one, or in rows and pages where the tensor changed everywhere: those say in few bytes where they are. For each
//! tensor every triple of a granule, a share of entries and a rounding is rated: the bytes that it would take, by the entropy of its mask
//! and of its values, and the sum of squared errors, of what is left out and of what is rounded, the latter on a sample of
//! blocks. One price for a byte, the same for all tensors, then picks each tensor's pair (Shoham and Gersho, "Efficient bit
//! allocation for an arbitrary set of quantizers", 1988): where tensors give up the same error per byte, no other choice is
//! better for the whole. The price is what is searched for. Prices reach few budgets exactly; what one leaves over is spent
//! tensor by tensor.
//!
//! Ratings are estimates, so they only steer: what is promised is measured on the pack that was made.

mod judged;
mod rating;

use std::fmt;

use serde::Serialize;
use taskvec_pack::write::quantize;

use self::rating::{RatedTensor, Rating, squares};
use crate::encode::{Encoded, PackDetails, PackWriter};
use crate::error::{Error, Result};
use crate::task_vector::{Deltas, TaskVector, TensorDelta};

/// What a pack must keep to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Budget {
    /// At most so many bytes, with the smallest error.
    Bytes(u64),
    /// At most this error, relative: the norm of what is lost divided by the norm of the vector, 0 to 1; with the fewest
    /// bytes.
    Error(f64),
}

/// What a search is for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// A pack within a budget.
    Within(Budget),
    /// The smallest pack that loses at most this much accuracy on held-out images, a share of all of them, 0 to 1. Only where
    /// there is data, that is for a run.
    AccuracyDrop(f64),
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(most) => write!(f, "at most {most} bytes"),
            Self::Error(most) => write!(f, "an error of at most {most}"),
        }
    }
}

/// What is asked of a search.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// What the pack must keep to.
    pub goal: Goal,
    /// Whether what stays is scaled; see [`Rated::new`].
    pub rescale: bool,
    /// Bytes of the budget that are left for what comes to the pack later, a signature.
    pub reserved: u64,
    /// Points of the curve of bytes against error that are computed.
    pub curve_points: usize,
}

impl Wanted {
    /// The pack of `vector` that keeps to this, and other packs that could have been made; `details` get the budget as their
    /// provenance.
    ///
    /// # Errors
    /// As [`Rated::new`] and [`Rated::fit`].
    pub fn fit(&self, vector: &TaskVector, details: &mut PackDetails) -> Result<(Fitted, Vec<CurvePoint>)> {
        details.provenance.push(("budget".to_owned(), self.to_string()));
        let rated = Rated::new(vector, self.rescale)?;
        let Goal::Within(budget) = self.goal else {
            return Err(Error::usage("accuracy cannot be kept to without data")
                .with_help("make the pack of a run: `taskvec pack RUN --max-accuracy-drop POINTS`"));
        };
        let fitted = rated.fit(budget, self.reserved, details)?;
        Ok((fitted, rated.curve(self.curve_points, self.reserved, details, |_| Ok(None))?))
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.goal {
            Goal::Within(budget) => write!(f, "{budget}")?,
            Goal::AccuracyDrop(most) => write!(f, "at most {:.2} points of accuracy lost", 100.0 * most)?,
        }
        f.write_str(if self.rescale { ", rescaled" } else { "" })
    }
}

/// A pack within a budget, and what it lost.
#[derive(Clone, Debug)]
pub struct Fitted {
    /// The pack.
    pub encoded: Encoded,
    /// Norm of what is lost divided by the norm of the vector, 0 to 1.
    pub error: f64,
    /// Entries that stayed.
    pub entry_count: u64,
    /// How each tensor is written.
    plan: Vec<Rating>,
}

impl Fitted {
    /// With `reserved` bytes that come to the pack later.
    fn point(&self, reserved: u64, accuracy: Option<f64>) -> CurvePoint {
        let pack_bytes = self.encoded.bytes.len() as u64 + reserved;
        CurvePoint { pack_bytes, error: self.error, entries: self.entry_count, accuracy }
    }
}

/// A pack on the curve of bytes against error.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CurvePoint {
    /// Size of the pack.
    pub pack_bytes: u64,
    /// Norm of what is lost divided by the norm of the vector, 0 to 1.
    pub error: f64,
    /// Entries that stayed.
    pub entries: u64,
    /// Accuracy on held-out images, 0 to 1; none where there are none.
    pub accuracy: Option<f64>,
}

/// Bytes of entries at the lower end of a curve.
const CURVE_BYTES_MIN: f64 = 256.0;
/// Packs that are made until one keeps to the budget and uses it well.
const TRIES: usize = 12;
/// Share of a budget that is good enough.
const WELL_USED: f64 = 0.97;

/// A vector whose tensors have been rated.
pub struct Rated<'a> {
    vector: &'a TaskVector,
    rescale: bool,
    tensors: Vec<RatedTensor<'a>>,
    /// Sum of the squares of all deltas.
    square: f64,
}

impl<'a> Rated<'a> {
    /// Rates each tensor of `vector`. With `rescale`, what stays of a tensor is scaled so that its magnitudes sum up to what all
    /// of them did, as DARE does on average (Yu et al. 2024): more of the tensor's push is kept, and each entry is off by more.
    ///
    /// # Errors
    /// `Usage` for a lossless vector, which has distances and no deltas.
    pub fn new(vector: &'a TaskVector, rescale: bool) -> Result<Rated<'a>> {
        let rated = |tensor: &'a TensorDelta| match &tensor.deltas {
            Deltas::Numbers(deltas) => Ok(RatedTensor::new(tensor, deltas)),
            Deltas::Distances(_) => Err(Error::usage(format!(
                "tensor `{}`: distances cannot be cut down to a budget, only deltas can",
                tensor.name
            ))),
        };
        let tensors = vector.tensors.iter().map(rated).collect::<Result<Vec<_>>>()?;
        let square = tensors.iter().map(|tensor| squares(tensor.deltas)).sum();
        Ok(Rated { vector, rescale, tensors, square })
    }

    /// The pack within `budget`, which leaves room for `reserved` bytes that come to it later.
    ///
    /// # Errors
    /// `Usage` when there is none: even the smallest pack is larger, or even the best one loses more.
    pub fn fit(&self, budget: Budget, reserved: u64, details: &PackDetails) -> Result<Fitted> {
        // What the pack has beside its entries is not for them to use.
        let nothing =
            self.packed(vec![Rating::NOTHING; self.tensors.len()], details)?.encoded.bytes.len() as u64 + reserved;
        let of_entries = match budget {
            Budget::Bytes(most) if most < nothing => {
                return Err(Error::usage(format!(
                    "no pack of at most {most} bytes: without any entry it has {nothing} bytes"
                ))
                .with_help("its name, its head and its probes take room too"));
            }
            Budget::Bytes(most) => Budget::Bytes(most - nothing),
            error => error,
        };
        // Estimates are off by a few percent, so the aim is moved until a pack keeps to the budget and uses most of it.
        let (mut aim, mut kept_to, mut missed) = (1.0, 0.0, f64::INFINITY);
        let mut best: Option<(f64, Fitted)> = None;
        let mut last = (0, f64::INFINITY);
        for _ in 0..TRIES {
            let fitted = self.packed(self.plan(of_entries, aim), details)?;
            let size = fitted.encoded.bytes.len();
            let used = match budget {
                Budget::Bytes(most) => (size as u64 + reserved) as f64 / most as f64,
                Budget::Error(most) => fitted.error / most,
            };
            let same = last == (size, fitted.error);
            last = (size, fitted.error);
            if used <= 1.0 {
                kept_to = aim;
                if best.as_ref().is_none_or(|(before, _)| used > *before) {
                    best = Some((used, fitted));
                }
                if used > WELL_USED || (same && missed.is_infinite()) {
                    break;
                }
                aim = if missed.is_finite() { 0.5 * (kept_to + missed) } else { aim * 0.99 / used.max(0.1) };
            } else {
                missed = aim;
                aim = if kept_to > 0.0 { 0.5 * (kept_to + missed) } else { aim * 0.998 / used };
            }
        }
        if let Some((_, fitted)) = best {
            return Ok(fitted);
        }
        Err(match budget {
            Budget::Bytes(most) => {
                Error::usage(format!("no pack of at most {most} bytes was found, the last one had {}", last.0))
                    .with_help("allow some more bytes")
            }
            Budget::Error(most) => {
                Error::usage(format!("no pack with an error of at most {most}: {} is as small as it gets", last.1))
                    .with_help("use `--values f32`, or a lossless pack")
            }
        })
    }

    /// The same entries in the same roundings with other details.
    ///
    /// # Errors
    /// As the encoder says.
    pub fn again(&self, fitted: &Fitted, details: &PackDetails) -> Result<Fitted> {
        self.packed(fitted.plan.clone(), details)
    }

    /// Packs from the smallest error to the fewest bytes, about evenly spread over the orders of magnitude of bytes; to each come
    /// `reserved` bytes later; `judge` gives the accuracy of one, if there is data.
    ///
    /// # Errors
    /// As the encoder and `judge` say.
    pub fn curve(
        &self,
        points: usize,
        reserved: u64,
        details: &PackDetails,
        judge: impl Fn(&[u8]) -> Result<Option<f64>>,
    ) -> Result<Vec<CurvePoint>> {
        let mut packs: Vec<CurvePoint> = Vec::new();
        for bytes in self.spread(points) {
            let fitted = self.packed(self.plan(Budget::Bytes(bytes as u64), 1.0), details)?;
            if packs.last().is_none_or(|last| last.pack_bytes > fitted.encoded.bytes.len() as u64 + reserved) {
                packs.push(fitted.point(reserved, judge(&fitted.encoded.bytes)?));
            }
        }
        Ok(packs)
    }

    /// Bytes of entries, from all that there is down, each the same share of the one before.
    fn spread(&self, points: usize) -> impl Iterator<Item = f64> {
        let most = self.estimate(0.0).0;
        let least = most.min(CURVE_BYTES_MIN);
        (0..points).map(move |point| {
            let share = point as f64 / points.saturating_sub(1).max(1) as f64;
            libm::exp(libm::log(most) * (1.0 - share) + libm::log(least) * share)
        })
    }

    /// The lowest price of a byte at which the estimate keeps to this share of the bytes, or the highest at which it keeps
    /// to this share of the error.
    fn price(&self, budget: Budget, aim: f64) -> f64 {
        let is_high = |price: f64| {
            let (bytes, error) = self.estimate(price);
            match budget {
                Budget::Bytes(most) => bytes <= most as f64 * aim,
                Budget::Error(most) => error > most * aim * most * aim * self.square,
            }
        };
        // A byte is worth no more than everything, and hardly less than this share of it.
        let everything = libm::log(self.square.max(f64::MIN_POSITIVE));
        let (mut low, mut high) = (everything - 90.0, everything + 3.0);
        for _ in 0..60 {
            let middle = 0.5 * (low + high);
            if is_high(libm::exp(middle)) { high = middle } else { low = middle }
        }
        libm::exp(match budget {
            Budget::Bytes(_) => high,
            Budget::Error(_) => low,
        })
    }

    /// Bytes and sum of squared errors at a price, by the ratings.
    fn estimate(&self, price: f64) -> (f64, f64) {
        let chosen: Vec<_> = self.tensors.iter().map(|tensor| tensor.choose(price)).collect();
        total(chosen.iter())
    }

    /// The best choice for each tensor by the ratings: at one price for all of them, and what that leaves of the budget is
    /// spent tensor by tensor, where it buys most.
    fn plan(&self, budget: Budget, aim: f64) -> Vec<Rating> {
        let price = self.price(budget, aim);
        let mut plan: Vec<Rating> = self.tensors.iter().map(|tensor| tensor.choose(price)).collect();
        let (bytes, error) = total(plan.iter());
        // What is spent, and what it is spent for.
        let terms = |rating: &Rating| match budget {
            Budget::Bytes(_) => (rating.bytes, rating.error),
            Budget::Error(_) => (rating.error, rating.bytes),
        };
        let mut left = match budget {
            Budget::Bytes(most) => most as f64 * aim - bytes,
            Budget::Error(most) => (most * aim).powi(2) * self.square - error,
        };
        loop {
            let mut best: Option<(f64, usize, Rating)> = None;
            for (place, (tensor, now)) in self.tensors.iter().zip(&plan).enumerate() {
                let (spent, rest) = terms(now);
                for rating in &tensor.ratings {
                    let (more, less) = (terms(rating).0 - spent, rest - terms(rating).1);
                    if more > 0.0 && more <= left && less > 0.0 && best.is_none_or(|(gain, ..)| less / more > gain) {
                        best = Some((less / more, place, *rating));
                    }
                }
            }
            let Some((_, place, rating)) = best else { return plan };
            left -= terms(&rating).0 - terms(&plan[place]).0;
            plan[place] = rating;
        }
    }

    /// The pack of a plan.
    fn packed(&self, plan: Vec<Rating>, details: &PackDetails) -> Result<Fitted> {
        let mut writer = PackWriter::new(self.vector.base, details)?;
        let (mut lost, mut entry_count) = (0.0, 0);
        for (rated, rating) in self.tensors.iter().zip(&plan) {
            let mut kept = rated.kept(rating);
            let Deltas::Numbers(deltas) = &mut kept.deltas else { continue };
            lost += squares(rated.deltas) - squares(deltas);
            if let Some(rounding) = rating.rounding.filter(|_| !deltas.is_empty()) {
                let before = deltas.clone();
                if self.rescale {
                    let factor = (magnitude(rated.deltas) / magnitude(deltas)) as f32;
                    deltas.iter_mut().for_each(|delta| *delta *= factor);
                }
                let off = before.iter().zip(quantize(deltas, rounding));
                lost += off.map(|(a, b)| (f64::from(*a) - f64::from(b)).powi(2)).sum::<f64>();
                entry_count += deltas.len() as u64;
                writer.tensor_rounded(&kept, rounding)?;
            }
        }
        let error = if self.square > 0.0 { (lost.max(0.0) / self.square).sqrt() } else { 0.0 };
        Ok(Fitted { encoded: writer.finish()?, error, entry_count, plan })
    }
}

/// Sum of the magnitudes.
fn magnitude(deltas: &[f32]) -> f64 {
    deltas.iter().map(|delta| f64::from(delta.abs())).sum()
}

/// Bytes and sum of squared errors.
fn total<'a>(plan: impl Iterator<Item = &'a Rating>) -> (f64, f64) {
    plan.fold((0.0, 0.0), |(bytes, error), rating| (bytes + rating.bytes, error + rating.error))
}

#[cfg(test)]
mod tests;
