//! What each way to write a tensor would take and lose.

use taskvec_pack::bound::index_bits;
use taskvec_pack::write::{Rounding, quantize, stream_bytes};

use crate::task_vector::{Deltas, TensorDelta};

/// Roundings to choose from, the coarsest first.
const ROUNDINGS: [Rounding; 7] = [
    Rounding::Sign,
    Rounding::Levels(1),
    Rounding::Levels(3),
    Rounding::Levels(7),
    Rounding::Levels(31),
    Rounding::INT8,
    Rounding::F16,
];
/// Shares of entries to choose from, each the fourth root of a half of the one before: from 1 to 1/8192.
const SHARES: i32 = 53;
/// Blocks of 256 entries whose rounding is measured for a rating.
const SAMPLED_BLOCKS: usize = 24;
const BLOCK: usize = 256;
/// What an index costs above its entropy, measured on random masks.
const INDEX_OVERHEAD: f64 = 1.015;
/// Bytes of a tensor's record without its name, about.
const RECORD_BYTES: f64 = 30.0;
/// A tensor with its ratings.
pub(super) struct RatedTensor<'a> {
    tensor: &'a TensorDelta,
    pub(super) deltas: &'a [f32],
    pub(super) ratings: Vec<Rating>,
}

/// One way to write a tensor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rating {
    /// Entries of at least this magnitude stay.
    threshold: f32,
    /// None: the tensor is left out.
    pub(super) rounding: Option<Rounding>,
    pub(super) bytes: f64,
    /// Sum of squared errors.
    pub(super) error: f64,
}

impl Rating {
    /// The tensor is left out, and what that loses does not matter.
    pub(super) const NOTHING: Self = Self { threshold: f32::INFINITY, rounding: None, bytes: 0.0, error: 0.0 };
}

impl<'a> RatedTensor<'a> {
    pub(super) fn new(tensor: &'a TensorDelta, deltas: &'a [f32]) -> Self {
        Self { tensor, deltas, ratings: rate(tensor, deltas) }
    }

    pub(super) fn choose(&self, price: f64) -> Rating {
        let cost = |rating: &Rating| rating.error + price * rating.bytes;
        let best = self.ratings.iter().min_by(|a, b| cost(a).total_cmp(&cost(b)));
        best.copied().unwrap_or(Rating::NOTHING)
    }

    /// The tensor with the entries that stay.
    pub(super) fn kept(&self, rating: &Rating) -> TensorDelta {
        let stays = |delta: &f32| rating.rounding.is_some() && delta.abs() >= rating.threshold;
        let pairs = self.tensor.indices.iter().zip(self.deltas).filter(|(_, delta)| stays(delta));
        let (indices, deltas) = pairs.map(|(index, delta)| (*index, *delta)).unzip();
        TensorDelta { indices, deltas: Deltas::Numbers(deltas), ..self.tensor.without_entries() }
    }
}

fn rate(tensor: &TensorDelta, deltas: &[f32]) -> Vec<Rating> {
    let elements: u64 = tensor.shape.iter().product();
    let mut magnitudes: Vec<f32> = deltas.iter().map(|delta| delta.abs()).collect();
    magnitudes.sort_by(|a, b| b.total_cmp(a));
    let mut ratings = vec![Rating { error: squares(deltas), ..Rating::NOTHING }];
    let mut counted = 0;
    for share in 0..SHARES {
        let count = (deltas.len() as f64 * libm::pow(2.0, -0.25 * f64::from(share))).round() as usize;
        let Some(&threshold) = magnitudes.get(count.wrapping_sub(1)) else { break };
        let kept: Vec<f32> = deltas.iter().copied().filter(|delta| delta.abs() >= threshold).collect();
        if kept.len() == counted {
            continue;
        }
        counted = kept.len();
        let dropped = squares(&magnitudes[counted.min(magnitudes.len())..]);
        let sample = sample(&kept);
        let scale = kept.len() as f64 / sample.len().max(1) as f64;
        let around = RECORD_BYTES + tensor.name.len() as f64;
        let mask = INDEX_OVERHEAD * index_bits(elements, kept.len() as u64) / 8.0;
        for rounding in ROUNDINGS {
            // The largest delta may lie outside of the sample, and be too large for 16 bits.
            if stream_bytes(&magnitudes[..1], rounding).is_none() {
                continue;
            }
            let Some(bytes) = stream_bytes(&sample, rounding) else { continue };
            let rounded = quantize(&sample, rounding);
            let off: f64 = sample.iter().zip(&rounded).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
            let bytes = around + mask + scale * bytes as f64;
            ratings.push(Rating { threshold, rounding: Some(rounding), bytes, error: dropped + scale * off });
        }
    }
    ratings
}

/// Blocks of neighbors from all over the entries.
fn sample(kept: &[f32]) -> Vec<f32> {
    let blocks = kept.len().div_ceil(BLOCK);
    if blocks <= SAMPLED_BLOCKS {
        return kept.to_vec();
    }
    let chosen = (0..SAMPLED_BLOCKS).map(|place| place * blocks / SAMPLED_BLOCKS);
    chosen.flat_map(|block| kept[block * BLOCK..kept.len().min((block + 1) * BLOCK)].iter().copied()).collect()
}

pub(super) fn squares(deltas: &[f32]) -> f64 {
    deltas.iter().map(|delta| f64::from(*delta) * f64::from(*delta)).sum()
}
