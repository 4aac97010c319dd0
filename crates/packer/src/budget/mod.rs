//! A task vector within a budget: which entries stay and in how many bits, so that the pack is as small as it can be.
//!
//! Two things make a vector smaller: leaving out its small entries (magnitude pruning) and rounding what stays. For each
//! tensor every pair of a share of entries and a rounding is rated: the bytes that it would take, by the entropy of its mask
//! and of its values, and the sum of squared errors, of what is left out and of what is rounded, the latter on a sample of
//! blocks. One price for a byte, the same for all tensors, then picks each tensor's pair (Shoham and Gersho, "Efficient bit
//! allocation for an arbitrary set of quantizers", 1988): where tensors give up the same error per byte, no other choice is
//! better for the whole. The price is what is searched for. Prices reach few budgets exactly; what one leaves over is spent
//! tensor by tensor.
//!
//! Ratings are estimates, so they only steer: what is promised is measured on the pack that was made.

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

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(most) => write!(f, "at most {most} bytes"),
            Self::Error(most) => write!(f, "an error of at most {most}"),
        }
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

/// A pack on the curve of bytes against error.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CurvePoint {
    /// Size of the pack.
    pub pack_bytes: u64,
    /// Norm of what is lost divided by the norm of the vector, 0 to 1.
    pub error: f64,
    /// Entries that stayed.
    pub entries: u64,
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
    tensors: Vec<RatedTensor<'a>>,
    /// Sum of the squares of all deltas.
    square: f64,
}

impl<'a> Rated<'a> {
    /// Rates each tensor of `vector`.
    ///
    /// # Errors
    /// `Usage` for a lossless vector, which has distances and no deltas.
    pub fn new(vector: &'a TaskVector) -> Result<Rated<'a>> {
        let rated = |tensor: &'a TensorDelta| match &tensor.deltas {
            Deltas::Numbers(deltas) => Ok(RatedTensor::new(tensor, deltas)),
            Deltas::Distances(_) => Err(Error::usage(format!(
                "tensor `{}`: distances cannot be cut down to a budget, only deltas can",
                tensor.name
            ))),
        };
        let tensors = vector.tensors.iter().map(rated).collect::<Result<Vec<_>>>()?;
        let square = tensors.iter().map(|tensor| squares(tensor.deltas)).sum();
        Ok(Rated { vector, tensors, square })
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

    /// Packs from the smallest error to the fewest bytes, about evenly spread over the orders of magnitude of bytes.
    ///
    /// # Errors
    /// As the encoder says.
    pub fn curve(&self, points: usize, details: &PackDetails) -> Result<Vec<CurvePoint>> {
        let most = self.estimate(0.0).0;
        let least = most.min(CURVE_BYTES_MIN);
        let mut packs: Vec<CurvePoint> = Vec::new();
        for point in 0..points {
            let share = point as f64 / points.saturating_sub(1).max(1) as f64;
            let bytes = libm::exp(libm::log(most) * (1.0 - share) + libm::log(least) * share);
            let fitted = self.packed(self.plan(Budget::Bytes(bytes as u64), 1.0), details)?;
            let pack_bytes = fitted.encoded.bytes.len() as u64;
            if packs.last().is_none_or(|last| last.pack_bytes > pack_bytes) {
                packs.push(CurvePoint { pack_bytes, error: fitted.error, entries: fitted.entry_count });
            }
        }
        Ok(packs)
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
            let kept = rated.kept(rating);
            let Deltas::Numbers(deltas) = &kept.deltas else { continue };
            lost += squares(rated.deltas) - squares(deltas);
            if let Some(rounding) = rating.rounding.filter(|_| !deltas.is_empty()) {
                let rounded = quantize(deltas, rounding);
                lost += deltas.iter().zip(&rounded).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum::<f64>();
                entry_count += deltas.len() as u64;
                writer.tensor_rounded(&kept, rounding)?;
            }
        }
        let error = if self.square > 0.0 { (lost.max(0.0) / self.square).sqrt() } else { 0.0 };
        Ok(Fitted { encoded: writer.finish()?, error, entry_count, plan })
    }
}

/// Bytes and sum of squared errors.
fn total<'a>(plan: impl Iterator<Item = &'a Rating>) -> (f64, f64) {
    plan.fold((0.0, 0.0), |(bytes, error), rating| (bytes + rating.bytes, error + rating.error))
}

#[cfg(test)]
mod tests {
    use taskvec_pack::{Dtype, Fingerprint};

    use super::*;
    use crate::encode::encode;
    use crate::error::ErrorKind;
    use crate::random::Random;
    use crate::recipe::Values;

    /// Two tensors of unlike deltas: many small ones, and few large ones.
    fn vector() -> TaskVector {
        let mut random = Random::new(3, "budget");
        let mut tensor = |name: &str, len: u64, scale: f32| {
            let deltas = (0..len).map(|_| scale * random.normal() * random.normal()).collect();
            let (name, indices) = (name.to_owned(), (0..len).map(|index| 2 * index).collect());
            TensorDelta { name, dtype: Dtype::F32, shape: vec![2 * len], indices, deltas: Deltas::Numbers(deltas) }
        };
        let tensors = vec![tensor("large", 20_000, 0.01), tensor("small", 60_000, 0.001)];
        TaskVector { base: Fingerprint([1; 32]), tensors }
    }

    fn details() -> PackDetails {
        PackDetails::new("skill", Values::F32)
    }

    #[test]
    fn a_budget_of_bytes_is_kept_and_used() {
        let vector = vector();
        let rated = Rated::new(&vector).unwrap();
        let mut errors = Vec::new();
        for most in [60_000, 20_000, 5_000, 1_000] {
            let fitted = rated.fit(Budget::Bytes(most), 0, &details()).unwrap();
            let used = fitted.encoded.bytes.len() as u64;
            assert!(used <= most && used * 100 >= most * 95, "{used} of {most}");
            errors.push(fitted.error);
        }
        assert!(errors.is_sorted() && errors[0] > 0.0 && errors[3] < 1.0, "{errors:?}");
    }

    #[test]
    fn an_error_is_kept_and_no_single_rounding_of_everything_is_smaller_by_a_percent() {
        let vector = vector();
        let rated = Rated::new(&vector).unwrap();
        for values in [Values::Int8, Values::Int4, Values::Int2] {
            let plain = encode(&vector, &PackDetails::new("skill", values)).unwrap();
            let lost: f64 = (plain.tensors.iter())
                .map(|tensor| {
                    let rms = f64::from(tensor.summary.measured_error.unwrap().rms);
                    rms * rms * tensor.entry_count as f64
                })
                .sum();
            // A little more, since ratings are estimates.
            let error = (lost / rated.square).sqrt() * 1.02;
            let fitted = rated.fit(Budget::Error(error), 0, &details()).unwrap();
            assert!(fitted.error <= error, "{values:?}");
            let (ours, theirs) = (fitted.encoded.bytes.len(), plain.bytes.len());
            assert!(ours * 100 < theirs * 101, "{values:?}: {ours} bytes, {theirs} in one rounding");
        }
    }

    #[test]
    fn the_curve_falls() {
        let vector = vector();
        let curve = Rated::new(&vector).unwrap().curve(8, &details()).unwrap();
        assert!(curve.len() >= 6, "{} points", curve.len());
        assert!(curve.is_sorted_by(|a, b| a.pack_bytes > b.pack_bytes && a.error <= b.error));
    }

    #[test]
    fn the_error_is_that_of_the_pack() {
        let vector = vector();
        let fitted = Rated::new(&vector).unwrap().fit(Budget::Bytes(15_000), 0, &details()).unwrap();
        let pack = taskvec_pack::Pack::read(&fitted.encoded.bytes, &taskvec_pack::Limits::default()).unwrap();
        let mut lost = 0.0;
        for tensor in &vector.tensors {
            let Deltas::Numbers(deltas) = &tensor.deltas else { panic!() };
            let mut exact: std::collections::BTreeMap<usize, f64> =
                tensor.indices.iter().map(|index| *index as usize).zip(deltas.iter().map(|d| f64::from(*d))).collect();
            if let Some(entry) = pack.tensors().find(|entry| entry.name() == tensor.name) {
                let taskvec_pack::Entries::Deltas(read) = entry.entries() else { panic!() };
                read.for_each(|(index, delta)| *exact.get_mut(&index).unwrap() -= f64::from(delta));
            }
            lost += exact.values().map(|off| off * off).sum::<f64>();
        }
        let square: f64 = vector
            .tensors
            .iter()
            .map(|tensor| match &tensor.deltas {
                Deltas::Numbers(deltas) => squares(deltas),
                Deltas::Distances(_) => 0.0,
            })
            .sum();
        assert!(((lost / square).sqrt() - fitted.error).abs() < 1e-6, "{} {}", (lost / square).sqrt(), fitted.error);
    }

    #[test]
    fn budgets_that_nothing_keeps_are_refused() {
        let vector = vector();
        let rated = Rated::new(&vector).unwrap();
        for budget in [Budget::Bytes(10), Budget::Error(1e-9)] {
            let error = rated.fit(budget, 0, &details()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Usage);
            let says = ["without any entry it has", "as small as it gets"];
            assert!(says.iter().any(|says| error.to_string().contains(says)), "{error}");
        }
        let distances = TaskVector {
            tensors: vec![TensorDelta {
                indices: vec![1],
                deltas: Deltas::Distances(vec![1]),
                ..vector.tensors[0].clone()
            }],
            ..vector
        };
        assert_eq!(Rated::new(&distances).map(drop).unwrap_err().kind(), ErrorKind::Usage);
    }
}
